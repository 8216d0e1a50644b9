"""Sections about the units: ceilings of both at once, mode map, split curves, scaling."""

import os
import re
import tempfile
import unittest

import synthetic
from htmlcheck import Page
from test_page import write_page


class Units(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        connection = synthetic.create(os.path.join(cls.folder.name, "test.db"))
        cls.addClassCleanup(connection.close)
        cls.known = synthetic.fill(connection, "first")
        cls.coop = synthetic.add_coop(connection, cls.known)
        cls.html = write_page(cls.folder.name, connection)
        cls.page = Page(cls.html)

    def drawing(self, title):
        return next(text for text in re.findall(r"<svg.*?</svg>", self.html, re.DOTALL) if f">{title}" in text)

    def test_is_well_formed(self):
        self.assertEqual(self.page.problems, [])

    def test_ceilings_of_both_units_at_once(self):
        self.assertIn(">at once: 5\u202f200", self.drawing("Roofline for int8"))
        self.assertNotIn(">at once", self.drawing("Roofline for f32"))
        self.assertIn("DRAM 45.8 GB/s", self.drawing("Roofline for f32").split("Both units at once")[1])
        self.assertEqual(self.page.values["coop-peak-1"][4], "5200.75")
        self.assertIn("4\u202f500 of it the matrix unit", self.page.text_of["coop-peak-1"])
        self.assertEqual(self.page.values["coop-bandwidth-1"][5], "45.75")

    def test_mode_map_has_crossovers_and_evidence(self):
        content = " ".join(self.page.sections["modemap"].split())
        self.assertIn("cpu up to 1, coop from 512", content)
        tips = [value for tag, name, value in self.page.attributes if tag == "a" and name == "title"]
        coop = next(tip for tip in tips if tip.startswith("coop 40.0 µs"))
        for part in (
            "matrix 55.0 µs",
            "cpu 90.0 µs",
            "5 samples",
            f"row {self.coop['rows'][512, 768]}",
            "plan says coop",
        ):
            self.assertIn(part, coop)
        self.assertIn("1.38×", content)  # of 55 over 40

    def test_a_tie_is_marked(self):
        # fill(): prefill on the matrix unit against the default, whose intervals overlap.
        self.assertIn("≈", self.page.sections["modemap"])

    def test_split_curve_marks_planned_and_fastest(self):
        content = " ".join(self.page.sections["splits"].split())
        self.assertIn("fastest at 75 % with 40.0 µs, planned 88 % with 42.0 µs", content)
        self.assertIn("cpu alone 90.0 µs; matrix alone 55.0 µs", content)
        svg = self.drawing("Split of ffn_gate, M 512")
        self.assertEqual(svg.count("<title>n "), 4)
        self.assertIn("n 768 of 1024: 40.0 µs (39.6 µs to 40.4 µs), 5 samples", svg)
        for label in (">planned<", ">fastest<"):
            self.assertIn(label, svg)
        for split in (256, 512, 768, 896):
            self.assertIn(f"row-{self.coop['rows'][512, split]}", self.page.ids)

    def test_scaling_is_drawn_for_each_unit_and_level(self):
        svg = self.drawing("Peak of int8 by workers")
        self.assertIn("matrix unit with 2 workers: 10\u202f000 GFLOP/s", svg)
        self.assertIn("vector cores with 1 worker: 802 GFLOP/s", svg)
        self.assertIn("DRAM with 2 workers: 60.1 GB/s", self.drawing("Read bandwidth by workers"))


if __name__ == "__main__":
    unittest.main()
