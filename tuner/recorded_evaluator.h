// A log of what is known about an operator's candidates in front of an evaluator: it first gives out what was recorded,
// in order, and only then measures, adding to the log. So an interrupted race continues where it was, a finished one
// measures nothing, and a strategy can be tried on an old log alone.
#pragma once
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tuner/evaluator.h"

namespace smepilot {

class RecordedEvaluator final : public Evaluator {
 public:
  struct Record {
    Candidate candidate;
    MeasurementStatus status = MeasurementStatus::kOk;
    std::string reason;
    std::vector<double> samples_ns;
    size_t given = 0;    // samples handed out so far
    bool fresh = false;  // holds something that is not in the log it began with
    bool dirty = false;  // changed since take_changed()
  };

  // `live` may be null: then there is only the log. Of `known`, rows that were run count. `again`: without a live
  // evaluator the samples of a candidate start over where they end, so that a strategy can ask for more than were
  // taken.
  RecordedEvaluator(Evaluator* live, const OperatorTask& task, std::span<const Measurement> known, bool again = false);

  // Nothing to do: the live evaluator is prepared when it is first needed. An error there ends the samples, and is
  // kept in live_error().
  Status prepare(const OperatorTask&) override { return {}; }
  // Does not give the candidate's first samples, as if they had been given.
  void skip(const Candidate& candidate, size_t samples);
  CheckResult check(const Candidate& candidate) override;
  void begin_round() override;
  std::optional<double> sample(const Candidate& candidate) override;
  double now_s() override;
  Disturbance disturbance() const override { return live_ == nullptr ? Disturbance{} : live_->disturbance(); }

  const Record* find(const Candidate& candidate) const;
  std::vector<const Record*> take_changed();              // since the last call
  size_t measured() const noexcept { return measured_; }  // samples taken live
  size_t reused() const noexcept { return reused_; }      // samples given out of the log
  size_t repeated() const noexcept { return repeated_; }  // of those, given out for another time
  const Status& live_error() const noexcept { return live_error_; }

 private:
  bool live();
  Record& record(const Candidate& candidate);

  Evaluator* live_;
  OperatorTask task_;
  bool prepared_ = false;
  Status live_error_;
  std::map<std::string, Record> records_;
  bool again_;
  size_t measured_ = 0, reused_ = 0, repeated_ = 0;
};

}  // namespace smepilot
