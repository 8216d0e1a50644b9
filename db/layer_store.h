// What is known of whole layers: the times that confirmed a search's choice, and the chain of layouts behind a plan.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "db/database.h"
#include "profiles/model_shape.h"
#include "profiles/statistics.h"

namespace smepilot {

// One layer as chosen against untuned, in alternating rounds.
struct LayerTimeRow {
  int64_t id = 0, session_id = 0, search_id = 0;
  Pass pass = Pass::kDecode;
  uint32_t m = 0, kv_len = 0;
  double chosen_ns = 0, untuned_ns = 0;                       // medians
  Interval ratio = {1, 1};                                    // 95 %, chosen / untuned; [0, infinity]: too few rounds
  bool reverted = false;                                      // the choice was slower and was taken back
  std::vector<double> chosen_samples_ns, untuned_samples_ns;  // by round
  std::string created;                                        // set by the store
};

// What an operator does in a chain, by one choice.
struct ChainSide {
  std::string candidate;  // describe(Candidate)
  std::string layout;     // that it reads, as in kLayoutNames
  double ns = 0;          // of one call
  double packings = 0;    // of its input, per pass; 0: in a form that is there already
  double packing_ns = 0;  // price of one of them
  double pass_ns(double calls) const noexcept { return calls * ns + packings * packing_ns; }
};

// An operator in the chain of a pass.
struct ChainRow {
  Pass pass = Pass::kDecode;
  uint32_t m = 0, kv_len = 0;
  uint32_t step = 0;  // operators of one step read what one producer made
  std::string role;
  double calls = 0;        // per pass
  bool predicted = false;  // times are the roofline's: nothing was measured
  ChainSide chosen, best;  // by the plan; alone the best
};

class LayerStore {
 public:
  explicit LayerStore(Database& db) : connection_(&db.connection()) {}

  // All or nothing.
  Status save_times(const std::vector<LayerTimeRow>& rows);
  Result<std::vector<LayerTimeRow>> times(int64_t search_id);  // newest first

  Status save_chain(int64_t plan_id, const std::vector<ChainRow>& rows);
  Result<std::vector<ChainRow>> chain(int64_t plan_id);  // in the order in which they were saved; older plans have none

 private:
  sqlite::Connection* connection_;
};

}  // namespace smepilot
