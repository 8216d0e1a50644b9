// Whether the values of a plan make sense by themselves, wherever it came from: what the driver's loops rely on.
// Internal to db.
#pragma once
#include "db/plan.h"

namespace smepilot {

// Errors start with the name of the field.
Status check_entry(const PlanEntry& entry);

// check_entry() of all ("entries[3].mc: …") and the fields of the plan itself.
Status check_plan_values(const Plan& plan);

}  // namespace smepilot
