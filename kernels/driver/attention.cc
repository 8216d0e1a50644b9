// Division of causal attention among workers: (KV head, block of query rows, piece of the KV range) is a task.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "kernels/base/check.h"
#include "kernels/base/integer.h"
#include "kernels/driver/operators.h"

namespace smepilot {
namespace {

constexpr uint32_t kMaxRows = 64;           // query rows of one task; at least any variant's tile.mr
constexpr uint32_t kMaxTile = 1024;         // positions of an online-softmax step
constexpr uint32_t kMaxSplits = 16;         // pieces of the KV range
constexpr uint32_t kMaxPartialRows = 1024;  // query rows (tokens x heads) up to which the KV range may be split
constexpr uint32_t kMinSplit = 128;         // positions in a piece worth a task of its own

size_t worker_scratch_floats(uint32_t capacity, uint32_t head_dim) noexcept {
  return size_t{kMaxRows} * (round_up(capacity, kPanel) + round_up(head_dim, kPanel) + kMaxTile);
}

struct Split {
  uint32_t pieces, length;  // length: positions, a multiple of 16
};

Split split_kv(const AttentionConfig& config, uint32_t tasks, uint32_t rows, uint32_t kv_len) noexcept {
  uint32_t pieces = config.kv_splits;
  if (pieces == 0) {
    pieces = 1;
    if (tasks < 4u * config.workers && tasks % config.workers != 0)
      pieces = tasks < config.workers ? ceil_div(config.workers, tasks) : config.workers;
  }
  pieces = std::min({pieces, kMaxSplits, std::max(1u, kv_len / kMinSplit)});
  if (rows > kMaxPartialRows) pieces = 1;
  const uint32_t length = round_up(ceil_div(kv_len, pieces), kPanel);
  return {ceil_div(kv_len, length), length};
}

}  // namespace

size_t attention_scratch_bytes(unsigned workers, uint32_t capacity, uint32_t head_dim) {
  const size_t partial = size_t{kMaxPartialRows} * kMaxSplits * (round_up(head_dim, 16) + 2);
  return (workers * worker_scratch_floats(capacity, head_dim) + partial) * sizeof(float);
}

void attention(WorkerPool& pool, const AttentionConfig& config, const KvView& cache, uint32_t pos, uint32_t m,
               uint32_t heads, const float* q, size_t q_stride, float* out, size_t out_stride, float scale,
               std::byte* scratch) noexcept {
  const uint32_t group = heads / cache.kv_heads, hd = cache.head_dim, kv_len = pos + m;
  const uint32_t rows = m * group;  // of one KV head, token-major so that a block's causal limits are close
  const uint32_t block = std::min(config.variant->tile.mr, kMaxRows);
  const uint32_t blocks = ceil_div(rows, block);
  const Split split = split_kv(config, blocks * cache.kv_heads, m * heads, kv_len);
  const bool partial = split.pieces > 1;
  const uint32_t tasks = cache.kv_heads * blocks * split.pieces;
  float* const worker_scratch = reinterpret_cast<float*>(scratch);
  float* const partial_out = worker_scratch + config.workers * worker_scratch_floats(cache.capacity, hd);
  const size_t partial_stride = round_up(hd, 16);
  float* const partial_max = partial_out + size_t{kMaxPartialRows} * kMaxSplits * partial_stride;
  float* const partial_sum = partial_max + size_t{kMaxPartialRows} * kMaxSplits;

  std::atomic<uint32_t> next{0};
  const unsigned workers = std::min<unsigned>(config.workers, tasks);
  pool.run(workers, [&](unsigned worker, unsigned) {
    const float* q_rows[kMaxRows];
    float* out_rows[kMaxRows];
    uint32_t limits[kMaxRows];
    for (uint32_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      // The longest tasks (the last query rows) first, so that no worker ends up alone with one.
      const uint32_t piece = task % split.pieces, h = task / split.pieces % cache.kv_heads;
      const uint32_t b = blocks - 1 - task / split.pieces / cache.kv_heads;
      const uint32_t first = b * block, count = std::min(block, rows - first);
      const size_t slot = (size_t{h} * rows + first) * split.pieces + size_t{piece} * count;
      uint32_t longest = 0;
      for (uint32_t r = 0; r < count; ++r) {
        const uint32_t token = (first + r) / group, head = h * group + (first + r) % group;
        q_rows[r] = q + token * q_stride + size_t{head} * hd;
        out_rows[r] =
            partial ? partial_out + (slot + r) * partial_stride : out + token * out_stride + size_t{head} * hd;
        limits[r] = pos + token + 1;
        longest = std::max(longest, limits[r]);
      }
      AttentionArgs a{};
      a.q = q_rows;
      a.out = out_rows;
      a.limit = limits;
      a.k = cache.k + h * cache.head_elems();
      a.v = cache.v + h * cache.head_elems();
      a.v_stride = hd;
      a.scratch = worker_scratch + worker * worker_scratch_floats(cache.capacity, hd);
      a.max = partial ? partial_max + slot : nullptr;
      a.sum = partial ? partial_sum + slot : nullptr;
      a.rows = count;
      a.head_dim = hd;
      a.kv_begin = piece * split.length;
      a.kv_end = std::min(a.kv_begin + split.length, longest);
      a.kv_tile = round_up(std::clamp(config.kv_tile, kPanel, kMaxTile), kPanel);
      a.scale = scale;
      a.partial = partial;
      if (a.kv_end > a.kv_begin) {
        config.variant->attention(&a);
      } else {  // this piece lies beyond every row of the block
        for (uint32_t r = 0; r < count; ++r) {
          a.max[r] = -std::numeric_limits<float>::infinity();
          a.sum[r] = 0;
        }
      }
    }
  });
  if (!partial) return;

  // out = sum_i exp(max_i - max) out_i / sum_i exp(max_i - max) sum_i
  const uint32_t all_rows = cache.kv_heads * rows;
  pool.run(all_rows >= 64 ? workers : 1, [&](unsigned worker, unsigned count) {
    for (uint32_t row = worker; row < all_rows; row += count) {
      const uint32_t h = row / rows, r = row % rows, first = r / block * block;
      const uint32_t block_rows = std::min(block, rows - first);
      const size_t base = (size_t{h} * rows + first) * split.pieces + (r - first);
      float max = -std::numeric_limits<float>::infinity();
      for (uint32_t i = 0; i < split.pieces; ++i) max = std::max(max, partial_max[base + i * block_rows]);
      float sum = 0;
      float weight[kMaxSplits];
      for (uint32_t i = 0; i < split.pieces; ++i) {
        const size_t at = base + i * block_rows;
        weight[i] = partial_sum[at] > 0 ? std::exp(partial_max[at] - max) : 0.0f;
        sum += weight[i] * partial_sum[at];
      }
      float* dst = out + r / group * out_stride + size_t{h * group + r % group} * hd;
      std::fill_n(dst, hd, 0.0f);
      for (uint32_t i = 0; i < split.pieces; ++i) {
        if (weight[i] == 0) continue;
        const float* src = partial_out + (base + i * block_rows) * partial_stride;
        const float w = weight[i] / sum;
        for (uint32_t d = 0; d < hd; ++d) dst[d] += w * src[d];
      }
    }
  });
}

}  // namespace smepilot
