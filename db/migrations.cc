#include "db/migrations.h"

#include <map>
#include <string>
#include <utility>

namespace smepilot {

namespace {

constexpr Migration kMigrations[] = {
#include "db/migrations.inc"  // generated from db/schema
};

using Objects = std::map<std::pair<std::string, std::string>, std::string>;  // (type, name) -> SQL

Result<Objects> objects(sqlite::Connection& connection) {
  sqlite::Statement s(connection, "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL");
  Objects found;
  for (;;) {
    SMEPILOT_ASSIGN(const bool row, s.step());
    if (!row) return found;
    found[{s.text(0), s.text(1)}] = s.text(2);
  }
}

}  // namespace

std::span<const Migration> migrations() noexcept {
  return kMigrations;
}

Result<int> identify(sqlite::Connection& connection, std::span<const Migration> steps) {
  // One statement sees one state of the file, even while another process is creating it.
  sqlite::Statement s(connection,
                      "SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM "
                      "pragma_user_version), count(*) FROM sqlite_schema");
  SMEPILOT_TRY(s.step().status());
  const int64_t application = s.integer(0), version = s.integer(1), count = s.integer(2);
  SMEPILOT_TRY(s.status());
  if (application == 0 && version == 0 && count == 0) return 0;
  if (application != kApplicationId)
    return error(
        "{}: an SQLite database of another program (application id {:#x}, expected {:#x}; {} objects). Nothing "
        "was changed; give another path",
        connection.path(), static_cast<uint32_t>(application), kApplicationId, count);
  const int newest = steps.empty() ? 0 : steps.back().to;
  if (version > newest)
    return error(
        "{}: the database has schema {}, this build knows up to schema {}. Nothing was changed; use the newer "
        "smepilot that wrote it",
        connection.path(), version, newest);
  if (version < 1)
    return error(
        "{}: the database is damaged (schema {}, expected 1 .. {}). Nothing was changed; restore it from a "
        "copy, or move it away to start anew",
        connection.path(), version, newest);
  return static_cast<int>(version);
}

Status migrate(sqlite::Connection& connection, std::span<const Migration> steps) {
  for (const Migration& step : steps) {
    {
      SMEPILOT_ASSIGN(const int before, identify(connection, steps));
      if (before >= step.to) continue;
    }
    SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(connection));
    SMEPILOT_ASSIGN(const int version, identify(connection, steps));  // again: another process may have been first
    if (version >= step.to) continue;
    if (auto status = connection.execute(step.sql); !status.ok())
      return error("{} (in migration {}, which was taken back)", status.message(), step.name);
    SMEPILOT_TRY(connection.execute(
        fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}", kApplicationId, step.to)));
    SMEPILOT_TRY(transaction.commit());
  }
  return {};
}

Status verify_schema(sqlite::Connection& connection, std::span<const Migration> steps) {
  SMEPILOT_ASSIGN(auto fresh, sqlite::Connection::open(":memory:", {}));
  SMEPILOT_TRY(migrate(*fresh, steps));
  SMEPILOT_ASSIGN(const Objects wanted, objects(*fresh));
  SMEPILOT_ASSIGN(const Objects found, objects(connection));
  for (const bool tables : {true, false}) {  // a table first, then its indices
    for (const auto& [key, sql] : wanted) {
      const auto it = found.find(key);
      if ((key.first == "table") != tables || (it != found.end() && it->second == sql)) continue;
      return error(
          "{}: the database is damaged ({} '{}' is {}). Nothing was changed; restore it from a copy, or move it "
          "away to start anew",
          connection.path(), key.first, key.second, it == found.end() ? "missing" : "not what its schema defines");
    }
  }
  for (const auto& [key, sql] : found)
    if ((key.first == "trigger" || key.first == "view") && !wanted.contains(key))
      return error(
          "{}: {} '{}' is not of this program. Nothing was changed; drop it if you made it, else do not trust the "
          "file",
          connection.path(), key.first, key.second);
  return {};
}

}  // namespace smepilot
