"""The whole path, with real measurements on a model of a few kilobytes: calibrate, search, plan, run, report."""

import json
import os
import sqlite3
import subprocess
import sys
import unittest

from programs import EMULATOR, SHARED_MODELS, ProgramTest


def report_python():
    """An interpreter that has what the report needs, or None."""
    for python in (os.environ.get("SMEPILOT_PYTHON"), "/usr/bin/python3", sys.executable):
        if python and os.path.exists(python):
            if subprocess.run([python, "-c", "import matplotlib, jinja2"], capture_output=True).returncode == 0:
                return python
    return None


@unittest.skipIf(EMULATOR, "NOT TESTED: calibration and search measure, an emulator's times mean nothing")
class WholePath(ProgramTest):
    def step(self, *args):
        code, out, err = self.smetune(*args)
        self.assertEqual(code, 0, "%s\n%s%s" % (args, out, err))
        return out

    def test_from_calibration_to_report(self):
        stories = os.path.join(SHARED_MODELS, "stories260K-q8_0.gguf")
        model = stories if os.path.exists(stories) else self.model
        self.step("calibrate", "--quick")
        code, verified, err = self.smetune("calibrate", "--quick", "--verify", "--json")
        verified = json.loads(verified)  # whether it holds is the machine's affair, not a test's
        self.assertEqual(code, 0 if verified["holds"] else 1, err)
        self.assertEqual(verified["holds"], all(n["holds"] for n in verified["numbers"]))
        out = json.loads(self.step("search", "--model", model, "--m", "1,16", "--context", "64", "--budget", "8",
                                   "--json"))
        self.assertGreater(out["samples_measured"], 0)
        with sqlite3.connect(self.db) as db:
            measured = db.execute("SELECT count(*) FROM measurement WHERE status = 'ok' AND samples_json != '[]'")
            self.assertGreater(measured.fetchone()[0], 0)
            plans = db.execute("SELECT id, fingerprint FROM plan").fetchall()
            platforms = db.execute("SELECT fingerprint FROM platform").fetchall()
        self.assertEqual([p[1] for p in plans], [platforms[0][0]])

        self.assertIn("ffn_down", self.step("plan", "explain", "--model", model, "--op", "ffn_down", "--m", "1"))
        self.step("plan", "show")
        file = self.path("plan.json")
        self.step("plan", "export", "-o", file)
        self.step("plan", "import", file)

        # The plan changes how it is computed, not what: greedy text is the untuned one's, near ties aside.
        prompt = ["-p", "Once upon a time", "-n", "20", "--temp", "0", "--ignore-eos"]
        tuned, err = self.assert_works(["-m", model, "--db", self.db, "--plan", "db", *prompt])
        self.assertNotIn("untuned", err)
        untuned, _ = self.assert_works(["-m", model, "--db", self.db, "--plan", "none", *prompt])
        self.assertEqual(tuned[:30], untuned[:30])
        self.assertEqual(self.assert_works(["-m", model, "--db", self.db, "--plan", file, *prompt])[0], tuned)
        for plan in ("db", "none"):
            self.assert_works(["-m", model, "--db", self.db, "--plan", plan, "--bench", "-p", "32", "-n", "8", "-r",
                               "3", "--record"])
        self.step("db", "check")

        python = report_python()
        if python is None:
            self.skipTest("NOT TESTED: the report, since no Python has matplotlib and jinja2")
        self.env["SMEPILOT_PYTHON"] = python
        page = self.path("report.html")
        self.step("report", "-o", page)
        with open(page, encoding="utf-8") as f:
            html = f.read()
        self.assertIn("</html>", html)
        for part in ("ffn_down", "attention", out["model"] if isinstance(out.get("model"), str) else "roofline"):
            self.assertIn(part, html)


if __name__ == "__main__":
    unittest.main()
