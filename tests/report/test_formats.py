"""The report as JSON, which its schema promises, and as Markdown, which fits a terminal."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest

import synthetic
from smepilot_report import markdown
from smepilot_report.main import main

try:
    import jsonschema
except ImportError:
    jsonschema = None

SCHEMAS = synthetic.SOURCE / "reports" / "smepilot_report" / "schemas"


def validate(test, value, name):
    if jsonschema is None:
        test.skipTest("no jsonschema is installed: the JSON is not validated")
    schema = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(value, schema, cls=jsonschema.Draft7Validator)


class Formats(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.database = os.path.join(folder.name, "test.db")
        self.connection = synthetic.create(self.database)
        self.addCleanup(self.connection.close)

    def written(self, form, *options):
        self.connection.commit()
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(main(["--db", self.database, "--format", form, *options]), 0)
        return out.getvalue()

    def test_json_validates_and_equals_the_database(self):
        known = synthetic.fill(self.connection)
        document = json.loads(self.written("json"))
        validate(self, document, "report.schema.json")
        model = document["models"][0]
        rows = {row["entry"]: row for row in model["choices"]}
        self.assertEqual(set(rows), set(known["entries"]))
        self.assertEqual(rows[known["entries"][0]]["measured_ns"], 5075.25)
        self.assertEqual(rows[known["entries"][0]]["row"], known["rows"]["decode"])
        self.assertEqual(rows[known["entries"][0]]["verdict"]["word"], "win")
        medians = [s["tokens_per_s"]["median"] for s in model["end_to_end"]]
        self.assertIn(202.0, medians)
        self.assertEqual(document["summary"]["verdicts"], {"win": 1, "tie": 2, "loss": 1, "not judged": 1})
        self.assertEqual(len(document["calibration"]["peaks"]), 7)
        against = {b["workload"]: b["against"] for b in model["baselines"]}
        self.assertEqual(against["prefill (pp512)"]["untuned default"]["word"], "win")
        self.assertIsNone(against["prefill (pp512)"]["roofline heuristic"])
        rows = {(row["table"], row["id"]): row for row in document["rows"]}
        self.assertEqual(rows["measurement", known["rows"]["decode"]]["time_ns"], 5075.25)
        self.assertEqual(rows["measurement", known["rows"]["pruned"]]["kind"], "predicted")
        self.assertIsNone(rows["measurement", known["rows"]["incorrect"]]["kind"])
        self.assertEqual(rows["bench", 3]["tokens_per_s"], 101.5)

    def test_json_of_little_or_nothing_validates(self):
        validate(self, json.loads(self.written("json")), "report.schema.json")
        _, session = synthetic.add_machine(self.connection)
        validate(self, json.loads(self.written("json")), "report.schema.json")
        synthetic.add_calibration(self.connection, session)
        validate(self, json.loads(self.written("json")), "report.schema.json")

    def test_the_schema_can_fail(self):
        synthetic.fill(self.connection, "m")
        document = json.loads(self.written("json"))
        del document["models"][0]["choices"][0]["measured_ns"]
        if jsonschema is None:
            self.skipTest("no jsonschema is installed")
        with self.assertRaises(jsonschema.ValidationError):
            validate(self, document, "report.schema.json")

    def test_markdown_fits_a_terminal(self):
        for name in ("model-name_7B", synthetic.HOSTILE):
            with self.subTest(name=name):
                self.setUp()
                synthetic.fill(self.connection, name)
                text = self.written("md")
                for line in text.splitlines():
                    self.assertLessEqual(len(line), 80, line)
                self.assertNotIn("\x1b", text)
                self.assertNotRegex(text, r"(?<!\\)<script")
        self.assertIn("0.63× of llama.cpp", " ".join(text.split()))

    def test_markdown_tables_are_tables(self):
        synthetic.fill(self.connection, "m")
        lines = self.written("md").splitlines()
        tables = [line for line in lines if line.startswith("|")]
        self.assertGreater(len(tables), 12)
        at = next(i for i, line in enumerate(lines) if line.startswith("| Operator"))
        self.assertEqual({line.count("|") for line in lines[at : at + 5]}, {8})
        self.assertRegex(lines[at + 1], r"^\| -+ \| -+: \| ")
        self.assertIn("win", lines[at + 2] + lines[at + 3] + lines[at + 4])

    def test_markup_in_names_is_text(self):
        self.assertEqual(markdown.escape("a|b `c`\n*d* <e>"), "a\\|b \\`c\\` \\*d\\* \\<e>")
        cut = markdown.table(["A", "B"], [["x\\|" * 60, "1"]])
        self.assertNotIn("\\…", cut)

    def test_empty_database_says_what_to_run(self):
        self.assertIn("smetune calibrate", self.written("md"))

    def test_file_and_standard_output(self):
        synthetic.fill(self.connection, "m")
        path = self.database + ".json"
        self.assertIn("written to", self.written("json", "--out", path))
        with open(path, encoding="utf-8") as file:
            self.assertEqual(json.load(file)["format"], "smepilot-report")
        self.assertTrue(self.written("html", "--out", "-").startswith("<!DOCTYPE html>"))

    def test_neither_needs_the_libraries_of_the_page(self):
        synthetic.fill(self.connection, "m")
        code = (
            "import sys; sys.modules.update(dict.fromkeys(('matplotlib', 'jinja2', 'numpy'))); "
            "from smepilot_report.main import main; sys.exit(main(sys.argv[1:]))"
        )
        for form, wanted in (("json", 0), ("md", 0), ("html", 1)):
            done = subprocess.run(
                [sys.executable, "-B", "-c", code, "--db", self.database, "--format", form, "--out", "-"],
                capture_output=True,
                text=True,
            )
            self.assertEqual(done.returncode, wanted, done.stderr)
        self.assertIn("python3-jinja2", done.stderr)

    @unittest.skipUnless(os.environ.get("SMETUNE"), "SMETUNE does not name a smetune to call")
    def test_smetune_writes_them(self):
        synthetic.fill(self.connection, "m")
        environment = {**os.environ, "SMEPILOT_PYTHON": sys.executable}
        command = [os.environ["SMETUNE"], "--db", self.database, "report", "--format"]
        done = subprocess.run([*command, "json"], capture_output=True, text=True, env=environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(json.loads(done.stdout)["models"][0]["name"], "m")
        done = subprocess.run([*command, "md"], capture_output=True, text=True, env=environment)
        self.assertIn("# smepilot report", done.stdout)
        self.assertEqual(subprocess.run([*command, "pdf"], capture_output=True, env=environment).returncode, 2)


if __name__ == "__main__":
    unittest.main()
