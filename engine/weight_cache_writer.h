// Writes the weights' cache file while they are packed: workers pack into a few blocks, a thread of its own writes the
// full ones, so that packing does not wait for the system and no second copy of the weights is needed.
#pragma once
#include <array>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/weight_cache.h"

namespace smepilot {

class WeightCacheWriter {
 public:
  // `fd`: the empty file temporary_path(path), locked.
  WeightCacheWriter(FileDescriptor fd, std::string path);
  ~WeightCacheWriter();  // waits for commit() to end; removes what was not committed
  WeightCacheWriter(const WeightCacheWriter&) = delete;
  WeightCacheWriter& operator=(const WeightCacheWriter&) = delete;

  // Takes the room on the disk, of which `reserve_bytes` are to stay free.
  Status reserve(uint64_t bytes, uint64_t reserve_bytes);
  Status pack(const GgufFile& gguf, const WeightLayout& layout, WorkerPool& pool, const WeightProgress& progress);
  // The file as it is now, with a descriptor of its own.
  Result<CachedWeights> map(const WeightLayout& layout) const;
  // In the background: syncs, writes the head, and gives the file its name. `identity` and `layout` are copied.
  void commit(const WeightIdentity& identity, const WeightLayout& layout);
  // Waits for that. Error: the file was not stored.
  Status finish();

  static std::string temporary_path(const std::string& path) { return path + ".part"; }

 private:
  struct Block {
    AlignedBuffer buffer;
    uint64_t offset = 0, bytes = 0;
    bool full = false;  // to be written
  };
  void write_blocks();
  Block& next_free(size_t index);

  FileDescriptor fd_;
  std::string path_;
  bool committed_ = false;
  std::vector<uint64_t> packed_, sources_;  // checksums of chunks
  std::mutex mutex_;
  std::condition_variable changed_;
  std::array<Block, 3> blocks_;
  bool last_ = false;  // no more blocks will come
  Status status_;
  std::thread thread_;
};

}  // namespace smepilot
