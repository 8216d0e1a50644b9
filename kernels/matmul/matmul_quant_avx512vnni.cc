// Quantised weights times quantised activations with AVX-512 VNNI: one register tile of up to 16 rows by one panel of
// 16 columns.
//
// A block of 32 k is held as eight zmm of unsigned weights and used by all rows. Per row: the integer accumulator
// starts at the row's correction (a broadcast load, which costs no arithmetic port), takes eight vpdpbusd whose signed
// operand is a broadcast from memory, and is scaled into the row's f32 accumulator. Eleven operations for two
// arithmetic ports, eight of them dot products: 8/11 of the VNNI peak is the ceiling of the format for one scale per
// block, 8/12 where a minimum is added (q4_1, q4_k), 8/13 where there are two scales per block (q6_k).
#include <immintrin.h>

#include "kernels/abi/compiler.h"
#include "kernels/abi/kernel_variant.h"

namespace smepilot {
namespace {

constexpr int kMr = 16;

// The two scale vectors of a block; what they hold depends on the type (see load_block).
struct Block {
  __m512i w[8];  // w[i]: k = 4i .. 4i+3 of 16 columns, unsigned
  __m512 s0, s1;
};

SMEPILOT_INLINE __m512 load_half(const uint8_t* p) noexcept {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
SMEPILOT_INLINE __m512i load_zmm(const uint8_t* p) noexcept {
  return _mm512_loadu_si512(p);
}
SMEPILOT_INLINE __m128i load_xmm(const uint8_t* p) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
SMEPILOT_INLINE __m512i bcast_i32(const uint8_t* p) noexcept {
  int32_t v;
  __builtin_memcpy(&v, p, sizeof v);
  return _mm512_set1_epi32(v);
}
SMEPILOT_INLINE __m512 bcast_f32(const uint8_t* p) noexcept {
  float v;
  __builtin_memcpy(&v, p, sizeof v);
  return _mm512_set1_ps(v);
}

SMEPILOT_INLINE void unpack_nibbles(const uint8_t* q, __m512i* w) noexcept {
  const __m512i low = _mm512_set1_epi8(0x0f);
  SMEPILOT_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m512i raw = load_zmm(q + 64 * i);
    w[i] = _mm512_and_si512(raw, low);
    w[i + 4] = _mm512_and_si512(_mm512_srli_epi16(raw, 4), low);
  }
}

template <DType D>
SMEPILOT_INLINE void load_block(const uint8_t* panel, const RhsPlanes& at, size_t kb, Block& b) noexcept {
  if constexpr (D == DType::kQ8_0) {
    SMEPILOT_UNROLL
    for (int i = 0; i < 8; ++i) b.w[i] = load_zmm(panel + kb * 512 + 64 * i);
    b.s0 = load_half(panel + at.scale + kb * 32);
  } else if constexpr (D == DType::kQ4_0) {
    unpack_nibbles(panel + kb * 256, b.w);
    b.s0 = load_half(panel + at.scale + kb * 32);
  } else if constexpr (D == DType::kQ4_1) {  // s1: the minimum
    unpack_nibbles(panel + kb * 256, b.w);
    b.s0 = load_half(panel + at.scale + kb * 32);
    b.s1 = load_half(panel + at.min + kb * 32);
  } else if constexpr (D == DType::kQ4_K) {  // s1: minus the minimum, so that it is added as in q4_1
    unpack_nibbles(panel + kb * 256, b.w);
    const __m512 d = load_half(panel + at.super + kb / 8 * 32);
    const __m512 dmin = load_half(panel + at.super_min + kb / 8 * 32);
    const __m512 sc = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_xmm(panel + at.scale + kb * 16)));
    const __m512 mn = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_xmm(panel + at.min + kb * 16)));
    b.s0 = _mm512_mul_ps(d, sc);
    b.s1 = _mm512_mul_ps(_mm512_sub_ps(_mm512_setzero_ps(), dmin), mn);
  } else {  // q6_k. s0, s1: the scales of the two halves of the block
    const __m512i low = _mm512_set1_epi8(0x0f), high = _mm512_set1_epi8(0x30);
    const __m512i h0 = load_zmm(panel + at.high + kb * 128), h1 = load_zmm(panel + at.high + kb * 128 + 64);
    // The pairs of high bits, moved to bits 4..5 of each byte; the mask removes what 16-bit shifts drag along.
    const __m512i shifted[8] = {_mm512_slli_epi16(h0, 4), _mm512_slli_epi16(h0, 2), h0, _mm512_srli_epi16(h0, 2),
                                _mm512_slli_epi16(h1, 4), _mm512_slli_epi16(h1, 2), h1, _mm512_srli_epi16(h1, 2)};
    constexpr int kOrAnd = 0xf8;  // a | (b & c)
    SMEPILOT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const __m512i raw = load_zmm(panel + kb * 256 + 64 * i);
      b.w[i] = _mm512_ternarylogic_epi32(_mm512_and_si512(raw, low), shifted[i], high, kOrAnd);
      b.w[i + 4] =
          _mm512_ternarylogic_epi32(_mm512_and_si512(_mm512_srli_epi16(raw, 4), low), shifted[i + 4], high, kOrAnd);
    }
    const __m512 d = load_half(panel + at.super + kb / 8 * 32);
    const uint8_t* sc = panel + at.scale + kb * 32;
    b.s0 = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_xmm(sc))));
    b.s1 = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_xmm(sc + 16))));
  }
}

// Adds one block of `Rows` rows, from row `Row` on, to acc; R is the height of the lhs panel. The rows of a group run
// side by side, because one row's dot products depend on each other (five cycles each).
template <DType D, int R, int Row, int Rows>
SMEPILOT_INLINE void add_rows(const uint8_t* lhs, const Block& b, __m512* acc) noexcept {
  constexpr bool kTwoHalves = D == DType::kQ6_K;
  // Planes of an lhs block: see LhsQ8Block in layout.h.
  constexpr int kD = R * 32, kDs = R * 36;
  constexpr int kStart = D == DType::kQ4_0 ? R * 40 : D == DType::kQ8_0 ? R * 44 : R * 48, kStart2 = R * 52;
  constexpr bool kMin = D == DType::kQ4_1 || D == DType::kQ4_K;
  __m512i dot[Rows], dot2[Rows];
  SMEPILOT_UNROLL
  for (int r = 0; r < Rows; ++r) {
    dot[r] = kMin ? _mm512_setzero_si512() : bcast_i32(lhs + kStart + (Row + r) * 4);
    if (kTwoHalves) dot2[r] = bcast_i32(lhs + kStart2 + (Row + r) * 4);
  }
  SMEPILOT_UNROLL
  for (int i = 0; i < (kTwoHalves ? 4 : 8); ++i) {
    SMEPILOT_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const uint8_t* q = lhs + (Row + r) * 32 + i * 4;
      dot[r] = _mm512_dpbusd_epi32(dot[r], b.w[i], bcast_i32(q));
      if (kTwoHalves) dot2[r] = _mm512_dpbusd_epi32(dot2[r], b.w[i + 4], bcast_i32(q + 16));
    }
  }
  SMEPILOT_UNROLL
  for (int r = 0; r < Rows; ++r) {
    const __m512 d = bcast_f32(lhs + kD + (Row + r) * 4);
    __m512& sum = acc[Row + r];
    const __m512 x = _mm512_cvtepi32_ps(dot[r]);
    if (kTwoHalves) {
      const __m512 both = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot2[r]), b.s1, _mm512_mul_ps(x, b.s0));
      sum = _mm512_fmadd_ps(both, d, sum);
    } else {
      if (kMin) sum = _mm512_fmadd_ps(b.s1, bcast_f32(lhs + kDs + (Row + r) * 4), sum);
      sum = _mm512_fmadd_ps(x, _mm512_mul_ps(b.s0, d), sum);
    }
  }
}

template <DType D, int R, int Row>
SMEPILOT_INLINE void add_all_rows(const uint8_t* lhs, const Block& b, __m512* acc) noexcept {
  constexpr int kGroup = D == DType::kQ6_K ? 2 : 4;  // as many as the registers hold beside 16 rows and 8 weights
  if constexpr (Row + kGroup <= R) {
    add_rows<D, R, Row, kGroup>(lhs, b, acc);
    add_all_rows<D, R, Row + kGroup>(lhs, b, acc);
  } else if constexpr (Row < R) {
    add_rows<D, R, Row, R - Row>(lhs, b, acc);
  }
}

// R rows against every panel of the range.
template <DType D, int R>
void rows(const MatmulArgs* args) noexcept {
  const size_t blocks = args->k / kQ8Block;
  const RhsPlanes at = rhs_planes(D, args->k);
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  float* dst = args->dst;
  for (uint32_t left = args->n;; left -= kPanel) {
    __m512 acc[R];
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) acc[r] = _mm512_setzero_ps();
    const uint8_t* lhs = static_cast<const uint8_t*>(args->lhs);
    for (size_t kb = 0; kb < blocks; ++kb, lhs += R * kLhsQ8BlockBytes) {
      Block b;
      load_block<D>(panel, at, kb, b);
      add_all_rows<D, R, 0>(lhs, b, acc);
    }
    const __mmask16 mask = static_cast<__mmask16>(left >= kPanel ? 0xffffu : (1u << left) - 1);
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) _mm512_mask_storeu_ps(dst + r * args->dst_stride, mask, acc[r]);
    if (left <= kPanel) return;
    panel += args->rhs_stride;
    dst += kPanel;
  }
}

template <DType D>
void matmul(const MatmulArgs* args) noexcept {
  static constexpr MatmulFn kByRows[kMr] = {
      rows<D, 1>, rows<D, 2>,  rows<D, 3>,  rows<D, 4>,  rows<D, 5>,  rows<D, 6>,  rows<D, 7>,  rows<D, 8>,
      rows<D, 9>, rows<D, 10>, rows<D, 11>, rows<D, 12>, rows<D, 13>, rows<D, 14>, rows<D, 15>, rows<D, 16>};
  kByRows[args->m - 1](args);
}

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return {id,
          OpKind::kMatmul,
          kIsaAvx2 | kIsaAvx512 | kIsaAvx512Vnni,
          ExecutionUnit::kCpu,
          DType::kF32,
          DType::kQ8,
          D,
          Layout::kRowMajor,
          Layout::kLhsQ8Panel16,
          Layout::kRhsPanel16,
          {kMr, kPanel, traits(D).block_elems},
          0,
          {matmul<D>}};
}

}  // namespace

extern const KernelVariant kMatmulF32Q8Q8_0Avx512Vnni, kMatmulF32Q8Q4_0Avx512Vnni, kMatmulF32Q8Q4_1Avx512Vnni,
    kMatmulF32Q8Q4_KAvx512Vnni, kMatmulF32Q8Q6_KAvx512Vnni;
constexpr KernelVariant kMatmulF32Q8Q8_0Avx512Vnni =
    variant<DType::kQ8_0>("matmul.f32.q8.q8_0.16x16.avx512vnni.vpdpbusd");
constexpr KernelVariant kMatmulF32Q8Q4_0Avx512Vnni =
    variant<DType::kQ4_0>("matmul.f32.q8.q4_0.16x16.avx512vnni.vpdpbusd");
constexpr KernelVariant kMatmulF32Q8Q4_1Avx512Vnni =
    variant<DType::kQ4_1>("matmul.f32.q8.q4_1.16x16.avx512vnni.vpdpbusd");
constexpr KernelVariant kMatmulF32Q8Q4_KAvx512Vnni =
    variant<DType::kQ4_K>("matmul.f32.q8.q4_k.16x16.avx512vnni.vpdpbusd");
constexpr KernelVariant kMatmulF32Q8Q6_KAvx512Vnni =
    variant<DType::kQ6_K>("matmul.f32.q8.q6_k.16x16.avx512vnni.vpdpbusd");

}  // namespace smepilot
