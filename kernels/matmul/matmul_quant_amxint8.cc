// Quantised weights times quantised activations with AMX: 16 rows by one panel of 16 columns by one block of 32 k per
// tile product.
//
// Scales apply per block, so the integers of every product leave the tile registers and are scaled by vector code,
// which takes longer than the product. What that asks for:
// - Products and scaling take turns, sixteen products at a time. While tile instructions are in flight, full-width
//   multiplications and conversions get one port instead of two (measured: product, store and scaling take 17 ns per
//   product interleaved, 13 ns in turns).
// - A product is stored four products later, when it has left the pipeline (measured: 5 ns per product, 8 ns
// otherwise).
// - Two lhs panels times two rhs panels at a time, so that each tile loaded is used twice.
// - Weights are unpacked to signed bytes, which costs little because many rows use them, and no correction is left.
#include "kernels/abi/describe.h"
#include "kernels/matmul/amx_tiles.h"
#include "kernels/matmul/rhs_block_avx512.h"

namespace smepilot {
namespace {

constexpr uint32_t kMr = 64;  // rows of a call
constexpr int kTurn = 16;     // products of a turn

// Products per block: q6_k scales each half on its own.
template <DType D>
constexpr int kParts = kHasHalves<D> ? 2 : 1;

struct alignas(64) Scratch {
  int32_t products[kTurn][kPanel][kPanel];
  int8_t w[2][kTurn][8][64];  // unpacked blocks of two panels
  float scale[2][kTurn][3][kPanel];
  float sums[2][kMr][kPanel];
};

// One block of a panel to signed bytes and its vectors of scales.
template <DType D>
SMEPILOT_INLINE void unpack(const RhsBlock<D>& from, int8_t (*w)[64], float (*scale)[kPanel]) noexcept {
  Block b;
  load_block<D>(from, load_supers<D>(from), b);
  SMEPILOT_UNROLL
  for (int i = 0; i < 8; ++i) {
    if constexpr (kZeroPoint<D> != 0)
      b.w[i] = _mm512_sub_epi8(b.w[i], _mm512_set1_epi8(static_cast<char>(kZeroPoint<D>)));
    _mm512_store_si512(w[i], b.w[i]);
  }
  _mm512_store_ps(scale[0], b.s0);
  if constexpr (kScaleVectors<D> > 1) _mm512_store_ps(scale[1], b.s1);
  if constexpr (kScaleVectors<D> > 2) _mm512_store_ps(scale[2], b.s2);
}

// Tile registers: 0 .. 3 hold products, two hold rows and two hold weights.
constexpr int kTileA = 4, kTileB = 6;

template <DType D>
SMEPILOT_INLINE void configure(uint32_t rows) noexcept {
  TileConfig c;
  constexpr uint32_t kDepth = kQ8Block / kParts<D>;
  for (int t = 0; t < kTileB + 2; ++t) {
    c.rows[t] = static_cast<uint8_t>(t < kTileB ? rows : kDepth / 4);
    c.bytes_per_row[t] = static_cast<uint16_t>(t < kTileA || t >= kTileB ? 64 : kDepth);
  }
  tiles_on(c);
}

// A turn: L lhs panels of R rows times P rhs panels times a chunk of K of at most kBlocks blocks.
template <DType D, int R, int L, int P>
struct Turn {
  static constexpr size_t kBlocks = kTurn / (L * P * kParts<D>);

  const uint8_t* lhs;  // the chunk's first block in the first lhs panel
  size_t lhs_stride;   // bytes between lhs panels
  size_t blocks;
  Scratch& scratch;

  // Product I of four; they follow each other through all lhs and rhs panels of one part of K before the next part.
  template <int I>
  SMEPILOT_INLINE void product(size_t four, size_t count) const noexcept {
    constexpr int p = I % P, l = I / P % L, step = I / (P * L);
    constexpr int a = kTileA + (L == 2 ? l : step % 2), b = kTileB + (P == 2 ? p : step % 2);
    const size_t index = four * 4 + I;
    if (index >= 4 && index - 4 < count) tile_store<I>(scratch.products[index - 4], 64);
    if (index >= count) return;
    const size_t part = index / (P * L), kb = part / kParts<D>, half = part % kParts<D>;
    if constexpr (p == 0)
      tile_load<a>(lhs + static_cast<size_t>(l) * lhs_stride + kb * R * kLhsQ8BlockBytes + half * 16, 32);
    if constexpr (l == 0) tile_load<b>(scratch.w[p][kb][half * 4], 64);
    tile_zero<I>();
    tile_dot_s8<I, a, b>();
  }

  SMEPILOT_INLINE void products() const noexcept {
    const size_t count = blocks * kParts<D> * L * P;
    for (size_t four = 0; four * 4 < count + 4; ++four) {
      product<0>(four, count);
      product<1>(four, count);
      product<2>(four, count);
      product<3>(four, count);
    }
  }

  // Adds the scaled products of lhs panel l and rhs panel p to acc.
  SMEPILOT_INLINE void scale(int l, int p, __m512* acc) const noexcept {
    const uint8_t* planes = lhs + static_cast<size_t>(l) * lhs_stride;
    const int32_t (*c)[kPanel] = scratch.products[l * P + p];
    for (size_t kb = 0; kb < blocks; ++kb) {
      const __m512 s0 = _mm512_load_ps(scratch.scale[p][kb][0]), s1 = _mm512_load_ps(scratch.scale[p][kb][1]);
      SMEPILOT_UNROLL
      for (int r = 0; r < R; ++r) {
        const __m512 x = _mm512_cvtepi32_ps(_mm512_load_si512(c[r]));
        const __m512 d = bcast_f32(planes + R * kPlaneD + r * 4);
        if constexpr (kParts<D> == 2) {
          const __m512 y = _mm512_cvtepi32_ps(_mm512_load_si512(c[L * P * kPanel + r]));
          acc[r] = _mm512_fmadd_ps(_mm512_fmadd_ps(y, s1, _mm512_mul_ps(x, s0)), d, acc[r]);
        } else {
          acc[r] = _mm512_fmadd_ps(x, _mm512_mul_ps(s0, d), acc[r]);
          if constexpr (kHasMin<D>) acc[r] = _mm512_fmadd_ps(s1, bcast_f32(planes + R * kPlaneDs + r * 4), acc[r]);
          if constexpr (kHasHalfMins<D>) {
            const __m512 sum_a = _mm512_cvtepi32_ps(bcast_i32(planes + R * kPlaneN32a + r * 4));
            const __m512 sum_b = _mm512_cvtepi32_ps(bcast_i32(planes + R * kPlaneN32b + r * 4));
            const __m512 s2 = _mm512_load_ps(scratch.scale[p][kb][2]);
            acc[r] = _mm512_fmadd_ps(_mm512_fmadd_ps(sum_b, s2, _mm512_mul_ps(sum_a, s1)), d, acc[r]);
          }
        }
      }
      planes += R * kLhsQ8BlockBytes;
      c += kParts<D> * L * P * kPanel;
    }
  }
};

struct Chunk {
  size_t kb, blocks;
  bool first, last;
};

// Where a turn's results go.
struct Output {
  float* dst;  // of the first lhs and rhs panel
  size_t stride;
  uint32_t m0;     // row of the call
  __mmask16 mask;  // columns of the last rhs panel
};

template <DType D, int R, int L, int P>
void take_turn(const Turn<D, R, L, P>& turn, const Chunk& chunk, const Output& out) noexcept {
  turn.products();
  SMEPILOT_UNROLL
  for (int l = 0; l < L; ++l) {
    SMEPILOT_UNROLL
    for (int p = 0; p < P; ++p) {
      float (*sums)[kPanel] = turn.scratch.sums[p] + out.m0 + static_cast<uint32_t>(l) * kPanel;
      __m512 acc[R];
      SMEPILOT_UNROLL
      for (int r = 0; r < R; ++r) acc[r] = chunk.first ? _mm512_setzero_ps() : _mm512_load_ps(sums[r]);
      turn.scale(l, p, acc);
      if (chunk.last) {
        float* dst = out.dst + static_cast<size_t>(l) * kPanel * out.stride + p * static_cast<int>(kPanel);
        const __mmask16 mask = p + 1 == P ? out.mask : static_cast<__mmask16>(0xffff);
        SMEPILOT_UNROLL
        for (int r = 0; r < R; ++r) _mm512_mask_storeu_ps(dst + static_cast<size_t>(r) * out.stride, mask, acc[r]);
      } else {
        SMEPILOT_UNROLL
        for (int r = 0; r < R; ++r) _mm512_store_ps(sums[r], acc[r]);
      }
    }
  }
}

// Which rows of the call: `count` lhs panels of equal height from row m0 on.
struct Rows {
  uint32_t m0, count;
};

// Those rows times P panels; L as many lhs panels as share a turn.
template <DType D, int R, int L, int P>
void panels(const MatmulArgs* args, const Rows& rows, const uint8_t* panel, float* dst, __mmask16 mask,
            Scratch& scratch) noexcept {
  using Whole = Turn<D, R, L, P>;
  const size_t blocks = args->k / kQ8Block, lhs_stride = lhs_q8_bytes(kPanel, args->k);
  Chunk chunk;
  for (chunk.kb = 0; chunk.kb < blocks; chunk.kb += Whole::kBlocks) {
    chunk.blocks = blocks - chunk.kb < Whole::kBlocks ? blocks - chunk.kb : Whole::kBlocks;
    chunk.first = chunk.kb == 0;
    chunk.last = chunk.kb + chunk.blocks == blocks;
    for (int p = 0; p < P; ++p) {
      RhsBlock<D> from(panel + static_cast<size_t>(p) * args->rhs_stride, chunk.kb);
      for (size_t kb = 0; kb < chunk.blocks; ++kb, from.advance())
        unpack<D>(from, scratch.w[p][kb], scratch.scale[p][kb]);
    }
    const uint8_t* lhs =
        static_cast<const uint8_t*>(args->lhs) + lhs_q8_bytes(rows.m0, args->k) + chunk.kb * R * kLhsQ8BlockBytes;
    Output out{dst + rows.m0 * args->dst_stride, args->dst_stride, rows.m0, mask};
    uint32_t t = 0;
    for (; t + L <= rows.count; t += L) {
      take_turn<D, R, L, P>({lhs, lhs_stride, chunk.blocks, scratch}, chunk, out);
      lhs += L * lhs_stride;
      out.dst += L * kPanel * args->dst_stride;
      out.m0 += L * kPanel;
    }
    if constexpr (L == 2) {
      if (t < rows.count) take_turn<D, R, 1, P>({lhs, lhs_stride, chunk.blocks, scratch}, chunk, out);
    }
  }
}

template <DType D, int R, int L>
void all_panels(const MatmulArgs* args, const Rows& rows, Scratch& scratch) noexcept {
  configure<D>(R);
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  float* dst = args->dst;
  uint32_t left = args->n;
  for (; left > kPanel; left -= left < 2 * kPanel ? left : 2 * kPanel) {
    panels<D, R, L, 2>(args, rows, panel, dst, column_mask(left - kPanel), scratch);
    panel += 2 * args->rhs_stride;
    dst += 2 * kPanel;
  }
  if (left > 0) panels<D, R, L, 1>(args, rows, panel, dst, column_mask(left), scratch);
}

template <DType D>
void matmul(const MatmulArgs* args) noexcept {
  using TailFn = void (*)(const MatmulArgs*, const Rows&, Scratch&) noexcept;
  static constexpr TailFn kTail[kPanel] = {nullptr,
                                           all_panels<D, 1, 1>,
                                           all_panels<D, 2, 1>,
                                           all_panels<D, 3, 1>,
                                           all_panels<D, 4, 1>,
                                           all_panels<D, 5, 1>,
                                           all_panels<D, 6, 1>,
                                           all_panels<D, 7, 1>,
                                           all_panels<D, 8, 1>,
                                           all_panels<D, 9, 1>,
                                           all_panels<D, 10, 1>,
                                           all_panels<D, 11, 1>,
                                           all_panels<D, 12, 1>,
                                           all_panels<D, 13, 1>,
                                           all_panels<D, 14, 1>,
                                           all_panels<D, 15, 1>};
  Scratch scratch;
  const uint32_t whole = args->m / kPanel, tail = args->m % kPanel;
  if (whole == 1) all_panels<D, kPanel, 1>(args, {0, 1}, scratch);
  if (whole > 1) all_panels<D, kPanel, 2>(args, {0, whole}, scratch);
  if (tail > 0) kTail[tail](args, {whole * kPanel, 1}, scratch);
  tiles_off();
}

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return matmul_variant(id, kIsaAvx2 | kIsaAvx512 | kIsaAvx512Vnni | kIsaAmxInt8, DType::kQ8, D, kMr, matmul<D>,
                        ExecutionUnit::kMatrix);
}

}  // namespace

extern const KernelVariant kMatmulF32Q8Q8_0AmxInt8, kMatmulF32Q8Q4_0AmxInt8, kMatmulF32Q8Q4_1AmxInt8,
    kMatmulF32Q8Q5_0AmxInt8, kMatmulF32Q8Q5_1AmxInt8, kMatmulF32Q8Iq4NlAmxInt8, kMatmulF32Q8Q2_KAmxInt8,
    kMatmulF32Q8Q3_KAmxInt8, kMatmulF32Q8Q4_KAmxInt8, kMatmulF32Q8Q5_KAmxInt8, kMatmulF32Q8Q6_KAmxInt8;
constexpr KernelVariant kMatmulF32Q8Q8_0AmxInt8 = variant<DType::kQ8_0>("matmul.f32.q8.q8_0.32x32.amxint8.tdpbssd");
constexpr KernelVariant kMatmulF32Q8Q4_0AmxInt8 = variant<DType::kQ4_0>("matmul.f32.q8.q4_0.32x32.amxint8.tdpbssd");
constexpr KernelVariant kMatmulF32Q8Q4_1AmxInt8 = variant<DType::kQ4_1>("matmul.f32.q8.q4_1.32x32.amxint8.tdpbssd");
constexpr KernelVariant kMatmulF32Q8Q5_0AmxInt8 = variant<DType::kQ5_0>("matmul.f32.q8.q5_0.32x32.amxint8.tdpbssd");
constexpr KernelVariant kMatmulF32Q8Q5_1AmxInt8 = variant<DType::kQ5_1>("matmul.f32.q8.q5_1.32x32.amxint8.tdpbssd");
constexpr KernelVariant kMatmulF32Q8Iq4NlAmxInt8 =
    variant<DType::kIQ4_NL>("matmul.f32.q8.iq4_nl.32x32.amxint8.tdpbssd");
constexpr KernelVariant kMatmulF32Q8Q2_KAmxInt8 = variant<DType::kQ2_K>("matmul.f32.q8.q2_k.32x32.amxint8.tdpbssd");
constexpr KernelVariant kMatmulF32Q8Q3_KAmxInt8 = variant<DType::kQ3_K>("matmul.f32.q8.q3_k.32x32.amxint8.tdpbssd");
constexpr KernelVariant kMatmulF32Q8Q4_KAmxInt8 = variant<DType::kQ4_K>("matmul.f32.q8.q4_k.32x32.amxint8.tdpbssd");
constexpr KernelVariant kMatmulF32Q8Q5_KAmxInt8 = variant<DType::kQ5_K>("matmul.f32.q8.q5_k.32x32.amxint8.tdpbssd");
constexpr KernelVariant kMatmulF32Q8Q6_KAmxInt8 = variant<DType::kQ6_K>("matmul.f32.q8.q6_k.32x32.amxint8.tdpbssd");

}  // namespace smepilot
