// What makes a file a database of this project, and the steps from each schema to the next. Internal to db.
#pragma once
#include <cstdint>
#include <span>

#include "db/sqlite.h"

namespace smepilot {

inline constexpr int64_t kApplicationId = 0x534d4550;  // "SMEP", in the file's header

struct Migration {
  int to;            // the schema it leads to, from to - 1
  const char* name;  // file name in db/schema
  const char* sql;
};
std::span<const Migration> migrations() noexcept;

// The schema of the open file, 0 for an empty one. An error for a database of another program, or of a newer version.
Result<int> identify(sqlite::Connection& connection, std::span<const Migration> steps);

// Brings an older schema up to the last of `steps`, each step in one transaction. Safe against other processes that do
// the same.
Status migrate(sqlite::Connection& connection, std::span<const Migration> steps);

// Error unless every object that `steps` make is there as they made it. More tables and indices than those are allowed,
// triggers and views are not: a file from elsewhere must not act by itself.
Status verify_schema(sqlite::Connection& connection, std::span<const Migration> steps);

}  // namespace smepilot
