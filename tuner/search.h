// A whole search: every operator of a model at every M, priced, pruned, decided by a strategy, and stored as it goes.
// It can be killed at any moment; the next run of the same search continues it.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "db/database.h"
#include "db/measurement_store.h"
#include "db/plan.h"
#include "db/search_claim.h"
#include "profiles/calibration.h"
#include "profiles/model_shape.h"
#include "profiles/platform.h"
#include "tuner/search_space.h"
#include "tuner/strategy.h"

namespace smepilot {

struct SearchProgress {
  size_t done = 0, total = 0;  // operators
  std::string label;           // the operator that comes now
  double elapsed_s = 0, budget_s = 0;
  size_t measured = 0, reused = 0;  // samples
};

struct SearchOptions {
  std::string strategy = "race";
  std::vector<uint32_t> ms = {1, 4, 8, 16, 32, 128, 512};
  std::vector<uint32_t> contexts = {512, 2048};
  std::vector<std::string> roles;  // only operators with one of these; empty: all
  double budget_s = 120;
  bool fresh = false;  // neither resume nor reuse what was measured before
  // Not null: decides on these rows alone, and measures nothing. Operators without samples among them are left out, and
  // so are candidates. A strategy that asks for more samples than were taken gets them again, from the first one on; of
  // an operator that was never raced to an end, it does not, and its decision stays open. The results go to the
  // database like any others.
  const std::vector<Measurement>* replay = nullptr;
  PruneRule prune;
  StrategyOptions rules;  // its deadline and checkpoint are set here
  std::function<void(const SearchProgress&)> progress;
  const std::atomic<bool>* cancel = nullptr;

  // What decides whether a search is the same one: everything but the budget.
  std::string to_json() const;
};

// What was found out about one operator.
struct OperatorResult {
  OperatorTask task;
  SearchSpace space;
  Decision decision;
  std::vector<double> entry_ns;                   // median per entry of the space, 0: not measured
  size_t measured = 0, reused = 0, repeated = 0;  // as of SearchResult
  size_t given_chosen = 0, given_default = 0;     // samples of these two that the decision has used
  double disturbed = 0;                           // share of its samples taken while others used the machine
  bool again = false;                             // decided for a second time, for that reason

  const SpaceEntry& chosen() const { return space.entries[decision.chosen]; }
};

struct SearchResult {
  Search search;
  bool resumed = false;  // it continued one that had not ended
  bool cancelled = false;
  std::vector<OperatorResult> operators;
  size_t unfinished = 0;            // operators whose race the budget or a cancellation cut short
  size_t disturbed = 0;             // decisions that rest on samples taken while others used the machine
  size_t decided_again = 0;         // those that did so first, and were taken again from new samples
  size_t measured = 0, reused = 0;  // samples
  size_t repeated = 0;              // of the reused ones of a recording, those given another time
  double seconds = 0;
  std::optional<int64_t> beside;         // a process that ran another search of the database, 0: its number is unknown
  std::shared_ptr<SearchClaims> claims;  // as long as it lives, no other process continues this search
};

// Two times that differ by less than this fraction are taken for the same: the noise that calibration found, within one
// and two times `tie`, which is StrategyOptions::tie.
double decision_noise(const Calibration& calibration, double tie) noexcept;

// `evaluator` may be null for a strategy that does not measure. Operators without any result (the search was cancelled
// before them) are left out of the result. Errors: no variant can run an operator, the database cannot be written, or
// another process is running the search that would be continued.
Result<SearchResult> run_search(Database& db, int64_t session_id, const Platform& platform,
                                const Calibration& calibration, const ModelShape& model, Evaluator* evaluator,
                                const SearchOptions& options);

}  // namespace smepilot
