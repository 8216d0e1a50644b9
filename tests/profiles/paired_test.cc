// Intervals of ratios of pairs: known ranks, what they miss on noise of many kinds (looked at once and after every
// round), and how soon they see a difference.
#include "profiles/paired.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>

namespace smepilot {
namespace {

TEST(Paired, ImpossiblePairsAreLeftOut) {
  const std::vector<double> a = {2, 4, 6, 0, 8}, b = {1, 0, 3, 5};
  EXPECT_EQ(paired_ratios(a, b), (std::vector<double>{2, 2}));
}

// Critical values of tables of Wilcoxon's signed-rank test, two-sided, and its normal approximation beyond them.
TEST(Paired, RanksAreThoseOfTheTables) {
  for (size_t n = 1; n < kLeastPairs; ++n) EXPECT_EQ(signed_rank_trim(n, 0.05), std::nullopt) << n;
  for (const auto& [n, t] : {std::pair{6, 0}, {7, 2}, {8, 3}, {9, 5}, {10, 8}, {12, 13}, {15, 25}, {20, 52}, {25, 89}})
    EXPECT_EQ(signed_rank_trim(static_cast<size_t>(n), 0.05), static_cast<size_t>(t)) << n;
  for (const auto& [n, t] : {std::pair{8, 0}, {10, 3}, {15, 15}, {20, 37}, {25, 68}})
    EXPECT_EQ(signed_rank_trim(static_cast<size_t>(n), 0.01), static_cast<size_t>(t)) << n;
  const size_t exact = *signed_rank_trim(100, 0.05), beyond = *signed_rank_trim(101, 0.05);
  EXPECT_EQ(exact, 1955u);
  EXPECT_NEAR(static_cast<double>(beyond), 1996, 2);
}

TEST(Paired, EstimateAndIntervalOfKnownRatios) {
  const std::vector<double> ones(7, 1.0), a = {1, 2, 4, 8, 16, 32, 64};
  const PairedRatio r = paired_ratio(a, ones);
  EXPECT_NEAR(r.estimate, 8, 1e-12);
  EXPECT_NEAR(r.interval.low, 2, 1e-12);  // the third smallest average of logarithms to base 2: 0, 0.5, 1, 1, 1.5 …
  EXPECT_NEAR(r.interval.high, 32, 1e-12);
  EXPECT_EQ(r.pairs, 7u);
  const PairedRatio other = paired_ratio(ones, a);
  EXPECT_NEAR(other.interval.low, 1 / r.interval.high, 1e-12);
  EXPECT_NEAR(other.estimate, 1 / r.estimate, 1e-12);
}

TEST(Paired, TooFewPairsDecideNothing) {
  const std::vector<double> a(5, 1.0), b(5, 2.0);
  const PairedRatio r = paired_ratio(a, b);
  EXPECT_NEAR(r.estimate, 0.5, 1e-12);
  EXPECT_EQ(r.interval.low, 0);
  EXPECT_TRUE(std::isinf(r.interval.high));
  EXPECT_EQ(paired_ratio({}, {}).estimate, 1);
}

TEST(Paired, ManyPairsOfAWideRange) {
  Rng rng(3);
  std::vector<double> a, b;
  for (int i = 0; i < 400; ++i) {
    b.push_back(std::exp(3 * rng.normal()));
    a.push_back(1.1 * b.back() * std::exp(0.2 * rng.normal()));
  }
  const PairedRatio r = paired_ratio(a, b);
  EXPECT_TRUE(r.interval.contains(1.1));
  EXPECT_LT(r.interval.high - r.interval.low, 0.06);
}

// A call of a machine: `true_ns`, and noise of a kind; `clock` is what all calls see of its speed.
struct Machine {
  std::string name;
  std::function<double(Rng&)> noise;
  double walk = 0, slowdown = 0;  // of the clock, at each call
};

std::vector<Machine> machines() {
  const auto normal = [](Rng& r) { return std::max(0.01, 1 + 0.03 * r.normal()); };
  const auto jitter = [](Rng& r) {
    const double t = 1 + 0.03 * std::abs(r.normal());
    return r.uniform() < 0.05 ? t * (1 + 2 * r.uniform()) : t;
  };
  return {
      {"normal", normal},
      {"lognormal", [](Rng& r) { return std::exp(0.05 * r.normal()); }},
      {"jitter and interruptions", jitter},
      {"Pareto", [](Rng& r) { return 1 + 0.02 * (std::pow(1 - r.uniform(), -1 / 1.5) - 1); }},
      {"two states", [](Rng& r) { return (r.uniform() < 0.4 ? 1.12 : 1) * (1 + 0.01 * std::abs(r.normal())); }},
      {"a clock that walks", jitter, 0.02, 0},
      {"a clock that falls", jitter, 0, 0.01},
  };
}

// Rounds of a b b a and b a a b in turns, of each the smaller time.
struct Rounds {
  std::vector<double> a, b;
};
Rounds rounds_of(const Machine& machine, Rng& rng, unsigned rounds, double ratio) {
  Rounds out;
  double clock = 1;
  const auto call = [&](double ns) {
    clock *= std::exp(machine.walk * rng.normal()) * (1 + machine.slowdown);
    return ns * clock * machine.noise(rng);
  };
  for (unsigned i = 0; i < rounds; ++i) {
    const bool outer = i % 2 == 0;
    const double first = call(outer ? ratio : 1), second = call(outer ? 1 : ratio), third = call(outer ? 1 : ratio),
                 last = call(outer ? ratio : 1);
    out.a.push_back(outer ? std::min(first, last) : std::min(second, third));
    out.b.push_back(outer ? std::min(second, third) : std::min(first, last));
  }
  return out;
}

TEST(Paired, TheSameMissesOneInAtMostFivePercent) {
  constexpr int kTrials = 1000;
  for (const Machine& machine : machines()) {
    for (const unsigned n : {5u, 6u, 8u, 12u, 20u}) {
      Rng rng(n);
      int wrong = 0;
      for (int t = 0; t < kTrials; ++t) {
        const Rounds r = rounds_of(machine, rng, n, 1);
        wrong += !paired_ratio(r.a, r.b).interval.contains(1);
      }
      EXPECT_LE(wrong, 0.07 * kTrials) << machine.name << ", " << n;  // 5 % and three standard errors
      if (n >= 12 && machine.slowdown == 0) {
        EXPECT_GE(wrong, 0.025 * kTrials) << "too wide: " << machine.name;
      }
    }
  }
}

// The whole of a comparison that is looked at after every round, and ends at the first look that sees a difference.
unsigned rounds_until_seen(const Looks& looks, const Rounds& r, unsigned first) {
  for (unsigned n = first; n <= r.a.size(); ++n)
    if (!looks.ratio({r.a.data(), n}, {r.b.data(), n}).interval.contains(1)) return n;
  return 0;
}

TEST(Looks, AllTogetherMissInAtMostFivePercent) {
  constexpr int kTrials = 1000;
  std::vector<unsigned> every;
  for (unsigned n = 6; n <= 14; ++n) every.push_back(n);
  const std::vector<std::vector<unsigned>> schedules = {every, {8, 12, 16, 24}, {20}};
  for (const std::vector<unsigned>& at : schedules) {
    const Looks& looks = looks_after(at);
    for (const Machine& machine : machines()) {
      Rng rng(at.back());
      int wrong = 0, each = 0;
      const bool naive = at.size() > 4 && machine.name == "normal";  // what intervals for one look would do
      for (int t = 0; t < kTrials; ++t) {
        const Rounds r = rounds_of(machine, rng, at.back(), 1);
        wrong += rounds_until_seen(looks, r, at.front()) != 0;
        bool once = false;
        for (size_t i = 0; naive && i < at.size(); ++i)
          once = once || !paired_ratio({r.a.data(), at[i]}, {r.b.data(), at[i]}).interval.contains(1);
        each += once;
      }
      EXPECT_LE(wrong, 0.07 * kTrials) << machine.name << ", " << at.size() << " looks";
      if (machine.slowdown == 0) {
        EXPECT_GE(wrong, 0.025 * kTrials) << "too wide: " << machine.name << ", " << at.size() << " looks";
      }
      if (naive) {
        EXPECT_GT(each, 0.08 * kTrials) << "intervals for one look would do";
      }
    }
  }
}

// A difference of 5 % where calls scatter by 3 %.
TEST(Looks, SeeFivePercentSoon) {
  constexpr int kTrials = 1000;
  std::vector<unsigned> every;
  for (unsigned n = 6; n <= 14; ++n) every.push_back(n);
  const Looks& looks = looks_after(every);
  Rng rng(5);
  std::vector<double> needed;
  int seen = 0;
  for (int t = 0; t < kTrials; ++t) {
    const unsigned n = rounds_until_seen(looks, rounds_of(machines()[0], rng, 14, 1.05), 6);
    seen += n != 0;
    needed.push_back(n != 0 ? n : 15);
  }
  std::printf("5 %% at 3 %% noise: seen in %.1f %%, after %.0f rounds in half of the cases, after %.0f in 90 %%\n",
              100.0 * seen / kTrials, median(needed), percentile(needed, 90));
  EXPECT_GE(seen, 0.95 * kTrials);
  EXPECT_LE(median(needed), 8);
  EXPECT_LE(percentile(needed, 90), 13);
}

TEST(Looks, BetweenLooksNothingIsDecided) {
  const std::vector<unsigned> at = {8, 12};
  const std::vector<double> a(12, 2.0), b(12, 1.0);
  for (const size_t n : {0u, 6u, 7u, 9u, 11u})
    EXPECT_TRUE(std::isinf(looks_after(at).ratio({a.data(), n}, {b.data(), n}).interval.high)) << n;
  for (const size_t n : {8u, 12u})
    EXPECT_NEAR(looks_after(at).ratio({a.data(), n}, {b.data(), n}).interval.high, 2, 1e-12) << n;
  EXPECT_EQ(&looks_after(at), &looks_after(std::vector<unsigned>{8, 12}));
}

// One look is the plain interval.
TEST(Looks, OneLookIsTheIntervalItself) {
  Rng rng(2);
  for (const unsigned n : {6u, 9u, 14u, 24u, 40u, 64u}) {
    const Rounds r = rounds_of(machines()[0], rng, n, 1.02);
    const PairedRatio once = paired_ratio(r.a, r.b), look = looks_after(std::vector<unsigned>{n}).ratio(r.a, r.b);
    EXPECT_NEAR(look.interval.low, once.interval.low, 0.001) << n;
    EXPECT_NEAR(look.interval.high, once.interval.high, 0.001) << n;
  }
}

}  // namespace
}  // namespace smepilot
