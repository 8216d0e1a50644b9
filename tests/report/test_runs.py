"""Timeline and conversions, from files as smepilot-run writes them."""

import contextlib
import io
import json
import os
import tempfile
import unittest

import synthetic
from htmlcheck import Page
from smepilot_report import runs
from smepilot_report.data import load
from smepilot_report.database import Reader, ReportError
from smepilot_report.main import main
from test_formats import validate


def event(name, operator, worker, begin, length, unit="cpu"):
    args = {"operator": operator, "mode": "cpu", "unit": unit, "index": 0, "tile": 0}
    return {"ph": "X", "name": name, "cat": operator, "pid": 1, "tid": worker, "ts": begin, "dur": length, "args": args}


def layers():
    """Three layers of 100 µs: worker 0 works 60 of them, worker 1 the matrix part of 40 in attention."""
    out = [{"ph": "M", "name": "thread_name", "pid": 1, "tid": 0, "args": {"name": "worker 0 (cpu)"}}]
    for i in range(3):
        t = 100.0 * i
        out += [event("attn_qkv", "", 0, t, 30), event("matmul", "attn_qkv", 0, t, 20)]
        out += [event("attention", "", 0, t + 40, 50), event("softmax", "attention", 0, t + 50, 40)]
        out += [event("qk", "attention", 1, t + 40, 20, "matrix"), event("pv", "attention", 1, t + 70, 20, "matrix")]
    return {"traceEvents": out}


OLD_CONVERSIONS = {"count": 7, "ns": 12500, "priced": 3, "weights": 0}
CONVERSIONS = {**OLD_CONVERSIONS, "priced_ns": 11000.5, "avoided": 21, "avoided_ns": 33500}
PHASE = {"passes": 1, "tokens": 5, "ns": 5e6, "conversions": CONVERSIONS}
OLD_PHASE = {**PHASE, "conversions": OLD_CONVERSIONS}
LOAD = {
    "seconds": 0.75,
    "weights_seconds": 0.5,
    "weights_from": "cache",
    "cache_file": "a.weights",
    "peak_rss_bytes": 5 << 20,
    "weights_bytes": 3 << 20,
    "kv_cache_bytes": 2 << 20,
    "scratch_bytes": 1 << 20,
}


class Runs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def file(self, name, value):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(value if isinstance(value, str) else json.dumps(value))
        return path

    def test_a_layer_and_its_bubbles(self):
        layer, attention = runs.read_trace(self.file("t.json", layers()))
        self.assertEqual((layer.begin, layer.end), (100, 200))
        self.assertEqual(layer.idle, {0: [(120, 150), (190, 200)], 1: [(100, 140), (160, 170), (190, 200)]})
        self.assertAlmostEqual(layer.idle_share(1), 0.6)
        self.assertEqual((attention.begin, attention.end), (140, 190))
        self.assertEqual(attention.idle, {0: [(140, 150)], 1: [(160, 170)]})

    def test_what_is_no_such_file_is_refused(self):
        for value in ("nonsense", "[]", {"x": 1}, {"traceEvents": [{"ph": "X", "ts": "now"}]}):
            with self.subTest(value=value), self.assertRaisesRegex(ReportError, "t.json"):
                runs.read_trace(self.file("t.json", value))
        with self.assertRaisesRegex(ReportError, "conversions"):
            runs.read_stats(self.file("s.json", {"prefill": {}}))
        self.assertEqual(runs.read_trace(self.file("t.json", {"traceEvents": []})), [])

    def test_the_page_shows_both(self):
        database = os.path.join(self.folder, "test.db")
        connection = synthetic.create(database)
        synthetic.fill(connection, "m")
        connection.close()
        out = os.path.join(self.folder, "r.html")
        options = ["--trace", self.file("t.json", layers())]
        # As the program prints it: text first.
        printed = "Once upon {a time}\n" + json.dumps({"prefill": PHASE, "decode": PHASE, "load": LOAD}, indent=0)
        options += ["--stats", self.file("s.json", printed)]
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(main(["--db", database, "--out", out, *options]), 0)
        with open(out, encoding="utf-8") as file:
            page = Page(file.read())
        self.assertEqual(page.problems, [])
        timeline = " ".join(page.sections["timeline"].split())
        self.assertIn("Idle: worker 0 40 % in 2 bubbles; worker 1 60 % in 3 bubbles.", timeline)
        self.assertIn("attention: qk, worker 1, 20.0 µs", timeline)
        self.assertIn("12.5 µs", page.sections["conversions"])
        for part in ("21", "33.5 µs", "11.0 µs", "0.2 %"):
            self.assertIn(part, page.sections["conversions"])
        for part in ("0.75", "mapped from the cache", "5 MiB", "3 MiB"):
            self.assertIn(part, page.sections["load"])
        for form in ("md", "json"):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                self.assertEqual(main(["--db", database, "--format", form, *options]), 0)
            text = out.getvalue()
            if form == "md":
                for part in ("prefill, 5 | 7 (12.5 µs)", "21 (33.5 µs)", "worker 1 idle 60 %", "5 MiB"):
                    self.assertIn(part, " ".join(text.split()))
                self.assertTrue(all(len(line) <= 80 or self.folder in line for line in text.splitlines()), text)
                continue
            made = json.loads(text)
            validate(self, made, "report.schema.json")
            self.assertEqual(made["conversions"][0]["decode"]["avoided"], 21)
            self.assertEqual(made["loads"][0]["peak_rss_bytes"], 5 << 20)
            self.assertAlmostEqual(made["timeline"][0]["workers"][1]["idle_share"], 0.6)

    def test_conversions_of_recorded_runs(self):
        database = os.path.join(self.folder, "test.db")
        connection = synthetic.create(database)
        known = synthetic.fill(connection, "m")

        def bench(created, **conversions):
            return synthetic.insert(
                connection, "bench", session_id=known["session"], model_id=known["model"], plan_mode="none",
                model_file="m.gguf", n_threads=2, n_prompt=512, n_gen=0, n_depth=0, avg_ts=1.0, stddev_ts=0.0,
                samples_json="[1.0]", created=created, planner="untuned", mode="auto",
                conversions_json=json.dumps(conversions),
            )  # fmt: skip

        older = {**PHASE, "conversions": {**CONVERSIONS, "count": 991}}
        bench("2026-01-01T00:00:00Z", prefill=older, decode=None)
        newest = bench("2026-01-02T00:00:00Z", prefill=PHASE, decode=None)
        connection.commit()
        out = os.path.join(self.folder, "r.html")
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(main(["--db", database, "--out", out]), 0)
        with open(out, encoding="utf-8") as file:
            page = Page(file.read())
        self.assertEqual(page.problems, [])
        text = " ".join(page.sections["conversions"].split())
        for part in ("pp512, untuned default, 2 threads, m.gguf", "12.5 µs", "33.5 µs", "0.2 %", "1 row"):
            self.assertIn(part, text)
        self.assertNotIn("991", text)
        self.assertNotIn("decode", text)
        self.assertIn(f"#bench-{newest}", page.links)
        connection.execute("UPDATE bench SET conversions_json = '{\"prefill\": {}}' WHERE id = ?", (newest,))
        connection.commit()
        connection.close()
        with self.assertRaisesRegex(ReportError, f"bench {newest}: conversions_json: has no prefill.conversions"):
            load(Reader(database))

    def test_statistics_of_older_builds_are_read(self):
        stats = runs.read_stats(self.file("s.json", {"prefill": OLD_PHASE, "decode": OLD_PHASE}))
        self.assertIsNone(stats["load"])
        self.assertIsNone(stats["prefill"]["conversions"]["avoided"])
        for part, says in (({"load": 3}, "load is not"), ({"load": {**LOAD, "seconds": -1}}, "load: seconds is '-1'")):
            with self.assertRaisesRegex(ReportError, says):
                runs.read_stats(self.file("s.json", {"prefill": PHASE, "decode": PHASE, **part}))


if __name__ == "__main__":
    unittest.main()
