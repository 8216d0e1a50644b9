// Whole layers as chosen against untuned: the comparison on made-up times, and real layers of a toy model.
#include "tuner/layer_timing.h"

#include <gtest/gtest.h>

#include "kernels/isa/isa_detect.h"

namespace smepilot {
namespace {

TEST(LayerTiming, ComparesInAbbaOrderAndPairsByRound) {
  std::string order;
  double drift = 1;
  const LayerTime t = compare_layers(
      [&](bool chosen) {
        order += chosen ? 'c' : 'u';
        drift *= 1.01;  // of a machine that gets slower and slower
        return (chosen ? 80 : 100) * drift;
      },
      {});
  EXPECT_EQ(order.substr(0, 10), "cucuuccuuc");
  EXPECT_EQ(t.rounds, 12u);
  EXPECT_GT(t.ratio.low, 0.75);
  EXPECT_LT(t.ratio.high, 0.85);
  LayerRules few;
  few.rounds = 3;
  EXPECT_EQ(compare_layers([](bool chosen) { return chosen ? 200.0 : 100.0; }, few).ratio.low, 0)
      << "three rounds decide nothing";
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
  std::vector<LayerTime> same = confirm_layers(result, model, platform, ms, contexts, {});
  ASSERT_EQ(same.size(), 1u);
  EXPECT_TRUE(same[0].same);
  EXPECT_EQ(same[0].rounds, 0u);

  for (OperatorResult& r : result.operators)
    for (size_t i = 0; i < r.space.entries.size(); ++i)
      if (r.space.entries[i].status == MeasurementStatus::kOk) r.decision.chosen = i;  // the least preferred one
  LayerRules rules;
  rules.noise = -1;  // whatever is slower at all is slower by more than this
  const std::vector<LayerTime> times = confirm_layers(result, model, platform, ms, contexts, rules);
  ASSERT_EQ(times.size(), 1u);
  EXPECT_FALSE(times[0].same);
  EXPECT_GE(times[0].rounds, 6u);
  EXPECT_GT(times[0].chosen_ns, 0);
  EXPECT_GT(times[0].untuned_ns, 0);
  EXPECT_EQ(times[0].reverted, times[0].ratio.low > 1);
  for (const OperatorResult& r : result.operators) {
    if (r.task.roles() == "output") continue;
    EXPECT_EQ(r.decision.chosen == r.space.default_index, times[0].reverted) << r.task.roles();
    if (times[0].reverted) {
      EXPECT_NE(r.decision.why.find("a whole layer"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace smepilot
