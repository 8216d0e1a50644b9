// What answers for a call: the plan, the untuned default, the roofline, or a mode that the user wants.
#include <algorithm>

#include "engine/dispatch.h"
#include "kernels/registry/registry.h"
#include "profiles/matrix_units.h"

namespace smepilot {
namespace {

constexpr double kTie = 0.999;

// How many workers a kernel can use: a worker of the matrix unit is for one unit.
unsigned most_workers(const KernelVariant& v, const Machine& machine) {
  return v.unit == ExecutionUnit::kMatrix ? std::clamp(machine.matrix_units, 1u, machine.workers) : machine.workers;
}

ExecutionMode mode_of(const KernelVariant& v) {
  return v.unit == ExecutionUnit::kMatrix ? ExecutionMode::kMatrix : ExecutionMode::kCpu;
}

CoopSides sides(const Kernels& pair, const CoopWorkers& workers) {
  return {pair.matrix, workers.matrix, pair.variant, workers.cpu};
}

// The share of a call's work with which both units end together; without a calibration, that of the workers.
double matrix_share(const OperatorShape& shape, const Kernels& pair, const CoopWorkers& workers,
                    const Roofline* roofline) {
  const double share = roofline != nullptr ? roofline->coop_share(shape, sides(pair, workers)) : 0;
  return share > 0 && share < 1 ? share : static_cast<double>(workers.matrix) / (workers.matrix + workers.cpu);
}

// `entry` executed by both. False: there is nothing to divide.
bool make_coop(const OperatorShape& shape, const Kernels& pair, const CoopWorkers& workers, double share,
               PlanEntry& entry) {
  CoopPart part;
  part.variant = pair.matrix->id;
  part.workers = workers.matrix;
  if (shape.kind == OpKind::kMatmul) {
    part.mc = CoopShare{}.mc;
    part.nc = CoopShare{}.nc;
    part.dim = SplitDim::kN;
    part.split_of = shape.n;
    part.split = round_split(share, shape.n);
    if (part.split == 0) return false;
  } else {
    part.rows = AttentionPipeline{}.rows;
    part.depth = AttentionPipeline{}.depth;
  }
  entry.variant = pair.variant->id;
  entry.mode = ExecutionMode::kCoop;
  entry.workers = static_cast<uint16_t>(workers.cpu);
  entry.coop = part;
  return true;
}

}  // namespace

Dispatch::Lookup Dispatch::by_plan(const Plan& plan, Lookup fallback, unsigned* uncovered) {
  return [&plan, fallback = std::move(fallback), uncovered](const OperatorShape& shape) -> Result<PlanEntry> {
    if (const PlanEntry* entry = plan.find(shape)) return *entry;
    if (uncovered != nullptr) ++*uncovered;
    return fallback(shape);
  };
}

Dispatch::Lookup Dispatch::untuned(unsigned workers) {
  return [workers](const OperatorShape& shape) { return default_entry(shape, workers); };
}

Dispatch::Lookup Dispatch::by_roofline(const Roofline& roofline, const Machine& machine) {
  return [&roofline, machine](const OperatorShape& shape) -> Result<PlanEntry> {
    SMEPILOT_ASSIGN(PlanEntry best, default_entry(shape, machine.workers));
    best.predicted_ns = 0;
    for (const KernelVariant* v : select_variants(shape, machine.isa).usable)
      for (unsigned w = 1; w <= most_workers(*v, machine); ++w) {
        const Price price = roofline.price(shape, *v, w);
        if (best.predicted_ns != 0 && !(price.ns < best.predicted_ns)) continue;
        best.variant = v->id;
        best.mode = mode_of(*v);
        best.workers = static_cast<uint16_t>(w);
        best.predicted_ns = price.ns;
      }
    // Both units only where that is cheaper by more than rounding: a tie goes to the simpler mode.
    for (const Kernels& pair : coop_pairs(shape, machine.isa))
      for (const CoopWorkers& w : coop_workers(machine.workers, machine.matrix_units)) {
        const double share = matrix_share(shape, pair, w, &roofline);
        const Price price = shape.kind == OpKind::kMatmul
                                ? roofline.coop_price(shape, sides(pair, w), {.share = share, .dynamic = false})
                                : roofline.pipeline_price(shape, sides(pair, w));
        if (price.ns < kTie * best.predicted_ns && make_coop(shape, pair, w, share, best)) best.predicted_ns = price.ns;
      }
    best.why = "lowest roofline price";
    return best;
  };
}

Dispatch::Lookup Dispatch::forced(ExecutionMode mode, Lookup inner, const Machine& machine, const Roofline* roofline) {
  return [mode, inner = std::move(inner), machine, roofline](const OperatorShape& shape) -> Result<PlanEntry> {
    SMEPILOT_ASSIGN(PlanEntry entry, inner(shape));
    if (entry.mode == mode) return entry;
    const std::vector<Kernels> pairs =
        mode == ExecutionMode::kCoop ? coop_pairs(shape, machine.isa) : std::vector<Kernels>();
    const std::vector<CoopWorkers> divisions = coop_workers(machine.workers, machine.matrix_units);
    if (!pairs.empty() && !divisions.empty()) {
      SMEPILOT_ASSIGN(entry, default_entry(shape, machine.workers));
      entry.why = "both units, as was asked for";
      if (make_coop(shape, pairs[0], divisions[0], matrix_share(shape, pairs[0], divisions[0], roofline), entry)) {
        entry.coop.dynamic = shape.kind == OpKind::kMatmul;  // nobody has measured that share
        return entry;
      }
    }
    Result<PlanEntry> one = default_entry(
        shape, machine.workers, mode == ExecutionMode::kMatrix ? ExecutionUnit::kMatrix : ExecutionUnit::kCpu);
    if (!one.ok() && mode == ExecutionMode::kMatrix)  // no kernel of that unit does this
      one = default_entry(shape, machine.workers, ExecutionUnit::kCpu);
    if (!one.ok()) return entry;
    const KernelVariant* const v = find_variant(one->variant);
    one->workers = static_cast<uint16_t>(most_workers(*v, machine));
    return one;
  };
}

}  // namespace smepilot
