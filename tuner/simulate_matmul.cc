// A matmul on one unit or divided between both, by static parts or with a dynamic end.
#include <algorithm>
#include <array>
#include <cmath>

#include "db/execution.h"
#include "kernels/base/integer.h"
#include "tuner/simulate.h"

namespace smepilot {
namespace {

constexpr size_t kCpu = static_cast<size_t>(ExecutionUnit::kCpu);
constexpr size_t kMatrix = static_cast<size_t>(ExecutionUnit::kMatrix);

double weight_bytes(const SimMatmul& c, double columns) {
  return columns * c.k / traits(c.dtype).block_elems * traits(c.dtype).block_bytes;
}

// Of one activation, as the packed left operand holds it.
double lhs_element_bytes(DType weights) {
  switch (weights) {
    case DType::kF32: return 4;
    case DType::kF16:
    case DType::kBF16: return 2;
    default: return static_cast<double>(kLhsQ8BlockBytes) / kQ8Block;
  }
}

// Columns of one unit, cut into tasks: all column blocks of a row block before the next row block. Its own workers take
// them from the front, the other unit's from the back.
struct Part {
  uint32_t n_begin = 0, n_end = 0, blocks = 0;
  uint32_t first = 0, last = 0;  // tasks not yet taken
  uint32_t left() const { return last - first; }
};

class MatmulWork : public SimWork {
 public:
  MatmulWork(const SimMachine& machine, const SimMatmul& call, uint32_t split) : machine_(machine), call_(call) {
    add(kMatrix, 0, split);
    add(kCpu, split, call.n);
  }

  bool next(unsigned, ExecutionUnit unit, SimTask& task) override {
    const auto own = static_cast<size_t>(unit);
    if (parts_[own].left() > 0) {
      task = task_of(parts_[own], parts_[own].first++);
      return true;
    }
    if (!call_.dynamic || !helps(1 - own, own)) return false;
    task = task_of(parts_[1 - own], --parts_[1 - own].last);
    return true;
  }
  void done(unsigned, ExecutionUnit, const SimTask&) override {}

 private:
  void add(size_t unit, uint32_t begin, uint32_t end) {
    Part& p = parts_[unit];
    p.n_begin = begin;
    p.n_end = end;
    p.blocks = ceil_div(end - begin, call_.nc);
    p.last = p.blocks * ceil_div(call_.m, call_.mc);
  }

  // Whether the other unit ends a task of `owner` sooner than its own workers come to it.
  bool helps(size_t owner, size_t helper) const {
    const Part& p = parts_[owner];
    if (p.left() == 0) return false;
    const double of_owner = p.left() / machine_.both_gflops[owner];
    return machine_.workers[helper] / machine_.both_gflops[helper] <=
           of_owner + machine_.workers[owner] / machine_.both_gflops[owner];
  }

  SimTask task_of(const Part& p, uint32_t number) const {
    const uint32_t row = number / p.blocks * call_.mc, column = p.n_begin + number % p.blocks * call_.nc;
    const double rows = std::min(call_.mc, call_.m - row), columns = std::min(call_.nc, p.n_end - column);
    SimTask t;
    t.name = "matmul";
    t.index = number;
    t.flops = 2 * rows * columns * call_.k;
    // The weights stream by once for each row block, whose activations then stay in cache.
    t.read_bytes = weight_bytes(call_, columns) + rows * call_.k * lhs_element_bytes(call_.dtype) / p.blocks;
    t.write_bytes = rows * columns * sizeof(float);
    return t;
  }

  const SimMachine& machine_;
  const SimMatmul call_;
  std::array<Part, 2> parts_;
};

// The weights are read as a file has them and written packed, 64 rows a task: by the cores, if any take part.
class PackWork : public SimWork {
 public:
  PackWork(const SimMachine& machine, const SimMatmul& call)
      : unit_(machine.workers[kCpu] > 0 ? ExecutionUnit::kCpu : ExecutionUnit::kMatrix), call_(call) {}
  bool next(unsigned, ExecutionUnit unit, SimTask& task) override {
    if (unit != unit_ || row_ >= call_.n) return false;
    const uint32_t rows = std::min(kRows, call_.n - row_);
    task = {"pack", row_ / kRows, 0, 0, 0, weight_bytes(call_, rows), weight_bytes(call_, rows)};
    row_ += rows;
    return true;
  }
  void done(unsigned, ExecutionUnit, const SimTask&) override {}

 private:
  static constexpr uint32_t kRows = 64;
  const ExecutionUnit unit_;
  const SimMatmul call_;
  uint32_t row_ = 0;
};

}  // namespace

uint32_t balanced_split(const SimMachine& machine, uint32_t n) {
  const double share = machine.both_gflops[kMatrix] / (machine.both_gflops[kMatrix] + machine.both_gflops[kCpu]);
  return round_split(share, n);
}

SimResult simulate_matmul(const SimMachine& machine, const SimMatmul& given, bool keep_events) {
  SimMatmul call = given;
  call.mc = std::max(call.mc / kPanel * kPanel, kPanel);
  call.nc = std::max(call.nc / kPanel * kPanel, kPanel);
  uint32_t split = call.mode == ExecutionMode::kMatrix ? call.n : 0;
  if (call.mode == ExecutionMode::kCoop) split = call.split != 0 ? call.split : balanced_split(machine, call.n);
  call.dynamic = call.dynamic && call.mode == ExecutionMode::kCoop;

  SimMachine used = machine;  // without the workers of a unit that has no part
  if (call.mode == ExecutionMode::kCpu) used.workers[kMatrix] = 0;
  if (call.mode == ExecutionMode::kMatrix) used.workers[kCpu] = 0;

  SimResult result;
  result.ns = machine.fork_join_ns;
  if (call.naive_packing) {
    PackWork pack(machine, call);
    run_events(machine, pack, keep_events, result);
    result.ns += machine.barrier_ns;
  }
  MatmulWork work(machine, call, split);
  run_events(used, work, keep_events, result);

  double gflops = 0, gbps = 0;
  if (call.mode == ExecutionMode::kCoop) {
    gflops = std::max(
        {machine.both_gflops[kCpu] + machine.both_gflops[kMatrix], machine.gflops[kCpu], machine.gflops[kMatrix]});
    gbps = std::max({machine.both_read_gbps, machine.read_gbps[kCpu], machine.read_gbps[kMatrix]});
  } else {
    const size_t unit = call.mode == ExecutionMode::kCpu ? kCpu : kMatrix;
    gflops = machine.gflops[unit];
    gbps = machine.read_gbps[unit];
  }
  const double bytes = weight_bytes(call, call.n) + double{1} * call.m * call.k * lhs_element_bytes(call.dtype);
  result.bound_ns = std::max(2.0 * call.m * call.n * call.k / gflops, bytes / gbps);
  return result;
}

}  // namespace smepilot
