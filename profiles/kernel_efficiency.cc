#include "profiles/kernel_efficiency.h"

#include <algorithm>
#include <cmath>

#include "profiles/statistics.h"

namespace smepilot {

double fitted_efficiency(double ideal_ns, double overhead_ns, double measured_ns) noexcept {
  const double work_ns = measured_ns - overhead_ns;
  if (!std::isfinite(ideal_ns) || ideal_ns <= 0 || !(work_ns >= overhead_ns)) return 0;
  return work_ns > 0 ? ideal_ns / work_ns : 0;
}

double fitted_exposure(const LessonTime& mixed, double compute, double memory) noexcept {
  if (!(compute > 0 && memory > 0 && mixed.measured_ns > 0)) return 0;
  const double c = mixed.compute_ns / compute, m = mixed.memory_ns / memory;
  const double rest = mixed.measured_ns - mixed.overhead_ns - std::max(c, m);
  return std::isfinite(rest) && std::min(c, m) > 0 ? std::clamp(rest / std::min(c, m), 0.0, 1.0) : 0;
}

FittedKernel fit_kernel(const LessonTime& computes, const LessonTime& reads, const LessonTime& mixed) noexcept {
  constexpr int kSteps = 8;  // each fits two of the three with what the step before found of the third
  FittedKernel k;
  for (int i = 0; i < kSteps; ++i) {
    const double read_ns = k.memory > 0 ? k.exposed * computes.memory_ns / k.memory : 0;
    const double computed_ns = k.compute > 0 ? k.exposed * reads.compute_ns / k.compute : 0;
    if (computes.measured_ns > 0)
      k.compute = fitted_efficiency(computes.compute_ns, computes.overhead_ns, computes.measured_ns - read_ns);
    if (reads.measured_ns > 0)
      k.memory = fitted_efficiency(reads.memory_ns, reads.overhead_ns, reads.measured_ns - computed_ns);
    k.exposed = fitted_exposure(mixed, k.compute, k.memory);
  }
  return k;
}

std::optional<double> median_error(const Calibration& calibration) {
  std::vector<double> errors;
  for (const TimedOperator& t : calibration.operators)
    if (t.held_out) errors.push_back(std::abs(t.error()));
  if (errors.empty()) return std::nullopt;
  return median(errors);
}

}  // namespace smepilot
