// Does a stored calibration still hold? Compares it, number by number, with a shorter one made now. Pure functions;
// calibrate() with CalibrateOptions::verify measures.
#pragma once
#include <string>
#include <vector>

#include "kernels/base/status.h"
#include "profiles/calibration.h"

namespace smepilot {

struct VerifyRow {
  std::string name;            // "peak cpu int8 avx512vnni x2, GFLOP/s"
  double stored = 0, now = 0;  // now 0: was not found again
  double allowed = 0;          // fraction by which they may differ
  bool holds = false;
};

// What is allowed beside the noise floor of whichever calibration was noisier. Costs of synchronisation vary most.
inline constexpr double kPeakTolerance = 0.05, kBandwidthTolerance = 0.1, kForkJoinTolerance = 0.5,
                        kNoiseTolerance = 0.02;
// Above this noise floor differences that matter are not seen: such a calibration does not hold, whatever it says.
inline constexpr double kMostNoise = 0.25;

// Of what the shorter one measures: peaks and fork/join at its worker counts, reads of LLC and DRAM, the noise floor
// (which may be lower, but not higher by more than kNoiseTolerance, nor above kMostNoise). Error: they have nothing in
// common.
Result<std::vector<VerifyRow>> compare_calibrations(const Calibration& stored, const Calibration& now);

}  // namespace smepilot
