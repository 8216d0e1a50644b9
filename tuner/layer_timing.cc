#include "tuner/layer_timing.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "kernels/registry/registry.h"
#include "profiles/timer.h"
#include "tuner/chain_choice.h"
#include "tuner/operands.h"

namespace smepilot {
namespace {

constexpr unsigned kLeastRounds = 6;                 // for a 95 % interval
constexpr uint64_t kColdBytes = uint64_t{64} << 20;  // of one operator: the others of the layer add theirs
constexpr double kNs = 1e-9;

struct Way {
  Candidate candidate;
  Kernels kernels;
};

struct Part {
  OperatorResult* result = nullptr;
  size_t step = 0;     // of the chain
  uint32_t calls = 1;  // per layer
  Way untuned, chosen;
  std::unique_ptr<Operands> operands;
};

Way way_of(const Candidate& c) {
  Way w{c, {}};
  w.kernels.variant = find_variant(c.variant);
  if (c.mode == ExecutionMode::kCoop) w.kernels.matrix = find_variant(c.coop.variant);
  return w;
}

// The operators of a layer in their order; empty where one has no measured decision.
std::vector<Part> parts_of(SearchResult& result, const ModelShape& model, Pass pass, uint32_t m, uint32_t kv_len) {
  std::vector<Part> out;
  std::vector<ModelOperator> operators = model_operators(model, m, kv_len, pass);
  std::erase_if(operators, [](const ModelOperator& op) { return op.role == "output"; });
  std::stable_sort(operators.begin(), operators.end(), [](const ModelOperator& a, const ModelOperator& b) {
    return chain_step_of(a.role) < chain_step_of(b.role);
  });
  for (const ModelOperator& op : operators) {
    // Of layers that differ in a weight type, the more frequent kind.
    const bool rarer = std::any_of(operators.begin(), operators.end(), [&](const ModelOperator& o) {
      return o.role == op.role && (o.calls > op.calls || (o.calls == op.calls && &o < &op));
    });
    if (rarer) continue;
    const auto it = std::find_if(result.operators.begin(), result.operators.end(), [&](const OperatorResult& r) {
      return describe(r.space.shape) == describe(op.shape);
    });
    if (it == result.operators.end() || it->decision.chosen_ns <= 0) return {};
    Part p;
    p.result = &*it;
    p.step = chain_step_of(op.role);
    p.calls = std::max(1u, (op.calls + model.layers / 2) / std::max(model.layers, 1u));
    p.untuned = way_of(it->space.entries[it->space.default_index].candidate);
    p.chosen = way_of(it->chosen().candidate);
    if (p.untuned.kernels.variant == nullptr || p.chosen.kernels.variant == nullptr) return {};
    out.push_back(std::move(p));
  }
  return out;
}

double run_layer(std::vector<Part>& parts, WorkerPool& pool, bool chosen) {
  pool.run(pool.size(), [](unsigned, unsigned) {});  // wakes whoever fell asleep
  const int64_t start = now_ns();
  uint32_t packed = 0;  // layouts that this step's input is there in
  size_t step = SIZE_MAX;
  for (Part& p : parts) {
    const Way& w = chosen ? p.chosen : p.untuned;
    if (p.step != step) packed = 0;
    step = p.step;
    const uint32_t form = uint32_t{1} << static_cast<uint32_t>(w.kernels.variant->lhs_layout);
    if ((packed & form) == 0) p.operands->pack(pool, w.kernels);
    packed |= form;
    for (uint32_t i = 0; i < p.calls; ++i) p.operands->call(pool, w.candidate, w.kernels);
  }
  return static_cast<double>(std::max<int64_t>(now_ns() - start, 1));
}

bool is_set(const std::atomic<bool>* flag) noexcept {
  return flag != nullptr && flag->load(std::memory_order_relaxed);
}

void revert(std::vector<Part>& parts, const LayerTime& t) {
  for (Part& p : parts) {
    OperatorResult& r = *p.result;
    if (r.decision.chosen == r.space.default_index) continue;
    r.decision.why = fmt::format(
        "{} was chosen alone, but a whole layer ({}) takes {:.3f}x the untuned time with it (interval {:.3f} to "
        "{:.3f}): the default",
        describe(r.chosen().candidate), t.name, t.chosen_ns / t.untuned_ns, t.ratio.low, t.ratio.high);
    r.decision.chosen = r.space.default_index;
    r.decision.chosen_ns = r.decision.default_ns;
    r.decision.verdict = Verdict::kDefault;
    r.decision.ratio = {1, 1};
  }
}

}  // namespace

LayerTime compare_layers(const std::function<double(bool chosen)>& run, const LayerRules& rules) {
  LayerTime t;
  std::vector<double> chosen, untuned;
  run(true);
  run(false);
  double spent_ns = 0;
  while (t.rounds < rules.rounds && !is_set(rules.cancel)) {
    if (t.rounds >= kLeastRounds && spent_ns * kNs > rules.budget_s) break;
    const double a = run(true), b = run(false), c = run(false), d = run(true);
    chosen.push_back(std::min(a, d));
    untuned.push_back(std::min(b, c));
    spent_ns += a + b + c + d;
    ++t.rounds;
  }
  if (t.rounds == 0) return t;
  t.chosen_ns = median(chosen);
  t.untuned_ns = median(untuned);
  t.ratio = t.rounds < kLeastRounds ? Interval{0, std::numeric_limits<double>::infinity()}
                                    : bootstrap_median(paired_ratios(chosen, untuned));
  return t;
}

std::vector<LayerTime> confirm_layers(SearchResult& result, const ModelShape& model, const Platform& platform,
                                      std::span<const uint32_t> ms, std::span<const uint32_t> contexts,
                                      const LayerRules& rules) {
  std::vector<LayerTime> out;
  if (ms.empty() || contexts.empty()) return out;
  const uint32_t largest = *std::max_element(ms.begin(), ms.end());
  std::vector<uint32_t> wanted;
  if (std::find(ms.begin(), ms.end(), 1u) != ms.end()) wanted.push_back(1);
  if (largest > 1) wanted.push_back(largest);
  std::unique_ptr<WorkerPool> pool;
  for (const uint32_t m : wanted) {
    const Pass pass = m == 1 ? Pass::kDecode : Pass::kPrefill;
    const uint32_t kv_len = std::max(contexts[0], m);
    std::vector<Part> parts = parts_of(result, model, pass, m, kv_len);
    if (parts.empty() || is_set(rules.cancel)) continue;
    LayerTime t;
    t.same = std::all_of(parts.begin(), parts.end(),
                         [](const Part& p) { return p.chosen.candidate == p.untuned.candidate; });
    if (!t.same) {
      const unsigned workers = worker_counts(platform).back();
      if (pool == nullptr) pool = std::make_unique<WorkerPool>(workers, platform.worker_cpus());
      const uint64_t memory = platform.memory_bytes / parts.size();
      bool fits = true;
      for (Part& p : parts) {
        auto made = make_operands(p.result->space.shape, std::min(p.result->task.pass_bytes, kColdBytes), workers,
                                  memory, *pool);
        fits = fits && made.ok();
        if (!fits) break;
        p.operands = std::move(*made);
      }
      if (!fits) continue;
      t = compare_layers([&](bool chosen) { return run_layer(parts, *pool, chosen); }, rules);
    }
    t.name = pass_name(pass, m, kv_len);
    t.m = m;
    t.kv_len = kv_len;
    t.reverted = !t.same && t.ratio.low > 1 && t.chosen_ns > t.untuned_ns * (1 + rules.noise);
    if (t.reverted) revert(parts, t);
    out.push_back(t);
  }
  return out;
}

}  // namespace smepilot
