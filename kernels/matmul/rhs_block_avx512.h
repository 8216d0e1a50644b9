// What a block (32 k of 16 columns) of packed quantised weights holds, as AVX-512 registers: the part that the VNNI and
// the AMX kernels share. Internal linkage: each translation unit gets its own copy, compiled with its flags.
#pragma once
#include <immintrin.h>

#include "kernels/abi/compiler.h"
#include "kernels/abi/layout.h"

namespace smepilot {
namespace {

// Planes of an lhs block of `height` rows, see LhsQ8Block in layout.h: the scales, the scaled sums, and the corrections
// that start the dot products.
inline constexpr size_t kPlaneD = 32, kPlaneDs = 36, kPlaneN8 = 40, kPlaneN128 = 44, kPlaneN32a = 48, kPlaneN32b = 52;

// What must be subtracted from the unsigned weights of a type.
template <DType D>
inline constexpr int kZeroPoint = D == DType::kQ8_0   ? 128
                                  : D == DType::kQ4_0 ? 8
                                  : D == DType::kQ6_K ? 32
                                                      : 0;

template <DType D>
inline constexpr bool kHasMin = D == DType::kQ4_1 || D == DType::kQ4_K;
template <DType D>
inline constexpr bool kHasHalves = D == DType::kQ6_K;

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

// The columns of a panel that exist when `left` remain.
SMEPILOT_INLINE __mmask16 column_mask(uint32_t left) noexcept {
  return static_cast<__mmask16>(left >= kPanel ? 0xffffu : (1u << left) - 1);
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

}  // namespace
}  // namespace smepilot
