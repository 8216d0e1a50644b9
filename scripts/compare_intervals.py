#!/usr/bin/env python3
"""Which interval of a ratio of pairs is honest, and which of the honest ones sees most: the tables of docs/statistics.md.

Two ways take turns, a b b a and b a a b, on machines whose noise is of many kinds; of the two calls of a round the
smaller counts. Where both are the same, an interval that leaves out 1 errs. Where one takes 5 % longer, one that does
not is blind. --looks does the same for a comparison that ends at the first look that leaves out 1.

    scripts/compare_intervals.py [--trials N] [--looks]
"""

import argparse
import math
from statistics import NormalDist

import numpy as np

ALPHA = 0.05
RESAMPLES = 400
SIZES = (5, 6, 8, 10, 12, 15, 20, 40)
# 97.5 % quantiles of Student's distribution, by degrees of freedom.
STUDENT = {4: 2.776, 5: 2.571, 7: 2.365, 9: 2.262, 11: 2.201, 14: 2.145, 19: 2.093, 39: 2.023}


def noise(generator, kind, shape):
    """Of single calls, as factors of the true time."""
    normal = generator.standard_normal(shape)
    if kind == "normal":
        return 1 + 0.03 * normal
    if kind == "lognormal":
        return np.exp(0.05 * normal)
    if kind == "jitter":  # and in 5 % of calls an interruption, which only ever adds time
        call = 1 + 0.03 * abs(normal)
        return np.where(generator.random(shape) < 0.05, call * (1 + 2 * generator.random(shape)), call)
    if kind == "Pareto":
        return 1 + 0.02 * generator.pareto(1.5, shape)
    assert kind == "two states"
    return np.where(generator.random(shape) < 0.4, 1.12, 1.0) * (1 + 0.01 * abs(normal))


def clock(generator, kind, trials, calls):
    """What all calls see of the machine's speed."""
    if kind == "walks":
        return np.cumprod(1 + 0.02 * generator.standard_normal((trials, calls)), axis=1)
    if kind == "falls":
        return np.ones((trials, 1)) * (1 + 0.5 * np.arange(calls) / calls)
    if kind == "jumps":
        state = np.cumsum(generator.random((trials, calls)) < 0.05, axis=1) + generator.integers(0, 2, (trials, 1))
        return 1 + 0.3 * (state % 2)
    return np.ones((trials, calls))


MACHINES = (
    ("normal", ""), ("lognormal", ""), ("jitter", ""), ("Pareto", ""), ("two states", ""),
    ("jitter", "walks"), ("jitter", "falls"), ("jitter", "jumps"),
)


def logarithms(generator, machine, trials, rounds, ratio):
    """Of a / b, by round."""
    kind, drift = machine
    speed = clock(generator, drift, trials, 4 * rounds).reshape(trials, rounds, 4)
    outer = (np.arange(rounds) % 2 == 0)[None, :, None]
    a = np.where(outer, speed[:, :, [0, 3]], speed[:, :, [1, 2]]) * noise(generator, kind, (trials, rounds, 2)) * ratio
    b = np.where(outer, speed[:, :, [1, 2]], speed[:, :, [0, 3]]) * noise(generator, kind, (trials, rounds, 2))
    return np.log(a.min(axis=2) / b.min(axis=2))


def signed_rank_cumulative(n):
    """P(T <= t) of Wilcoxon's signed-rank statistic."""
    p = np.zeros(n * (n + 1) // 2 + 1)
    p[0] = 1
    for rank in range(1, n + 1):
        p[rank:] = p[rank:] + p[:-rank]
        p /= 2
    return np.cumsum(p)


def undecided(d):
    return np.full(len(d), -np.inf), np.full(len(d), np.inf)


def sign(d):
    n, outside, rank = d.shape[1], 0.0, -1
    while rank + 1 < n and 2 * (outside + math.comb(n, rank + 1) / 2**n) <= ALPHA:
        rank += 1
        outside += math.comb(n, rank) / 2**n
    if rank < 0:
        return undecided(d)
    ordered = np.sort(d, axis=1)
    return ordered[:, rank], ordered[:, -1 - rank]


def signed_rank(d, trim=None):
    n = d.shape[1]
    if trim is None:
        trim = np.searchsorted(2 * signed_rank_cumulative(n), ALPHA + 1e-12, side="right") - 1
    if trim < 0:
        return undecided(d)
    i, j = np.triu_indices(n)
    averages = np.sort((d[:, i] + d[:, j]) / 2, axis=1)
    return averages[:, trim], averages[:, -1 - trim]


def student(d):
    n = d.shape[1]
    reach = STUDENT[n - 1] * d.std(axis=1, ddof=1) / math.sqrt(n)
    return d.mean(axis=1) - reach, d.mean(axis=1) + reach


def resamples(d, generator):
    return d[:, generator.integers(0, d.shape[1], (RESAMPLES, d.shape[1]))]


def ends(ordered):
    return ordered[:, round(ALPHA / 2 * RESAMPLES)], ordered[:, round((1 - ALPHA / 2) * RESAMPLES) - 1]


def percentile_bootstrap(d, generator):
    """Of the median."""
    return ends(np.sort(np.median(resamples(d, generator), axis=2), axis=1))


def studentised_bootstrap(d, generator):
    x, n = resamples(d, generator), d.shape[1]
    error = d.std(axis=1, ddof=1) / math.sqrt(n)
    t = (x.mean(axis=2) - d.mean(axis=1)[:, None]) / (x.std(axis=2, ddof=1) / math.sqrt(n) + 1e-12)
    low, high = ends(np.sort(t, axis=1))
    return d.mean(axis=1) - high * error, d.mean(axis=1) - low * error


def bca_bootstrap(d, generator):
    """Bias-corrected and accelerated (Efron 1987), of the mean."""
    means = np.sort(resamples(d, generator).mean(axis=2), axis=1)
    n, unit = d.shape[1], NormalDist()
    deviation = d - d.mean(axis=1, keepdims=True)
    acceleration = (deviation**3).sum(axis=1) / (6 * ((deviation**2).sum(axis=1) ** 1.5) + 1e-300)
    low, high = [], []
    for row, centre, a in zip(means, d.mean(axis=1), acceleration):
        z0 = unit.inv_cdf(min(max((row < centre).mean(), 1 / RESAMPLES), 1 - 1 / RESAMPLES))
        for out, z in ((low, unit.inv_cdf(ALPHA / 2)), (high, unit.inv_cdf(1 - ALPHA / 2))):
            q = unit.cdf(z0 + (z0 + z) / (1 - a * (z0 + z)))
            out.append(row[min(RESAMPLES - 1, int(q * RESAMPLES))])
    return np.array(low), np.array(high)


def one_look(trials):
    names = ("bootstrap", "studentised", "BCa", "Student's t", "sign", "signed rank")
    print("errors where both are the same / found where one takes 5 % longer, in per cent")
    for machine in MACHINES:
        print(f"\n{machine[0]}{', a clock that ' + machine[1] if machine[1] else ''}")
        print("rounds" + "".join(f"{name:>14}" for name in names))
        for n in SIZES:
            generator = np.random.default_rng(n)
            methods = (
                lambda d, g=generator: percentile_bootstrap(d, g), lambda d, g=generator: studentised_bootstrap(d, g),
                lambda d, g=generator: bca_bootstrap(d, g), student, sign, signed_rank,
            )
            same, slower = (logarithms(generator, machine, trials, n, r) for r in (1, 1.05))
            cells = []
            for method in methods:
                low, high = method(same)
                wrong = ((low > 0) | (high < 0)).mean()
                cells.append(f"{100 * wrong:.1f} / {100 * (method(slower)[0] > 0).mean():.0f}")
            print(f"{n:6}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


def spent_trims(looks, paths=1 << 16):
    """What each look leaves out so that after the share t of the rounds sqrt(t) of the error is spent (profiles/paired.cc
    does the same)."""
    generator = np.random.default_rng(1)
    d = generator.standard_normal((paths, looks[-1]))  # any symmetric distribution gives the same
    going, trims = np.ones(paths, bool), []
    for n in looks:
        ranks = abs(d[:, :n]).argsort(axis=1).argsort(axis=1) + 1
        positive = np.where(d[:, :n] > 0, ranks, 0).sum(axis=1)
        least = np.minimum(positive, n * (n + 1) // 2 - positive)
        allowed, trim = ALPHA * math.sqrt(n / looks[-1]) * paths, -1
        while (~going).sum() + (going & (least <= trim + 1)).sum() <= allowed:
            trim += 1
        going &= least > trim
        trims.append(trim)
    return trims


def many_looks(trials):
    looks = range(6, 15)
    ways = {
        "one look's, each time": [None] * len(looks),
        "Bonferroni": [
            np.searchsorted(2 * signed_rank_cumulative(n), ALPHA / len(looks), side="right") - 1 for n in looks
        ],
        "spent, sqrt(t)": spent_trims(looks),
    }
    print("signed-rank intervals, a look after each round from 6 to 14: errors / found / rounds needed on average")
    for machine in MACHINES:
        cells = []
        for trims in ways.values():
            generator = np.random.default_rng(14)
            same, slower = (logarithms(generator, machine, trials, looks[-1], r) for r in (1, 1.05))
            wrong, found = np.zeros(trials, bool), np.full(trials, looks[-1] + 1)
            for n, trim in zip(looks, trims):
                low, high = signed_rank(same[:, :n], trim)
                wrong |= (low > 0) | (high < 0)
                found = np.where((found > looks[-1]) & (signed_rank(slower[:, :n], trim)[0] > 0), n, found)
            rounds = np.minimum(found, looks[-1]).mean()
            cells.append(f"{100 * wrong.mean():.1f} / {100 * (found <= looks[-1]).mean():.0f} / {rounds:.1f}")
        print(f"{machine[0] + (', ' + machine[1] if machine[1] else ''):20}"
              + "".join(f"{name}: {cell:22}" for name, cell in zip(ways, cells)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--looks", action="store_true")
    options = parser.parse_args()
    (many_looks if options.looks else one_look)(options.trials)
