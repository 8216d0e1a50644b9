#include "db/sqlite.h"

#include <sqlite3.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace smepilot::sqlite {

namespace {

// A path as a "file:" URI: everything but unreserved characters percent-encoded.
std::string file_uri(const std::string& path, const char* query) {
  std::string uri = "file:";
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/' ||
                       c == '.' || c == '-' || c == '_';
    if (plain)
      uri += c;
    else
      uri += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return uri + "?" + query;
}

}  // namespace

Result<std::unique_ptr<Connection>> Connection::open(const std::string& path, OpenFlags flags) {
  std::unique_ptr<Connection> c(new Connection(path));
  int mode = SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_EXRESCODE;
  mode |= flags.write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
  std::string name = path;
  if (flags.immutable) {
    name = file_uri(path, "immutable=1");
    mode |= SQLITE_OPEN_URI;
  } else if (path != ":memory:" && !path.starts_with('/')) {
    name = "./" + path;  // so that no name is taken for a URI or a special name
  }
  if (const int rc = sqlite3_open_v2(name.c_str(), &c->db_, mode, nullptr); rc != SQLITE_OK) return c->failure(rc);
  sqlite3_busy_timeout(c->db_, kBusyTimeoutMs);
  // The file may come from anybody: no statement may write to its internals, and damaged cells are to be found when a
  // page is loaded. (TRUSTED_SCHEMA stays on, as it would forbid json_valid() in our own checks; verify_schema()
  // refuses the triggers and views through which a forged file could act.)
  sqlite3_db_config(c->db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  SMEPILOT_TRY(c->execute("PRAGMA cell_size_check = ON; PRAGMA foreign_keys = ON;"));
  return c;
}

Connection::~Connection() {
  sqlite3_close(db_);
}

Status Connection::execute(const std::string& sql) {
  const int rc = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  return rc == SQLITE_OK ? Status() : failure(rc);
}

Result<int64_t> Connection::integer(const std::string& sql) {
  Statement s(*this, sql);
  SMEPILOT_ASSIGN(const auto value, first(s, [](Statement& row) { return row.integer(0); }));
  if (!value) return error("{}: \"{}\" gave no row", path_, sql);
  return *value;
}

Result<std::string> Connection::text(const std::string& sql) {
  Statement s(*this, sql);
  SMEPILOT_ASSIGN(const auto value, first(s, [](Statement& row) { return row.text(0); }));
  if (!value) return error("{}: \"{}\" gave no row", path_, sql);
  return *value;
}

int64_t Connection::last_insert_rowid() const noexcept {
  return sqlite3_last_insert_rowid(db_);
}
int64_t Connection::changes() const noexcept {
  return sqlite3_changes64(db_);
}
bool Connection::in_transaction() const noexcept {
  return sqlite3_get_autocommit(db_) == 0;
}

Status Connection::failure(int code) const {
  const std::string detail = db_ != nullptr ? sqlite3_errmsg(db_) : sqlite3_errstr(code);
  const int os = db_ != nullptr ? sqlite3_system_errno(db_) : 0;
  const std::string system = os != 0 ? fmt::format(" ({})", std::strerror(os)) : "";
  if (code == SQLITE_IOERR_SHORT_READ || code == SQLITE_IOERR_CORRUPTFS) code = SQLITE_CORRUPT;
  const bool writing = code == SQLITE_IOERR_WRITE || code == SQLITE_IOERR_SHMSIZE || code == SQLITE_IOERR_TRUNCATE;
  last_failure_ = code & 0xff;
  switch (code & 0xff) {
    case SQLITE_NOTADB:
      return error(
          "{}: not a database ({}). Nothing was changed; if it was one, restore it from a copy, or move it away "
          "to start anew",
          path_, detail);
    case SQLITE_CORRUPT:
      return error(
          "{}: the database is damaged ({}). Nothing was changed; restore it from a copy, or move it away to "
          "start anew",
          path_, detail);
    case SQLITE_FULL:
      return error(
          "{}: the disk is full; this change was not written, all earlier ones are safe. Free some space and "
          "run again",
          path_);
    case SQLITE_IOERR:
      if (writing)  // ENOSPC is SQLITE_FULL; this is a quota, a file size limit or a broken disk
        return error(
            "{}: cannot write{}; this change was not written, all earlier ones are safe. Free some space "
            "or raise the limits on it, and run again",
            path_, system);
      return error("{}: input/output error {}: {}{}; this change was not written", path_, code, detail, system);
    case SQLITE_CANTOPEN: return error("{}: cannot open the database{}: {}", path_, system, detail);
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return error("{}: the database cannot be written ({}); check the permissions of the file and of its folder",
                   path_, detail);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return error("{}: another process has kept the database locked for over {} s; try again when it is done", path_,
                   kBusyTimeoutMs / 1000);
    case SQLITE_CONSTRAINT: return error("{}: the schema refuses the row: {}", path_, detail);
    default: return error("{}: {}{}", path_, detail, system);
  }
}

Statement::Statement(Connection& connection, std::string_view sql) : connection_(&connection) {
  keep(sqlite3_prepare_v2(connection.handle(), sql.data(), static_cast<int>(sql.size()), &statement_, nullptr));
}

Statement::~Statement() {
  sqlite3_finalize(statement_);
}

void Statement::keep(int code) {
  if (code != SQLITE_OK && error_.ok()) error_ = connection_->failure(code);
}

void Statement::reset() {
  if (statement_ != nullptr) sqlite3_reset(statement_);
}

void Statement::check_parameter_count(int bound) {
  if (statement_ == nullptr) return;
  if (const int wanted = sqlite3_bind_parameter_count(statement_); wanted != bound)
    reject(error("internal error: {} parameters bound, the statement has {}", bound, wanted));
}

void Statement::bind_integer(int index, int64_t value) {
  if (statement_ != nullptr) keep(sqlite3_bind_int64(statement_, index, value));
}
void Statement::bind_real(int index, double value) {
  if (!std::isfinite(value)) {  // SQLite would silently make NaN a NULL
    const char* name = statement_ != nullptr ? sqlite3_sql(statement_) : "";
    reject(error("{}: value {} is not a finite number: {}", connection_->path(), index, name));
  }
  if (statement_ != nullptr) keep(sqlite3_bind_double(statement_, index, value));
}
void Statement::bind_text(int index, std::string_view value) {
  const char* data = value.data() != nullptr ? value.data() : "";  // a null pointer would bind NULL
  if (statement_ != nullptr)
    keep(sqlite3_bind_text64(statement_, index, data, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
}
void Statement::bind_null(int index) {
  if (statement_ != nullptr) keep(sqlite3_bind_null(statement_, index));
}

Result<bool> Statement::step() {
  if (!error_.ok()) return error_;
  const int rc = sqlite3_step(statement_);
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  keep(rc);
  return error_;
}

Status Statement::run() {
  for (;;) {
    SMEPILOT_ASSIGN(const bool row, step());
    if (!row) break;
  }
  reset();
  return error_;
}

void Statement::reject(const Status& status) {
  if (error_.ok()) error_ = status;
}

void Statement::reject(int column, const std::string& found, const std::string& expected) {
  const char* name = sqlite3_column_name(statement_, column);
  reject(error("{}: damaged row: column '{}' is {}, expected {}. Nothing was changed; `smetune db check` tells more",
               connection_->path(), name != nullptr ? name : "?", found, expected));
}

namespace {
const char* type_name(int type) {
  switch (type) {
    case SQLITE_INTEGER: return "an integer";
    case SQLITE_FLOAT: return "a real number";
    case SQLITE_TEXT: return "text";
    case SQLITE_BLOB: return "a blob";
    default: return "NULL";
  }
}
}  // namespace

int64_t Statement::integer(int column, int64_t low, int64_t high) {
  const int type = sqlite3_column_type(statement_, column);
  if (type != SQLITE_INTEGER) {
    reject(column, type_name(type), "an integer");
    return low > 0 ? low : 0;
  }
  const int64_t value = sqlite3_column_int64(statement_, column);
  if (value < low || value > high) {
    reject(column, std::to_string(value), fmt::format("{} .. {}", low, high));
    return low;
  }
  return value;
}

double Statement::real(int column) {
  const int type = sqlite3_column_type(statement_, column);
  const double value = type == SQLITE_FLOAT || type == SQLITE_INTEGER ? sqlite3_column_double(statement_, column) : NAN;
  if (!std::isfinite(value)) {
    reject(column, type == SQLITE_FLOAT ? "not finite" : type_name(type), "a number");
    return 0;
  }
  return value;
}

std::string Statement::text(int column) {
  const int type = sqlite3_column_type(statement_, column);
  if (type != SQLITE_TEXT) {
    reject(column, type_name(type), "text");
    return {};
  }
  const auto* data = sqlite3_column_text(statement_, column);
  if (data == nullptr) {
    reject(connection_->failure(SQLITE_NOMEM));
    return {};
  }
  return {reinterpret_cast<const char*>(data), static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

bool Statement::is_null(int column) {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

Result<Transaction> Transaction::begin(Connection& connection) {
  const bool nested = connection.in_transaction();
  SMEPILOT_TRY(connection.execute(nested ? "SAVEPOINT smepilot" : "BEGIN IMMEDIATE"));
  return Transaction(connection, nested);
}

Status Transaction::commit() {
  SMEPILOT_TRY(connection_->execute(nested_ ? "RELEASE smepilot" : "COMMIT"));
  connection_ = nullptr;
  return {};
}

Transaction::~Transaction() {
  if (connection_ == nullptr || !connection_->in_transaction()) return;
  // A failure here has nobody to tell: SQLite has rolled back by itself then, or does so when the file is next opened.
  static_cast<void>(connection_->execute(nested_ ? "ROLLBACK TO smepilot; RELEASE smepilot" : "ROLLBACK"));
}

}  // namespace smepilot::sqlite
