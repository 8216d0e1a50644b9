// Decisions of a search, made again together: a planted search result, its chains, and the plan made of it.
#include "tuner/chain_choice.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "fake_landscape.h"
#include "kernels/registry/registry.h"
#include "tuner/plan_builder.h"
#include "tuner/plan_text.h"

namespace smepilot {
namespace {

// Some variant of this build that reads rows, or one that reads a packed form.
std::string matmul_reading(bool rows) {
  for (const KernelVariant* v : all_variants())
    if (v->op == OpKind::kMatmul && (v->lhs_layout == Layout::kRowMajor) == rows) return v->id;
  return "";
}

constexpr uint32_t kM = 32, kK = 256, kKv = 256;

OperatorShape matmul_of(uint32_t n, uint32_t k = kK) {
  return {OpKind::kMatmul, DType::kF32, kM, n, k, 0, 0};
}

// Times by what the candidates read; the first, which is the default, reads rows.
OperatorResult result_of(const OperatorShape& shape, double rows_ns, double packed_ns, const std::string& role) {
  const Candidate rows = fake_candidate(matmul_reading(true)), packed = fake_candidate(matmul_reading(false));
  OperatorResult r;
  r.space = fake_space({{rows, rows_ns}, {packed, packed_ns}});
  r.space.shape = r.task.shape = shape;
  r.task.uses = {{role, 2}};
  r.entry_ns = {rows_ns, packed_ns};
  r.decision.chosen = packed_ns < rows_ns ? 1 : 0;
  r.decision.verdict = r.decision.chosen == 0 ? Verdict::kDefault : Verdict::kFaster;
  r.decision.chosen_ns = std::min(rows_ns, packed_ns);
  r.decision.default_ns = rows_ns;
  r.decision.finished = true;
  r.decision.why = "its race";
  return r;
}

class ChainChoice : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_FALSE(matmul_reading(true).empty());
    ASSERT_FALSE(matmul_reading(false).empty());
    model_.name = "toy";
    model_.layers = 2;
    model_.heads = 8;
    model_.kv_heads = 4;
    model_.head_dim = 32;
    model_.matrices = {{"attn_q", DType::kF32, 320, kK, 2},
                       {"attn_k", DType::kF32, 128, kK, 2},
                       {"attn_v", DType::kF32, 192, kK, 2},
                       {"ffn_down", DType::kF32, 256, 512, 2}};
    platform_.cores = platform_.cpus = 1;
    for (const char* level : {"L1", "L2", "LLC", "DRAM"})
      calibration_.bandwidths.push_back({level, "copy", 1, 1 << 20, 10, {10}});
  }

  std::vector<PassChain> choose(SearchResult& r, double noise = 0.02) {
    const Roofline roofline(calibration_, platform_);
    const std::vector<uint32_t> ms = {kM}, contexts = {kKv};
    return choose_chains(r, model_, ms, contexts, {&roofline, 1, noise});
  }
  double packing(uint32_t k) {
    const Roofline roofline(calibration_, platform_);
    return roofline.packing_ns(find_variant(matmul_reading(false))->lhs_layout, kM, k, 1);
  }

  ModelShape model_;
  Platform platform_;
  Calibration calibration_;
};

TEST_F(ChainChoice, OnePackingOfThreeConsumersIsGivenUpForRows) {
  const double p = packing(kK);
  ASSERT_GT(p, 0);
  // k alone gains half a packing by the packed form; q and v are best with rows.
  SearchResult r;
  r.operators.push_back(result_of(matmul_of(320), 10 * p, 12 * p, "attn_q"));
  r.operators.push_back(result_of(matmul_of(128), 5 * p, 4.5 * p, "attn_k"));
  r.operators.push_back(result_of(matmul_of(192), 6 * p, 7 * p, "attn_v"));
  r.operators.push_back(result_of(matmul_of(256, 512), 30 * p, 20 * p, "ffn_down"));
  const std::vector<PassChain> chains = choose(r);
  ASSERT_EQ(chains.size(), 1u);
  const PassChain& c = chains[0];
  EXPECT_EQ(c.counted, 4u);
  EXPECT_EQ(c.operators, 5u) << "attention has no time here";
  ASSERT_EQ(c.overrides.size(), 1u);
  EXPECT_EQ(c.overrides[0].roles, "attn_k");
  EXPECT_DOUBLE_EQ(c.overrides[0].winner_ns, 4.5 * p);
  EXPECT_DOUBLE_EQ(c.overrides[0].chosen_ns, 5 * p);
  const double down = 20 * p + packing(512);
  EXPECT_NEAR(c.greedy.ns, 2 * (10 * p + 4.5 * p + 6 * p + p + down), 1e-6 * p);
  EXPECT_NEAR(c.cost.ns, 2 * (10 * p + 5 * p + 6 * p + down), 1e-6 * p);
  EXPECT_NEAR(c.untuned.ns, 2 * (10 * p + 5 * p + 6 * p + 30 * p), 1e-6 * p);
  EXPECT_EQ(c.greedy.packings, 4);
  EXPECT_EQ(c.cost.packings, 2);

  const Result<Plan> plan = build_plan(r, model_, platform_);
  ASSERT_TRUE(plan.ok()) << plan.message();
  const PlanEntry* k = plan->find(matmul_of(128));
  ASSERT_NE(k, nullptr);
  EXPECT_EQ(k->variant, matmul_reading(true));
  EXPECT_DOUBLE_EQ(k->measured_ns, 5 * p);
  EXPECT_NE(k->why.find("alone " + matmul_reading(false)), std::string::npos) << k->why;
  EXPECT_NE(k->why.find(format_ns(c.cost.ns)), std::string::npos) << k->why;
  EXPECT_NE(k->why.find(format_ns(c.greedy.ns)), std::string::npos) << k->why;
  EXPECT_EQ(plan->find(matmul_of(320))->why, "its race");
  EXPECT_EQ(plan->find(matmul_of(256, 512))->variant, matmul_reading(false));
  const std::string table = chain_table(chains);
  EXPECT_NE(table.find(format_ns(c.greedy.ns)), std::string::npos) << table;
  size_t start = 0;
  for (size_t end; (end = table.find('\n', start)) != std::string::npos; start = end + 1)
    EXPECT_LE(end - start, 80u) << table;
}

TEST_F(ChainChoice, WinnersStayWhereTheirFormsAgreeAndWhereTheSavingIsNoise) {
  const double p = packing(kK);
  SearchResult r;
  r.operators.push_back(result_of(matmul_of(320), 100 * p, 50 * p, "attn_q"));
  r.operators.push_back(result_of(matmul_of(128), 50 * p, 25 * p, "attn_k"));
  r.operators.push_back(result_of(matmul_of(192), 60 * p, 60.5 * p, "attn_v"));  // a form that is there anyway
  std::vector<PassChain> chains = choose(r);
  EXPECT_TRUE(chains.at(0).overrides.empty());
  EXPECT_EQ(chains[0].cost.ns, chains[0].greedy.ns);
  for (const OperatorResult& o : r.operators) EXPECT_EQ(o.decision.why, "its race");

  // Rows would save half a packing, but the time of q is known within two packings only.
  SearchResult noisy;
  noisy.operators.push_back(result_of(matmul_of(320), 100 * p, 99.5 * p, "attn_q"));
  EXPECT_TRUE(choose(noisy, 0.02).at(0).overrides.empty());
  EXPECT_EQ(choose(noisy, 0.001).at(0).overrides.size(), 1u);
}

// Two blockings of one kernel: which of them is faster was decided head to head, whatever their medians say.
TEST_F(ChainChoice, ForEqualLayoutsTheRaceHasDecided) {
  const double p = packing(kK);
  SearchResult r;
  r.operators.push_back(result_of(matmul_of(320), 100 * p, 50 * p, "attn_q"));
  OperatorResult& q = r.operators[0];
  SpaceEntry blocked = q.space.entries[1];
  blocked.candidate.nc *= 2;
  q.space.entries.push_back(blocked);
  q.entry_ns.push_back(40 * p);
  const std::vector<PassChain> chains = choose(r);
  EXPECT_TRUE(chains.at(0).overrides.empty());
  EXPECT_EQ(q.decision.chosen, 1u);
  EXPECT_NEAR(chains[0].untuned.ns, 2 * 100 * p, 1e-6 * p);
}

// What is shown of a chain, and stored, adds up to what it costs.
TEST_F(ChainChoice, RowsAddUpToTheCostOfBothChains) {
  const double p = packing(kK);
  SearchResult r;
  r.operators.push_back(result_of(matmul_of(320), 10 * p, 12 * p, "attn_q"));
  r.operators.push_back(result_of(matmul_of(128), 5 * p, 4.5 * p, "attn_k"));
  r.operators.push_back(result_of(matmul_of(192), 6 * p, 7 * p, "attn_v"));
  r.operators.push_back(result_of(matmul_of(256, 512), 30 * p, 20 * p, "ffn_down"));
  const PassChain c = choose(r).at(0);
  ASSERT_EQ(c.rows.size(), 4u);
  double chosen = 0, best = 0;
  for (const ChainRow& row : c.rows) {
    chosen += row.chosen.pass_ns(row.calls);
    best += row.best.pass_ns(row.calls);
    EXPECT_EQ(row.m, kM);
    EXPECT_FALSE(row.predicted);
  }
  EXPECT_NEAR(chosen, c.cost.ns, 1e-6 * p);
  EXPECT_NEAR(best, c.greedy.ns, 1e-6 * p);
  EXPECT_EQ(c.rows[0].role, "attn_q");
  EXPECT_EQ(c.rows[1].role, "attn_k");
  EXPECT_EQ(c.rows[1].chosen.layout, "row");
  EXPECT_NE(c.rows[1].best.layout, "row");
  EXPECT_EQ(c.rows[1].best.packings, 2) << "of both layers";
  EXPECT_NEAR(c.rows[1].best.packing_ns, p, 1e-9 * p);
  EXPECT_EQ(c.rows[1].step, c.rows[0].step);
  EXPECT_NE(c.rows[3].step, c.rows[0].step);
  const std::string text = layer_chain_text(c.rows, {});
  for (const std::string& part : {std::string("* attn_k: ") + matmul_reading(true),
                                  "The chain decided: it takes " + format_ns(c.greedy.ns - c.cost.ns),
                                  "as chosen " + format_ns(c.cost.ns), "best of each " + format_ns(c.greedy.ns)})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
  size_t start = 0;
  for (size_t end; (end = text.find('\n', start)) != std::string::npos; start = end + 1)
    EXPECT_LE(end - start, 80u) << text;
}

TEST_F(ChainChoice, UnfinishedDecisionsAndUnknownPricesChangeNothing) {
  const double p = packing(kK);
  SearchResult r;
  r.operators.push_back(result_of(matmul_of(320), 10 * p, 9.5 * p, "attn_q"));
  r.operators[0].decision.finished = false;
  EXPECT_TRUE(choose(r).at(0).overrides.empty());
  r.operators[0].decision.finished = true;
  calibration_.bandwidths.clear();
  EXPECT_TRUE(choose(r).at(0).overrides.empty());
}

TEST_F(ChainChoice, PredictedDecisionsUsePredictedTimes) {
  const double p = packing(kK);
  SearchResult r;
  r.operators.push_back(result_of(matmul_of(320), 10 * p, 9.5 * p, "attn_q"));
  r.operators[0].decision.verdict = Verdict::kPredicted;
  r.operators[0].decision.chosen_ns = r.operators[0].decision.default_ns = 0;
  r.operators[0].entry_ns = {0, 0};
  const std::vector<PassChain> chains = choose(r);
  EXPECT_TRUE(chains.at(0).predicted);
  EXPECT_EQ(chains[0].overrides.size(), 1u);
  EXPECT_EQ(r.operators[0].decision.chosen, 0u);
  EXPECT_EQ(r.operators[0].decision.chosen_ns, 0) << "still not measured";
}

}  // namespace
}  // namespace smepilot
