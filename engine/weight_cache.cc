#include "engine/weight_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "engine/weight_cache_writer.h"
#include "kernels/base/os.h"
#include "profiles/memory.h"

namespace smepilot {
namespace {

constexpr const char* kSuffix = ".weights";
constexpr auto kPoll = std::chrono::milliseconds(20);

bool same_file(int fd, const std::string& path) {
  struct stat a = {}, b = {};
  return ::fstat(fd, &a) == 0 && ::stat(path.c_str(), &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

// Files that end in .weights or .weights.part.
std::vector<std::string> cache_files(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code ec;
  for (std::filesystem::directory_iterator it(folder, ec), end; !ec && it != end; it.increment(ec)) {
    std::string name = it->path().filename().string();
    const std::string part = WeightCacheWriter::temporary_path("");
    if (name.ends_with(part)) name.resize(name.size() - part.size());
    if (name.ends_with(kSuffix)) files.push_back(it->path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

bool temporary(const std::string& path) {
  return !path.ends_with(kSuffix);
}

}  // namespace

std::string default_weight_cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && cache[0] == '/') return std::string(cache) + "/smepilot/weights";  // relative: to be ignored
  const char* home = std::getenv("HOME");
  return home != nullptr && home[0] != '\0' ? std::string(home) + "/.cache/smepilot/weights" : "";
}

WeightCache::WeightCache(WeightCacheOptions options, const GgufFile& gguf, const WeightLayout& layout, WorkerPool& pool)
    : options_(std::move(options)),
      gguf_(gguf),
      layout_(layout),
      pool_(pool),
      identity_(weight_identity(gguf, layout)) {}

std::string WeightCache::path() {
  if (path_.empty())
    path_ = fmt::format("{}/{:016x}{}", options_.folder, weight_key(identity_, gguf_, layout_), kSuffix);
  return path_;
}

std::optional<CachedWeights> WeightCache::open() {
  // A file whose stored stamp is that of the model: without reading anything of the model but its head.
  std::string found;
  for (const std::string& file : cache_files(options_.folder)) {
    if (identity_.stamp == FileStamp{} || temporary(file)) continue;
    const FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.open()) continue;
    const Result<WeightFileHead> head = read_weight_file_head(fd.get(), file);
    if (head.ok() && head->stamp == identity_.stamp && head->gguf_head == identity_.head &&
        head->fingerprint == identity_.fingerprint)
      found = file;
  }
  if (found.empty()) found = path();
  if (!exists(found)) return {};
  Result<CachedWeights> weights = open_file(found);
  if (weights.ok()) return std::move(weights).value();
  notes_.push_back(fmt::format("weight cache: {}; packing again", weights.message()));
  return {};
}

Result<CachedWeights> WeightCache::open_file(const std::string& path) {
  CachedWeights out;
  out.path = path;
  out.fd = FileDescriptor(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!out.fd.open()) out.fd = FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!out.fd.open()) return error("{}: cannot be opened: {}", path, std::strerror(errno));
  // Exclusively locked is a file for moments only: while it gets its name, and while it is deleted.
  for (int tries = 0; ::flock(out.fd.get(), LOCK_SH | LOCK_NB) != 0; ++tries) {
    if (tries == 100) return error("{}: locked by another process", path);
    std::this_thread::sleep_for(kPoll);
  }
  if (!same_file(out.fd.get(), path)) return error("{}: was deleted a moment ago", path);
  SMEPILOT_ASSIGN(const WeightFileHead head, read_weight_file_head(out.fd.get(), path));
  if (head.fingerprint != identity_.fingerprint || head.gguf_head != identity_.head)
    return error("{}: holds another packing or model, {}", path, printable(head.model));
  SMEPILOT_ASSIGN(out.mapping, FileMapping::map(out.fd.get(), head.file_bytes, path));
  SMEPILOT_TRY(check_directory(out.mapping, head, layout_, path));
  if (identity_.stamp == FileStamp{} || head.stamp != identity_.stamp) {
    if (content_checksum(gguf_, layout_, pool_) != head.content)
      return error("{}: holds the weights of another version of this model", path);
    write_weight_file_stamp(out.fd.get(), identity_.stamp);
  }
  out.data = out.mapping.data() + head.data_offset;
  if (head.file_bytes <= available_memory().bytes / 2) {
    SMEPILOT_ASSIGN(out.memory, read_panels(out.fd.get(), head, pool_, path));
    out.data = out.memory.data();
  }
  SMEPILOT_TRY(check_panels(out.data, out.mapping, head, layout_, pool_, path));
  ::futimens(out.fd.get(), nullptr);  // used now
  if (out.memory.size() != 0) out.mapping = {};
  return out;
}

std::optional<CachedWeights> WeightCache::create(const WeightProgress& progress) {
  const auto give_up = [&](const std::string& why) {
    notes_.push_back(fmt::format("weight cache: {}; this run packs into memory", why));
    return std::nullopt;
  };
  const uint64_t bytes = weight_file_bytes(layout_);
  if (bytes > options_.limit_bytes)
    return give_up(fmt::format("{:.1f} GB are needed, the limit is {:.1f} GB (--cache-limit)",
                               static_cast<double>(bytes) / 1e9, static_cast<double>(options_.limit_bytes) / 1e9));
  std::error_code ec;
  std::filesystem::create_directories(options_.folder, ec);
  if (ec) return give_up(fmt::format("{}: cannot be made: {}", options_.folder, ec.message()));

  const std::string part = WeightCacheWriter::temporary_path(path());
  FileDescriptor fd;
  using Clock = std::chrono::steady_clock;
  Clock::time_point progressed = Clock::now();
  int64_t last = 0;  // change of the other's file
  for (bool waited = false;; waited = true) {
    fd = FileDescriptor(::open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!fd.open()) return give_up(fmt::format("{}: cannot be written: {}", part, std::strerror(errno)));
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
      if (!same_file(fd.get(), part)) continue;  // it got its name, or was deleted, before we had the lock
      if (waited && exists(path())) {
        if (std::optional<CachedWeights> made = open()) {
          ::unlink(part.c_str());
          return made;
        }
      }
      break;
    }
    struct stat info = {};
    if (::fstat(fd.get(), &info) == 0) {
      if (modified_ns(info) != last) progressed = Clock::now();
      last = modified_ns(info);
    }
    if (std::chrono::duration<double>(Clock::now() - progressed).count() > options_.patience_s)
      return give_up(fmt::format("{}: another process holds it and makes no progress", part));
    if (progress) progress("waiting for another process that packs this model", 0);
    std::this_thread::sleep_for(kPoll);
  }

  if (::ftruncate(fd.get(), 0) != 0) return give_up(fmt::format("{}: {}", part, std::strerror(errno)));
  auto writer = std::make_unique<WeightCacheWriter>(std::move(fd), path());
  const WeightCacheRemoval removed = trim_weight_cache(options_.folder, options_.limit_bytes - bytes);
  if (removed.bytes_kept > options_.limit_bytes - bytes)
    return give_up(
        fmt::format("{}: {:.1f} GB are in use, with {:.1f} GB more the limit of {:.1f} GB (--cache-limit) "
                    "would be passed",
                    options_.folder, static_cast<double>(removed.bytes_kept) / 1e9, static_cast<double>(bytes) / 1e9,
                    static_cast<double>(options_.limit_bytes) / 1e9));
  Status status = writer->reserve(bytes, options_.reserve_bytes);
  if (status.ok()) status = writer->pack(gguf_, layout_, pool_, progress);
  if (!status.ok()) return give_up(status.message());
  Result<CachedWeights> weights = writer->map(layout_);
  if (!weights.ok()) return give_up(weights.message());
  writer->commit(identity_, layout_);
  writer_ = std::move(writer);
  return std::move(weights).value();
}

std::vector<WeightCacheEntry> list_weight_cache(const std::string& folder) {
  std::vector<WeightCacheEntry> entries;
  for (const std::string& file : cache_files(folder)) {
    WeightCacheEntry e;
    e.path = file;
    struct stat info = {};
    if (::stat(file.c_str(), &info) != 0) continue;
    e.bytes = static_cast<uint64_t>(info.st_blocks) * 512;  // what it takes, which of a file in the making is less
    e.used_s = info.st_mtime;
    const FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.open()) {
      e.problem = std::strerror(errno);
    } else {
      e.in_use = ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0;
      const Result<WeightFileHead> head = read_weight_file_head(fd.get(), file);
      if (temporary(file))
        e.problem = e.in_use ? "being written" : "unfinished";
      else if (!head.ok())
        e.problem = head.message();
      else
        e.model = printable(head->model);
    }
    entries.push_back(std::move(e));
  }
  std::stable_sort(entries.begin(), entries.end(), [](auto& a, auto& b) { return a.used_s > b.used_s; });
  return entries;
}

WeightCacheRemoval trim_weight_cache(const std::string& folder, uint64_t limit_bytes) {
  WeightCacheRemoval out;
  std::vector<WeightCacheEntry> entries = list_weight_cache(folder);
  for (const WeightCacheEntry& e : entries) out.bytes_kept += e.bytes;
  out.kept = static_cast<unsigned>(entries.size());
  for (auto it = entries.rbegin(); it != entries.rend() && (out.bytes_kept > limit_bytes || limit_bytes == 0); ++it) {
    const FileDescriptor fd(::open(it->path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.open() || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 || !same_file(fd.get(), it->path) ||
        ::unlink(it->path.c_str()) != 0)
      continue;
    ++out.files;
    --out.kept;
    out.bytes += it->bytes;
    out.bytes_kept -= it->bytes;
  }
  return out;
}

}  // namespace smepilot
