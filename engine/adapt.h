// Runtime adaptation of one operator: decides from what its calls took how the next ones are to be executed. Pure: it
// has no clock and no threads and is fed with observations, so that it is tested on synthetic series.
//
// What it may move is the matrix unit's share of a call that both units execute, whether the side that is ready first
// helps the other, whether both take part at all, and how many workers do. None of these changes a layout. A change is
// proposed by evidence (one side waits for the other; they wait by turns; one side alone would be faster than both with
// their barrier) or, where something else than the plan runs, rarely by schedule, to notice that the machine has
// recovered. Every proposal is put to trial: old and new alternate from call to call (ABBA), and the new one is taken
// only if the ratio of their summed times says so beyond its error. What trials by schedule have cost may not exceed a
// hundredth of the running time.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/abi/execution_mode.h"

namespace smepilot {

struct AdaptSetting {
  ExecutionMode mode = ExecutionMode::kCpu;
  double share = 0;      // kCoop: of the work, what the matrix unit is given (0 .. 1)
  uint32_t workers = 1;  // of both sides together
  bool dynamic = false;  // kCoop: the side that finishes first takes what remains of the other's part
  bool operator==(const AdaptSetting&) const = default;
};

// "coop, 62 % on the matrix unit", the same with ", dynamic" behind it, "cpu, 1 worker"
std::string describe(const AdaptSetting& setting);

struct AdaptLimits {
  double min_share = 0, max_share = 1;  // kCoop: at least a panel on either side
  bool alone = false;                   // whether either side's kernel may execute everything
  bool dynamic = false;                 // whether one side's may execute what remains of the other's part
  uint32_t matrix_workers = 1;          // of a coop call; also when the matrix unit is alone
  uint32_t cpu_workers = 1;             // when the cores are alone; all that there are
};

struct AdaptPolicy {
  double worthwhile = 0.03;     // a change has to promise that much less time
  double worth_taking = 0.015;  // and to have shown that much
  double most_waiting = 0.10;   // of the workers' time, before fewer of them are tried
  double max_step = 0.2;        // of the share, per change
  double exploration = 0.01;    // of the running time
  double gone_bad = 1.4;        // a trial that takes that much longer is ended at once
  uint32_t settle = 8;          // calls before the first proposal, and after a change
  uint32_t most_pairs = 128;    // of a trial
  uint32_t probe_after = 96;    // calls, before the plan's setting is tried again; doubles with each failure
  uint32_t longest_wait = 4096;
};

// One call, as it was executed.
struct AdaptObservation {
  double work = 0;  // in any unit, the same for all calls of the operator
  double ns = 0;
  struct Side {
    double work = 0, ns = 0;  // what it did until it had nothing left to do
  };
  bool apart = false;  // both sides took part with workers of their own; else `matrix` and `vector` mean nothing
  Side matrix, vector;
  double waiting = 0;  // share of the workers' time that was spent waiting for the last one
};

enum class AdaptReason : uint8_t { kBalance, kByTurns, kOneSide, kFewerWorkers, kProbe };
const char* adapt_reason_name(AdaptReason reason) noexcept;

// Work per nanosecond; 0: not known.
struct AdaptRates {
  double matrix = 0, vector = 0, whole = 0;
};

// A trial has ended.
struct AdaptEvent {
  bool changed = false;  // else everything stays as it was
  AdaptSetting from, to;
  AdaptReason reason{};
  AdaptRates before, after;  // of both during the trial
  double saved = 0;          // of the time, by `to`: 1 - its time / that of `from`
  double error = 0;          // standard error of it
  uint32_t pairs = 0;
};

// Running mean and variance, the first values weighing alike and later ones fading.
class Fading {
 public:
  void add(double x) noexcept;
  void clear() noexcept { *this = {}; }
  double mean() const noexcept { return mean_; }
  double error() const noexcept;  // standard error of the mean
  uint32_t count() const noexcept { return count_; }

 private:
  double mean_ = 0, variance_ = 0;
  uint32_t count_ = 0;
};

class AdaptController {
 public:
  // home: what the plan says.
  AdaptController(const AdaptSetting& home, const AdaptLimits& limits, const AdaptPolicy& policy = {});

  // How the next call is to be executed.
  const AdaptSetting& next() const noexcept { return trial_ && trial_->challenger_is_next() ? trial_->to : current_; }
  // What the call that next() was asked for took.
  std::optional<AdaptEvent> observe(const AdaptObservation& observation);

  // The machine has been changed under it: what was observed so far is worth nothing.
  void start_over();

  const AdaptSetting& home() const noexcept { return home_; }
  const AdaptSetting& current() const noexcept { return current_; }
  uint64_t calls() const noexcept { return calls_; }
  uint64_t calls_of_current() const noexcept { return calls_of_current_; }  // since the last change
  uint64_t tried_calls() const noexcept { return tried_calls_; }            // of challengers
  double current_ns_per_work() const noexcept;

 private:
  // Work and time, fading like a Fading's values.
  struct Rate {
    double work = 0, ns = 0;
    void add(double w, double t) noexcept;
    double value() const noexcept { return ns > 0 ? work / ns : 0; }
  };
  struct Arm {
    double cost = 0;  // sum of ns / work
    double ns = 0, work = 0;
    AdaptObservation::Side matrix, vector;
    void add(const AdaptObservation& o) noexcept;
    AdaptRates rates() const noexcept;
  };
  struct Trial {
    AdaptSetting to;
    AdaptReason reason;
    uint32_t calls = 0;
    double first_cost = 0;  // of the pair that is under way
    Arm current, challenger;
    // ABBA: the one that began a pair ends the next one.
    bool challenger_is_next() const noexcept { return (calls % 4 == 1) || (calls % 4 == 2); }
  };
  struct Proposal {
    AdaptSetting to;
    AdaptReason reason;
  };

  void learn(const AdaptObservation& o);
  std::optional<Proposal> propose() const;
  std::optional<Proposal> propose_balance() const;
  std::optional<Proposal> propose_dynamic() const;
  std::optional<Proposal> propose_one_side() const;
  std::optional<Proposal> propose_fewer() const;
  std::optional<Proposal> propose_probe() const;
  std::optional<AdaptEvent> judge();
  AdaptEvent end_trial(bool changed, double ratio, double error);
  void take(const AdaptSetting& to);
  void forget();

  AdaptSetting home_, current_, last_coop_;
  AdaptLimits limits_;
  AdaptPolicy policy_;
  Rate whole_, matrix_, vector_;
  Fading imbalance_;      // (matrix - vector) / the longer one: > 0 if the cores wait for the matrix unit
  Rate waiting_;          // of the time of its workers, what they waited
  Fading cost_;           // logarithm of ns / work
  double reference_ = 0;  // of cost_, when the last trial ended
  bool has_reference_ = false;
  std::optional<Trial> trial_;
  std::vector<double> current_costs_, challenger_costs_;  // ns / work in each pair of the trial
  uint32_t wait_;                                         // calls until evidence may lead to a trial
  uint32_t backoff_;                                      // wait_ after the next failure
  uint32_t hold_;                                         // wait_ after the next change
  uint32_t probe_wait_, probe_backoff_;
  bool probe_last_coop_ = false;  // the next probe is of last_coop_ instead of home_
  int direction_ = 0;             // of the last change of the share
  double debt_ns_ = 0;            // what trials by schedule have cost and running time has not paid for
  uint64_t calls_ = 0, calls_of_current_ = 0, tried_calls_ = 0;
};

// Which worker runs on which core: the matrix unit's come first, and where fewer workers are used, the last ones are
// left out. So of two cores that may be exchanged, the last worker should have the one that others use.
class PlacementController {
 public:
  struct Swap {
    unsigned a = 0, b = 0;            // workers
    double share_a = 0, share_b = 0;  // what each had of its core
  };

  explicit PlacementController(unsigned workers, const AdaptPolicy& policy = {})
      : shares_(workers), hold_(policy.settle), first_hold_(policy.settle), longest_(policy.longest_wait) {}

  // What each worker that took part in a call had of its core (0 .. 1).
  void observe(unsigned worker, double share) noexcept { shares_[worker].add(share); }
  // After each call: two workers that should change places, of those that may.
  template <typename May>
  std::optional<Swap> decide(May may) {
    ++calls_;
    const unsigned last = static_cast<unsigned>(shares_.size()) - 1;
    unsigned least = last;
    for (unsigned w = 0; w < last; ++w)
      if (shares_[w].count() >= first_hold_ && shares_[w].mean() < shares_[least].mean() && may(w, last)) least = w;
    if (least == last || calls_ < hold_ || shares_[last].count() < first_hold_ || !clear(least, last)) return {};
    const Swap swap{least, last, shares_[least].mean(), shares_[last].mean()};
    // What goes back and forth waits longer each time.
    hold_ = calls_ > 16 * uint64_t{hold_} ? first_hold_ : std::min(4 * hold_, longest_);
    calls_ = 0;
    for (Fading& s : shares_) s.clear();
    return swap;
  }

 private:
  bool clear(unsigned least, unsigned last) const noexcept;

  std::vector<Fading> shares_;
  uint32_t hold_, first_hold_, longest_;
  uint64_t calls_ = 0;  // since the last exchange
};

}  // namespace smepilot
