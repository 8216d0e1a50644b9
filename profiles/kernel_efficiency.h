// What kernels keep of the calibrated ceilings, and how far the model that knows it is from operators it has not seen.
// Pure functions of what was measured; tuner/held_out.h measures.
#pragma once
#include <optional>

#include "profiles/calibration.h"

namespace smepilot {

// The fraction of a ceiling that a call kept which should have taken ideal_ns at it, beside overhead_ns of fixed costs,
// and took measured_ns. 0: fixed costs are more than half of the call, which therefore says nothing.
double fitted_efficiency(double ideal_ns, double overhead_ns, double measured_ns) noexcept;

// Median of |predicted / measured - 1| over the operators that were held out. Nothing: none were.
std::optional<double> median_error(const Calibration& calibration);

}  // namespace smepilot
