// One way to execute an operator call, as plans, searches and the database name it, and what the driver makes of it.
// The tuner's candidates and the engine's plan entries become configurations here and nowhere else: what is tuned is
// what runs.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/abi/execution_mode.h"
#include "kernels/abi/kernel_variant.h"
#include "kernels/driver/operators.h"

namespace smepilot {

// What the matrix unit has of a call that both units execute (mode kCoop). In other modes everything is 0 or "".
struct CoopPart {
  std::string variant;   // id, of ExecutionUnit::kMatrix
  uint32_t workers = 0;  // one per unit, beside those of the vector cores
  // matmul
  uint32_t mc = 0, nc = 0;
  SplitDim dim = SplitDim::kN;
  uint32_t split = 0;     // rows or columns of `split_of` that are the matrix unit's, a multiple of 16
  uint32_t split_of = 0;  // n, or the m for which it was chosen; calls with another m are split in proportion
  bool dynamic = false;
  // attention: the pipeline's tiles
  uint32_t rows = 0, depth = 0;
  bool operator==(const CoopPart&) const = default;
};

// Fields that an operator's kind has no use for are 0.
struct Candidate {
  std::string variant;  // id; kCoop: the vector cores'
  ExecutionMode mode = ExecutionMode::kCpu;
  uint32_t workers = 1;  // kCoop: the vector cores'
  uint32_t mc = 0, nc = 0;
  uint32_t kv_tile = 0, kv_splits = 0;
  CoopPart coop = {};
  bool operator==(const Candidate&) const = default;
  uint32_t all_workers() const noexcept { return workers + coop.workers; }
};

// "n 5120 of 8192", with " dynamic" behind it: how a coop matmul is divided.
std::string describe_split(const CoopPart& part);

// The kernels that a candidate names.
struct Kernels {
  const KernelVariant* variant = nullptr;
  const KernelVariant* matrix = nullptr;  // kCoop only
};

// What a kernel must be able to do: `m` is the largest that it is called with.
struct KernelTask {
  OpKind kind = OpKind::kMatmul;
  DType dtype = DType::kF32;
  uint32_t k = 0, m = 1;
};

// Error, naming the field and the kernel: this build has no such kernel, it cannot run on `isa`, it does not compute
// that, it belongs to another unit than the mode says, or the two of a coop candidate do not read the same operands.
Result<Kernels> find_kernels(const Candidate& candidate, const KernelTask& task, IsaSet isa);

// The driver's configuration for a call of m rows and n columns on at most `workers` workers. Where those are fewer
// than the candidate has, a coop one keeps its matrix unit's as long as one is left for the cores; with a single
// worker the matrix unit's kernel does everything.
MatmulConfig matmul_config(const Candidate& candidate, const Kernels& kernels, uint32_t m, uint32_t n,
                           unsigned workers) noexcept;
AttentionConfig attention_config(const Candidate& candidate, const Kernels& kernels, unsigned workers) noexcept;

// `share` (0 .. 1) of `size` rows or columns as a split: rounded to `step`, a multiple of 16, with at least one panel
// on either side. 0: too small to be divided.
uint32_t round_split(double share, uint32_t size, uint32_t step = kPanel) noexcept;

// Pairs of kernels that can execute a call of the shape together: one of each unit, reading the same operands, in the
// order of the registry. For attention, pairs of its stages.
std::vector<Kernels> coop_pairs(const OperatorShape& shape, IsaSet isa);

}  // namespace smepilot
