"""scripts/compare_engines.py on programs whose rates and places are made up."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

SCRIPT = os.path.join(os.environ["SMEPILOT_SOURCE"], "scripts", "compare_engines.py")

# Each run prints the next of the texts in "NAME.texts" beside it, and notes its own name.
PROGRAM = """#!%s
import json, os, sys
here, name = os.path.split(os.path.abspath(__file__))
with open(os.path.join(here, "order"), "a") as f:
    f.write(name + "\\n")
with open(os.path.join(here, name + ".texts")) as f:
    texts = json.load(f)
print(json.dumps(texts[0]))
with open(os.path.join(here, name + ".texts"), "w") as f:
    json.dump(texts[1:], f)
"""


class CompareEngines(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def program(self, name, texts):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(PROGRAM % sys.executable)
        os.chmod(path, 0o755)
        with open(path + ".texts", "w", encoding="utf-8") as f:
            json.dump(texts, f)
        return path

    def compare(self, ours, peer, *args):
        rates = {"ours": ours, "peer": peer}
        ours, peer = (self.program(name, [[{"avg_ts": ts}] for ts in values]) for name, values in rates.items())
        return subprocess.run([sys.executable, SCRIPT, "-m", "some.gguf", "-p", "0", "-n", "8", "-t", "2", "-r",
                               str(len(rates["peer"])), "--json", os.path.join(self.folder, "out.json"), "--smepilot-run", ours,
                               "--llama-bench", "peer=" + peer, *args], capture_output=True, text=True, check=False)

    def order(self):
        with open(os.path.join(self.folder, "order"), encoding="utf-8") as f:
            return f.read().split()

    def test_alternates_and_takes_medians(self):
        ran = self.compare([30, 20, 40], [10, 10, 10])
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertIn("| some.gguf | tg8 | 30.0 | 10.0 | 3.00 (2.00-4.00) |", ran.stdout)
        self.assertEqual(self.order(), ["ours", "peer", "peer", "ours", "ours", "peer"])

    def pool(self, samples):
        """A bench_pool that finds these fork-and-join times, in ns."""
        return self.program("pool", [{"benchmarks": [{"aggregate_name": "mean", "real_time": 1},
                                                     {"aggregate_name": "median", "real_time": ns}]}
                                     for ns in samples])

    def by_placement(self, ours, peer, samples):
        """What it prints where the fork-and-join times before and after each run are these."""
        ran = self.compare(ours, peer, "--by-placement", "--bench-pool", self.pool(samples))
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return ran.stdout

    def test_sorts_runs_by_where_the_cores_were(self):
        # Four runs near each other (ours 20, peer 21 and 22, ours 22), one that moved (ours 30), and three afar.
        table = self.by_placement([20, 22, 30, 44], [21, 22, 20, 24],
                                  [140, 150, 140, 140, 150, 145, 140, 150, 150, 600, 600, 590, 580, 620, 600, 600])
        self.assertIn("| some.gguf | tg8, fork/join 142 ns, 2, 2 runs | 21.0 | 21.5 | 0.98 |", table)
        self.assertIn("| some.gguf | tg8, fork/join 600 ns, 1, 2 runs | 44.0 | 22.0 | 2.00 |", table)
        self.assertEqual(self.order()[:3], ["pool", "ours", "pool"])
        with open(os.path.join(self.folder, "out.json"), encoding="utf-8") as f:
            result = json.load(f)[0]
        self.assertEqual(result["samples_ts"]["peer"], [21, 22, 20, 24])
        self.assertEqual([round(ns) for ns in result["fork_join_ns"]["smepilot"][2]], [150, 600])

    def test_disturbed_moments_are_no_place(self):
        table = self.by_placement([20, 30, 24, 44], [21, 22, 24, 24],
                                  [140, 150, 140, 140, 30000, 145, 140, 150, 150, 150, 600, 600, 580, 620, 600, 1500])
        self.assertIn("| some.gguf | tg8, fork/join 145 ns, 3, 1 runs | 24.0 | 21.0 | 1.14 |", table)
        self.assertIn("| some.gguf | tg8, fork/join 600 ns, 0, 2 runs | - | 24.0 | - |", table)

    def test_one_place_is_one_line(self):
        table = self.by_placement([20, 22], [10, 11], [140, 150, 160, 145] * 2)
        self.assertEqual(table.count("some.gguf"), 1)
        self.assertIn("tg8, fork/join 148 ns, 2, 2 runs | 21.0 | 10.5 | 2.00 |", table)

    def test_says_what_it_lacks(self):
        ran = self.compare([20], [10], "--by-placement", "--bench-pool", os.path.join(self.folder, "none"))
        self.assertEqual(ran.returncode, 1)
        self.assertIn("none: not a program", ran.stderr)
        ran = self.compare([20], [10], "--by-placement", "--bench-pool", self.program("pool", [{"benchmarks": []}]))
        self.assertEqual(ran.returncode, 1)
        self.assertIn("needs two cores", ran.stderr)


if __name__ == "__main__":
    unittest.main()
