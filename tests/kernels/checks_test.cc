// The checkers themselves must be able to fail: planted errors of both signs, kernels broken on purpose, guard pages.
#include "tests/kernels/checks/checks.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/registry/registry.h"
#include "tests/kernels/support/guarded_buffer.h"

namespace smepilot::test {
namespace {

const KernelVariant& portable(OpKind op, DType rhs) {
  for (const KernelVariant* v : all_variants())
    if (v->isa == kIsaPortable && v->op == op && v->rhs == rhs) return *v;
  ADD_FAILURE() << "no portable variant of " << kOpNames[static_cast<size_t>(op)] << " " << traits(rhs).name;
  std::abort();
}

TEST(Comparator, SeesPlantedErrorsOfBothSignsInEveryOperator) {
  size_t variants = 0;
  for (const KernelVariant* v : all_variants()) {
    if (v->isa != kIsaPortable) continue;
    ++variants;
    Comparator clean;
    check_variant(*v, clean);
    ASSERT_TRUE(clean.ok()) << clean.message();
    for (size_t at : {size_t{0}, clean.count() / 3, clean.count() - clean.count() / 10}) {
      for (double tolerances : {-3.0, 3.0}) {
        Comparator planted({at, tolerances});
        check_variant(*v, planted);
        EXPECT_TRUE(planted.planted_used()) << v->id;
        EXPECT_FALSE(planted.ok()) << v->id << ": an error of " << tolerances << " tolerances at comparison " << at;
      }
    }
  }
  EXPECT_GT(variants, 0u);
}

TEST(Comparator, RejectsNanAndInfinity) {
  for (double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    Comparator c;
    c.compare(1, bad, 1e9, [] { return "x"; });
    EXPECT_FALSE(c.ok());
  }
}

// Kernels that are wrong in ways that real ones are wrong. Each wraps the portable variant, which is right.
MatmulFn right_matmul = nullptr;
AttentionFn right_attention = nullptr;

void expect_caught(KernelVariant v, MatmulFn wrong) {
  right_matmul = v.matmul;
  v.matmul = wrong;
  Comparator c;
  check_matmul(v, c);
  EXPECT_FALSE(c.ok());
}

TEST(Checks, CatchAForgottenElementOfK) {
  expect_caught(portable(OpKind::kMatmul, DType::kF32), [](const MatmulArgs* a) noexcept {
    MatmulArgs b = *a;
    if (a->k > 1000) --b.k;  // one of 1024: the smallest share of the result, so the tolerance must be below it
    right_matmul(&b);
  });
}

TEST(Checks, CatchAForgottenBlock) {
  expect_caught(portable(OpKind::kMatmul, DType::kQ4_0), [](const MatmulArgs* a) noexcept {
    right_matmul(a);
    if (a->m == 3) {  // the last row of a partial panel left as the second
      for (uint32_t i = 0; i < a->n; ++i) a->dst[2 * a->dst_stride + i] = a->dst[a->dst_stride + i];
    }
  });
}

TEST(Checks, CatchAWriteBetweenRows) {
  expect_caught(portable(OpKind::kMatmul, DType::kQ8_0), [](const MatmulArgs* a) noexcept {
    right_matmul(a);
    if (a->dst_stride > a->n && a->m > 1) a->dst[a->n] = 0;
  });
}

TEST(Checks, CatchAMissingTailColumn) {
  expect_caught(portable(OpKind::kMatmul, DType::kF16), [](const MatmulArgs* a) noexcept {
    MatmulArgs b = *a;
    if (a->n > 1 && a->n % 16 == 1) --b.n;
    right_matmul(&b);
  });
}

TEST(Checks, CatchAttentionThatLooksAheadOrBehind) {
  for (int by : {-1, 1}) {
    static int shift;
    shift = by;
    KernelVariant v = portable(OpKind::kAttention, DType::kF16);
    right_attention = v.attention;
    v.attention = [](const AttentionArgs* a) noexcept {
      AttentionArgs b = *a;
      uint32_t limits[64];
      for (uint32_t r = 0; r < a->rows && r < 64; ++r) {
        const bool possible = a->limit[r] > 1 && a->limit[r] < a->kv_end;
        limits[r] = a->limit[r] + static_cast<uint32_t>(possible ? shift : 0);
      }
      b.limit = limits;
      right_attention(&b);
    };
    Comparator c;
    check_attention(v, c);
    EXPECT_FALSE(c.ok()) << "a limit off by " << by;
  }
}

TEST(Checks, CatchQuantisationByTruncation) {
  static QuantizeFn right;
  KernelVariant v = portable(OpKind::kQuantize, DType::kF32);
  right = v.quantize;
  v.quantize = [](const QuantizeArgs* a) noexcept {
    right(a);
    auto* q = static_cast<int8_t*>(a->dst);
    if (*q > 0) --*q;
  };
  Comparator c;
  check_quantize(v, c);
  EXPECT_FALSE(c.ok());
}

using GuardedBufferDeathTest = testing::Test;

TEST(GuardedBufferDeathTest, FaultsOnEitherSide) {
  GuardedBuffer end(100, 4, Edge::kEnd), begin(100, 4, Edge::kBegin);
  volatile uint8_t sink = 0;
  EXPECT_DEATH(sink = end.as<volatile uint8_t>()[100], "");
  EXPECT_DEATH(sink = begin.as<volatile uint8_t>()[-1], "");
  end.protect_contents();
  EXPECT_DEATH(end.as<volatile uint8_t>()[0] = 1, "");
  static_cast<void>(sink);
}

TEST(GuardedBuffer, AlignsAndKnowsItsCanaries) {
  GuardedBuffer end(100, 64, Edge::kEnd), begin(100, 64, Edge::kBegin);
  for (GuardedBuffer* buffer : {&end, &begin}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->as<void>()) % 64, 0u);
    EXPECT_TRUE(buffer->intact());
    std::fill_n(buffer->as<uint8_t>(), 100, uint8_t{1});
    EXPECT_TRUE(buffer->intact());
    buffer->as<uint8_t>()[100] = 1;
    EXPECT_FALSE(buffer->intact());
  }
}

}  // namespace
}  // namespace smepilot::test
