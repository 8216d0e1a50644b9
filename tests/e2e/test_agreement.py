"""scripts/agreement.py on programs that decide as they are told to."""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import unittest

SCRIPT = os.path.join(os.environ["SMEPILOT_SOURCE"], "scripts", "agreement.py")

# Prints the next of the decisions that lie beside it, and notes what it was called with.
PROGRAM = """#!%s
import json, os, sys
here = os.path.dirname(os.path.abspath(__file__))
calls = os.path.join(here, "calls")
with open(calls, "a") as f:
    f.write(json.dumps(sys.argv[1:]) + "\\n")
n = sum(1 for _ in open(calls))
if n > 3:
    sys.exit("no more decisions")
variants = {1: "attention.x.online", 2: "attention.x.threephase", 3: "attention.x.online"}
entry = dict(kind="attention", dtype="f16", n=24, k=128, measured_kv=512, workers=2, mc=0, nc=0, kv_tile=128,
             kv_splits=0, default_ns=100.0)
print(json.dumps({"seconds": 1.5, "entries": [
    dict(entry, measured_m=32, variant=variants[n], measured_ns=93.0 if n != 2 else 100.0),
    dict(entry, measured_m=1, variant="attention.x.online", measured_ns=100.0),
    dict(entry, measured_m=0, variant="attention.x.online", measured_ns=0)]}))
"""


class Agreement(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.program = os.path.join(self.folder.name, "smetune")
        with open(self.program, "w", encoding="utf-8") as f:
            f.write(PROGRAM % sys.executable)
        os.chmod(self.program, 0o755)
        self.db = os.path.join(self.folder.name, "mine.db")
        with sqlite3.connect(self.db) as db:
            db.execute("CREATE TABLE t (x)")

    def run_script(self, *args):
        return subprocess.run([sys.executable, SCRIPT, "--smetune", self.program, "--db", self.db, *args],
                              capture_output=True, text=True, check=False)

    def test_counts_pairs_that_agree(self):
        ran = self.run_script("--runs", "3", "--m", "1,32")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertIn("2 operators, 3 searches", ran.stdout)
        self.assertIn("4 of 6 pairs agree", ran.stdout)  # of one operator all three, of the other one
        self.assertIn("attention f16 m=32 n=24 k=128 kv=512: 2 of 3 x.online x2 0/0/128/0, 1 of 3 x.threephase x2",
                      ran.stdout)
        self.assertIn("0.930 1.000 0.930", ran.stdout)
        self.assertNotIn("m=1 ", ran.stdout)
        with open(os.path.join(self.folder.name, "calls"), encoding="utf-8") as f:
            calls = [json.loads(line) for line in f]
        copies = {c[c.index("--db") + 1] for c in calls}
        self.assertEqual(len(copies), 3, "each has a database of its own")
        for c in calls:
            self.assertIn("--fresh", c)
            self.assertEqual(c[c.index("--m") + 1], "1,32")
            self.assertFalse(os.path.exists(c[c.index("--db") + 1]), "and it is gone")

    def test_failures_say_what_failed(self):
        ran = self.run_script("--runs", "4")
        self.assertEqual(ran.returncode, 1)
        self.assertIn("no more decisions", ran.stderr)
        ran = self.run_script("--runs", "2", "--db", os.path.join(self.folder.name, "none.db"))
        self.assertEqual(ran.returncode, 1)
        self.assertIn("none.db: no such file", ran.stderr)
        self.assertEqual(self.run_script("--runs", "1").returncode, 2)


if __name__ == "__main__":
    unittest.main()
