#include "db/heuristic.h"

#include <algorithm>
#include <cmath>

#include "kernels/registry/registry.h"
#include "profiles/matrix_units.h"

namespace smepilot {
namespace {

// Predictions are no finer than this: a second unit has to promise more.
constexpr double kWorthwhile = 0.98;

// The pair as both units would execute the shape, with its price; `predicted_ns` 0 if it cannot be divided.
PlanEntry coop_entry(PlanEntry e, const OperatorShape& shape, const Roofline& roofline, const Kernels& pair,
                     const CoopWorkers& workers) {
  const CoopSides sides{pair.matrix, workers.matrix, pair.variant, workers.cpu};
  e.mode = ExecutionMode::kCoop;
  e.variant = pair.variant->id;
  e.workers = static_cast<uint16_t>(workers.cpu);
  e.coop.variant = pair.matrix->id;
  e.coop.workers = workers.matrix;
  e.predicted_ns = 0;
  if (shape.kind == OpKind::kAttention) {
    const AttentionPipeline pipeline;
    const uint32_t most = std::min(pair.matrix->tile.mr, pair.variant->tile.mr);
    e.coop.rows = std::min(pipeline.rows, most / kPanel * kPanel);
    e.coop.depth = pipeline.depth;
    if (e.coop.rows != 0 && uint64_t{shape.m} * shape.n / shape.kv_heads >= kPanel)
      e.predicted_ns = roofline.pipeline_price(shape, sides).ns;
  } else {
    const CoopShare defaults;
    e.coop.mc = defaults.mc;
    e.coop.nc = defaults.nc;
    e.coop.split_of = shape.n;
    const double share = roofline.coop_share(shape, sides);
    e.coop.split = std::isfinite(share) ? round_split(share, shape.n) : 0;
    if (e.coop.split != 0)
      e.predicted_ns = roofline.coop_price(shape, sides, {static_cast<double>(e.coop.split) / shape.n, false}).ns;
  }
  if (!std::isfinite(e.predicted_ns)) e.predicted_ns = 0;
  return e;
}

}  // namespace

Result<PlanEntry> heuristic_entry(const OperatorShape& shape, const Roofline& roofline, IsaSet isa, unsigned workers,
                                  unsigned matrix_units) {
  SMEPILOT_ASSIGN(const PlanEntry untuned, default_entry(shape, workers));
  workers = std::clamp(workers, 1u, unsigned{UINT16_MAX});
  PlanEntry best = untuned;
  best.why = "no calibration covers it: the untuned default";
  const auto take = [&](const PlanEntry& e, double factor, const char* why) {
    if (e.predicted_ns <= 0 || (best.predicted_ns > 0 && e.predicted_ns >= best.predicted_ns * factor)) return;
    best = e;
    best.why = why;
  };
  for (const KernelVariant* v : select_variants(shape, isa).usable) {
    const bool matrix = v->unit == ExecutionUnit::kMatrix;
    for (unsigned w = 1; w <= (matrix ? std::min(workers, std::max(matrix_units, 1u)) : workers); ++w) {
      PlanEntry e = untuned;
      e.variant = v->id;
      e.mode = matrix ? ExecutionMode::kMatrix : ExecutionMode::kCpu;
      e.workers = static_cast<uint16_t>(w);
      const double ns = roofline.price(shape, *v, w).ns;
      e.predicted_ns = std::isfinite(ns) ? ns : 0;
      take(e, 1, "lowest roofline price");
    }
  }
  for (const Kernels& pair : coop_pairs(shape, isa))
    for (const CoopWorkers& w : coop_workers(workers, matrix_units))
      take(coop_entry(untuned, shape, roofline, pair, w), kWorthwhile,
           "lowest roofline price: both units, divided by what each of them is calibrated to reach");
  return best;
}

}  // namespace smepilot
