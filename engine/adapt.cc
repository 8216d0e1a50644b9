#include "engine/adapt.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace smepilot {
namespace {

constexpr double kFade = 1.0 / 8;        // weight of the newest value
constexpr double kSure = 4;              // standard errors before evidence counts, which is looked at after every call
constexpr double kSmallestStep = 0.01;   // of a share: less is not worth a trial
constexpr double kAnotherMachine = 0.2;  // change of the logarithm of the cost: waiting for the old one is over
constexpr uint32_t kFewestPairs = 4;
constexpr double kClearlyLess = 0.2;  // of a core

// Standard errors that a trial of n pairs must show: more while the error itself is known from few.
double sure_after(uint32_t pairs) noexcept {
  return 3.5 + 6.0 / pairs;
}

}  // namespace

std::string describe(const AdaptSetting& s) {
  if (s.mode == ExecutionMode::kCoop)
    return fmt::format("coop, {:.0f} % on the matrix unit{}", 100 * s.share, s.dynamic ? ", dynamic" : "");
  return fmt::format("{}, {} worker{}", kModeNames[static_cast<size_t>(s.mode)], s.workers, s.workers == 1 ? "" : "s");
}

const char* adapt_reason_name(AdaptReason reason) noexcept {
  switch (reason) {
    case AdaptReason::kBalance: return "one side waited for the other";
    case AdaptReason::kByTurns: return "the sides waited for each other by turns";
    case AdaptReason::kOneSide: return "one side alone promised to be faster than both";
    case AdaptReason::kFewerWorkers: return "workers waited for the slowest";
    case AdaptReason::kProbe: return "tried again";
  }
  return "";
}

void Fading::add(double x) noexcept {
  ++count_;
  const double weight = std::max(kFade, 1.0 / count_);
  const double off = x - mean_;
  mean_ += weight * off;
  variance_ = (1 - weight) * (variance_ + weight * off * off);
}

double Fading::error() const noexcept {
  if (count_ < 2) return INFINITY;
  const double effective = std::min(static_cast<double>(count_), 2 / kFade - 1);
  return std::sqrt(variance_ / (effective - 1));
}

void AdaptController::Rate::add(double w, double t) noexcept {
  work = (1 - kFade) * work + w;
  ns = (1 - kFade) * ns + t;
}

void AdaptController::Arm::add(const AdaptObservation& o) noexcept {
  cost += o.ns / o.work;
  ns += o.ns;
  work += o.work;
  if (!o.apart) return;
  matrix.work += o.matrix.work;
  matrix.ns += o.matrix.ns;
  vector.work += o.vector.work;
  vector.ns += o.vector.ns;
}

AdaptRates AdaptController::Arm::rates() const noexcept {
  const auto rate = [](double w, double t) { return t > 0 ? w / t : 0; };
  return {rate(matrix.work, matrix.ns), rate(vector.work, vector.ns), rate(work, ns)};
}

AdaptController::AdaptController(const AdaptSetting& home, const AdaptLimits& limits, const AdaptPolicy& policy)
    : home_(home),
      current_(home),
      last_coop_(home),
      limits_(limits),
      policy_(policy),
      wait_(policy.settle),
      backoff_(2 * policy.settle),
      hold_(policy.settle),
      probe_wait_(policy.probe_after),
      probe_backoff_(2 * policy.probe_after) {
  challenger_costs_.reserve(policy_.most_pairs);
  current_costs_.reserve(policy_.most_pairs);
}

double AdaptController::current_ns_per_work() const noexcept {
  return whole_.work > 0 ? whole_.ns / whole_.work : 0;
}

void AdaptController::learn(const AdaptObservation& o) {
  ++calls_of_current_;
  whole_.add(o.work, o.ns);
  waiting_.add(o.waiting * o.ns, o.ns);  // by time: a few long calls may have it all
  cost_.add(std::log(o.ns / o.work));
  if (o.apart && o.matrix.ns > 0 && o.vector.ns > 0) {
    matrix_.add(o.matrix.work, o.matrix.ns);
    vector_.add(o.vector.work, o.vector.ns);
    imbalance_.add((o.matrix.ns - o.vector.ns) / std::max(o.matrix.ns, o.vector.ns));
  }
  if (wait_ > 0) --wait_;
  if (probe_wait_ > 0) --probe_wait_;
  debt_ns_ = std::max(0.0, debt_ns_ - policy_.exploration * o.ns);
  if (cost_.count() < policy_.settle) return;
  if (!has_reference_) {
    reference_ = cost_.mean();
    has_reference_ = true;
  } else if (std::abs(cost_.mean() - reference_) > std::max(kAnotherMachine, kSure * cost_.error())) {
    // What failed on the machine as it was may do on the machine as it is.
    reference_ = cost_.mean();
    backoff_ = 2 * policy_.settle;
    wait_ = std::min(wait_, policy_.settle);
    probe_backoff_ = 2 * policy_.probe_after;
    probe_wait_ = std::min(probe_wait_, policy_.probe_after);
  }
}

std::optional<AdaptEvent> AdaptController::observe(const AdaptObservation& o) {
  if (!(o.work > 0) || !(o.ns > 0)) return {};
  ++calls_;
  if (trial_) {
    Trial& t = *trial_;
    const bool challenger = t.challenger_is_next();
    (challenger ? t.challenger : t.current).add(o);
    if (challenger) ++tried_calls_;
    const double cost = o.ns / o.work;
    if (t.calls++ % 2 == 0) {
      t.first_cost = cost;
      return {};
    }
    current_costs_.push_back(challenger ? t.first_cost : cost);
    challenger_costs_.push_back(challenger ? cost : t.first_cost);
    return judge();
  }
  learn(o);
  if (const std::optional<Proposal> proposal = propose()) {
    trial_ = Trial{proposal->to, proposal->reason, 0, 0, {}, {}};
    current_costs_.clear();
    challenger_costs_.clear();
  }
  return {};
}

std::optional<AdaptController::Proposal> AdaptController::propose() const {
  if (calls_of_current_ < policy_.settle) return {};
  std::optional<Proposal> p;
  if (wait_ == 0) {
    p = propose_balance();
    if (!p) p = propose_one_side();
    if (!p) p = propose_dynamic();
    if (!p) p = propose_fewer();
  }
  if (!p) p = propose_probe();
  return p;
}

std::optional<AdaptController::Proposal> AdaptController::propose_balance() const {
  if (current_.mode != ExecutionMode::kCoop || imbalance_.count() < policy_.settle) return {};
  const double off = std::abs(imbalance_.mean());
  if (off < policy_.worthwhile || off < kSure * imbalance_.error()) return {};
  const double matrix = matrix_.value(), vector = vector_.value();
  if (!(matrix > 0) || !(vector > 0)) return {};
  const double done = matrix_.work / (matrix_.work + vector_.work);  // of the work, by the matrix unit
  const double now = std::max(done / matrix, (1 - done) / vector), then = 1 / (matrix + vector);
  if (then > now * (1 - policy_.worthwhile)) return {};
  const double wanted = std::clamp(matrix / (matrix + vector), limits_.min_share, limits_.max_share);
  const double step = std::clamp(wanted - current_.share, -policy_.max_step, policy_.max_step);
  // Where the side that is ready first helps the other, what is done differs from what was given.
  if (std::abs(step) < kSmallestStep || (step > 0) == (imbalance_.mean() > 0)) return {};
  AdaptSetting to = current_;
  to.share += step;
  return Proposal{to, AdaptReason::kBalance};
}

// What no share avoids: a side that is held up now and then.
std::optional<AdaptController::Proposal> AdaptController::propose_dynamic() const {
  if (current_.mode != ExecutionMode::kCoop || current_.dynamic || !limits_.dynamic) return {};
  if (imbalance_.count() < policy_.settle || waiting_.value() < policy_.worthwhile) return {};
  AdaptSetting to = current_;
  to.dynamic = true;
  return Proposal{to, AdaptReason::kByTurns};
}

std::optional<AdaptController::Proposal> AdaptController::propose_one_side() const {
  if (current_.mode != ExecutionMode::kCoop || !limits_.alone || imbalance_.count() < policy_.settle) return {};
  const double cpu_workers = std::max(1.0, static_cast<double>(current_.workers) - limits_.matrix_workers);
  const double matrix = matrix_.value(), vector = vector_.value();
  if (!(matrix > 0) || !(vector > 0) || !(whole_.value() > 0)) return {};
  const double alone = vector * limits_.cpu_workers / cpu_workers;
  // Times of a unit of work: as it is, and with a better division, which does not take the barrier away.
  const double done = matrix_.work / (matrix_.work + vector_.work), now = 1 / whole_.value();
  const double barrier = std::max(0.0, now - std::max(done / matrix, (1 - done) / vector));
  const double together = std::min(now, 1 / (matrix + vector) + barrier);
  if (1 / std::max(matrix, alone) > together * (1 - policy_.worthwhile)) return {};
  if (matrix > alone) return Proposal{{ExecutionMode::kMatrix, 0, limits_.matrix_workers}, AdaptReason::kOneSide};
  return Proposal{{ExecutionMode::kCpu, 0, limits_.cpu_workers}, AdaptReason::kOneSide};
}

std::optional<AdaptController::Proposal> AdaptController::propose_fewer() const {
  if (current_.mode == ExecutionMode::kCoop || current_.workers < 2) return {};
  if (waiting_.value() < policy_.most_waiting) return {};
  AdaptSetting to = current_;
  --to.workers;
  return Proposal{to, AdaptReason::kFewerWorkers};
}

// Where both units share the work, its division shows by itself what has recovered.
std::optional<AdaptController::Proposal> AdaptController::propose_probe() const {
  const bool away =
      current_.mode != home_.mode || current_.workers != home_.workers || current_.dynamic != home_.dynamic;
  if (!away || probe_wait_ > 0 || debt_ns_ > 0) return {};
  if (home_.mode == ExecutionMode::kCoop && probe_last_coop_) return Proposal{last_coop_, AdaptReason::kProbe};
  return Proposal{home_, AdaptReason::kProbe};
}

std::optional<AdaptEvent> AdaptController::judge() {
  const auto pairs = static_cast<uint32_t>(current_costs_.size());
  const double n = pairs, a = trial_->current.cost, ratio = trial_->challenger.cost / a;
  // Error of a ratio of sums, by its linear part.
  double squares = 0;
  for (uint32_t i = 0; i < pairs; ++i) {
    const double d = challenger_costs_[i] - ratio * current_costs_[i];
    squares += d * d;
  }
  const double error = pairs < 2 ? INFINITY : std::sqrt(squares * n / (n - 1)) / a;
  if (pairs >= 2 && ratio - 2 * error > policy_.gone_bad) return end_trial(false, ratio, error);
  if (pairs < kFewestPairs) return {};
  if (ratio + sure_after(pairs) * error < 1 && ratio < 1 - policy_.worth_taking) return end_trial(true, ratio, error);
  if (ratio - 2 * error > 1 - policy_.worthwhile || pairs >= policy_.most_pairs) return end_trial(false, ratio, error);
  return {};
}

AdaptEvent AdaptController::end_trial(bool changed, double ratio, double error) {
  const Trial t = *trial_;
  trial_.reset();
  const AdaptEvent event{changed,
                         current_,
                         t.to,
                         t.reason,
                         t.current.rates(),
                         t.challenger.rates(),
                         1 - ratio,
                         error,
                         static_cast<uint32_t>(current_costs_.size())};
  if (changed) {
    take(t.to);
    return event;
  }
  has_reference_ = false;
  if (t.reason == AdaptReason::kProbe) {
    // Per call, so that a challenger that had more work is not charged for it.
    debt_ns_ +=
        std::max(0.0, t.challenger.cost - t.current.cost) * t.current.work / static_cast<double>(current_costs_.size());
    probe_wait_ = probe_backoff_;
    probe_backoff_ = std::min(2 * probe_backoff_, policy_.longest_wait);
    if (std::abs(last_coop_.share - home_.share) > kSmallestStep) probe_last_coop_ = !probe_last_coop_;
  } else {
    wait_ = backoff_;
    backoff_ = std::min(2 * backoff_, policy_.longest_wait);
  }
  return event;
}

void AdaptController::take(const AdaptSetting& to) {
  // A share that goes back and forth waits longer each time.
  const bool moves = to.mode == ExecutionMode::kCoop && current_.mode == ExecutionMode::kCoop;
  const int direction = moves ? (to.share > current_.share) - (to.share < current_.share) : 0;
  if (direction * direction_ < 0)
    hold_ = std::min(2 * hold_, policy_.longest_wait);
  else if (calls_of_current_ > 16 * uint64_t{hold_})
    hold_ = policy_.settle;
  direction_ = direction;
  if (current_.mode == ExecutionMode::kCoop) last_coop_ = current_;
  if (to.mode != ExecutionMode::kCoop) matrix_ = vector_ = {};
  current_ = to;
  forget();
  wait_ = hold_;
}

void AdaptController::start_over() {
  trial_.reset();
  matrix_ = vector_ = {};
  forget();
  wait_ = policy_.settle;
}

void AdaptController::forget() {
  calls_of_current_ = 0;
  whole_ = {};
  imbalance_.clear();
  waiting_ = {};
  cost_.clear();
  has_reference_ = false;
  backoff_ = 2 * policy_.settle;
  probe_wait_ = policy_.probe_after;
  probe_backoff_ = 2 * policy_.probe_after;
  probe_last_coop_ = false;
}

bool PlacementController::clear(unsigned least, unsigned last) const noexcept {
  const double difference = shares_[last].mean() - shares_[least].mean();
  const double error = std::hypot(shares_[last].error(), shares_[least].error());
  return difference > kClearlyLess && difference > kSure * error;
}

}  // namespace smepilot
