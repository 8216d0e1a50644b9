"""Medians with intervals that need no assumption about the distribution, and the verdict between two of them."""

import math
from dataclasses import dataclass
from statistics import median

CONFIDENCE = 0.95
MIN_SAMPLES = 3  # below this an interval says too little for a verdict
MIN_PAIRS = 6  # below this no interval of a ratio of pairs has 95 % coverage
EXACT_PAIRS = 100  # beyond, the normal approximation of the ranks is as good
EXACT_SAMPLES = 20  # likewise, on each side of two that took no turns


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


@dataclass(frozen=True)
class Ratio:
    """What one takes as a multiple of what the other takes, with its 95 % interval, and of how many pairs or samples."""

    ratio: float
    low: float
    high: float
    count: int


def exact_trim(ways, total):
    """The largest value of a symmetric statistic up to which both tails together hold at most what the 95 % interval
    leaves out; None: there is none. ways[v] of `total` cases have the value v."""
    trim, below = None, 0
    for value, count in enumerate(ways):
        below += count
        if 2 * below > (1 - CONFIDENCE) * total * (1 + 1e-12):
            break
        trim = value
    return trim


def normal_trim(mean, variance):
    """The same by the normal approximation."""
    refused = 0
    while math.erfc((mean - refused - 0.5) / math.sqrt(2 * variance)) <= 1 - CONFIDENCE:
        refused += 1
    return refused - 1 if refused else None


def signed_rank_trim(count):
    """How many averages of two logarithms lie outside the 95 % interval at either end; None: no interval is so good.
    By the distribution of Wilcoxon's signed-rank statistic."""
    most = count * (count + 1) // 2
    if count > EXACT_PAIRS:
        return normal_trim(most / 2, most * (2 * count + 1) / 12)
    ways = [1] + [0] * most  # of the signs of the ranks so far to have this sum
    for rank in range(1, count + 1):
        for t in range(most, rank - 1, -1):
            ways[t] += ways[t - rank]
    return exact_trim(ways, 2**count)


def paired_ratio(ours, theirs):
    """theirs / ours of rounds, as {round: seconds}, in which both took turns, so what slowed a whole round cancels:
    the estimate of Hodges and Lehmann, and the interval of Wilcoxon's signed-rank test. `smetune` has the same in C++
    (profiles/paired.h), which says more. None: nothing in common."""
    logs = [math.log(theirs[r] / ours[r]) for r in ours if r in theirs and ours[r] > 0 and theirs[r] > 0]
    if not logs:
        return None
    averages = sorted(0.5 * (a + b) for i, a in enumerate(logs) for b in logs[: i + 1])
    trim = signed_rank_trim(len(logs))
    low, high = (0.0, math.inf) if trim is None else (math.exp(averages[trim]), math.exp(averages[-1 - trim]))
    return Ratio(math.exp(median(averages)), low, high, len(logs))


def rank_sum_trim(m, n):
    """How many of the m * n ratios lie outside the 95 % interval at either end; None: no interval is so good. By the
    distribution of the statistic of Mann and Whitney."""
    if max(m, n) > EXACT_SAMPLES:
        return normal_trim(m * n / 2, m * n * (m + n + 1) / 12)
    ways = [1] + [0] * (m * n)  # of the orders of m + n samples, by their statistic: a Gaussian binomial coefficient
    for i in range(1, m + 1):
        for u in range(m * n, n + i - 1, -1):
            ways[u] -= ways[u - n - i]
        for u in range(i, m * n + 1):
            ways[u] += ways[u - i]
    return exact_trim(ways, math.comb(m + n, m))


def unpaired_ratio(ours, theirs):
    """ours / theirs of samples that were not taken in turns: the estimate of Hodges and Lehmann, the median of the ratios
    of any two, and the interval of the test of Mann and Whitney, exact whatever the distribution."""
    logs = sorted(math.log(a / b) for a in ours for b in theirs)
    trim = rank_sum_trim(len(ours), len(theirs))
    low, high = (0.0, math.inf) if trim is None else (math.exp(logs[trim]), math.exp(logs[-1 - trim]))
    return Ratio(math.exp(median(logs)), low, high, min(len(ours), len(theirs)))


def judge_pairs(ours, theirs):
    """Whether `ours` takes less time than `theirs`, by paired_ratio()."""
    found = paired_ratio(ours, theirs)
    if found is None:
        return None
    if found.count < MIN_PAIRS:
        return Verdict("not judged", found.ratio, f"{found.count} common rounds, {MIN_PAIRS} are needed")
    if found.low <= 1 <= found.high:
        return Verdict("tie", found.ratio, "the interval of the ratio holds 1", found.low, found.high)
    word = "win" if found.low > 1 else "loss"
    return Verdict(word, found.ratio, "the interval of the ratio does not hold 1", found.low, found.high)
