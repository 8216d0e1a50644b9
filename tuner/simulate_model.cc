// A whole pass of a model: its operators one after the other, each simulated as the plan or its price chose.
#include <fmt/format.h>

#include <algorithm>

#include "db/execution.h"
#include "tuner/predict.h"
#include "tuner/search_space.h"

namespace smepilot {
namespace {

SimAttention attention_of(const OperatorShape& s, const SimStep& step, const PlanEntry* entry, SimPipeline pipeline) {
  SimAttention a;
  a.heads = s.n;
  a.kv_heads = s.kv_heads;
  a.head_dim = s.k;
  a.m = s.m;
  a.kv_len = s.kv_len;
  a.dtype = s.dtype;
  a.mode = step.choice.mode;
  a.pipeline = pipeline;
  if (entry == nullptr) return a;
  a.kv_tile = entry->kv_tile;
  if (entry->mode != ExecutionMode::kCoop) return a;
  a.rows = entry->coop.rows;
  a.depth = entry->coop.depth;
  a.cores_multiply = AttentionPipeline{}.cores_multiply;
  return a;
}

SimMatmul matmul_of(const OperatorShape& s, const SimStep& step, const PlanEntry* entry, bool dynamic) {
  SimMatmul m;
  m.m = s.m;
  m.n = s.n;
  m.k = s.k;
  m.dtype = s.dtype;
  m.mode = step.choice.mode;
  m.split = step.choice.split;
  m.dynamic = dynamic;
  if (entry == nullptr) return m;
  m.mc = entry->mc;
  m.nc = entry->nc;
  m.dynamic = entry->coop.dynamic;
  return m;
}

// What the plan says of the call. A division of rows becomes one of as large a part of the columns.
ModePrice choice_of(const PlanEntry& e, const OperatorShape& s) {
  ModePrice c;
  c.mode = e.mode;
  const bool matrix = e.mode == ExecutionMode::kMatrix;
  c.workers = matrix ? 0 : e.workers;
  c.matrix_workers = matrix ? e.workers : e.coop.workers;
  if (e.mode == ExecutionMode::kCoop && s.kind == OpKind::kMatmul)
    c.split = round_split(double{1} * e.coop.split / std::max(e.coop.split_of, 1u), s.n);
  c.ns = e.predicted_ns;
  return c;
}

}  // namespace

Result<SimModel> simulate_model(const PlatformProfile& profile, const ModelShape& model,
                                const SimPassOptions& options) {
  const std::vector<ExecutionMode> modes = options.modes.empty() ? modes_of(profile) : options.modes;
  SimModel out;
  for (const ModelOperator& o : model_operators(model, options.m, options.kv_len, options.pass)) {
    const PlanEntry* const entry = options.plan != nullptr ? options.plan->find(o.shape) : nullptr;
    SimStep step;
    step.role = o.role;
    step.shape = o.shape;
    step.calls = o.calls;
    step.planned = entry != nullptr;
    if (entry != nullptr) {
      step.choice = choice_of(*entry, o.shape);
    } else {
      SMEPILOT_ASSIGN(const PredictedOperator predicted, predict_operator(profile, o.role, o.shape, modes));
      step.choice = predicted.choice();
    }
    const bool attention = o.shape.kind == OpKind::kAttention;
    const SimAttention a = attention_of(o.shape, step, entry, options.pipeline);
    SimNeed need;
    need.who = fmt::format("{} ({})", o.role, describe(o.shape));
    need.kind = o.shape.kind;
    need.dtype = o.shape.dtype;
    need.mode = step.choice.mode;
    need.cores_multiply = a.cores_multiply;
    need.workers = step.choice.workers;
    need.matrix_workers = step.choice.matrix_workers;
    SMEPILOT_ASSIGN(step.machine, sim_machine(profile, need));
    step.result = attention ? simulate_attention(step.machine, a, options.keep_events)
                            : simulate_matmul(step.machine, matmul_of(o.shape, step, entry, options.dynamic),
                                              options.keep_events);
    out.ns += step.result.ns * step.calls;
    out.steps.push_back(std::move(step));
  }
  return out;
}

}  // namespace smepilot
