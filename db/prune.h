// Removes from a database what nothing needs any more: plans, calibrations and searches that newer ones have replaced,
// and what only they referred to. What benches and baselines say stays, and with it the plans that the benches ran.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "db/database.h"

namespace smepilot {

// Of each platform and model the newest plan and search stay, of each platform the newest quick and the newest full
// calibration. Others go if they meet every criterion that is given.
struct PruneOptions {
  std::optional<int64_t> older_than_days;
  std::optional<int64_t> keep;  // those that are not among so many newest
  bool dry_run = false;
};

struct PruneReport {
  std::vector<std::pair<std::string, int64_t>> removed;  // rows per table, where there are any
  int64_t freed_bytes = 0;                               // whole pages; writing the file anew may free more
  int64_t rows() const noexcept;
};

// All or nothing. A measurement stays as long as a plan or search that stays may rest on it: searches reuse what others
// of the same platform and kernels have measured. Searches that run are not touched. Afterwards the file is written
// anew without the room that became free, which needs as much room again for a moment.
Result<PruneReport> prune_database(Database& db, const PruneOptions& options);

}  // namespace smepilot
