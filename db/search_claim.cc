#include "db/search_claim.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>
#include <utility>

namespace smepilot {
namespace {

constexpr int64_t kTurn = 0;  // the byte that no search has

// Locks of a process (POSIX), not of an open file: a child that a search forks must not keep them.
struct flock byte_lock(short type, int64_t byte, int64_t count = 1) {
  struct flock l = {};
  l.l_type = type;
  l.l_whence = SEEK_SET;
  l.l_start = static_cast<off_t>(byte);
  l.l_len = static_cast<off_t>(count);
  return l;
}

}  // namespace

std::string process_name(int64_t id) {
  return id > 0 ? fmt::format("process {}", id) : "another process";
}

Result<SearchClaims> SearchClaims::open(const std::string& database_path) {
  if (database_path == ":memory:") return SearchClaims("", -1);
  std::error_code ec;  // of two names of one database, both have to find the same file
  const std::filesystem::path real = std::filesystem::weakly_canonical(database_path, ec);
  std::string path = (ec ? database_path : real.string()) + ".lock";
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0)
    return error("{}: cannot be opened to claim a search of {}: {}", path, database_path, std::strerror(errno));
  return SearchClaims(std::move(path), file);
}

SearchClaims::SearchClaims(SearchClaims&& other) noexcept
    : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)) {}

SearchClaims& SearchClaims::operator=(SearchClaims&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(file_, other.file_);
  return *this;
}

SearchClaims::~SearchClaims() {
  if (file_ >= 0) ::close(file_);
}

Result<bool> SearchClaims::lock(int64_t byte) {
  if (file_ < 0) return true;
  struct flock l = byte_lock(F_WRLCK, byte);
  while (::fcntl(file_, F_SETLK, &l) != 0) {
    if (errno == EACCES || errno == EAGAIN) return false;
    if (errno != EINTR) return error("{}: cannot be locked: {}", path_, std::strerror(errno));
  }
  return true;
}

Result<std::optional<int64_t>> SearchClaims::claim(int64_t search_id) {
  for (;;) {
    SMEPILOT_ASSIGN(const bool ours, lock(search_id));
    if (ours) return std::optional<int64_t>();
    SMEPILOT_ASSIGN(const std::optional<int64_t> found, holder(search_id, 1));
    if (found) return found;
  }  // it was given up meanwhile
}

Result<std::optional<int64_t>> SearchClaims::holder(int64_t first, int64_t count) const {
  struct flock l = byte_lock(F_WRLCK, first, count);
  if (::fcntl(file_, F_GETLK, &l) != 0) return error("{}: cannot be locked: {}", path_, std::strerror(errno));
  if (l.l_type == F_UNLCK) return std::optional<int64_t>();
  return std::optional<int64_t>(l.l_pid > 0 ? l.l_pid : 0);
}

Result<std::optional<int64_t>> SearchClaims::other() const {
  return file_ < 0 ? std::optional<int64_t>() : holder(kTurn + 1, 0);
}

Status SearchClaims::take_turn(double timeout_s) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(timeout_s);
  for (;;) {
    SMEPILOT_ASSIGN(const bool ours, lock(kTurn));
    if (ours) return {};
    if (Clock::now() >= end) return error("{}: another process has kept it locked for {:.0f} s", path_, timeout_s);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void SearchClaims::end_turn() noexcept {
  if (file_ < 0) return;
  struct flock l = byte_lock(F_UNLCK, kTurn);
  ::fcntl(file_, F_SETLK, &l);
}

}  // namespace smepilot
