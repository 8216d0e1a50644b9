// What kernels keep of the calibrated ceilings, and how far the model that knows it is from operators it has not seen.
// Pure functions of what was measured; tuner/held_out.h measures.
#pragma once
#include <optional>

#include "profiles/calibration.h"

namespace smepilot {

// Rows of the matmul that teaches how far a kernel hides memory behind arithmetic: cold, and few enough that both take
// about as long on any machine. Among the operators of a calibration it is known by them: no other one has so many.
inline constexpr uint32_t kMixedRows = 6;

// A call that taught: what it should have taken at the ceilings, and what it did take. measured_ns 0: there was none.
struct LessonTime {
  double compute_ns = 0, memory_ns = 0, overhead_ns = 0, measured_ns = 0;
};

// What a kernel keeps of the ceilings, and which share of the shorter of both times it does not hide behind the longer:
//   ns = max(c, m) + exposed * min(c, m) + overhead, with c = compute_ns / compute, m = memory_ns / memory
struct FittedKernel {
  double compute = 0, memory = 0, exposed = 0;  // 0: not known
};

// From a call that computes much, one that reads much, and one that does both.
FittedKernel fit_kernel(const LessonTime& computes, const LessonTime& reads, const LessonTime& mixed) noexcept;

// exposed, of the mixed call alone, with the other two known; 0 .. 1.
double fitted_exposure(const LessonTime& mixed, double compute, double memory) noexcept;

// The fraction of a ceiling that a call kept which should have taken ideal_ns at it, beside overhead_ns of fixed costs,
// and took measured_ns. 0: fixed costs are more than half of the call, which therefore says nothing.
double fitted_efficiency(double ideal_ns, double overhead_ns, double measured_ns) noexcept;

// Median of |predicted / measured - 1| over the operators that were held out. Nothing: none were.
std::optional<double> median_error(const Calibration& calibration);

}  // namespace smepilot
