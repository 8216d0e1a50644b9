"""What cannot be reported is said in one line that names the file, with exit code 1, and nothing is left behind."""

import contextlib
import io
import os
import sqlite3
import subprocess
import sys
import tempfile
import unittest

import synthetic
from smepilot_report.main import main, write_whole


class Failures(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.database = self.path("test.db")
        self.out = self.path("report.html")

    def path(self, name):
        return os.path.join(self.folder, name)

    def fill(self):
        connection = synthetic.create(self.database)
        synthetic.fill(connection, "first")
        return connection

    def fails(self, *says, options=(), out=None):
        before = sorted(os.listdir(self.folder))
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            code = main(["--db", self.database, "--out", out or self.out, *options])
        self.assertEqual(code, 1, errors.getvalue())
        self.assertEqual(errors.getvalue().count("\n"), 1, errors.getvalue())
        for text in says:
            self.assertIn(text, errors.getvalue())
        self.assertEqual(sorted(os.listdir(self.folder)), before)

    def test_no_file(self):
        self.fails(self.database, "no such file", "smetune calibrate")

    def test_a_folder(self):
        os.mkdir(self.database)
        self.fails(self.database, "not a file")

    def test_an_empty_file(self):
        open(self.database, "w").close()
        self.fails(self.database, "is empty")

    def test_not_a_database(self):
        with open(self.database, "wb") as file:
            file.write(os.urandom(8192))
        self.fails(self.database, "not a readable database")

    def test_of_another_program(self):
        connection = sqlite3.connect(self.database)
        connection.execute("CREATE TABLE t (x)")
        connection.close()
        self.fails(self.database, "another program")

    def test_newer_schema(self):
        connection = self.fill()
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        self.fails(self.database, "schema 99")

    def test_damaged_pages(self):
        self.fill().close()
        size = os.path.getsize(self.database)
        with open(self.database, "r+b") as file:
            for page in range(4096, size, 4096):  # all but the first, which has the header
                file.seek(page)
                file.write(b"\xa5" * 512)
        self.fails(self.database)

    def test_cut_short(self):
        self.fill().close()
        os.truncate(self.database, os.path.getsize(self.database) // 2)
        self.fails(self.database)

    def test_samples_that_are_none(self):
        for value in ('{"a":1}', '[1,"x"]', "[1e999]", "[true]"):
            with self.subTest(value=value):
                if os.path.exists(self.database):
                    os.unlink(self.database)
                connection = self.fill()
                connection.execute("UPDATE bench SET samples_json = ? WHERE id = 2", (value,))
                connection.commit()
                connection.close()
                self.fails(self.database, "bench 2", "samples_json")

    def test_unknown_model_and_plan(self):
        self.fill().close()
        self.fails(self.database, "no model 'nonsense'", "'first' (cafe0123)", options=("--model", "nonsense"))
        self.fails(self.database, "no plan 77", "there is 1", options=("--plan", "77"))
        self.fails(self.database, "plan 1 is for model 'first'", options=("--plan", "1", "--model", "second"))

    def test_place_that_cannot_be_written(self):
        self.fill().close()
        self.fails(self.path("nowhere/report.html"), "cannot be written", out=self.path("nowhere/report.html"))
        os.mkdir(self.path("taken"))
        self.fails(self.path("taken"), "cannot be written", out=self.path("taken"))

    def test_database_is_not_overwritten(self):
        self.fill().close()
        self.fails("the database itself", out=self.database)

    def test_old_report_survives_a_failed_write(self):
        with open(self.out, "w", encoding="utf-8") as file:
            file.write("old")
        with self.assertRaises(UnicodeEncodeError):
            write_whole(self.out, "new \ud800")
        with open(self.out, encoding="utf-8") as file:
            self.assertEqual(file.read(), "old")
        self.assertEqual(os.listdir(self.folder), ["report.html"])

    def test_database_is_left_as_it_was(self):
        self.fill().close()
        with open(self.database, "rb") as file:
            before = file.read()
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(main(["--db", self.database, "--out", self.out]), 0)
        with open(self.database, "rb") as file:
            self.assertEqual(file.read(), before)

    def test_exit_codes_of_the_program(self):
        program = [sys.executable, "-B", "-m", "smepilot_report"]
        self.assertEqual(subprocess.run([*program, "--nonsense"], capture_output=True).returncode, 2)
        failed = subprocess.run([*program, "--db", self.database, "--out", self.out], capture_output=True, text=True)
        self.assertEqual((failed.returncode, failed.stdout), (1, ""))
        self.assertIn(self.database, failed.stderr)

    @unittest.skipUnless(os.environ.get("SMETUNE"), "SMETUNE does not name a smetune to call")
    def test_smetune_calls_it(self):
        self.fill().close()
        command = [os.environ["SMETUNE"], "--db", self.database, "report", "-o", self.out]
        environment = {**os.environ, "SMEPILOT_PYTHON": sys.executable}
        done = subprocess.run(
            [*command, "--model", "first", "--plan", "1"], capture_output=True, text=True, env=environment
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.out, encoding="utf-8") as file:
            self.assertIn('id="endtoend"', file.read())
        failed = subprocess.run([*command, "--model", "nonsense"], capture_output=True, text=True, env=environment)
        self.assertEqual(failed.returncode, 1)
        self.assertIn("no model 'nonsense'", failed.stderr)


if __name__ == "__main__":
    unittest.main()
