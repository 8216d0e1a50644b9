// BF16 and F16 weights times activations that are rounded to bf16, with vdpbf16ps: two products to each of 16 columns,
// twice the rate of multiply-adds of f32. Sums are of f32. F16 weights are rounded to bf16, too, a chunk of K at a time
// for all rows. The variants that keep activations in f32 come before these: what is rounded here is for a plan to
// choose.
//
// A register tile is up to 16 rows by one panel: per pair of k, a line of weights feeds 16 dot products, each of which
// broadcasts its two activations from memory.
#include "kernels/abi/describe.h"
#include "kernels/matmul/prefetch_x86.h"

namespace smepilot {
namespace {

constexpr uint32_t kMr = 128;         // rows of a call
constexpr size_t kPairBytes = 64;     // two k of a panel, of bf16 and of f16
constexpr size_t kChunk = 512;        // pairs that are converted at a time: 32 KiB (8 KiB: 2 % slower on Zen 4)
constexpr size_t kAheadBytes = 4096;  // of a panel, from prefetch to use
constexpr size_t kPairsPerFetch = 8;  // of a row of sums

struct __attribute__((may_alias, packed)) TwoBf16 {
  uint32_t value;
};
// In assembly, because compilers otherwise hoist broadcasts and spill to make room.
SMEPILOT_INLINE void dot_step(__m512& dot, __m512i w, const TwoBf16& x) noexcept {
  __asm__ volatile("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(dot) : "v"(w), "m"(x));
}

// Adds `pairs` pairs of k of R rows, which are all rows of an lhs panel, times a panel to the sums. w: bf16 pairs of 16
// columns; x: the rows' first pair; ahead: what to ask for.
template <int R>
void tile(const uint8_t* w, size_t pairs, const uint8_t* x, const uint8_t* ahead, RowsAhead output,
          float (*sums)[kPanel]) noexcept {
  constexpr int kChains = R >= 6 ? 1 : R >= 3 ? 2 : 4;  // a dot product takes six cycles
  __m512 acc[kChains][R];
  SMEPILOT_UNROLL
  for (int c = 0; c < kChains; ++c) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) acc[c][r] = c == 0 ? _mm512_load_ps(sums[r]) : _mm512_setzero_ps();
  }
  const auto step = [&](int i) __attribute__((always_inline)) {
    const __m512i weights = _mm512_loadu_si512(w + i * static_cast<int>(kPairBytes));
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r)
      dot_step(acc[i % kChains][r], weights, *reinterpret_cast<const TwoBf16*>(x + (i * R + r) * 4));
  };
  for (; pairs >= kPairsPerFetch; pairs -= kPairsPerFetch) {
    output.fetch_row();
    SMEPILOT_UNROLL
    for (int i = 0; i < static_cast<int>(kPairsPerFetch); ++i) {
      fetch_later(ahead + i * static_cast<int>(kPairBytes));
      step(i);
    }
    w += kPairsPerFetch * kPairBytes;
    ahead += kPairsPerFetch * kPairBytes;
    x += kPairsPerFetch * R * 4;
  }
  for (; pairs > 0; --pairs) {
    step(0);
    w += kPairBytes;
    x += R * 4;
  }
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int c = 1; c < kChains; ++c) acc[0][r] = _mm512_add_ps(acc[0][r], acc[c][r]);
    _mm512_store_ps(sums[r], acc[0][r]);
  }
}

using TileFn = void (*)(const uint8_t*, size_t, const uint8_t*, const uint8_t*, RowsAhead, float (*)[kPanel]) noexcept;

// F16 [k][16] to bf16 [k/2][16][2], `count` k.
SMEPILOT_INLINE void to_bf16_pairs(const uint8_t* from, size_t count, uint8_t* to) noexcept {
  const auto load = [](const uint8_t* p) __attribute__((always_inline)) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  };
  const __m512i column_by_column = _mm512_mask_blend_epi16(
      0xaaaaaaaau, _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
      _mm512_set_epi32(31 << 16, 30 << 16, 29 << 16, 28 << 16, 27 << 16, 26 << 16, 25 << 16, 24 << 16, 23 << 16,
                       22 << 16, 21 << 16, 20 << 16, 19 << 16, 18 << 16, 17 << 16, 16 << 16));
  for (size_t k = 0; k < count; k += 2, from += kPairBytes, to += kPairBytes) {
    const __m512 odd = k + 1 < count ? load(from + kPairBytes / 2) : _mm512_setzero_ps();
    const __m512i words = (__m512i)_mm512_cvtne2ps_pbh(odd, load(from));
    _mm512_store_si512(to, _mm512_permutexvar_epi16(column_by_column, words));
  }
}

template <DType D>
void matmul(const MatmulArgs* args) noexcept {
  static constexpr TileFn kTiles[kPanel] = {tile<1>,  tile<2>,  tile<3>,  tile<4>,  tile<5>,  tile<6>,
                                            tile<7>,  tile<8>,  tile<9>,  tile<10>, tile<11>, tile<12>,
                                            tile<13>, tile<14>, tile<15>, tile<16>};
  alignas(64) float sums[kMr][kPanel];
  alignas(64) uint8_t converted[D == DType::kF16 ? kChunk * kPairBytes : 64];
  const size_t pairs = (size_t{args->k} + 1) / 2;
  const uint8_t* lhs = static_cast<const uint8_t*>(args->lhs);
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  for (uint32_t n = 0; n < args->n; n += kPanel, panel += args->rhs_stride) {
    float* dst = args->dst + n;
    for (uint32_t m = 0; m < args->m; ++m) _mm512_store_ps(sums[m], _mm512_setzero_ps());
    for (size_t at = 0, count; at < pairs; at += count) {
      const uint8_t* weights = panel + at * kPairBytes;
      const uint8_t* ahead = weights + kAheadBytes;
      count = pairs;
      if constexpr (D == DType::kF16) {
        count = pairs - at < kChunk ? pairs - at : kChunk;
        ahead = weights + count * kPairBytes;  // the next chunk; or beside the next panel
        to_bf16_pairs(weights, args->k - 2 * at < 2 * count ? args->k - 2 * at : 2 * count, converted);
        weights = converted;
      }
      for (uint32_t m = 0; m < args->m; m += kPanel) {
        const uint32_t rows = args->m - m < kPanel ? args->m - m : kPanel;
        kTiles[rows - 1](weights, count, lhs + lhs_bytes(Layout::kLhsBf16Panel16, m, args->k) + at * rows * 4, ahead,
                         RowsAhead(dst + m * args->dst_stride, args->dst_stride, rows), sums + m);
      }
    }
    const uint32_t left = args->n - n;
    const __mmask16 mask = static_cast<__mmask16>(left >= kPanel ? 0xffffu : (1u << left) - 1);
    for (uint32_t m = 0; m < args->m; ++m)
      _mm512_mask_storeu_ps(dst + m * args->dst_stride, mask, _mm512_load_ps(sums[m]));
  }
}

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  KernelVariant v = matmul_variant(id, kIsaAvx2 | kIsaAvx512 | kIsaAvx512Bf16, DType::kBF16, D, kMr, matmul<D>);
  v.lhs_layout = Layout::kLhsBf16Panel16;
  return v;
}

}  // namespace

extern const KernelVariant kMatmulF32Bf16Bf16Avx512Bf16, kMatmulF32Bf16F16Avx512Bf16;
constexpr KernelVariant kMatmulF32Bf16Bf16Avx512Bf16 =
    variant<DType::kBF16>("matmul.f32.bf16.bf16.16x16.avx512bf16.vdpbf16ps");
constexpr KernelVariant kMatmulF32Bf16F16Avx512Bf16 =
    variant<DType::kF16>("matmul.f32.bf16.f16.16x16.avx512bf16.vdpbf16ps");

}  // namespace smepilot
