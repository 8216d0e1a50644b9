// Whole layers as chosen against untuned: the comparison on made-up times, and real layers of a toy model.
#include "tuner/layer_timing.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/isa/isa_detect.h"

namespace smepilot {
namespace {

TEST(LayerTiming, ComparesInAbbaOrderAndPairsByRound) {
  std::string order;
  double drift = 1;
  LayerRules rules;
  std::vector<double> fractions;
  rules.progress = [&](double fraction, std::string_view label) {
    fractions.push_back(fraction);
    EXPECT_EQ(label, "a layer");
  };
  const Alternation t = alternate(
      [&](bool chosen) {
        order += chosen ? 'c' : 'u';
        drift *= 1.01;  // of a machine that gets slower and slower
        return (chosen ? 80 : 100) * drift;
      },
      rules, "a layer");
  EXPECT_EQ(order.substr(0, 10), "cucuucuccu");
  EXPECT_EQ(t.rounds(), 12u);
  EXPECT_EQ(t.other_samples.size(), 12u);
  ASSERT_EQ(fractions.size(), 13u) << "before the first, and before each round";
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_LE(fractions.back(), 1);
  EXPECT_NEAR(t.ratio.estimate, 0.8, 0.01);
  EXPECT_TRUE(t.faster(0.02));
  EXPECT_FALSE(t.faster(0.5) || t.slower(0));
  EXPECT_GT(t.ratio.interval.low, 0.75);
  EXPECT_LT(t.ratio.interval.high, 0.85);
  LayerRules few;
  few.rounds = 3;
  const Alternation undecided = alternate([](bool chosen) { return chosen ? 200.0 : 100.0; }, few);
  EXPECT_EQ(undecided.ratio.interval.low, 0) << "three rounds decide nothing";
  EXPECT_FALSE(undecided.slower(0));
  few.rounds = 6;
  EXPECT_TRUE(alternate([](bool chosen) { return chosen ? 200.0 : 100.0; }, few).slower(0.02));
}

// A toy model searched by hand: first with the default everywhere, then with the least preferred candidate.
TEST(LayerTiming, RealLayersAreTimedOrSaidToBeTheSame) {
  ModelShape model;
  model.name = "toy";
  model.architecture = "llama";
  model.layers = 2;
  model.heads = 4;
  model.kv_heads = 2;
  model.head_dim = 32;
  model.matrices = {{"attn_q", DType::kQ8_0, 128, 128, 2},   {"attn_k", DType::kQ8_0, 64, 128, 2},
                    {"attn_v", DType::kQ8_0, 64, 128, 2},    {"attn_output", DType::kQ8_0, 128, 128, 2},
                    {"ffn_gate", DType::kQ8_0, 256, 128, 2}, {"ffn_up", DType::kQ8_0, 256, 128, 2},
                    {"ffn_down", DType::kQ8_0, 128, 256, 2}, {"output", DType::kQ8_0, 512, 128, 1}};
  Platform platform = std::move(detect_platform()).value();
  const std::vector<uint32_t> ms = {1}, contexts = {64}, workers = {1};
  const IsaSet isa = *usable_isa();
  SearchResult result;
  for (const OperatorTask& task : operator_tasks(model, ms, contexts)) {
    OperatorResult r;
    r.task = task;
    auto space = make_search_space(task.shape, isa, workers, 1);
    ASSERT_TRUE(space.ok()) << space.message();
    r.space = std::move(*space);
    r.decision.chosen = r.space.default_index;
    r.decision.chosen_ns = r.decision.default_ns = 100;
    r.decision.finished = true;
    result.operators.push_back(std::move(r));
  }
  LayerTimer timer(platform);
  const TimeLayer here = on_machine(timer, {}, confirmed_passes(ms, contexts));
  std::vector<LayerTime> same = confirm_layers(result, model, ms, contexts, 0.02, here);
  ASSERT_EQ(same.size(), 1u);
  EXPECT_TRUE(same[0].same);
  EXPECT_EQ(same[0].times.rounds(), 0u);
  EXPECT_TRUE(layer_rows(same, 1, 1).empty());

  for (OperatorResult& r : result.operators)
    for (size_t i = 0; i < r.space.entries.size(); ++i)
      if (r.space.entries[i].status == MeasurementStatus::kOk) r.decision.chosen = i;  // the least preferred one
  SearchResult copy = result;
  const double noise = -1;  // whatever is slower at all is slower by more than this
  const std::vector<LayerTime> times = confirm_layers(result, model, ms, contexts, noise, here);
  ASSERT_EQ(times.size(), 1u);
  EXPECT_FALSE(times[0].same);
  EXPECT_GE(times[0].times.rounds(), 6u);
  EXPECT_GT(times[0].times.chosen_ns, 0);
  EXPECT_GT(times[0].times.other_ns, 0);
  EXPECT_EQ(times[0].reverted, times[0].times.ratio.interval.low > 1);
  for (const OperatorResult& r : result.operators) {
    if (r.task.roles() == "output") continue;
    EXPECT_EQ(r.decision.chosen == r.space.default_index, times[0].reverted) << r.task.roles();
    if (times[0].reverted) {
      EXPECT_NE(r.decision.why.find("a whole layer"), std::string::npos);
    }
  }

  // What was recorded decides the same without the machine, and nothing is said of passes that are not in it.
  const std::vector<LayerTimeRow> rows = layer_rows(times, 3, 4);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].session_id, 3);
  EXPECT_EQ(rows[0].search_id, 4);
  EXPECT_EQ(rows[0].chosen_samples_ns.size(), times[0].times.rounds());
  const std::vector<LayerTime> again = confirm_layers(copy, model, ms, contexts, noise, as_recorded(rows));
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].reverted, times[0].reverted);
  for (size_t i = 0; i < result.operators.size(); ++i)
    EXPECT_EQ(copy.operators[i].decision.chosen, result.operators[i].decision.chosen);
  for (OperatorResult& r : copy.operators) r.decision.chosen = r.space.entries.size() - 1;
  const std::vector<uint32_t> other = {128};
  EXPECT_TRUE(confirm_layers(copy, model, ms, other, noise, as_recorded(rows)).empty());
}

}  // namespace
}  // namespace smepilot
