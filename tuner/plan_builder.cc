#include "tuner/plan_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "db/database.h"
#include "kernels/base/build_info.h"
#include "kernels/registry/registry.h"
#include "tuner/chain_choice.h"

namespace smepilot {
namespace {

constexpr uint32_t kNoBound = std::numeric_limits<uint32_t>::max();

bool same_group(const OperatorShape& a, const OperatorShape& b) noexcept {
  return a.kind == b.kind && a.dtype == b.dtype && a.n == b.n && a.k == b.k && a.kv_heads == b.kv_heads;
}

uint32_t geometric_mean(uint32_t a, uint32_t b) noexcept {
  const auto mean = static_cast<uint32_t>(std::sqrt(static_cast<double>(a) * b));
  return std::clamp(mean, a, b - 1);
}

double time_of(const OperatorResult& r, const Candidate& c) noexcept {
  for (size_t i = 0; i < r.space.entries.size(); ++i)
    if (r.space.entries[i].candidate == c) return r.entry_ns[i];
  return 0;
}

// The largest m up to which the choice at `low` holds against the one at `high`.
uint32_t boundary(const OperatorResult& low, const OperatorResult& high) {
  const uint32_t a = low.space.shape.m, b = high.space.shape.m;
  const uint32_t mean = geometric_mean(a, b);
  const Candidate &x = low.chosen().candidate, &y = high.chosen().candidate;
  if (x == y) return mean;
  const double xa = time_of(low, x), ya = time_of(low, y), xb = time_of(high, x), yb = time_of(high, y);
  if (xa <= 0 || ya <= 0 || xb <= 0 || yb <= 0) return mean;
  // Logarithms of the ratio of times: negative where x is faster. A straight line between them, over log m.
  const double ra = std::log(xa / ya), rb = std::log(xb / yb);
  if (!(ra < 0 && rb > 0)) return mean;
  const double m = a * std::pow(static_cast<double>(b) / a, ra / (ra - rb));
  return std::clamp(static_cast<uint32_t>(m), a, b - 1);
}

PlanEntry entry_for(const OperatorResult& r, uint32_t m_min, uint32_t m_max, uint32_t kv_max) {
  const OperatorShape& s = r.space.shape;
  const SpaceEntry& chosen = r.chosen();
  PlanEntry e;
  e.kind = s.kind;
  e.dtype = s.dtype;
  e.n = s.n;
  e.k = s.k;
  e.kv_heads = s.kv_heads;
  e.m_min = m_min;
  e.m_max = m_max;
  e.kv_max = kv_max;
  e.mode = chosen.candidate.mode;
  e.variant = chosen.candidate.variant;
  e.workers = static_cast<uint16_t>(chosen.candidate.workers);
  e.mc = chosen.candidate.mc;
  e.nc = chosen.candidate.nc;
  e.kv_tile = chosen.candidate.kv_tile;
  e.kv_splits = chosen.candidate.kv_splits;
  e.coop = chosen.candidate.coop;
  e.predicted_ns = chosen.predicted_ns;
  e.measured_ns = r.decision.chosen_ns;
  e.default_ns = r.decision.default_ns;
  if (e.measured_ns > 0) {
    e.measured_m = s.m;
    e.measured_kv = s.kv_len;
  }
  e.why = r.decision.why;
  return e;
}

// Entries that cover every m from the results of one group at one context, ascending by m.
Status cover_m(const std::vector<const OperatorResult*>& by_m, uint32_t kv_max, const BoundOf& bound_of,
               std::vector<PlanEntry>& out) {
  uint32_t from = 1;
  for (size_t i = 0; i < by_m.size(); ++i) {
    const bool last = i + 1 == by_m.size();
    const uint32_t wanted = last ? kNoBound : boundary(*by_m[i], *by_m[i + 1]);
    const Candidate& chosen = by_m[i]->chosen().candidate;
    uint32_t to = std::min(wanted, bound_of(chosen.variant));
    if (chosen.mode == ExecutionMode::kCoop) to = std::min(to, bound_of(chosen.coop.variant));
    if (to < from) continue;  // an earlier entry reaches further
    out.push_back(entry_for(*by_m[i], from, to, kv_max));
    if (to == kNoBound) return {};
    from = to + 1;
  }
  // The last choice is bounded: beyond it, the default.
  OperatorShape beyond = by_m.back()->space.shape;
  beyond.m = from;
  if (beyond.kind == OpKind::kAttention) beyond.kv_len = std::max(beyond.kv_len, from);
  SMEPILOT_ASSIGN(
      PlanEntry e,
      default_entry(beyond, by_m.back()->space.entries[by_m.back()->space.default_index].candidate.workers));
  e.m_min = from;
  e.m_max = kNoBound;
  e.kv_max = kv_max;
  e.why = fmt::format("not searched: {} takes at most {} rows; the default", by_m.back()->chosen().candidate.variant,
                      from - 1);
  out.push_back(std::move(e));
  return {};
}

}  // namespace

uint32_t registry_bound(const std::string& variant) {
  const KernelVariant* v = find_variant(variant);
  return v == nullptr || v->max_m == 0 ? kNoBound : v->max_m;
}

Result<Plan> build_plan(const SearchResult& result, const ModelShape& model, const Platform& platform,
                        const BoundOf& bound_of) {
  Plan plan;
  plan.fingerprint = platform.fingerprint();
  plan.platform = platform.identity();
  plan.model_name = model.name;
  plan.model_hash = model.hash();
  plan.variant_set_hash = result.search.variant_set_hash;
  plan.build = fmt::format("{} {}", build_info().revision, build_info().compiler);
  plan.created = utc_now();
  plan.planner = result.search.planner;

  std::vector<bool> done(result.operators.size(), false);
  for (size_t i = 0; i < result.operators.size(); ++i) {
    if (done[i]) continue;
    const OperatorShape& shape = result.operators[i].space.shape;
    std::vector<const OperatorResult*> group;
    for (size_t j = i; j < result.operators.size(); ++j) {
      if (done[j] || !same_group(shape, result.operators[j].space.shape)) continue;
      done[j] = true;
      group.push_back(&result.operators[j]);
    }
    if (shape.kind != OpKind::kAttention) {
      std::sort(group.begin(), group.end(),
                [](const auto* a, const auto* b) { return a->space.shape.m < b->space.shape.m; });
      SMEPILOT_TRY(cover_m(group, 0, bound_of, plan.entries));
      continue;
    }
    // By context length: a result stands for its band, up to halfway (geometrically) to the next length. Where an m has
    // no result in a band, its nearest longer or else shorter one serves.
    std::vector<uint32_t> lengths, ms;
    for (const auto* r : group) {
      lengths.push_back(r->space.shape.kv_len);
      ms.push_back(r->space.shape.m);
    }
    for (auto* v : {&lengths, &ms}) {
      std::sort(v->begin(), v->end());
      v->erase(std::unique(v->begin(), v->end()), v->end());
    }
    for (size_t b = 0; b < lengths.size(); ++b) {
      const uint32_t kv_max = b + 1 == lengths.size() ? kNoBound : geometric_mean(lengths[b], lengths[b + 1]);
      std::vector<const OperatorResult*> by_m;
      for (const uint32_t m : ms) {
        const OperatorResult* nearest = nullptr;
        const auto distance = [&](const OperatorResult* r) {
          const double d = std::log(static_cast<double>(r->space.shape.kv_len) / lengths[b]);
          return d < 0 ? 1e3 - d : d;
        };
        for (const auto* r : group)
          if (r->space.shape.m == m && (nearest == nullptr || distance(r) < distance(nearest))) nearest = r;
        by_m.push_back(nearest);
      }
      SMEPILOT_TRY(cover_m(by_m, kv_max, bound_of, plan.entries));
    }
  }
  for (const PlanEntry& e : plan.entries) plan.workers = std::max<unsigned>(plan.workers, e.workers + e.coop.workers);
  return plan;
}

std::vector<PassGain> pass_gains(const SearchResult& result, const ModelShape& model, std::span<const uint32_t> ms,
                                 std::span<const uint32_t> contexts) {
  std::vector<PassGain> out;
  const auto add = [&](Pass pass, uint32_t m, uint32_t kv) {
    PassGain g;
    g.m = m;
    g.kv_len = kv;
    g.name = pass_name(pass, m, kv);
    for (const ModelOperator& op : model_operators(model, m, kv, pass)) {
      ++g.operators;
      for (const OperatorResult& r : result.operators) {
        if (describe(r.space.shape) != describe(op.shape)) continue;
        g.predicted_ns += op.calls * r.chosen().predicted_ns;
        if (r.decision.chosen_ns <= 0 || r.decision.default_ns <= 0) break;
        g.chosen_ns += op.calls * r.decision.chosen_ns;
        g.default_ns += op.calls * r.decision.default_ns;
        ++g.measured;
        break;
      }
    }
    out.push_back(g);
  };
  for (const uint32_t m : ms)
    for (const uint32_t kv : contexts) {
      if (is_decode_batch(m)) add(Pass::kDecode, m, kv);
      if (m > 1) add(Pass::kPrefill, m, std::max(kv, m));
    }
  return out;
}

}  // namespace smepilot
