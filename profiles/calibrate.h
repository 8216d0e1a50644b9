// Measures this machine: compute peaks, bandwidth per memory level, fork/join cost and noise, by worker count.
#pragma once
#include <atomic>
#include <functional>
#include <string_view>

#include "kernels/base/status.h"
#include "profiles/calibration.h"
#include "profiles/platform.h"

namespace smepilot {

struct CalibrateOptions {
  bool quick = false;    // coarser: about a quarter of the samples, smaller DRAM set
  unsigned workers = 0;  // measure 1 .. this many; 0: one per physical core
  std::function<void(double fraction, std::string_view label)> progress;  // called before each step, and at the end
  const std::atomic<bool>* cancel = nullptr;  // set from a signal handler or another thread: stops within ~100 ms
};

// Errors: SMEPILOT_FORCE_ISA has a bad value, memory is short, or it was cancelled (the message is "calibration
// cancelled"). Pins its workers to cores of the first core class for the duration.
Result<Calibration> calibrate(const Platform& platform, const CalibrateOptions& options = {});

}  // namespace smepilot
