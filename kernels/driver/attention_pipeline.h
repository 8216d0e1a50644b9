// Attention as a pipeline over tiles (mode kCoop): while the matrix unit multiplies one tile, the vector cores take the
// softmax of another. No barrier divides the stages; a tile that no row sees does not exist.
//
// A lane is a block of query rows on its way through its tiles, with buffers for a few of them. A stage of a lane is
// one counter, twice the number of tiles that it has done, odd while a worker does the next: so the tiles of a lane
// pass each stage in order, as the running maximum and the output want it, while stages of a lane, and lanes, overlap
// freely. A worker claims a stage by one compare-and-swap, when the stage before is ahead of it and a buffer is free.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/driver/attention.h"
#include "kernels/driver/call_time.h"
#include "kernels/driver/worker_pool.h"

namespace smepilot {

inline constexpr uint32_t kMostBlockRows = 256;  // at least any variant's tile.mr

// Query rows that share a KV head, and what they see of it.
struct AttentionBlock {
  const float* q[kMostBlockRows];  // [rows] pointers to head_dim floats
  float* out[kMostBlockRows];      // likewise; not written if there is a `partial`
  uint32_t limit[kMostBlockRows];  // row r sees positions < limit[r]
  const void* k = nullptr;         // of the KV head
  const void* v = nullptr;
  uint32_t rows = 0, kv_end = 0;  // kv_end: the largest limit, at least 1
  float* partial = nullptr;       // [rows][head_dim rounded up to 16], 64-byte aligned: the result, not normalised,
  float* max = nullptr;           // with the maximum of the scores [rows]
  float* sum = nullptr;           // and the sum of the probabilities [rows]
};

// The blocks of a call, in the order in which they are to be begun. get() is called once per block, from any worker.
struct AttentionBlocks {
  uint32_t count = 0, head_dim = 0;
  float scale = 1;
  const void* context = nullptr;
  void (*get)(const void* context, uint32_t number, AttentionBlock& block) noexcept = nullptr;
  uint32_t (*kv_end)(const void* context, uint32_t number) noexcept = nullptr;  // of that block
};

// Rows of a block that both variants of a pipeline take.
uint32_t pipeline_rows(const AttentionConfig& config) noexcept;

// Executes all blocks on config.pipeline.workers workers of the matrix unit (from worker 0 on) and config.workers of
// the vector cores. A pool of one worker plays both. scratch: 64-byte aligned, attention_pipeline_bytes() of at least
// as many workers as take part. time: as of matmul_group().
void run_attention_pipeline(WorkerPool& pool, const AttentionConfig& config, const AttentionBlocks& blocks,
                            std::byte* scratch, CallTime* time = nullptr) noexcept;
size_t attention_pipeline_bytes(unsigned workers, uint32_t head_dim) noexcept;

// What the pipeline is to be compared with: the same kernels on the same blocks, but each stage of all tiles before the
// next stage of any, which needs room for all scores of the call.
void run_attention_phases(WorkerPool& pool, const AttentionConfig& config, const AttentionBlocks& blocks,
                          std::byte* scratch) noexcept;
size_t attention_phases_bytes(const AttentionConfig& config, const AttentionBlocks& blocks) noexcept;

}  // namespace smepilot
