// Matmul with f32, f16 and bf16 weights: FMLA by element, f32 accumulation.
//
// Register tile: 4 rows x 16 columns. For more rows than one tile, 128 k of a panel stay in L1 while all rows of the
// call use them; 16-bit weights are widened into that chunk once. For one tile or less they are widened in registers.
#include <arm_neon.h>

#include "kernels/abi/compiler.h"
#include "kernels/abi/describe.h"

namespace smepilot {
namespace {

constexpr uint32_t kMr = 32;      // rows of one call
constexpr uint32_t kTile = 4;     // rows of the register tile
constexpr uint32_t kChunk = 128;  // k of a chunk: 8 KiB of f32 weights

struct Row {
  float32x4_t v[4];  // the 16 columns of one k
};

// Rows k and k + 1 of a panel (kOne: only row k, the last one of an odd number).
template <DType D, bool kOne>
SMEPILOT_INLINE void load_rows(const uint8_t* panel, size_t k, Row& even, Row& odd) noexcept {
  if constexpr (D == DType::kBF16) {  // [k/2][16][2]: two k of a column in one 32-bit word
    const uint32_t* p = reinterpret_cast<const uint32_t*>(panel + k * 32);
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) {
      const uint32x4_t both = vld1q_u32(p + 4 * c);
      even.v[c] = vreinterpretq_f32_u32(vshlq_n_u32(both, 16));
      if (!kOne) odd.v[c] = vreinterpretq_f32_u32(vandq_u32(both, vdupq_n_u32(0xffff0000u)));
    }
  } else if constexpr (D == DType::kF16) {
    static_assert(kF16Pairs);  // [k/2][16][2]
    const uint16_t* p = reinterpret_cast<const uint16_t*>(panel + k * 32);
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; c += 2) {
      const uint16x8_t a = vld1q_u16(p + 8 * c), b = vld1q_u16(p + 8 * c + 8);
      const float16x8_t first = vreinterpretq_f16_u16(vuzp1q_u16(a, b));
      even.v[c] = vcvt_f32_f16(vget_low_f16(first));
      even.v[c + 1] = vcvt_high_f32_f16(first);
      if (kOne) continue;
      const float16x8_t second = vreinterpretq_f16_u16(vuzp2q_u16(a, b));
      odd.v[c] = vcvt_f32_f16(vget_low_f16(second));
      odd.v[c + 1] = vcvt_high_f32_f16(second);
    }
  } else {
    const float* p = reinterpret_cast<const float*>(panel + k * 64);
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) {
      even.v[c] = vld1q_f32(p + 4 * c);
      if (!kOne) odd.v[c] = vld1q_f32(p + 16 + 4 * c);
    }
  }
}

template <int Lane, int R>
SMEPILOT_INLINE void add_row(const Row& w, const float32x4_t (&x)[R], float32x4_t (&acc)[R][4]) noexcept {
  SMEPILOT_UNROLL
  for (int c = 0; c < 4; ++c) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) acc[r][c] = vfmaq_laneq_f32(acc[r][c], w.v[c], x[r], Lane);
  }
}

// Adds `count` k of R rows to `sums`. D is the type of the weights at `panel`, row 0 of which belongs to x[0].
template <DType D, int R>
SMEPILOT_INLINE void add_tile(const float* x, size_t stride, const uint8_t* panel, size_t count,
                              float (*sums)[16]) noexcept {
  // One row has 4 accumulators, too few to hide the latency of FMLA: even and odd k get their own.
  constexpr bool kSplit = R == 1;
  float32x4_t acc[R][4], acc2[R][4];
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) {
      acc[r][c] = vld1q_f32(sums[r] + 4 * c);
      if (kSplit) acc2[r][c] = vdupq_n_f32(0);
    }
  }
  size_t k = 0;
  for (; k + 4 <= count; k += 4) {
    float32x4_t lhs[R];
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) lhs[r] = vld1q_f32(x + r * stride + k);
    Row even, odd;
    load_rows<D, false>(panel, k, even, odd);
    add_row<0>(even, lhs, acc);
    add_row<1>(odd, lhs, kSplit ? acc2 : acc);
    load_rows<D, false>(panel, k + 2, even, odd);
    add_row<2>(even, lhs, acc);
    add_row<3>(odd, lhs, kSplit ? acc2 : acc);
  }
  for (; k < count; ++k) {
    float32x4_t lhs[R];
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) lhs[r] = vdupq_n_f32(x[r * stride + k]);
    Row even, odd;
    if (D != DType::kF32 && k % 2 != 0) {
      load_rows<D, false>(panel, k - 1, odd, even);
    } else {
      load_rows<D, true>(panel, k, even, odd);
    }
    add_row<0>(even, lhs, acc);
  }
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) vst1q_f32(sums[r] + 4 * c, kSplit ? vaddq_f32(acc[r][c], acc2[r][c]) : acc[r][c]);
  }
}

// `count` rows of a panel from row k on, as f32 [count][16].
template <DType D>
SMEPILOT_INLINE void widen(const uint8_t* panel, size_t k, size_t count, float (*out)[16]) noexcept {
  for (size_t i = 0; i < count; i += 2) {
    Row even, odd;
    if (i + 1 < count)
      load_rows<D, false>(panel, k + i, even, odd);
    else
      load_rows<D, true>(panel, k + i, even, odd);
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) {
      vst1q_f32(out[i] + 4 * c, even.v[c]);
      if (i + 1 < count) vst1q_f32(out[i + 1] + 4 * c, odd.v[c]);
    }
  }
}

SMEPILOT_INLINE void store_rows(const float (*acc)[16], uint32_t rows, uint32_t n, float* dst, size_t stride) noexcept {
  for (uint32_t r = 0; r < rows; ++r, dst += stride) {
    if (n >= kPanel) {
      SMEPILOT_UNROLL
      for (int c = 0; c < 4; ++c) vst1q_f32(dst + 4 * c, vld1q_f32(acc[r] + 4 * c));
    } else {
      for (uint32_t c = 0; c < n; ++c) dst[c] = acc[r][c];
    }
  }
}

template <DType D, int R>
void few_rows(const MatmulArgs* args) noexcept {
  const float* x = static_cast<const float*>(args->lhs);
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  for (uint32_t n = 0; n < args->n; n += kPanel, panel += args->rhs_stride) {
    alignas(64) float sums[R][16] = {};
    add_tile<D, R>(x, args->lhs_stride / sizeof(float), panel, args->k, sums);
    store_rows(sums, R, args->n - n, args->dst + n, args->dst_stride);
  }
}

template <DType D>
void many_rows(const MatmulArgs* args) noexcept {
  const size_t stride = args->lhs_stride / sizeof(float), k = args->k;
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  alignas(64) float chunk[D == DType::kF32 ? 1 : kChunk][16];
  for (uint32_t n = 0; n < args->n; n += kPanel, panel += args->rhs_stride) {
    alignas(64) float sums[kMr][16] = {};
    for (size_t at = 0; at < k; at += kChunk) {
      const size_t count = k - at < kChunk ? k - at : kChunk;
      const uint8_t* weights = panel + at * 64;
      if constexpr (D != DType::kF32) {
        widen<D>(panel, at, count, chunk);
        weights = reinterpret_cast<const uint8_t*>(chunk);
      }
      for (uint32_t row = 0; row < args->m; row += kTile) {
        const float* x = static_cast<const float*>(args->lhs) + row * stride + at;
        switch (args->m - row) {
          case 1: add_tile<DType::kF32, 1>(x, stride, weights, count, sums + row); break;
          case 2: add_tile<DType::kF32, 2>(x, stride, weights, count, sums + row); break;
          case 3: add_tile<DType::kF32, 3>(x, stride, weights, count, sums + row); break;
          default: add_tile<DType::kF32, 4>(x, stride, weights, count, sums + row); break;
        }
      }
    }
    store_rows(sums, args->m, args->n - n, args->dst + n, args->dst_stride);
  }
}

template <DType D>
void matmul(const MatmulArgs* args) noexcept {
  switch (args->m) {
    case 1: return few_rows<D, 1>(args);
    case 2: return few_rows<D, 2>(args);
    case 3: return few_rows<D, 3>(args);
    case 4: return few_rows<D, 4>(args);
    default: return many_rows<D>(args);
  }
}

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return matmul_variant(id, kIsaNeon, DType::kF32, D, kMr, matmul<D>);
}

}  // namespace

extern const KernelVariant kMatmulF32F32F32Neon, kMatmulF32F32F16Neon, kMatmulF32F32Bf16Neon;
constexpr KernelVariant kMatmulF32F32F32Neon = variant<DType::kF32>("matmul.f32.f32.f32.4x16.neon.fmla");
constexpr KernelVariant kMatmulF32F32F16Neon = variant<DType::kF16>("matmul.f32.f32.f16.4x16.neon.fmla");
constexpr KernelVariant kMatmulF32F32Bf16Neon = variant<DType::kBF16>("matmul.f32.f32.bf16.4x16.neon.fmla");

}  // namespace smepilot
