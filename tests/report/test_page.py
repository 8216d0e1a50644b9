"""The page made from a database whose every number is known."""

import contextlib
import io
import json
import os
import re
import statistics
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

import synthetic
from htmlcheck import Page
from smepilot_report import plots
from smepilot_report.main import main
from smepilot_report.text import significant

SECTIONS = {
    "summary",
    "actions",
    "platform",
    "roofline",
    "scaling",
    "modemap",
    "splits",
    "choices",
    "endtoend",
    "timeline",
    "conversions",
    "load",
    "ruledout",
    "rows",
}
ADDRESS = re.compile(r"(?:https?:)?//[a-z0-9]", re.IGNORECASE)


def write_page(folder, connection, *options):
    path = os.path.join(folder, "report.html")
    database = connection.execute("PRAGMA database_list").fetchone()[2]
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["--db", database, "--out", path, *options]) == 0
    with open(path, encoding="utf-8") as file:
        return file.read()


class PageOfFullDatabase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.connection = synthetic.create(os.path.join(cls.folder.name, "full $&<'.db"))
        cls.addClassCleanup(cls.connection.close)
        cls.known = synthetic.fill(cls.connection)
        cls.html = write_page(cls.folder.name, cls.connection)
        cls.page = Page(cls.html)
        cls.svgs = re.findall(r"<svg.*?</svg>", cls.html, re.DOTALL)
        cls.roofs = [text for text in cls.svgs if "Roofline for" in text]

    def rows(self, table):
        cursor = self.connection.execute(f"SELECT * FROM {table}")
        names = [c[0] for c in cursor.description]
        return [dict(zip(names, row, strict=False)) for row in cursor]

    def test_is_well_formed(self):
        self.assertEqual(self.page.problems, [])

    def test_has_every_section_with_content(self):
        self.assertEqual(set(self.page.sections), SECTIONS)
        for name, content in self.page.sections.items():
            with self.subTest(section=name):
                self.assertGreater(len(content.split()), 15)
                if name != "splits":  # nothing else is missing here
                    self.assertNotIn("smetune search --model MODEL", content)

    def test_refers_to_nothing_outside(self):
        for tag, name, value in self.page.attributes:
            with self.subTest(tag=tag, name=name):
                self.assertNotIn(name, ("src", "srcset", "data", "action", "background", "poster", "xlink:href"))
                self.assertFalse(name.startswith("on"))
                if name == "href":
                    self.assertTrue(value.startswith("#"), value)
                elif name not in ("xmlns", "xmlns:xlink"):
                    self.assertNotRegex(value or "", ADDRESS)
        self.assertFalse({"link", "img", "iframe", "object", "embed", "base", "form"} & set(self.page.tags))
        for part in re.findall(r"<(?:style|script)[^>]*>(.*?)</(?:style|script)>", self.html, re.DOTALL):
            self.assertNotRegex(part, r"@import|https?:|fetch\(|XMLHttpRequest|import\(|eval\(|innerHTML|url\((?!#)")

    def test_drawings_are_xml_with_titles(self):
        self.assertEqual(len(self.roofs), 2)  # f32 and int8
        self.assertEqual(len(self.svgs), 5)  # and their scaling, and that of the bandwidths
        for text in self.svgs:
            root = ElementTree.fromstring(text)
            children = {child.tag.partition("}")[2]: child for child in root}
            self.assertTrue(children["title"].text and children["desc"].text)
            self.assertEqual(root.get("role"), "img")
            self.assertEqual(
                root.get("aria-labelledby").split(), [children["title"].get("id"), children["desc"].get("id")]
            )
            self.assertIn("var(--fg)", text)
            self.assertNotRegex(text, "#0[0-9a-f]0[0-9a-f]0[0-9a-f]\\b")  # no stand-in colour is left

    def test_drawings_hold_ceilings_levels_and_dots(self):
        by_type = {
            re.search(r"Roofline for (\w+)", text)[1]: "".join(ElementTree.fromstring(text).itertext())
            for text in self.roofs
        }
        self.assertIn("avx512: 199", by_type["f32"])
        self.assertIn("avx512: 102", by_type["f32"])
        for unit in ("vector cores ×1", "vector cores ×2", "matrix unit ×1", "matrix unit ×2"):
            self.assertIn(unit, by_type["int8"])
        self.assertNotIn("matrix unit", by_type["f32"])
        self.assertNotIn("avx2", by_type["f32"])  # only the fastest instruction set is a ceiling
        self.assertIn("amxint8: 10\u202f000", by_type["int8"])
        for level in ("L1 801", "L2 400", "LLC 120", "DRAM 60.1"):  # of two workers
            self.assertIn(f"{level} GB/s", by_type["int8"])
        self.assertIn("ffn_up", by_type["int8"])
        self.assertRegex(by_type["f32"], r"\d! attention")  # flagged
        self.assertNotRegex(by_type["int8"], r"\d! ")

    def test_labels_are_pushed_apart_and_no_further(self):
        self.assertEqual(plots._push_apart([1, 1, 1, 50], 10), [-9, 1, 11, 50])
        self.assertEqual(plots._push_apart([0, 10, 20], 10), [0, 10, 20])
        places = plots._push_apart([0, 4, 18, 19], 10)
        self.assertTrue(all(b - a >= 10 - 1e-9 for a, b in zip(places, places[1:], strict=False)), places)
        self.assertAlmostEqual(sum(places), 41)

    def test_labels_of_like_bandwidths_stand_one_behind_the_other(self):
        peaks = [row for row in self.rows("peak") if row["dtype"] == "f32"]
        reads = [{"op": "read", "workers": 1, "level": f"L{i}", "gbps": 100.0 + 0.1 * i} for i in range(3)]
        drawing = plots.roofline("x", "f32", peaks, reads, [], "t")
        at = sorted(float(x) for x in re.findall(r"translate\(([\d.]+) [\d.]+\) rotate\(-[1-9]", drawing))
        if not at:  # as other versions of matplotlib write it
            at = sorted(float(x) for x in re.findall(r'x="([\d.]+)"[^>]*>L\d 100 GB/s', drawing))
        self.assertEqual(len(at), 3, drawing[:200])
        for before, after in zip(at, at[1:], strict=False):
            self.assertGreater(after - before, 30)

    def test_every_figure_leads_to_its_rows(self):
        links = [v.split() for tag, name, v in self.page.attributes if tag == "a" and name == "data-rows"]
        self.assertGreaterEqual(len(links), len(self.svgs))
        for ids in links:
            self.assertTrue(ids and set(ids) <= self.page.ids, ids)
        figures = re.findall(r"<figure>.*?</figure>", self.html, re.DOTALL)
        self.assertEqual(len(figures), len(self.svgs))
        for figure in figures:
            self.assertIn("data-rows=", figure)

    def test_all_rows_are_in_one_table_with_a_label(self):
        tables = re.findall(r"<table.*?</table>", self.html[self.html.index('<section id="rows"') :], re.DOTALL)
        self.assertEqual(len(tables), 2)  # the other one stands for it on paper: rows by table and label
        counts = re.findall(r'<td class="num">(\d+)</td><td class="num">[\d—]+</td>', tables[1])
        self.assertEqual(sum(map(int, counts)), tables[0].count("<tr id="))
        rows = re.findall(r'<tr id="([a-z-]+)-(\d+)"', tables[0])
        wanted = {"row": "measurement", "plan-entry": "plan_entry", "fork": "fork_join"}
        for anchor in ("row", "plan-entry", "bench", "baseline", "peak", "bandwidth", "fork"):
            table = wanted.get(anchor, anchor)
            have = {int(number) for name, number in rows if name == anchor}
            self.assertEqual(have, {row["id"] for row in self.rows(table)}, table)
        for name, number in rows:
            text = self.page.text_of[f"{name}-{number}"]
            self.assertRegex(text, "measured|predicted|no number", name)
        labels = re.findall(r'<span class="tag">(\w+)</span></td>', tables[0])
        self.assertEqual(labels.count("predicted"), 2)  # the two pruned candidates
        self.assertEqual(labels.count("measured"), len(rows) - 4)  # the incorrect and the refused one have no number

    def test_dot_above_the_roof_is_explained(self):
        self.assertEqual(self.page.text.count("Above the roof:"), 1)
        self.assertIn("faster than its roofline price", self.page.text)

    def test_measurements_equal_the_database(self):
        for row in self.rows("measurement"):
            with self.subTest(row=row["id"]):
                time, _, low, predicted = self.page.values[f"row-{row['id']}"][:4]
                if row["status"] == "ok":
                    self.assertEqual((float(time), float(low)), (row["median_ns"], row["ci_low_ns"]))
                    self.assertIn("measured", self.page.text_of[f"row-{row['id']}"])
                else:
                    self.assertEqual((time, low), ("", ""))
                self.assertEqual(predicted, str(row["predicted_ns"] or ""))
                self.assertIn(row["reason"].replace("\x1b", "\ufffd"), self.page.text_of[f"row-{row['id']}"])

    def test_rates_follow_from_shape_and_time(self):
        values = self.page.values[f"row-{self.known['rows']['decode']}"]
        median = statistics.median([5000.25, 5100.5, 5200.5, 5050.0])
        self.assertAlmostEqual(float(values[4]), 2 * 512 * 256 / median)
        self.assertAlmostEqual(float(values[5]), (512 * 256 / 32 * 18 + 4 * (512 + 256)) / median)

    def test_plan_equals_the_database(self):
        for row in self.rows("plan_entry"):
            with self.subTest(entry=row["id"]):
                values = [float(v) for v in self.page.values[f"entry-{row['id']}"]]
                self.assertEqual(values[:4], [row["m_min"], row["predicted_ns"], row["measured_ns"], row["default_ns"]])
                self.assertAlmostEqual(values[4], row["default_ns"] / row["measured_ns"])
                content = self.page.text_of[f"entry-{row['id']}"]
                self.assertIn(row["variant"], content)
                self.assertIn(row["mode"], content)
        first, second, third = (self.page.text_of[f"entry-{i}"] for i in self.known["entries"])
        self.assertIn("win", first)
        self.assertIn("1–16", first)
        self.assertIn("tie", second)
        self.assertIn("17–∞", second)
        self.assertIn("is the default", third)

    def test_rates_of_the_machine_equal_the_database(self):
        for table, column in (("peak", "gflops"), ("bandwidth", "gbps")):
            for row in self.rows(table):
                self.assertIn(row[column], [float(v) for v in self.page.values[f"{table}-{row['id']}"] if v])
        calibration = self.rows("calibration")[0]
        shown = [float(v) for v in self.page.values["platform"]]
        for column in ("noise_floor", "busy_fraction", "exp_geps", "pack_gbps"):
            self.assertIn(calibration[column], shown)

    def test_throughputs_equal_the_database(self):
        for table in ("bench", "baseline"):
            for row in self.rows(table):
                time, rate, low = self.page.values[f"{table}-{row['id']}"][:3]
                self.assertEqual((time, float(rate)), ("", row["avg_ts"]))
                self.assertEqual(float(low), min(json.loads(row["samples_json"])))
                self.assertIn(significant(row["stddev_ts"]), self.page.text_of[f"{table}-{row['id']}"])
        medians = {name: statistics.median(samples) for name, samples in self.known["samples"].items()}
        shown = [float(v) for v in self.page.values["endtoend"] if v]
        for name, median in medians.items():
            with self.subTest(series=name):
                self.assertIn(median, shown)
        cards = [float(v) for v in self.page.values["summary"]]
        self.assertEqual(cards[:2], [medians["prefill_plan"], medians["decode_plan"]])

    def test_wins_ties_and_losses(self):
        # Prefill beats the default and ties with llama.cpp; decode ties with the default and loses to llama.cpp; what
        # ran on another CPU is not judged.
        counts = re.search(
            r"(\d+) won, (\d+) tied, (\d+) lost, (\d+) not judged", " ".join(self.page.sections["summary"].split())
        )
        self.assertEqual(counts.groups(), ("1", "2", "1", "1"))
        lead = self.page.sections["summary"]
        self.assertIn("against the untuned default 1.99× in pp512 (a win), 1.01× in tg128 (a tie)", lead)
        self.assertIn("against llama.cpp 1.00× in pp512 (a tie), 0.63× in tg128 (a loss).", lead)
        self.assertIn("it ran on another CPU", self.page.sections["endtoend"])
        self.assertIn("Baselines ran at another time", self.page.sections["summary"])

    def test_reasons_that_differ_in_numbers_are_one(self):
        text = " ".join(self.page.sections["ruledout"].split())
        self.assertIn("pruned2predicted #, #x the best prediction of #2 rows", text)

    def test_hostile_names_are_text(self):
        self.assertEqual(self.page.tags.count("script"), 1)
        self.assertIn(synthetic.HOSTILE_CLEAN, self.page.text)
        self.assertIn("</details><img src=x onerror=alert(1)>", self.page.text)
        self.assertNotIn("\x1b", self.html)
        self.assertNotIn("\u202e", self.html)
        self.assertIn("{{ 7*7 }}", self.page.text)

    def test_numbers_carry_their_kind(self):
        for kind in ("measured", "predicted", "published", "simulated"):
            self.assertIn(f'<span class="tag">{kind}</span>', self.html)
        for table in re.findall(r"<table.*?</table>", self.html, re.DOTALL):
            head = re.search(r".*?</thead>", table, re.DOTALL)[0]
            if re.search(r">(?:Time|Default|GFLOP/s|GB/s|Median|Mean tokens/s)", head):
                self.assertRegex(head, r'class="tag">(measured|predicted)')


class PageOfOther(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.connection = synthetic.create(os.path.join(self.folder, "test.db"))
        self.addCleanup(self.connection.close)

    def page(self, *options):
        self.connection.commit()
        page = Page(write_page(self.folder, self.connection, *options))
        self.assertEqual(page.problems, [])
        self.assertEqual(set(page.sections), SECTIONS)
        return page

    def test_empty_database_says_what_to_run(self):
        page = self.page()
        self.assertIn("nothing has been measured yet", page.sections["summary"])
        for name, command in (
            ("platform", "smetune calibrate"),
            ("roofline", "smetune calibrate"),
            ("scaling", "smetune calibrate"),
            ("modemap", "smetune search"),
            ("splits", "smetune search"),
            ("timeline", "smepilot-run -m MODEL.gguf"),
            ("conversions", "smepilot-run --bench"),
            ("actions", "smetune calibrate"),
            ("load", "smepilot-run --bench"),
            ("choices", "smetune search"),
            ("endtoend", "smepilot-run --bench"),
            ("ruledout", "smetune search"),
            ("rows", "smetune search"),
        ):
            with self.subTest(section=name):
                self.assertIn(command, page.sections[name])

    def test_calibration_alone_is_drawn(self):
        _, session = synthetic.add_machine(self.connection)
        synthetic.add_calibration(self.connection, session, noise_floor=0.4, busy_fraction=0.7, quick=1)
        page = self.page()
        self.assertEqual(page.tags.count("svg"), 5)
        self.assertIn("Other programs took 70 % of the CPU time", page.sections["summary"])
        self.assertIn("noise floor is 40.0 %", page.sections["summary"])
        self.assertIn("smetune search", page.sections["choices"])

    def test_runs_without_search_or_plan(self):
        _, session = synthetic.add_machine(self.connection)
        model = synthetic.add_model(self.connection, hash="aa55aa55")
        synthetic.add_bench(self.connection, session, model, [1.5, 2.5], n_gen=8)
        page = self.page("--model", "m")
        self.assertIn("No run with a plan is stored", page.sections["endtoend"])
        self.assertIn("without a plan", page.sections["summary"])

    def test_sequences_and_cache_types_are_tests_of_their_own(self):
        synthetic.fill(self.connection, "m")
        session, model = 1, 1
        synthetic.add_bench(self.connection, session, model, [301.5, 302.5, 303.5], n_gen=128, n_seqs=8)
        synthetic.add_bench(self.connection, session, model, [41.5, 42.5, 43.5], n_gen=128, kv_type="q8_0")
        page = self.page()
        self.assertIn("tg128 b8", page.sections["endtoend"])
        self.assertIn("tg128, KV q8_0", page.sections["endtoend"])
        counts = re.search(r"(\d+) won, (\d+) tied, (\d+) lost", " ".join(page.sections["summary"].split()))
        self.assertEqual(counts.groups(), ("1", "2", "1"))  # as without them
        self.assertEqual(float(page.values["summary"][1]), 51.5)  # one sequence is the headline

    def test_database_of_the_first_schema(self):
        self.connection = synthetic.create(os.path.join(self.folder, "old.db"), version=1)
        self.addCleanup(self.connection.close)
        synthetic.fill(self.connection, "m")
        self.assertIn("tg128", self.page().sections["endtoend"])

    def test_database_before_cooperative_execution(self):
        self.connection = synthetic.create(os.path.join(self.folder, "old.db"), version=3)
        self.addCleanup(self.connection.close)
        synthetic.fill(self.connection, "m")
        self.assertIn("win", self.page().sections["choices"])

    def test_coop_choice_names_both_sides(self):
        known = synthetic.fill(self.connection, "first")
        operator = synthetic.add_operator(self.connection, known["search"], "ffn_gate", m=512, n=1024, k=256)
        coop = {
            "mode": "coop",
            "workers": 1,
            "matrix_variant": synthetic.AMX,
            "matrix_workers": 1,
            "matrix_mc": 64,
            "matrix_nc": 32,
            "split": 768,
            "split_of": 1024,
            "dynamic": 1,
        }

        def measure(samples, **values):
            return synthetic.add_measurement(
                self.connection, known["search"], known["session"], known["platform"], operator, samples, **values
            )

        measure([90000.0, 91000.0, 92000.0], is_default=1, predicted=80000.0)
        measure([60000.0, 61000.0, 62000.0], predicted=50000.0, **{**coop, "split": 512})
        chosen = measure([40000.0, 40500.0, 41000.0], predicted=39000.0, **coop)
        entry = synthetic.add_entry(
            self.connection,
            known["plan"],
            n=1024,
            k=256,
            m_min=100,
            m_max=600,
            measured_m=512,
            measured_ns=40500.0,
            default_ns=91000.0,
            **coop,
        )
        page = self.page()
        row = page.text_of[f"entry-{entry}"].replace("\u00a0", " ")
        for part in ("coop", "2 workers", synthetic.AMX, "n 768 of 1024", "dynamic", "win"):
            self.assertIn(part, row)
        self.assertIn(f"#row-{chosen}", page.links)

    def test_coop_is_judged_by_the_peaks_of_both_units(self):
        synthetic.fill(self.connection, "first")
        for table in ("candidate", "plan_entry"):
            self.connection.execute(
                f"UPDATE {table} SET mode = 'coop', matrix_variant = variant, variant = ?, matrix_workers = 1 "
                "WHERE variant = ?",
                (synthetic.VNNI, synthetic.AMX),
            )
        self.assertNotIn("faster than the highest measured peak", self.page().sections["roofline"])
        self.connection.execute("UPDATE peak SET gflops = gflops / 100 WHERE dtype = 'int8'")
        self.assertIn("faster than the highest measured peak", self.page().sections["roofline"])

    def test_test_bed_is_named(self):
        synthetic.fill(self.connection, "first")
        self.assertNotIn("test bed", self.page().text)
        facts = self.connection.execute("SELECT facts_json FROM platform").fetchone()[0]
        self.connection.execute(
            "UPDATE platform SET facts_json = ?", (facts.replace('"matrix_unit": "amx"', '"matrix_unit": "testbed"'),)
        )
        page = self.page()
        self.assertIn("On the test bed on Test CPU 9000", page.sections["summary"])
        self.assertIn("not the machine as it is", page.sections["summary"])

    def test_model_without_any_row(self):
        synthetic.add_machine(self.connection)
        synthetic.add_model(self.connection, hash="aa55aa55", architecture="")
        self.assertIn("There is no plan of this model", self.page("--model", "aa55").sections["choices"])

    def test_model_and_plan_are_chosen(self):
        known = synthetic.fill(self.connection, "first")
        other = synthetic.add_model(self.connection, "second", "beef")
        synthetic.add_bench(self.connection, known["session"], other, [1.5, 2.5, 3.5], n_gen=8, file="second.gguf")
        everything = self.page()
        self.assertIn("first", everything.text)
        self.assertIn("second.gguf", everything.text)
        for option in (("--model", "second"), ("--model", "beef")):
            page = self.page(*option)
            self.assertIn("second.gguf", page.text)
            self.assertNotIn("model.gguf", page.sections["endtoend"])
        page = self.page("--plan", str(known["plan"]))
        self.assertIn("model.gguf", page.text)
        self.assertNotIn("second.gguf", page.text)

    def test_machines_are_not_mixed(self):
        known = synthetic.fill(self.connection, "first")
        _, session = synthetic.add_machine(self.connection, "ffff", "Another machine")
        synthetic.add_bench(self.connection, session, known["model"], [7777.5, 7778.5, 7779.5], n_gen=128)
        page = self.page()
        self.assertIn("Another machine", page.sections["platform"])
        self.assertNotIn("50.5", page.sections["endtoend"])
        self.assertIn("1 other machine", page.sections["summary"])
        page = self.page("--plan", str(known["plan"]))
        self.assertIn("Test CPU 9000", page.sections["platform"])
        self.assertNotIn("7778.5", str(page.values))

    def test_faster_than_the_peak_is_explained(self):
        synthetic.fill(self.connection, "first")
        self.connection.execute("UPDATE peak SET gflops = gflops / 10 WHERE dtype = 'f32'")
        self.assertIn("faster than the highest measured peak of its unit", self.page().sections["roofline"])

    def test_predictions_are_shown_with_their_own_calibration(self):
        known = synthetic.fill(self.connection, "first")
        newer = synthetic.add_calibration(self.connection, known["session"], noise_floor=0.5)
        page = self.page()
        self.assertIn(f"Calibration {known['calibration']}", page.sections["platform"])
        self.assertIn(f"calibration {newer} is newer", page.sections["summary"])

    def test_same_database_same_page(self):
        synthetic.fill(self.connection)
        without_time = [re.sub(r"Written [\d :-]+UTC", "", write_page(self.folder, self.connection)) for _ in range(2)]
        self.assertEqual(*without_time)

    def test_running_search_is_readable(self):
        # A writer in another process holds the write-ahead log open; the report reads what is committed.
        self.connection.execute("PRAGMA journal_mode = WAL")
        synthetic.fill(self.connection, "first")
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute("DELETE FROM bench")
        self.assertIn('id="bench-1"', write_page(self.folder, self.connection))
        self.connection.rollback()


if __name__ == "__main__":
    unittest.main()
