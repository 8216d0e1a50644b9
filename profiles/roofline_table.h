// The calibration as text, for `smetune calibrate`: peaks, bandwidths and ridge points by worker count.
#pragma once
#include <string>

#include "profiles/calibration.h"
#include "profiles/platform.h"

namespace smepilot {

// At most 80 columns, ends with a newline.
std::string roofline_table(const Calibration& calibration, const Platform& platform);

}  // namespace smepilot
