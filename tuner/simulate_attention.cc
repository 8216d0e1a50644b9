// Attention: in stages on two units (full pipeline, two stages, none), or whole on one.
#include <algorithm>
#include <functional>

#include "kernels/base/integer.h"
#include "tuner/simulate.h"

namespace smepilot {
namespace {

constexpr size_t kCpu = static_cast<size_t>(ExecutionUnit::kCpu);
constexpr size_t kMatrix = static_cast<size_t>(ExecutionUnit::kMatrix);

// The call cut into blocks of query rows that share a KV head, and tiles of positions.
class Tiles {
 public:
  explicit Tiles(const SimAttention& a)
      : a_(a),
        group_(a.heads / a.kv_heads),
        rows_(std::max(a.rows, 1u)),
        per_head_(ceil_div(a.m * (a.heads / a.kv_heads), std::max(a.rows, 1u))) {}

  uint32_t blocks() const { return per_head_ * a_.kv_heads; }
  uint32_t rows(uint32_t block) const {
    const uint32_t first = block % per_head_ * rows_;
    return std::min(rows_, a_.m * group_ - first);
  }
  // Positions that some row of the block sees.
  uint32_t kv_end(uint32_t block) const {
    if (!a_.causal) return a_.kv_len;
    const uint32_t last = block % per_head_ * rows_ + rows(block) - 1;  // a position's rows lie side by side
    return a_.kv_len - a_.m + last / group_ + 1;
  }
  uint32_t tiles(uint32_t block) const { return ceil_div(kv_end(block), a_.kv_tile); }
  double positions(uint32_t block, uint32_t tile) const {
    return std::min(a_.kv_tile, kv_end(block) - tile * a_.kv_tile);
  }
  double elements(uint32_t block, uint32_t tile) const { return rows(block) * positions(block, tile); }

  double product_flops(uint32_t block, uint32_t tile) const { return 2 * elements(block, tile) * a_.head_dim; }
  double score_bytes(uint32_t block, uint32_t tile) const { return elements(block, tile) * sizeof(float); }
  // K or V of a tile comes from memory once for each KV head: the blocks that share it follow one another.
  double kv_bytes(uint32_t block, uint32_t tile) const {
    const bool first = a_.causal ? block % per_head_ == per_head_ - 1 : block % per_head_ == 0;
    return first ? positions(block, tile) * a_.head_dim / traits(a_.dtype).block_elems * traits(a_.dtype).block_bytes
                 : 0;
  }
  double query_bytes(uint32_t block) const { return double{sizeof(float)} * rows(block) * a_.head_dim; }

  SimTask scores(uint32_t block, uint32_t tile, bool to_memory) const {
    return {"scores",
            block,
            tile,
            product_flops(block, tile),
            0,
            kv_bytes(block, tile) + (tile == 0 ? query_bytes(block) : 0),
            to_memory ? score_bytes(block, tile) : 0};
  }
  SimTask softmax(uint32_t block, uint32_t tile, bool from_memory, bool to_memory) const {
    return {"softmax",
            block,
            tile,
            0,
            elements(block, tile),
            from_memory ? score_bytes(block, tile) : 0,
            to_memory ? score_bytes(block, tile) : 0};
  }
  SimTask values(uint32_t block, uint32_t tile, bool from_memory) const {
    return {"values",
            block,
            tile,
            product_flops(block, tile),
            0,
            kv_bytes(block, tile) + (from_memory ? score_bytes(block, tile) : 0),
            tile + 1 == tiles(block) ? query_bytes(block) : 0};
  }

 private:
  const SimAttention a_;
  const uint32_t group_, rows_, per_head_;
};

// All tiles of one stage, on one unit.
class StageWork : public SimWork {
 public:
  using Make = std::function<SimTask(uint32_t block, uint32_t tile)>;
  StageWork(const Tiles& tiles, ExecutionUnit unit, Make make) : tiles_(tiles), unit_(unit), make_(std::move(make)) {}
  bool next(unsigned, ExecutionUnit unit, SimTask& task) override {
    if (unit != unit_ || block_ == tiles_.blocks()) return false;
    task = make_(block_, tile_);
    if (++tile_ == tiles_.tiles(block_)) tile_ = 0, ++block_;
    return true;
  }
  void done(unsigned, ExecutionUnit, const SimTask&) override {}

 private:
  const Tiles& tiles_;
  const ExecutionUnit unit_;
  const Make make_;
  uint32_t block_ = 0, tile_ = 0;
};

// Lanes as in kernels/driver/attention_pipeline.h: a block on its way through its tiles, with buffers for a few.
class PipelineWork : public SimWork {
 public:
  PipelineWork(const SimMachine& machine, const SimAttention& a, const Tiles& tiles)
      : tiles_(tiles),
        two_stage_(a.pipeline == SimPipeline::kTwoStage),
        cores_multiply_(a.cores_multiply && !two_stage_) {
    const uint32_t workers = machine.workers[kCpu] + machine.workers[kMatrix];
    const uint32_t depth = std::max(a.depth, 1u);
    lanes_.resize(std::max(std::min({workers + 1, depth, tiles.blocks()}), 1u));
    claims_.resize(workers);
    slots_ = std::max(depth / static_cast<uint32_t>(lanes_.size()), 1u);
  }

  bool next(unsigned worker, ExecutionUnit unit, SimTask& task) override {
    if (unit == ExecutionUnit::kCpu) return soften(worker, task) || (cores_multiply_ && values(worker, task));
    if (two_stage_) return scores(worker, task);
    return cores_multiply_ ? scores(worker, task) || values(worker, task)
                           : values(worker, task) || scores(worker, task);
  }

  void done(unsigned worker, ExecutionUnit, const SimTask&) override {
    const Claim& claimed = claims_[worker];
    Lane& lane = lanes_[claimed.lane];
    Stage& stage = lane.*claimed.stage;
    ++stage.done;
    stage.busy = false;
    const Stage& last = two_stage_ ? lane.softmax : lane.values;
    if (last.done == tiles_.tiles(lane.block)) lane = Lane{};
  }

 private:
  struct Stage {
    uint32_t done = 0;
    bool busy = false;
  };
  struct Lane {
    bool open = false;
    uint32_t block = 0;
    Stage scores, softmax, values;
  };
  struct Claim {
    size_t lane = 0;
    Stage Lane::* stage = nullptr;
  };

  // The first lane, from the worker's own on, whose next tile of that stage is ready.
  template <typename Ready, typename Make>
  bool claim(unsigned worker, Stage Lane::* stage, Ready ready, Make make, SimTask& task) {
    for (size_t i = 0; i < lanes_.size(); ++i) {
      const size_t at = (worker + i) % lanes_.size();
      Lane& lane = lanes_[at];
      Stage& s = lane.*stage;
      if (!lane.open || s.busy || s.done == tiles_.tiles(lane.block) || !ready(lane)) continue;
      s.busy = true;
      claims_[worker] = {at, stage};
      task = make(lane.block, s.done);
      return true;
    }
    return false;
  }
  bool scores(unsigned worker, SimTask& task) {
    for (Lane& lane : lanes_)
      if (!lane.open && next_block_ < tiles_.blocks()) lane = {true, next_block_++, {}, {}, {}};
    return claim(
        worker, &Lane::scores,
        [this](const Lane& l) { return l.scores.done - (two_stage_ ? l.softmax.done : l.values.done) < slots_; },
        [this](uint32_t block, uint32_t tile) { return tiles_.scores(block, tile, false); }, task);
  }
  bool soften(unsigned worker, SimTask& task) {
    return claim(
        worker, &Lane::softmax, [](const Lane& l) { return l.softmax.done < l.scores.done; },
        [this](uint32_t block, uint32_t tile) { return tiles_.softmax(block, tile, false, two_stage_); }, task);
  }
  bool values(unsigned worker, SimTask& task) {
    return claim(
        worker, &Lane::values, [](const Lane& l) { return l.values.done < l.softmax.done; },
        [this](uint32_t block, uint32_t tile) { return tiles_.values(block, tile, false); }, task);
  }

  const Tiles& tiles_;
  const bool two_stage_, cores_multiply_;
  std::vector<Lane> lanes_;
  std::vector<Claim> claims_;  // by worker: what its task is of
  uint32_t slots_ = 1, next_block_ = 0;
};

// No stages: a worker does everything of some tiles of a block. Blocks that are too few are cut along the positions.
StageWork whole_work(const Tiles& tiles, ExecutionUnit unit) {
  return {tiles, unit, [&tiles](uint32_t block, uint32_t tile) {
            SimTask t = tiles.scores(block, tile, false);
            const SimTask v = tiles.values(block, tile, false);
            t.name = "attention";
            t.flops += v.flops;
            t.exps = tiles.elements(block, tile);
            t.read_bytes += v.read_bytes;
            t.write_bytes += v.write_bytes;
            return t;
          }};
}

void simulate_stages(const SimMachine& machine, const SimAttention& a, const Tiles& tiles, bool keep,
                     SimResult& result) {
  const auto stage = [&](ExecutionUnit unit, const StageWork::Make& make) {
    StageWork work(tiles, unit, make);
    run_events(machine, work, keep, result);
  };
  if (a.pipeline == SimPipeline::kNone) {
    stage(ExecutionUnit::kMatrix, [&](uint32_t b, uint32_t t) { return tiles.scores(b, t, true); });
    result.ns += machine.barrier_ns;
    stage(ExecutionUnit::kCpu, [&](uint32_t b, uint32_t t) { return tiles.softmax(b, t, true, true); });
  } else {
    PipelineWork work(machine, a, tiles);
    run_events(machine, work, keep, result);
  }
  if (a.pipeline == SimPipeline::kFull) return;
  result.ns += machine.barrier_ns;
  stage(ExecutionUnit::kMatrix, [&](uint32_t b, uint32_t t) { return tiles.values(b, t, true); });
}

}  // namespace

SimResult simulate_attention(const SimMachine& machine, const SimAttention& a, bool keep_events) {
  const Tiles tiles(a);
  SimResult result;
  result.ns = machine.fork_join_ns;
  double flops = 0, exps = 0, bytes = 0;
  for (uint32_t b = 0; b < tiles.blocks(); ++b)
    for (uint32_t t = 0; t < tiles.tiles(b); ++t) {
      flops += 2 * tiles.product_flops(b, t);
      exps += tiles.elements(b, t);
      bytes += 2 * tiles.kv_bytes(b, t);
    }
  if (a.mode == ExecutionMode::kCoop) {
    simulate_stages(machine, a, tiles, keep_events, result);
    const double gflops = machine.gflops[kMatrix] + (a.cores_multiply ? machine.gflops[kCpu] : 0);
    result.bound_ns = std::max({flops / gflops, exps / machine.exp_geps[kCpu], bytes / machine.read_gbps[kMatrix]});
    return result;
  }
  const ExecutionUnit unit = a.mode == ExecutionMode::kCpu ? ExecutionUnit::kCpu : ExecutionUnit::kMatrix;
  const auto u = static_cast<size_t>(unit);
  StageWork work = whole_work(tiles, unit);
  run_events(machine, work, keep_events, result);
  result.bound_ns = std::max(flops / machine.gflops[u] + exps / machine.exp_geps[u], bytes / machine.read_gbps[u]);
  return result;
}

}  // namespace smepilot
