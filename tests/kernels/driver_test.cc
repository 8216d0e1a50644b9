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
#include <numeric>
#include <thread>
#include <vector>

#include "kernels/driver/operators.h"
#include "kernels/driver/thread_affinity.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/pack/pack_kv.h"
#include "kernels/pack/pack_rhs.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/operators.h"
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
    quantised_ = variant.lhs_layout == Layout::kLhsQ8Panel16;
    if (quantised_) {
      q8_ = AlignedBuffer::allocate(lhs_q8_bytes(m, k)).value();
      reference::quantize_lhs_q8(lhs_.data(), stride_, m, k, q8_.data(), lhs_q8_group(variant.rhs));
      reference::dequantize_lhs_q8(q8_.data(), m, k, dense.data());
    }
    const double rounding = variant.lhs == DType::kBF16 ? kUnitBf16 : variant.lhs == DType::kF16 ? kUnitF16 : 0;
    const double roundings = quantised_ ? 4.0 * k / kQ8Block : k;
    tolerance_ = kUnitF32 * (4 + std::sqrt(roundings)) + rounding;
    expected_ = reference::matmul(dense.data(), weights.data(), m, n, k);
    expected_.magnitude = reference::matmul(dense.data(), bounds.data(), m, n, k).magnitude;
  }

  MatmulCall call(uint32_t mc, uint32_t nc, unsigned workers) {
    dst_.assign(size_t{m_} * dst_stride_, kNan);
    MatmulCall c;
    c.config = {&variant_, ExecutionMode::kCpu, static_cast<uint16_t>(workers), mc, nc};
    c.rhs = &rhs_;
    c.lhs = {lhs_.data(), stride_, quantised_ ? q8_.data() : nullptr, m_, k_};
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
  AlignedBuffer packed_, q8_;
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

// ----------------------------------------------------------------------------------------------------------- attention

struct AttentionCase {
  uint32_t m, pos, heads, kv_heads, head_dim, capacity;
};

class AttentionProblem {
 public:
  AttentionProblem(WorkerPool& pool, const AttentionCase& c)
      : case_(c),
        cache_bytes_(
            AlignedBuffer::allocate(2 * size_t{c.capacity} * c.kv_heads * c.head_dim * sizeof(uint16_t)).value()),
        q_stride_(size_t{c.heads} * c.head_dim + 3),
        out_stride_(size_t{c.heads} * c.head_dim + 2) {
    const uint32_t kv_len = c.pos + c.m, width = c.kv_heads * c.head_dim;
    reference::Random random(c.m + 100 * c.pos + c.head_dim);
    std::vector<float> k(size_t{kv_len} * width), v(size_t{kv_len} * width);
    random.fill_uniform(k.data(), k.size(), -2, 2);
    random.fill_uniform(v.data(), v.size(), -1, 1);
    std::fill_n(cache_bytes_.data(), cache_bytes_.size(), std::byte{0xff});  // NaN wherever nothing is written
    uint16_t* const keys = cache_bytes_.as<uint16_t>();
    cache_ = {keys, keys + size_t{c.capacity} * width, c.capacity, c.kv_heads, c.head_dim};
    if (c.pos > 0) write_kv(pool, 2, cache_, 0, c.pos, k.data(), width, v.data(), width);
    write_kv(pool, 3, cache_, c.pos, c.m, k.data() + size_t{c.pos} * width, width, v.data() + size_t{c.pos} * width,
             width);
    // What the cache holds, by head; and that it is what was written, rounded to f16.
    for (uint32_t h = 0; h < c.kv_heads; ++h) {
      keys_.emplace_back(size_t{kv_len} * c.head_dim);
      values_.emplace_back(size_t{kv_len} * c.head_dim);
      unpack_key_rows(cache_.k + h * cache_.head_elems(), 0, kv_len, c.head_dim, keys_[h].data());
      unpack_value_rows(cache_.v + h * cache_.head_elems(), 0, kv_len, c.head_dim, values_[h].data());
      for (size_t t = 0; t < kv_len; ++t)
        for (size_t d = 0; d < c.head_dim; ++d) {
          const size_t from = t * width + h * c.head_dim + d, at = t * c.head_dim + d;
          written_ = written_ && std::fabs(keys_[h][at] - k[from]) <= 0x1p-10f &&
                     std::fabs(values_[h][at] - v[from]) <= 0x1p-11f;
        }
    }
    q_.assign(c.m * q_stride_, kNan);
    for (uint32_t t = 0; t < c.m; ++t) random.fill_uniform(&q_[t * q_stride_], c.heads * c.head_dim, -2, 2);
    scale_ = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
    for (uint32_t t = 0; t < c.m; ++t)
      for (uint32_t h = 0; h < c.heads; ++h) {
        const uint32_t kv = h / (c.heads / c.kv_heads);
        expected_.push_back(reference::attention_row(&q_[t * q_stride_ + size_t{h} * c.head_dim], keys_[kv].data(),
                                                     values_[kv].data(), c.head_dim, c.head_dim, c.pos + t + 1,
                                                     static_cast<double>(scale_)));
      }
  }

  bool written() const { return written_; }

  void run(WorkerPool& pool, const KernelVariant& v, uint32_t kv_tile, uint32_t kv_splits, unsigned workers) {
    const AttentionConfig config{&v, ExecutionMode::kCpu, static_cast<uint16_t>(workers), kv_tile, kv_splits};
    const size_t scratch_bytes = attention_scratch_bytes(workers, case_.capacity, case_.head_dim);
    AlignedBuffer scratch = AlignedBuffer::allocate(scratch_bytes + 64).value();
    std::fill_n(scratch.data(), scratch.size(), std::byte{0xff});
    std::vector<float> out(case_.m * out_stride_, kNan);
    attention(pool, config, cache_, case_.pos, case_.m, case_.heads, q_.data(), q_stride_, out.data(), out_stride_,
              scale_, scratch.data());

    Comparator comparator;
    const auto name = [&] {
      return fmt::format("{} m={} pos={} heads={}/{} head_dim={} kv_tile={} kv_splits={} workers={}", v.id, case_.m,
                         case_.pos, case_.heads, case_.kv_heads, case_.head_dim, kv_tile, kv_splits, workers);
    };
    for (size_t i = scratch_bytes; i < scratch.size(); ++i)
      if (scratch.data()[i] != std::byte{0xff}) comparator.fail(name() + ": wrote beyond its scratch");
    const double input = v.lhs == DType::kBF16 ? kUnitBf16 : v.lhs == DType::kF16 ? kUnitF16 : 0;
    const double subnormal = v.lhs == DType::kF16 ? 0x1p-25 : 0;
    for (uint32_t t = 0; t < case_.m; ++t) {
      for (uint32_t h = 0; h < case_.heads; ++h) {
        const reference::AttentionRow& row = expected_[size_t{t} * case_.heads + h];
        const double limit = case_.pos + t + 1;
        const double score =
            (kUnitF32 * (2 + std::sqrt(case_.head_dim)) + input) * row.score_magnitude + kUnitF32 * 2 * row.max_score;
        const double weight = 2 * score + input + kUnitF32 * (48 + std::sqrt(limit));  // merging pieces: 24 more
        for (uint32_t d = 0; d < case_.head_dim; ++d)
          comparator.compare(row.out[d], static_cast<double>(out[t * out_stride_ + size_t{h} * case_.head_dim + d]),
                             weight * row.magnitude[d] + subnormal * limit,
                             [&] { return fmt::format("{} token {} head {} element {}", name(), t, h, d); });
      }
      for (size_t gap = size_t{case_.heads} * case_.head_dim; gap < out_stride_; ++gap)
        if (!std::isnan(out[t * out_stride_ + gap])) comparator.fail(name() + ": wrote beside out");
    }
    EXPECT_TRUE(comparator.ok()) << comparator.message();
  }

 private:
  AttentionCase case_;
  AlignedBuffer cache_bytes_;
  KvView cache_;
  size_t q_stride_, out_stride_;
  std::vector<std::vector<float>> keys_, values_;  // [kv_heads] of [kv_len][head_dim]
  std::vector<float> q_;
  std::vector<reference::AttentionRow> expected_;  // [m][heads]
  float scale_ = 1;
  bool written_ = true;
};

void check_attention_case(const AttentionCase& c, std::initializer_list<uint32_t> splits) {
  WorkerPool pool(3);
  AttentionProblem problem(pool, c);
  EXPECT_TRUE(problem.written()) << "the cache does not hold what write_kv() was given";
  unsigned workers = 0;
  for (const KernelVariant* v : usable_variants(OpKind::kAttention))
    for (const uint32_t s : splits) {
      workers = workers % 3 + 1;
      problem.run(pool, *v, workers == 1 ? 0 : workers == 2 ? 48 : 4096, s, workers);
    }
}

TEST(Attention, Prefill) {
  check_attention_case({37, 0, 4, 4, 16, 48}, {0, 1, 2, 16});
  check_attention_case({150, 0, 2, 1, 8, 256}, {0, 1, 4});
}
TEST(Attention, PrefillAfterOthers) {
  check_attention_case({9, 301, 4, 2, 32, 320}, {0, 1, 2, 3, 16});
}
TEST(Attention, Decode) {
  check_attention_case({1, 0, 4, 2, 16, 64}, {0, 1, 16});
  check_attention_case({1, 511, 8, 2, 64, 1024}, {0, 1, 2, 3, 4, 5, 7, 16, 1000});
}
TEST(Attention, DecodeOfALongContext) {
  check_attention_case({1, 2300, 6, 1, 20, 2400}, {0, 8, 16});
}
TEST(Attention, QueriesOfOneHeadInSeveralBlocks) {
  check_attention_case({40, 260, 6, 2, 12, 304}, {0, 2});
}
TEST(Attention, TooManyRowsToSplit) {
  check_attention_case({140, 130, 8, 4, 8, 272}, {0, 2, 16});
}

TEST(Attention, AllSplitsAndWorkersOfTheFirstVariant) {
  WorkerPool pool(3);
  const std::vector<const KernelVariant*> variants = usable_variants(OpKind::kAttention);
  AttentionProblem problem(pool, {3, 700, 4, 2, 16, 704});
  for (const KernelVariant* v : {variants.front(), variants.back()})
    for (uint32_t splits = 0; splits <= 16; ++splits)
      for (unsigned workers = 1; workers <= 3; ++workers) problem.run(pool, *v, 64, splits, workers);
}

// A cache row that exists already stays as it is when others are written beside it.
TEST(WriteKv, AppendsWithoutTouchingNeighbours) {
  WorkerPool pool(2);
  constexpr uint32_t kHeads = 2, kDim = 8, kCapacity = 48, kWidth = kHeads * kDim;
  std::vector<uint16_t> k(kCapacity * kWidth, 0x7e01), v(kCapacity * kWidth, 0x7e01);
  const KvView cache{k.data(), v.data(), kCapacity, kHeads, kDim};
  std::vector<float> rows(kCapacity * kWidth);
  std::iota(rows.begin(), rows.end(), 1.0f);  // small integers: exact in f16
  uint32_t pos = 0;
  for (const uint32_t m : {1u, 5u, 16u, 17u, 2u}) {
    write_kv(pool, 2, cache, pos, m, rows.data() + pos * kWidth, kWidth, rows.data() + pos * kWidth, kWidth);
    pos += m;
    for (uint32_t h = 0; h < kHeads; ++h) {
      std::vector<float> keys(kCapacity * kDim), values(kCapacity * kDim);
      unpack_key_rows(cache.k + h * cache.head_elems(), 0, kCapacity, kDim, keys.data());
      unpack_value_rows(cache.v + h * cache.head_elems(), 0, kCapacity, kDim, values.data());
      for (uint32_t t = 0; t < kCapacity; ++t)
        for (uint32_t d = 0; d < kDim; ++d) {
          if (t < pos) {
            ASSERT_EQ(keys[t * kDim + d], rows[t * kWidth + h * kDim + d]) << "position " << t << " after " << pos;
            ASSERT_EQ(values[t * kDim + d], rows[t * kWidth + h * kDim + d]) << "position " << t << " after " << pos;
          } else {
            ASSERT_TRUE(std::isnan(keys[t * kDim + d])) << "position " << t << " after " << pos;
            ASSERT_TRUE(std::isnan(values[t * kDim + d])) << "position " << t << " after " << pos;
          }
        }
    }
  }
}

TEST(QuantizeLhs, PanelsOfEveryWorkerCountAndGroup) {
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
        quantize_lhs(pool, *config, x.data(), stride, rows, k, group, q8.data());
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
