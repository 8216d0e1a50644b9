#include "db/prune.h"

#include <map>

#include "db/sqlite.h"

namespace smepilot {

namespace {

constexpr const char* kRun = "('ok', 'incorrect', 'timeout', 'crashed')";

Result<std::vector<std::string>> table_names(sqlite::Connection& c) {
  sqlite::Statement s(c,
                      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
                      "ORDER BY name");
  return sqlite::all(s.bind(), [](auto& row) { return row.text(0); });
}

Result<std::map<std::string, int64_t>> row_counts(sqlite::Connection& c) {
  SMEPILOT_ASSIGN(const auto tables, table_names(c));
  std::map<std::string, int64_t> counts;
  for (const std::string& table : tables) {
    SMEPILOT_ASSIGN(counts[table], c.integer(fmt::format("SELECT count(*) FROM \"{}\"", table)));
  }
  return counts;
}

// SQL that is true for a row of `table` (named x) that a row elsewhere refers to and would not go with. Read from the
// schema, so that a table to come protects what it refers to.
Result<std::string> referenced(sqlite::Connection& c, const std::string& table, const std::string& but_by = "") {
  sqlite::Statement s(c,
                      "SELECT t.name, f.\"from\" FROM sqlite_schema AS t JOIN pragma_foreign_key_list(t.name) AS f "
                      "WHERE t.type = 'table' AND f.\"table\" = ? AND f.on_delete <> 'CASCADE' AND t.name <> ?");
  SMEPILOT_ASSIGN(const auto references,
                  sqlite::all(s.bind(table, but_by), [](auto& row) { return std::pair(row.text(0), row.text(1)); }));
  std::string sql = "(0";
  for (const auto& [from, column] : references)
    sql += fmt::format(" OR EXISTS (SELECT 1 FROM \"{}\" AS r WHERE r.\"{}\" = x.id)", from, column);
  return sql + ")";
}

// SQL that is true for a row that newer ones have replaced, by the columns `nth` (1: the newest) and `at`.
Result<std::string> replaced(sqlite::Connection& c, const PruneOptions& o) {
  std::string sql = "nth > 1";
  if (o.keep) sql += fmt::format(" AND nth > {}", *o.keep);
  if (o.older_than_days) {
    SMEPILOT_ASSIGN(const std::string since, c.text(fmt::format("SELECT strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-{} "
                                                                "days')",
                                                                *o.older_than_days)));
    sql += fmt::format(" AND at < '{}'", since);
  }
  return sql;
}

Status remove_rows(sqlite::Connection& c, const PruneOptions& o) {
  SMEPILOT_ASSIGN(const std::string old, replaced(c, o));
  SMEPILOT_ASSIGN(const std::string plan_used, referenced(c, "plan"));
  SMEPILOT_ASSIGN(const std::string search_kept, referenced(c, "search", "measurement"));
  SMEPILOT_ASSIGN(const std::string search_used, referenced(c, "search"));
  SMEPILOT_ASSIGN(const std::string calibration_used, referenced(c, "calibration"));
  SMEPILOT_ASSIGN(const std::string candidate_used, referenced(c, "candidate"));
  SMEPILOT_ASSIGN(const std::string operator_used, referenced(c, "operator"));
  SMEPILOT_ASSIGN(const std::string session_used, referenced(c, "session"));
  // A session that nothing refers to yet may belong to a process that is at work.
  SMEPILOT_TRY(c.execute(fmt::format(
      "CREATE TEMP TABLE pruned_session AS SELECT x.id FROM session AS x WHERE {0};"
      // Plans, newest as PlanStore::latest() has it.
      "DELETE FROM plan AS x WHERE id IN (SELECT id FROM (SELECT p.id, max(s.started, p.created) AS at, row_number() "
      "OVER (PARTITION BY p.fingerprint, p.model_id ORDER BY max(s.started, p.created) DESC, p.id DESC) AS nth "
      "FROM plan AS p JOIN session AS s ON s.id = p.session_id) WHERE {1}) AND NOT {2};"
      "CREATE TEMP TABLE pruned_search AS SELECT x.id, x.platform_id, x.variant_set_hash FROM (SELECT h.*, "
      "s.platform_id, h.started AS at, row_number() OVER (PARTITION BY s.platform_id, h.model_id ORDER BY h.started "
      "DESC, h.id DESC) AS nth FROM search AS h JOIN session AS s ON s.id = h.session_id) AS x WHERE {1} "
      "AND state <> 'running' AND NOT {3};",
      session_used, old, plan_used, search_kept)));
  SMEPILOT_TRY(c.execute(fmt::format(
      "CREATE TEMP TABLE pruned_needed AS "
      "SELECT p.id AS platform_id, l.variant_set_hash FROM plan AS l JOIN platform AS p USING (fingerprint) UNION "
      "SELECT s.platform_id, h.variant_set_hash FROM search AS h JOIN session AS s ON s.id = h.session_id "
      "WHERE h.id NOT IN (SELECT id FROM temp.pruned_search);"
      "DELETE FROM measurement AS x WHERE search_id IN (SELECT id FROM temp.pruned_search) AND (status NOT IN {0} "
      "OR (platform_id, variant_set_hash) NOT IN (SELECT platform_id, variant_set_hash FROM temp.pruned_needed) "
      "OR EXISTS (SELECT 1 FROM measurement AS n WHERE n.candidate_id = x.candidate_id AND n.platform_id = "
      "x.platform_id AND n.variant_set_hash = x.variant_set_hash AND n.status IN {0} AND "
      "(n.created, n.id) > (x.created, x.id)));"
      "DELETE FROM search AS x WHERE id IN (SELECT id FROM temp.pruned_search) AND NOT {1};",
      kRun, search_used)));
  SMEPILOT_TRY(c.execute(fmt::format(
      "DELETE FROM calibration AS x WHERE id IN (SELECT id FROM (SELECT k.id, k.created AS at, row_number() OVER "
      "(PARTITION BY s.platform_id, k.quick ORDER BY k.created DESC, k.id DESC) AS nth FROM calibration AS k JOIN "
      "session AS s ON s.id = k.session_id) WHERE {0}) AND NOT {1};"
      "DELETE FROM candidate AS x WHERE NOT {2};"
      "DELETE FROM operator AS x WHERE NOT {3} AND NOT EXISTS (SELECT 1 FROM search_operator AS o WHERE o.operator_id "
      "= x.id);"
      "DELETE FROM session AS x WHERE id IN (SELECT id FROM temp.pruned_session) AND NOT {4};",
      old, calibration_used, candidate_used, operator_used, session_used)));
  return c.execute("DROP TABLE temp.pruned_session; DROP TABLE temp.pruned_search; DROP TABLE temp.pruned_needed");
}

}  // namespace

int64_t PruneReport::rows() const noexcept {
  int64_t sum = 0;
  for (const auto& [table, rows] : removed) sum += rows;
  return sum;
}

Result<PruneReport> prune_database(Database& db, const PruneOptions& options) {
  if (!options.keep && !options.older_than_days)
    return error("nothing says what to prune: neither an age nor a number");
  if (options.keep && *options.keep < 1) return error("at least 1 is kept, not {}", *options.keep);
  if (options.older_than_days && *options.older_than_days < 0)
    return error("an age of {} days, expected 0 or more", *options.older_than_days);
  sqlite::Connection& c = db.connection();
  PruneReport report;
  {
    SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(c));
    SMEPILOT_ASSIGN(const auto before, row_counts(c));
    SMEPILOT_ASSIGN(const int64_t free_before, c.integer("PRAGMA freelist_count"));
    SMEPILOT_TRY(remove_rows(c, options));
    SMEPILOT_ASSIGN(const auto after, row_counts(c));
    for (const auto& [table, rows] : before)
      if (const int64_t gone = rows - after.at(table); gone > 0) report.removed.emplace_back(table, gone);
    SMEPILOT_ASSIGN(const int64_t free_after, c.integer("PRAGMA freelist_count"));
    SMEPILOT_ASSIGN(const int64_t page_bytes, c.integer("PRAGMA page_size"));
    report.freed_bytes = (free_after - free_before) * page_bytes;
    if (options.dry_run) return report;  // and all is as before
    SMEPILOT_TRY(transaction.commit());
  }
  if (const Status status = c.execute("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)"); !status.ok())
    return error("{} ({} rows were removed; only the file could not be made smaller)", status.message(), report.rows());
  return report;
}

}  // namespace smepilot
