"""The page in a real browser, where there is one: its script runs without an error and the tables become sortable."""

import contextlib
import io
import os
import shutil
import subprocess
import tempfile
import unittest

import synthetic
from htmlcheck import Page
from smepilot_report.main import main

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--dump-dom",
]


@unittest.skipUnless(BROWSER, "no Chromium is installed: the page's script is not tested")
class Browser(unittest.TestCase):
    def test_script_runs(self):
        with tempfile.TemporaryDirectory() as folder:
            connection = synthetic.create(os.path.join(folder, "test.db"))
            synthetic.fill(connection)
            connection.close()
            page = os.path.join(folder, "report.html")
            with contextlib.redirect_stdout(io.StringIO()):
                self.assertEqual(main(["--db", os.path.join(folder, "test.db"), "--out", page]), 0)
            # Clicks as a user would: sorts the measured candidates by median and filters them, then says what it found.
            with open(page, encoding="utf-8") as file:
                text = file.read()
            probe = """<script>
              const table = document.querySelector("#rows table.filter");
              const header = [...table.tHead.rows[0].cells].find(cell => cell.textContent.includes("Median"));
              const column = [...table.tHead.rows[0].cells].indexOf(header);
              const values = () => [...table.tBodies[0].rows].map(row => Number(row.cells[column].dataset.value || -1));
              header.querySelector("button").click();
              const up = values();
              header.querySelector("button").click();
              const down = values();
              const input = table.closest("details").querySelector("input");
              input.value = "attention";
              input.dispatchEvent(new Event("input"));
              const shown = [...table.tBodies[0].rows].filter(row => !row.hidden).length;
              document.body.dataset.probe = JSON.stringify([up.every((x, i) => !i || up[i - 1] <= x),
                down.every((x, i) => !i || down[i - 1] >= x), up.length, shown]);
            </script>"""
            with open(page, "w", encoding="utf-8") as file:
                file.write(text.replace("</body>", probe + "</body>"))
            done = subprocess.run(
                [BROWSER, *OPTIONS, f"--user-data-dir={folder}/profile", "file://" + page],
                capture_output=True,
                text=True,
                timeout=240,
            )
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        self.assertNotIn("CONSOLE", done.stderr)
        page = Page(done.stdout)
        self.assertIn(("body", "data-probe", "[true,true,6,1]"), page.attributes)
        self.assertGreater(page.tags.count("button"), 20)


if __name__ == "__main__":
    unittest.main()
