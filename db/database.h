// The project's one database: opening it, bringing its schema up to date, and naming what is wrong with a file that is
// not what it should be. The stores (session_store.h, measurement_store.h, …) read and write through it.
//
// Several processes may use one database at once: a writer waits for another one for a few seconds, readers never
// wait. Within a process a Database belongs to one thread at a time; threads that work at once open one each.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/base/status.h"

namespace smepilot {

namespace sqlite {
class Connection;  // db/sqlite.h, which only db includes
}

enum class OpenMode : uint8_t {
  kReadWriteCreate,  // creates the file and its folder, migrates an older schema
  kReadOnly,         // the file must exist and have the current schema; nothing is changed
};

class Database {
 public:
  // Errors name the file and what to do about it: not a database, damaged, of another program, of a newer version,
  // locked, unwritable, disk full. `path` may be ":memory:".
  static Result<Database> open(const std::string& path, OpenMode mode = OpenMode::kReadWriteCreate);

  // A copy of `path` as it is now, in the new file `copy` and brought up to date there; `path` itself stays as it is,
  // whatever its schema, which `schema` gets.
  static Result<Database> open_copy(const std::string& path, const std::string& copy, int* schema);

  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();

  const std::string& path() const noexcept;
  sqlite::Connection& connection() noexcept { return *connection_; }

  // The schema this build writes, and the one of the open file (equal after open()).
  static int newest_schema() noexcept;
  Result<int> schema() const;

 private:
  explicit Database(std::unique_ptr<sqlite::Connection> connection);
  std::unique_ptr<sqlite::Connection> connection_;
};

// $XDG_DATA_HOME/smepilot/smepilot.db, else $HOME/.local/share/smepilot/smepilot.db, else ./smepilot.db.
std::string default_database_path();

// Now, as every `created` column holds it: "2026-01-31T12:34:56Z".
std::string utc_now();

}  // namespace smepilot
