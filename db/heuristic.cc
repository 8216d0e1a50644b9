#include "db/heuristic.h"

#include <algorithm>
#include <cmath>

#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

// Predictions are no finer than this: a second unit has to promise more.
constexpr double kWorthwhile = 0.98;

}  // namespace

bool make_coop(const OperatorShape& shape, const Kernels& pair, const CoopWorkers& workers, const Roofline* roofline,
               PlanEntry& entry) {
  const CoopSides sides{pair.matrix, workers.matrix, pair.variant, workers.cpu};
  CoopPart part;
  double ns = 0;
  part.variant = pair.matrix->id;
  part.workers = workers.matrix;
  if (shape.kind == OpKind::kAttention) {
    const AttentionPipeline defaults;
    const uint32_t most = std::min(pair.matrix->tile.mr, pair.variant->tile.mr);
    part.rows = std::min(defaults.rows, most / kPanel * kPanel);
    part.depth = defaults.depth;
    if (part.rows == 0) return false;
    if (roofline != nullptr) ns = roofline->pipeline_price(shape, sides).ns;
  } else {
    part.mc = CoopShare{}.mc;
    part.nc = CoopShare{}.nc;
    part.split_of = shape.n;
    double share = roofline != nullptr ? roofline->coop_share(shape, sides) : 0;
    if (!(share > 0 && share < 1)) share = static_cast<double>(workers.matrix) / (workers.matrix + workers.cpu);
    part.split = round_split(share, shape.n);
    if (part.split == 0) return false;
    if (roofline != nullptr)
      ns = roofline->coop_price(shape, sides, {static_cast<double>(part.split) / shape.n, false}).ns;
  }
  entry.mode = ExecutionMode::kCoop;
  entry.variant = pair.variant->id;
  entry.workers = static_cast<uint16_t>(workers.cpu);
  entry.coop = part;
  entry.predicted_ns = std::isfinite(ns) ? ns : 0;
  return true;
}

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
    for (const CoopWorkers& w : coop_workers(workers, matrix_units)) {
      PlanEntry e = untuned;
      // A pipeline over less than a panel of query rows would mostly wait for itself.
      const bool few = shape.kind == OpKind::kAttention && uint64_t{shape.m} * shape.n / shape.kv_heads < kPanel;
      if (!few && make_coop(shape, pair, w, &roofline, e))
        take(e, kWorthwhile, "lowest roofline price: both units, divided by what each of them is calibrated to reach");
    }
  return best;
}

}  // namespace smepilot
