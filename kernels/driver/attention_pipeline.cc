#include "kernels/driver/attention_pipeline.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "kernels/abi/attention_stages.h"
#include "kernels/base/check.h"
#include "kernels/base/integer.h"
#include "kernels/base/pause.h"
#include "kernels/driver/trace.h"

namespace smepilot {
namespace {

constexpr uint32_t kMostPipelineTile = 1024;      // positions of a tile
constexpr size_t kScoreFloats = size_t{1} << 20;  // of all tiles in flight
constexpr unsigned kLooksBeforeYield = 256;       // as long as a short stage takes
constexpr uint32_t kClosed = UINT32_MAX;          // turn of a lane when no block is left for it

uint32_t tile_positions(const AttentionConfig& config) noexcept {
  return round_up(std::clamp(config.kv_tile, kPanel, kMostPipelineTile), kPanel);
}
// [1 + positions][stride]: rescale, and the scores
size_t slot_floats(uint32_t stride, uint32_t positions) noexcept {
  return size_t{stride} * (1 + positions);
}

// What is kept of a block between its tiles.
struct State {
  AttentionBlock block;
  uint32_t number = 0;
  void* queries = nullptr;
  float* own_output = nullptr;  // [rows][head_dim rounded up to 16]
  float* output = nullptr;      // own_output, or the block's `partial`
  float* max = nullptr;         // [stride]
  float* sum = nullptr;         // [stride]
  float* slots = nullptr;
};

size_t query_floats(uint32_t rows, uint32_t head_dim) noexcept {
  return most_query_bytes(rows, head_dim) / sizeof(float);
}
// Floats behind a State: queries, output, max and sum.
size_t state_floats(uint32_t rows, uint32_t head_dim) noexcept {
  const size_t stride = round_up(rows, kPanel);
  return query_floats(rows, head_dim) + stride * round_up(head_dim, kPanel) + 2 * stride;
}
float* place_state(State& s, float* at, uint32_t rows, uint32_t head_dim) noexcept {
  const size_t stride = round_up(rows, kPanel);
  s.queries = at;
  at += query_floats(rows, head_dim);
  s.own_output = at;
  at += stride * round_up(head_dim, kPanel);
  s.max = at;
  s.sum = at + stride;
  return at + 2 * stride;
}

// One call: what all its workers know.
class Stages {
 public:
  Stages(const AttentionConfig& config, const AttentionBlocks& blocks) noexcept
      : matrix_(*config.pipeline.variant->attention_tile),
        vector_(*config.variant->attention_tile),
        blocks_(blocks),
        positions_(tile_positions(config)) {
    SMEPILOT_DCHECK(config.variant->op == OpKind::kAttentionTile && vector_.softmax != nullptr);
    SMEPILOT_DCHECK(config.pipeline.variant->op == OpKind::kAttentionTile);
    SMEPILOT_DCHECK(config.variant->rhs == config.pipeline.variant->rhs);
  }

  uint32_t positions() const noexcept { return positions_; }
  const AttentionBlocks& blocks() const noexcept { return blocks_; }
  uint32_t tiles(const State& s) const noexcept { return ceil_div(s.block.kv_end, positions_); }

  // The block's number `number`: its rows, its queries packed.
  void open(State& s, uint32_t number) const noexcept {
    const TraceScope trace("pack_queries", ExecutionUnit::kMatrix, ExecutionMode::kCoop, number);
    blocks_.get(blocks_.context, number, s.block);
    s.number = number;
    SMEPILOT_DCHECK(s.block.rows > 0 && s.block.rows <= kMostBlockRows && s.block.kv_end > 0);
    SMEPILOT_DCHECK(matrix_.query_bytes(s.block.rows, blocks_.head_dim) <=
                    most_query_bytes(s.block.rows, blocks_.head_dim));
    s.output = s.block.partial != nullptr ? s.block.partial : s.own_output;
    const AttentionTile t = tile(s, 0, nullptr);
    matrix_.pack_queries(&t);
  }
  void scores(const State& s, uint32_t index, float* slot) const noexcept {
    const TraceScope trace("scores", ExecutionUnit::kMatrix, ExecutionMode::kCoop, s.number, index);
    const AttentionTile t = tile(s, index, slot);
    matrix_.scores(&t);
  }
  void softmax(const State& s, uint32_t index, float* slot) const noexcept {
    const TraceScope trace("softmax", ExecutionUnit::kCpu, ExecutionMode::kCoop, s.number, index);
    const AttentionTile t = tile(s, index, slot);
    vector_.softmax(&t);
  }
  void values(const State& s, uint32_t index, float* slot, ExecutionUnit unit) const noexcept {
    const TraceScope trace("values", unit, ExecutionMode::kCoop, s.number, index);
    const AttentionTile t = tile(s, index, slot);
    (unit == ExecutionUnit::kMatrix ? matrix_ : vector_).values(&t);
  }
  void finish(const State& s) const noexcept {
    const TraceScope trace("finish", ExecutionUnit::kCpu, ExecutionMode::kCoop, s.number);
    if (s.block.partial != nullptr) {
      std::copy_n(s.max, s.block.rows, s.block.max);
      std::copy_n(s.sum, s.block.rows, s.block.sum);
    } else {
      const AttentionTile t = tile(s, 0, nullptr);
      vector_.finish(&t);
    }
  }

 private:
  AttentionTile tile(const State& s, uint32_t index, float* slot) const noexcept {
    AttentionTile t{};
    t.q = s.block.q;
    t.out = s.block.out;
    t.limit = s.block.limit;
    t.k = s.block.k;
    t.v = s.block.v;
    t.queries = s.queries;
    t.output = s.output;
    t.max = s.max;
    t.sum = s.sum;
    t.rows = s.block.rows;
    t.stride = round_up(t.rows, kPanel);
    t.rescale = slot;
    t.scores = slot == nullptr ? nullptr : slot + t.stride;
    t.head_dim = blocks_.head_dim;
    t.kv_begin = index * positions_;
    t.kv_end = std::min(t.kv_begin + positions_, s.block.kv_end);
    t.scale = blocks_.scale;
    t.first = index == 0;
    return t;
  }

  const AttentionStages &matrix_, &vector_;
  const AttentionBlocks& blocks_;
  uint32_t positions_;
};

// How many lanes, and tiles in flight of each.
struct Extent {
  uint32_t rows, lanes, slots;
};
Extent extent(const AttentionConfig& config, const AttentionBlocks& blocks, unsigned workers) noexcept {
  Extent e{pipeline_rows(config), 0, 0};
  const size_t most = kScoreFloats / slot_floats(e.rows, tile_positions(config));
  const uint32_t depth = std::clamp(config.pipeline.depth, 1u, static_cast<uint32_t>(most));
  // A lane for each worker, and one from which somebody gets his next tile.
  e.lanes = std::max(std::min({workers + 1, depth, blocks.count}), 1u);
  e.slots = depth / e.lanes;
  return e;
}

struct alignas(64) Counter {
  std::atomic<uint32_t> value{0};
};

struct Lane {
  // Of its blocks: 4g waits for the g-th, + 1: being opened, + 2: open, + 3: being finished. kClosed: there is none.
  Counter turn;
  Counter end;                      // tiles of all blocks that it has had, the open one included
  Counter scores, softmax, values;  // twice the tiles done; odd: one more is being done
  uint32_t begin = 0;               // tiles before those of the open block
  State state;
};

class Pipeline {
 public:
  Pipeline(const AttentionConfig& config, const AttentionBlocks& blocks, unsigned workers, std::byte* scratch) noexcept
      : stages_(config, blocks),
        extent_(extent(config, blocks, workers)),
        cores_multiply_(config.pipeline.cores_multiply),
        lanes_(reinterpret_cast<Lane*>(scratch)) {
    std::uninitialized_default_construct_n(lanes_, extent_.lanes);
    float* at = reinterpret_cast<float*>(scratch + extent_.lanes * sizeof(Lane));
    for (uint32_t i = 0; i < extent_.lanes; ++i) {
      at = place_state(lanes_[i].state, at, extent_.rows, blocks.head_dim);
      lanes_[i].state.slots = at;
      at += extent_.slots * slot_floats(extent_.rows, stages_.positions());
    }
  }

  void work(unsigned worker, bool matrix, bool vector, CallTime* time) noexcept {
    WorkerTime* const mine = time != nullptr ? time->start(worker) : nullptr;
    for (unsigned looks = 0; done_.value.load(std::memory_order_acquire) != stages_.blocks().count;) {
      if ((matrix && multiply(worker, mine)) || (vector && soften(worker, mine))) {
        looks = 0;
      } else if (++looks < kLooksBeforeYield) {
        pause_briefly();
      } else {
        std::this_thread::yield();
      }
    }
    if (mine == nullptr) return;
    mine->unit = matrix ? ExecutionUnit::kMatrix : ExecutionUnit::kCpu;
    time->finish(*mine);
  }

 private:
  static uint32_t done(const Counter& stage) noexcept { return stage.value.load(std::memory_order_acquire) / 2; }
  static bool claim(Counter& counter, uint32_t seen) noexcept {
    return counter.value.compare_exchange_strong(seen, seen + 1, std::memory_order_acquire, std::memory_order_relaxed);
  }

  // Calls task(lane) of one lane after the other, each worker from another one on, until one had something to do.
  template <typename Task>
  bool any(unsigned worker, Task task) noexcept {
    for (uint32_t i = 0; i < extent_.lanes; ++i)
      if (task(lanes_[(worker + i) % extent_.lanes])) return true;
    return false;
  }

  // Where the cores multiply too, whatever they cannot do first, as far as there are buffers, so that they always find
  // something. Else what frees a buffer, then what feeds them.
  bool multiply(unsigned worker, WorkerTime* time) noexcept {
    const auto values = [&] {
      return any(worker, [&](Lane& lane) { return try_values(lane, ExecutionUnit::kMatrix, time); });
    };
    return (!cores_multiply_ && values()) || any(worker, [&](Lane& lane) { return try_scores(lane, time); }) ||
           any(worker, [&](Lane& lane) { return try_open(lane); }) || (cores_multiply_ && values());
  }
  bool soften(unsigned worker, WorkerTime* time) noexcept {
    return any(worker, [&](Lane& lane) { return try_softmax(lane, time); }) ||
           any(worker, [&](Lane& lane) { return try_finish(lane); }) ||
           (cores_multiply_ && any(worker, [&](Lane& lane) { return try_values(lane, ExecutionUnit::kCpu, time); }));
  }

  float* slot(const Lane& lane, uint32_t tile) const noexcept {
    return lane.state.slots + tile % extent_.slots * slot_floats(extent_.rows, stages_.positions());
  }

  // Claims the next tile of `stage` if ready(tile), and does it. What ready() has seen stays true: counters only grow.
  template <typename Ready, typename Task>
  bool try_stage(Counter& stage, Ready ready, Task task, PipelineStage which, WorkerTime* time) noexcept {
    const uint32_t seen = stage.value.load(std::memory_order_acquire);
    if (seen % 2 != 0 || !ready(seen / 2) || !claim(stage, seen)) return false;
    const int64_t begin = time != nullptr ? trace_detail::now_ns() : 0;
    task(seen / 2);
    stage.value.store(seen + 2, std::memory_order_release);
    if (time != nullptr) {
      time->stage_ns[static_cast<size_t>(which)] += trace_detail::now_ns() - begin;
      ++time->tasks;
    }
    return true;
  }
  bool try_scores(Lane& lane, WorkerTime* time) noexcept {
    const auto ready = [&](uint32_t tile) {
      return tile < lane.end.value.load(std::memory_order_acquire) && tile - done(lane.values) < extent_.slots;
    };
    return try_stage(
        lane.scores, ready, [&](uint32_t tile) { stages_.scores(lane.state, tile - lane.begin, slot(lane, tile)); },
        PipelineStage::kScores, time);
  }
  bool try_softmax(Lane& lane, WorkerTime* time) noexcept {
    return try_stage(
        lane.softmax, [&](uint32_t tile) { return tile < done(lane.scores); },
        [&](uint32_t tile) { stages_.softmax(lane.state, tile - lane.begin, slot(lane, tile)); },
        PipelineStage::kSoftmax, time);
  }
  bool try_values(Lane& lane, ExecutionUnit unit, WorkerTime* time) noexcept {
    return try_stage(
        lane.values, [&](uint32_t tile) { return tile < done(lane.softmax); },
        [&](uint32_t tile) { stages_.values(lane.state, tile - lane.begin, slot(lane, tile), unit); },
        PipelineStage::kValues, time);
  }

  bool try_open(Lane& lane) noexcept {
    const uint32_t turn = lane.turn.value.load(std::memory_order_acquire);
    if (turn % 4 != 0 || !claim(lane.turn, turn)) return false;
    const uint32_t number = next_.value.fetch_add(1, std::memory_order_relaxed);
    if (number >= stages_.blocks().count) {
      lane.turn.value.store(kClosed, std::memory_order_relaxed);
      return false;
    }
    stages_.open(lane.state, number);
    lane.begin = lane.end.value.load(std::memory_order_relaxed);
    lane.end.value.store(lane.begin + stages_.tiles(lane.state), std::memory_order_release);
    lane.turn.value.store(turn + 2, std::memory_order_release);
    return true;
  }
  bool try_finish(Lane& lane) noexcept {
    const uint32_t turn = lane.turn.value.load(std::memory_order_acquire);
    if (turn % 4 != 2 ||
        lane.values.value.load(std::memory_order_acquire) != 2 * lane.end.value.load(std::memory_order_relaxed))
      return false;
    if (!claim(lane.turn, turn)) return false;
    stages_.finish(lane.state);
    lane.turn.value.store(turn + 2, std::memory_order_release);
    done_.value.fetch_add(1, std::memory_order_release);
    return true;
  }

  const Stages stages_;
  const Extent extent_;
  const bool cores_multiply_;
  Lane* const lanes_;
  Counter next_;  // block to be opened
  Counter done_;  // blocks finished
};

// The workers of each side among `workers`.
unsigned matrix_workers(const AttentionConfig& config, unsigned workers) noexcept {
  return workers == 1 ? 1 : std::clamp<unsigned>(config.pipeline.workers, 1, workers - 1);
}
unsigned all_workers(const WorkerPool& pool, const AttentionConfig& config) noexcept {
  return std::min(pool.size(), std::max<unsigned>(config.pipeline.workers, 1) + std::max<unsigned>(config.workers, 1));
}

}  // namespace

uint32_t pipeline_rows(const AttentionConfig& config) noexcept {
  const uint32_t most = std::min({config.variant->tile.mr, config.pipeline.variant->tile.mr, kMostBlockRows});
  return std::clamp(round_up(config.pipeline.rows, kPanel), kPanel, most / kPanel * kPanel);
}

size_t attention_pipeline_bytes(unsigned workers, uint32_t head_dim) noexcept {
  const size_t lanes = size_t{workers} + 1;
  return lanes * (sizeof(Lane) + state_floats(kMostBlockRows, head_dim) * sizeof(float)) + kScoreFloats * sizeof(float);
}

void run_attention_pipeline(WorkerPool& pool, const AttentionConfig& config, const AttentionBlocks& blocks,
                            std::byte* scratch, CallTime* time) noexcept {
  if (blocks.count == 0) return;
  const unsigned workers = all_workers(pool, config), matrix = matrix_workers(config, workers);
  Pipeline pipeline(config, blocks, workers, scratch);
  if (time != nullptr) time->begin(workers, workers > 1);
  pool.run(workers, [&](unsigned worker, unsigned count) {
    pipeline.work(worker, worker < matrix, worker >= matrix || count == 1, time);
  });
  if (time != nullptr) time->end();
}

size_t attention_phases_bytes(const AttentionConfig& config, const AttentionBlocks& blocks) noexcept {
  const uint32_t rows = pipeline_rows(config), positions = tile_positions(config);
  size_t tiles = 0;
  for (uint32_t i = 0; i < blocks.count; ++i) tiles += ceil_div(blocks.kv_end(blocks.context, i), positions);
  return blocks.count * (round_up(sizeof(State), 64) + state_floats(rows, blocks.head_dim) * sizeof(float)) +
         tiles * slot_floats(rows, positions) * sizeof(float);
}

void run_attention_phases(WorkerPool& pool, const AttentionConfig& config, const AttentionBlocks& blocks,
                          std::byte* scratch) noexcept {
  const Stages stages(config, blocks);
  const uint32_t rows = pipeline_rows(config);
  const size_t slot = slot_floats(rows, stages.positions());
  auto* const states = reinterpret_cast<State*>(scratch);
  std::uninitialized_default_construct_n(states, blocks.count);
  float* at = reinterpret_cast<float*>(scratch + round_up(blocks.count * sizeof(State), 64));
  for (uint32_t i = 0; i < blocks.count; ++i) {
    at = place_state(states[i], at, rows, blocks.head_dim);
    states[i].slots = at;
    blocks.get(blocks.context, i, states[i].block);
    at += stages.tiles(states[i]) * slot;
  }

  const unsigned workers = all_workers(pool, config), matrix = matrix_workers(config, workers);
  Counter next[4];
  pool.run(workers, [&](unsigned worker, unsigned count) {
    const bool is_matrix = worker < matrix, is_vector = worker >= matrix || count == 1;
    const auto phase = [&](bool mine, Counter& counter, auto task) {
      for (uint32_t i; mine && (i = counter.value.fetch_add(1, std::memory_order_relaxed)) < blocks.count;)
        task(i, states[i]);
      pool.barrier(count);
    };
    const auto each_tile = [&](const State& s, auto task) {
      for (uint32_t i = 0; i < stages.tiles(s); ++i) task(i, s.slots + i * slot);
    };
    phase(is_matrix, next[0], [&](uint32_t number, State& s) {
      stages.open(s, number);
      each_tile(s, [&](uint32_t i, float* to) { stages.scores(s, i, to); });
    });
    phase(is_vector, next[1],
          [&](uint32_t, State& s) { each_tile(s, [&](uint32_t i, float* of) { stages.softmax(s, i, of); }); });
    phase(is_matrix, next[2], [&](uint32_t, State& s) {
      each_tile(s, [&](uint32_t i, float* of) { stages.values(s, i, of, ExecutionUnit::kMatrix); });
    });
    phase(is_vector, next[3], [&](uint32_t, State& s) { stages.finish(s); });
  });
}

}  // namespace smepilot
