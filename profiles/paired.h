// Two ways that took turns, round by round: what one takes as a multiple of what the other takes, with an interval that
// is honest for few rounds, and for a comparison that is looked at again and again while it runs.
//
// Within a round neither of the two is favoured, and what slows a whole round cancels. So where both are the same,
// ln(a / b) is as likely to be x as -x, whatever the noise of the machine is distributed like, and Wilcoxon's
// signed-rank test of that is exact. The interval is what the test does not refuse, the estimate the median of the
// averages of any two logarithms (Hodges and Lehmann, Annals of Mathematical Statistics 34, 1963; Hollander, Wolfe and
// Chicken, Nonparametric Statistical Methods, 3rd edition, sections 3.1 to 3.3). scripts/compare_intervals.py holds it
// against other intervals on noise of many kinds: docs/statistics.md.
#pragma once
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "profiles/statistics.h"

namespace smepilot {

inline constexpr double kIntervalError = 0.05;  // how often an interval may miss what it is to hold
inline constexpr size_t kLeastPairs = 6;        // with fewer, no interval errs as seldom as that: 2 * 0.5^5 > 5 %

struct PairedRatio {
  double estimate = 1;
  Interval interval = {0, std::numeric_limits<double>::infinity()};  // this one decides nothing
  size_t pairs = 0;
};

// a[i] / b[i] of pairs of both positive; others are left out, and the shorter one counts.
std::vector<double> paired_ratios(std::span<const double> a, std::span<const double> b);

// a over b, with the interval that misses the ratio in at most `error` of cases, if it is looked at once.
PairedRatio paired_ratio(std::span<const double> a, std::span<const double> b, double error = kIntervalError);

// How many of the n * (n + 1) / 2 averages lie outside that interval at either end; nothing: even all of them would
// miss more often than `error`. n: of pairs, at least 1.
std::optional<size_t> signed_rank_trim(size_t n, double error);

// A comparison that is looked at after several numbers of rounds and may end at any of them: the intervals of all looks
// together miss in at most kIntervalError of cases (repeated confidence intervals: Jennison and Turnbull, Journal of
// the Royal Statistical Society B 51, 1989). After the share t of the rounds, sqrt(t) of that error may be spent (the
// spending functions of Kim and DeMets, Biometrika 74, 1987): much of it early, since a race is won by dropping early.
// What each look then leaves out does not depend on the distribution of the noise either: under the signed-rank test
// every order of signs and ranks is equally likely, so a simulation of those finds it, to a tenth of a per cent.
class Looks {
 public:
  // After each of these numbers of rounds: ascending, at least one, at most 64.
  explicit Looks(std::span<const unsigned> rounds);
  // With an interval that decides nothing where the number of pairs is none of these.
  PairedRatio ratio(std::span<const double> a, std::span<const double> b) const;

 private:
  struct Look {
    unsigned rounds = 0;
    std::optional<size_t> trim;  // as signed_rank_trim()'s
  };
  std::vector<Look> looks_;
};

// The same for the same rounds, made once.
const Looks& looks_after(std::span<const unsigned> rounds);

}  // namespace smepilot
