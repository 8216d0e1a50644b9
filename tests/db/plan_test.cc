// Plan: look-up, the untuned default, and the refusal of a plan that was made for something else.
#include "db/plan.h"

#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "tests/db/support.h"

namespace smepilot {
namespace {

using test::attention_entry;
using test::matmul_entry;

OperatorShape attention_shape(uint32_t m, uint32_t kv_len) {
  return {OpKind::kAttention, DType::kF16, m, 4, 16, kv_len, 2};
}

TEST(PlanFind, RangesOfM) {
  Plan plan;
  plan.entries = {matmul_entry(1, 1), matmul_entry(2, 15), matmul_entry(16, UINT32_MAX)};
  for (const auto& [m, index] : {std::pair{1u, 0}, {2u, 1}, {15u, 1}, {16u, 2}, {100000u, 2}})
    EXPECT_EQ(plan.find(test::matmul_shape(m)), &plan.entries[static_cast<size_t>(index)]) << m;
  plan.entries.pop_back();
  EXPECT_EQ(plan.find(test::matmul_shape(16)), nullptr);
  EXPECT_EQ(plan.find(test::matmul_shape(0)), nullptr);
  for (auto change :
       {+[](OperatorShape& s) { s.n = 129; }, +[](OperatorShape& s) { s.k = 96; },
        +[](OperatorShape& s) { s.dtype = DType::kQ8_0; }, +[](OperatorShape& s) { s.kind = OpKind::kNorm; }}) {
    OperatorShape shape = test::matmul_shape(1);
    ASSERT_NE(plan.find(shape), nullptr);
    change(shape);
    EXPECT_EQ(plan.find(shape), nullptr);
  }
}

TEST(PlanFind, TheNarrowestRangeWins) {
  Plan plan;
  plan.entries = {matmul_entry(1, UINT32_MAX), matmul_entry(4, 8), matmul_entry(5, 5)};
  EXPECT_EQ(plan.find(test::matmul_shape(5)), &plan.entries[2]);
  EXPECT_EQ(plan.find(test::matmul_shape(6)), &plan.entries[1]);
  EXPECT_EQ(plan.find(test::matmul_shape(9)), &plan.entries[0]);
}

TEST(PlanFind, AttentionByTheSmallestSufficientCache) {
  Plan plan;
  plan.entries = {attention_entry(UINT32_MAX), attention_entry(512), attention_entry(2048)};  // in any order
  EXPECT_EQ(plan.find(attention_shape(1, 1)), &plan.entries[1]);
  EXPECT_EQ(plan.find(attention_shape(1, 512)), &plan.entries[1]);
  EXPECT_EQ(plan.find(attention_shape(1, 513)), &plan.entries[2]);
  EXPECT_EQ(plan.find(attention_shape(1, 2049)), &plan.entries[0]);
  OperatorShape other = attention_shape(1, 1);
  other.kv_heads = 4;
  EXPECT_EQ(plan.find(other), nullptr);
}

// A plan of default entries for a machine with this process's ISA: the one that check_plan() accepts here.
class CheckPlan : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto isa = usable_isa();
    ASSERT_OK(isa);
    hash_ = variant_set_hash(*isa);
    plan_ = test::sample_plan();
    plan_.variant_set_hash = hash_;
    plan_.entries.clear();
    for (const OperatorShape& shape : {test::matmul_shape(1), test::matmul_shape(64), attention_shape(4, 64)}) {
      auto entry = default_entry(shape, 2);
      ASSERT_OK(entry);
      plan_.entries.push_back(*entry);
    }
    ASSERT_OK(check());
  }
  Status check() const { return check_plan(plan_, platform_, model_, hash_); }

  Platform platform_ = test::sample_platform();
  ModelShape model_ = test::sample_model();
  std::string hash_;
  Plan plan_;
};

TEST_F(CheckPlan, NamesEveryFieldOfThePlatformWithBothValues) {
  const auto identity = platform_.identity();
  ASSERT_GE(identity.size(), 5u);
  for (size_t i = 0; i < identity.size(); ++i) {
    const Plan saved = plan_;
    plan_.platform[i].second = "something else";
    EXPECT_ERROR(check(),
                 identity[i].first + ": plan has 'something else', this machine has '" + identity[i].second + "'");
    plan_.platform.erase(plan_.platform.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_ERROR(check(), identity[i].first + ": the plan does not say");
    plan_ = saved;
  }
  plan_.platform.emplace_back("phase_of_moon", "full");
  EXPECT_ERROR(check(), "phase_of_moon: plan has 'full'");
}

TEST_F(CheckPlan, NamesTheCpuOfAnotherMachine) {
  platform_.cpu_model = "Another CPU";
  EXPECT_ERROR(check(), "cpu_model: plan has 'Test CPU 9000', this machine has 'Another CPU'");
}

TEST_F(CheckPlan, NamesVersionFingerprintModelAndKernels) {
  Plan saved = plan_;
  plan_.version = 7;
  EXPECT_ERROR(check(), "version: the plan has 7, this build reads 1 to 2");
  plan_ = saved;
  plan_.fingerprint = "feed";
  EXPECT_ERROR(check(), "fingerprint: plan has 'feed', this machine has '" + platform_.fingerprint() + "'");
  plan_ = saved;
  model_.layers = 3;
  model_.name = "other model";
  EXPECT_ERROR(check(), "model: the plan was made for 'tiny' (" + plan_.model_hash +
                            "), this model is 'other model' (" + model_.hash() + ")");
  model_ = test::sample_model();
  model_.name = "a copy under another name";
  EXPECT_OK(check());
  plan_.variant_set_hash = "feedbeef";
  EXPECT_ERROR(check(),
               "the plan was made for another set of kernels (feedbeef), this build and machine have " + hash_);
}

TEST_F(CheckPlan, NamesTheEntryThatCannotRun) {
  const Plan saved = plan_;
  const auto expect = [&](auto change, const std::string& message) {
    plan_ = saved;
    change(plan_);
    EXPECT_ERROR(check(), message);
  };
  expect([](Plan& p) { p.entries[1].variant = "matmul.of.tomorrow"; },
         "entries[1].variant: this build has no kernel 'matmul.of.tomorrow'");
  expect([](Plan& p) { p.entries[0].variant = p.entries[2].variant; }, "entries[0].variant: ");
  expect([](Plan& p) { p.entries[0].dtype = DType::kF32; }, "entries[0].variant: ");
  expect([](Plan& p) { p.entries[0].mc = 0; }, "entries[0].mc: 0");
  expect([](Plan& p) { p.entries[0].nc = 17; }, "entries[0].nc: 17");
  expect([](Plan& p) { p.entries[2].kv_tile = 0; }, "entries[2].kv_tile: 0");
  expect([](Plan& p) { p.entries[2].kv_heads = 3; }, "entries[2].kv_heads: 3");
  expect([](Plan& p) { p.entries[0].k = 33; }, "entries[0].k: 33");
  expect([](Plan& p) { p.entries[0].m_max = 0; }, "entries[0].m_max: 0");
  expect([](Plan& p) { p.entries[1].workers = 3; }, "entries[1].workers: 3, expected at most the plan's 2");
  expect([](Plan& p) { p.entries[1].workers = 0; }, "entries[1].workers: 0");
  expect([](Plan& p) { p.entries[1].measured_ns = -1; }, "entries[1].measured_ns");
  expect([](Plan& p) { p.workers = 1000; }, "workers: the plan uses 1000, this machine has 4 CPUs");
  expect([](Plan& p) { p.workers = 0; }, "workers: 0");
  expect(
      [](Plan& p) {
        PlanEntry& e = p.entries[1];
        e.mode = e.mode == ExecutionMode::kCpu ? ExecutionMode::kMatrix : ExecutionMode::kCpu;
      },
      "entries[1].mode: is ");
}

TEST_F(CheckPlan, RefusesAKernelMadeForFewerRows) {
  int tried = 0;
  for (const KernelVariant* v : all_variants()) {
    if (v->op != OpKind::kMatmul || v->max_m == 0 || (v->isa & ~*usable_isa()) != 0) continue;
    PlanEntry& e = plan_.entries[0];
    e.variant = v->id;
    e.dtype = v->rhs;
    e.k = 256;
    e.mode = v->unit == ExecutionUnit::kMatrix ? ExecutionMode::kMatrix : ExecutionMode::kCpu;
    e.m_max = v->max_m;
    EXPECT_OK(check());
    e.m_max = v->max_m + 1;
    EXPECT_ERROR(check(), fmt::format("made for at most {} rows", v->max_m));
    ++tried;
  }
  if (tried == 0) GTEST_SKIP() << "SKIPPED: no kernel usable here is bounded in m";
}

TEST(DefaultEntry, IsTheMostPreferredUsableVariant) {
  const auto isa = usable_isa();
  ASSERT_OK(isa);
  for (const uint32_t m : {1u, 512u}) {
    const OperatorShape shape = test::matmul_shape(m);
    auto e = default_entry(shape, 2);
    ASSERT_OK(e);
    EXPECT_EQ(e->variant, select_variants(shape, *isa).usable.at(0)->id);
    EXPECT_EQ(e->workers, 2);
    EXPECT_GT(e->mc, 0u);
    EXPECT_EQ(e->measured_ns, 0);
    Plan plan;
    plan.entries = {*e};
    EXPECT_NE(plan.find(shape), nullptr);
  }
  auto e = default_entry(attention_shape(1, 100), 0);
  ASSERT_OK(e);
  EXPECT_EQ(e->workers, 1);
  EXPECT_GT(e->kv_tile, 0u);
  EXPECT_EQ(e->mc, 0u);
}

TEST(DefaultEntry, SaysWhyNothingCanRun) {
  OperatorShape shape = test::matmul_shape(1);
  shape.dtype = DType::kQ8;  // never weights
  EXPECT_ERROR(default_entry(shape, 1), "no kernel of this build can run matmul of q8 with m=1 n=128 k=64");
}

}  // namespace
}  // namespace smepilot
