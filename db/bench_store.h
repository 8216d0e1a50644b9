// Our own end-to-end throughputs, as smepilot-run --bench measures them.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "db/database.h"
#include "profiles/model_shape.h"

namespace smepilot {

struct Bench {
  int64_t id = 0, session_id = 0;
  int64_t model_id = 0;         // set by the store
  int64_t plan_id = 0;          // 0: no plan of the database drove it
  std::string plan_mode;        // "db", "file", "none"
  std::string planner;          // of that plan; else "roofline" or "untuned"; "": not recorded (before schema 9)
  std::string mode;             // "auto", or what all operators had to be executed by; "": not recorded
  std::string model_file;       // file name without its folder
  std::string kv_type = "f16";  // what the KV cache held
  uint32_t n_threads = 0, n_prompt = 0, n_gen = 0, n_depth = 0;
  uint32_t n_seqs = 1;               // sequences that generated together
  double avg_ts = 0, stddev_ts = 0;  // tokens per second, of all sequences
  std::vector<double> samples_ts;
  std::optional<double> joules_per_token;  // nothing: not counted
  std::string load_json;                   // what loading took and memory, as --stats prints it; "": not recorded
  std::string conversions_json;            // of a pass of each phase; "": not recorded (before schema 10)
  std::string created;                     // set by the store
};

class BenchStore {
 public:
  explicit BenchStore(Database& db) : connection_(&db.connection()) {}

  Result<int64_t> save(const ModelShape& model, const Bench& row);
  Result<std::vector<Bench>> list();  // newest first

 private:
  sqlite::Connection* connection_;
};

}  // namespace smepilot
