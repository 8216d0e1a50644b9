// A whole pass of a model: its operators one after the other, each simulated in the mode that its price chose.
#include <fmt/format.h>

#include <algorithm>

#include "tuner/predict.h"
#include "tuner/search_space.h"

namespace smepilot {
namespace {

SimResult simulate_operator(const SimMachine& machine, const ModelOperator& o, const ModePrice& choice,
                            const SimPassOptions& options) {
  const OperatorShape& s = o.shape;
  if (s.kind == OpKind::kAttention) {
    SimAttention a;
    a.heads = s.n;
    a.kv_heads = s.kv_heads;
    a.head_dim = s.k;
    a.m = s.m;
    a.kv_len = s.kv_len;
    a.dtype = s.dtype;
    a.mode = choice.mode;
    a.pipeline = options.pipeline;
    return simulate_attention(machine, a, options.keep_events);
  }
  SimMatmul m;
  m.m = s.m;
  m.n = s.n;
  m.k = s.k;
  m.dtype = s.dtype;
  m.mode = choice.mode;
  m.split = choice.split;
  m.dynamic = options.dynamic;
  return simulate_matmul(machine, m, options.keep_events);
}

}  // namespace

Result<SimModel> simulate_model(const PlatformProfile& profile, const ModelShape& model,
                                const SimPassOptions& options) {
  const std::vector<ExecutionMode> modes = options.modes.empty() ? modes_of(profile) : options.modes;
  SimModel out;
  for (const ModelOperator& o : model_operators(model, options.m, options.kv_len, options.pass)) {
    SMEPILOT_ASSIGN(const PredictedOperator predicted, predict_operator(profile, o.role, o.shape, modes));
    SimStep step;
    step.role = o.role;
    step.shape = o.shape;
    step.calls = o.calls;
    step.choice = predicted.choice();
    SimNeed need;
    need.who = fmt::format("{} ({})", o.role, describe(o.shape));
    need.kind = o.shape.kind;
    need.dtype = o.shape.dtype;
    need.mode = step.choice.mode;
    need.cores_multiply = false;
    SMEPILOT_ASSIGN(step.machine, sim_machine(profile, need));
    step.result = simulate_operator(step.machine, o, step.choice, options);
    out.ns += step.result.ns * step.calls;
    out.steps.push_back(std::move(step));
  }
  return out;
}

}  // namespace smepilot
