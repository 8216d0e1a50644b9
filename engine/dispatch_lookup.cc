// What answers for a call: the plan, the untuned default, the roofline, or a mode that the user wants.
#include <algorithm>

#include "db/heuristic.h"
#include "engine/dispatch.h"
#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

// How many workers a kernel can use: a worker of the matrix unit is for one unit.
unsigned most_workers(const KernelVariant& v, const Machine& machine) {
  return v.unit == ExecutionUnit::kMatrix ? std::clamp(machine.matrix_units, 1u, machine.workers) : machine.workers;
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
  return [&roofline, machine](const OperatorShape& shape) {
    return heuristic_entry(shape, roofline, machine.isa, machine.workers, machine.matrix_units);
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
      if (make_coop(shape, pairs[0], divisions[0], roofline, entry)) {
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
