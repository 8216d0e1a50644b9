#include "db/plan.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "db/columns.h"
#include "db/plan_check.h"
#include "kernels/driver/operators.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"

namespace smepilot {

namespace {

constexpr uint32_t kMaxKvSplits = 65536;
constexpr uint32_t kMaxTileRows = 4096, kMaxDepth = 1024;  // of an attention pipeline

Status check_time(const char* field, double ns) {
  if (std::isfinite(ns) && ns >= 0) return {};
  return error("{}: {} ns, expected a time of at least 0", field, ns);
}

Status check_split(const CoopPart& c, const PlanEntry& e) {
  if (c.split == 0 || c.split % kPanel != 0 || c.split >= c.split_of)
    return error("coop.split: {} of {}, expected a multiple of {} between them", c.split, c.split_of, kPanel);
  if (c.dim == SplitDim::kN && c.split_of != e.n)
    return error("coop.of: {}, expected the entry's n={}", c.split_of, e.n);
  return {};
}

// What the matrix unit has of a coop entry.
Status check_coop(const PlanEntry& e) {
  const CoopPart& c = e.coop;
  if (e.mode != ExecutionMode::kCoop) {
    if (c != CoopPart{}) return error("coop: is given, but the mode is {}", mode_name(e.mode));
    return {};
  }
  if (c.variant.empty()) return error("coop.variant: is empty, expected the id of a kernel");
  if (c.workers == 0) return error("coop.workers: 0, expected at least 1");
  if (e.kind == OpKind::kMatmul) {
    if (c.mc == 0 || c.mc % kPanel != 0) return error("coop.mc: {}, expected a multiple of {}", c.mc, kPanel);
    if (c.nc == 0 || c.nc % kPanel != 0) return error("coop.nc: {}, expected a multiple of {}", c.nc, kPanel);
    return check_split(c, e);
  }
  if (e.kind != OpKind::kAttention) return error("mode: is coop, but {} runs on one unit only", kind_name(e.kind));
  if (c.rows == 0 || c.rows % kPanel != 0 || c.rows > kMaxTileRows)
    return error("coop.rows: {}, expected a multiple of {} up to {}", c.rows, kPanel, kMaxTileRows);
  if (c.depth == 0 || c.depth > kMaxDepth) return error("coop.depth: {}, expected 1 .. {}", c.depth, kMaxDepth);
  return {};
}

}  // namespace

Status check_entry(const PlanEntry& e) {
  if (e.n == 0) return error("n: 0, expected at least 1");
  if (e.k == 0) return error("k: 0, expected at least 1");
  if (e.k % traits(e.dtype).block_elems != 0)
    return error("k: {}, expected a multiple of {}, the block of {}", e.k, traits(e.dtype).block_elems,
                 dtype_name(e.dtype));
  if (e.m_min == 0) return error("m_min: 0, expected at least 1");
  if (e.m_max < e.m_min) return error("m_max: {}, expected at least m_min={}", e.m_max, e.m_min);
  if (e.variant.empty()) return error("variant: is empty, expected the id of a kernel");
  if (e.workers == 0) return error("workers: 0, expected at least 1");
  if (e.kind == OpKind::kMatmul) {
    if (e.mc == 0 || e.mc % kPanel != 0) return error("mc: {}, expected a multiple of {}", e.mc, kPanel);
    if (e.nc == 0 || e.nc % kPanel != 0) return error("nc: {}, expected a multiple of {}", e.nc, kPanel);
  }
  if (e.kind == OpKind::kAttention) {
    if (e.kv_heads == 0 || e.n % e.kv_heads != 0)
      return error("kv_heads: {}, expected a divisor of the {} heads", e.kv_heads, e.n);
    if (e.kv_max == 0) return error("kv_max: 0, expected at least 1");
    if (e.kv_tile == 0 || e.kv_tile % kPanel != 0)
      return error("kv_tile: {}, expected a multiple of {}", e.kv_tile, kPanel);
    if (e.kv_splits > kMaxKvSplits) return error("kv_splits: {}, expected at most {}", e.kv_splits, kMaxKvSplits);
  }
  SMEPILOT_TRY(check_coop(e));
  SMEPILOT_TRY(check_time("predicted_ns", e.predicted_ns));
  SMEPILOT_TRY(check_time("measured_ns", e.measured_ns));
  return check_time("default_ns", e.default_ns);
}

Status check_plan_values(const Plan& plan) {
  if (plan.fingerprint.empty()) return error("fingerprint: is empty");
  if (plan.model_hash.empty()) return error("model.hash: is empty");
  if (plan.variant_set_hash.empty()) return error("variant_set_hash: is empty");
  if (plan.workers == 0 || plan.workers > UINT16_MAX)
    return error("workers: {}, expected 1 .. {}", plan.workers, UINT16_MAX);
  for (size_t i = 0; i < plan.entries.size(); ++i) {
    const PlanEntry& e = plan.entries[i];
    if (auto status = check_entry(e); !status.ok()) return error("entries[{}].{}", i, status.message());
    if (e.workers + e.coop.workers > plan.workers)
      return error("entries[{}].workers: {}, expected at most the plan's {}", i, e.workers + e.coop.workers,
                   plan.workers);
  }
  return {};
}

Candidate candidate_of(const PlanEntry& e) {
  return {e.variant, e.mode, e.workers, e.mc, e.nc, e.kv_tile, e.kv_splits, e.coop};
}

int version_of(const Plan& plan) noexcept {
  const bool coop = std::any_of(plan.entries.begin(), plan.entries.end(),
                                [](const PlanEntry& e) { return e.mode == ExecutionMode::kCoop; });
  return coop ? 2 : 1;
}

const PlanEntry* Plan::find(const OperatorShape& shape) const noexcept {
  const bool attention = shape.kind == OpKind::kAttention;
  const PlanEntry* best = nullptr;
  for (const PlanEntry& e : entries) {
    if (e.kind != shape.kind || e.dtype != shape.dtype || e.n != shape.n || e.k != shape.k) continue;
    if (shape.m < e.m_min || shape.m > e.m_max) continue;
    if (attention && (e.kv_heads != shape.kv_heads || shape.kv_len > e.kv_max)) continue;
    if (best == nullptr) {
      best = &e;
      continue;
    }
    // The tightest bound on the cache first, then the narrowest range of m, then the first in the list.
    const uint32_t kv = attention ? e.kv_max : 0, best_kv = attention ? best->kv_max : 0;
    if (kv < best_kv || (kv == best_kv && e.m_max - e.m_min < best->m_max - best->m_min)) best = &e;
  }
  return best;
}

Status check_plan(const Plan& plan, const Platform& platform, const ModelShape& model, const std::string& hash) {
  if (plan.version < 1 || plan.version > kPlanVersion)
    return error("version: the plan has {}, this build reads 1 to {}", plan.version, kPlanVersion);

  const auto here = platform.identity();
  for (const auto& [name, value] : here) {
    const auto it = std::find_if(plan.platform.begin(), plan.platform.end(),
                                 [&name = name](const auto& field) { return field.first == name; });
    if (it == plan.platform.end()) return error("{}: the plan does not say, this machine has '{}'", name, value);
    if (it->second != value) return error("{}: plan has '{}', this machine has '{}'", name, it->second, value);
  }
  for (const auto& [name, value] : plan.platform) {
    const bool known = std::any_of(here.begin(), here.end(), [&name = name](const auto& f) { return f.first == name; });
    if (!known) return error("{}: plan has '{}', this build does not know that field", name, value);
  }
  if (const std::string fingerprint = platform.fingerprint(); plan.fingerprint != fingerprint)
    return error("fingerprint: plan has '{}', this machine has '{}'", plan.fingerprint, fingerprint);

  if (const std::string model_hash = model.hash(); plan.model_hash != model_hash)
    return error("model: the plan was made for '{}' ({}), this model is '{}' ({})", plan.model_name, plan.model_hash,
                 model.name, model_hash);
  if (plan.variant_set_hash != hash)
    return error("variant_set_hash: the plan was made for another set of kernels ({}), this build and machine have {}",
                 plan.variant_set_hash, hash);

  SMEPILOT_TRY(check_plan_values(plan));
  if (plan.workers > platform.cpus)
    return error("workers: the plan uses {}, this machine has {} CPUs", plan.workers, platform.cpus);
  SMEPILOT_ASSIGN(const IsaSet isa, usable_isa());
  for (size_t i = 0; i < plan.entries.size(); ++i) {
    const PlanEntry& e = plan.entries[i];
    const auto kernels = find_kernels(candidate_of(e), {e.kind, e.dtype, e.k, e.m_max}, isa);
    if (!kernels.ok()) return error("entries[{}].{}", i, kernels.message());
  }
  return {};
}

namespace {

// Up to this many positions, attention over an f16 cache by default keeps all scores of its rows (64 rows: 256 KiB,
// which second-level caches hold) and rounds as llama.cpp does without flash attention, so that logits can be compared
// closely.
constexpr uint32_t kWholeScores = 1024;

const KernelVariant& preferred(const OperatorShape& shape, const Selection& selection) {
  constexpr IsaSet kUnitPerCore = kIsaAmxInt8 | kIsaAmxBf16;
  const auto own = std::find_if(selection.usable.begin(), selection.usable.end(), [](const KernelVariant* v) {
    return v->unit == ExecutionUnit::kCpu || (v->isa & kUnitPerCore) != 0;
  });
  const KernelVariant* first = own != selection.usable.end() ? *own : selection.usable.front();
  if (shape.kind != OpKind::kAttention || shape.kv_len > kWholeScores) return *first;
  for (const KernelVariant* v : selection.usable)
    if (v->isa == first->isa && v->unit == first->unit && std::string_view(v->id).ends_with(".threephase")) return *v;
  return *first;
}

}  // namespace

Result<PlanEntry> default_entry(const OperatorShape& shape, unsigned workers, std::optional<ExecutionUnit> unit) {
  SMEPILOT_ASSIGN(const IsaSet isa, usable_isa());
  Selection selection = select_variants(shape, isa);
  std::erase_if(selection.usable, [&](const KernelVariant* v) { return unit && v->unit != *unit; });
  if (selection.usable.empty()) {
    std::string reasons;
    for (const Refusal& r : selection.refused)
      reasons += fmt::format("{}{} {}", reasons.empty() ? ": " : "; ", r.variant->id, r.reason);
    return error("no kernel of this build can run {} of {} with m={} n={} k={} on {}{}", kind_name(shape.kind),
                 dtype_name(shape.dtype), shape.m, shape.n, shape.k, isa_to_string(isa), reasons);
  }
  const KernelVariant& variant = preferred(shape, selection);
  PlanEntry e;
  e.kind = shape.kind;
  e.dtype = shape.dtype;
  e.n = shape.n;
  e.k = shape.k;
  e.m_min = e.m_max = std::max(shape.m, 1u);
  e.mode = variant.unit == ExecutionUnit::kMatrix ? ExecutionMode::kMatrix : ExecutionMode::kCpu;
  e.variant = variant.id;
  e.workers = static_cast<uint16_t>(std::clamp(workers, 1u, unsigned{UINT16_MAX}));
  if (shape.kind == OpKind::kMatmul) {
    e.mc = MatmulConfig{}.mc;
    e.nc = MatmulConfig{}.nc;
  } else if (shape.kind == OpKind::kAttention) {
    e.kv_heads = shape.kv_heads;
    e.kv_max = shape.kv_len;
    e.kv_tile = AttentionConfig{}.kv_tile;
    e.kv_splits = AttentionConfig{}.kv_splits;
  }
  e.why = "untuned default: the most preferred kernel that can run here, on all workers, with default blocking";
  return e;
}

}  // namespace smepilot
