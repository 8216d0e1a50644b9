// Searches and what they measured. A measurement belongs to a candidate (one way of executing one operator shape), a
// platform and a variant set, not to a model: what one search measured, no later search measures again, be it a
// resumed one or one for another model that has an operator of the same shape.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "db/database.h"
#include "db/execution.h"
#include "kernels/abi/operator_shape.h"
#include "profiles/model_shape.h"

namespace smepilot {

// What became of a candidate. The first group was run, the second was not.
enum class MeasurementStatus : uint8_t {
  kOk,           // timed
  kIncorrect,    // ran, and its result differed from the oracle's
  kTimeout,      // ran longer than it was allowed to
  kCrashed,      // ended the process that ran it
  kPruned,       // priced too far from the best by the roofline
  kRefused,      // the registry or the platform rules it out
  kUnsupported,  // this build or machine cannot run it
  kConstraint,   // its parameters do not fit the shape
};
const char* status_name(MeasurementStatus status) noexcept;  // "ok", "incorrect", … as stored
constexpr bool was_run(MeasurementStatus s) noexcept {
  return s <= MeasurementStatus::kCrashed;
}

struct Measurement {
  int64_t id = 0, search_id = 0;
  int64_t session_id = 0;                     // the run that measured it, 0: the one that began the search
  int64_t operator_id = 0, candidate_id = 0;  // filled in by the store
  OperatorShape shape = {};
  Candidate candidate;
  MeasurementStatus status = MeasurementStatus::kOk;
  std::string reason;                                   // why not, "" for kOk
  double predicted_ns = 0;                              // by the roofline, 0: none
  double median_ns = 0, ci_low_ns = 0, ci_high_ns = 0;  // 0 unless kOk
  std::vector<double> samples_ns;                       // raw, in order of time
  bool is_default = false;                              // the untuned default of its shape
  std::string created;                                  // set by the store
  std::string revision;                                 // git revision of the build that measured it; set by the store
};

enum class SearchState : uint8_t { kRunning, kDone, kStopped };
const char* state_name(SearchState state) noexcept;  // "running", "done", "stopped"

struct Search {
  int64_t id = 0, session_id = 0, model_id = 0;
  int64_t calibration_id = 0;  // 0: none
  std::string fingerprint;     // of the session's platform; filled in by the store
  std::string model_hash;      // filled in by the store
  std::string planner;         // "race", "roofline"
  std::string variant_set_hash;
  double budget_s = 0;  // 0: none
  std::string options_json = "{}";
  SearchState state = SearchState::kRunning;
  std::string started, finished;  // set by the store; finished is "" while running
};

struct SearchOperator {
  std::string role;  // as ModelOperator::role
  OperatorShape shape = {};
  uint32_t calls = 0;       // per pass
  int64_t operator_id = 0;  // filled in by the store
};

class MeasurementStore {
 public:
  explicit MeasurementStore(Database& db) : connection_(&db.connection()) {}

  // The row of the model, made if there is none with its hash.
  Result<int64_t> model_id(const ModelShape& model);
  Result<int64_t> operator_id(const OperatorShape& shape);
  Result<int64_t> candidate_id(int64_t operator_id, const Candidate& candidate);

  // Writes a new search in state running. Of `search` the ids, planner, variant_set_hash, budget_s and options_json
  // are used; what comes back has the rest filled in.
  Result<Search> begin_search(const Search& search, std::span<const SearchOperator> operators);
  // Searches of this model on this platform and variant set, newest first. One whose process was killed is still
  // "running".
  Result<std::vector<Search>> find_searches(const std::string& fingerprint, const std::string& model_hash,
                                            const std::string& variant_set_hash);
  Result<std::optional<Search>> get_search(int64_t search_id);
  Result<std::vector<Search>> list_searches();  // newest first
  Result<std::vector<SearchOperator>> search_operators(int64_t search_id);
  // Sets the state to running again and adds operators that the search does not cover yet.
  Status resume_search(int64_t search_id, std::span<const SearchOperator> operators);
  Status finish_search(int64_t search_id, SearchState state);

  // Commits one measurement before it returns: call it right after measuring. Only search_id, session_id, shape,
  // candidate, status, reason, predicted_ns, the times, samples_ns and is_default are used; returns the row's id. A
  // second record of the same candidate in the same search replaces the first (so pass all its samples), except that
  // what was run is never replaced by what was not.
  Result<int64_t> record(const Measurement& measurement);
  // The same for many in one transaction, all or nothing: for candidates that were pruned or refused.
  Status record_all(std::span<const Measurement> measurements);
  // The same in place of all that this search has of one operator.
  Status replace_all(int64_t search_id, const OperatorShape& shape, std::span<const Measurement> measurements);

  // What is known about the operators (of any search on the platform with the variant set), one row per candidate: of
  // several, the newest that was run, else the newest. Ordered by operator and id.
  Result<std::vector<Measurement>> known(const std::string& fingerprint, const std::string& variant_set_hash,
                                         std::span<const OperatorShape> operators);
  // All rows of one search, by id.
  Result<std::vector<Measurement>> of_search(int64_t search_id);

 private:
  sqlite::Connection* connection_;
};

}  // namespace smepilot
