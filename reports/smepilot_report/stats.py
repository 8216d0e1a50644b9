"""Medians with intervals that need no assumption about the distribution, and the verdict between two of them."""

import math
from dataclasses import dataclass
from statistics import median

CONFIDENCE = 0.95
MIN_SAMPLES = 3  # below this an interval says too little for a verdict
MIN_PAIRS = 6  # below this no interval of a median has 95 % coverage


@dataclass(frozen=True)
class Estimate:
    """A median and its interval: order statistics number `rank` from both ends, whose coverage is exact."""

    median: float
    low: float
    high: float
    count: int
    coverage: float  # probability that [low, high] holds the true median, if samples are independent

    @property
    def judgeable(self):
        return self.count >= MIN_SAMPLES


def coverage_of(count, rank):
    """Probability that the median of `count` samples lies between the rank-th smallest and the rank-th largest."""
    outside = sum(math.comb(count, i) for i in range(rank)) / 2 ** (count - 1)
    return max(0.0, 1 - outside)


def estimate(samples):
    """The narrowest such interval with at least 95 % coverage, or min to max where there are too few samples for it."""
    ordered = sorted(samples)
    count = len(ordered)
    if count > 1000:  # the normal approximation of the ranks; exact sums of such size would only cost time
        rank = max(1, math.floor(count / 2 - 0.98 * math.sqrt(count)))
        return Estimate(median(ordered), ordered[rank - 1], ordered[-rank], count, CONFIDENCE)
    rank = 1
    while rank + 1 <= count // 2 and coverage_of(count, rank + 1) >= CONFIDENCE:
        rank += 1
    return Estimate(median(ordered), ordered[rank - 1], ordered[-rank], count, coverage_of(count, rank))


@dataclass(frozen=True)
class Verdict:
    """`word` is "win", "loss", "tie" or "not judged", seen from the first of the two; `why` is a clause. The ratio's
    interval follows from those of both medians: it excludes 1 where these are apart."""

    word: str
    ratio: float
    why: str
    low: float = None
    high: float = None


def judge(ours, theirs, noise_floor, higher_is_better=True):
    """Whether `ours` beats `theirs` (two Estimates). A difference counts only if the intervals are apart and it exceeds
    the noise floor, which is what the same kernel differs from itself by."""
    better, worse = (ours, theirs) if higher_is_better else (theirs, ours)
    gain = better.median / worse.median
    if not (ours.judgeable and theirs.judgeable):
        return Verdict("not judged", gain, f"fewer than {MIN_SAMPLES} samples on one side")
    between = (better.low / worse.high, better.high / worse.low) if min(better.low, worse.low) > 0 else (None, None)
    if ours.low <= theirs.high and theirs.low <= ours.high:
        return Verdict("tie", gain, "the intervals overlap", *between)
    if noise_floor is not None and max(gain, 1 / gain) - 1 <= noise_floor:
        why = f"the difference is within the noise floor of {100 * noise_floor:.1f} %"
        return Verdict("tie", gain, why, *between)
    why = "the intervals are apart and the difference exceeds the noise floor"
    return Verdict("win" if gain > 1 else "loss", gain, why, *between)


def judge_pairs(ours, theirs):
    """Whether `ours` takes less time than `theirs`: times of rounds, as {round: seconds}, in which both took turns. By
    the interval of their time / ours over the rounds that both have, so what slowed a whole round cancels. `smetune
    workload` has the same rule in C++ (tuner/workload.h)."""
    ratios = [theirs[r] / ours[r] for r in ours if r in theirs]
    if not ratios:
        return None
    found = estimate(ratios)
    if found.count < MIN_PAIRS:
        return Verdict("not judged", found.median, f"{found.count} common rounds, {MIN_PAIRS} are needed")
    between = (found.low, found.high)
    if found.low <= 1 <= found.high:
        return Verdict("tie", found.median, "the interval of the ratio holds 1", *between)
    word = "win" if found.low > 1 else "loss"
    return Verdict(word, found.median, "the interval of the ratio does not hold 1", *between)
