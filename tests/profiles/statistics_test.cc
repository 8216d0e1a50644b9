#include "profiles/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace smepilot {
namespace {

// A timing as machines give them: a floor, some jitter, and now and then an interruption that only ever adds.
double noisy_time(Rng& rng, double floor_ns) {
  double t = floor_ns * (1 + 0.01 * std::abs(rng.normal()));
  if (rng.uniform() < 0.05) t *= 1 + 2 * rng.uniform();
  return t;
}

// The population median of noisy_time, by brute force with a stream of its own.
double true_median(double floor_ns) {
  Rng rng(987654321);
  std::vector<double> x(200'000);
  for (double& v : x) v = noisy_time(rng, floor_ns);
  return median(x);
}

TEST(Statistics, OrderStatisticsOfKnownValues) {
  const std::vector<double> odd = {5, 1, 4, 2, 3}, even = {4, 1, 3, 2};
  EXPECT_EQ(median(odd), 3);
  EXPECT_EQ(median(even), 2.5);
  EXPECT_EQ(median(std::vector<double>{7}), 7);
  EXPECT_EQ(mad(odd), 1);  // deviations 2 2 1 1 0
  EXPECT_EQ(mad(std::vector<double>{1, 1, 1, 1, 100}), 0);
  EXPECT_EQ(percentile(odd, 0), 1);
  EXPECT_EQ(percentile(odd, 100), 5);
  EXPECT_DOUBLE_EQ(percentile(odd, 50), 3);
  EXPECT_DOUBLE_EQ(percentile(odd, 10), 1.4);  // 0.4 of the way from 1 to 2
  EXPECT_EQ(mean(odd), 3);
  EXPECT_EQ(trimmed_mean(std::vector<double>{100, 1, 2, 3, -50}, 0.2), 2);
  EXPECT_EQ(trimmed_mean(even, 0.5), 2.5);  // never trims everything
}

TEST(Statistics, EmptyInputGivesZero) {
  const std::vector<double> none;
  EXPECT_EQ(median(none), 0);
  EXPECT_EQ(mad(none), 0);
  EXPECT_EQ(percentile(none, 50), 0);
  EXPECT_EQ(mean(none), 0);
  EXPECT_EQ(trimmed_mean(none, 0.1), 0);
  EXPECT_TRUE(without_slow_outliers(none).empty());
}

TEST(Statistics, RngIsReproducibleAndUniform) {
  Rng a(42), b(42), c(43);
  const uint64_t first = a.next();
  EXPECT_EQ(first, b.next());
  EXPECT_NE(first, c.next());
  std::vector<unsigned> counts(7);
  double sum = 0, squares = 0;
  for (int i = 0; i < 70'000; ++i) {
    ++counts[a.below(7)];
    const double n = b.normal();
    sum += n;
    squares += n * n;
    const double u = c.uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
  }
  for (const unsigned n : counts) EXPECT_NEAR(n, 10'000, 400);  // 4 sigma
  EXPECT_NEAR(sum / 70'000, 0, 0.02);
  EXPECT_NEAR(squares / 70'000, 1, 0.03);
}

TEST(Statistics, OnlySlowOutliersAreDropped) {
  std::vector<double> x = {50, 100, 101, 99, 100, 102, 98, 101, 99, 100, 300, 900};
  const std::vector<double> kept = without_slow_outliers(x);
  EXPECT_EQ(kept.size(), 10u);
  EXPECT_EQ(kept.front(), 50) << "a fast sample is evidence, not an outlier";
  EXPECT_EQ(*std::max_element(kept.begin(), kept.end()), 102);
  EXPECT_EQ(without_slow_outliers(std::vector<double>(9, 7.0)).size(), 9u);
}

TEST(Statistics, NeverDropsMoreThanAQuarter) {
  // Two modes: the upper one is 4 of 12 samples, so it is how this thing behaves and must stay visible.
  const std::vector<double> x = {100, 101, 99, 100, 102, 98, 101, 99, 300, 301, 302, 303};
  EXPECT_GE(without_slow_outliers(x).size(), 9u);
}

// Ranks from tables of the sign test.
TEST(Statistics, SignIntervalsOfKnownRanks) {
  EXPECT_EQ(sign_interval({}).high, 0);
  for (const auto& [n, rank] : {std::pair{1, 1},
                                {5, 1},
                                {6, 1},
                                {8, 1},
                                {9, 2},
                                {11, 2},
                                {12, 3},
                                {15, 4},
                                {20, 6},
                                {25, 8},
                                {100, 40},
                                {1000, 469},
                                {1001, 469},
                                {2000, 956}}) {
    std::vector<double> x;
    for (int i = n; i >= 1; --i) x.push_back(i);
    const Interval found = sign_interval(x);
    EXPECT_EQ(found.low, rank) << n;
    EXPECT_EQ(found.high, n + 1 - rank) << n;
  }
}

TEST(Statistics, SignIntervalsHoldTheMedianAsOftenAsTheySay) {
  const double truth = true_median(1000);
  for (const size_t n : {size_t{6}, size_t{9}, size_t{15}, size_t{50}}) {
    Rng rng(n);
    int outside = 0;
    for (int t = 0; t < 4000; ++t) {
      std::vector<double> x(n);
      for (double& v : x) v = noisy_time(rng, 1000);
      outside += !sign_interval(x).contains(truth);
    }
    EXPECT_LE(outside, 0.05 * 4000) << n;
  }
}

}  // namespace
}  // namespace smepilot
