// The worker pool, and the operators that the driver makes of micro-kernels: whatever the blocking and the number of
// workers, the result is the oracle's, each output is written once and nothing beside it is.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/base/os.h"
#include "kernels/driver/operators.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/pack/pack_rhs.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/operators.h"
#include "kernels/reference/pack_lhs.h"
#include "kernels/reference/quantize.h"
#include "kernels/registry/registry.h"
#include "tests/kernels/support/comparator.h"

namespace smepilot::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<const KernelVariant*> usable_variants(OpKind op) {
  const Result<IsaSet> isa = usable_isa();
  EXPECT_TRUE(isa.ok()) << isa.message();
  std::vector<const KernelVariant*> out;
  for (const KernelVariant* v : all_variants())
    if (isa.ok() && v->op == op && (v->isa & ~*isa) == 0) out.push_back(v);
  EXPECT_FALSE(out.empty());
  return out;
}

// ---------------------------------------------------------------------------------------------------------------- pool

TEST(WorkerPool, CallsEachActiveWorkerOnce) {
  for (unsigned size = 1; size <= 4; ++size) {
    WorkerPool pool(size);
    ASSERT_EQ(pool.size(), size);
    for (unsigned asked = 0; asked <= size + 2; ++asked) {
      const unsigned expected = std::clamp(asked, 1u, size);
      std::vector<std::atomic<unsigned>> calls(size + 3);
      std::atomic<unsigned> wrong{0};
      const auto caller = std::this_thread::get_id();
      pool.run(asked, [&](unsigned worker, unsigned workers) {
        calls[worker].fetch_add(1);
        if (workers != expected || (worker == 0) != (std::this_thread::get_id() == caller)) wrong.fetch_add(1);
      });
      EXPECT_EQ(wrong.load(), 0u);
      for (unsigned w = 0; w < calls.size(); ++w) EXPECT_EQ(calls[w].load(), w < expected ? 1u : 0u) << w;
    }
  }
}

// What workers write without any synchronisation of their own is visible to the caller afterwards, and what the caller
// wrote before is visible to them. The number of workers changes from job to job.
void run_jobs(unsigned size, unsigned jobs) {
  WorkerPool pool(size);
  std::vector<uint64_t> slots(size * size_t{8}), expected(size);  // a slot each 64 bytes
  uint64_t input = 0;
  bool fine = true;
  for (unsigned job = 0; job < jobs; ++job) {
    const unsigned workers = job % size + 1;
    ++input;
    pool.run(workers, [&](unsigned worker, unsigned) { slots[worker * size_t{8}] += input; });
    for (unsigned w = 0; w < workers; ++w) expected[w] += input;
    for (unsigned w = 0; w < size; ++w) fine = fine && slots[w * size_t{8}] == expected[w];
  }
  EXPECT_TRUE(fine) << size << " workers";
}

TEST(WorkerPool, ManyJobsOfChangingSize) {
  run_jobs(2, 10000);
  run_jobs(3, 500);  // more than many machines have processors: each job may cost a time slice
  run_jobs(5, 200);
}

TEST(WorkerPool, ParkedWorkersWake) {
  WorkerPool pool(3);
  for (int i = 0; i < 20; ++i) {
    // Beyond the time that an idle worker spins; now and then just about it.
    std::this_thread::sleep_for(std::chrono::microseconds(i % 2 == 0 ? 3000 : 250));
    std::atomic<unsigned> calls{0};
    pool.run(i % 4 == 3 ? 2 : 3, [&](unsigned, unsigned) { calls.fetch_add(1); });
    EXPECT_EQ(calls.load(), i % 4 == 3 ? 2u : 3u);
  }
}

// More workers than this machine has processors included.
TEST(WorkerPool, BarrierHoldsEveryWorkerBack) {
  for (const unsigned size : {1u, 2u, 3u, 6u}) {
    WorkerPool pool(size);
    for (unsigned workers = 1; workers <= size; ++workers) {
      constexpr unsigned kRounds = 20;
      std::vector<unsigned> reached(size);  // written by its worker, read by all others between two barriers
      std::atomic<unsigned> wrong{0};
      pool.run(workers, [&](unsigned worker, unsigned count) {
        for (unsigned round = 1; round <= kRounds; ++round) {
          reached[worker] = round;
          pool.barrier(count);
          for (unsigned w = 0; w < count; ++w)
            if (reached[w] != round) wrong.fetch_add(1);
          pool.barrier(count);
        }
      });
      EXPECT_EQ(wrong.load(), 0u) << workers << " of " << size;
    }
  }
}

TEST(WorkerPool, EndsWhileWorkersSpinOrSleep) {
  for (int i = 0; i < 20; ++i) {
    WorkerPool pool(3);
    if (i % 2 == 1) pool.run(3, [](unsigned, unsigned) {});
    if (i % 4 >= 2) std::this_thread::sleep_for(std::chrono::milliseconds(2));  // parked by now
  }
}

TEST(WorkerPool, PoolsOfSeveralThreadsAreIndependent) {
  std::vector<std::thread> threads;
  std::atomic<unsigned> calls{0};
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      WorkerPool pool(2);
      for (int i = 0; i < 200; ++i) pool.run(2, [&](unsigned, unsigned) { calls.fetch_add(1); });
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(calls.load(), 3u * 200 * 2);
}

TEST(WorkerPool, PinsWorkersAndGivesTheCallerItsMaskBack) {
  const std::vector<int> before = current_affinity();
  if (before.size() < 2) GTEST_SKIP() << "this process may use " << before.size() << " CPUs; pinning needs two";
  {
    const std::vector<int> cpus = {before[1], before[0]};
    WorkerPool pool(2, cpus);
    std::vector<std::vector<int>> seen(2);
    pool.run(2, [&](unsigned worker, unsigned) { seen[worker] = current_affinity(); });
    EXPECT_EQ(seen[0], std::vector<int>{cpus[0]});
    EXPECT_EQ(seen[1], std::vector<int>{cpus[1]});
  }
  EXPECT_EQ(current_affinity(), before);
}

// -------------------------------------------------------------------------------------------------------------- matmul

// Operands of one matmul, what it must give, and room for what it does give.
class MatmulProblem {
 public:
  MatmulProblem(const KernelVariant& variant, uint32_t m, uint32_t n, uint32_t k, uint64_t seed)
      : variant_(variant), m_(m), n_(n), k_(k), stride_(k + seed % 3), dst_stride_(n + 1 + seed % 4) {
    reference::Random random(seed);
    const size_t row_bytes = file_bytes(variant.rhs, k);
    std::vector<std::byte> file(n * row_bytes);
    std::vector<float> weights(size_t{n} * k), bounds(size_t{n} * k);
    for (size_t row = 0; row < n; ++row) {
      reference::random_row(variant.rhs, random, k, file.data() + row * row_bytes);
      float* const values = weights.data() + row * k;
      reference::dequantize_row(variant.rhs, file.data() + row * row_bytes, k, values);
      float largest = 0;
      for (size_t i = 0; i < k; ++i) largest = std::max(largest, std::fabs(values[i]));
      // Types with minima round products larger than the values; otherwise the values themselves bound it.
      const DType type = variant.rhs;
      const bool minima = type == DType::kQ4_1 || type == DType::kQ5_1 || type == DType::kQ2_K ||
                          type == DType::kQ4_K || type == DType::kQ5_K;
      for (size_t i = 0; i < k; ++i) bounds[row * k + i] = minima ? 3 * largest : std::fabs(values[i]);
    }
    packed_ = AlignedBuffer::allocate(rhs_bytes(variant.rhs, n, k)).value();
    pack_rhs(variant.rhs, file.data(), row_bytes, n, k, packed_.data());
    rhs_ = {variant.rhs, n, k, packed_.data()};

    lhs_.assign(m * stride_, kNan);
    std::vector<float> dense(size_t{m} * k);
    for (size_t row = 0; row < m; ++row) {
      random.fill_uniform(lhs_.data() + row * stride_, k, -1, 1);
      std::copy_n(lhs_.data() + row * stride_, k, dense.data() + row * k);
    }
    quantised_ = is_q8(variant.lhs_layout);
    if (quantised_) {
      lhs_packed_ = AlignedBuffer::allocate(lhs_q8_bytes(m, k)).value();
      reference::quantize_lhs_q8(lhs_.data(), stride_, m, k, lhs_packed_.data(), lhs_q8_group(variant.rhs),
                                 variant.lhs_layout);
      reference::dequantize_lhs_q8(lhs_packed_.data(), m, k, dense.data(), variant.lhs_layout);
    }
    if (!quantised_ && variant.lhs_layout != Layout::kRowMajor) {
      lhs_packed_ = AlignedBuffer::allocate(lhs_bytes(variant.lhs_layout, m, k)).value();
      reference::pack_lhs_float(variant.lhs_layout, lhs_.data(), stride_, m, k, lhs_packed_.data());
    }
    // Weights that are not of the type that activations are rounded to, are, too.
    const double rounding = variant.lhs == DType::kBF16  ? (variant.rhs == DType::kBF16 ? 1 : 2) * kUnitBf16
                            : variant.lhs == DType::kF16 ? kUnitF16
                                                         : 0;
    const double roundings = quantised_ ? 4.0 * k / kQ8Block : k;
    tolerance_ = kUnitF32 * (4 + std::sqrt(roundings)) + rounding;
    expected_ = reference::matmul(dense.data(), weights.data(), m, n, k);
    expected_.magnitude = reference::matmul(dense.data(), bounds.data(), m, n, k).magnitude;
  }

  MatmulCall call(uint32_t mc, uint32_t nc, unsigned workers) {
    dst_.assign(size_t{m_} * dst_stride_, kNan);
    MatmulCall c;
    c.config = {&variant_, ExecutionMode::kCpu, static_cast<uint16_t>(workers), mc, nc, {}};
    c.rhs = &rhs_;
    c.lhs = {lhs_.data(), stride_, lhs_packed_.data(), lhs_form(variant_), m_, k_};
    c.dst = dst_.data();
    c.dst_stride = dst_stride_;
    return c;
  }

  void check(const std::string& how) const {
    Comparator comparator;
    const auto name = [&] { return fmt::format("{} m={} n={} k={} {}", variant_.id, m_, n_, k_, how); };
    for (size_t row = 0; row < m_; ++row) {
      for (size_t col = 0; col < n_; ++col)
        comparator.compare(expected_.dst[row * n_ + col], static_cast<double>(dst_[row * dst_stride_ + col]),
                           tolerance_ * expected_.magnitude[row * n_ + col],
                           [&] { return fmt::format("{} at [{}][{}]", name(), row, col); });
      for (size_t gap = n_; gap < dst_stride_; ++gap)
        if (!std::isnan(dst_[row * dst_stride_ + gap])) comparator.fail(name() + ": wrote beside dst");
    }
    EXPECT_TRUE(comparator.ok()) << comparator.message();
  }

 private:
  const KernelVariant& variant_;
  uint32_t m_, n_, k_;
  size_t stride_, dst_stride_;
  AlignedBuffer packed_, lhs_packed_;
  PackedMatrix rhs_;
  bool quantised_ = false;
  std::vector<float> lhs_, dst_;
  double tolerance_ = 0;
  reference::MatmulResult expected_;
};

uint32_t k_of(const KernelVariant& v, uint32_t blocks) {
  return std::max({traits(v.rhs).block_elems, v.tile.kr, 1u}) * blocks;
}

TEST(Matmul, EveryBlockingAndWorkerCountGivesTheOraclesResult) {
  WorkerPool pool(3);
  reference::Random random(7);
  for (const KernelVariant* v : usable_variants(OpKind::kMatmul)) {
    const uint32_t limit = v->max_m == 0 ? 90 : std::min(v->max_m, 90u);
    for (int shape = 0; shape < 2; ++shape) {
      const auto below = [&](uint32_t bound) { return 1 + static_cast<uint32_t>(random.bits() % bound); };
      const uint32_t m = shape == 0 ? limit : below(limit), n = below(150);
      MatmulProblem problem(*v, m, n, k_of(*v, traits(v->rhs).block_elems < 32 ? 24 + below(50) : 1 + below(2)),
                            random.bits() % 1000);
      const uint32_t mcs[] = {0, 16, 40, 1000}, ncs[] = {0, 16, 64, 5000};
      for (unsigned i = 0; i < 4; ++i) {
        const uint32_t mc = mcs[i], nc = ncs[(i + random.bits()) % 4];
        const unsigned workers = static_cast<unsigned>(random.bits() % 3) + 1;
        matmul_group(pool, std::vector{problem.call(mc, nc, workers)});
        problem.check(fmt::format("mc={} nc={} workers={}", mc, nc, workers));
      }
    }
  }
}

TEST(Matmul, GroupOfUnlikeCalls) {
  WorkerPool pool(3);
  const std::vector<const KernelVariant*> variants = usable_variants(OpKind::kMatmul);
  std::vector<std::unique_ptr<MatmulProblem>> problems;
  std::vector<MatmulCall> calls;
  for (size_t i = 0; i < 9; ++i) {
    const KernelVariant& v = *variants[i * 5 % variants.size()];
    const uint32_t m = static_cast<uint32_t>(i * 13 % 41) + 1;
    problems.push_back(std::make_unique<MatmulProblem>(v, v.max_m == 0 ? m : std::min(m, v.max_m),
                                                       static_cast<uint32_t>(i * 29 % 90) + 1, k_of(v, 1), i));
    calls.push_back(problems.back()->call(static_cast<uint32_t>(i % 3) * 16, 32, static_cast<unsigned>(i % 4)));
  }
  matmul_group(pool, calls);
  for (const auto& p : problems) p->check("in a group");
  for (size_t i = 0; i < problems.size(); ++i) calls[i] = problems[i]->call(16, 16, 1);
  matmul_group(pool, std::span(calls).subspan(2, 1));
  problems[2]->check("alone");
}

TEST(PackLhs, PanelsOfEveryWorkerCountAndGroup) {
  WorkerPool pool(3);
  Result<ElementwiseConfig> config = default_elementwise(1);
  ASSERT_TRUE(config.ok()) << config.message();
  constexpr uint32_t k = 512, stride = k + 5;
  for (const uint32_t rows : {1u, 15u, 16u, 17u, 70u})
    for (const uint32_t group : {kQ8Block, kQ8SuperBlock}) {
      reference::Random random(rows + group);
      std::vector<float> x(size_t{rows} * stride, kNan);
      for (uint32_t r = 0; r < rows; ++r)
        for (uint32_t b = 0; b < k; b += kQ8Block)
          random.fill_uniform(&x[size_t{r} * stride + b], kQ8Block, -1.0f - static_cast<float>(b), 2.0f);
      std::vector<std::vector<float>> results;
      for (unsigned workers = 1; workers <= 3; ++workers) {
        config->workers = static_cast<uint16_t>(workers);
        AlignedBuffer q8 = AlignedBuffer::allocate(lhs_q8_bytes(rows, k) + 64).value();
        std::fill_n(q8.data(), q8.size(), std::byte{0x5a});
        pack_lhs(pool, *config, {kLhsQ8Layout, group}, x.data(), stride, rows, k, q8.data());
        for (size_t i = lhs_q8_bytes(rows, k); i < q8.size(); ++i) ASSERT_EQ(q8.data()[i], std::byte{0x5a});
        results.emplace_back(size_t{rows} * k);
        reference::dequantize_lhs_q8(q8.data(), rows, k, results.back().data());
      }
      EXPECT_EQ(results[0], results[1]);
      EXPECT_EQ(results[0], results[2]);
      for (uint32_t r = 0; r < rows; ++r)
        for (uint32_t g = 0; g < k; g += group) {
          const float* const in = &x[size_t{r} * stride + g];
          float largest = 0;
          for (uint32_t i = 0; i < group; ++i) largest = std::max(largest, std::fabs(in[i]));
          // Half a step, and the scale itself rounded to f16 where blocks have their own.
          const float allowed = largest / 127 * 0.5001f + (group == kQ8Block ? largest * 0x1p-11f : 0.0f);
          for (uint32_t i = 0; i < group; ++i)
            ASSERT_NEAR(in[i], results[0][size_t{r} * k + g + i], allowed) << "row " << r << " element " << g + i;
        }
    }
}

}  // namespace
}  // namespace smepilot::test
