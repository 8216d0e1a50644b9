// How steady the clock is during a calibration: a short reference kernel runs between the measured steps, a fall of its
// rate is waited out, and the step that it fell in is measured again. The rate and the time come from the caller, so
// that a test needs no machine.
#pragma once
#include <functional>

#include "profiles/calibration.h"

namespace smepilot {

struct ClockSource {
  std::function<double()> gflops;      // of the reference kernel, now; 0: there is none
  std::function<double()> now_s;       // since some moment
  std::function<void(double)> wait_s;  // returns after so many seconds
  std::function<bool()> cancelled;     // ends a wait
};

struct ClockRules {
  double least_drift = 0.02;  // fraction: a fall by less is none, however steady the kernel was at first
  double cooldown_s = 3.6;    // waited at most, over all steps
  unsigned per_step = 2;      // how often a step is measured again at most
  unsigned in_all = 12;       // and all of them together
};

class ClockWatch {
 public:
  ClockWatch(ClockSource source, const ClockRules& rules);

  // Before the first step: the rate to hold, and by how much the kernel differs from itself.
  void start();

  // After a step that has been measured again `repeats` times already (0: it was measured for the first time). True:
  // the clock fell by more than ClockRecord::tolerance below the highest rate so far, has come back, and the step is to
  // be measured again. False where it held; where it did not come back in time, since measuring again would give the
  // same; and once the bounds are reached.
  bool measure_again(unsigned repeats);

  const ClockRecord& record() const noexcept { return record_; }

 private:
  bool fell(double rate) const noexcept { return rate < record_.highest_gflops * (1 - record_.tolerance); }

  ClockSource source_;
  ClockRules rules_;
  ClockRecord record_;
};

}  // namespace smepilot
