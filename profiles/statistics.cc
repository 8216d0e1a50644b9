#include "profiles/statistics.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace smepilot {
namespace {

constexpr uint64_t rotl(uint64_t x, int k) noexcept {
  return (x << k) | (x >> (64 - k));
}

// Median of x, which is reordered.
double median_in_place(std::vector<double>& x) {
  const auto mid = x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2);
  std::nth_element(x.begin(), mid, x.end());
  if (x.size() % 2 != 0) return *mid;
  return 0.5 * (*std::max_element(x.begin(), mid) + *mid);
}

double percentile_of_sorted(const std::vector<double>& sorted, double p) {
  const double at = std::clamp(p, 0.0, 100.0) / 100.0 * static_cast<double>(sorted.size() - 1);
  const size_t low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

}  // namespace

Rng::Rng(uint64_t seed) noexcept {
  for (uint64_t& s : s_) {
    uint64_t z = (seed += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    s = z ^ (z >> 31);
  }
}

uint64_t Rng::next() noexcept {
  const uint64_t result = rotl(s_[1] * 5, 7) * 9, t = s_[1] << 17;
  s_[2] ^= s_[0];
  s_[3] ^= s_[1];
  s_[1] ^= s_[2];
  s_[0] ^= s_[3];
  s_[2] ^= t;
  s_[3] = rotl(s_[3], 45);
  return result;
}

uint64_t Rng::below(uint64_t n) noexcept {
  const uint64_t reject = (0 - n) % n;  // 2^64 mod n: values below it would favour small results
  uint64_t v;
  do v = next();
  while (v < reject);
  return v % n;
}

double Rng::uniform() noexcept {
  return static_cast<double>(next() >> 11) * 0x1p-53;
}

double Rng::normal() noexcept {
  const double r = std::sqrt(-2 * std::log(1.0 - uniform()));
  return r * std::cos(2 * std::numbers::pi * uniform());
}

double median(std::span<const double> x) {
  if (x.empty()) return 0;
  std::vector<double> copy(x.begin(), x.end());
  return median_in_place(copy);
}

double mad(std::span<const double> x) {
  if (x.empty()) return 0;
  const double centre = median(x);
  std::vector<double> deviation;
  deviation.reserve(x.size());
  for (const double v : x) deviation.push_back(std::abs(v - centre));
  return median_in_place(deviation);
}

double percentile(std::span<const double> x, double p) {
  if (x.empty()) return 0;
  std::vector<double> sorted(x.begin(), x.end());
  std::sort(sorted.begin(), sorted.end());
  return percentile_of_sorted(sorted, p);
}

double mean(std::span<const double> x) {
  if (x.empty()) return 0;
  double sum = 0;
  for (const double v : x) sum += v;
  return sum / static_cast<double>(x.size());
}

double trimmed_mean(std::span<const double> x, double fraction) {
  if (x.empty()) return 0;
  std::vector<double> sorted(x.begin(), x.end());
  std::sort(sorted.begin(), sorted.end());
  const size_t most = (sorted.size() - 1) / 2;  // something remains
  const size_t drop =
      std::min(most, static_cast<size_t>(std::clamp(fraction, 0.0, 0.5) * static_cast<double>(sorted.size())));
  return mean(std::span(sorted).subspan(drop, sorted.size() - 2 * drop));
}

std::vector<double> without_slow_outliers(std::span<const double> x, double k) {
  std::vector<double> kept(x.begin(), x.end());
  const double spread = mad(x);
  if (spread == 0) return kept;
  const double limit = std::max(median(x) + k * 1.4826 * spread, percentile(x, 75));
  std::erase_if(kept, [&](double v) { return v > limit; });
  return kept;
}

Interval sign_interval(std::span<const double> x) {
  if (x.empty()) return {};
  std::vector<double> sorted(x.begin(), x.end());
  std::sort(sorted.begin(), sorted.end());
  const double n = static_cast<double>(sorted.size());
  size_t rank = 1;
  if (sorted.size() > 1000) {  // 2^-n is no double any more; there the normal approximation of the ranks is as good
    rank = static_cast<size_t>(std::max(1.0, std::floor(n / 2 - 0.98 * std::sqrt(n))));
  } else {
    // `outside`: probability that the median lies below the rank-th smallest or above the rank-th largest sample.
    double term = std::exp2(1 - n), outside = term;  // 2 * binomial(n, i) / 2^n, i = rank - 1
    while (rank + 1 <= sorted.size() / 2) {
      term *= (n - static_cast<double>(rank) + 1) / static_cast<double>(rank);
      outside += term;
      if (outside > 0.05) break;
      ++rank;
    }
  }
  return {sorted[rank - 1], sorted[sorted.size() - rank]};
}

}  // namespace smepilot
