#include "tuner/recorded_evaluator.h"

#include <algorithm>

namespace smepilot {

RecordedEvaluator::RecordedEvaluator(Evaluator* live, const OperatorTask& task, std::span<const Measurement> known,
                                     bool again)
    : live_(live), task_(task), again_(again) {
  for (const Measurement& m : known) {
    if (!was_run(m.status)) continue;
    Record& r = record(m.candidate);
    r.status = m.status;
    r.reason = m.reason;
    r.samples_ns = m.samples_ns;
  }
}

RecordedEvaluator::Record& RecordedEvaluator::record(const Candidate& candidate) {
  Record& r = records_[describe(candidate) + (candidate.mode == ExecutionMode::kCoop ? " coop" : "")];
  r.candidate = candidate;
  return r;
}

const RecordedEvaluator::Record* RecordedEvaluator::find(const Candidate& candidate) const {
  const auto it = records_.find(describe(candidate) + (candidate.mode == ExecutionMode::kCoop ? " coop" : ""));
  return it == records_.end() ? nullptr : &it->second;
}

void RecordedEvaluator::skip(const Candidate& candidate, size_t samples) {
  Record& r = record(candidate);
  r.given = std::min(samples, r.samples_ns.size());
}

bool RecordedEvaluator::live() {
  if (live_ == nullptr || !live_error_.ok()) return false;
  if (!prepared_) {
    live_error_ = live_->prepare(task_);
    prepared_ = true;
  }
  return live_error_.ok();
}

CheckResult RecordedEvaluator::check(const Candidate& candidate) {
  if (const Record* r = find(candidate)) return {r->status, r->reason};
  if (!live()) return {};
  const CheckResult result = live_->check(candidate);
  if (result.status != MeasurementStatus::kOk) {  // a pass is worth a row only with samples
    Record& r = record(candidate);
    r.status = result.status;
    r.reason = result.reason;
    r.fresh = r.dirty = true;
  }
  return result;
}

void RecordedEvaluator::begin_round() {
  if (live_ != nullptr && prepared_ && live_error_.ok()) live_->begin_round();
}

std::optional<double> RecordedEvaluator::sample(const Candidate& candidate) {
  Record& r = record(candidate);
  if (r.given < r.samples_ns.size()) {
    ++reused_;
    return r.samples_ns[r.given++];
  }
  if (!live()) {
    if (!again_ || live_ != nullptr || r.samples_ns.empty()) return std::nullopt;
    ++reused_;
    ++repeated_;
    return r.samples_ns[r.given++ % r.samples_ns.size()];
  }
  const std::optional<double> ns = live_->sample(candidate);
  if (!ns) return std::nullopt;
  r.samples_ns.push_back(*ns);
  ++r.given;
  ++measured_;
  r.fresh = r.dirty = true;
  return ns;
}

double RecordedEvaluator::now_s() {
  return live_ == nullptr ? 0 : live_->now_s();
}

std::vector<const RecordedEvaluator::Record*> RecordedEvaluator::take_changed() {
  std::vector<const Record*> out;
  for (auto& [key, r] : records_) {
    if (!r.dirty) continue;
    r.dirty = false;
    out.push_back(&r);
  }
  return out;
}

}  // namespace smepilot
