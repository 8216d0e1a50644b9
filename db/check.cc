#include "db/check.h"

#include <sqlite3.h>

#include <algorithm>
#include <filesystem>

#include "db/database.h"
#include "db/sqlite.h"
#include "kernels/base/atomic_file.h"
#include "kernels/base/text.h"

namespace smepilot {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxProblems = 100;

Result<std::vector<std::string>> table_names(sqlite::Connection& connection) {
  sqlite::Statement s(connection,
                      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
                      "ORDER BY name");
  return sqlite::all(s.bind(), [](auto& row) { return row.text(0); });
}

std::string quoted_name(const std::string& name) {
  std::string out = "\"";
  for (const char c : name) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + '"';
}

std::string csv_field(std::string_view value) {
  if (value.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(value);
  std::string out = "\"";
  for (const char c : value) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + '"';
}

Status export_table(sqlite::Connection& connection, const std::string& table, const std::string& path) {
  AtomicFile out(path);
  SMEPILOT_TRY(out.status());
  sqlite3_stmt* raw = nullptr;
  const std::string sql = "SELECT * FROM " + quoted_name(table);
  if (const int rc = sqlite3_prepare_v2(connection.handle(), sql.c_str(), -1, &raw, nullptr); rc != SQLITE_OK)
    return connection.failure(rc);
  const std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> statement(raw, sqlite3_finalize);
  const int columns = sqlite3_column_count(raw);
  std::string line;
  for (int i = 0; i < columns; ++i) {
    const char* name = sqlite3_column_name(raw, i);
    line += (i > 0 ? "," : "") + csv_field(name != nullptr ? name : "");
  }
  out.write(line + "\r\n");
  int rc = SQLITE_ROW;
  while (out.status().ok() && (rc = sqlite3_step(raw)) == SQLITE_ROW) {
    line.clear();
    for (int i = 0; i < columns; ++i) {
      if (i > 0) line += ',';
      switch (sqlite3_column_type(raw, i)) {
        case SQLITE_NULL: break;
        case SQLITE_FLOAT: line += fmt::format("{}", sqlite3_column_double(raw, i)); break;  // shortest exact form
        default: {
          const auto* text = sqlite3_column_text(raw, i);
          if (text == nullptr) return connection.failure(SQLITE_NOMEM);
          line += csv_field({reinterpret_cast<const char*>(text), static_cast<size_t>(sqlite3_column_bytes(raw, i))});
        }
      }
    }
    out.write(line + "\r\n");
  }
  SMEPILOT_TRY(out.status());
  if (rc != SQLITE_DONE) return connection.failure(rc);
  return out.commit();
}

}  // namespace

std::vector<std::string> find_problems(sqlite::Connection& c) {
  std::vector<std::string> problems;
  const auto add = [&problems](std::string problem) {
    if (problems.size() < kMaxProblems) problems.push_back(std::move(problem));
  };
  {
    sqlite::Statement integrity(c, fmt::format("PRAGMA integrity_check({})", kMaxProblems));
    const auto lines = sqlite::all(integrity.bind(), [](auto& row) { return row.text(0); });
    if (!lines.ok())
      add(lines.message());
    else
      for (const std::string& line : *lines)
        if (line != "ok") add(line);
  }
  {
    sqlite::Statement keys(c, "PRAGMA foreign_key_check");
    const auto lines = sqlite::all(keys.bind(), [](auto& row) {
      return fmt::format("row {} of {} refers to a row of {} that is not there", row.integer_or(1, 0), row.text(0),
                         row.text(2));
    });
    if (!lines.ok())
      add(lines.message());
    else
      for (const std::string& line : *lines) add(line);
  }
  return problems;
}

Result<DatabaseReport> check_database(const std::string& path) {
  SMEPILOT_ASSIGN(Database database, Database::open(path, OpenMode::kReadOnly));
  sqlite::Connection& c = database.connection();
  DatabaseReport report;
  SMEPILOT_ASSIGN(report.schema, database.schema());

  report.problems = find_problems(c);
  SMEPILOT_ASSIGN(const auto tables, table_names(c));
  for (const std::string& table : tables) {
    const auto count = c.integer("SELECT count(*) FROM " + quoted_name(table));
    if (count.ok())
      report.rows.emplace_back(table, *count);
    else if (report.problems.size() < kMaxProblems)
      report.problems.push_back(fmt::format("table {}: {}", table, count.message()));
  }
  return report;
}

namespace {

Result<std::vector<std::string>> choose_tables(sqlite::Connection& c, const std::vector<std::string>& wanted) {
  SMEPILOT_ASSIGN(const std::vector<std::string> known, table_names(c));
  std::vector<std::string> chosen;
  for (const std::string& table : wanted.empty() ? known : wanted) {
    if (std::find(known.begin(), known.end(), table) == known.end())
      return error("{}: no table '{}'; {}", c.path(), table, suggest_names(table, known));
    // Names of foreign tables in a forged file must not lead out of the folder.
    if (table.find_first_of("/\\") != std::string::npos || table.starts_with('.'))
      return error("{}: a table is named '{}', which cannot be a file name", c.path(), table);
    if (std::find(chosen.begin(), chosen.end(), table) == chosen.end()) chosen.push_back(table);
  }
  return chosen;
}

}  // namespace

Result<std::vector<std::string>> tables_to_export(const std::string& path, const std::vector<std::string>& wanted) {
  SMEPILOT_ASSIGN(Database database, Database::open(path, OpenMode::kReadOnly));
  return choose_tables(database.connection(), wanted);
}

Result<std::vector<std::string>> export_csv(const std::string& path, const std::string& folder,
                                            const std::vector<std::string>& wanted) {
  SMEPILOT_ASSIGN(Database database, Database::open(path, OpenMode::kReadOnly));
  sqlite::Connection& c = database.connection();
  SMEPILOT_TRY(c.execute("BEGIN"));  // one state of the database for all tables; ends with the connection
  SMEPILOT_ASSIGN(const auto tables, choose_tables(c, wanted));
  std::error_code ec;
  fs::create_directories(folder, ec);
  if (ec) return error("{}: cannot make the folder: {}", folder, ec.message());
  std::vector<std::string> written;
  for (const std::string& table : tables) {
    std::string file = (fs::path(folder) / (table + ".csv")).string();
    SMEPILOT_TRY(export_table(c, table, file));
    written.push_back(std::move(file));
  }
  return written;
}

}  // namespace smepilot
