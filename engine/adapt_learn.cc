#include "engine/adapt_learn.h"

#include <fmt/format.h>

#include <algorithm>

namespace smepilot {
namespace {

OperatorShape shape_of(const AdaptedOperator& o, const AdaptedShape& s) {
  if (o.attention) return {OpKind::kAttention, s.dtype, o.m_max, s.n, s.k, o.kv_len, o.kv_heads};
  return {OpKind::kMatmul, s.dtype, o.m_max, s.n, s.k, 0, 0};
}

double work_of(const OperatorShape& s) {
  return static_cast<double>(s.m) * s.n * s.k;
}

// False: the entry cannot be executed so, or is already.
bool move_entry(PlanEntry& e, const AdaptSetting& to) {
  const PlanEntry before = e;
  if (e.mode == ExecutionMode::kCoop) {
    switch (to.mode) {
      case ExecutionMode::kCoop: {
        const uint32_t split = round_split(to.share, e.coop.split_of);
        if (split == 0) return false;
        e.coop.split = split;
        e.coop.dynamic = to.dynamic;
        return split != before.coop.split || e.coop.dynamic != before.coop.dynamic;
      }
      case ExecutionMode::kMatrix:
        e.variant = before.coop.variant;
        e.mc = before.coop.mc;
        e.nc = before.coop.nc;
        break;
      case ExecutionMode::kCpu: break;
    }
    e.mode = to.mode;
    e.coop = {};
  } else if (to.mode != e.mode) {
    return false;
  }
  e.workers = static_cast<uint16_t>(std::clamp<uint32_t>(to.workers, 1, UINT16_MAX));
  return e.mode != before.mode || e.workers != before.workers;
}

std::string how(const PlanEntry& e) {
  if (e.mode == ExecutionMode::kCoop) return describe_split(e.coop);
  return describe(AdaptSetting{e.mode, 0, e.workers});
}

}  // namespace

LearnedPlan learn_plan(const Plan& plan, const Adaptation& adaptation, const std::string& build) {
  LearnedPlan out{plan, 0, 0};
  out.plan.id = 0;
  out.plan.created.clear();
  out.plan.build = build;
  out.plan.planner = "adapted";
  std::vector<double> heard(plan.entries.size(), 0);  // time of the operator that decides about an entry
  for (const auto& o : adaptation.operators()) {
    if (o->shapes.empty()) continue;  // element-wise: not a plan's affair
    const AdaptController& c = o->controller;
    const bool moved = c.current() != c.home();
    if (moved && c.calls_of_current() < kEnoughCalls) {
      ++out.weak;
      continue;
    }
    double all = 0;
    for (const AdaptedShape& s : o->shapes) all += work_of(shape_of(*o, s));
    for (const AdaptedShape& s : o->shapes) {
      const OperatorShape shape = shape_of(*o, s);
      const PlanEntry* const found = plan.find(shape);
      if (found == nullptr || all <= 0) continue;
      const auto at = static_cast<size_t>(found - plan.entries.data());
      const double time = o->ns * work_of(shape) / all;
      if (time <= heard[at]) continue;
      heard[at] = time;
      PlanEntry& entry = out.plan.entries[at];
      entry = *found;
      if (!moved || !move_entry(entry, c.current())) continue;
      const AdaptEvent& e = o->last_change;
      const double work =
          o->attention ? o->work / static_cast<double>(std::max<uint64_t>(c.calls(), 1)) : work_of(shape);
      entry.measured_m = o->m_max;
      entry.measured_kv = o->attention ? o->kv_len : 0;
      entry.measured_ns = c.current_ns_per_work() * work;
      entry.predicted_ns = entry.default_ns = 0;
      entry.why = fmt::format(
          "adapted while running, from plan {}: {} became {} because {}; its last step took {:.1f} ± {:.1f} % less "
          "time "
          "in {} alternating pairs of calls, then {} calls ran so; its time is its part of {}",
          plan.id, how(*found), how(entry), adapt_reason_name(e.reason), 100 * e.saved, 100 * e.error, e.pairs,
          c.calls_of_current(), o->role);
    }
  }
  for (size_t i = 0; i < plan.entries.size(); ++i)
    if (out.plan.entries[i].why != plan.entries[i].why) ++out.entries;
  unsigned workers = 0;
  for (const PlanEntry& e : out.plan.entries) workers = std::max(workers, candidate_of(e).all_workers());
  out.plan.workers = workers;
  out.plan.version = version_of(out.plan);
  return out;
}

}  // namespace smepilot
