// SQLite for the files of db, and for nobody else: a connection, statements whose errors stick until they are asked
// for, and transactions. Every error names the database file and what to do.
#pragma once
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/base/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace smepilot::sqlite {

inline constexpr int kBusyTimeoutMs = 10'000;

struct OpenFlags {
  bool write = true;       // create it if missing
  bool immutable = false;  // promise that nobody changes the file: for read-only media
};

class Connection {
 public:
  static Result<std::unique_ptr<Connection>> open(const std::string& path, OpenFlags flags);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Runs one or more statements without parameters; rows are dropped.
  Status execute(const std::string& sql);
  // The first column of the first row of a statement without parameters.
  Result<int64_t> integer(const std::string& sql);
  Result<std::string> text(const std::string& sql);

  int64_t last_insert_rowid() const noexcept;
  int64_t changes() const noexcept;
  bool in_transaction() const noexcept;
  const std::string& path() const noexcept { return path_; }
  sqlite3* handle() noexcept { return db_; }

  // The message for the user after a call failed with `code`, which last_failure() then gives (without its extension).
  Status failure(int code) const;
  int last_failure() const noexcept { return last_failure_; }

 private:
  explicit Connection(std::string path) : path_(std::move(path)) {}
  std::string path_;
  sqlite3* db_ = nullptr;
  mutable int last_failure_ = 0;
};

// Null in a nullable column.
struct Null {};

// A prepared statement. An error of preparing, binding or reading a column sticks and comes out of the next step(),
// run() or status(); so a loop `while (row)` over step() cannot miss one.
class Statement {
 public:
  Statement(Connection& connection, std::string_view sql);
  Statement(Statement&& other) noexcept
      : connection_(other.connection_),
        statement_(std::exchange(other.statement_, nullptr)),
        error_(std::move(other.error_)) {}
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  // Starts over with these parameters.
  template <typename... Args>
  Statement& bind(const Args&... args) {
    reset();
    int index = 0;
    (bind_one(++index, args), ...);
    check_parameter_count(index);
    return *this;
  }

  Result<bool> step();  // true: on a row; false: done
  Status run();         // to the end, then starts over
  const Status& status() const noexcept { return error_; }
  const std::string& path() const noexcept { return connection_->path(); }

  // Columns of the current row. A value of the wrong type or out of range is an error that sticks.
  int64_t integer(int column, int64_t low = std::numeric_limits<int64_t>::min(),
                  int64_t high = std::numeric_limits<int64_t>::max());
  uint32_t u32(int column) { return static_cast<uint32_t>(integer(column, 0, UINT32_MAX)); }
  double real(int column);  // finite
  std::string text(int column);
  bool is_null(int column);
  double real_or(int column, double none) { return is_null(column) ? none : real(column); }
  int64_t integer_or(int column, int64_t none) { return is_null(column) ? none : integer(column); }
  std::string text_or_empty(int column) { return is_null(column) ? std::string() : text(column); }

  // Makes the row an error: "column 'x' is …, expected …".
  void reject(int column, const std::string& found, const std::string& expected);
  void reject(const Status& status);
  void reset();  // ends the read that a half-read statement keeps open

 private:
  void check_parameter_count(int bound);
  void bind_integer(int index, int64_t value);
  void bind_real(int index, double value);
  void bind_text(int index, std::string_view value);
  void bind_null(int index);
  void keep(int code);

  template <typename T>
  void bind_one(int index, const T& value) {
    if constexpr (std::is_same_v<T, Null>)
      bind_null(index);
    else if constexpr (std::is_integral_v<T>)
      bind_integer(index, static_cast<int64_t>(value));
    else if constexpr (std::is_floating_point_v<T>)
      bind_real(index, value);
    else
      bind_text(index, value);
  }
  template <typename T>
  void bind_one(int index, const std::optional<T>& value) {
    if (value)
      bind_one(index, *value);
    else
      bind_null(index);
  }

  Connection* connection_;
  sqlite3_stmt* statement_ = nullptr;
  Status error_;
};

// All rows of a bound statement, each made by `read(statement)`.
template <typename Read>
auto all(Statement& statement, Read&& read) -> Result<std::vector<decltype(read(statement))>> {
  std::vector<decltype(read(statement))> rows;
  for (;;) {
    SMEPILOT_ASSIGN(const bool row, statement.step());
    if (!row) return rows;
    rows.push_back(read(statement));
  }
}

// The first row, if there is one.
template <typename Read>
auto first(Statement& statement, Read&& read) -> Result<std::optional<decltype(read(statement))>> {
  std::optional<decltype(read(statement))> found;
  SMEPILOT_ASSIGN(const bool row, statement.step());
  if (row) found = read(statement);
  statement.reset();
  SMEPILOT_TRY(statement.status());
  return found;
}

// Everything between begin() and commit(), or nothing. Takes the write lock at once, so that two writers queue instead
// of failing half way. Within another transaction it is a savepoint.
class Transaction {
 public:
  static Result<Transaction> begin(Connection& connection);
  Transaction(Transaction&& other) noexcept
      : connection_(std::exchange(other.connection_, nullptr)), nested_(other.nested_) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();  // rolls back unless committed

  Status commit();

 private:
  Transaction(Connection& connection, bool nested) : connection_(&connection), nested_(nested) {}
  Connection* connection_;
  bool nested_;
};

}  // namespace smepilot::sqlite
