// Quantised matmul with SMMLA: two rows times two columns, eight k of each, 32 multiply-adds. A single row, of which
// half of every SMMLA would be wasted, takes SDOT (quant_dotprod.h).
//
// Register tile: 4 rows x 8 columns, as 2 x 4 squares of 2 x 2 sums, of integers and of floats. Both operands come from
// layouts with four k side by side; words of two such lines zipped are eight k of two rows, or of two columns. Weights
// are zipped once, when 256 k of a panel are decoded for more rows than a tile has, activations by each pass: 2 of the
// about 18 instructions on 8 SMMLA.
#include "kernels/matmul/quant_dotprod.h"

namespace smepilot {
namespace {

// k = 8s .. 8s+7 of the columns 8g+2t and 8g+2t+1 in v[t].
struct Quad {
  int8x16_t v[4];
};

SMEPILOT_INLINE int8x16_t zip_words1(int8x16_t a, int8x16_t b) noexcept {
  return vreinterpretq_s8_s32(vzip1q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
}
SMEPILOT_INLINE int8x16_t zip_words2(int8x16_t a, int8x16_t b) noexcept {
  return vreinterpretq_s8_s32(vzip2q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
}

template <DType D>
inline constexpr bool kOnlyNibbles = D == DType::kQ4_0 || D == DType::kQ4_1 || D == DType::kIQ4_NL || D == DType::kQ4_K;

template <DType D>
SMEPILOT_INLINE Quad load_quad(const PanelView& p, int s, int g) noexcept {
  if constexpr (kOnlyNibbles<D>) {  // zipped while two elements are a byte
    const uint8_t* q = p.quants + 64 * (2 * s % 4) + 32 * (s / 2) + 16 * g;
    const uint16x8_t first = vreinterpretq_u16_u8(vld1q_u8(q)), second = vreinterpretq_u16_u8(vld1q_u8(q + 64));
    Quad w;
    SMEPILOT_UNROLL
    for (int t = 0; t < 4; t += 2) {
      const uint8x16_t both = vreinterpretq_u8_u16(t == 0 ? vzip1q_u16(first, second) : vzip2q_u16(first, second));
      int8x16_t even = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
      int8x16_t odd = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
      if constexpr (D == DType::kIQ4_NL) {
        even = vqtbl1q_s8(vld1q_s8(kIq4NlValues), vreinterpretq_u8_s8(even));
        odd = vqtbl1q_s8(vld1q_s8(kIq4NlValues), vreinterpretq_u8_s8(odd));
      }
      w.v[t] = vzip1q_s8(even, odd);
      w.v[t + 1] = vzip2q_s8(even, odd);
    }
    return w;
  } else {
    const Pair first = load_pair<D, Quants::kRaw>(p, 2 * s, g), second = load_pair<D, Quants::kRaw>(p, 2 * s + 1, g);
    return {{zip_words1(first.a, second.a), zip_words2(first.a, second.a), zip_words1(first.b, second.b),
             zip_words2(first.b, second.b)}};
  }
}

// A chunk of a panel, decoded.
struct DecodedQuads {
  alignas(64) int8_t w[kChunkBlocks][4][8][16];  // [k/8][column/2][column%2][k%8]
  alignas(64) float scales[3][kChunkBlocks][16];
};

template <DType D>
SMEPILOT_INLINE void decode_quads(const uint8_t* panel, const RhsPlanes& at, size_t kb, uint32_t count,
                                  DecodedQuads& out) noexcept {
  const ScaleView scales = scale_view(panel, at);
  for (uint32_t b = 0; b < count; ++b) {
    const PanelView view = panel_view<D>(panel, at, kb + b);
    SMEPILOT_UNROLL
    for (int s = 0; s < 4; ++s) {
      SMEPILOT_UNROLL
      for (int g = 0; g < 2; ++g) {
        const Quad w = load_quad<D>(view, s, g);
        SMEPILOT_UNROLL
        for (int t = 0; t < 4; ++t) vst1q_s8(out.w[b][s][4 * g + t], w.v[t]);
      }
    }
    decode_scales<D>(scales, kb + b, out.scales, b);
  }
}

template <DType D>
struct DirectQuads {
  DirectBlocks<D, Quants::kRaw> blocks;
  DirectQuads(const uint8_t* panel, const RhsPlanes& at, size_t kb) noexcept : blocks(panel, at, kb) {}
  SMEPILOT_INLINE Quad weights(uint32_t b, int s, int g) const noexcept {
    return load_quad<D>(panel_view<D>(blocks.panel, blocks.at, blocks.kb + b), s, g);
  }
  SMEPILOT_INLINE Scales load_scale(uint32_t b, int c) const noexcept { return blocks.load_scale(b, c); }
};

template <DType D>
struct ChunkQuads {
  const DecodedQuads& decoded;
  SMEPILOT_INLINE Quad weights(uint32_t b, int s, int g) const noexcept {
    const int8_t (*w)[16] = decoded.w[b][s] + 4 * g;
    return {{vld1q_s8(w[0]), vld1q_s8(w[1]), vld1q_s8(w[2]), vld1q_s8(w[3])}};
  }
  SMEPILOT_INLINE Scales load_scale(uint32_t b, int c) const noexcept {
    return decoded_scales<D>(decoded.scales, b, c);
  }
};

// Each of the values of rows 2p and 2p+1 twice, as a square has its rows; columns 2t and 2t+1, as it has its columns.
SMEPILOT_INLINE float32x4_t of_rows(float32x4_t v, int p) noexcept {
  return p == 0 ? vzip1q_f32(v, v) : vzip2q_f32(v, v);
}
SMEPILOT_INLINE int32x4_t of_rows(int32x4_t v, int p) noexcept {
  return p == 0 ? vzip1q_s32(v, v) : vzip2q_s32(v, v);
}
SMEPILOT_INLINE float32x4_t of_columns(float32x4_t v, int t) noexcept {
  const float64x2_t pairs = vreinterpretq_f64_f32(v);
  return vreinterpretq_f32_f64(t == 0 ? vdupq_laneq_f64(pairs, 0) : vdupq_laneq_f64(pairs, 1));
}

// What a square's integer sums of a block stand for, added: see add_scaled().
template <DType D>
SMEPILOT_INLINE float32x4_t add_square(float32x4_t acc, int32x4_t low, int32x4_t high, const Scales& s, int t,
                                       const RowPlanes& rows, int p) noexcept {
  const float32x4_t d = of_rows(rows.d, p), first = of_columns(s.first, t), integers = vcvtq_f32_s32(low);
  if constexpr (kHasHalves<D>) {
    const float32x4_t second = of_columns(s.second, t);
    return vfmaq_f32(acc, vfmaq_f32(vmulq_f32(integers, first), vcvtq_f32_s32(high), second), d);
  } else if constexpr (kHasHalfMins<D>) {
    const float32x4_t minima = vfmaq_f32(vmulq_f32(of_columns(s.second, t), vcvtq_f32_s32(of_rows(rows.sums, p))),
                                         of_columns(s.third, t), vcvtq_f32_s32(of_rows(rows.sums2, p)));
    return vfmaq_f32(acc, vfmaq_f32(minima, integers, first), d);
  } else {
    if constexpr (kHasMin<D>) acc = vfmaq_f32(acc, of_columns(s.second, t), of_rows(rows.ds, p));
    return vfmaq_f32(acc, integers, vmulq_f32(first, d));
  }
}

// Adds block b: R rows (to the next even number; what comes of a row too many is not stored) x columns 8g .. 8g+7.
template <DType D, int R, typename Blocks>
SMEPILOT_INLINE void add_squares(const LhsView& lhs, const Blocks& blocks, uint32_t b, int g,
                                 float32x4_t (*acc)[4]) noexcept {
  constexpr int kPairs = (R + 1) / 2;
  const RowPlanes rows = row_planes<D, R>(lhs);
  int32x4_t low[kPairs][4], high[kPairs][4];
  SMEPILOT_UNROLL
  for (int p = 0; p < kPairs; ++p) {
    SMEPILOT_UNROLL
    for (int t = 0; t < 4; ++t) {
      const int32x4_t start = D == DType::kQ5_0 ? vshlq_n_s32(rows.sums, 1) : rows.sums;
      low[p][t] = kZeroStart<D> ? vdupq_n_s32(0) : of_rows(start, p);
      if constexpr (kHasHalves<D>) high[p][t] = of_rows(rows.sums2, p);
    }
  }
  SMEPILOT_UNROLL
  for (int s = 0; s < 4; ++s) {
    const uint8_t* q = lhs.q + static_cast<size_t>(2 * s) * lhs.step;
    const int8x16_t first = vreinterpretq_s8_u8(vld1q_u8(q)), second = vreinterpretq_s8_u8(vld1q_u8(q + lhs.step));
    const Quad w = blocks.weights(b, s, g);
    SMEPILOT_UNROLL
    for (int p = 0; p < kPairs; ++p) {
      const int8x16_t x = p == 0 ? zip_words1(first, second) : zip_words2(first, second);
      SMEPILOT_UNROLL
      for (int t = 0; t < 4; ++t) {
        int32x4_t& sum = kHasHalves<D> && s >= 2 ? high[p][t] : low[p][t];
        sum = vmmlaq_s32(sum, x, w.v[t]);
      }
    }
  }
  SMEPILOT_UNROLL
  for (int c = 0; c < 2; ++c) {
    const Scales scales = blocks.load_scale(b, 2 * g + c);
    SMEPILOT_UNROLL
    for (int p = 0; p < kPairs; ++p) {
      SMEPILOT_UNROLL
      for (int t = 2 * c; t < 2 * c + 2; ++t)
        acc[p][t] = add_square<D>(acc[p][t], low[p][t], kHasHalves<D> ? high[p][t] : low[p][t], scales, t % 2, rows, p);
    }
  }
}

SMEPILOT_INLINE float32x4_t zip_pairs(float32x4_t a, float32x4_t b, int which) noexcept {
  const float64x2_t x = vreinterpretq_f64_f32(a), y = vreinterpretq_f64_f32(b);
  return vreinterpretq_f32_f64(which == 0 ? vzip1q_f64(x, y) : vzip2q_f64(x, y));
}

// Adds `count` blocks of R rows to `sums`, which has an even number of rows.
template <DType D, int R, typename Blocks>
SMEPILOT_INLINE void add_square_blocks(const LhsView& lhs, const Blocks& blocks, uint32_t count,
                                       float (*sums)[16]) noexcept {
  constexpr int kPairs = (R + 1) / 2;
  for (int g = 0; g < 2; ++g) {
    float32x4_t acc[kPairs][4];
    SMEPILOT_UNROLL
    for (int p = 0; p < kPairs; ++p) {
      SMEPILOT_UNROLL
      for (int t = 0; t < 4; ++t) {
        const float32x4_t upper = vld1q_f32(sums[2 * p] + 8 * g + t / 2 * 4);
        const float32x4_t lower = vld1q_f32(sums[2 * p + 1] + 8 * g + t / 2 * 4);
        acc[p][t] = zip_pairs(upper, lower, t % 2);
      }
    }
    LhsView view = lhs;
    for (uint32_t b = 0; b < count; ++b) {
      add_squares<D, R>(view, blocks, b, g, acc);
      view.q += view.stride;
    }
    SMEPILOT_UNROLL
    for (int p = 0; p < kPairs; ++p) {
      SMEPILOT_UNROLL
      for (int t = 0; t < 4; t += 2) {
        vst1q_f32(sums[2 * p] + 8 * g + 2 * t, zip_pairs(acc[p][t], acc[p][t + 1], 0));
        vst1q_f32(sums[2 * p + 1] + 8 * g + 2 * t, zip_pairs(acc[p][t], acc[p][t + 1], 1));
      }
    }
  }
}

template <DType D>
struct Smmla {
  static constexpr DType kType = D;
  static constexpr uint32_t kTile = 4;
  template <int R>
  static constexpr int kPasses = 2;
  using Direct = DirectQuads<D>;
  using Chunk = DecodedQuads;
  using Chunked = ChunkQuads<D>;
  static SMEPILOT_INLINE void decode_chunk(const uint8_t* panel, const RhsPlanes& at, size_t kb, uint32_t count,
                                           Chunk& out) noexcept {
    decode_quads<D>(panel, at, kb, count, out);
  }
  template <int R, bool, typename Blocks>
  static SMEPILOT_INLINE void add(const uint8_t* block, size_t height, size_t row, const Blocks& blocks, uint32_t count,
                                  float (*sums)[16]) noexcept {
    add_square_blocks<D, R>(lhs_view<D>(block, height, row), blocks, count, sums);
  }
};

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return matmul_variant(id, kIsaNeon | kIsaDotprod | kIsaI8mm, DType::kQ8, D, kMr, matmul<Smmla<D>, Sdot<D>>);
}

}  // namespace

extern const KernelVariant kMatmulF32Q8Q8_0I8mm, kMatmulF32Q8Q4_0I8mm, kMatmulF32Q8Q4_1I8mm, kMatmulF32Q8Q5_0I8mm,
    kMatmulF32Q8Q5_1I8mm, kMatmulF32Q8Iq4NlI8mm, kMatmulF32Q8Q2_KI8mm, kMatmulF32Q8Q3_KI8mm, kMatmulF32Q8Q4_KI8mm,
    kMatmulF32Q8Q5_KI8mm, kMatmulF32Q8Q6_KI8mm;
constexpr KernelVariant kMatmulF32Q8Q8_0I8mm = variant<DType::kQ8_0>("matmul.f32.q8.q8_0.4x8.i8mm.smmla");
constexpr KernelVariant kMatmulF32Q8Q4_0I8mm = variant<DType::kQ4_0>("matmul.f32.q8.q4_0.4x8.i8mm.smmla");
constexpr KernelVariant kMatmulF32Q8Q4_1I8mm = variant<DType::kQ4_1>("matmul.f32.q8.q4_1.4x8.i8mm.smmla");
constexpr KernelVariant kMatmulF32Q8Q5_0I8mm = variant<DType::kQ5_0>("matmul.f32.q8.q5_0.4x8.i8mm.smmla");
constexpr KernelVariant kMatmulF32Q8Q5_1I8mm = variant<DType::kQ5_1>("matmul.f32.q8.q5_1.4x8.i8mm.smmla");
constexpr KernelVariant kMatmulF32Q8Iq4NlI8mm = variant<DType::kIQ4_NL>("matmul.f32.q8.iq4_nl.4x8.i8mm.smmla");
constexpr KernelVariant kMatmulF32Q8Q2_KI8mm = variant<DType::kQ2_K>("matmul.f32.q8.q2_k.4x8.i8mm.smmla");
constexpr KernelVariant kMatmulF32Q8Q3_KI8mm = variant<DType::kQ3_K>("matmul.f32.q8.q3_k.4x8.i8mm.smmla");
constexpr KernelVariant kMatmulF32Q8Q4_KI8mm = variant<DType::kQ4_K>("matmul.f32.q8.q4_k.4x8.i8mm.smmla");
constexpr KernelVariant kMatmulF32Q8Q5_KI8mm = variant<DType::kQ5_K>("matmul.f32.q8.q5_k.4x8.i8mm.smmla");
constexpr KernelVariant kMatmulF32Q8Q6_KI8mm = variant<DType::kQ6_K>("matmul.f32.q8.q6_k.4x8.i8mm.smmla");

}  // namespace smepilot
