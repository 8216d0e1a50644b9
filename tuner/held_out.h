// Teaches the roofline what kernels keep of its ceilings, and judges it: times real operators through an evaluator, the
// same way as search does. The operators that judge are none of those that teach.
#pragma once
#include <atomic>
#include <functional>
#include <string>
#include <string_view>

#include "profiles/calibration.h"
#include "profiles/platform.h"
#include "tuner/evaluator.h"

namespace smepilot {

struct HeldOutOptions {
  unsigned workers = 1;     // the most; kernels are also fitted on one
  bool quick = false;       // only the types that are judged, fewer samples
  uint64_t cold_bytes = 0;  // that the evaluator reads between two uses of the same weights: decides their level
  std::function<void(double fraction, std::string_view label)> progress;
  const std::atomic<bool>* cancel = nullptr;
};

// Fills calibration.kernels and the operators they were fitted on. Error: cancelled (kCalibrationCancelled), or the
// operands do not fit the memory.
Status fit_kernels(const Platform& platform, Evaluator& evaluator, const HeldOutOptions& options,
                   Calibration& calibration);

// Appends the held-out operators, each by every unit's default kernel, with the price of the roofline as it now is.
Status judge_model(const Platform& platform, Evaluator& evaluator, const HeldOutOptions& options,
                   Calibration& calibration);

// What a call that reads memory, one of those that taught, takes now as a multiple of what it took then: a virtual
// machine whose cores the host moves, or whose neighbours begin to read, has another memory than the one that was
// fitted. 1 where none taught.
Result<double> memory_drift(const Platform& platform, Evaluator& evaluator, const HeldOutOptions& options,
                            const Calibration& calibration);

// fit_kernels() and judge_model(), and both again, up to kTeachings times in all, while the memory is not the same
// before and after. `teachings`, if not null: how many times it was.
inline constexpr unsigned kTeachings = 3;
Status teach_and_judge(const Platform& platform, Evaluator& evaluator, const HeldOutOptions& options,
                       Calibration& calibration, unsigned* teachings = nullptr);

// A line for each operator that judged, and the median of the errors; "" where none did. At most 80 columns.
std::string held_out_table(const Calibration& calibration, const Platform& platform);

}  // namespace smepilot
