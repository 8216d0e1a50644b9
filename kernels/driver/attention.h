// Attention over KV caches: what a cache looks like to the operators, how new keys and values get into it, and how the
// work of one or of several sequences is divided among workers.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/abi/kernel_variant.h"
#include "kernels/driver/call_time.h"
#include "kernels/driver/worker_pool.h"

namespace smepilot {

// The matrix unit's part of attention as a pipeline over tiles (mode kCoop): Q K^T and P V are its, softmax is the
// vector cores'. See kernels/driver/attention_pipeline.h.
struct AttentionPipeline {
  const KernelVariant* variant = nullptr;  // OpKind::kAttentionTile, of ExecutionUnit::kMatrix
  uint16_t workers = 1;                    // one per unit
  uint32_t rows = 64;                      // query rows of a tile; its positions are AttentionConfig::kv_tile
  uint32_t depth = 8;                      // tiles in flight
  bool cores_multiply = true;  // vector cores that have no softmax to do take tiles of P V from the matrix unit
  bool phases = false;  // for comparison: each stage of all tiles before the next one, see attention_phases_bytes()
};

struct AttentionConfig {
  const KernelVariant* variant = nullptr;  // kCoop: OpKind::kAttentionTile, the vector cores'
  ExecutionMode mode = ExecutionMode::kCpu;
  uint16_t workers = 1;
  uint32_t kv_tile = 128;  // positions per online-softmax step
  uint32_t kv_splits = 0;  // pieces one head's positions are divided into; 0: only as many as feed every worker
  AttentionPipeline pipeline = {};  // kCoop only
};

// One layer's K and V cache of one sequence, all KV heads. Layouts: kernels/abi/layout.h, kKvKeyPanel16 and
// kKvValuePanel16.
struct KvView {
  DType dtype = DType::kF16;  // or kQ8_0
  std::byte* k = nullptr;     // [kv_heads] x panels of `capacity` positions, 32-byte aligned
  std::byte* v = nullptr;     // likewise
  uint32_t capacity = 0;      // positions, a multiple of 16
  uint32_t kv_heads = 0, head_dim = 0;
  size_t head_bytes() const noexcept { return kv_bytes(dtype, capacity, head_dim); }
};

// The query rows of one sequence and what they see: the positions of `shared`, then those of `own`. Positions are
// counted through both, so the m new ones are shared_length + length and the following.
struct AttentionSequence {
  KvView own = {};
  KvView shared = {};          // a prefix that other sequences may name too; capacity 0: none
  uint32_t shared_length = 0;  // positions of it
  uint32_t length = 0;         // earlier positions of `own`
  uint32_t m = 0;              // this call's new positions, in `own` behind the earlier ones; one query row each
};

// Writes rows k[m][kv_heads*head_dim] and v, as the cache's dtype has them, to positions pos .. pos+m-1 of the cache.
void write_kv(WorkerPool& pool, unsigned workers, const KvView& cache, uint32_t pos, uint32_t m, const float* k,
              size_t k_stride, const float* v, size_t v_stride) noexcept;

// The m new positions of every sequence, whose rows follow each other in k and v, in one fork and join.
void write_kv(WorkerPool& pool, unsigned workers, std::span<const AttentionSequence> sequences, const float* k,
              size_t k_stride, const float* v, size_t v_stride) noexcept;

// Causal attention of all sequences in one fork and join (and a second one, if results have to be merged). Row i of q
// and out, [rows][heads*head_dim] with strides in floats, belongs to the i-th new position, counted through the
// sequences. Sequences that follow each other and name the same prefix are computed on it together: their rows form
// blocks, so that K and V of the prefix are read once per block instead of once per sequence. All caches have the dtype
// of the variant, and the same heads. scratch: attention_scratch_bytes() of at least these rows, heads and positions.
// time: as of matmul_group().
void attention(WorkerPool& pool, const AttentionConfig& config, std::span<const AttentionSequence> sequences,
               uint32_t heads, const float* q, size_t q_stride, float* out, size_t out_stride, float scale,
               std::byte* scratch, CallTime* time = nullptr) noexcept;

// capacity: the most positions of any cache of a call; rows: query rows of all its sequences together; workers: of both
// sides of a pipeline together, all that the pool has.
size_t attention_scratch_bytes(unsigned workers, uint32_t rows, uint32_t heads, uint32_t capacity, uint32_t head_dim);

// Instead, for AttentionPipeline::phases.
size_t attention_phases_scratch_bytes(const AttentionConfig& config, std::span<const AttentionSequence> sequences,
                                      uint32_t heads) noexcept;

}  // namespace smepilot
