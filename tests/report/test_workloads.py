"""The section of workloads, and its verdicts."""

import json
import math
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
                self.assertEqual(verdict.word, case["verdict"])
                self.assertAlmostEqual(verdict.ratio, case["ratio"])
                found = stats.paired_ratio(ours, theirs)
                self.assertAlmostEqual(found.low, case["low"])
                self.assertAlmostEqual(found.high, math.inf if case["high"] is None else case["high"])
                self.assertEqual(found.count, case["rounds"])
                if verdict.word != "not judged":
                    self.assertEqual((verdict.low, verdict.high), (found.low, found.high))

    def test_ranks_are_those_of_the_tables(self):
        # Critical values of Wilcoxon's and of Mann and Whitney's test, two-sided, 5 %.
        for count, trim in ((5, None), (6, 0), (8, 3), (10, 8), (15, 25), (20, 52), (25, 89)):
            self.assertEqual(stats.signed_rank_trim(count), trim, count)
        for m, n, trim in ((3, 3, None), (4, 4, 0), (5, 5, 2), (5, 8, 6), (8, 8, 13), (10, 10, 23), (20, 20, 127)):
            self.assertEqual(stats.rank_sum_trim(m, n), trim, (m, n))
        self.assertAlmostEqual(stats.rank_sum_trim(21, 20), 134, delta=1)
        self.assertAlmostEqual(stats.signed_rank_trim(101), 1996, delta=2)

    def test_unpaired_ratios(self):
        found = stats.unpaired_ratio([2, 4, 8, 16], [1, 1, 1, 1])
        self.assertAlmostEqual(found.low, 2)
        self.assertAlmostEqual(found.high, 16)
        self.assertAlmostEqual(found.ratio, math.sqrt(32))

    def test_nothing_in_common(self):
        self.assertIsNone(stats.judge_pairs({1: 1.0}, {2: 1.0}))

    def test_an_engine_beats_itself_in_at_most_five_percent(self):
        generator = random.Random(1)
        for rounds in (6, 9, 15):
            wrong = 0
            for _ in range(2000):
                ours, theirs = ({r: r * generator.lognormvariate(0, 0.1) for r in range(1, rounds + 1)} for _ in "ab")
                wrong += stats.judge_pairs(ours, theirs).word != "tie"
            self.assertLessEqual(wrong, 130, rounds)  # 5 %, and three standard errors


if __name__ == "__main__":
    unittest.main()
