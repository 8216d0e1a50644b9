// Rounds of interleaved samples among candidates: the measuring part of the strategies.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "profiles/paired.h"
#include "tuner/strategy.h"

namespace smepilot {

// A candidate in a race.
struct Lane {
  size_t entry = 0;            // in the search space
  std::vector<double> rounds;  // ns: the smaller of its two samples of a round; interference only ever adds time
  bool running = true;
  std::string dropped;  // why it left
  double median_ns() const;
};

// Who leaves before the last round.
enum class Drop : uint8_t {
  kNobody,
  kHopeless,  // after one call that is both long and several times slower than the fastest: no interruption does that
  kSlower,    // these, and whoever is shown to be slower
};

struct RaceRules {
  unsigned min_rounds = 6, max_rounds = 14;
  Drop drop = Drop::kSlower;
};

// True once the deadline has passed or a cancellation was asked for.
bool out_of_time(Evaluator& evaluator, const StrategyOptions& options);

enum class RaceEnd : uint8_t { kDone, kOutOfTime };

// Runs rounds in the order ABC…CBA (and every other one CBA…ABC, so that drift favours nobody) until one lane is left,
// the simplest of those left is no slower than any of them by more than the tie, or max_rounds more. From min_rounds on
// a lane leaves after the round in which the interval of its ratio to the leader says that it is slower by more than
// the tie; of two that are equal, either is dropped for the other in at most 5 % of races, however many rounds are
// looked at (Looks). Lanes may have rounds already, all equally many, if nobody drops out. kOutOfTime:
// the deadline or a cancellation came first, or samples ended; complete rounds are kept.
Result<RaceEnd> run_race(const SearchSpace& space, Evaluator& evaluator, const StrategyOptions& options,
                         const RaceRules& rules, std::vector<Lane>& lanes);

// The running lane with the smallest median over its rounds; lanes must hold one that has a round.
size_t leader(std::span<const Lane> lanes);

}  // namespace smepilot
