"""The section of workloads, and its verdicts."""

import json
import os
import random
import tempfile
import unittest

import synthetic
from htmlcheck import Page
from smepilot_report import stats
from test_page import write_page


class Workloads(unittest.TestCase):
    def test_ours_beside_a_baseline(self):
        with tempfile.TemporaryDirectory() as folder:
            connection = synthetic.create(os.path.join(folder, "w.db"))
            self.addCleanup(connection.close)
            _, session = synthetic.add_machine(connection)
            model = synthetic.add_model(connection)
            for engine, baseline, seconds in (("smepilot", 0, 1.0), ("llama-bench", 1, 2.0)):
                rounds = [(seconds + 0.001 * i, 3) for i in range(1, 7)]
                joules = None if baseline else 96.0
                synthetic.add_workload(connection, session, model, engine, rounds, baseline, joules)
            connection.commit()
            page = Page(write_page(folder, connection))
            self.assertEqual(page.problems, [])
            text = page.sections["workloads"]
            for part in ("gsm8k at scale 0.5, not the full workload", "46 + 50 tokens, batch 2", "win", "tie",
                         "not counted"):
                self.assertIn(part, text)
            # Among the standings, whole rounds: ours takes 4.0035 s, the baseline 5.0035 s for 2 × 96 tokens.
            standing = " ".join(page.sections["endtoend"].split())
            self.assertIn("gsm8k at scale 0.5 (46 + 50 tokens, batch 2)2 threads, m.gguf", standing)
            self.assertRegex(standing, r"win 1\.25×\s*1\.25× – 1\.25×")  # with the interval of the paired ratios
            self.assertIn(str(192 / 4.0035), page.values["endtoend"])
            self.assertIn("#workload-1", page.links)


class Verdicts(unittest.TestCase):
    def test_verdicts_that_smetune_shares(self):
        # tests/tuner/workload_test.cc holds the rule of `smetune workload` against the same file.
        with open(synthetic.SOURCE / "tests" / "tuner" / "data" / "workload_verdicts.json", encoding="utf-8") as f:
            cases = json.load(f)
        self.assertGreaterEqual(len(cases), 10)
        for case in cases:
            with self.subTest(case["name"]):
                ours, theirs = dict(case["ours"]), dict(case["theirs"])
                verdict = stats.judge_pairs(ours, theirs)
                self.assertEqual((verdict.word, verdict.ratio), (case["verdict"], case["median"]))
                found = stats.estimate([theirs[r] / ours[r] for r in ours if r in theirs])
                self.assertEqual((found.low, found.high, found.count), (case["low"], case["high"], case["rounds"]))
                if verdict.word != "not judged":
                    self.assertEqual((verdict.low, verdict.high), (case["low"], case["high"]))

    def test_nothing_in_common(self):
        self.assertIsNone(stats.judge_pairs({1: 1.0}, {2: 1.0}))

    def test_an_engine_beats_itself_in_at_most_five_percent(self):
        generator = random.Random(1)
        for rounds in (6, 9, 15):
            wrong = 0
            for _ in range(2000):
                ours, theirs = ({r: r * generator.lognormvariate(0, 0.1) for r in range(1, rounds + 1)} for _ in "ab")
                wrong += stats.judge_pairs(ours, theirs).word != "tie"
            self.assertLessEqual(wrong, 100, rounds)


if __name__ == "__main__":
    unittest.main()
