// Where each packed matrix of a model lies in one piece of memory or in one file, and how the work of packing is cut:
// what the packers, the cache file and the checksums share.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/abi/dtype.h"
#include "kernels/base/integer.h"
#include "kernels/driver/worker_pool.h"

namespace smepilot {

// A weight matrix [n][k], or one expert's slice of a tensor: from the model file's rows to packed panels.
struct WeightMatrix {
  std::string name;  // of the tensor; of an expert with its number, "blk.0.ffn_up_exps.weight/17"
  DType dtype = DType::kF32;
  uint32_t n = 0, k = 0;
  std::span<const std::byte> source;  // n rows of file_bytes(dtype, k)
  uint64_t offset = 0;                // of the packed panels, a multiple of kWeightAlignment
  uint64_t bytes = 0;                 // rhs_bytes(dtype, n, k)
  uint32_t first_chunk = 0, chunks = 0;
};

// A run of panels of one matrix: what a worker packs, or checks, at a time.
struct WeightChunk {
  uint32_t matrix = 0;
  uint32_t panel_begin = 0, panel_end = 0;
  uint64_t offset = 0, bytes = 0;     // packed
  std::span<const std::byte> source;  // the file's rows
};

inline constexpr uint64_t kWeightAlignment = 4096;

class WeightLayout {
 public:
  void add(std::string name, DType dtype, uint32_t n, uint32_t k, std::span<const std::byte> source);

  const std::vector<WeightMatrix>& matrices() const noexcept { return matrices_; }
  const std::vector<WeightChunk>& chunks() const noexcept { return chunks_; }
  uint64_t bytes() const noexcept { return round_up(end_, kWeightAlignment); }

  // Packs a chunk to dst (its own bytes only).
  void pack(const WeightChunk& chunk, std::byte* dst) const noexcept;

  // Of a matrix, from the checksums of its chunks in order; of all matrices' sources, likewise.
  uint64_t matrix_checksum(size_t matrix, std::span<const uint64_t> chunk_checksums) const noexcept;

 private:
  std::vector<WeightMatrix> matrices_;
  std::vector<WeightChunk> chunks_;
  uint64_t end_ = 0;
};

// Checksums of what the packers of this build make of a fixed matrix of each type the layout uses: different as soon as
// the packed bytes differ, so that no version number has to be remembered.
uint64_t packing_fingerprint(const WeightLayout& layout);

// Calls fn(i) for begin <= i < end on all workers, each drawing the next.
template <typename Fn>
void for_each_chunk(WorkerPool& pool, size_t begin, size_t end, const Fn& fn) {
  std::atomic<size_t> next{begin};
  pool.run(pool.size(), [&](unsigned, unsigned) {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < end;) fn(i);
  });
}

}  // namespace smepilot
