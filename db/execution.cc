#include "db/execution.h"

#include <algorithm>
#include <cmath>

#include "db/columns.h"
#include "kernels/base/check.h"
#include "kernels/base/integer.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

// The kernel `id`, which the field of this name holds.
Result<const KernelVariant*> find_kernel(const char* field, const std::string& id, OpKind op, const KernelTask& task,
                                         IsaSet isa) {
  const KernelVariant* v = find_variant(id);
  if (v == nullptr) return error("{}: this build has no kernel '{}'", field, id);
  if (v->op != op)
    return error("{}: '{}' is a kernel for {}, the entry is for {}", field, v->id, kind_name(v->op), kind_name(op));
  if (v->rhs != task.dtype)
    return error("{}: '{}' reads {}, the entry is for {}", field, v->id, dtype_name(v->rhs), dtype_name(task.dtype));
  if ((v->isa & ~isa) != 0)
    return error("{}: '{}' needs {}, which this machine cannot run", field, v->id, isa_to_string(v->isa & ~isa));
  if (v->tile.kr != 0 && task.k % v->tile.kr != 0)
    return error("{}: '{}' needs k to be a multiple of {}, the entry has k={}", field, v->id, v->tile.kr, task.k);
  if (v->max_m != 0 && task.m > v->max_m)
    return error("{}: '{}' is made for at most {} rows, the entry has m_max={}", field, v->id, v->max_m, task.m);
  return v;
}

bool share_operands(const KernelVariant& a, const KernelVariant& b) noexcept {
  // What attention's stages round to is the affair of each: only the cache, and scores in f32, are shared.
  const bool stages = a.op == OpKind::kAttentionTile;
  return (stages || a.lhs == b.lhs) && a.lhs_layout == b.lhs_layout && a.rhs_layout == b.rhs_layout;
}

}  // namespace

std::string describe_split(const CoopPart& part) {
  return fmt::format("{} {} of {}{}", kSplitDimNames[static_cast<size_t>(part.dim)], part.split, part.split_of,
                     part.dynamic ? " dynamic" : "");
}

Result<Kernels> find_kernels(const Candidate& c, const KernelTask& task, IsaSet isa) {
  const bool coop = c.mode == ExecutionMode::kCoop;
  const OpKind op = coop && task.kind == OpKind::kAttention ? OpKind::kAttentionTile : task.kind;
  Kernels kernels;
  SMEPILOT_ASSIGN(kernels.variant, find_kernel("variant", c.variant, op, task, isa));
  const bool matrix = kernels.variant->unit == ExecutionUnit::kMatrix;
  if (matrix != (c.mode == ExecutionMode::kMatrix))
    return error("mode: is {}, but '{}' runs on the {} unit", mode_name(c.mode), kernels.variant->id,
                 unit_name(kernels.variant->unit));
  if (!coop) return kernels;
  SMEPILOT_ASSIGN(kernels.matrix, find_kernel("coop.variant", c.coop.variant, op, task, isa));
  if (kernels.matrix->unit != ExecutionUnit::kMatrix)
    return error("coop.variant: '{}' runs on the {} unit, expected a kernel of the matrix unit", kernels.matrix->id,
                 unit_name(kernels.matrix->unit));
  if (!share_operands(*kernels.variant, *kernels.matrix))
    return error("coop.variant: '{}' reads its operands as {} and {}, '{}' as {} and {}", kernels.matrix->id,
                 kLayoutNames[static_cast<size_t>(kernels.matrix->lhs_layout)],
                 kLayoutNames[static_cast<size_t>(kernels.matrix->rhs_layout)], kernels.variant->id,
                 kLayoutNames[static_cast<size_t>(kernels.variant->lhs_layout)],
                 kLayoutNames[static_cast<size_t>(kernels.variant->rhs_layout)]);
  return kernels;
}

MatmulConfig matmul_config(const Candidate& c, const Kernels& kernels, uint32_t m, uint32_t n,
                           unsigned workers) noexcept {
  const auto at_most = [](uint32_t wanted, unsigned limit) {
    return static_cast<uint16_t>(std::clamp<uint32_t>(wanted, 1, std::clamp(limit, 1u, unsigned{UINT16_MAX})));
  };
  MatmulConfig config;
  config.variant = kernels.variant;
  config.mode = c.mode;
  config.workers = at_most(c.workers, workers);
  config.mc = c.mc;
  config.nc = c.nc;
  if (c.mode != ExecutionMode::kCoop) return config;

  SMEPILOT_DCHECK(kernels.matrix != nullptr);
  const uint32_t size = c.coop.dim == SplitDim::kM ? m : n;
  const uint32_t split = size == c.coop.split_of
                             ? c.coop.split
                             : round_split(static_cast<double>(c.coop.split) / std::max(c.coop.split_of, 1u), size);
  if (workers < 2 || split == 0) {  // nobody to share with, or nothing to divide
    config.variant = kernels.matrix;
    config.mode = ExecutionMode::kMatrix;
    config.workers = at_most(c.coop.workers, workers);
    config.mc = c.coop.mc;
    config.nc = c.coop.nc;
    return config;
  }
  config.coop.variant = kernels.matrix;
  config.coop.workers = at_most(c.coop.workers, workers - 1);
  config.workers = at_most(c.workers, workers - config.coop.workers);
  config.coop.mc = c.coop.mc;
  config.coop.nc = c.coop.nc;
  config.coop.dim = c.coop.dim;
  config.coop.split = split;
  config.coop.dynamic = c.coop.dynamic;
  return config;
}

AttentionConfig attention_config(const Candidate& c, const Kernels& kernels, unsigned workers) noexcept {
  const bool coop = c.mode == ExecutionMode::kCoop;
  workers = std::clamp(workers, coop ? 2u : 1u, unsigned{UINT16_MAX});
  AttentionConfig config;
  config.variant = kernels.variant;
  config.mode = c.mode;
  config.kv_tile = c.kv_tile;
  config.kv_splits = c.kv_splits;
  config.workers = static_cast<uint16_t>(std::clamp<uint32_t>(c.workers, 1, workers));
  if (!coop) return config;
  config.pipeline.variant = kernels.matrix;
  config.pipeline.workers = static_cast<uint16_t>(std::clamp<uint32_t>(c.coop.workers, 1, workers - 1));
  config.workers = static_cast<uint16_t>(std::clamp<uint32_t>(c.workers, 1, workers - config.pipeline.workers));
  config.pipeline.rows = c.coop.rows;
  config.pipeline.depth = c.coop.depth;
  return config;
}

uint32_t round_split(double share, uint32_t size, uint32_t step) noexcept {
  const uint32_t panels = ceil_div(size, kPanel);
  if (panels < 2) return 0;
  const double wanted = std::clamp(share, 0.0, 1.0) * size;
  const auto steps = static_cast<uint32_t>(std::lround(wanted / step));
  return std::clamp(steps * step, kPanel, (panels - 1) * kPanel);
}

std::vector<Kernels> coop_pairs(const OperatorShape& shape, IsaSet isa) {
  OperatorShape part = shape;
  if (shape.kind == OpKind::kAttention) part.kind = OpKind::kAttentionTile;
  const Selection selection = select_variants(part, isa);
  std::vector<Kernels> pairs;
  for (const KernelVariant* matrix : selection.usable)
    for (const KernelVariant* cpu : selection.usable)
      if (matrix->unit == ExecutionUnit::kMatrix && cpu->unit == ExecutionUnit::kCpu && share_operands(*matrix, *cpu))
        pairs.push_back({cpu, matrix});
  return pairs;
}

}  // namespace smepilot
