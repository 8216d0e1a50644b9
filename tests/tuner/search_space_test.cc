#include "tuner/search_space.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "db/plan.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

constexpr OperatorShape kMatmul{OpKind::kMatmul, DType::kQ8_0, 1, 576, 576, 0, 0};
constexpr OperatorShape kAttention{OpKind::kAttention, DType::kF16, 1, 9, 64, 2048, 3};

SearchSpace space_for(const OperatorShape& shape, std::vector<uint32_t> workers = {1, 2}, uint32_t def = 2) {
  Result<SearchSpace> s = make_search_space(shape, *usable_isa(), workers, def);
  EXPECT_TRUE(s.ok()) << s.message();
  return s.ok() ? std::move(*s) : SearchSpace{};
}

size_t count(const SearchSpace& s, MeasurementStatus status) {
  return static_cast<size_t>(
      std::count_if(s.entries.begin(), s.entries.end(), [&](const SpaceEntry& e) { return e.status == status; }));
}

TEST(SearchSpace, EveryVariantOfTheDtypeIsOpenOrRefusedWithAReason) {
  for (OperatorShape shape : {kMatmul, kAttention}) {
    for (const uint32_t m : {1u, 8u, 512u}) {
      shape.m = m;
      const SearchSpace s = space_for(shape);
      for (const KernelVariant* v : all_variants()) {
        if (v->op != shape.kind || v->rhs != shape.dtype) continue;
        EXPECT_TRUE(std::any_of(s.entries.begin(), s.entries.end(),
                                [&](const SpaceEntry& e) { return e.candidate.variant == v->id; }))
            << v->id << " is missing at m=" << m;
      }
      for (const SpaceEntry& e : s.entries)
        EXPECT_EQ(e.reason.empty(), e.status == MeasurementStatus::kOk) << describe(e.candidate);
    }
  }
}

TEST(SearchSpace, NoCandidateTwice) {
  for (const uint32_t m : {1u, 7u, 16u, 64u, 128u, 512u, 1000u}) {
    for (OperatorShape shape : {kMatmul, kAttention}) {
      shape.m = m;
      std::set<std::string> seen;
      for (const SpaceEntry& e : space_for(shape).entries)
        EXPECT_TRUE(seen.insert(describe(e.candidate)).second) << describe(e.candidate);
    }
  }
}

TEST(SearchSpace, ExactlyOneDefaultAndItIsThePlansDefault) {
  for (OperatorShape shape : {kMatmul, kAttention}) {
    for (const uint32_t m : {1u, 100u, 512u}) {
      shape.m = m;
      const SearchSpace s = space_for(shape);
      const PlanEntry def = std::move(default_entry(shape, 2)).value();
      EXPECT_EQ(std::count_if(s.entries.begin(), s.entries.end(), [](const SpaceEntry& e) { return e.is_default; }), 1);
      const SpaceEntry& e = s.entries[s.default_index];
      EXPECT_TRUE(e.is_default);
      EXPECT_EQ(e.status, MeasurementStatus::kOk);
      EXPECT_EQ(e.candidate, candidate_of(def));
    }
  }
}

TEST(SearchSpace, TooFewTasksForTheWorkersIsAConstraint) {
  OperatorShape shape = kMatmul;
  shape.n = 48;  // three panels
  const SearchSpace s = space_for(shape, {1, 4}, 1);
  size_t refused = 0;
  for (const SpaceEntry& e : s.entries)
    if (e.candidate.workers == 4 && e.status != MeasurementStatus::kUnsupported &&
        e.status != MeasurementStatus::kRefused) {
      EXPECT_EQ(e.status, MeasurementStatus::kConstraint) << describe(e.candidate);
      EXPECT_NE(e.reason.find("cannot feed 4 workers"), std::string::npos) << e.reason;
      ++refused;
    }
  EXPECT_GT(refused, 0u);
}

TEST(SearchSpace, ShortPiecesOfTheCacheAreAConstraint) {
  OperatorShape shape = kAttention;
  shape.kv_len = 256;
  const SearchSpace s = space_for(shape);
  bool seen = false;
  for (const SpaceEntry& e : s.entries)
    if (e.candidate.kv_splits == 4 && e.candidate.workers == 2) {
      EXPECT_EQ(e.status, MeasurementStatus::kConstraint);
      seen = true;
    }
  EXPECT_TRUE(seen);
}

TEST(SearchSpace, MissingInstructionsAreUnsupported) {
  const char* old = std::getenv("SMEPILOT_FORCE_ISA");
  const std::string saved = old == nullptr ? "" : old;
  setenv("SMEPILOT_FORCE_ISA", "portable", 1);
  const Result<SearchSpace> s = make_search_space(kMatmul, *usable_isa(), std::vector<uint32_t>{1}, 1);
  if (old == nullptr)
    unsetenv("SMEPILOT_FORCE_ISA");
  else
    setenv("SMEPILOT_FORCE_ISA", saved.c_str(), 1);
  ASSERT_TRUE(s.ok()) << s.message();
  for (const SpaceEntry& e : s->entries)
    if (find_variant(e.candidate.variant)->isa != 0) {
      EXPECT_EQ(e.status, MeasurementStatus::kUnsupported);
      EXPECT_NE(e.reason.find("needs"), std::string::npos);
    }
}

TEST(SearchSpace, BoundedVariantsAreRefusedAboveTheirBound) {
  OperatorShape shape = kMatmul;
  shape.m = 512;
  const SearchSpace s = space_for(shape);
  for (const SpaceEntry& e : s.entries) {
    const KernelVariant* v = find_variant(e.candidate.variant);
    if (v->max_m != 0 && v->max_m < 512) {
      EXPECT_NE(e.status, MeasurementStatus::kOk) << describe(e.candidate);
    }
  }
}

TEST(Pruning, KeepsTheDefaultTheNearAndEachVariantsBest) {
  SearchSpace s;
  s.shape = kMatmul;
  const auto add = [&](const char* variant, uint32_t nc, double predicted, bool is_default = false) {
    SpaceEntry e;
    e.candidate.variant = variant;
    e.candidate.nc = nc;
    e.predicted_ns = predicted;
    e.is_default = is_default;
    s.entries.push_back(e);
  };
  add("a", 64, 1000);
  add("a", 32, 2400);
  add("a", 16, 2600);
  add("b", 64, 5000);
  add("b", 32, 5001);
  add("c", 64, 9000);
  add("d", 64, 90000, true);
  add("e", 64, 0);
  s.default_index = 6;
  prune_space(s, {2.5, 8});
  const auto status = [&](size_t i) { return s.entries[i].status; };
  EXPECT_EQ(status(0), MeasurementStatus::kOk);
  EXPECT_EQ(status(1), MeasurementStatus::kOk);
  EXPECT_EQ(status(2), MeasurementStatus::kPruned);
  EXPECT_EQ(status(3), MeasurementStatus::kOk) << "the best of its variant, within 8x";
  EXPECT_EQ(status(4), MeasurementStatus::kPruned);
  EXPECT_EQ(status(5), MeasurementStatus::kPruned) << "beyond 8x";
  EXPECT_EQ(status(6), MeasurementStatus::kOk) << "the default";
  EXPECT_EQ(status(7), MeasurementStatus::kOk) << "without a price nothing is known against it";
  EXPECT_EQ(s.entries[2].reason, "predicted 2.60 us, 2.6x the best prediction of 1.00 us");
}

TEST(Pricing, FollowsTheRooflineAndUnevenDivision) {
  Platform platform;
  platform.caches = {{1, 32 << 10, 1}, {2, 1 << 20, 1}};
  Calibration c;
  for (const KernelVariant* v : all_variants())
    for (const unsigned w : {1u, 2u})
      for (const char* dtype : {"int8", "f32"}) c.peaks.push_back({v->unit, dtype, isa_to_string(0), w, 10.0 * w, {}});
  for (const char* level : {"L1", "L2", "LLC", "DRAM"})
    for (const unsigned w : {1u, 2u}) c.bandwidths.push_back({level, "read", w, 1 << 20, 10.0 * w, {}});
  c.fork_join = {{1, 0, {}}, {2, 1000, {}}};
  const Roofline roofline(c, platform);
  OperatorShape shape = kMatmul;
  shape.n = 192;
  SearchSpace s = space_for(shape, {1, 2}, 2);
  price_space(s, roofline);
  double even = 0, uneven = 0;
  const std::string variant = s.entries[s.default_index].candidate.variant;
  for (const SpaceEntry& e : s.entries) {
    if (e.candidate.variant != variant || e.candidate.workers != 2) continue;
    if (e.candidate.nc == 32) even = e.predicted_ns;    // 6 tasks
    if (e.candidate.nc == 64) uneven = e.predicted_ns;  // 3 tasks: one worker does two of them
  }
  ASSERT_GT(even, 1000);
  EXPECT_NEAR((uneven - 1000) / (even - 1000), 4.0 / 3, 1e-6);
  EXPECT_GT(count(s, MeasurementStatus::kOk), 0u);
}

TEST(OperatorTasks, CoverEveryMatrixAndShareEqualShapes) {
  const Result<ModelShape> model = load_model_profile("smollm2-135m");
  ASSERT_TRUE(model.ok()) << model.message();
  const std::vector<uint32_t> ms = {1, 8, 512}, contexts = {512, 2048};
  const std::vector<OperatorTask> tasks = operator_tasks(*model, ms, contexts);
  std::set<std::string> seen;
  for (const OperatorTask& t : tasks) {
    EXPECT_TRUE(seen.insert(describe(t.shape)).second) << describe(t.shape) << " appears twice";
    EXPECT_GT(t.calls(), 0u);
    EXPECT_GT(t.pass_bytes, 0u);
  }
  for (const uint32_t m : {1u, 8u, 512u})
    for (const MatrixShape& w : model->matrices) {
      const bool present = std::any_of(tasks.begin(), tasks.end(), [&](const OperatorTask& t) {
        return t.shape.kind == OpKind::kMatmul && t.shape.m == m && t.shape.n == w.n && t.shape.k == w.k &&
               t.roles().find(w.role) != std::string::npos;
      });
      EXPECT_EQ(present, w.role != "output" || m <= 16) << w.role << " at m=" << m;
    }
  for (const uint32_t m : {1u, 8u, 512u})
    for (const uint32_t kv : contexts)
      EXPECT_TRUE(std::any_of(tasks.begin(), tasks.end(),
                              [&](const OperatorTask& t) {
                                return t.shape.kind == OpKind::kAttention && t.shape.m == m && t.shape.kv_len == kv;
                              }))
          << m << " " << kv;
}

TEST(WorkerCounts, PowersOfTwoCoresAndThreads) {
  Platform p;
  p.cores = 6;
  p.cpus = 12;
  EXPECT_EQ(worker_counts(p), (std::vector<uint32_t>{1, 2, 4, 6, 12}));
  p.cores = p.cpus = 1;
  EXPECT_EQ(worker_counts(p), (std::vector<uint32_t>{1}));
  p.cores = p.cpus = 2;
  EXPECT_EQ(worker_counts(p), (std::vector<uint32_t>{1, 2}));
}

TEST(Simpler, ModeThenWorkersThenDefaultThenOrder) {
  SearchSpace s;
  const auto add = [&](ExecutionMode mode, uint32_t workers, bool is_default) {
    SpaceEntry e;
    e.candidate.mode = mode;
    e.candidate.workers = workers;
    e.is_default = is_default;
    s.entries.push_back(e);
  };
  add(ExecutionMode::kMatrix, 1, false);
  add(ExecutionMode::kCpu, 2, false);
  add(ExecutionMode::kCpu, 2, true);
  add(ExecutionMode::kCpu, 1, false);
  EXPECT_TRUE(simpler(s, 1, 0));
  EXPECT_TRUE(simpler(s, 3, 1));
  EXPECT_TRUE(simpler(s, 2, 1));
  EXPECT_FALSE(simpler(s, 1, 2));
}

TEST(Text, Times) {
  EXPECT_EQ(format_ns(8.2), "8.20 ns");
  EXPECT_EQ(format_ns(14100), "14.1 us");
  EXPECT_EQ(format_ns(999600), "1.00 ms");
  EXPECT_EQ(format_ns(99.96), "100 ns");
  EXPECT_EQ(format_ns(1.25e9), "1.25 s");
}

}  // namespace
}  // namespace smepilot
