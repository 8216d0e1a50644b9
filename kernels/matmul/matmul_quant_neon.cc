// Quantised matmul for cores without dot-product instructions: SMULL and SMLAL into 16-bit sums, which hold all
// products of a block of 4- or 5-bit weights (8 per lane, at most 31 * 127 each), those of half a block of 6-bit
// weights or of q2_k times its scales (4 of 45 * 127), or two of 8-bit weights (2 * 128 * 127; iq4_nl and q3_k times
// its scales have as many bits), before they are widened and added in pairs.
//
// Register tile: 2 rows x 16 columns, one row where weights have 8 bits. Zero points are subtracted when weights are
// loaded; for more rows than one tile, 256 k of a panel are decoded once into L1 and used by all rows of the call.
#include "kernels/matmul/quant_rows_neon.h"

namespace smepilot {
namespace {

// Weights of 8 bits, signed.
template <DType D>
inline constexpr bool kEightBits = D == DType::kQ8_0 || D == DType::kIQ4_NL || D == DType::kQ3_K;

// A block of the lhs, from a row of its panel on; the planes are at byte offsets from q. See layout.h.
struct LhsView {
  const uint8_t* q;   // int8 [8][rows][4]
  size_t step;        // bytes to the next four k
  size_t d, ds;       // f32 [rows]
  size_t n32a, n32b;  // int32 [rows]
  size_t stride;      // bytes to the next block
};

SMEPILOT_INLINE LhsView lhs_view(const uint8_t* block, size_t height, size_t row) noexcept {
  return {block + row * 4, height * 4, height * 32, height * 36, height * 48, height * 52, height * kLhsQ8BlockBytes};
}

SMEPILOT_INLINE float load_float(const uint8_t* p) noexcept {
  float f;
  __builtin_memcpy(&f, p, sizeof f);
  return f;
}

SMEPILOT_INLINE float load_int(const uint8_t* p) noexcept {
  int32_t i;
  __builtin_memcpy(&i, p, sizeof i);
  return static_cast<float>(i);
}

// k = 4i .. 4i+3 of row r, for each of four columns.
SMEPILOT_INLINE int8x16_t broadcast4(const LhsView& lhs, int r, int i) noexcept {
  const uint8_t* p = lhs.q + static_cast<size_t>(i) * lhs.step + 4 * r;
  int32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(four));
  // Where clang sees that both halves are equal, it replaces SMULL2 by EXT and SMULL.
  __asm__("" : "+w"(x));
  return x;
}

// Products of 16 weights with 16 lhs values, as 2 x 8 sums of 16 bits: columns 0, 1 and columns 2, 3.
struct Sums16 {
  int16x8_t a, b;
  SMEPILOT_INLINE void set(int8x16_t w, int8x16_t x) noexcept {
    a = vmull_s8(vget_low_s8(w), vget_low_s8(x));
    b = vmull_high_s8(w, x);
  }
  SMEPILOT_INLINE void add(int8x16_t w, int8x16_t x) noexcept {
    a = vmlal_s8(a, vget_low_s8(w), vget_low_s8(x));
    b = vmlal_high_s8(b, w, x);
  }
  SMEPILOT_INLINE int32x4_t columns() const noexcept { return vpaddq_s32(vpaddlq_s16(a), vpaddlq_s16(b)); }
};

// 8-bit weights: the dot products of one block, R rows x 16 columns.
template <int R, typename Blocks>
SMEPILOT_INLINE void dot_wide(const LhsView& lhs, const Blocks& blocks, uint32_t b, int32x4_t (&out)[R][4]) noexcept {
  int32x4_t a32[R][4], b32[R][4];
  SMEPILOT_UNROLL
  for (int i = 0; i < 4; ++i) {
    int8x16_t x[R][2];
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      x[r][0] = broadcast4(lhs, r, i);
      x[r][1] = broadcast4(lhs, r, i + 4);
    }
    SMEPILOT_UNROLL
    for (int g = 0; g < 2; ++g) {
      const Pair low = blocks.weights(b, i, g), high = blocks.weights(b, i + 4, g);
      SMEPILOT_UNROLL
      for (int r = 0; r < R; ++r) {
        SMEPILOT_UNROLL
        for (int c = 2 * g; c < 2 * g + 2; ++c) {
          Sums16 sums;
          sums.set(c % 2 == 0 ? low.a : low.b, x[r][0]);
          sums.add(c % 2 == 0 ? high.a : high.b, x[r][1]);
          a32[r][c] = i == 0 ? vpaddlq_s16(sums.a) : vpadalq_s16(a32[r][c], sums.a);
          b32[r][c] = i == 0 ? vpaddlq_s16(sums.b) : vpadalq_s16(b32[r][c], sums.b);
        }
      }
    }
  }
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) out[r][c] = vpaddq_s32(a32[r][c], b32[r][c]);
  }
}

// Narrower weights: the dot products of a block, or of its low or high half.
template <int R, bool kLow, bool kHigh, typename Blocks>
SMEPILOT_INLINE void dot_narrow(const LhsView& lhs, const Blocks& blocks, uint32_t b, int32x4_t (&out)[R][4]) noexcept {
  constexpr int kFirst = kLow ? 0 : 4, kEnd = kHigh ? 8 : 4;
  Sums16 sums[R][4];
  SMEPILOT_UNROLL
  for (int i = kFirst; i < kEnd; ++i) {
    int8x16_t x[R];
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) x[r] = broadcast4(lhs, r, i);
    SMEPILOT_UNROLL
    for (int g = 0; g < 2; ++g) {
      const Pair w = blocks.weights(b, i, g);
      SMEPILOT_UNROLL
      for (int r = 0; r < R; ++r) {
        if (i == kFirst) {
          sums[r][2 * g].set(w.a, x[r]);
          sums[r][2 * g + 1].set(w.b, x[r]);
        } else {
          sums[r][2 * g].add(w.a, x[r]);
          sums[r][2 * g + 1].add(w.b, x[r]);
        }
      }
    }
  }
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) out[r][c] = sums[r][c].columns();
  }
}

// acc += dots * scale * d, for R rows x 16 columns.
template <int R>
SMEPILOT_INLINE void scale_and_add(const int32x4_t (&dots)[R][4], const float32x4_t (&scale)[4], const uint8_t* d,
                                   float32x4_t (*acc)[4]) noexcept {
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    const float row = load_float(d + 4 * r);
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) acc[r][c] = vfmaq_f32(acc[r][c], vcvtq_f32_s32(dots[r][c]), vmulq_n_f32(scale[c], row));
  }
}

// Adds one block: R rows x 16 columns.
template <DType D, int R, typename Blocks>
SMEPILOT_INLINE void add_columns(const LhsView& lhs, const Blocks& blocks, uint32_t b, float32x4_t (*acc)[4]) noexcept {
  int32x4_t dots[R][4];
  if constexpr (kEightBits<D>)
    dot_wide<R>(lhs, blocks, b, dots);
  else
    dot_narrow<R, true, !kHasHalves<D> && !kHasHalfMins<D>>(lhs, blocks, b, dots);
  if constexpr (kHasHalfMins<D>) {
    int32x4_t high[R][4];
    dot_narrow<R, false, true>(lhs, blocks, b, high);
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      SMEPILOT_UNROLL
      for (int c = 0; c < 4; ++c) dots[r][c] = vaddq_s32(dots[r][c], high[r][c]);
    }
  }
  float32x4_t first[4], second[4], third[4];
  SMEPILOT_UNROLL
  for (int c = 0; c < 4; ++c) {
    const Scales s = blocks.load_scale(b, c);
    first[c] = s.first;
    second[c] = s.second;
    third[c] = s.third;
  }
  scale_and_add<R>(dots, first, lhs.q + lhs.d, acc);
  if constexpr (kHasMin<D>) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      const float ds = load_float(lhs.q + lhs.ds + 4 * r);
      SMEPILOT_UNROLL
      for (int c = 0; c < 4; ++c) acc[r][c] = vfmaq_n_f32(acc[r][c], second[c], ds);
    }
  }
  if constexpr (kHasHalfMins<D>) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      const float d = load_float(lhs.q + lhs.d + 4 * r);
      const float sum_a = d * load_int(lhs.q + lhs.n32a + 4 * r), sum_b = d * load_int(lhs.q + lhs.n32b + 4 * r);
      SMEPILOT_UNROLL
      for (int c = 0; c < 4; ++c) acc[r][c] = vfmaq_n_f32(vfmaq_n_f32(acc[r][c], second[c], sum_a), third[c], sum_b);
    }
  }
  if constexpr (kHasHalves<D>) {
    dot_narrow<R, false, true>(lhs, blocks, b, dots);
    scale_and_add<R>(dots, second, lhs.q + lhs.d, acc);
  }
}

// Adds `count` blocks of R rows to `out`.
template <DType D, int R, typename Blocks>
SMEPILOT_INLINE void add_blocks(LhsView lhs, const Blocks& blocks, uint32_t count, float (*out)[16]) noexcept {
  float32x4_t acc[R][4];
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) acc[r][c] = vld1q_f32(out[r] + 4 * c);
  }
  for (uint32_t b = 0; b < count; ++b) {
    add_columns<D, R>(lhs, blocks, b, acc);
    lhs.q += lhs.stride;
  }
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) vst1q_f32(out[r] + 4 * c, acc[r][c]);
  }
}

template <DType D>
struct Smlal {
  static constexpr DType kType = D;
  static constexpr uint32_t kTile = kEightBits<D> ? 1 : 2;  // the 32-bit sums of 8-bit weights leave room for only one
  template <int R>
  static constexpr int kPasses = 1;
  using Direct = DirectBlocks<D, Quants::kSigned>;
  using Chunk = Decoded;
  using Chunked = DecodedBlocks<D>;
  static SMEPILOT_INLINE void decode_chunk(const uint8_t* panel, const RhsPlanes& at, size_t kb, uint32_t count,
                                           Chunk& out) noexcept {
    decode<D, Quants::kSigned>(panel, at, kb, count, out);
  }
  template <int R, bool, typename Blocks>
  static SMEPILOT_INLINE void add(const uint8_t* block, size_t height, size_t row, const Blocks& blocks, uint32_t count,
                                  float (*sums)[16]) noexcept {
    add_blocks<D, R>(lhs_view(block, height, row), blocks, count, sums);
  }
};

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return matmul_variant(id, kIsaNeon, DType::kQ8, D, kMr, matmul<Smlal<D>>);
}

}  // namespace

extern const KernelVariant kMatmulF32Q8Q8_0Neon, kMatmulF32Q8Q4_0Neon, kMatmulF32Q8Q4_1Neon, kMatmulF32Q8Q5_0Neon,
    kMatmulF32Q8Q5_1Neon, kMatmulF32Q8Iq4NlNeon, kMatmulF32Q8Q2_KNeon, kMatmulF32Q8Q3_KNeon, kMatmulF32Q8Q4_KNeon,
    kMatmulF32Q8Q5_KNeon, kMatmulF32Q8Q6_KNeon;
constexpr KernelVariant kMatmulF32Q8Q8_0Neon = variant<DType::kQ8_0>("matmul.f32.q8.q8_0.1x16.neon.smlal");
constexpr KernelVariant kMatmulF32Q8Q4_0Neon = variant<DType::kQ4_0>("matmul.f32.q8.q4_0.2x16.neon.smlal");
constexpr KernelVariant kMatmulF32Q8Q4_1Neon = variant<DType::kQ4_1>("matmul.f32.q8.q4_1.2x16.neon.smlal");
constexpr KernelVariant kMatmulF32Q8Q5_0Neon = variant<DType::kQ5_0>("matmul.f32.q8.q5_0.2x16.neon.smlal");
constexpr KernelVariant kMatmulF32Q8Q5_1Neon = variant<DType::kQ5_1>("matmul.f32.q8.q5_1.2x16.neon.smlal");
constexpr KernelVariant kMatmulF32Q8Iq4NlNeon = variant<DType::kIQ4_NL>("matmul.f32.q8.iq4_nl.1x16.neon.smlal");
constexpr KernelVariant kMatmulF32Q8Q2_KNeon = variant<DType::kQ2_K>("matmul.f32.q8.q2_k.2x16.neon.smlal");
constexpr KernelVariant kMatmulF32Q8Q3_KNeon = variant<DType::kQ3_K>("matmul.f32.q8.q3_k.1x16.neon.smlal");
constexpr KernelVariant kMatmulF32Q8Q4_KNeon = variant<DType::kQ4_K>("matmul.f32.q8.q4_k.2x16.neon.smlal");
constexpr KernelVariant kMatmulF32Q8Q5_KNeon = variant<DType::kQ5_K>("matmul.f32.q8.q5_k.2x16.neon.smlal");
constexpr KernelVariant kMatmulF32Q8Q6_KNeon = variant<DType::kQ6_K>("matmul.f32.q8.q6_k.2x16.neon.smlal");

}  // namespace smepilot
