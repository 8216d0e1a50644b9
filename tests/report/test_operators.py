"""The formulas that repeat those of kernels/abi, and how numbers are written."""

import re
import unittest

from smepilot_report import operators, text
from synthetic import SOURCE


class Formulas(unittest.TestCase):
    def test_block_sizes_equal_those_of_the_kernels(self):
        header = (SOURCE / "kernels" / "abi" / "dtype.h").read_text(encoding="utf-8")
        table = header.partition("kDTypeTraits[] = {")[2].partition("};")[0]
        found = {
            name: (int(elements), int(size))
            for name, elements, size in re.findall(r'\{"(\w+)", (\d+), (\d+), -?\d+\}', table)
        }
        self.assertGreater(len(found), 5)
        self.assertEqual(operators.BLOCKS, found)

    def test_work_and_traffic(self):
        matmul = {"kind": "matmul", "dtype": "q4_0", "m": 2, "n": 64, "k": 32, "kv_len": 0, "kv_heads": 0}
        self.assertEqual(operators.flops(matmul), 8192)
        self.assertEqual(operators.bytes_moved(matmul), 64 * 18 + 4 * 2 * 96)
        attention = {"kind": "attention", "dtype": "f16", "m": 3, "n": 8, "k": 64, "kv_len": 10, "kv_heads": 2}
        self.assertEqual(operators.flops(attention), 4 * 8 * 64 * (10 + 9 + 8))
        self.assertEqual(operators.bytes_moved(attention), 2 * 2 * 10 * 64 * 2 + 8 * 3 * 8 * 64)
        self.assertIsNone(operators.bytes_moved({**matmul, "dtype": "q99"}))

    def test_type_that_is_multiplied(self):
        for variant, mode, expected in (
            ("matmul.f32.q8.q4_0.16x16.avx512vnni.vpdpbusd", "cpu", "int8"),
            ("matmul.f32.f32.f16.8x16.avx512.fma", "cpu", "f32"),
            ("matmul.f32.f32.bf16.8x16.avx512bf16.dpbf16", "cpu", "bf16"),
            ("matmul.f32.f32.f16.32x32.amxbf16.tdp", "matrix", "bf16"),
            ("matmul.f32.f32.f16.4vlx1vl.sme2.mopa", "matrix", "f16"),
            ("attention.f32.f32.f16.64x16.avx512.online", "cpu", "f32"),
            ("nonsense", "cpu", "f32"),
        ):
            with self.subTest(variant=variant):
                self.assertEqual(operators.compute_dtype(variant, mode), expected)


class Candidates(unittest.TestCase):
    ONE = {**operators.ONE_UNIT, "variant": "a.b", "mode": "cpu", "workers": 2, "mc": 128, "nc": 64, "kv_tile": 0}
    ONE["kv_splits"] = 0
    BOTH = {**ONE, "mode": "coop", "workers": 1, "matrix_variant": "a.m", "matrix_workers": 1, "matrix_mc": 128}
    BOTH |= {"matrix_nc": 64, "split": 768, "split_of": 1024}

    def test_both_sides_are_described(self):
        self.assertEqual(operators.describe_candidate(self.ONE).replace("\u00a0", " "), "a.b ×2 mc 128 nc 64")
        self.assertEqual(
            operators.describe_candidate(self.BOTH).replace("\u00a0", " "),
            "a.b ×1 mc 128 nc 64 + a.m ×1 mc 128 nc 64 n 768 of 1024",
        )
        self.assertTrue(operators.describe_candidate({**self.BOTH, "dynamic": 1}).endswith("dynamic"))

    def test_every_field_tells_candidates_apart(self):
        for field, value in operators.ONE_UNIT.items():
            other = {**self.BOTH, field: self.BOTH[field] + 1 if isinstance(value, int) else "x"}
            with self.subTest(field=field):
                self.assertFalse(operators.same_candidate(self.BOTH, other))
        self.assertTrue(operators.same_candidate(self.BOTH, {**self.BOTH}))


class Writing(unittest.TestCase):
    def test_significant(self):
        for value, expected in (
            (0, "0"),
            (0.012345, "0.0123"),
            (1.005, "1.00"),
            (999.6, "1\u202f000"),
            (123456, "123\u202f000"),
        ):
            self.assertEqual(text.significant(value), expected)

    def test_durations(self):
        for value, expected in ((12.5, "12.5 ns"), (1500, "1.50 µs"), (2.5e6, "2.50 ms"), (3e9, "3.00 s")):
            self.assertEqual(text.nanoseconds(value), expected)

    def test_ranges(self):
        self.assertEqual((text.span(1, 1), text.span(2, 9), text.span(3, text.NO_BOUND)), ("1", "2–9", "3–∞"))

    def test_forbidden_characters(self):
        self.assertEqual(text.clean("a\x00b\x1bc\u202ed\ud800e\tf"), "a\ufffdb\ufffdc\ufffdd\ufffde\tf")


if __name__ == "__main__":
    unittest.main()
