#include "tuner/chain_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <string_view>

#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

// Who reads the output of one producer, in the order of a layer. The engine's table of the same
// (engine/layout_state.cc) has the operators between them, which read and write rows: they change nothing here.
constexpr std::string_view kSteps[][3] = {
    {"attn_q", "attn_k", "attn_v"},
    {"attention", "", ""},
    {"attn_output", "", ""},
    {"ffn_gate", "ffn_up", "ffn_gate_inp"},
    {"ffn_gate_exps", "ffn_up_exps", ""},
    {"ffn_down", "", ""},
    {"ffn_down_exps", "", ""},
    {"output", "", ""},
};

struct Forms {
  Layout reads = Layout::kRowMajor, writes = Layout::kRowMajor;
  friend bool operator==(const Forms&, const Forms&) = default;
};

Forms forms_of(const OperatorShape& shape, const Candidate& c) {
  const KernelVariant* v = find_variant(c.variant);
  if (v == nullptr || shape.kind != OpKind::kMatmul) return {};  // attention reads rows of queries and writes rows
  return {v->lhs_layout, v->dst_layout};
}

// What one call by an entry takes, by what the search knows. 0: nothing.
double time_of(const OperatorResult& r, size_t entry, bool predicted) {
  if (predicted) return r.space.entries[entry].predicted_ns;
  const double ns = r.entry_ns.empty() ? 0 : r.entry_ns[entry];
  return ns <= 0 && entry == r.decision.chosen ? r.decision.chosen_ns : ns;
}

// A choice of the chain and which entries of its space the alternatives are.
struct Choice {
  OperatorResult* result = nullptr;
  std::vector<size_t> entries;
  std::optional<ChainAlternative> untuned;  // the default; nothing: it has no time
};

class PassChooser {
 public:
  PassChooser(SearchResult& result, const ChainRules& rules, std::set<const OperatorResult*>& decided)
      : result_(result), rules_(rules), decided_(decided) {}

  PassChain run(const ModelShape& model, Pass pass, uint32_t m, uint32_t kv_len) {
    PassChain out;
    out.pass = pass;
    out.m = m;
    out.kv_len = kv_len;
    out.name = pass_name(pass, m, kv_len);
    chain_.first = static_cast<uint8_t>(Layout::kRowMajor);
    const std::vector<ModelOperator> operators = model_operators(model, m, kv_len, pass);
    out.operators = static_cast<uint32_t>(operators.size());
    for (const auto& roles : kSteps) add_step(operators, roles, out.counted);
    for (const Choice& c : choices_) out.predicted = out.predicted || c.result->decision.verdict == Verdict::kPredicted;
    const ChainResult r = cheapest_chain(chain_);
    out.cost = r.cost;
    out.greedy = r.greedy;
    out.untuned = untuned_cost();
    out.rows = rows(out, r);
    for (size_t i = 0; i < choices_.size(); ++i) {
      decided_.insert(choices_[i].result);
      if (r.chosen[i] != chain_.choices[i].greedy) out.overrides.push_back(change(i, r));
    }
    return out;
  }

 private:
  void add_step(const std::vector<ModelOperator>& operators, std::span<const std::string_view> roles,
                uint32_t& counted) {
    ChainStep step;
    step.calls = 0;
    uint32_t m = 0, k = 0;
    for (const std::string_view role : roles) {
      double calls = 0;  // a role may have several shapes: layers of different weight types
      for (const ModelOperator& op : operators) {
        if (role.empty() || op.role != role) continue;
        const size_t choice = choice_for(op.shape);
        if (choice == SIZE_MAX) continue;
        step.members.push_back({choice, static_cast<double>(op.calls)});
        if (step.members.size() == 1) places_.emplace_back();
        places_.back().push_back({static_cast<uint32_t>(chain_step_of(op.role)), op.role});
        calls += op.calls;
        m = op.shape.m;
        k = op.shape.k;
        ++counted;
      }
      step.calls = std::max(step.calls, calls);
    }
    if (step.members.empty()) return;
    step.convert_ns = [this, m, k](uint8_t, uint8_t to) {
      return rules_.roofline == nullptr ? 0
                                        : rules_.roofline->packing_ns(static_cast<Layout>(to), m, k, rules_.workers);
    };
    chain_.steps.push_back(std::move(step));
  }

  // The number of the choice for operators of this shape, SIZE_MAX where there is no time for it.
  size_t choice_for(const OperatorShape& shape) {
    for (size_t i = 0; i < choices_.size(); ++i)
      if (describe(choices_[i].result->space.shape) == describe(shape)) return i;
    const auto it = std::find_if(result_.operators.begin(), result_.operators.end(),
                                 [&](const OperatorResult& r) { return describe(r.space.shape) == describe(shape); });
    if (it == result_.operators.end()) return SIZE_MAX;
    OperatorResult& r = *it;
    const bool predicted = r.decision.verdict == Verdict::kPredicted;
    const size_t winner = r.decision.chosen;
    if (!(time_of(r, winner, predicted) > 0)) return SIZE_MAX;
    const bool settled = decided_.contains(&r) || !r.decision.finished;
    const Forms won = forms_of(shape, r.space.entries[winner].candidate);
    Choice c;
    c.result = &r;
    ChainChoice links;
    for (size_t i = 0; i < r.space.entries.size(); ++i) {
      const double ns = time_of(r, i, predicted);
      if (!(ns > 0) || !std::isfinite(ns)) continue;
      const bool ok = r.decision.outcomes.empty() || r.decision.outcomes[i].status == MeasurementStatus::kOk;
      const Forms f = forms_of(shape, r.space.entries[i].candidate);
      const ChainAlternative a{ns, static_cast<uint8_t>(f.reads), static_cast<uint8_t>(f.writes)};
      if (i == r.space.default_index) c.untuned = a;
      // Among candidates of the same forms the chain has nothing to say: there the winner has been decided already, in
      // turns, which medians of different moments must not undo.
      if (i != winner && (settled || !ok || f == won)) continue;
      if (i == winner) links.greedy = c.entries.size();
      c.entries.push_back(i);
      links.alternatives.push_back(a);
    }
    links.hurdle_ns = rules_.noise * time_of(r, winner, predicted);
    choices_.push_back(std::move(c));
    chain_.choices.push_back(std::move(links));
    return choices_.size() - 1;
  }

  ChainCost untuned_cost() const {
    LayoutChain untuned = chain_;
    for (size_t i = 0; i < choices_.size(); ++i) {
      if (!choices_[i].untuned) return {};
      untuned.choices[i].alternatives = {*choices_[i].untuned};
    }
    return chain_cost(untuned, std::vector<size_t>(choices_.size(), 0));
  }

  std::vector<ChainRow> rows(const PassChain& pass, const ChainResult& r) const {
    std::vector<size_t> greedy;
    for (const ChainChoice& c : chain_.choices) greedy.push_back(c.greedy);
    const auto chosen = chain_packings(chain_, r.chosen), best = chain_packings(chain_, greedy);
    const auto side = [&](size_t choice, size_t alternative, const ChainPacking& packing) {
      const ChainAlternative& a = chain_.choices[choice].alternatives[alternative];
      const Choice& c = choices_[choice];
      return ChainSide{describe(c.result->space.entries[c.entries[alternative]].candidate), kLayoutNames[a.reads], a.ns,
                       packing.times, packing.ns};
    };
    std::vector<ChainRow> out;
    for (size_t i = 0; i < chain_.steps.size(); ++i)
      for (size_t j = 0; j < chain_.steps[i].members.size(); ++j) {
        const ChainStep::Member& m = chain_.steps[i].members[j];
        ChainRow row;
        row.pass = pass.pass;
        row.m = pass.m;
        row.kv_len = pass.kv_len;
        row.step = places_[i][j].step;
        row.role = places_[i][j].role;
        row.calls = m.calls;
        row.predicted = choices_[m.choice].result->decision.verdict == Verdict::kPredicted;
        row.chosen = side(m.choice, r.chosen[m.choice], chosen[i][j]);
        row.best = side(m.choice, greedy[m.choice], best[i][j]);
        out.push_back(std::move(row));
      }
    return out;
  }

  ChainOverride change(size_t i, const ChainResult& r) {
    OperatorResult& o = *choices_[i].result;
    const ChainChoice& links = chain_.choices[i];
    ChainOverride out;
    out.roles = o.task.roles();
    out.shape = o.space.shape;
    out.winner = o.chosen().candidate;
    out.winner_ns = links.alternatives[links.greedy].ns;
    out.chosen_ns = links.alternatives[r.chosen[i]].ns;
    o.decision.chosen = choices_[i].entries[r.chosen[i]];
    out.chosen = o.chosen().candidate;
    o.decision.why = fmt::format(
        "alone {} is best ({}, this one {}), but packing counted the layers' operators take {} with this choice and {} "
        "with the best of each (activations packed {:g} and {:g} times a pass, each at its price)",
        describe(out.winner), format_ns(out.winner_ns), format_ns(out.chosen_ns), format_ns(r.cost.ns),
        format_ns(r.greedy.ns), r.cost.packings, r.greedy.packings);
    if (o.decision.verdict == Verdict::kPredicted) return out;
    o.decision.chosen_ns = out.chosen_ns;
    const double untuned = o.entry_ns.empty() ? 0 : o.entry_ns[o.space.default_index];
    if (untuned > 0) o.decision.default_ns = untuned;  // of all its samples, as the chosen one's
    if (o.decision.chosen == o.space.default_index) {
      o.decision.verdict = Verdict::kDefault;
      o.decision.ratio = {1, 1};
    }
    return out;
  }

  SearchResult& result_;
  const ChainRules& rules_;
  std::set<const OperatorResult*>& decided_;  // by an earlier pass
  LayoutChain chain_;
  std::vector<Choice> choices_;
  struct Place {
    uint32_t step = 0;
    std::string role;
  };
  std::vector<std::vector<Place>> places_;  // by step of the chain, by member
};

}  // namespace

size_t chain_step_of(std::string_view role) noexcept {
  size_t i = 0;
  while (i < std::size(kSteps) && std::find(std::begin(kSteps[i]), std::end(kSteps[i]), role) == std::end(kSteps[i]))
    ++i;
  return i;
}

std::string pass_name(Pass pass, uint32_t m, uint32_t kv_len) {
  return pass == Pass::kDecode ? fmt::format("decode of {} sequence{}, context {}", m, m == 1 ? "" : "s", kv_len)
                               : fmt::format("prompt batch of {}, context {}", m, kv_len);
}

std::vector<PassChain> choose_chains(SearchResult& result, const ModelShape& model, std::span<const uint32_t> ms,
                                     std::span<const uint32_t> contexts, const ChainRules& rules) {
  std::vector<PassChain> out;
  if (contexts.empty()) return out;
  std::set<const OperatorResult*> decided;
  for (const uint32_t m : ms) {
    const Pass pass = is_decode_batch(m) ? Pass::kDecode : Pass::kPrefill;
    PassChain chain = PassChooser(result, rules, decided).run(model, pass, m, std::max(contexts[0], m));
    if (chain.counted > 0) out.push_back(std::move(chain));
  }
  return out;
}

}  // namespace smepilot
