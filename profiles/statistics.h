// Robust statistics of timings. Timings are skewed: interference only ever adds time, so everything here rests on
// medians and order statistics, and nothing on a normal distribution.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace smepilot {

// xoshiro256** seeded by splitmix64 (Blackman & Vigna, public domain algorithms): the same sequence everywhere, which
// std::uniform_int_distribution does not promise.
class Rng {
 public:
  explicit Rng(uint64_t seed) noexcept;
  uint64_t next() noexcept;
  uint64_t below(uint64_t n) noexcept;  // uniform in [0, n), unbiased; n > 0
  double uniform() noexcept;            // [0, 1)
  double normal() noexcept;             // mean 0, deviation 1

 private:
  uint64_t s_[4];
};

// Of an empty span these are 0.
double median(std::span<const double> x);
double mad(std::span<const double> x);                   // median absolute deviation, unscaled
double percentile(std::span<const double> x, double p);  // p in 0 .. 100, linear between order statistics
double mean(std::span<const double> x);
double trimmed_mean(std::span<const double> x, double fraction);  // drops floor(n*fraction) samples at each end

// What was interrupted: samples above median + k * 1.4826 * mad are left out, small ones never are (nothing makes a
// machine too fast), and never more than a quarter of all. Summaries of raw samples use it; the raw samples are kept.
// Where mad is 0 nothing is dropped.
std::vector<double> without_slow_outliers(std::span<const double> x, double k = 5.0);

struct Interval {
  double low = 0, high = 0;
  bool contains(double v) const noexcept { return low <= v && v <= high; }
};

// The rank-th smallest to the rank-th largest sample, `rank` (from 1) the largest with which that holds the median of
// what the samples were drawn from with 95 % probability. By the sign test, so exact for independent samples of any
// distribution. Below six samples even [min, max], which is then the result, holds it with less than 95 %. Of a ratio
// of two that took turns, profiles/paired.h has a narrower one.
Interval sign_interval(std::span<const double> x);

}  // namespace smepilot
