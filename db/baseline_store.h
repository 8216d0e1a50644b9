// Throughputs of other engines, imported from their own output, to compare ours with.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "db/database.h"

namespace smepilot {

struct Baseline {
  int64_t id = 0, session_id = 0;  // set by the store
  std::string engine;              // "llama.cpp"
  std::string build;               // "1a2b3c4 (5678)"
  std::string cpu_info;            // as the engine names the CPU
  std::string model_file;          // file name without its folder
  std::string model_type;          // "llama 1B Q4_0"
  uint32_t n_threads = 0, n_prompt = 0, n_gen = 0, n_batch = 0, n_depth = 0;
  double avg_ts = 0, stddev_ts = 0;  // tokens per second
  std::vector<double> samples_ts;
  std::string test_time;  // when the engine measured it
  std::string raw_json;   // the row as it was read
  std::string source;     // the file it came from
  std::string created;    // set by the store
};

// Rows of `llama-bench -o json` (an array) or `-o jsonl` (an object per line). Rows that ran on a GPU are an error, as
// they are no baseline for a CPU. Errors name source_name, the row and the field.
Result<std::vector<Baseline>> parse_llama_bench(const std::string& text, const std::string& source_name);

class BaselineStore {
 public:
  explicit BaselineStore(Database& db) : connection_(&db.connection()) {}

  // All or nothing. A row that is there already (same source text) is not added again. Returns how many were new.
  Result<int64_t> save(int64_t session_id, std::span<const Baseline> rows);
  Result<std::vector<Baseline>> list();  // newest first

 private:
  sqlite::Connection* connection_;
};

}  // namespace smepilot
