"""Intervals and verdicts."""

import random
import unittest

from smepilot_report import stats


class Estimates(unittest.TestCase):
    def test_known_ranks(self):
        # Tables of the sign test: with n = 6 smallest to largest holds the median with 96.9 %, with n = 9 the second
        # smallest to second largest with 96.1 %, with n = 5 nothing reaches 95 %.
        self.assertAlmostEqual(stats.estimate([6, 1, 5, 2, 4, 3]).coverage, 0.96875)
        nine = stats.estimate(range(1, 10))
        self.assertEqual((nine.low, nine.median, nine.high), (2, 5, 8))
        self.assertAlmostEqual(nine.coverage, 0.9609375)
        five = stats.estimate([5, 4, 3, 2, 1])
        self.assertEqual((five.low, five.high), (1, 5))
        self.assertAlmostEqual(five.coverage, 0.9375)

    def test_one_sample_has_no_width_and_no_coverage(self):
        one = stats.estimate([7.5])
        self.assertEqual((one.low, one.median, one.high, one.coverage), (7.5, 7.5, 7.5, 0))
        self.assertFalse(one.judgeable)

    def test_coverage_is_what_it_says(self):
        generator = random.Random(1)
        hits = 0
        for _ in range(2000):
            e = stats.estimate([generator.expovariate(1) for _ in range(15)])
            hits += e.low <= 0.6931471805599453 <= e.high
        self.assertAlmostEqual(hits / 2000, e.coverage, delta=0.02)

    def test_many_samples(self):
        e = stats.estimate(range(10001))
        self.assertLess(e.high - e.low, 250)
        self.assertTrue(e.low < 5000 < e.high)


class Verdicts(unittest.TestCase):
    def judge(self, ours, theirs, floor=0.02, **options):
        return stats.judge(stats.estimate(ours), stats.estimate(theirs), floor, **options).word

    def test_apart(self):
        self.assertEqual(self.judge([20, 21, 22], [10, 11, 12]), "win")
        self.assertEqual(self.judge([10, 11, 12], [20, 21, 22]), "loss")

    def test_times_are_better_when_lower(self):
        self.assertEqual(self.judge([10, 11, 12], [20, 21, 22], higher_is_better=False), "win")
        self.assertEqual(self.judge([20, 21, 22], [10, 11, 12], higher_is_better=False), "loss")

    def test_overlap_is_a_tie(self):
        self.assertEqual(self.judge([20, 30, 40], [10, 11, 20]), "tie")

    def test_within_the_noise_floor_is_a_tie_both_ways(self):
        self.assertEqual(self.judge([101.1, 101.2, 101.3], [100, 100.1, 100.2]), "tie")
        self.assertEqual(self.judge([100, 100.1, 100.2], [101.1, 101.2, 101.3]), "tie")
        self.assertEqual(self.judge([101.1, 101.2, 101.3], [100, 100.1, 100.2], floor=0.001), "win")

    def test_too_few_samples_are_not_judged(self):
        self.assertEqual(self.judge([20, 21], [10, 11, 12]), "not judged")


if __name__ == "__main__":
    unittest.main()
