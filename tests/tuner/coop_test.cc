// Cooperative execution from the search space to the plan, on the test bed: a machine of two units that any processor
// with AVX-512 VNNI can play.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "db/heuristic.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "profiles/matrix_units.h"
#include "tuner/hardware_evaluator.h"
#include "tuner/plan_builder.h"
#include "tuner/plan_text.h"

namespace smepilot {
namespace {

// The matrix unit three times as fast as the cores, int8 and f32.
Calibration three_to_one() {
  Calibration c;
  for (const char* dtype : {"int8", "f32", "bf16"}) {
    for (const char* isa : {"avx512", "avx512vnni", "avx512bf16"})
      c.peaks.push_back({ExecutionUnit::kMatrix, dtype, isa, 1, 300, {}});
    for (const unsigned w : {1u, 2u, 4u}) {
      c.peaks.push_back({ExecutionUnit::kCpu, dtype, "avx2", w, 100.0 * w, {}});
      c.peaks.push_back({ExecutionUnit::kCpu, dtype, "portable", w, 1.0 * w, {}});
    }
  }
  for (const char* level : {"L1", "L2", "LLC", "DRAM"})
    for (const unsigned w : {1u, 2u, 4u}) c.bandwidths.push_back({level, "read", w, uint64_t{1} << 20, 500.0 * w, {}});
  c.fork_join = {{1, 0, {}, 0}, {2, 1000, {}, 0}, {4, 1000, {}, 0}};
  c.exp_geps = 1;
  return c;
}

Platform bed(unsigned cores) {
  Platform p;
  p.cores = p.cpus = cores;
  p.memory_bytes = uint64_t{1} << 30;
  p.matrix_unit = "testbed";
  p.matrix_units = 1;
  return p;
}

class CoopTest : public testing::Test {
 protected:
  void SetUp() override {
    if ((*usable_isa() & kIsaAvx512Vnni) == 0) GTEST_SKIP() << "SKIPPED: no AVX-512 VNNI here to play the matrix unit";
    ASSERT_TRUE(enable_testbed().ok());
  }
  SearchSpace space_of(const OperatorShape& shape, uint32_t cores) {
    const Roofline roofline(three_to_one(), bed(cores));
    std::vector<uint32_t> workers = worker_counts(bed(cores));
    Result<SearchSpace> s = make_search_space(shape, *usable_isa(), workers, cores, {1, &roofline});
    EXPECT_TRUE(s.ok()) << s.message();
    if (!s.ok()) return {};
    price_space(*s, roofline);
    return std::move(*s);
  }
};

OperatorShape matmul(DType dtype, uint32_t m, uint32_t n, uint32_t k) {
  return {OpKind::kMatmul, dtype, m, n, k, 0, 0};
}

TEST_F(CoopTest, SplitsLieAboutTheBalanceOfBothUnits) {
  const OperatorShape shape = matmul(DType::kQ4_0, 512, 8192, 3072);
  const SearchSpace s = space_of(shape, 2);
  std::set<std::string> seen;
  std::set<uint32_t> columns, rows, dynamic;
  for (const SpaceEntry& e : s.entries) {
    EXPECT_TRUE(seen.insert(describe(e.candidate)).second) << describe(e.candidate);
    const Candidate& c = e.candidate;
    if (c.mode != ExecutionMode::kCoop) continue;
    EXPECT_EQ(c.all_workers(), 2u);
    EXPECT_EQ(c.coop.split % kPanel, 0u);
    EXPECT_TRUE(find_kernels(c, {shape.kind, shape.dtype, shape.k, shape.m}, *usable_isa()).ok());
    EXPECT_GT(e.predicted_ns, 0) << describe(c);
    EXPECT_NE(c.variant.find("avx2"), std::string::npos) << "the fastest of the cores' kernels";
    EXPECT_EQ(c.coop.split_of, c.coop.dim == SplitDim::kN ? shape.n : shape.m);
    (c.coop.dynamic ? dynamic : c.coop.dim == SplitDim::kN ? columns : rows).insert(c.coop.split);
  }
  EXPECT_EQ(split_step(8192), 128u);
  EXPECT_TRUE(columns.contains(6144)) << "three quarters";
  EXPECT_TRUE(columns.contains(6144 - 128) && columns.contains(6144 + 128));
  EXPECT_TRUE(rows.contains(384) && rows.contains(368) && rows.contains(400));
  EXPECT_LE(dynamic.size(), columns.size() / 3);
  EXPECT_TRUE(dynamic.contains(6144));
  // The best price is where both end together.
  const SpaceEntry* best = nullptr;
  for (const SpaceEntry& e : s.entries)
    if (e.candidate.mode == ExecutionMode::kCoop && e.candidate.coop.dim == SplitDim::kN && !e.candidate.coop.dynamic &&
        (best == nullptr || e.predicted_ns < best->predicted_ns))
      best = &e;
  ASSERT_NE(best, nullptr);
  EXPECT_EQ(best->candidate.coop.split, 6144u);
  EXPECT_NEAR(best->predicted_ns, op_flops(shape) / 400 + 1000, 1);
}

TEST_F(CoopTest, ColumnsOfFewRowsAndNothingOfAPanel) {
  for (const SpaceEntry& e : space_of(matmul(DType::kQ4_0, 8, 512, 64), 2).entries)
    if (e.candidate.mode == ExecutionMode::kCoop) {
      EXPECT_EQ(e.candidate.coop.dim, SplitDim::kN);
    }
  for (const SpaceEntry& e : space_of(matmul(DType::kQ4_0, 8, 16, 64), 2).entries)
    EXPECT_NE(e.candidate.mode, ExecutionMode::kCoop) << describe(e.candidate);
}

TEST_F(CoopTest, WorkersOfBothSidesAndOfOneAlone) {
  const SearchSpace s = space_of(matmul(DType::kQ8_0, 64, 1024, 64), 6);
  std::set<std::pair<uint32_t, uint32_t>> divisions;
  bool cpu_alone = false;
  for (const SpaceEntry& e : s.entries) {
    const Candidate& c = e.candidate;
    if (c.mode == ExecutionMode::kCoop) divisions.emplace(c.coop.workers, c.workers);
    cpu_alone = cpu_alone || (c.mode == ExecutionMode::kCpu && c.workers == 5);
    if (c.mode == ExecutionMode::kMatrix && e.status != MeasurementStatus::kRefused) {
      EXPECT_EQ(e.status == MeasurementStatus::kOk, c.workers == 1) << describe(c);
      if (c.workers > 1) {
        EXPECT_NE(e.reason.find("would share 1 matrix unit"), std::string::npos) << e.reason;
      }
    }
  }
  EXPECT_EQ(divisions, (std::set<std::pair<uint32_t, uint32_t>>{{1, 5}, {1, 3}}));
  EXPECT_TRUE(cpu_alone) << "what is left beside the unit is also measured alone";
  EXPECT_EQ(s.entries[s.default_index].candidate.mode, ExecutionMode::kCpu) << "shared units are a plan's choice";
}

TEST_F(CoopTest, PruningSparesWhatSaysWhereToSplit) {
  Calibration c = three_to_one();
  for (Peak& p : c.peaks)
    if (p.unit == ExecutionUnit::kMatrix) p.gflops *= 10;
  const Roofline roofline(c, bed(2));
  const std::vector<uint32_t> workers = {1, 2};
  Result<SearchSpace> s =
      make_search_space(matmul(DType::kQ4_0, 512, 1024, 1024), *usable_isa(), workers, 2, {1, &roofline});
  ASSERT_TRUE(s.ok()) << s.message();
  price_space(*s, roofline);
  prune_space(*s);
  bool slow_side = false;
  for (const SpaceEntry& e : s->entries) {
    const Candidate& x = e.candidate;
    if (x.mode != ExecutionMode::kCpu || x.workers != 1 || x.variant.find("avx2") == std::string::npos) continue;
    if (x.mc == 128 && x.nc == 64)
      slow_side = e.status == MeasurementStatus::kOk;
    else
      EXPECT_NE(e.status, MeasurementStatus::kOk) << describe(x);
  }
  EXPECT_TRUE(slow_side);
}

// Every coop candidate computes the right thing, whole and as a piece, with rows and columns divided.
TEST_F(CoopTest, EveryCandidateIsRight) {
  HardwareOptions options;
  options.cold_bytes = 1 << 20;
  HardwareEvaluator evaluator(bed(2), 2, options);
  size_t tried = 0;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_K}) {
    for (const uint32_t m : {1u, 19u, 160u}) {
      OperatorTask task;
      task.shape = matmul(dtype, m, 100, 256);
      ASSERT_TRUE(evaluator.prepare(task).ok());
      for (const SpaceEntry& e : space_of(task.shape, 2).entries) {
        if (e.status != MeasurementStatus::kOk) continue;
        const CheckResult r = evaluator.check(e.candidate);
        EXPECT_EQ(r.status, MeasurementStatus::kOk) << describe(e.candidate) << ": " << r.reason;
        if (e.candidate.mode != ExecutionMode::kCoop) continue;
        EXPECT_GT(evaluator.sample(e.candidate).value_or(0), 0);
        ++tried;
      }
    }
  }
  EXPECT_GT(tried, 30u);
}

TEST_F(CoopTest, EveryPipelineIsRight) {
  HardwareOptions options;
  options.cold_bytes = 1 << 20;
  HardwareEvaluator evaluator(bed(2), 2, options);
  size_t tried = 0;
  for (const uint32_t m : {1u, 40u}) {
    OperatorTask task;
    task.shape = {OpKind::kAttention, DType::kF16, m, 6, 64, 300, 2};
    ASSERT_TRUE(evaluator.prepare(task).ok());
    for (const SpaceEntry& e : space_of(task.shape, 2).entries) {
      if (e.candidate.mode != ExecutionMode::kCoop) continue;
      if (m == 1) {
        EXPECT_EQ(e.status, MeasurementStatus::kConstraint) << "three query rows share a KV head";
        continue;
      }
      if (e.status != MeasurementStatus::kOk) continue;
      EXPECT_GT(e.predicted_ns, 0);
      const CheckResult r = evaluator.check(e.candidate);
      EXPECT_EQ(r.status, MeasurementStatus::kOk) << describe(e.candidate) << ": " << r.reason;
      EXPECT_GT(evaluator.sample(e.candidate).value_or(0), 0);
      ++tried;
    }
  }
  EXPECT_GT(tried, 5u);
}

TEST_F(CoopTest, TheHeuristicDividesWhereItPays) {
  const IsaSet isa = *usable_isa();
  const Roofline roofline(three_to_one(), bed(2));
  const OperatorShape shape = matmul(DType::kQ4_0, 512, 4096, 1024);
  Result<PlanEntry> e = heuristic_entry(shape, roofline, isa, 2, 1);
  ASSERT_TRUE(e.ok()) << e.message();
  EXPECT_EQ(e->mode, ExecutionMode::kCoop);
  EXPECT_EQ(e->workers, 1);
  EXPECT_EQ(e->coop.workers, 1u);
  EXPECT_EQ(e->coop.dim, SplitDim::kN);
  EXPECT_EQ(e->coop.split, 3072u) << "P_matrix / (P_matrix + P_cpu)";
  EXPECT_EQ(e->coop.split_of, 4096u);
  EXPECT_NEAR(e->predicted_ns, op_flops(shape) / 400 + 1000, 1);
  EXPECT_TRUE(find_kernels(candidate_of(*e), {shape.kind, shape.dtype, shape.k, shape.m}, isa).ok());

  // With one worker, or without a unit, there is nothing to divide.
  EXPECT_EQ(heuristic_entry(shape, roofline, isa, 1, 1)->mode, ExecutionMode::kMatrix);
  EXPECT_EQ(heuristic_entry(shape, roofline, isa, 1, 1)->coop, CoopPart{});
  // A tiny call is not worth a second unit.
  const OperatorShape tiny = matmul(DType::kQ4_0, 1, 64, 64);
  EXPECT_NE(heuristic_entry(tiny, roofline, isa, 2, 1)->mode, ExecutionMode::kCoop);
  // Without a calibration it is the default.
  const Roofline none(Calibration{}, bed(2));
  const Result<PlanEntry> untuned = heuristic_entry(shape, none, isa, 2, 1);
  ASSERT_TRUE(untuned.ok());
  EXPECT_EQ(candidate_of(*untuned), candidate_of(*default_entry(shape, 2)));
}

TEST_F(CoopTest, ADecisionForBothUnitsBecomesAPlanThatReadsBack) {
  OperatorResult r;
  r.space = space_of(matmul(DType::kQ4_0, 512, 1024, 1024), 2);
  r.task.shape = r.space.shape;
  size_t chosen = 0;
  while (r.space.entries[chosen].candidate.mode != ExecutionMode::kCoop) ++chosen;
  r.decision.chosen = chosen;
  r.decision.chosen_ns = 100;
  r.decision.default_ns = 150;
  r.decision.finished = true;
  r.decision.why = "because";
  r.entry_ns.assign(r.space.entries.size(), 0);
  SearchResult result;
  result.search.planner = "race";
  result.search.variant_set_hash = variant_set_hash(*usable_isa());
  result.operators.push_back(r);
  ModelShape model;
  model.name = "toy";
  Result<Plan> plan = build_plan(result, model, bed(2));
  ASSERT_TRUE(plan.ok()) << plan.message();
  EXPECT_EQ(plan->workers, 2u) << "of both sides";
  ASSERT_EQ(plan->entries.size(), 1u);
  EXPECT_EQ(candidate_of(plan->entries[0]), r.space.entries[chosen].candidate);
  const Result<Plan> back = plan_from_json(plan_to_json(*plan), "plan.json");
  ASSERT_TRUE(back.ok()) << back.message();
  EXPECT_EQ(candidate_of(back->entries[0]), r.space.entries[chosen].candidate);
  EXPECT_TRUE(check_plan(*back, bed(2), model, result.search.variant_set_hash).ok());
  const std::string table = plan_table(*plan, nullptr);
  EXPECT_NE(table.find("avx2 x1+avx512vnni x1 n768/1024"), std::string::npos) << table;
}

}  // namespace
}  // namespace smepilot
