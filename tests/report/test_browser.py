"""The page in a real browser, where there is one: its script runs without an error, tables sort, filter and follow the
links of figures, nothing is wider than a phone, and in no drawing a label is cut or lies on another."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import tempfile
import unittest

import synthetic
from htmlcheck import Page
from smepilot_report.main import main
from test_runs import layers

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
# Clicks as a user would: sorts all rows by time and filters them, follows the link of a figure, shows all again.
TABLES = """
  const table = document.querySelector("#rows table");
  const headers = [...table.tHead.rows[0].cells];
  const column = headers.findIndex(cell => cell.textContent.startsWith("Time"));
  const values = () => [...table.tBodies[0].rows].map(row => Number(row.cells[column].dataset.value || -1));
  const shown = () => [...table.tBodies[0].rows].filter(row => !row.hidden).length;
  const bar = document.querySelector("#rows div.filter");
  const input = bar.querySelector("input"), clear = bar.querySelector("button");
  const label = bar.querySelectorAll("select")[1];
  const all = shown();
  headers[column].querySelector("button").click();
  const up = values();
  headers[column].querySelector("button").click();
  const down = values();
  input.value = "attention row";
  input.dispatchEvent(new Event("input"));
  const none = shown();
  input.value = "attention measurement";
  input.dispatchEvent(new Event("input"));
  const one = shown();
  const link = [...document.querySelectorAll("#roofline a[data-rows]")].pop();
  link.click();
  const linked = [shown(), link.dataset.rows.split(" ").length];
  const focused = document.activeElement === table.closest(".scroll");
  clear.click();
  label.value = "predicted";
  label.dispatchEvent(new Event("change"));
  const predicted = shown();
  clear.click();
  location.hash = "#row-1";
  const found = [up.every((x, i) => !i || up[i - 1] <= x), down.every((x, i) => !i || down[i - 1] >= x),
    up.length === all, none, one, linked[0] === linked[1], focused, predicted, shown() === all, clear.hidden];
"""
# Horizontal texts of drawings, as they are laid out; a planted pair shows that the search finds one.
LABELS = r"""
  const look = () => {
    const bad = [];
    let count = 0;
    for (const svg of document.querySelectorAll("svg")) {
      const frame = svg.getBoundingClientRect(), title = svg.querySelector("title").textContent;
      const texts = [...svg.querySelectorAll("text")]
        .filter(text => !/rotate\(-?[1-9]/.test(text.getAttribute("transform")))
        .map(text => [text.textContent, text.getBoundingClientRect()]).filter(([, box]) => box.width > 0);
      texts.forEach(([words, a], i) => {
        ++count;
        if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.top < frame.top - 1 ||
            a.bottom > frame.bottom + 1) bad.push(`${title}: ${words} is cut`);
        for (const [others, b] of texts.slice(i + 1)) {
          const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
          const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
          if (width > 1 && height > 3) bad.push(`${title}: ${words} lies on ${others}`);
        }
      });
    }
    return [count > 60, bad];
  };
  for (const part of document.querySelectorAll("details")) part.open = true;
  const found = [document.documentElement.scrollWidth <= innerWidth, ...look()];
  const some = document.querySelector("svg text");
  some.after(some.cloneNode(true));
  found.push(look()[1].length);
"""


@unittest.skipUnless(BROWSER, "no Chromium is installed: the page's script is not tested")
class Browser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        connection = synthetic.create(os.path.join(cls.folder, "test.db"))
        known = synthetic.fill(connection, "a model")
        synthetic.add_coop(connection, known)
        connection.close()
        trace, page = (os.path.join(cls.folder, name) for name in ("trace.json", "report.html"))
        with open(trace, "w", encoding="utf-8") as file:
            json.dump(layers(), file)
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(["--db", os.path.join(cls.folder, "test.db"), "--trace", trace, "--out", page]) == 0
        with open(page, encoding="utf-8") as file:
            cls.text = file.read()

    def probe(self, script, *options):
        """What the script, run in the page, leaves in `found`."""
        page = os.path.join(self.folder, "probe.html")
        added = f"<script>{script} document.body.dataset.probe = JSON.stringify(found);</script>"
        with open(page, "w", encoding="utf-8") as file:
            file.write(self.text.replace("</body>", added + "</body>"))
        done = subprocess.run(
            [BROWSER, *OPTIONS, *options, f"--user-data-dir={self.folder}/profile", "file://" + page],
            capture_output=True,
            text=True,
            timeout=240,
        )
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        self.assertNotIn("CONSOLE", done.stderr)
        page = Page(done.stdout)
        found = [value for tag, name, value in page.attributes if (tag, name) == ("body", "data-probe")]
        self.assertEqual(len(found), 1, done.stderr[-2000:])
        return json.loads(found[0]), page

    def test_tables_are_sorted_filtered_and_reached(self):
        found, page = self.probe(TABLES)
        self.assertEqual(found, [True, True, True, 0, 1, True, True, 2, True, True])
        self.assertGreater(page.tags.count("button"), 20)

    def test_nothing_is_cut_or_covered(self):
        for size in ("1280,900", "500,900"):
            with self.subTest(size=size):
                found, _ = self.probe(LABELS, f"--window-size={size}")
                self.assertEqual(found[:3], [True, True, []])
                self.assertGreater(found[3], 0)


if __name__ == "__main__":
    unittest.main()
