#include "tuner/layer_timing.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "kernels/registry/registry.h"
#include "profiles/timer.h"
#include "tuner/chain_choice.h"
#include "tuner/operands.h"

namespace smepilot {
namespace {

constexpr uint64_t kColdBytes = uint64_t{64} << 20;  // of one operator: the others of the layer add theirs
constexpr double kNs = 1e-9;

struct Way {
  Candidate candidate;
  Kernels kernels;
};

struct Part {
  size_t step = 0;     // of the chain
  uint32_t calls = 1;  // per layer
  Way chosen, other;
  std::unique_ptr<Operands> operands;
};

Way way_of(const Candidate& c) {
  Way w{c, {}};
  w.kernels.variant = find_variant(c.variant);
  if (c.mode == ExecutionMode::kCoop) w.kernels.matrix = find_variant(c.coop.variant);
  return w;
}

bool runs(const Way& w) {
  return w.kernels.variant != nullptr && (w.candidate.mode != ExecutionMode::kCoop || w.kernels.matrix != nullptr);
}

double run_layer(std::vector<Part>& parts, WorkerPool& pool, bool chosen) {
  pool.run(pool.size(), [](unsigned, unsigned) {});  // wakes whoever fell asleep
  const int64_t start = now_ns();
  uint32_t packed = 0;  // layouts that this step's input is there in
  size_t step = SIZE_MAX;
  for (Part& p : parts) {
    const Way& w = chosen ? p.chosen : p.other;
    if (p.step != step) packed = 0;
    step = p.step;
    const uint32_t form = uint32_t{1} << static_cast<uint32_t>(w.kernels.variant->lhs_layout);
    if ((packed & form) == 0) p.operands->pack(pool, w.kernels);
    packed |= form;
    for (uint32_t i = 0; i < p.calls; ++i) p.operands->call(pool, w.candidate, w.kernels);
  }
  return static_cast<double>(std::max<int64_t>(now_ns() - start, 1));
}

OperatorResult* decided(SearchResult& result, const OperatorShape& shape) {
  const auto it = std::find_if(result.operators.begin(), result.operators.end(),
                               [&](const OperatorResult& r) { return describe(r.space.shape) == describe(shape); });
  return it == result.operators.end() || it->decision.chosen_ns <= 0 ? nullptr : &*it;
}

void revert(SearchResult& result, std::span<const LayerOperator> operators, const LayerTime& t) {
  for (const LayerOperator& o : operators) {
    OperatorResult* const r = decided(result, o.shape);
    if (r == nullptr || r->decision.chosen == r->space.default_index) continue;
    r->decision.why = fmt::format(
        "{} was chosen alone, but a whole layer ({}) takes {:.3f}x the untuned time with it (interval {:.3f} to "
        "{:.3f}): the default",
        describe(r->chosen().candidate), t.name, t.times.ratio.estimate, t.times.ratio.interval.low,
        t.times.ratio.interval.high);
    r->decision.chosen = r->space.default_index;
    r->decision.chosen_ns = r->decision.default_ns;
    r->decision.verdict = Verdict::kDefault;
    r->decision.ratio = {1, 1};
  }
}

}  // namespace

Alternation alternate(const std::function<double(bool chosen)>& run, const LayerRules& rules,
                      const std::string& label) {
  Alternation t;
  const auto report = [&](double spent_ns) {
    if (!rules.progress) return;
    const double by_rounds = static_cast<double>(t.rounds()) / std::max(rules.rounds, 1u);
    const double by_time = t.rounds() < kLeastPairs ? 0 : spent_ns * kNs / rules.budget_s;
    rules.progress(std::min(std::max(by_rounds, by_time), 1.0), label);
  };
  report(0);
  run(true);
  run(false);
  double spent_ns = 0;
  while (t.rounds() < rules.rounds && !is_set(rules.cancel)) {
    if (t.rounds() >= kLeastPairs && spent_ns * kNs > rules.budget_s) break;
    report(spent_ns);
    if (rules.begin_round) rules.begin_round();
    const bool outer = t.rounds() % 2 == 0;  // of the smaller of two, the first is a machine's that grows hot
    const double a = run(outer), b = run(!outer), c = run(!outer), d = run(outer);
    t.chosen_samples.push_back(outer ? std::min(a, d) : std::min(b, c));
    t.other_samples.push_back(outer ? std::min(b, c) : std::min(a, d));
    spent_ns += a + b + c + d;
  }
  if (t.rounds() == 0) return t;
  t.chosen_ns = median(t.chosen_samples);
  t.other_ns = median(t.other_samples);
  t.ratio = paired_ratio(t.chosen_samples, t.other_samples);
  return t;
}

std::vector<LayerOperator> layer_operators(const ModelShape& model, Pass pass, uint32_t m, uint32_t kv_len) {
  std::vector<ModelOperator> operators = model_operators(model, m, kv_len, pass);
  std::erase_if(operators, [](const ModelOperator& op) { return op.role == "output"; });
  std::stable_sort(operators.begin(), operators.end(), [](const ModelOperator& a, const ModelOperator& b) {
    return chain_step_of(a.role) < chain_step_of(b.role);
  });
  std::vector<LayerOperator> out;
  for (const ModelOperator& op : operators) {
    const bool rarer = std::any_of(operators.begin(), operators.end(), [&](const ModelOperator& o) {
      return o.role == op.role && (o.calls > op.calls || (o.calls == op.calls && &o < &op));
    });
    if (rarer) continue;
    LayerOperator o;
    o.role = op.role;
    o.shape = op.shape;
    o.calls = std::max(1u, (op.calls + model.layers / 2) / std::max(model.layers, 1u));
    out.push_back(std::move(o));
  }
  return out;
}

LayerTimer::LayerTimer(const Platform& platform) : platform_(platform) {}
LayerTimer::~LayerTimer() = default;

std::optional<Alternation> LayerTimer::time(std::span<const LayerOperator> operators, const LayerRules& rules,
                                            const std::string& label) {
  const unsigned workers = worker_counts(platform_).back();
  if (pool_ == nullptr) pool_ = std::make_unique<WorkerPool>(workers, platform_.worker_cpus());
  std::vector<Part> parts;
  for (const LayerOperator& o : operators) {
    Part p;
    p.step = chain_step_of(o.role);
    p.calls = o.calls;
    p.chosen = way_of(o.chosen);
    p.other = way_of(o.other);
    if (!runs(p.chosen) || !runs(p.other)) return std::nullopt;
    auto made = make_operands(o.shape, std::min(o.pass_bytes, kColdBytes), workers,
                              platform_.memory_bytes / operators.size(), *pool_);
    if (!made.ok()) return std::nullopt;
    p.operands = std::move(*made);
    parts.push_back(std::move(p));
  }
  if (parts.empty()) return std::nullopt;
  LayerRules moving = rules;
  moving.begin_round = [&] {
    for (const Part& p : parts) p.operands->move_on();
  };
  return alternate([&](bool chosen) { return run_layer(parts, *pool_, chosen); }, moving, label);
}

std::vector<LayerPass> confirmed_passes(std::span<const uint32_t> ms, std::span<const uint32_t> contexts) {
  std::vector<LayerPass> out;
  if (ms.empty() || contexts.empty()) return out;
  const uint32_t largest = *std::max_element(ms.begin(), ms.end());
  if (std::find(ms.begin(), ms.end(), 1u) != ms.end()) out.push_back({Pass::kDecode, 1, contexts[0]});
  if (largest > 1) out.push_back({Pass::kPrefill, largest, std::max(contexts[0], largest)});
  return out;
}

LayerTime layer_time_of(const LayerPass& pass) {
  LayerTime t;
  t.name = pass_name(pass.pass, pass.m, pass.kv_len);
  t.pass = pass.pass;
  t.m = pass.m;
  t.kv_len = pass.kv_len;
  t.same = true;
  return t;
}

std::vector<LayerTime> confirm_layers(SearchResult& result, const ModelShape& model, std::span<const uint32_t> ms,
                                      std::span<const uint32_t> contexts, double noise, const TimeLayer& time) {
  std::vector<LayerTime> out;
  for (const LayerPass& p : confirmed_passes(ms, contexts)) {
    LayerTime t = layer_time_of(p);
    std::vector<LayerOperator> operators = layer_operators(model, p.pass, p.m, p.kv_len);
    bool whole = !operators.empty();
    for (LayerOperator& o : operators) {
      const OperatorResult* const r = decided(result, o.shape);
      whole = whole && r != nullptr;
      if (!whole) break;
      o.pass_bytes = r->task.pass_bytes;
      o.chosen = r->chosen().candidate;
      o.other = r->space.entries[r->space.default_index].candidate;
      t.same = t.same && o.chosen == o.other;
    }
    if (!whole) continue;
    if (!t.same) {
      std::optional<Alternation> times = time(p, operators);
      if (!times) continue;
      t.times = std::move(*times);
      t.reverted = t.times.slower(noise);
    }
    if (t.reverted) revert(result, operators, t);
    out.push_back(std::move(t));
  }
  return out;
}

TimeLayer on_machine(LayerTimer& timer, const LayerRules& rules, std::span<const LayerPass> passes) {
  return [&timer, rules, all = std::vector<LayerPass>(passes.begin(), passes.end())](
             const LayerPass& p, std::span<const LayerOperator> operators) -> std::optional<Alternation> {
    if (is_set(rules.cancel)) return std::nullopt;
    size_t at = 0;
    while (at < all.size() && (all[at].pass != p.pass || all[at].m != p.m)) ++at;
    LayerRules part = rules;
    if (rules.progress)
      part.progress = [&](double fraction, std::string_view label) {
        rules.progress((static_cast<double>(at) + fraction) / static_cast<double>(std::max(all.size(), at + 1)), label);
      };
    return timer.time(operators, part, "one layer: " + pass_name(p.pass, p.m, p.kv_len));
  };
}

TimeLayer as_recorded(std::vector<LayerTimeRow> recorded) {
  return [rows = std::move(recorded)](const LayerPass& p,
                                      std::span<const LayerOperator>) -> std::optional<Alternation> {
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const LayerTimeRow& r) {
      return r.pass == p.pass && r.m == p.m && r.kv_len == p.kv_len;
    });
    if (row == rows.end()) return std::nullopt;
    return Alternation{row->chosen_ns, row->untuned_ns, paired_ratio(row->chosen_samples_ns, row->untuned_samples_ns),
                       row->chosen_samples_ns, row->untuned_samples_ns};
  };
}

std::vector<LayerTimeRow> layer_rows(std::span<const LayerTime> layers, int64_t session_id, int64_t search_id) {
  std::vector<LayerTimeRow> rows;
  for (const LayerTime& t : layers) {
    if (t.times.rounds() == 0) continue;
    LayerTimeRow r;
    r.session_id = session_id;
    r.search_id = search_id;
    r.pass = t.pass;
    r.m = t.m;
    r.kv_len = t.kv_len;
    r.chosen_ns = t.times.chosen_ns;
    r.untuned_ns = t.times.other_ns;
    r.ratio = t.times.ratio.interval;
    r.reverted = t.reverted;
    r.chosen_samples_ns = t.times.chosen_samples;
    r.untuned_samples_ns = t.times.other_samples;
    rows.push_back(std::move(r));
  }
  return rows;
}

}  // namespace smepilot
