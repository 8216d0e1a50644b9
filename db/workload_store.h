// Rounds of workloads: prompts and generations of given lengths, ours and those of other engines that took turns.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "db/database.h"
#include "profiles/model_shape.h"

namespace smepilot {

struct WorkloadRound {
  uint32_t round = 0;  // from 1; the same number in the runs of one session: they took turns
  double prefill_s = 0, decode_s = 0;
  std::optional<double> joules;  // nothing: not counted
};

// What one engine did in one session.
struct WorkloadRun {
  int64_t id = 0, session_id = 0;
  int64_t model_id = 0;   // set by the store
  int64_t plan_id = 0;    // 0: no plan of the database drove it
  std::string plan_mode;  // "db", "file", "none"; "" for other engines
  std::string workload;   // "gsm8k"
  double scale = 1;       // of the token counts
  uint32_t batch = 1, n_prompt = 0, n_gen = 0;
  std::string engine, build, arguments;
  bool is_baseline = false;
  std::string model_file, kv_type;  // the file's name without its folder
  uint32_t n_threads = 0;
  std::string created;  // set by the store
  std::vector<WorkloadRound> rounds;
};

class WorkloadStore {
 public:
  explicit WorkloadStore(Database& db) : connection_(&db.connection()) {}

  // The run with the rounds that it has. More can be added as they end, so that an interruption loses none.
  Result<int64_t> begin(const ModelShape& model, const WorkloadRun& run);
  Status add(int64_t run_id, const WorkloadRound& round);
  Result<std::vector<WorkloadRun>> list();  // newest first

 private:
  sqlite::Connection* connection_;
};

}  // namespace smepilot
