// Plans in the database.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "db/database.h"
#include "db/plan.h"

namespace smepilot {

struct PlanSummary {
  int64_t id = 0, session_id = 0, search_id = 0;  // search_id 0: imported or heuristic
  std::string fingerprint, model_name, model_hash, variant_set_hash, planner, build, created;
  unsigned workers = 0;
  int64_t entries = 0;
};

class PlanStore {
 public:
  explicit PlanStore(Database& db) : connection_(&db.connection()) {}

  // All or nothing. `search_id` 0: no search led to it. Returns the new row's id. An empty `created` becomes now.
  Result<int64_t> save(int64_t session_id, const Plan& plan, int64_t search_id = 0);

  // The newest plan of the platform and model.
  Result<std::optional<Plan>> latest(const std::string& fingerprint, const std::string& model_hash);
  // The newest plan of the model on any platform: to name with check_plan() what differs here.
  Result<std::optional<Plan>> latest_any(const std::string& model_hash);
  Result<std::optional<Plan>> get(int64_t id);
  Result<std::vector<PlanSummary>> list();  // newest first

 private:
  sqlite::Connection* connection_;
};

}  // namespace smepilot
