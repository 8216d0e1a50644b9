// The evaluator on the real kernels (small shapes), and the guard that kernels are first run behind.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <set>

#include "db/plan.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "tuner/guard.h"
#include "tuner/hardware_evaluator.h"
#include "tuner/operands.h"

#if defined(__SANITIZE_ADDRESS__)
#define SMEPILOT_TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SMEPILOT_TEST_ASAN 1
#endif
#endif

namespace smepilot {
namespace {

TEST(Guard, PassesOnWhatWasFound) {
  const CheckResult r = run_guarded([] { return CheckResult{MeasurementStatus::kIncorrect, "off by one"}; }, 10);
  EXPECT_EQ(r.status, MeasurementStatus::kIncorrect);
  EXPECT_EQ(r.reason, "off by one");
  EXPECT_EQ(run_guarded([] { return CheckResult{}; }, 10).status, MeasurementStatus::kOk);
}

TEST(Guard, CrashIsAnAnswer) {
  const CheckResult r = run_guarded(
      []() -> CheckResult {
        signal(SIGILL, SIG_DFL);
        raise(SIGILL);
        return {};
      },
      10);
  EXPECT_EQ(r.status, MeasurementStatus::kCrashed);
  EXPECT_NE(r.reason.find("signal 4"), std::string::npos) << r.reason;
  const CheckResult e = run_guarded([]() -> CheckResult { _exit(3); }, 10);
  EXPECT_EQ(e.status, MeasurementStatus::kCrashed);
  EXPECT_NE(e.reason.find("3"), std::string::npos);
}

TEST(Guard, HangIsAnAnswer) {
  const CheckResult r = run_guarded(
      []() -> CheckResult {
        for (;;) pause();
      },
      0.2);
  EXPECT_EQ(r.status, MeasurementStatus::kTimeout);
}

Platform small_platform() {
  Platform p;
  p.cores = p.cpus = 2;
  p.memory_bytes = uint64_t{1} << 30;
  return p;
}

// Rounds go over several places of the activations: huge pages of their own, the same numbers in each.
TEST(Operands, PlacesDifferAndResultsDoNot) {
  WorkerPool pool(2);
  for (const OperatorShape& shape : {OperatorShape{OpKind::kMatmul, DType::kQ8_0, 3, 80, 256, 0, 0},
                                     OperatorShape{OpKind::kAttention, DType::kF16, 5, 6, 64, 100, 2}}) {
    const Result<PlanEntry> entry = default_entry(shape, 2);
    ASSERT_TRUE(entry.ok()) << entry.message();
    const Candidate candidate = candidate_of(*entry);
    Kernels kernels;
    kernels.variant = find_variant(candidate.variant);
    auto operands = make_operands(shape, 1, 2, uint64_t{1} << 30, pool);
    ASSERT_TRUE(operands.ok()) << operands.message();
    std::set<const float*> places;
    std::vector<float> first;
    for (int i = 0; i < 12; ++i) {
      (*operands)->call(pool, candidate, kernels);
      const std::span<const float> result = (*operands)->result();
      if (first.empty()) first.assign(result.begin(), result.end());
      EXPECT_TRUE(std::equal(first.begin(), first.end(), result.begin(), result.end())) << describe(shape);
      places.insert(result.data());
      (*operands)->move_on();
    }
    EXPECT_GE(places.size(), 6u) << describe(shape);
    std::set<uintptr_t> within;
    for (const float* p : places) within.insert(reinterpret_cast<uintptr_t>(p) % AlignedBuffer::kHugePage);
    EXPECT_EQ(within.size(), 1u) << "each at the same place of a huge page";
  }
}

// Every usable variant passes its check at awkward sizes, with every blocking, and gives positive times.
TEST(HardwareEvaluator, ChecksAndTimesEveryUsableVariant) {
  HardwareOptions options;
  options.cold_bytes = 1 << 20;
  HardwareEvaluator e(small_platform(), 2, options);
  const IsaSet isa = *usable_isa();
  size_t tried = 0;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ6_K,
                            DType::kQ5_0, DType::kIQ4_NL, DType::kQ2_K, DType::kQ3_K}) {
    for (const uint32_t m : {1u, 19u}) {
      OperatorTask task;
      task.shape = {OpKind::kMatmul, dtype, m, 100, 256, 0, 0};
      const Result<SearchSpace> space = make_search_space(task.shape, isa, std::vector<uint32_t>{1, 2}, 2);
      if (!space.ok()) continue;
      ASSERT_TRUE(e.prepare(task).ok());
      for (const SpaceEntry& entry : space->entries) {
        if (entry.status != MeasurementStatus::kOk) continue;
        const CheckResult r = e.check(entry.candidate);
        EXPECT_EQ(r.status, MeasurementStatus::kOk) << describe(entry.candidate) << ": " << r.reason;
        ++tried;
      }
      const std::optional<double> ns = e.sample(space->entries[space->default_index].candidate);
      ASSERT_TRUE(ns.has_value());
      EXPECT_GT(*ns, 0);
    }
  }
  EXPECT_GT(tried, 0u);
}

TEST(HardwareEvaluator, ChecksAttention) {
  HardwareOptions options;
  options.cold_bytes = 1 << 20;
  HardwareEvaluator e(small_platform(), 2, options);
  size_t tried = 0;
  for (const uint32_t m : {1u, 21u}) {
    OperatorTask task;
    task.shape = {OpKind::kAttention, DType::kF16, m, 6, 64, 300, 2};
    const Result<SearchSpace> space = make_search_space(task.shape, *usable_isa(), std::vector<uint32_t>{1, 2}, 2);
    ASSERT_TRUE(space.ok()) << space.message();
    ASSERT_TRUE(e.prepare(task).ok());
    for (const SpaceEntry& entry : space->entries) {
      if (entry.status != MeasurementStatus::kOk) continue;
      const CheckResult r = e.check(entry.candidate);
      EXPECT_EQ(r.status, MeasurementStatus::kOk) << describe(entry.candidate) << ": " << r.reason;
      EXPECT_GT(e.sample(entry.candidate).value_or(0), 0);
      ++tried;
    }
  }
  EXPECT_GT(tried, 0u);
}

TEST(HardwareEvaluator, UnknownVariantIsUnsupported) {
  HardwareEvaluator e(small_platform(), 1);
  Candidate c;
  c.variant = "matmul.f32.f32.f32.1x1.riscv.magic";
  EXPECT_EQ(e.check(c).status, MeasurementStatus::kUnsupported);
  EXPECT_FALSE(e.sample(c).has_value());
}

TEST(HardwareEvaluator, TooLargeForTheMemoryIsRefused) {
  Platform p = small_platform();
  p.memory_bytes = 1 << 20;
  HardwareEvaluator e(p, 1);
  OperatorTask task;
  task.shape = {OpKind::kMatmul, DType::kF32, 1, 4096, 4096, 0, 0};
  const Status s = e.prepare(task);
  ASSERT_FALSE(s.ok());
  EXPECT_NE(s.message().find("GiB"), std::string::npos);
}

// A kernel that computes something wrong must be seen: the portable f32 kernel, wrapped so that one element is off.
const KernelVariant* honest = nullptr;
float bias = 0;
void biased(const MatmulArgs* a) noexcept {
  honest->matmul(a);
  a->dst[(a->m - 1) * a->dst_stride + a->n - 1] += bias;
}

TEST(Oracle, SeesPlantedErrorsOfBothSigns) {
  for (const KernelVariant* v : all_variants())
    if (v->op == OpKind::kMatmul && v->rhs == DType::kF32 && (v->isa & ~*usable_isa()) == 0) honest = v;
  ASSERT_NE(honest, nullptr);
  KernelVariant planted = *honest;
  planted.matmul = biased;
  const OperatorShape shape{OpKind::kMatmul, DType::kF32, 1, 64, 128, 0, 0};
  Candidate c;
  c.variant = planted.id;
  c.mc = c.nc = 64;
  bias = 0;
  EXPECT_EQ(check_against_oracle(shape, c, {&planted, nullptr}).status, MeasurementStatus::kOk);
  for (const float b : {0.01f, -0.01f}) {
    bias = b;
    const CheckResult r = check_against_oracle(shape, c, {&planted, nullptr});
    EXPECT_EQ(r.status, MeasurementStatus::kIncorrect);
    EXPECT_NE(r.reason.find("[0][63]"), std::string::npos) << r.reason;
  }
}

}  // namespace
}  // namespace smepilot
