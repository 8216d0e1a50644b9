#include "tuner/layout_chain.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace smepilot {
namespace {

// What is minimised: time, and where times are equal the number of choices that differ from the greedy ones.
struct Score {
  double ns = 0;
  size_t changed = 0;
};

bool better(const Score& a, const Score& b) noexcept {
  const double equal = 1e-12 * std::max(std::abs(a.ns), std::abs(b.ns));  // sums in another order
  if (a.ns < b.ns - equal) return true;
  return a.ns <= b.ns + equal && a.changed < b.changed;
}

// What one step adds, given the forms that the step before wrote. `packings`: gets what each form of it takes, by form.
ChainCost step_cost(const LayoutChain& chain, const ChainStep& step, uint32_t written,
                    const std::vector<size_t>& chosen, ChainPacking* packings = nullptr) {
  ChainCost cost;
  double readers[kMaxForms] = {};
  for (const ChainStep::Member& m : step.members) {
    const ChainAlternative& a = chain.choices[m.choice].alternatives[chosen[m.choice]];
    cost.ns += m.calls * a.ns;
    readers[a.reads] += m.calls;
  }
  bool first = true;
  for (uint8_t form = 0; form < kMaxForms; ++form) {
    if (readers[form] <= 0) continue;
    const double times = std::min(readers[form], step.calls);
    bool made = false;
    double each_ns = 0;
    for (uint8_t from = 0; from < kMaxForms; ++from) {
      if ((written >> from & 1) == 0 || from == form) continue;
      each_ns += step.convert_ns(from, form);
      made = true;
    }
    if (!made) continue;
    cost.packing_ns += times * each_ns;
    if (packings != nullptr) packings[form] = {times, each_ns};
    cost.packings += times;
    if (!first) cost.conversions += times;
    first = false;
  }
  cost.ns += cost.packing_ns;
  return cost;
}

uint32_t written_by(const LayoutChain& chain, const ChainStep& step, const std::vector<size_t>& chosen) {
  uint32_t forms = 0;
  for (const ChainStep::Member& m : step.members)
    forms |= uint32_t{1} << chain.choices[m.choice].alternatives[chosen[m.choice]].writes;
  return forms;
}

class Search {
 public:
  explicit Search(const LayoutChain& chain) : chain_(chain) {
    std::vector<size_t> steps_of(chain.choices.size(), 0);
    for (const ChainStep& step : chain.steps) {
      own_.push_back(distinct(step));
      for (const size_t c : own_.back()) ++steps_of[c];
    }
    // One that several steps ask for ties them together: all of its alternatives are tried around everything else.
    for (size_t c = 0; c < steps_of.size(); ++c)
      if (steps_of[c] > 1) shared_.push_back(c);
    for (std::vector<size_t>& own : own_) std::erase_if(own, [&](size_t c) { return steps_of[c] > 1; });
    for (const ChainChoice& c : chain.choices) {
      candidates_.push_back(cheapest_by_form(c));
      chosen_.push_back(c.greedy);
    }
    calls_.assign(chain.choices.size(), 0);
    for (const ChainStep& step : chain.steps)
      for (const ChainStep::Member& m : step.members) calls_[m.choice] += m.calls;
    best_ = chosen_;
  }

  std::vector<size_t> run() {
    try_shared(0);
    return best_;
  }

 private:
  static std::vector<size_t> distinct(const ChainStep& step) {
    std::vector<size_t> out;
    for (const ChainStep::Member& m : step.members)
      if (std::find(out.begin(), out.end(), m.choice) == out.end()) out.push_back(m.choice);
    return out;
  }

  // To its neighbours an alternative is the forms it reads and writes: of those that agree in them only the cheapest
  // can be in the cheapest chain.
  static std::vector<size_t> cheapest_by_form(const ChainChoice& choice) {
    std::map<std::pair<uint8_t, uint8_t>, size_t> best;
    const auto cost = [&](size_t i) { return choice.alternatives[i].ns + (i == choice.greedy ? 0 : choice.hurdle_ns); };
    for (size_t i = 0; i < choice.alternatives.size(); ++i) {
      const ChainAlternative& a = choice.alternatives[i];
      const auto [it, fresh] = best.try_emplace({a.reads, a.writes}, i);
      if (!fresh && (cost(i) < cost(it->second) || (cost(i) == cost(it->second) && i == choice.greedy))) it->second = i;
    }
    std::vector<size_t> out;
    for (const auto& [forms, i] : best) out.push_back(i);
    return out;
  }

  void try_shared(size_t at) {
    if (at < shared_.size()) {
      for (const size_t i : candidates_[shared_[at]]) {
        chosen_[shared_[at]] = i;
        try_shared(at + 1);
      }
      return;
    }
    solve();
  }

  Score of_choice(size_t c) const {
    if (chosen_[c] == chain_.choices[c].greedy) return {};
    return {calls_[c] * chain_.choices[c].hurdle_ns, 1};
  }

  // With the shared choices fixed: step after step, the best way to every set of written forms.
  void solve() {
    struct State {
      Score score;
      std::vector<size_t> chosen;
    };
    Score start;
    for (const size_t c : shared_) {
      const Score s = of_choice(c);
      start.ns += s.ns;
      start.changed += s.changed;
    }
    std::map<uint32_t, State> states;
    states.emplace(uint32_t{1} << chain_.first, State{start, chosen_});
    for (size_t i = 0; i < chain_.steps.size(); ++i) {
      const ChainStep& step = chain_.steps[i];
      std::map<uint32_t, State> next;
      for (const auto& [written, state] : states) {
        chosen_ = state.chosen;
        each_combination(own_[i], 0, [&] {
          Score score = state.score;
          score.ns += step_cost(chain_, step, written, chosen_).ns;
          for (const size_t c : own_[i]) {
            const Score s = of_choice(c);
            score.ns += s.ns;
            score.changed += s.changed;
          }
          const uint32_t forms = written_by(chain_, step, chosen_);
          const auto it = next.find(forms);
          if (it == next.end())
            next.emplace(forms, State{score, chosen_});
          else if (better(score, it->second.score))
            it->second = State{score, chosen_};
        });
      }
      states = std::move(next);
    }
    for (const auto& [written, state] : states) {
      if (found_ && !better(state.score, best_score_)) continue;
      found_ = true;
      best_score_ = state.score;
      best_ = state.chosen;
    }
  }

  template <typename Then>
  void each_combination(const std::vector<size_t>& choices, size_t at, const Then& then) {
    if (at == choices.size()) return then();
    for (const size_t i : candidates_[choices[at]]) {
      chosen_[choices[at]] = i;
      each_combination(choices, at + 1, then);
    }
  }

  const LayoutChain& chain_;
  std::vector<std::vector<size_t>> own_;         // by step: the choices that it alone asks for
  std::vector<size_t> shared_;                   // the others
  std::vector<std::vector<size_t>> candidates_;  // by choice
  std::vector<double> calls_;                    // by choice, of all steps
  std::vector<size_t> chosen_, best_;
  Score best_score_;
  bool found_ = false;
};

}  // namespace

ChainCost chain_cost(const LayoutChain& chain, const std::vector<size_t>& chosen) {
  ChainCost sum;
  uint32_t written = uint32_t{1} << chain.first;
  for (const ChainStep& step : chain.steps) {
    const ChainCost c = step_cost(chain, step, written, chosen);
    sum.ns += c.ns;
    sum.packing_ns += c.packing_ns;
    sum.packings += c.packings;
    sum.conversions += c.conversions;
    written = written_by(chain, step, chosen);
  }
  return sum;
}

std::vector<std::vector<ChainPacking>> chain_packings(const LayoutChain& chain, const std::vector<size_t>& chosen) {
  std::vector<std::vector<ChainPacking>> out;
  uint32_t written = uint32_t{1} << chain.first;
  for (const ChainStep& step : chain.steps) {
    ChainPacking by_form[kMaxForms];
    step_cost(chain, step, written, chosen, by_form);
    std::vector<ChainPacking>& members = out.emplace_back();
    for (const ChainStep::Member& m : step.members)
      members.push_back(std::exchange(by_form[chain.choices[m.choice].alternatives[chosen[m.choice]].reads], {}));
    written = written_by(chain, step, chosen);
  }
  return out;
}

ChainResult cheapest_chain(const LayoutChain& chain) {
  ChainResult r;
  std::vector<size_t> greedy;
  for (const ChainChoice& c : chain.choices) greedy.push_back(c.greedy);
  r.chosen = Search(chain).run();
  r.cost = chain_cost(chain, r.chosen);
  r.greedy = chain_cost(chain, greedy);
  return r;
}

}  // namespace smepilot
