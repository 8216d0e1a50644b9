// How the best candidate of one operator is found. A strategy sees only predictions, samples and the clock, so it can
// be tested on recorded and made-up landscapes, and it is deterministic given its samples: replaying those of an
// interrupted search brings it exactly to where it was.
#pragma once
#include <atomic>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/status.h"
#include "profiles/statistics.h"
#include "tuner/evaluator.h"
#include "tuner/search_space.h"

namespace smepilot {

// Of a flag that asks to stop; nullptr: nothing can ask.
inline bool is_set(const std::atomic<bool>* flag) noexcept {
  return flag != nullptr && flag->load(std::memory_order_relaxed);
}

struct StrategyOptions {
  unsigned min_rounds = 6;    // of a race, before a close candidate may be dropped (a 95 % interval needs six)
  unsigned max_rounds = 14;   // of a race, at most 64
  unsigned duel_rounds = 24;  // of the final comparison with the default, at most; at most 64
  double tie = 0.02;          // candidates closer than this count as equally fast
  double deadline_s = std::numeric_limits<double>::infinity();  // on Evaluator::now_s()
  const std::atomic<bool>* cancel = nullptr;
  std::function<Status()> checkpoint;  // called after every round: what was sampled may be stored now
};

// What became of one entry of the search space.
struct Outcome {
  MeasurementStatus status = MeasurementStatus::kOk;
  std::string reason;
  bool sampled = false;
};

enum class Verdict : uint8_t {
  kDefault,     // the default is the best or ties with it
  kFaster,      // another candidate is faster than the default, shown by fresh samples
  kSimpler,     // another candidate is as fast as the default with a simpler mode or fewer workers
  kPredicted,   // chosen by the roofline, not measured
  kUnmeasured,  // nothing was measured in time: the default
};

struct Decision {
  size_t chosen = 0;  // entry of the space
  Verdict verdict = Verdict::kUnmeasured;
  double chosen_ns = 0;  // medians; where the two were compared head to head, of those samples only
  double default_ns = 0;
  Interval ratio = {1, 1};        // 95 % interval of chosen / default
  bool finished = false;          // false: the deadline, a cancellation or the end of a recording cut it short
  std::string why;                // one sentence
  std::vector<Outcome> outcomes;  // one per entry
};

class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual std::string_view name() const noexcept = 0;
  // True if it calls the evaluator at all.
  virtual bool measures() const noexcept { return true; }
  // Error: checkpoint failed (the database cannot be written), or the default itself is wrong and nothing else is
  // right.
  virtual Result<Decision> decide(const SearchSpace& space, Evaluator& evaluator,
                                  const StrategyOptions& options) const = 0;
};

// "race": candidates meet in interleaved rounds and leave when they are shown to be slower; kernels and worker counts
//         first, then the blocking of the best ones; the winner meets the default again with fresh samples.
// "exhaustive": every candidate that can run, priced or not, for the full number of rounds, but for one whose first
//               call took 0.1 s and three times as long as the fastest; then the same comparison.
// "roofline": nothing is measured; the best prediction is chosen, the simpler one where they are equal.
// Error: no strategy of that name.
Result<std::unique_ptr<Strategy>> make_strategy(std::string_view name);

}  // namespace smepilot
