#include "db/database.h"

#include <sqlite3.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <thread>

#include "db/migrations.h"
#include "db/sqlite.h"

namespace smepilot {

namespace fs = std::filesystem;

namespace {

// Two processes that turn the same new file to WAL at once meet a lock that the busy timeout does not cover.
Status use_wal(sqlite::Connection& connection) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(sqlite::kBusyTimeoutMs);
  for (;;) {
    // Some file systems cannot do WAL and stay with a rollback journal, which is slower but as safe.
    const auto mode = connection.text("PRAGMA journal_mode = WAL");
    if (mode.ok()) return connection.execute("PRAGMA synchronous = NORMAL");
    if ((connection.last_failure() != SQLITE_BUSY && connection.last_failure() != SQLITE_LOCKED) ||
        std::chrono::steady_clock::now() > until)
      return mode.status();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

Status check_file(const std::string& path, OpenMode mode) {
  std::error_code ec;
  const fs::file_status status = fs::status(path, ec);
  if (fs::exists(status)) {
    if (fs::is_directory(status)) return error("{}: is a folder, expected a database file", path);
    if (!fs::is_regular_file(status)) return error("{}: is not a regular file, expected a database file", path);
    // SQLite takes a file of one byte for an empty one, and would write over it.
    const auto size = fs::file_size(path, ec);
    if (!ec && size > 0 && size < 512)
      return error(
          "{}: not a database ({} bytes, expected at least 512). Nothing was changed; if it was one, restore it "
          "from a copy, or move it away to start anew",
          path, size);
    return {};
  }
  if (mode == OpenMode::kReadOnly) {
    if (ec && status.type() != fs::file_type::not_found)
      return error("{}: cannot open the database: {}", path, ec.message());
    return error("{}: there is no database here; `smetune calibrate` makes one", path);
  }
  const fs::path folder = fs::path(path).parent_path();
  if (folder.empty()) return {};
  fs::create_directories(folder, ec);
  if (ec) return error("{}: cannot make the folder of the database: {}", folder.string(), ec.message());
  return {};
}

Result<std::unique_ptr<sqlite::Connection>> open_for_writing(const std::string& path) {
  SMEPILOT_ASSIGN(auto connection, sqlite::Connection::open(path, {.write = true, .immutable = false}));
  SMEPILOT_TRY(identify(*connection, migrations()).status());  // before the first change
  SMEPILOT_TRY(use_wal(*connection));
  SMEPILOT_TRY(migrate(*connection, migrations()));
  return connection;
}

// Any schema that this build knows, except none.
Result<std::unique_ptr<sqlite::Connection>> open_unchanged(const std::string& path) {
  // A WAL database in a folder that cannot be written opens only as immutable, which it is if no log lies beside it.
  Status last;
  for (const bool immutable : {false, true}) {
    std::error_code ec;
    if (immutable && fs::exists(path + "-wal", ec)) break;
    auto connection = sqlite::Connection::open(path, {.write = false, .immutable = immutable});
    if (!connection.ok()) {
      last = connection.status();
      break;
    }
    if (auto readable = (*connection)->integer("SELECT count(*) FROM sqlite_schema"); !readable.ok()) {
      last = readable.status();
      if ((*connection)->last_failure() != SQLITE_CANTOPEN && (*connection)->last_failure() != SQLITE_READONLY) break;
      continue;
    }
    SMEPILOT_ASSIGN(const int version, identify(**connection, migrations()));
    if (version == 0) return error("{}: the database is empty; `smetune calibrate` fills it", path);
    return connection;
  }
  return last;
}

Result<std::unique_ptr<sqlite::Connection>> open_for_reading(const std::string& path) {
  SMEPILOT_ASSIGN(auto connection, open_unchanged(path));
  SMEPILOT_ASSIGN(const int version, identify(*connection, migrations()));
  if (version != Database::newest_schema())
    return error(
        "{}: the database has schema {}, this build reads schema {}; bring it up to date with: smetune --db {} db "
        "migrate",
        path, version, Database::newest_schema(), path);
  return connection;
}

Status copy_pages(sqlite::Connection& from, sqlite::Connection& to) {
  sqlite3_backup* backup = sqlite3_backup_init(to.handle(), "main", from.handle(), "main");
  if (backup == nullptr) return to.failure(sqlite3_errcode(to.handle()));
  const int rc = sqlite3_backup_step(backup, -1);
  sqlite3_backup_finish(backup);
  if (rc == SQLITE_DONE) return {};
  const int primary = rc & 0xff;  // what is wrong with the new file, and what with the old one
  return primary == SQLITE_FULL || primary == SQLITE_READONLY || primary == SQLITE_CANTOPEN ? to.failure(rc)
                                                                                            : from.failure(rc);
}

}  // namespace

Result<Database> Database::open(const std::string& path, OpenMode mode) {
  if (path.empty()) return error("the path of the database is empty");
  if (path.find('\0') != std::string::npos) return error("the path of the database contains a NUL character");
  if (path != ":memory:") SMEPILOT_TRY(check_file(path, mode));
  SMEPILOT_ASSIGN(auto connection, mode == OpenMode::kReadOnly ? open_for_reading(path) : open_for_writing(path));
  SMEPILOT_TRY(verify_schema(*connection, migrations()));
  return Database(std::move(connection));
}

Result<Database> Database::open_copy(const std::string& path, const std::string& copy, int* schema) {
  if (path.empty() || path.find('\0') != std::string::npos) return error("'{}' is not the path of a database", path);
  SMEPILOT_TRY(check_file(path, OpenMode::kReadOnly));
  {
    SMEPILOT_ASSIGN(auto from, open_unchanged(path));
    SMEPILOT_ASSIGN(auto to, sqlite::Connection::open(copy, {.write = true, .immutable = false}));
    SMEPILOT_TRY(copy_pages(*from, *to));
    SMEPILOT_ASSIGN(*schema, identify(*to, migrations()));
  }
  return open(copy);
}

Database::Database(std::unique_ptr<sqlite::Connection> connection) : connection_(std::move(connection)) {}
Database::Database(Database&&) noexcept = default;
Database& Database::operator=(Database&&) noexcept = default;
Database::~Database() = default;

const std::string& Database::path() const noexcept {
  return connection_->path();
}
int Database::newest_schema() noexcept {
  return migrations().back().to;
}
Result<int> Database::schema() const {
  return identify(*connection_, migrations());
}

std::string default_database_path() {
  const char* data = std::getenv("XDG_DATA_HOME");
  if (data != nullptr && data[0] == '/') return std::string(data) + "/smepilot/smepilot.db";  // relative: to be ignored
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] != '\0') return std::string(home) + "/.local/share/smepilot/smepilot.db";
  return "smepilot.db";
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc = {};
  gmtime_r(&now, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

}  // namespace smepilot
