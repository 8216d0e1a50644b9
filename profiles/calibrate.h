// Measures this machine: compute peaks, bandwidth per memory level, fork/join cost and noise, by worker count.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "kernels/base/status.h"
#include "profiles/calibration.h"
#include "profiles/platform.h"

namespace smepilot {

struct CalibrateOptions {
  bool quick = false;          // about a quarter of the time, a smaller DRAM set
  bool verify = false;         // only what compare_calibrations() compares: a third of the time
  unsigned workers = 0;        // the most workers to measure with; 0: one per physical core
  double seconds = 0;          // time to aim at, 0: 36, or 9 if quick; no less than what a few samples of each need
  uint64_t max_set_bytes = 0;  // largest working set, 0: what the caches call for, within an eighth of the memory
  std::function<void(double fraction, std::string_view label)> progress;  // called before each step, and at the end
  // What tells how fast the clock is, GFLOP/s, between the steps; empty: a short kernel on one core.
  std::function<double()> reference_gflops;
  const std::atomic<bool>* cancel = nullptr;  // set by a signal handler or another thread: stops in under a second
};

// The worker counts measured: all of 1 .. 8, then a few a doubling, and `workers` itself.
std::vector<unsigned> calibrated_worker_counts(unsigned workers);

// Errors: SMEPILOT_FORCE_ISA has a bad value, memory is short, or it was cancelled (kCalibrationCancelled). Pins its
// workers for the duration, one per core of the first core class first.
Result<Calibration> calibrate(const Platform& platform, const CalibrateOptions& options = {});
inline constexpr const char* kCalibrationCancelled = "calibration cancelled";

}  // namespace smepilot
