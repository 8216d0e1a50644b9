// Published measurements beside what the simulation makes of the same machine's published rates.
#pragma once
#include <string>
#include <vector>

#include "kernels/base/status.h"

namespace smepilot {

struct PublishedFigure {
  std::string what;
  std::string unit;          // "ms", "TFLOP/s", "GB/s", "x" (a ratio of times)
  double low = 0, high = 0;  // published; the same, unless it is a range
  double simulated = 0;
  std::string remark;  // what the simulation assumes, where the source does not say
  // Relative, to the nearer end of the range; 0 within it.
  double error() const noexcept {
    return simulated < low ? simulated / low - 1 : simulated > high ? simulated / high - 1 : 0;
  }
};

// All figures of arXiv:2606.16332v1 that these simulations can express and whose machine's rates are known. Error: a
// profile that is missing or lacks a number.
Result<std::vector<PublishedFigure>> published_figures();

}  // namespace smepilot
