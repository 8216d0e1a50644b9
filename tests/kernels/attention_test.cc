// Attention as the driver makes it of micro-kernels: whatever the sequences, the prefixes they share, the pieces and
// the number of workers, the result is the oracle's, each output is written once and nothing beside it is. And the KV
// caches that it reads.
#include "kernels/driver/attention.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/base/aligned_buffer.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/pack/pack_kv.h"
#include "kernels/reference/operators.h"
#include "kernels/reference/quantize.h"
#include "kernels/registry/registry.h"
#include "tests/kernels/checks/checks.h"
#include "tests/kernels/support/attention_problem.h"

namespace smepilot::test {
namespace {

std::vector<const KernelVariant*> usable_attention(DType dtype) {
  const Result<IsaSet> isa = usable_isa();
  EXPECT_TRUE(isa.ok()) << isa.message();
  std::vector<const KernelVariant*> out;
  for (const KernelVariant* v : all_variants())
    if (isa.ok() && v->op == OpKind::kAttention && v->rhs == dtype && (v->isa & ~*isa) == 0) out.push_back(v);
  EXPECT_FALSE(out.empty());
  return out;
}

constexpr DType kDTypes[] = {DType::kF16, DType::kQ8_0};

void check_case(const AttentionCase& c, std::initializer_list<uint32_t> splits) {
  WorkerPool pool(3);
  for (const DType dtype : kDTypes) {
    if (!kv_dtype_fits(dtype, c.head_dim)) continue;
    AttentionProblem problem(pool, dtype, c);
    unsigned workers = 0;
    for (const KernelVariant* v : usable_attention(dtype))
      for (const uint32_t s : splits) {
        workers = workers % 3 + 1;
        problem.run(pool, *v, workers == 1 ? 0 : workers == 2 ? 48 : 4096, s, workers);
      }
  }
}

void check_one(uint32_t m, uint32_t pos, uint32_t heads, uint32_t kv_heads, uint32_t head_dim,
               std::initializer_list<uint32_t> splits) {
  check_case({{}, {{-1, pos, m}}, heads, kv_heads, head_dim}, splits);
}

TEST(Attention, Prefill) {
  check_one(37, 0, 4, 4, 16, {0, 1, 2, 16});
  check_one(150, 0, 2, 1, 32, {0, 1, 4});
}
TEST(Attention, PrefillAfterOthers) {
  check_one(9, 301, 4, 2, 32, {0, 1, 2, 3, 16});
}
TEST(Attention, Decode) {
  check_one(1, 0, 4, 2, 16, {0, 1, 16});
  check_one(1, 511, 8, 2, 64, {0, 1, 2, 3, 4, 5, 7, 16, 1000});
}
TEST(Attention, DecodeOfALongContext) {
  check_one(1, 2300, 6, 1, 20, {0, 8, 16});
}
TEST(Attention, QueriesOfOneHeadInSeveralBlocks) {
  check_one(40, 260, 6, 2, 12, {0, 2});
  check_one(140, 60, 4, 1, 32, {0});
}
TEST(Attention, TooManyRowsToSplit) {
  check_one(140, 130, 8, 4, 8, {0, 2, 16});
}

TEST(Attention, SequencesOfUnlikeLengths) {
  check_case({{}, {{-1, 0, 1}, {-1, 700, 1}, {-1, 33, 5}, {-1, 16, 1}, {-1, 15, 1}, {-1, 0, 40}}, 4, 2, 32},
             {0, 1, 2, 16});
}
TEST(Attention, SequencesThatShareAPrefix) {
  check_case({{310}, {{0, 0, 1}, {0, 17, 1}, {0, 150, 1}, {0, 5, 1}, {0, 0, 1}}, 4, 2, 64}, {0, 1, 2, 16});
  check_case({{48}, {{0, 3, 7}, {0, 0, 19}}, 6, 2, 32}, {0, 2});
}
TEST(Attention, OneSequenceWithAPrefix) {
  check_case({{40}, {{0, 0, 70}}, 4, 1, 32}, {0, 1, 4});
  check_case({{1}, {{0, 8, 1}}, 2, 2, 32}, {0});
}
TEST(Attention, SomeShareAndSomeDoNot) {
  check_case(
      {{64, 200}, {{-1, 20, 1}, {0, 9, 1}, {0, 130, 2}, {1, 2, 1}, {1, 0, 3}, {-1, 400, 1}, {0, 1, 1}}, 4, 2, 32},
      {0, 1, 3});
}
TEST(Attention, MoreSequencesThanOneForkTakes) {
  AttentionCase c{{30}, {}, 2, 1, 32};
  for (uint32_t s = 0; s < 70; ++s) c.sequences.push_back({s % 7 == 3 ? -1 : 0, s, 1 + s % 2});
  check_case(c, {0, 2});
}

TEST(Attention, AllSplitsAndWorkersOfTheFirstVariant) {
  WorkerPool pool(3);
  const std::vector<const KernelVariant*> variants = usable_attention(DType::kF16);
  AttentionProblem problem(pool, DType::kF16, {{100}, {{-1, 700, 3}, {0, 300, 1}}, 4, 2, 16});
  for (const KernelVariant* v : {variants.front(), variants.back()})
    for (uint32_t splits = 0; splits <= 16; ++splits)
      for (unsigned workers = 1; workers <= 3; ++workers) problem.run(pool, *v, 64, splits, workers);
}

// A cache row that exists already stays as it is when others are written beside it.
TEST(WriteKv, AppendsWithoutTouchingNeighbours) {
  WorkerPool pool(2);
  constexpr uint32_t kHeads = 2, kDim = 32, kCapacity = 48, kWidth = kHeads * kDim;
  for (const DType dtype : kDTypes) {
    const Cache cache(dtype, kCapacity, kHeads, kDim);
    std::vector<float> rows(kCapacity * kWidth);
    // Multiples of the scale that q8_0 gives them, so exact in both types.
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i * 37 % 255) - 127.0f;
    for (size_t i = 0; i < rows.size(); i += kDim) rows[i] = 127;
    uint32_t pos = 0;
    for (const uint32_t m : {1u, 5u, 16u, 17u, 2u}) {
      write_kv(pool, 2, cache.view(), pos, m, rows.data() + pos * kWidth, kWidth, rows.data() + pos * kWidth, kWidth);
      pos += m;
      for (uint32_t h = 0; h < kHeads; ++h) {
        std::vector<float> keys, values;
        cache.read(h, kCapacity, keys, values);
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
}

}  // namespace
}  // namespace smepilot::test
