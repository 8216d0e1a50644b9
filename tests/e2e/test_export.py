"""smetune db export: tables as CSV, and as Parquet where Python has pyarrow (left out loudly where it has not)."""

import csv
import importlib.util
import os
import sqlite3
import sys
import unittest

from programs import SMETUNE, ProgramTest

PYARROW = importlib.util.find_spec("pyarrow") is not None
STARTS_NOTHING = "a program under an emulator starts no other one"


class Export(ProgramTest):
    def setUp(self):
        super().setUp()
        self.env["SMEPILOT_PYTHON"] = sys.executable
        self.assert_works(["--bench", "-m", self.model, "-p", "8", "-n", "4", "-r", "2", "--plan", "none", "--record",
                           "--db", self.db])

    def rows(self, table):
        with sqlite3.connect(self.db) as db:
            return db.execute("SELECT * FROM " + table).fetchall()

    def export(self, *options):
        folder = self.path("out")
        out, _ = self.assert_works(["db", "export", folder, *options, "--db", self.db], SMETUNE)
        files = [os.path.basename(path) for path in out.split()]
        self.assertEqual(out.split(), [os.path.join(folder, f) for f in files])
        self.assertLessEqual(set(files), set(os.listdir(folder)))
        return folder, files

    def test_csv(self):
        folder, files = self.export("--table", "bench", "--table", "model")
        self.assertEqual(files, ["bench.csv", "model.csv"])
        with open(os.path.join(folder, files[0]), newline="") as f:
            header, *found = csv.reader(f)
        self.assertIn("avg_ts", header)
        self.assertEqual([[float(r[header.index("avg_ts")]), r[header.index("samples_json")]] for r in found],
                         [list(r) for r in self.rows("(SELECT avg_ts, samples_json FROM bench)")])
        self.assertEqual(len(found), 2)

    def test_unknown_tables(self):
        for form in ("csv", "parquet"):
            self.assert_fails(["db", "export", self.path("out"), "--format", form, "--table", "workload_rum", "--db",
                               self.db], "no table 'workload_rum'; did you mean workload_run", program=SMETUNE)
            self.assertFalse(os.path.exists(self.path("out")))
        self.assert_fails(["db", "export", self.path("out"), "--format", "xml"], "xml", code=2, program=SMETUNE)

    @unittest.skipIf(os.environ.get("SMEPILOT_EMULATOR"), STARTS_NOTHING)
    def test_parquet_without_pyarrow_says_what_to_do(self):
        # A package of that name that cannot be imported stands for one that is absent.
        os.makedirs(self.path("lib/pyarrow"))
        with open(self.path("lib/pyarrow/__init__.py"), "w") as f:
            f.write("raise ImportError('not here')\n")
        self.env["PYTHONPATH"] = self.path("lib")
        err = self.assert_fails(["db", "export", self.path("out"), "--format", "parquet", "--db", self.db], "pyarrow",
                                sys.executable, "not here", "SMEPILOT_PYTHON", "--format csv", program=SMETUNE)
        self.assertNotIn("Traceback", err)
        self.assertEqual(os.listdir(self.path("out")), [])

    @unittest.skipIf(os.environ.get("SMEPILOT_EMULATOR"), STARTS_NOTHING)
    @unittest.skipUnless(PYARROW, "NOT TESTED: Parquet files; %s has no package pyarrow" % sys.executable)
    def test_parquet(self):
        import pyarrow
        from pyarrow import parquet

        folder, files = self.export("--format", "parquet")
        with sqlite3.connect(self.db) as db:
            tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
                      if not r[0].startswith("sqlite_")]
        self.assertEqual(files, [t + ".parquet" for t in tables])
        for table in tables:
            found = parquet.read_table(os.path.join(folder, table + ".parquet"))
            self.assertEqual([tuple(r.values()) for r in found.to_pylist()], self.rows(table), table)
        bench = parquet.read_schema(os.path.join(folder, "bench.parquet"))
        self.assertEqual((bench.field("avg_ts").type, bench.field("n_prompt").type, bench.field("model_file").type,
                          bench.field("plan_id").nullable, bench.field("session_id").nullable),
                         (pyarrow.float64(), pyarrow.int64(), pyarrow.string(), True, False))
        folder, files = self.export("--format", "parquet", "--table", "session")  # over what is there
        self.assertEqual(files, ["session.parquet"])


if __name__ == "__main__":
    unittest.main()
