#include "db/merge.h"

#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "db/baseline_store.h"
#include "db/bench_store.h"
#include "db/calibration_store.h"
#include "db/check.h"
#include "db/measurement_store.h"
#include "db/plan_store.h"
#include "db/session_store.h"
#include "db/sqlite.h"

namespace smepilot {

namespace fs = std::filesystem;

namespace {

enum class Identity : uint8_t {
  kColumns,  // the columns named, which the schema has as UNIQUE
  kContent,  // all columns but the id and those named; of equal rows the first is the first, the second the second, …
  kParent,   // part of the row that it refers to with ON DELETE CASCADE: comes with it
};

struct Rule {
  const char* table;
  Identity identity;
  const char* columns = "";
  const char* update_when = "";  // then the row there (t) takes the columns that are no identity from the other (s)
};

constexpr Rule kRules[] = {
    {"platform", Identity::kColumns, "fingerprint"},
    {"session", Identity::kContent},
    {"calibration", Identity::kContent},
    {"peak", Identity::kParent},
    {"bandwidth", Identity::kParent},
    {"fork_join", Identity::kParent},
    {"coop_peak", Identity::kParent},
    {"coop_bandwidth", Identity::kParent},
    {"kernel_efficiency", Identity::kParent},
    {"timed_operator", Identity::kParent},
    {"model", Identity::kColumns, "hash", "t.architecture = '' AND s.architecture <> ''"},
    {"operator", Identity::kColumns, "kind, dtype, m, n, k, kv_len, kv_heads"},
    {"candidate", Identity::kColumns,
     "operator_id, variant, mode, workers, mc, nc, kv_tile, kv_splits, matrix_variant, matrix_workers, matrix_mc, "
     "matrix_nc, split_dim, split, split_of, dynamic, tile_rows, depth"},
    {"search", Identity::kContent, "state, finished", "coalesce(s.finished, '') > coalesce(t.finished, '')"},
    {"search_operator", Identity::kColumns, "search_id, operator_id, role"},
    // As MeasurementStore::record() does: what was run is not replaced by what was not.
    {"measurement", Identity::kColumns, "search_id, candidate_id",
     "s.created > t.created AND (s.status IN ('ok', 'incorrect', 'timeout', 'crashed') OR t.status NOT IN ('ok', "
     "'incorrect', 'timeout', 'crashed'))"},
    {"plan", Identity::kContent},
    {"plan_entry", Identity::kParent},
    {"plan_chain", Identity::kParent},
    {"layer_time", Identity::kContent},
    {"baseline", Identity::kColumns, "raw_json"},
    {"bench", Identity::kContent},
    {"workload_run", Identity::kContent},
    {"workload_round", Identity::kColumns, "run_id, round"},
};

struct ForeignKey {
  std::string column, table;
  bool cascade = false;
};

struct TableInfo {
  const Rule* rule = nullptr;
  std::vector<std::string> columns;  // without the id
  std::set<std::string> not_null;
  bool has_id = false;
  std::vector<ForeignKey> keys;

  const ForeignKey* key_of(const std::string& column) const {
    const auto it = std::find_if(keys.begin(), keys.end(), [&](const ForeignKey& k) { return k.column == column; });
    return it != keys.end() ? &*it : nullptr;
  }
  const ForeignKey* parent() const {
    const auto it = std::find_if(keys.begin(), keys.end(), [](const ForeignKey& k) { return k.cascade; });
    return it != keys.end() ? &*it : nullptr;
  }
};

std::vector<std::string> split_names(std::string_view text) {
  std::vector<std::string> names;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(", "), text.size());
    names.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 2, text.size()));
  }
  return names;
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Result<TableInfo> describe_table(sqlite::Connection& c, const Rule& rule) {
  TableInfo info;
  info.rule = &rule;
  sqlite::Statement columns(c, "SELECT name, \"notnull\", pk FROM pragma_table_info(?)");
  columns.bind(rule.table);
  for (;;) {
    SMEPILOT_ASSIGN(const bool row, columns.step());
    if (!row) break;
    const std::string name = columns.text(0);
    if (name == "id" && columns.integer(2) == 1) {
      info.has_id = true;
      continue;
    }
    info.columns.push_back(name);
    if (columns.integer(1) != 0) info.not_null.insert(name);
  }
  sqlite::Statement keys(c, "SELECT \"from\", \"table\", on_delete FROM pragma_foreign_key_list(?)");
  SMEPILOT_ASSIGN(info.keys, sqlite::all(keys.bind(rule.table), [](sqlite::Statement& row) {
                    return ForeignKey{row.text(0), row.text(1), row.text(2) == "CASCADE"};
                  }));
  if (info.columns.empty()) return error("{}: table '{}', which a merge copies, is missing", c.path(), rule.table);
  for (const std::string& name : split_names(rule.columns))
    if (!contains(info.columns, name))
      return error("{}: table '{}' has no column '{}', which a merge compares", c.path(), rule.table, name);
  if (rule.identity == Identity::kParent && info.parent() == nullptr)
    return error("{}: table '{}' is merged with its parent, but refers to none with ON DELETE CASCADE", c.path(),
                 rule.table);
  if (!info.has_id && rule.identity != Identity::kColumns)
    return error("{}: table '{}' has no id, so a merge needs the columns by which its rows differ", c.path(),
                 rule.table);
  return info;
}

// Every table after those that it refers to.
Result<std::vector<TableInfo>> tables_in_order(sqlite::Connection& c) {
  std::vector<TableInfo> waiting, ordered;
  for (const Rule& rule : kRules) {
    SMEPILOT_ASSIGN(TableInfo info, describe_table(c, rule));
    waiting.push_back(std::move(info));
  }
  std::set<std::string> done;
  while (!waiting.empty()) {
    const auto ready = std::find_if(waiting.begin(), waiting.end(), [&](const TableInfo& t) {
      return std::all_of(t.keys.begin(), t.keys.end(), [&](const ForeignKey& k) { return done.contains(k.table); });
    });
    if (ready == waiting.end())
      return error("{}: table '{}' refers to one that a merge does not copy, or to itself", c.path(),
                   waiting.front().rule->table);
    done.insert(ready->rule->table);
    ordered.push_back(std::move(*ready));
    waiting.erase(ready);
  }
  return ordered;
}

std::string list(const std::vector<std::string>& names, const char* prefix) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + std::string(prefix) + '"' + name + '"';
  return out;
}

// The rows of one table. `staged` holds them with the references of the target; `map_TABLE` gets for each old id the
// new one, and whether its row was added.
class TableMerge {
 public:
  TableMerge(sqlite::Connection& c, const TableInfo& info) : c_(&c), t_(info) {
    const std::vector<std::string> named = split_names(info.rule->columns);
    switch (info.rule->identity) {
      case Identity::kColumns: identity_ = named; break;
      case Identity::kContent:
        for (const std::string& name : info.columns)
          if (!contains(named, name)) identity_.push_back(name);
        break;
      case Identity::kParent: break;
    }
  }

  Result<MergedTable> run() {
    MergedTable out;
    out.table = t_.rule->table;
    SMEPILOT_ASSIGN(const int64_t total, c_->integer(fmt::format("SELECT count(*) FROM source.\"{}\"", out.table)));
    SMEPILOT_TRY(stage());
    if (t_.has_id) SMEPILOT_TRY(map());
    SMEPILOT_ASSIGN(out.updated, update());
    SMEPILOT_ASSIGN(out.added, add());
    out.known = total - out.added - out.updated;
    SMEPILOT_TRY(c_->execute("DROP TABLE temp.staged"));
    return out;
  }

 private:
  Status stage() {
    std::string select;
    for (const std::string& column : t_.columns) {
      const ForeignKey* key = t_.key_of(column);
      select += key != nullptr ? fmt::format(", (SELECT new FROM temp.\"map_{}\" WHERE old = s.\"{}\") AS \"{}\"",
                                             key->table, column, column)
                               : fmt::format(", s.\"{}\" AS \"{}\"", column, column);
    }
    const bool content = t_.rule->identity == Identity::kContent;
    const std::string nth =
        content ? fmt::format("row_number() OVER (PARTITION BY {} ORDER BY s.id)", list(identity_, "s.")) : "1";
    std::string from = fmt::format("source.\"{}\" AS s", t_.rule->table);
    if (t_.rule->identity == Identity::kParent)
      from += fmt::format(" JOIN temp.\"map_{}\" AS p ON p.old = s.\"{}\" AND p.added = 1", t_.parent()->table,
                          t_.parent()->column);
    return c_->execute(fmt::format("CREATE TEMP TABLE staged AS SELECT {} AS old, {} AS nth{} FROM {}",
                                   t_.has_id ? "s.id" : "0", nth, select, from));
  }

  // t and s are the same row.
  std::string same() const {
    std::string out;
    for (const std::string& name : identity_)
      out += fmt::format("{}t.\"{}\" {} s.\"{}\"", out.empty() ? "" : " AND ", name,
                         t_.not_null.contains(name) ? "=" : "IS", name);
    return out;
  }

  Status map() {
    const std::string map = fmt::format("temp.\"map_{}\"", t_.rule->table);
    SMEPILOT_TRY(c_->execute(fmt::format(
        "CREATE TEMP TABLE \"map_{}\" (old INTEGER PRIMARY KEY, new INTEGER NOT NULL, added INTEGER NOT NULL)",
        t_.rule->table)));
    if (t_.rule->identity == Identity::kColumns)
      SMEPILOT_TRY(
          c_->execute(fmt::format("INSERT INTO {} SELECT s.old, t.id, 0 FROM temp.staged AS s JOIN "
                                  "main.\"{}\" AS t ON {}",
                                  map, t_.rule->table, same())));
    if (t_.rule->identity == Identity::kContent)
      SMEPILOT_TRY(c_->execute(fmt::format(
          "WITH there AS (SELECT id, row_number() OVER (PARTITION BY {0} ORDER BY id) AS nth, {0} FROM main.\"{1}\") "
          "INSERT INTO {2} SELECT s.old, t.id, 0 FROM temp.staged AS s JOIN there AS t ON {3} AND t.nth = s.nth",
          list(identity_, ""), t_.rule->table, map, same())));
    return c_->execute(fmt::format(
        "INSERT INTO {0} SELECT old, (SELECT coalesce(max(id), 0) FROM main.\"{1}\") + row_number() OVER (ORDER BY "
        "old), 1 FROM temp.staged WHERE old NOT IN (SELECT old FROM {0})",
        map, t_.rule->table));
  }

  Result<int64_t> update() {
    if (*t_.rule->update_when == '\0') return int64_t{0};
    std::vector<std::string> rest;
    for (const std::string& name : t_.columns)
      if (!contains(identity_, name)) rest.push_back(name);
    SMEPILOT_TRY(c_->execute(
        fmt::format("UPDATE main.\"{0}\" AS t SET ({1}) = (SELECT {2} FROM temp.staged AS r WHERE r.old = s.old) "
                    "FROM temp.\"map_{0}\" AS m JOIN temp.staged AS s ON s.old = m.old WHERE m.added = 0 AND t.id = "
                    "m.new AND ({3})",
                    t_.rule->table, list(rest, ""), list(rest, "r."), t_.rule->update_when)));
    return c_->changes();
  }

  Result<int64_t> add() {
    const std::string names = list(t_.columns, ""), values = list(t_.columns, "s.");
    SMEPILOT_TRY(c_->execute(
        t_.has_id
            ? fmt::format("INSERT INTO main.\"{0}\" (id, {1}) SELECT m.new, {2} FROM temp.staged AS s JOIN "
                          "temp.\"map_{0}\" AS m ON m.old = s.old WHERE m.added = 1 ORDER BY m.new",
                          t_.rule->table, names, values)
            : fmt::format("INSERT INTO main.\"{0}\" ({1}) SELECT {2} FROM temp.staged AS s WHERE NOT EXISTS (SELECT 1 "
                          "FROM main.\"{0}\" AS t WHERE {3})",
                          t_.rule->table, names, values, same())));
    return c_->changes();
  }

  sqlite::Connection* c_;
  const TableInfo& t_;
  std::vector<std::string> identity_;
};

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::error_code ec;
    std::string pattern = (fs::temp_directory_path(ec) / "smepilot_merge_XXXXXX").string();
    if (ec)
      status_ = error("there is no folder for temporary files: {}", ec.message());
    else if (mkdtemp(pattern.data()) == nullptr)
      status_ = error("{}: cannot make a temporary folder: {}", pattern, std::strerror(errno));
    else
      path_ = pattern;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ec;
    if (!path_.empty()) fs::remove_all(path_, ec);
  }
  const Status& status() const noexcept { return status_; }
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  Status status_;
};

// Reads every row that carries a digest or names: a changed digit is found before it is merged.
Status check_values(Database& db) {
  SMEPILOT_ASSIGN(const auto sessions, SessionStore(db).list());
  std::set<std::string> fingerprints;
  for (const SessionRow& s : sessions) fingerprints.insert(s.fingerprint);
  CalibrationStore calibrations(db);
  for (const std::string& fingerprint : fingerprints) {
    SMEPILOT_ASSIGN(const auto ids, calibrations.list(fingerprint));
    for (const int64_t id : ids) SMEPILOT_TRY(calibrations.get(id).status());
  }
  MeasurementStore measurements(db);
  SMEPILOT_ASSIGN(const auto searches, measurements.list_searches());
  for (const Search& s : searches) {
    SMEPILOT_TRY(measurements.of_search(s.id).status());
    SMEPILOT_TRY(measurements.search_operators(s.id).status());
  }
  PlanStore plans(db);
  SMEPILOT_ASSIGN(const auto summaries, plans.list());
  for (const PlanSummary& p : summaries) SMEPILOT_TRY(plans.get(p.id).status());
  SMEPILOT_TRY(BaselineStore(db).list().status());
  return BenchStore(db).list().status();
}

// Messages about the copy name the file that it was made from.
Status about(const std::string& source, const std::string& copy, const Status& status) {
  if (status.ok()) return status;
  std::string message = status.message();
  for (size_t at = message.find(copy); at != std::string::npos; at = message.find(copy, at + source.size()))
    message.replace(at, copy.size(), source);
  return Status::error(message);
}

int cancelled(void* flag) {
  return static_cast<const std::atomic<bool>*>(flag)->load() ? 1 : 0;
}

// Lets the flag end whatever the connection executes, and undoes what must not outlive the merge.
class Attached {
 public:
  static Result<std::unique_ptr<Attached>> make(sqlite::Connection& c, const std::string& file,
                                                const std::atomic<bool>* cancel) {
    sqlite::Statement attach(c, "ATTACH ? AS source");
    SMEPILOT_TRY(attach.bind(file).run());
    return std::unique_ptr<Attached>(new Attached(c, cancel));
  }
  Attached(const Attached&) = delete;
  Attached& operator=(const Attached&) = delete;
  ~Attached() {
    sqlite3_progress_handler(c_->handle(), 0, nullptr, nullptr);
    for (const Rule& rule : kRules)
      static_cast<void>(c_->execute(fmt::format("DROP TABLE IF EXISTS temp.\"map_{}\"", rule.table)));
    static_cast<void>(c_->execute("DROP TABLE IF EXISTS temp.staged"));
    static_cast<void>(c_->execute("DETACH source"));
  }

 private:
  Attached(sqlite::Connection& c, const std::atomic<bool>* cancel) : c_(&c) {
    if (cancel == nullptr) return;
    sqlite3_progress_handler(c.handle(), 10'000, cancelled, const_cast<std::atomic<bool>*>(cancel));
  }
  sqlite::Connection* c_;
};

}  // namespace

int64_t MergeReport::added() const noexcept {
  int64_t sum = 0;
  for (const MergedTable& t : tables) sum += t.added;
  return sum;
}
int64_t MergeReport::updated() const noexcept {
  int64_t sum = 0;
  for (const MergedTable& t : tables) sum += t.updated;
  return sum;
}

Status check_merge_rules(Database& db) {
  sqlite::Connection& c = db.connection();
  sqlite::Statement names(c,
                          "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' "
                          "ESCAPE '\\'");
  SMEPILOT_ASSIGN(const auto tables, sqlite::all(names.bind(), [](auto& row) { return row.text(0); }));
  for (const std::string& table : tables)
    if (std::none_of(std::begin(kRules), std::end(kRules), [&](const Rule& r) { return r.table == table; }))
      return error("{}: table '{}' is missing in the rules of db/merge.cc", c.path(), table);
  return tables_in_order(c).status();
}

Result<MergeReport> merge_database(Database& target, const std::string& source, const MergeOptions& options) {
  std::error_code ec;
  if (fs::equivalent(source, target.path(), ec))
    return error("{}: is the database that it is to be merged into", source);
  const auto tell = [&](double fraction, std::string_view what) {
    if (options.progress) options.progress(fraction, what);
  };
  const auto stop = [&] { return options.cancel != nullptr && options.cancel->load(); };
  const TemporaryFolder folder;
  SMEPILOT_TRY(folder.status());
  const std::string copy = folder.path() + "/source.db";
  MergeReport report;
  report.source = source;
  tell(0, "copying");
  {
    auto db = Database::open_copy(source, copy, &report.schema);
    SMEPILOT_TRY(about(source, copy, db.status()));
    if (stop()) return error("{}: the merge was interrupted", source);
    tell(0.1, "checking");
    if (const auto problems = find_problems(db->connection()); !problems.empty())
      return error("{}: the database is damaged and was not merged: {}", source, problems.front());
    SMEPILOT_TRY(about(source, copy, check_values(*db)));
    sqlite::Statement platforms(db->connection(), "SELECT fingerprint FROM platform ORDER BY id");
    auto found = sqlite::all(platforms.bind(), [](auto& row) { return row.text(0); });
    SMEPILOT_TRY(about(source, copy, found.status()));
    report.fingerprints = std::move(*found);
  }
  if (stop()) return error("{}: the merge was interrupted", source);

  sqlite::Connection& c = target.connection();
  SMEPILOT_ASSIGN(const auto tables, tables_in_order(c));
  SMEPILOT_ASSIGN(const auto attached, Attached::make(c, copy, options.cancel));
  SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(c));
  for (size_t i = 0; i < tables.size(); ++i) {
    if (stop()) return error("{}: the merge was interrupted", source);
    tell(0.4 + 0.6 * static_cast<double>(i) / static_cast<double>(tables.size()), tables[i].rule->table);
    SMEPILOT_ASSIGN(MergedTable merged, TableMerge(c, tables[i]).run());
    report.tables.push_back(std::move(merged));
  }
  if (stop()) return error("{}: the merge was interrupted", source);
  SMEPILOT_TRY(transaction.commit());
  return report;
}

}  // namespace smepilot
