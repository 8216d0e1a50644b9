// A machine's matrix units and its cores as two pools of workers: how many there are of each, and how to divide them.
#pragma once
#include <cstdint>
#include <vector>

#include "profiles/calibration.h"
#include "profiles/platform.h"

namespace smepilot {

// Whether a part of the vector cores plays the matrix unit. Whatever is printed or stored then says so.
inline bool is_testbed(const Platform& platform) {
  return platform.matrix_unit == "testbed";
}

// How many workers each side may get of `workers` in all, on a machine with `units` matrix units: first, every unit
// and all cores that are left. Empty: there is nothing to divide.
struct CoopWorkers {
  uint32_t matrix = 1, cpu = 1;
};
std::vector<CoopWorkers> coop_workers(uint32_t workers, uint32_t units);

// What the scaling of the matrix unit's peaks says: one worker saturates a unit, so more workers than units gain
// nothing.
struct UnitScaling {
  unsigned units = 0;    // most times the rate of one worker that any number of them reached, rounded; 0: not measured
  unsigned workers = 0;  // the fewest that came within 5 % of it
  double gain = 0;       // that rate over one worker's
};
UnitScaling unit_scaling(const Calibration& calibration);

}  // namespace smepilot
