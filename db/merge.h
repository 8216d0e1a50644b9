// Collects databases in one, for a fleet: the rows of another file are added to this one under new ids, unless they are
// there already. Platforms are the same by fingerprint, models by hash, operators and candidates by what they are,
// everything else by its content: merging a file twice adds nothing, merging it again later adds what is new in it.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "db/database.h"

namespace smepilot {

struct MergedTable {
  std::string table;
  int64_t added = 0;
  int64_t updated = 0;  // was there, and the other file knew it newer or more completely
  int64_t known = 0;    // was there
};

struct MergeReport {
  std::string source;
  int schema = 0;  // of the source, which stays as it is
  std::vector<std::string> fingerprints;
  std::vector<MergedTable> tables;
  int64_t added() const noexcept;
  int64_t updated() const noexcept;
};

struct MergeOptions {
  const std::atomic<bool>* cancel = nullptr;                        // set: the merge ends with an error
  std::function<void(double fraction, std::string_view)> progress;  // 0 .. 1 and what is done
};

// All of `source` or, after an error or a kill, nothing. The source is only read: an older schema is brought up to date
// in a temporary copy. A file that is damaged, of another program or of a newer schema is refused, with the file and
// what is wrong with it named.
Result<MergeReport> merge_database(Database& target, const std::string& source, const MergeOptions& options = {});

// Error unless the merge knows what to do with every table of the schema, and with those only: for the test that a new
// migration must pass.
Status check_merge_rules(Database& db);

}  // namespace smepilot
