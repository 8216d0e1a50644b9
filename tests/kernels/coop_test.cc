// Matmuls that both units execute: whatever the split, the blocking and the numbers of workers, each output is computed
// once, by the side whose it is, and is the oracle's. A second kernel of the registry plays the matrix unit, so that
// this runs on every machine.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/abi/describe.h"
#include "kernels/base/integer.h"
#include "kernels/driver/operators.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/pack/pack_rhs.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/operators.h"
#include "kernels/reference/quantize.h"
#include "kernels/registry/registry.h"
#include "tests/engine/testbed.h"

namespace smepilot::test {
namespace {

uint32_t below(reference::Random& random, uint32_t end) {
  return static_cast<uint32_t>(random.bits() % end);
}
uint32_t between(reference::Random& random, uint32_t first, uint32_t last) {
  return first + below(random, last - first + 1);
}

// Splits, workers and blocking as no plan would choose them.
void randomize(reference::Random& random, uint32_t m, uint32_t n, MatmulConfig& config) {
  config.workers = static_cast<uint16_t>(between(random, 1, 3));
  config.mc = 16 * between(random, 1, 4);
  config.nc = 16 * between(random, 1, 4);
  CoopShare& coop = config.coop;
  coop.workers = static_cast<uint16_t>(between(random, 1, 3));
  coop.mc = 16 * between(random, 1, 4);
  coop.nc = 16 * between(random, 1, 4);
  coop.dim = below(random, 2) == 0 ? SplitDim::kM : SplitDim::kN;
  const uint32_t size = coop.dim == SplitDim::kM ? m : n;
  coop.split = 16 * below(random, ceil_div(size, 16u) + 2);  // nothing, a part, all, or more than all
  coop.dynamic = below(random, 2) == 0;
}

// ------------------------------------------------------------------------------------------------------------ coverage

// Kernels that add a number of their unit to each output that they are asked for.
constexpr float kVectorMark = 1, kMatrixMark = 1024;
template <int Mark>
void mark(const MatmulArgs* args) noexcept {
  for (uint32_t r = 0; r < args->m; ++r)
    for (uint32_t c = 0; c < args->n; ++c) args->dst[r * args->dst_stride + c] += static_cast<float>(Mark);
}
constexpr KernelVariant kMarkVector =
    matmul_variant("matmul.f32.f32.f32.1x16.portable.mark", 0, DType::kF32, DType::kF32, 32, mark<1>);
constexpr KernelVariant kMarkMatrix = matmul_variant("matmul.f32.f32.f32.1x16.portable.mark", 0, DType::kF32,
                                                     DType::kF32, 16, mark<1024>, ExecutionUnit::kMatrix);

// Groups of calls of all modes, on pools of all sizes.
TEST(Coop, EachOutputIsComputedOnceByItsSide) {
  reference::Random random(1);
  std::vector<std::unique_ptr<WorkerPool>> pools;
  for (unsigned size = 1; size <= 4; ++size) pools.push_back(std::make_unique<WorkerPool>(size));
  std::vector<float> lhs(512), weights(16 * 512 * 4);
  for (int round = 0; round < 1000; ++round) {
    WorkerPool& pool = *pools[below(random, 4)];
    const size_t count = between(random, 1, 5);
    std::vector<MatmulCall> calls(count);
    std::vector<PackedMatrix> rhs(count);
    std::vector<std::vector<float>> dst(count);
    for (size_t i = 0; i < count; ++i) {
      const uint32_t m = between(random, 1, 70), n = between(random, 1, 150), k = 4;
      rhs[i] = {DType::kF32, n, k, reinterpret_cast<const std::byte*>(weights.data())};
      dst[i].assign(size_t{m} * (n + 3), 0);
      MatmulConfig config;
      config.mode = static_cast<ExecutionMode>(below(random, 3));
      config.variant = config.mode == ExecutionMode::kMatrix ? &kMarkMatrix : &kMarkVector;
      randomize(random, m, n, config);
      config.coop.variant = &kMarkMatrix;
      calls[i] = {config, &rhs[i], {lhs.data(), k, nullptr, {}, m, k}, dst[i].data(), n + 3};
    }
    matmul_group(pool, calls);
    for (size_t i = 0; i < count; ++i) {
      const MatmulConfig& config = calls[i].config;
      const uint32_t m = calls[i].lhs.m, n = rhs[i].n;
      for (uint32_t r = 0; r < m; ++r) {
        for (uint32_t c = 0; c < n + 3; ++c) {
          const float found = dst[i][size_t{r} * (n + 3) + c];
          const uint32_t at = config.coop.dim == SplitDim::kM ? r : c;
          const bool matrix =
              config.mode == ExecutionMode::kMatrix || (config.mode == ExecutionMode::kCoop && at < config.coop.split);
          const float expected = c >= n ? 0 : matrix ? kMatrixMark : kVectorMark;
          const bool either = config.mode == ExecutionMode::kCoop && config.coop.dynamic && c < n;
          ASSERT_TRUE(found == expected || (either && (found == kMatrixMark || found == kVectorMark)))
              << "round " << round << " call " << i << " row " << r << " column " << c << ": " << found << ", expected "
              << expected;
        }
      }
    }
  }
}

// Kernels that wait for each other, so that a test decides how fast the sides are. Their calls are counted before they
// wait. Nothing here takes long unless what is waited for never comes.
std::atomic<uint32_t> vector_calls, matrix_calls;
uint32_t vector_waits_for, matrix_waits_from, matrix_waits_for, matrix_sleeps_from;
std::atomic<bool> gave_up;
void wait_for(const std::atomic<uint32_t>& calls, uint32_t count) noexcept {
  const auto begin = std::chrono::steady_clock::now();
  while (calls < count && !gave_up) {
    std::this_thread::yield();
    if (std::chrono::steady_clock::now() - begin > std::chrono::seconds(10)) gave_up = true;
  }
}
// Each call waits for this many calls of the matrix unit.
void scripted_vector(const MatmulArgs* args) noexcept {
  ++vector_calls;
  wait_for(matrix_calls, vector_waits_for);
  mark<1>(args);
}
// Calls from a number on wait for calls of the vector cores, or give them time.
void scripted_matrix(const MatmulArgs* args) noexcept {
  const uint32_t number = ++matrix_calls;
  if (number >= matrix_waits_from) wait_for(vector_calls, matrix_waits_for);
  if (number >= matrix_sleeps_from) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  mark<1024>(args);
}
constexpr KernelVariant kScriptedVector =
    matmul_variant("matmul.f32.f32.f32.1x16.portable.scripted", 0, DType::kF32, DType::kF32, 16, scripted_vector);
constexpr KernelVariant kScriptedMatrix = matmul_variant("matmul.f32.f32.f32.1x16.portable.scripted", 0, DType::kF32,
                                                         DType::kF32, 16, scripted_matrix, ExecutionUnit::kMatrix);

class CoopScripted : public testing::Test {
 protected:
  // 2 x 50 tasks of the matrix unit and 2 x 1 of the vector cores, and a call that is the matrix unit's alone.
  static constexpr uint32_t kM = 32, kN = 16 * 51, kK = 4;
  void run(bool with_matrix_call, uint32_t sleeps_from = ~0u) {
    vector_calls = matrix_calls = 0;
    gave_up = false;
    matrix_sleeps_from = sleeps_from;
    std::vector<float> other(size_t{kM} * kN);
    const PackedMatrix rhs{DType::kF32, kN, kK, reinterpret_cast<const std::byte*>(weights_.data())};
    MatmulConfig coop{&kScriptedVector, ExecutionMode::kCoop, 1, 16, 16, {}};
    coop.coop = {&kScriptedMatrix, 1, 16, 16, SplitDim::kN, kN - 16, true};
    const MatmulConfig matrix{&kScriptedMatrix, ExecutionMode::kMatrix, 1, 16, 16, {}};
    const LhsOperand lhs{lhs_.data(), kK, nullptr, {}, kM, kK};
    const MatmulCall calls[] = {{coop, &rhs, lhs, dst_.data(), kN}, {matrix, &rhs, lhs, other.data(), kN}};
    matmul_group(pool_, {calls, with_matrix_call ? 2u : 1u});
    EXPECT_FALSE(gave_up) << "what a kernel waited for did not come";
    EXPECT_EQ(vector_calls + matrix_calls, with_matrix_call ? 204u : 102u);
    EXPECT_EQ(std::count(other.begin(), other.end(), kMatrixMark), with_matrix_call ? kM * kN : 0);
    EXPECT_EQ(std::count(dst_.begin(), dst_.end(), kVectorMark), vector_calls * 256);
    EXPECT_EQ(std::count(dst_.begin(), dst_.end(), kMatrixMark), kM * kN - vector_calls * 256);
  }

  WorkerPool pool_{2};
  std::vector<float> lhs_ = std::vector<float>(kM * kK), weights_ = std::vector<float>(size_t{kN} * kK),
                     dst_ = std::vector<float>(size_t{kM} * kN);
};

// The matrix unit does not come to its sixth task before the vector cores had a third one.
TEST_F(CoopScripted, TheSideThatIsDoneTakesOver) {
  vector_waits_for = 0, matrix_waits_from = 6, matrix_waits_for = 3;
  run(false);
  EXPECT_GE(vector_calls, 3u);
}

// What the matrix unit has left when the vector cores are done with their tasks is a matter of a fraction of the time
// that they took for one.
TEST_F(CoopScripted, ASlowSideLeavesTheRestToTheFastOne) {
  vector_waits_for = 90, matrix_waits_from = 1, matrix_waits_for = 1;
  run(false, 91);
  EXPECT_LE(vector_calls, 2u);
}

// The matrix unit is kept at the first task of the call that is its own: the other call's are within reach.
TEST_F(CoopScripted, CallsOfOneUnitDoNotHideTasksOfBoth) {
  vector_waits_for = 0, matrix_waits_from = 1, matrix_waits_for = 102;
  run(true);
  EXPECT_EQ(vector_calls, 102u);
}

// The side that has nothing to do takes what the other would take long for; only where that is allowed.
TEST(Coop, DynamicCallsAreFinishedByBothSides) {
  WorkerPool pool(2);
  constexpr uint32_t kM = 16, kN = 16 * 512, kK = 4;
  std::vector<float> lhs(kM * kK), weights(size_t{kN} * kK), dst(size_t{kM} * kN);
  const PackedMatrix rhs{DType::kF32, kN, kK, reinterpret_cast<const std::byte*>(weights.data())};
  for (const bool dynamic : {false, true}) {
    bool helped = false;
    for (int attempt = 0; attempt < 200 && !helped; ++attempt) {
      MatmulConfig config{&kMarkVector, ExecutionMode::kCoop, 1, 16, 16, {}};
      config.coop = {&kMarkMatrix, 1, 16, 16, SplitDim::kN, 16, dynamic};
      std::fill(dst.begin(), dst.end(), 0.0f);
      matmul(pool, config, {lhs.data(), kK, nullptr, {}, kM, kK}, rhs, dst.data(), kN);
      helped = std::count(dst.begin(), dst.end(), kMatrixMark) > 16 * kM;
      if (!dynamic) {
        ASSERT_FALSE(helped);
      }
    }
    EXPECT_EQ(helped, dynamic);
  }
}

// ------------------------------------------------------------------------------------------------------------- results

struct Pair {
  const KernelVariant* vector;
  KernelVariant matrix;
};

// For each weight type, kernels that read the same operands.
std::vector<Pair> pairs() {
  const Result<IsaSet> isa = usable_isa();
  EXPECT_TRUE(isa.ok()) << isa.message();
  std::vector<Pair> out;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_K}) {
    const Selection selection = select_variants({OpKind::kMatmul, dtype, 64, 64, 256, 0, 0}, *isa);
    for (const KernelVariant* a : selection.usable)
      for (const KernelVariant* b : selection.usable) {
        const bool real = a->unit == ExecutionUnit::kCpu && b->unit == ExecutionUnit::kMatrix;
        const bool played = a->unit == ExecutionUnit::kCpu && b == selection.usable.front();
        if (a->lhs_layout != b->lhs_layout || a->rhs_layout != b->rhs_layout || (!real && !played)) continue;
        out.push_back({a, *b});
        out.back().matrix.unit = ExecutionUnit::kMatrix;
      }
  }
  return out;
}

// SME has kernels for all types, and beside each there must be one of the cores that reads what it reads.
TEST(Coop, SmeHasAPartnerForEveryType) {
  const Result<IsaSet> isa = usable_isa();
  ASSERT_TRUE(isa.ok()) << isa.message();
  if ((*isa & kIsaSme) == 0) GTEST_SKIP() << "no SME here";
  for (size_t t = 0; t < static_cast<size_t>(DType::kCount); ++t) {
    const DType dtype = static_cast<DType>(t);
    const Selection selection = select_variants({OpKind::kMatmul, dtype, 64, 64, 256, 0, 0}, *isa);
    if (selection.usable.empty()) continue;  // no type of weights
    bool paired = false;
    for (const KernelVariant* a : selection.usable)
      for (const KernelVariant* b : selection.usable)
        paired |= a->unit == ExecutionUnit::kCpu && b->unit == ExecutionUnit::kMatrix &&
                  a->lhs_layout == b->lhs_layout && a->rhs_layout == b->rhs_layout;
    EXPECT_TRUE(paired) << traits(dtype).name;
  }
}

TEST(Coop, ResultsAreTheOraclesWhateverTheSplit) {
  const std::vector<Pair> all = pairs();
  ASSERT_FALSE(all.empty());
  reference::Random random(2);
  std::vector<std::unique_ptr<WorkerPool>> pools;
  for (unsigned size = 1; size <= 4; ++size) pools.push_back(std::make_unique<WorkerPool>(size));
  const size_t shapes = std::max<size_t>(4, ceil_div<size_t>(200, all.size()));
  for (const Pair& pair : all) {
    const KernelVariant& v = *pair.vector;
    for (size_t shape = 0; shape < shapes; ++shape) {
      const uint32_t m = between(random, 1, 50), n = between(random, 1, 100);
      const uint32_t k = std::max(v.tile.kr, 4u) * between(random, 1, v.tile.kr >= 256 ? 2 : 4);
      const size_t row_bytes = file_bytes(v.rhs, k);
      std::vector<std::byte> file(n * row_bytes);
      std::vector<float> dense(size_t{n} * k), x(size_t{m} * k), rounded(size_t{m} * k);
      for (size_t row = 0; row < n; ++row) {
        reference::random_row(v.rhs, random, k, file.data() + row * row_bytes);
        reference::dequantize_row(v.rhs, file.data() + row * row_bytes, k, dense.data() + row * k);
      }
      AlignedBuffer packed = AlignedBuffer::allocate(rhs_bytes(v.rhs, n, k)).value();
      pack_rhs(v.rhs, file.data(), row_bytes, n, k, packed.data());
      const PackedMatrix rhs{v.rhs, n, k, packed.data()};
      random.fill_uniform(x.data(), x.size(), -1, 1);
      rounded = x;
      WorkerPool& any = *pools[0];
      const ElementwiseConfig elementwise = default_elementwise(1).value();
      const LhsForm form = lhs_form(v);
      AlignedBuffer lhs_packed = AlignedBuffer::allocate(lhs_bytes(form.layout, m, k) + 64).value();
      const bool rows = form.layout == Layout::kRowMajor;
      if (!rows) pack_lhs(any, elementwise, form, x.data(), k, m, k, lhs_packed.data());
      const LhsOperand lhs{x.data(), k, rows ? nullptr : lhs_packed.data(), form, m, k};
      // Both kernels read the same rounded activations, so what one of them alone gives is what both must give; and
      // that is near the oracle's of the activations as they were.
      std::vector<float> alone(size_t{m} * n);
      matmul(any, {&v, ExecutionMode::kCpu, 1, 128, 64, {}}, lhs, rhs, alone.data(), n);
      const reference::MatmulResult oracle = reference::matmul(x.data(), dense.data(), m, n, k);
      // Five calls, of which some are one group.
      constexpr size_t kCalls = 5;
      std::vector<MatmulCall> calls;
      std::vector<std::vector<float>> results(kCalls, std::vector<float>(size_t{m} * n, -1e30f));
      for (std::vector<float>& dst : results) {
        MatmulConfig config{&v, ExecutionMode::kCoop, 1, 64, 64, {}};
        randomize(random, m, n, config);
        config.coop.variant = &pair.matrix;
        if (const uint32_t mode = below(random, 6); mode < 2) {
          config.mode = mode == 0 ? ExecutionMode::kCpu : ExecutionMode::kMatrix;
          if (mode == 1) config.variant = &pair.matrix;
        }
        calls.push_back({config, &rhs, lhs, dst.data(), n});
      }
      for (size_t at = 0, count; at < kCalls; at += count) {
        count = between(random, 1, static_cast<uint32_t>(kCalls - at));
        matmul_group(*pools[below(random, 4)], {calls.data() + at, count});
      }
      for (const std::vector<float>& dst : results) {
        for (size_t i = 0; i < dst.size(); ++i) {
          ASSERT_NEAR(dst[i], alone[i], 3e-5 * oracle.magnitude[i] + 1e-6)
              << v.id << " with " << pair.matrix.id << " m=" << m << " n=" << n << " k=" << k << " at " << i;
          ASSERT_NEAR(dst[i], oracle.dst[i], 2e-2 * oracle.magnitude[i] + 1e-6) << v.id << " at " << i;
        }
      }
    }
  }
  fmt::print("{} pairs of kernels, {} shapes each, 5 calls each\n", all.size(), shapes);
}

}  // namespace
}  // namespace smepilot::test
