// Packed weights kept on disk, so that only the first start with a model packs them. One file per model and packing
// (engine/weight_file.h) in one folder, whose size is bounded: the least recently used go first, never one in use.
//
// A file appears under its name only when it is complete and on the disk: it is written as NAME.part, synced and
// renamed. The writer holds an exclusive lock (flock) on it, which the system drops if the process dies, and readers a
// shared one; so a second process waits for the first and then reads what it made, and what a dead one left is taken
// over. A file is read into huge pages if memory has room for it beside the system's own copy of it, which stays for
// the next start; else it is mapped. (Measured: decoding reads huge pages at 29 GB/s, the same file's pages, once the
// page cache is fragmented, at 15 to 23.) Before use everything is checked: header, directory, whether the model file
// is the same (its stamp, or else the checksum of all its weights), and the checksum of every matrix.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/weight_file.h"
#include "kernels/base/aligned_buffer.h"

namespace smepilot {

struct WeightCacheOptions {
  std::string folder;                          // "": no cache
  uint64_t limit_bytes = 64'000'000'000;       // of all files together
  uint64_t reserve_bytes = uint64_t{1} << 30;  // of the file system, to be left free
  double patience_s = 30;                      // how long to wait for another writer that makes no progress
};

// $XDG_CACHE_HOME/smepilot/weights, or ~/.cache/smepilot/weights; "" if neither variable is set.
std::string default_weight_cache_folder();

// Packed weights, read into memory or mapped. `fd` holds the lock that keeps others from deleting the file.
struct CachedWeights {
  FileDescriptor fd;
  AlignedBuffer memory;  // empty: mapped
  FileMapping mapping;
  const std::byte* data = nullptr;  // offset 0 of the layout
  std::string path;
};

using WeightProgress = std::function<void(const char* stage, double fraction)>;

class WeightCacheWriter;

class WeightCache {
 public:
  WeightCache(WeightCacheOptions options, const GgufFile& gguf, const WeightLayout& layout, WorkerPool& pool);

  // The model's weights if they are there and good. Whatever was there and is not good becomes a note.
  std::optional<CachedWeights> open();
  // Packs into a new file, and maps it. It gets its name in the background, see WeightCacheWriter. While another
  // process packs the same model, waits for that and opens its file. Nothing, with a note, if there is no room or no
  // permission.
  std::optional<CachedWeights> create(const WeightProgress& progress);
  // After create(): the file in the making, if it was made here.
  std::unique_ptr<WeightCacheWriter> take_writer() { return std::move(writer_); }

  const std::vector<std::string>& notes() const noexcept { return notes_; }

 private:
  Result<CachedWeights> open_file(const std::string& path);
  std::string path();

  WeightCacheOptions options_;
  const GgufFile& gguf_;
  const WeightLayout& layout_;
  WorkerPool& pool_;
  WeightIdentity identity_;
  std::string path_;  // of the file by its key, "" until it is wanted
  std::unique_ptr<WeightCacheWriter> writer_;
  std::vector<std::string> notes_;
};

struct WeightCacheEntry {
  std::string path;
  std::string model;    // path of the GGUF file it was made from; "" if the header cannot be read
  std::string problem;  // why it is of no use, "" if it seems good
  uint64_t bytes = 0;
  int64_t used_s = 0;  // last use, seconds since 1970
  bool in_use = false;
};
// Files of the cache, the most recently used first; none if there is no such folder.
std::vector<WeightCacheEntry> list_weight_cache(const std::string& folder);

struct WeightCacheRemoval {
  unsigned files = 0, kept = 0;  // kept: in use, or not ours to delete
  uint64_t bytes = 0, bytes_kept = 0;
};
// Deletes files, the least recently used first, until the rest are at most `limit_bytes`.
WeightCacheRemoval trim_weight_cache(const std::string& folder, uint64_t limit_bytes);

}  // namespace smepilot
