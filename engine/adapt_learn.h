// What a run has learned about its plan (`smepilot-run --adapt --learn`), as a new plan beside the old one.
#pragma once
#include "db/plan.h"
#include "engine/adaptation.h"

namespace smepilot {

// Calls that an operator must have run as it does now before that is worth keeping.
inline constexpr uint64_t kEnoughCalls = 64;

struct LearnedPlan {
  Plan plan;             // planner "adapted"; entries that did not change are those of the old plan, evidence included
  uint32_t entries = 0;  // how many changed
  uint32_t weak = 0;     // operators that have moved, with too few calls since
};

// Where operators share an entry, the one that took most time decides. `build`: of this program.
LearnedPlan learn_plan(const Plan& plan, const Adaptation& adaptation, const std::string& build);

}  // namespace smepilot
