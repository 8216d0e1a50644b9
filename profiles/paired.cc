#include "profiles/paired.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <mutex>
#include <numbers>

namespace smepilot {
namespace {

constexpr size_t kExactPairs = 100;  // beyond, the normal approximation of the ranks is as good

// All averages of two logarithms, each with itself too, in ascending order.
std::vector<double> averages(const std::vector<double>& ratios) {
  std::vector<double> logs, out;
  logs.reserve(ratios.size());
  for (const double r : ratios) logs.push_back(std::log(r));
  out.reserve(logs.size() * (logs.size() + 1) / 2);
  for (size_t i = 0; i < logs.size(); ++i)
    for (size_t j = 0; j <= i; ++j) out.push_back(0.5 * (logs[i] + logs[j]));
  std::sort(out.begin(), out.end());
  return out;
}

PairedRatio ratio_of(const std::vector<double>& ratios, std::optional<size_t> trim) {
  PairedRatio r;
  r.pairs = ratios.size();
  if (ratios.empty()) return r;
  const std::vector<double> sorted = averages(ratios);
  r.estimate = std::exp(median(sorted));
  if (trim) r.interval = {std::exp(sorted[*trim]), std::exp(sorted[sorted.size() - 1 - *trim])};
  return r;
}

// Probability that the ranks of the positive of n signs sum to at most t, for all t.
std::vector<double> signed_rank_distribution(size_t n) {
  std::vector<double> p(n * (n + 1) / 2 + 1, 0.0);
  p[0] = 1;
  size_t most = 0;
  for (size_t rank = 1; rank <= n; ++rank) {
    most += rank;
    for (size_t t = most + 1; t-- > 0;) p[t] = 0.5 * (p[t] + (t >= rank ? p[t - rank] : 0));
  }
  for (size_t t = 1; t < p.size(); ++t) p[t] += p[t - 1];
  return p;
}

// What has been seen of the signs of n logarithms, in the order of their absolute values: bit r is the sign of rank r.
uint64_t insert_sign(uint64_t signs, unsigned at, uint64_t sign) noexcept {
  const uint64_t below = (uint64_t{1} << at) - 1;
  return (signs & below) | (sign << at) | ((signs & ~below) << 1);
}

size_t rank_sum(uint64_t signs) noexcept {
  size_t sum = 0;
  for (size_t rank = 1; signs != 0; signs >>= 1, ++rank) sum += (signs & 1) * rank;
  return sum;
}

}  // namespace

std::vector<double> paired_ratios(std::span<const double> a, std::span<const double> b) {
  std::vector<double> ratios;
  const size_t n = std::min(a.size(), b.size());
  ratios.reserve(n);
  for (size_t i = 0; i < n; ++i)
    if (a[i] > 0 && b[i] > 0) ratios.push_back(a[i] / b[i]);
  return ratios;
}

std::optional<size_t> signed_rank_trim(size_t n, double error) {
  size_t count = 0;  // of the smallest sums that are refused on either side
  if (n <= kExactPairs) {
    const std::vector<double> p = signed_rank_distribution(n);
    constexpr double kRounding = 1e-12;
    while (count < p.size() / 2 && 2 * p[count] <= error + kRounding) ++count;
  } else {
    const double x = static_cast<double>(n), mean = x * (x + 1) / 4;
    const double deviation = std::sqrt(mean * (2 * x + 1) / 6);
    const auto probability = [&](double t) {
      return 0.5 * std::erfc((mean - t - 0.5) / (deviation * std::numbers::sqrt2));
    };
    size_t high = static_cast<size_t>(mean);
    while (count < high) {
      const size_t middle = (count + high) / 2;
      if (2 * probability(static_cast<double>(middle)) <= error)
        count = middle + 1;
      else
        high = middle;
    }
  }
  return count == 0 ? std::nullopt : std::optional(count - 1);
}

PairedRatio paired_ratio(std::span<const double> a, std::span<const double> b, double error) {
  const std::vector<double> ratios = paired_ratios(a, b);
  return ratio_of(ratios, ratios.empty() ? std::nullopt : signed_rank_trim(ratios.size(), error));
}

Looks::Looks(std::span<const unsigned> rounds) {
  constexpr size_t kPaths = size_t{1} << 17;
  const double last = rounds.back();
  Rng rng(1);
  std::vector<uint64_t> going(kPaths, 0);  // signs of the paths that no look has refused yet
  unsigned done = 0;
  for (const unsigned n : rounds) {
    for (; done < n; ++done)
      for (uint64_t& signs : going) {
        const uint64_t random = rng.next();
        signs = insert_sign(signs, static_cast<unsigned>(((random >> 32) * (done + 1)) >> 32), random & 1);
      }
    const size_t most = size_t{n} * (n + 1) / 2;
    std::vector<size_t> count(most / 2 + 1, 0);
    std::vector<size_t> sums;
    sums.reserve(going.size());
    for (const uint64_t signs : going) {
      const size_t sum = rank_sum(signs);
      sums.push_back(std::min(sum, most - sum));
      ++count[sums.back()];
    }
    Look look{n, std::nullopt};
    const double allowed = kIntervalError * std::sqrt(n / last) * kPaths;
    auto spent = static_cast<double>(kPaths - going.size());
    for (size_t t = 0; t < count.size(); ++t) {
      spent += static_cast<double>(count[t]);
      if (spent > allowed) break;
      look.trim = t;
    }
    if (look.trim) {
      size_t kept = 0;
      for (size_t i = 0; i < going.size(); ++i)
        if (sums[i] > *look.trim) going[kept++] = going[i];
      going.resize(kept);
    }
    looks_.push_back(look);
  }
}

PairedRatio Looks::ratio(std::span<const double> a, std::span<const double> b) const {
  const std::vector<double> ratios = paired_ratios(a, b);
  const auto at = std::find_if(looks_.begin(), looks_.end(), [&](const Look& l) { return l.rounds == ratios.size(); });
  return ratio_of(ratios, at == looks_.end() ? std::nullopt : at->trim);
}

const Looks& looks_after(std::span<const unsigned> rounds) {
  static std::mutex mutex;
  static std::map<std::vector<unsigned>, Looks> made;
  const std::lock_guard lock(mutex);
  const std::vector<unsigned> key(rounds.begin(), rounds.end());
  auto at = made.find(key);
  if (at == made.end()) at = made.emplace(key, Looks(rounds)).first;
  return at->second;
}

}  // namespace smepilot
