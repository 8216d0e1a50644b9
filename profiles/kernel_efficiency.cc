#include "profiles/kernel_efficiency.h"

#include <cmath>

#include "profiles/statistics.h"

namespace smepilot {

double fitted_efficiency(double ideal_ns, double overhead_ns, double measured_ns) noexcept {
  const double work_ns = measured_ns - overhead_ns;
  if (!std::isfinite(ideal_ns) || ideal_ns <= 0 || !(work_ns >= overhead_ns)) return 0;
  return work_ns > 0 ? ideal_ns / work_ns : 0;
}

std::optional<double> median_error(const Calibration& calibration) {
  std::vector<double> errors;
  for (const TimedOperator& t : calibration.operators)
    if (t.held_out) errors.push_back(std::abs(t.error()));
  if (errors.empty()) return std::nullopt;
  return median(errors);
}

}  // namespace smepilot
