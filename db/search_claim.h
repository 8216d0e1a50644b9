// Which process runs which search of a database. Two that continued the same one would measure in each other's way and
// store over each other's rows. A claim is a lock on one byte of a file beside the database (its name with ".lock"),
// which the system gives up when the process ends, however it ends: a crashed holder blocks nobody, and no identity of
// a process or a boot is compared. The file stays empty, and stays.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "kernels/base/status.h"

namespace smepilot {

// "process 123"; "another process" for 0, a number that is not known.
std::string process_name(int64_t id);

// One object per process and database: closing it gives up all claims of the process, whichever object took them.
class SearchClaims {
 public:
  // For ":memory:", which no other process sees, every claim is granted. Error: the file cannot be opened.
  static Result<SearchClaims> open(const std::string& database_path);
  SearchClaims(SearchClaims&& other) noexcept;
  SearchClaims& operator=(SearchClaims&& other) noexcept;
  ~SearchClaims();

  // Nothing: this process has the search (id > 0) now, until it ends or this object goes. Else the process that has it,
  // 0 where its number is of another container.
  Result<std::optional<int64_t>> claim(int64_t search_id);

  // A process that has any search of the database, as claim() names it. Nothing: no other one does.
  Result<std::optional<int64_t>> other() const;

  // Between find and claim another process could begin the same search: who does both has the turn meanwhile. Waits up
  // to `timeout_s` for it. Error: another process kept it that long.
  Status take_turn(double timeout_s = 10);
  void end_turn() noexcept;

 private:
  SearchClaims(std::string path, int file) : path_(std::move(path)), file_(file) {}
  Result<bool> lock(int64_t byte);
  // Who has one of `count` bytes from `first` on, 0: all that follow.
  Result<std::optional<int64_t>> holder(int64_t first, int64_t count) const;

  std::string path_;
  int file_ = -1;  // -1: nothing to lock
};

}  // namespace smepilot
