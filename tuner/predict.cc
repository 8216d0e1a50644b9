#include "tuner/predict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/base/build_info.h"
#include "kernels/base/text.h"
#include "tuner/search_space.h"

namespace smepilot {
namespace {

constexpr size_t kCpu = static_cast<size_t>(ExecutionUnit::kCpu);
constexpr size_t kMatrix = static_cast<size_t>(ExecutionUnit::kMatrix);
constexpr double kWorthwhile = 0.98;  // predictions are no finer: a second unit has to promise more
constexpr uint32_t kAnyM = UINT32_MAX;
constexpr uint32_t kMostSequences = 16;  // of a batched decode

const char* unit_text(ExecutionMode mode, const PlatformProfile& profile) {
  if (mode == ExecutionMode::kMatrix && !profile.matrix_unit.empty()) return profile.matrix_unit.c_str();
  return kModeNames[static_cast<size_t>(mode)];
}

ModePrice price(const OperatorShape& shape, ExecutionMode mode, const SimMachine& m) {
  ModePrice p;
  p.mode = mode;
  p.workers = m.workers[kCpu];
  p.matrix_workers = m.workers[kMatrix];
  const bool coop = mode == ExecutionMode::kCoop;
  const size_t unit = mode == ExecutionMode::kMatrix ? kMatrix : kCpu;
  const double flops = op_flops(shape), bytes = op_bytes(shape);
  if (shape.kind == OpKind::kAttention) {
    // One exponential for each product of a query and a key: 4 * head_dim operations.
    const double exps = flops / (4.0 * shape.k);
    if (coop)
      p.compute_ns = std::max(flops / m.gflops[kMatrix], exps / m.exp_geps[kCpu]);
    else
      p.compute_ns = flops / m.gflops[unit] + exps / m.exp_geps[unit];
    p.memory_ns = bytes / m.read_gbps[coop ? kMatrix : unit];
  } else if (coop) {
    p.split = balanced_split(m, shape.n);
    const double share = double{1} * p.split / shape.n;
    p.compute_ns = std::max(share * flops / m.both_gflops[kMatrix], (1 - share) * flops / m.both_gflops[kCpu]);
    p.memory_ns = bytes / m.both_read_gbps;
  } else {
    p.compute_ns = flops / m.gflops[unit];
    p.memory_ns = bytes / m.read_gbps[unit];
  }
  p.ns = std::max(p.compute_ns, p.memory_ns) + m.fork_join_ns;
  return p;
}

Regime regime_of(const std::vector<ModePrice>& modes) {
  const auto compute =
      std::count_if(modes.begin(), modes.end(), [](const auto& p) { return p.compute_ns >= p.memory_ns; });
  if (compute == 0) return Regime::kMemoryBound;
  return static_cast<size_t>(compute) == modes.size() ? Regime::kComputeBound : Regime::kRidgeCrossing;
}

// Whether both units can share it: a panel of columns for each, or of query rows.
bool divisible(const OperatorShape& shape) {
  if (shape.kind == OpKind::kAttention) return uint64_t{shape.m} * shape.n / shape.kv_heads >= kPanel;
  return round_split(0.5, shape.n) != 0;
}

bool same_but_m(const OperatorShape& a, const OperatorShape& b) {
  return a.kind == b.kind && a.dtype == b.dtype && a.n == b.n && a.k == b.k && a.kv_len == b.kv_len &&
         a.kv_heads == b.kv_heads;
}

Status add_operator(const PlatformProfile& profile, const ModelOperator& o, const std::vector<ExecutionMode>& modes,
                    Prediction& out) {
  const auto known = std::find_if(out.operators.begin(), out.operators.end(), [&](const PredictedOperator& p) {
    return p.shape.m == o.shape.m && same_but_m(p.shape, o.shape);
  });
  if (known == out.operators.end()) {
    SMEPILOT_ASSIGN(PredictedOperator p, predict_operator(profile, o.role, o.shape, modes));
    out.operators.push_back(std::move(p));
  } else if (("," + known->role + ",").find("," + o.role + ",") == std::string::npos) {
    known->role += "," + o.role;
  }
  return {};
}

std::string kernel_name(const PlatformProfile& profile, const PredictedOperator& o, ExecutionUnit unit) {
  return fmt::format("predicted.{}.{}.{}", kOpNames[static_cast<size_t>(o.shape.kind)],
                     multiplied_dtype(profile, unit, o.shape.dtype),
                     unit == ExecutionUnit::kCpu ? "cpu" : unit_text(ExecutionMode::kMatrix, profile));
}

PlanEntry entry_of(const PredictedOperator& o, const PlatformProfile& profile, uint32_t m_min, uint32_t m_max) {
  const ModePrice& c = o.choice();
  const bool attention = o.shape.kind == OpKind::kAttention;
  PlanEntry e;
  e.kind = o.shape.kind;
  e.dtype = o.shape.dtype;
  e.n = o.shape.n;
  e.k = o.shape.k;
  e.kv_heads = o.shape.kv_heads;
  e.m_min = m_min;
  e.m_max = m_max;
  e.kv_max = attention ? o.shape.kv_len : 0;
  e.mode = c.mode;
  const bool matrix = c.mode == ExecutionMode::kMatrix;
  e.variant = kernel_name(profile, o, matrix ? ExecutionUnit::kMatrix : ExecutionUnit::kCpu);
  e.workers = static_cast<uint16_t>(matrix ? c.matrix_workers : c.workers);
  if (attention)
    e.kv_tile = AttentionConfig{}.kv_tile;
  else
    e.mc = MatmulConfig{}.mc, e.nc = MatmulConfig{}.nc;
  if (c.mode == ExecutionMode::kCoop) {
    e.coop.variant = kernel_name(profile, o, ExecutionUnit::kMatrix);
    e.coop.workers = c.matrix_workers;
    if (attention) {
      e.coop.rows = AttentionPipeline{}.rows;
      e.coop.depth = AttentionPipeline{}.depth;
    } else {
      e.coop.mc = CoopShare{}.mc;
      e.coop.nc = CoopShare{}.nc;
      e.coop.split = c.split;
      e.coop.split_of = o.shape.n;
    }
  }
  e.measured_m = 0;  // nothing was measured
  e.predicted_ns = c.ns;
  e.why =
      fmt::format("{}: {} in every mode's roofline, the lowest price", predicted_label(profile), regime_name(o.regime));
  return e;
}

}  // namespace

std::vector<ExecutionMode> modes_of(const PlatformProfile& profile) {
  if (profile.matrix_unit.empty()) return {ExecutionMode::kCpu};
  const double cores = profile.find("cores").value_or(0);
  if (profile.measured && cores < 2) return {ExecutionMode::kCpu, ExecutionMode::kMatrix};
  return {ExecutionMode::kCpu, ExecutionMode::kMatrix, ExecutionMode::kCoop};
}

std::string predicted_label(const PlatformProfile& profile) {
  return fmt::format("predicted ({})", profile.label());
}

Result<PredictedOperator> predict_operator(const PlatformProfile& profile, const std::string& role,
                                           const OperatorShape& shape, const std::vector<ExecutionMode>& modes) {
  PredictedOperator out;
  out.role = role;
  out.shape = shape;
  // Calibration measures every type that a unit multiplies: what it has no rate of, that unit cannot.
  const std::string matrix_rate =
      fmt::format("compute.matrix.{}", multiplied_dtype(profile, ExecutionUnit::kMatrix, shape.dtype));
  const bool cores_only = profile.measured && modes.size() > 1 && !profile.find(matrix_rate);
  for (const ExecutionMode mode : modes) {
    if (cores_only && mode != ExecutionMode::kCpu) continue;
    if (mode == ExecutionMode::kCoop && modes.size() > 1 && !divisible(shape)) continue;
    SimNeed need;
    need.who = fmt::format("{} ({}) in mode {}", role, describe(shape), unit_text(mode, profile));
    need.kind = shape.kind;
    need.dtype = shape.dtype;
    need.mode = mode;
    need.cores_multiply = false;
    need.writes = false;
    SMEPILOT_ASSIGN(const SimMachine machine, sim_machine(profile, need));
    out.modes.push_back(price(shape, mode, machine));
  }
  if (out.modes.empty())
    return error("{}: no mode of those asked for can run {} ({})", profile.file, role, describe(shape));
  for (size_t i = 1; i < out.modes.size(); ++i) {
    const bool second_unit = out.modes[i].mode == ExecutionMode::kCoop;
    if (out.modes[i].ns < out.choice().ns * (second_unit ? kWorthwhile : 1)) out.best = i;
  }
  out.regime = regime_of(out.modes);
  return out;
}

Result<Prediction> predict(const PlatformProfile& profile, const ModelShape& model, const PredictOptions& options) {
  const std::vector<ExecutionMode> modes = options.modes.empty() ? modes_of(profile) : options.modes;
  Prediction out;
  for (const uint32_t m : options.ms)
    for (const uint32_t context : options.contexts)
      for (const Pass pass : {Pass::kPrefill, Pass::kDecode}) {
        if (pass == Pass::kDecode && m > kMostSequences) continue;
        for (const ModelOperator& o : model_operators(model, m, context, pass))
          SMEPILOT_TRY(add_operator(profile, o, modes, out));
      }
  std::stable_sort(out.operators.begin(), out.operators.end(), [](const auto& a, const auto& b) {
    return std::pair(a.shape.kind, a.role) < std::pair(b.shape.kind, b.role);
  });
  return out;
}

Plan predicted_plan(const Prediction& prediction, const PlatformProfile& profile, const ModelShape& model) {
  Plan plan;
  plan.fingerprint = profile.fingerprint();
  plan.platform = profile.identity();
  plan.model_name = model.name;
  plan.model_hash = model.hash();
  plan.variant_set_hash = kPredictedPlanner;  // of no build
  plan.build = fmt::format("{} {}", build_info().revision, build_info().compiler);
  plan.planner = predicted_label(profile);
  for (const PredictedOperator& o : prediction.operators) {
    // From this M up to the next one that was priced.
    uint32_t next = kAnyM;
    bool first = true;
    for (const PredictedOperator& other : prediction.operators) {
      if (!same_but_m(o.shape, other.shape)) continue;
      if (other.shape.m > o.shape.m) next = std::min(next, other.shape.m);
      if (other.shape.m < o.shape.m) first = false;
    }
    const PlanEntry e = entry_of(o, profile, first ? 1 : o.shape.m, next == kAnyM ? kAnyM : next - 1);
    plan.workers = std::max(plan.workers, e.workers + e.coop.workers);
    plan.entries.push_back(e);
  }
  plan.version = version_of(plan);
  return plan;
}

std::string prediction_text(const Prediction& prediction, const PlatformProfile& profile, const ModelShape& model) {
  const std::string title =
      fmt::format("{} on {} ({}): {}", model.name, profile.name, profile.chip, predicted_label(profile));
  Table t({{"operator"},
           {"m", Table::Align::kRight},
           {"kv", Table::Align::kRight},
           {"runs on"},
           {"split", Table::Align::kRight},
           {"predicted", Table::Align::kRight},
           {"cpu only", Table::Align::kRight},
           {"regime"}});
  for (const PredictedOperator& o : prediction.operators) {
    const ModePrice& c = o.choice();
    const auto cpu =
        std::find_if(o.modes.begin(), o.modes.end(), [](const auto& p) { return p.mode == ExecutionMode::kCpu; });
    const std::string workers = c.mode == ExecutionMode::kCoop     ? fmt::format("{}+{}", c.matrix_workers, c.workers)
                                : c.mode == ExecutionMode::kMatrix ? fmt::format("{}", c.matrix_workers)
                                                                   : fmt::format("{}", c.workers);
    t.add({shorten(o.role, 18), fmt::format("{}", o.shape.m),
           o.shape.kind == OpKind::kAttention ? fmt::format("{}", o.shape.kv_len) : "",
           fmt::format("{} {}", unit_text(c.mode, profile), workers),
           c.split != 0 ? fmt::format("{}/{}", c.split, o.shape.n) : "", format_ns(c.ns),
           cpu == o.modes.end() ? "-" : format_ns(cpu->ns), regime_name(o.regime)});
  }
  return wrap(title, 80, 2) + "\n\n" + t.text();
}

}  // namespace smepilot
