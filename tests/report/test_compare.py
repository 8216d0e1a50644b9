"""Two databases whose differences are known: what is called a regression, what noise, and with which exit code."""

import contextlib
import io
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import unittest

import synthetic
from htmlcheck import Page
from smepilot_report import compare
from smepilot_report.main import main
from test_formats import validate


class Comparisons(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def database(self, name, factor=1.0, noise_floor=0.02, seed=1, samples=12, cpu="Test CPU 9000"):
        """One with runs of pp512, tg128 and an operator, all by `factor` faster than in another."""
        path = os.path.join(self.folder, name)
        connection = synthetic.create(path)
        self.addCleanup(connection.close)
        platform, session = synthetic.add_machine(connection, fingerprint=f"{abs(hash(cpu)):x}", cpu=cpu)
        calibration = synthetic.add_calibration(connection, session, noise_floor=noise_floor)
        model = synthetic.add_model(connection)
        search = synthetic.add_search(connection, session, model, calibration)
        operator = synthetic.add_operator(connection, search, "ffn_up", m=512, n=512, k=256)
        generator = random.Random(seed)

        def noisy(value):
            return [value * generator.uniform(0.99, 1.01) for _ in range(samples)]

        synthetic.add_measurement(
            connection, search, session, platform, operator, noisy(50000.0 / factor), is_default=1, predicted=40000.0
        )
        synthetic.add_bench(connection, session, model, noisy(200.0 * factor), n_prompt=512)
        synthetic.add_bench(connection, session, model, noisy(50.0), n_gen=128)
        connection.commit()
        return path

    def compared(self, a, b, *options, form="json"):
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = main(["--compare", a, b, "--format", form, "--out", "-", *options])
        self.errors = errors.getvalue()
        return code, json.loads(out.getvalue()) if form == "json" and code != 1 else out.getvalue()

    def test_a_regression_is_found_and_named(self):
        code, made = self.compared(self.database("a.db"), self.database("b.db", 0.8, seed=2))
        self.assertEqual(code, 3)
        validate(self, made, "comparison.schema.json")
        found = {(c["what"], c["how"]): c for c in made["changes"]}
        self.assertEqual(found[("pp512, 2 thr.", "untuned")]["verdict"], "regression")
        self.assertEqual(found[("tg128, 2 thr.", "untuned")]["verdict"], "no difference")
        slower = found[("ffn_up, M 512", "default")]  # times: a ratio below 1 is worse there, too
        self.assertEqual(slower["verdict"], "regression")
        self.assertAlmostEqual(slower["ratio"], 0.8, delta=0.02)
        self.assertTrue(slower["ratio_low"] <= slower["ratio"] <= slower["ratio_high"])
        self.assertEqual(made["regressions_beyond_threshold"], 3)  # the operator as default and as the best measured
        self.assertIn("3 by more than 5 %", self.errors)

    def test_workloads_are_compared(self):
        paths = self.database("a.db"), self.database("b.db", seed=2)
        for path, factor in zip(paths, (1.0, 1.25), strict=True):
            connection = sqlite3.connect(path)
            for engine, baseline in (("smepilot", 0), ("llama-bench", 1)):
                rounds = [(factor * (1 + 0.001 * i), factor * 3) for i in range(8)]
                synthetic.add_workload(connection, 1, 1, engine, rounds, baseline)
            connection.commit()
            connection.close()
        code, made = self.compared(*paths)
        self.assertEqual(code, 3)
        validate(self, made, "comparison.schema.json")
        (found,) = [c for c in made["changes"] if "gsm8k" in c["what"]]  # ours, not the baseline's
        self.assertEqual((found["what"], found["how"]), ("gsm8k at scale 0.5, batch 2, 2 thr.", "untuned"))
        self.assertEqual((found["verdict"], found["unit"]), ("regression", "tokens/s"))
        self.assertAlmostEqual(found["ratio"], 0.8)

    def test_the_other_way_round_is_a_gain(self):
        code, made = self.compared(self.database("a.db", 0.8), self.database("b.db", seed=2))
        self.assertEqual(code, 0)
        self.assertEqual(made["counts"], {"regression": 0, "gain": 3, "no difference": 1, "not judged": 0})

    def test_threshold(self):
        a, b = self.database("a.db"), self.database("b.db", 0.9, seed=2)
        code, made = self.compared(a, b, "--threshold", "20")
        self.assertEqual((code, made["counts"]["regression"], made["regressions_beyond_threshold"]), (0, 3, 0))
        self.assertEqual(self.compared(a, b, "--threshold", "5")[0], 3)

    def test_within_the_noise_floor_nothing_is_found(self):
        code, made = self.compared(
            self.database("a.db", noise_floor=0.3), self.database("b.db", 0.8, noise_floor=0.01, seed=2)
        )
        self.assertEqual((code, made["counts"]["regression"], made["noise_floor"]), (0, 0, 0.3))

    def test_few_samples_are_not_judged(self):
        code, made = self.compared(self.database("a.db", samples=3), self.database("b.db", 0.5, seed=2))
        self.assertEqual((code, made["counts"]["not judged"]), (0, 4))

    def test_a_database_equals_itself(self):
        a = self.database("a.db")
        code, made = self.compared(a, a)
        self.assertEqual((code, made["counts"]["no difference"]), (0, 4))
        self.assertTrue(made["same_machine"])

    def test_false_alarms_are_rare(self):
        # A/A: the same distribution on both sides, wide, without a noise floor to hide behind.
        generator = random.Random(3)
        alarms = 0
        for _ in range(500):
            a, b = (
                compare.Item("m", "t", "plan", "ns", "", [generator.gauss(100, 10) for _ in range(15)], [])
                for _ in range(2)
            )
            alarms += compare.judge(a, b, 0.0, 0.0).word in ("gain", "regression")
        self.assertLessEqual(alarms, 40)  # 5 %, and three standard errors

    def test_markdown_and_page(self):
        a, b = self.database("a.db"), self.database("b.db", 0.8, seed=2, cpu="<b>Other</b> | CPU")
        code, text = self.compared(a, b, form="md")
        self.assertEqual(code, 3)
        self.assertTrue(all(len(line) <= 80 or self.folder in line for line in text.splitlines()), text)
        self.assertIn("## Regressions", text)
        self.assertRegex(text, r"0\.[78]\d×!")
        self.assertIn("different machines", " ".join(text.split()))
        code, text = self.compared(a, b, form="html")
        self.assertEqual(code, 3)
        page = Page(text)
        self.assertEqual(page.problems, [])
        self.assertEqual(set(page.sections), {"summary", "regressions", "gains", "others"})
        self.assertIn("pp512", page.sections["regressions"])
        self.assertIn("None.", page.sections["gains"])
        self.assertNotIn("b", page.tags)

    def test_plans_of_one_database(self):
        path = os.path.join(self.folder, "p.db")
        connection = synthetic.create(path)
        self.addCleanup(connection.close)
        known = synthetic.fill(connection, "m")
        self.assertEqual(compare.split_name(f"{path}:{known['plan']}"), (path, known["plan"]))
        self.assertEqual(compare.split_name(path), (path, None))
        self.assertEqual(self.compared(f"{path}:{known['plan']}", path)[0], 0)
        self.assertEqual(self.compared(f"{path}:77", path)[0], 1)
        self.assertIn("no plan 77", self.errors)

    def test_nothing_in_common_is_an_error(self):
        empty = os.path.join(self.folder, "empty.db")
        synthetic.create(empty).close()
        self.assertEqual(self.compared(empty, self.database("b.db"))[0], 1)
        self.assertIn("nothing in common", self.errors)
        self.assertEqual(self.compared(os.path.join(self.folder, "no.db"), empty)[0], 1)
        self.assertIn("no.db: no such file", self.errors)

    @unittest.skipUnless(os.environ.get("SMETUNE"), "SMETUNE does not name a smetune to call")
    def test_exit_codes_of_smetune(self):
        a, b = self.database("a.db"), self.database("b.db", 0.8, seed=2)

        def code(*options):
            return subprocess.run(
                [os.environ["SMETUNE"], "report", *options],
                capture_output=True,
                env={**os.environ, "SMEPILOT_PYTHON": sys.executable},
            ).returncode

        self.assertEqual(code("--compare", a, b, "--format", "json"), 3)
        self.assertEqual(code("--compare", b, a, "--format", "json"), 0)
        self.assertEqual(code("--compare", a, b, "--format", "md", "--threshold", "40"), 0)
        self.assertEqual(code("--compare", a, a + ".gone", "--format", "md"), 1)
        self.assertEqual(code("--compare", a), 2)
        self.assertEqual(code("--threshold", "5"), 2)


if __name__ == "__main__":
    unittest.main()
