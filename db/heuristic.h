// The paper's own planner: the mode with the lowest roofline price, and for both units together the split
// P_matrix / (P_matrix + P_cpu), rounded to the tile. What runs where no plan covers a call, and what a search has to
// beat.
#pragma once
#include "db/plan.h"
#include "profiles/roofline.h"

namespace smepilot {

// `workers` in all, `matrix_units` (Platform) of which the matrix unit's may use at most one each. Error as
// default_entry().
Result<PlanEntry> heuristic_entry(const OperatorShape& shape, const Roofline& roofline, IsaSet isa, unsigned workers,
                                  unsigned matrix_units);

}  // namespace smepilot
