// Finding the plan that a command line asks for.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "db/plan.h"
#include "tuner/cli.h"

namespace smepilot {

struct PlanQuery {
  int64_t id = 0;
  std::string model, dtype;
};

// The options ID, --model, --dtype.
void add_plan_query(CLI::App* verb, const std::shared_ptr<PlanQuery>& query);

struct FoundPlan {
  Plan plan;
  std::optional<ModelShape> model;  // where known
};

// What the KV cache of a plan's model holds is said by its attention entries, and not by the model.
void take_kv_type(const Plan& plan, ModelShape& model);

// The plan with that id; else the newest of the model, made here if there is one; else the newest of this machine.
Result<FoundPlan> find_plan(Database& db, const PlanQuery& query, const Platform& platform);

}  // namespace smepilot
