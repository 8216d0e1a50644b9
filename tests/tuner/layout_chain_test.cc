// The cheapest chain of operators: planted cases, and every assignment of small random ones.
#include "tuner/layout_chain.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "profiles/statistics.h"

namespace smepilot {
namespace {

constexpr uint8_t kRows = 0, kBytes = 1, kHalves = 2;

std::function<double(uint8_t, uint8_t)> flat(double ns) {
  return [ns](uint8_t, uint8_t) { return ns; };
}

ChainStep step(std::vector<ChainStep::Member> members, double convert_ns, double calls = 1) {
  return {std::move(members), calls, flat(convert_ns)};
}

// The cost by its definition, apart from the code under test: `hurdles` adds what different choices have to make up.
double cost_of(const LayoutChain& chain, const std::vector<size_t>& chosen, bool hurdles) {
  double ns = 0;
  std::vector<bool> written(kMaxForms, false);
  written[chain.first] = true;
  for (const ChainStep& s : chain.steps) {
    std::vector<bool> now(kMaxForms, false);
    std::vector<double> readers(kMaxForms, 0);
    for (const ChainStep::Member& m : s.members) {
      const ChainChoice& c = chain.choices[m.choice];
      const ChainAlternative& a = c.alternatives[chosen[m.choice]];
      ns += m.calls * (a.ns + (hurdles && chosen[m.choice] != c.greedy ? c.hurdle_ns : 0));
      readers[a.reads] += m.calls;
      now[a.writes] = true;
    }
    for (uint8_t to = 0; to < kMaxForms; ++to)
      for (uint8_t from = 0; from < kMaxForms; ++from)
        if (readers[to] > 0 && written[from] && from != to)
          ns += std::min(readers[to], s.calls) * s.convert_ns(from, to);
    written = now;
  }
  return ns;
}

double best_by_trying_all(const LayoutChain& chain) {
  std::vector<size_t> at(chain.choices.size(), 0);
  double best = cost_of(chain, at, true);
  for (;;) {
    size_t i = 0;
    while (i < at.size() && ++at[i] == chain.choices[i].alternatives.size()) at[i++] = 0;
    if (i == at.size()) return best;
    best = std::min(best, cost_of(chain, at, true));
  }
}

double with_hurdles(const LayoutChain& chain, const std::vector<size_t>& chosen) {
  return cost_of(chain, chosen, true);
}

TEST(LayoutChain, GreedyLosesWhereConsumersOfOneProducerDiffer) {
  // q and k are best with bytes, v by 3 ns with halves: a form for v alone costs 20.
  LayoutChain chain;
  chain.choices = {{{{100, kBytes, kRows}, {120, kHalves, kRows}}, 0, 0},
                   {{{50, kBytes, kRows}, {60, kHalves, kRows}}, 0, 0},
                   {{{50, kBytes, kRows}, {47, kHalves, kRows}}, 1, 0}};
  chain.steps = {step({{0}, {1}, {2}}, 20)};
  const ChainResult r = cheapest_chain(chain);
  EXPECT_EQ(r.chosen, (std::vector<size_t>{0, 0, 0}));
  EXPECT_DOUBLE_EQ(r.greedy.ns, 100 + 50 + 47 + 40);
  EXPECT_DOUBLE_EQ(r.cost.ns, 100 + 50 + 50 + 20);
  EXPECT_EQ(r.greedy.conversions, 1);
  EXPECT_EQ(r.cost.conversions, 0);
  EXPECT_EQ(r.cost.packings, 1);
}

TEST(LayoutChain, NeighboursThatShareAFormBeatTheBestOfEach) {
  // Each alone is best with rows in and out, but the middle one; together they stay in bytes from end to end.
  LayoutChain chain;
  chain.choices = {{{{10, kRows, kRows}, {12, kRows, kBytes}}, 0, 0},
                   {{{10, kBytes, kBytes}, {18, kRows, kRows}}, 0, 0},
                   {{{10, kRows, kRows}, {12, kBytes, kRows}}, 0, 0}};
  chain.steps = {step({{0}}, 5), step({{1}}, 5), step({{2}}, 5)};
  const ChainResult r = cheapest_chain(chain);
  EXPECT_EQ(r.chosen, (std::vector<size_t>{1, 0, 1}));
  EXPECT_DOUBLE_EQ(r.greedy.ns, 40);
  EXPECT_DOUBLE_EQ(r.cost.ns, 34);
}

TEST(LayoutChain, GreedyStaysWhereItIsBestAndWhereItTies) {
  LayoutChain chain;
  chain.choices = {{{{10, kBytes, kRows}, {30, kRows, kRows}}, 0, 0},
                   {{{10, kBytes, kRows}, {10, kRows, kRows}}, 0, 0}};
  chain.steps = {step({{0}, {1}}, 5)};
  const ChainResult best = cheapest_chain(chain);
  EXPECT_EQ(best.chosen, (std::vector<size_t>{0, 0}));
  EXPECT_DOUBLE_EQ(best.cost.ns, best.greedy.ns);
  chain.choices[0].alternatives[1].ns = 15;  // rows for both now cost the same as bytes for both
  chain.choices[1].alternatives[1].ns = 10;
  EXPECT_EQ(cheapest_chain(chain).chosen, (std::vector<size_t>{0, 0}));
  chain.choices[0].alternatives[1].ns = 14;
  EXPECT_EQ(cheapest_chain(chain).chosen, (std::vector<size_t>{1, 1}));
}

TEST(LayoutChain, ADifferentChoiceMustClearItsHurdle) {
  LayoutChain chain;
  chain.choices = {{{{100, kBytes, kRows}, {101, kRows, kRows}}, 0, 2}};
  chain.steps = {step({{0}}, 2.5)};
  EXPECT_EQ(cheapest_chain(chain).chosen, (std::vector<size_t>{0})) << "saves 1.5 of 2";
  chain.choices[0].hurdle_ns = 1;
  EXPECT_EQ(cheapest_chain(chain).chosen, (std::vector<size_t>{1}));
}

TEST(LayoutChain, AChoiceOfTwoStepsIsMadeOnce) {
  // As attn_q and attn_output of equal shape: bytes are made anyway in the first step, but cost 30 in the second.
  LayoutChain chain;
  chain.choices = {{{{20, kBytes, kRows}, {30, kRows, kRows}}, 0, 0},
                   {{{10, kBytes, kRows}, {90, kRows, kRows}}, 0, 0}};
  chain.steps = {step({{0}, {1}}, 30), step({{0}}, 30)};
  const ChainResult r = cheapest_chain(chain);
  EXPECT_EQ(r.chosen, (std::vector<size_t>{1, 0}));
  EXPECT_DOUBLE_EQ(r.cost.ns, 30 + 10 + 30 + 30);
}

TEST(LayoutChain, AFormThatFewLayersReadIsMadeForThoseOnly) {
  LayoutChain chain;
  chain.choices = {{{{10, kBytes, kRows}}, 0, 0}, {{{10, kHalves, kRows}}, 0, 0}};
  chain.steps = {step({{0, 28}, {1, 7}}, 3, 28)};
  const ChainResult r = cheapest_chain(chain);
  EXPECT_DOUBLE_EQ(r.cost.packing_ns, (28 + 7) * 3);
  EXPECT_EQ(r.cost.packings, 35);
  EXPECT_EQ(r.cost.conversions, 7);
}

TEST(LayoutChain, EqualsTheBestOfAllAssignments) {
  Rng rng(7);
  const auto upto = [&](size_t n) { return static_cast<size_t>(rng.uniform() * static_cast<double>(n)); };
  size_t greedy_lost = 0;
  for (int trial = 0; trial < 400; ++trial) {
    LayoutChain chain;
    const size_t choices = 1 + upto(5);
    for (size_t i = 0; i < choices; ++i) {
      ChainChoice c;
      const size_t n = 1 + upto(4);
      for (size_t a = 0; a < n; ++a)
        c.alternatives.push_back(
            {1 + 20 * rng.uniform(), static_cast<uint8_t>(upto(3)), static_cast<uint8_t>(upto(3))});
      for (size_t a = 0; a < n; ++a)
        if (c.alternatives[a].ns < c.alternatives[c.greedy].ns) c.greedy = a;
      c.hurdle_ns = trial % 2 == 0 ? 0 : rng.uniform();
      chain.choices.push_back(c);
    }
    std::vector<double> convert(9);
    for (double& ns : convert) ns = 10 * rng.uniform();
    const size_t steps = 1 + upto(4);
    for (size_t i = 0; i < steps; ++i) {
      ChainStep s;
      const size_t members = 1 + upto(3);
      for (size_t m = 0; m < members; ++m) s.members.push_back({upto(choices), 1.0 + static_cast<double>(upto(3))});
      s.calls = 3;
      s.convert_ns = [convert](uint8_t from, uint8_t to) { return convert[size_t{from} * 3 + to]; };
      chain.steps.push_back(s);
    }
    const ChainResult r = cheapest_chain(chain);
    const double best = best_by_trying_all(chain);
    ASSERT_NEAR(with_hurdles(chain, r.chosen), best, 1e-9 * best) << "trial " << trial;
    ASSERT_NEAR(r.cost.ns, cost_of(chain, r.chosen, false), 1e-9 * best) << "trial " << trial;
    greedy_lost += r.greedy.ns > r.cost.ns * (1 + 1e-9);
  }
  EXPECT_GT(greedy_lost, 100u) << "else this shows little";
}

}  // namespace
}  // namespace smepilot
