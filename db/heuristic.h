// The paper's own planner: the mode with the lowest roofline price, and for both units together the split
// P_matrix / (P_matrix + P_cpu), rounded to the tile. What runs where no plan covers a call, and what a search has to
// beat.
#pragma once
#include "db/plan.h"
#include "profiles/matrix_units.h"
#include "profiles/roofline.h"

namespace smepilot {

// `workers` in all, `matrix_units` (Platform) of which the matrix unit's may use at most one each. Error as
// default_entry().
Result<PlanEntry> heuristic_entry(const OperatorShape& shape, const Roofline& roofline, IsaSet isa, unsigned workers,
                                  unsigned matrix_units);

// `entry` (a default_entry()) executed by both units, divided so that they end together; without a calibration, by
// their workers. Its predicted_ns becomes that division's price, 0 if it has none. False, and unchanged: there is
// nothing to divide.
bool make_coop(const OperatorShape& shape, const Kernels& pair, const CoopWorkers& workers, const Roofline* roofline,
               PlanEntry& entry);

}  // namespace smepilot
