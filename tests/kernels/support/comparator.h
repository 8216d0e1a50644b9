// Compares what a kernel computed with what the oracle says, element by element with a tolerance each, and remembers
// the first difference and the worst ratio of error to tolerance. It can plant an error, to prove that it would be
// seen.
#pragma once
#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <string>

namespace smepilot::test {

inline constexpr double kUnitF32 = 0x1p-24;  // half an ulp of 1, the unit roundoff
inline constexpr double kUnitF16 = 0x1p-11;
inline constexpr double kUnitBf16 = 0x1p-8;

// An error of `tolerances` times the tolerance is added to comparison number `at` (0, 1, ...), or to the first one
// after it that allows any error at all.
struct PlantedError {
  size_t at = 0;
  double tolerances = 0;
};

class Comparator {
 public:
  explicit Comparator(PlantedError planted = {}) : planted_(planted) {}

  // NaN and infinity never pass. `where` names the case and the element: a callable, called for the first failure only.
  template <typename Where>
  void compare(double expected, double actual, double tolerance, Where&& where) {
    if (planted_.tolerances != 0 && !planted_used_ && count_ >= planted_.at && tolerance > 0) {
      actual += planted_.tolerances * tolerance;
      planted_used_ = true;
    }
    ++count_;
    const double error = std::fabs(actual - expected);
    if (tolerance > 0 && error / tolerance > worst_) worst_ = error / tolerance;
    if (!(error <= tolerance)) {
      if (failures_++ == 0)
        failure_ = fmt::format("{}: expected {:.9g}, found {:.9g}, error {:.3g} > tolerance {:.3g}", where(), expected,
                               actual, error, tolerance);
    }
  }

  void fail(std::string message) {
    if (failures_++ == 0) failure_ = std::move(message);
  }

  bool ok() const noexcept { return failures_ == 0; }
  std::string message() const { return ok() ? "" : fmt::format("{} failure(s), first: {}", failures_, failure_); }
  size_t count() const noexcept { return count_; }
  double worst() const noexcept { return worst_; }  // largest error / tolerance
  bool planted_used() const noexcept { return planted_used_; }

 private:
  PlantedError planted_;
  size_t count_ = 0, failures_ = 0;
  double worst_ = 0;
  std::string failure_;
  bool planted_used_ = false;
};

}  // namespace smepilot::test
