#include "tuner/plan_builder.h"

#include <gtest/gtest.h>

#include <limits>

#include "fake_landscape.h"
#include "tuner/plan_text.h"

namespace smepilot {
namespace {

constexpr uint32_t kNoBound = std::numeric_limits<uint32_t>::max();

// A result at m: candidates by their times; `chosen` is one of them, the first is the default.
OperatorResult result_at(const OperatorShape& shape, const std::vector<std::pair<Candidate, double>>& times,
                         size_t chosen) {
  OperatorResult r;
  r.space = fake_space(times);
  r.space.shape = r.task.shape = shape;
  r.decision.chosen = chosen;
  r.decision.verdict = chosen == 0 ? Verdict::kDefault : Verdict::kFaster;
  r.decision.chosen_ns = times[chosen].second;
  r.decision.default_ns = times[0].second;
  r.decision.finished = true;
  r.decision.why = "because";
  for (const auto& [c, ns] : times) r.entry_ns.push_back(ns);
  return r;
}

OperatorShape matmul_at(uint32_t m) {
  return {OpKind::kMatmul, DType::kQ8_0, m, 64, 96, 0, 0};
}
OperatorShape attention_at(uint32_t m, uint32_t kv) {
  return {OpKind::kAttention, DType::kF16, m, 4, 32, kv, 2};
}

Plan plan_of(std::vector<OperatorResult> operators, const BoundOf& bound_of = registry_bound) {
  SearchResult r;
  r.search.planner = "race";
  r.search.variant_set_hash = "0123456789abcdef";
  r.operators = std::move(operators);
  ModelShape model;
  model.name = "toy";
  Result<Plan> plan = build_plan(r, model, Platform{}, bound_of);
  EXPECT_TRUE(plan.ok()) << plan.message();
  return plan.ok() ? std::move(*plan) : Plan{};
}

// Every m from 1 on is covered exactly once, in order.
void expect_covers(const std::vector<PlanEntry>& entries) {
  uint32_t next = 1;
  for (const PlanEntry& e : entries) {
    EXPECT_EQ(e.m_min, next);
    EXPECT_LE(e.m_min, e.m_max);
    next = e.m_max + 1;
  }
  ASSERT_FALSE(entries.empty());
  EXPECT_EQ(entries.back().m_max, kNoBound);
}

TEST(PlanRanges, BoundariesAtTheGeometricMean) {
  const auto times = std::vector<std::pair<Candidate, double>>{{fake_candidate("a"), 100}};
  const Plan plan = plan_of(
      {result_at(matmul_at(8), times, 0), result_at(matmul_at(1), times, 0), result_at(matmul_at(128), times, 0)});
  ASSERT_EQ(plan.entries.size(), 3u);
  expect_covers(plan.entries);
  EXPECT_EQ(plan.entries[0].m_max, 2u);
  EXPECT_EQ(plan.entries[1].m_max, 32u);
  EXPECT_EQ(plan.entries[1].measured_m, 8u);
  EXPECT_EQ(plan.entries[2].why, "because");
}

TEST(PlanRanges, AdjacentAndSingleValuesOfM) {
  const auto times = std::vector<std::pair<Candidate, double>>{{fake_candidate("a"), 100}};
  expect_covers(plan_of({result_at(matmul_at(7), times, 0)}).entries);
  const Plan plan = plan_of(
      {result_at(matmul_at(1), times, 0), result_at(matmul_at(2), times, 0), result_at(matmul_at(3), times, 0)});
  ASSERT_EQ(plan.entries.size(), 3u);
  expect_covers(plan.entries);
  EXPECT_EQ(plan.entries[0].m_max, 1u);
  EXPECT_EQ(plan.entries[1].m_max, 2u);
}

TEST(PlanRanges, CrossoverWhereMeasuredTimesCross) {
  const Candidate gemv = fake_candidate("gemv"), gemm = fake_candidate("gemm");
  // At m=1 gemv is 4x faster, at m=64 it is 2x slower: over log2 m the ratio crosses 1 two thirds of the way, at 16.
  const Plan plan = plan_of({result_at(matmul_at(1), {{gemm, 400}, {gemv, 100}}, 1),
                             result_at(matmul_at(64), {{gemm, 1000}, {gemv, 2000}}, 0)});
  ASSERT_EQ(plan.entries.size(), 2u);
  expect_covers(plan.entries);
  EXPECT_NEAR(plan.entries[0].m_max, 16, 1);
  EXPECT_EQ(plan.entries[0].variant, "gemv");
  EXPECT_EQ(plan.entries[1].variant, "gemm");
}

TEST(PlanRanges, GainsAndTimesComeFromTheDecision) {
  const Plan plan =
      plan_of({result_at(matmul_at(1), {{fake_candidate("a", 2), 300}, {fake_candidate("b", 1, 32), 200}}, 1)});
  ASSERT_EQ(plan.entries.size(), 1u);
  const PlanEntry& e = plan.entries[0];
  EXPECT_EQ(e.measured_ns, 200);
  EXPECT_EQ(e.default_ns, 300);
  EXPECT_EQ(e.nc, 32u);
  EXPECT_EQ(e.workers, 1);
  EXPECT_EQ(plan.workers, 1u);
  EXPECT_EQ(plan.planner, "race");
  EXPECT_EQ(plan.variant_set_hash, "0123456789abcdef");
}

TEST(PlanRanges, BoundedVariantEndsAtItsBound) {
  const BoundOf bounds = [](const std::string& v) { return v == "gemv" ? 4 : kNoBound; };
  const auto gemv = std::vector<std::pair<Candidate, double>>{{fake_candidate("gemv"), 100}};
  const auto gemm = std::vector<std::pair<Candidate, double>>{{fake_candidate("gemm"), 100}};
  const Plan two = plan_of({result_at(matmul_at(1), gemv, 0), result_at(matmul_at(400), gemm, 0)}, bounds);
  ASSERT_EQ(two.entries.size(), 2u);
  expect_covers(two.entries);
  EXPECT_EQ(two.entries[0].m_max, 4u) << "and not the geometric mean, 20";
  const Plan one = plan_of({result_at(matmul_at(1), gemv, 0)}, bounds);
  ASSERT_EQ(one.entries.size(), 2u) << "beyond the bound the default takes over";
  expect_covers(one.entries);
  EXPECT_EQ(one.entries[0].m_max, 4u);
  EXPECT_EQ(one.entries[1].measured_ns, 0);
  EXPECT_EQ(one.entries[1].variant, default_entry(matmul_at(5), 1)->variant);
}

TEST(PlanRanges, AttentionByContext) {
  const auto a = std::vector<std::pair<Candidate, double>>{{fake_candidate("a"), 100}};
  const auto b = std::vector<std::pair<Candidate, double>>{{fake_candidate("b"), 100}};
  const Plan plan = plan_of({result_at(attention_at(1, 512), a, 0), result_at(attention_at(1, 2048), b, 0),
                             result_at(attention_at(1024, 1024), a, 0), result_at(attention_at(1024, 2048), b, 0)});
  // Bands up to 724 (512·1024), 1448 (1024·2048) and beyond.
  const auto chosen = [&](uint32_t m, uint32_t kv) {
    const PlanEntry* e = plan.find(attention_at(m, kv));
    return e == nullptr ? std::string("none") : e->variant;
  };
  EXPECT_EQ(chosen(1, 100), "a");
  EXPECT_EQ(chosen(1, 512), "a");
  EXPECT_EQ(chosen(1, 2048), "b");
  EXPECT_EQ(chosen(1, 100000), "b");
  EXPECT_EQ(chosen(1024, 1024), "a");
  EXPECT_EQ(chosen(5000, 5000), "b");
  for (uint32_t m = 1; m < 3000; m += 7)
    for (uint32_t kv = m; kv < 6000; kv += 531) EXPECT_NE(plan.find(attention_at(m, kv)), nullptr) << m << " " << kv;
}

TEST(PlanRanges, GroupsAreSeparate) {
  const auto times = std::vector<std::pair<Candidate, double>>{{fake_candidate("a"), 100}};
  OperatorShape other = matmul_at(1);
  other.dtype = DType::kQ4_0;
  const Plan plan =
      plan_of({result_at(matmul_at(1), times, 0), result_at(other, times, 0), result_at(matmul_at(8), times, 0)});
  EXPECT_EQ(plan.entries.size(), 3u);
  EXPECT_NE(plan.find(matmul_at(4)), nullptr);
  EXPECT_EQ(plan.find(matmul_at(4))->dtype, DType::kQ8_0);
  other.m = 4;
  EXPECT_EQ(plan.find(other)->dtype, DType::kQ4_0);
}

TEST(PassGains, AddUpCallsOfMeasuredOperators) {
  ModelShape model;
  model.name = "toy";
  model.layers = 3;
  model.heads = 4;
  model.kv_heads = 2;
  model.head_dim = 32;
  model.matrices = {{"ffn_up", DType::kQ8_0, 64, 96, 3}, {"output", DType::kQ8_0, 500, 96, 1}};
  SearchResult r;
  r.operators.push_back(result_at(matmul_at(1), {{fake_candidate("a"), 300}, {fake_candidate("b"), 200}}, 1));
  r.operators.push_back(result_at(attention_at(1, 512), {{fake_candidate("c"), 50}}, 0));
  const std::vector<uint32_t> ms = {1}, contexts = {512};
  const std::vector<PassGain> gains = pass_gains(r, model, ms, contexts);
  ASSERT_EQ(gains.size(), 1u);
  EXPECT_EQ(gains[0].chosen_ns, 3 * 200 + 3 * 50);
  EXPECT_EQ(gains[0].default_ns, 3 * 300 + 3 * 50);
  EXPECT_EQ(gains[0].operators, 3u);
  EXPECT_EQ(gains[0].measured, 2u) << "the output matrix was not measured, and that is said";
  EXPECT_NEAR(gains[0].gain(), 1050.0 / 750, 1e-12);
}

TEST(PlanText, TableFitsInEightyColumns) {
  const std::string id = "matmul.f32.q8.q4_0.16x16.avx512vnni.dpbusd";
  const Plan plan = plan_of(
      {result_at(matmul_at(1), {{fake_candidate(id, 2, 128), 123456}, {fake_candidate(id, 2, 256), 100000}}, 1)});
  const std::string text = plan_table(plan, nullptr);
  EXPECT_NE(text.find("avx512vnni.dpbusd x2 128/256"), std::string::npos) << text;
  EXPECT_NE(text.find("1.23x"), std::string::npos) << text;
  size_t start = 0;
  for (size_t end; (end = text.find('\n', start)) != std::string::npos; start = end + 1)
    EXPECT_LE(end - start, 80u) << text;
}

}  // namespace
}  // namespace smepilot
