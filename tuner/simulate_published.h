// Published measurements beside what the simulation makes of the same machine's published rates.
#pragma once
#include <string>
#include <vector>

#include "kernels/base/status.h"

namespace smepilot {

struct PublishedFigure {
  std::string what;
  double published_ms = 0, simulated_ms = 0;
  std::string remark;  // what the simulation assumes, where the source does not say
  double error() const noexcept { return simulated_ms / published_ms - 1; }
};

// All figures of arXiv:2606.16332v1 that a time was published for and whose machine's rates are known. Error: a profile
// that is missing or lacks a number.
Result<std::vector<PublishedFigure>> published_figures();

}  // namespace smepilot
