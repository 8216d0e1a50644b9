// What a strategy asks about a candidate: is it right, and how long does one call take? Behind this interface is the
// machine (hardware_evaluator.h), a log of what was measured before (recorded_evaluator.h), or a made-up landscape in
// the tests.
#pragma once
#include <optional>
#include <string>

#include "db/measurement_store.h"
#include "tuner/search_space.h"

namespace smepilot {

struct CheckResult {
  MeasurementStatus status = MeasurementStatus::kOk;
  std::string reason;  // "" for kOk
};

class Evaluator {
 public:
  virtual ~Evaluator() = default;

  // Makes ready for calls of this operator; what was prepared before is released. Error: it cannot be run here at all
  // (not enough memory).
  virtual Status prepare(const OperatorTask& task) = 0;

  // Runs the candidate once and compares its result.
  virtual CheckResult check(const Candidate& candidate) = 0;

  // The samples that follow are compared with one another: what they work on lies in the same place of memory. From
  // round to round that changes, so that a comparison of rounds is about all places alike.
  virtual void begin_round() {}

  // Nanoseconds of one call. Nothing: there are no more samples (a recording has ended).
  virtual std::optional<double> sample(const Candidate& candidate) = 0;

  // Seconds since some moment, for budgets.
  virtual double now_s() = 0;

  // Of all samples so far: how many there were, and during how many something else had a part of the machine.
  struct Disturbance {
    size_t samples = 0, disturbed = 0;
  };
  virtual Disturbance disturbance() const { return {}; }
};

}  // namespace smepilot
