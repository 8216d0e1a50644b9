// What a block (32 k of 16 columns) of packed quantised weights holds, as AVX-512 registers: the part that the VNNI and
// the AMX kernels share. Internal linkage: each translation unit gets its own copy, compiled with its flags.
#pragma once
#include <immintrin.h>

#include "kernels/abi/compiler.h"
#include "kernels/matmul/rhs_block_x86.h"

namespace smepilot {
namespace {

// Planes of an lhs block of `height` rows, see LhsQ8Block in layout.h: the scales, the scaled sums, and the corrections
// that start the dot products.
inline constexpr size_t kPlaneD = 32, kPlaneDs = 36, kPlaneN8 = 40, kPlaneN128 = 44, kPlaneN32a = 48, kPlaneN32b = 52;

// What must be subtracted from the unsigned weights of a type, as load_block gives them.
template <DType D>
inline constexpr int kZeroPoint = D == DType::kQ4_0               ? 8
                                  : D == DType::kQ6_K             ? 32
                                  : kHasMin<D> || kHasHalfMins<D> ? 0
                                                                  : 128;

// How many scale vectors a block has.
template <DType D>
inline constexpr int kScaleVectors = kHasHalfMins<D>               ? 3
                                     : kHasMin<D> || kHasHalves<D> ? 2
                                                                   : 1;

struct Block {
  __m512i w[8];  // w[i]: k = 4i .. 4i+3 of 16 columns, unsigned
  // s0: scale. s1: minimum, to be multiplied with d * sum(q) of the lhs; or (kHasHalves) the scale of the second half,
  // s0 being that of the first. kHasHalfMins: s1 and s2 are to be multiplied with d * n32a and d * n32b.
  __m512 s0, s1, s2;
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

// Nibbles with a fifth bit each, the lowest bit at `Shift`.
template <int Shift>
SMEPILOT_INLINE void unpack_five_bits(const uint8_t* q, const uint8_t* h, __m512i* w) noexcept {
  const __m512i low = _mm512_set1_epi8(0x0f << Shift), high = _mm512_set1_epi8(static_cast<char>(0x10 << Shift));
  const __m512i bits = load_zmm(h);
  constexpr int kOrAnd = 0xf8;  // a | (b & c)
  SMEPILOT_UNROLL
  for (int i = 0; i < 8; ++i) {
    const __m512i raw = load_zmm(q + 64 * (i % 4));
    // Masks remove what 16-bit shifts drag along.
    const __m512i nibble = _mm512_and_si512(i >= 4      ? _mm512_srli_epi16(raw, 4 - Shift)
                                            : Shift > 0 ? _mm512_slli_epi16(raw, Shift)
                                                        : raw,
                                            low);
    const int left = 4 + Shift - i;  // from bit i to the fifth
    const __m512i fifth = left > 0   ? _mm512_slli_epi16(bits, static_cast<unsigned>(left))
                          : left < 0 ? _mm512_srli_epi16(bits, static_cast<unsigned>(-left))
                                     : bits;
    w[i] = _mm512_ternarylogic_epi32(nibble, fifth, high, kOrAnd);
  }
}

// Each 128-bit lane holds 4 columns, and pairs of bits have 4 values: so a vpshufb of a table of 4 entries for each
// column gives any function of column and value, here their products with scales. This is its index.
SMEPILOT_INLINE __m512i pair_index(__m512i q, int i) noexcept {
  const __m512i column = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
  constexpr int kAndOr = 0xea;  // (a & b) | c
  const __m512i pair = i == 0 ? q : _mm512_srli_epi16(q, static_cast<unsigned>(2 * i));
  return _mm512_ternarylogic_epi32(pair, _mm512_set1_epi8(3), column, kAndOr);
}

// Byte c to both 16-bit halves of column c.
SMEPILOT_INLINE __m512i twice_epi16(__m128i bytes) noexcept {
  constexpr int kNone = static_cast<int>(0x80008000u);  // what fills the upper bytes with zeros
  const auto at = [](int c) { return kNone | c << 16 | c; };
  const __m512i index = _mm512_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9), at(10),
                                          at(11), at(12), at(13), at(14), at(15));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(bytes), index);
}

// The scales of 256 k, which eight blocks of a K-quant share, as those use them.
struct Supers {
  __m512 scale, min;
};
template <DType D>
SMEPILOT_INLINE Supers load_supers(const RhsBlock<D>& from) noexcept {
  Supers s{};
  if constexpr (traits(D).block_elems == kQ8SuperBlock) s.scale = load_half(from.super());
  // Subtracted, as the integers that are scaled with it are 128 minus those of the weights.
  if constexpr (D == DType::kQ3_K) s.scale = _mm512_sub_ps(_mm512_setzero_ps(), s.scale);
  // Added, as the minimum of q4_1 is.
  if constexpr (kHasMin<D> && traits(D).block_elems == kQ8SuperBlock)
    s.min = _mm512_sub_ps(_mm512_setzero_ps(), load_half(from.super_min()));
  if constexpr (kHasHalfMins<D>) s.min = _mm512_mul_ps(load_half(from.super_min()), _mm512_set1_ps(1.0f / 32));
  return s;
}

// q2_k: weights times their scale, 0 .. 45, so that one dot product takes both halves of the block.
SMEPILOT_INLINE void load_q2_k(const RhsBlock<DType::kQ2_K>& from, const Supers& supers, Block& b) noexcept {
  __m512 min[2];
  SMEPILOT_UNROLL
  for (int half = 0; half < 2; ++half) {
    const __m512i q = load_zmm(from.quants() + 64 * half);
    const __m512i sc = twice_epi16(load_xmm(from.scale() + 16 * half));
    const __m512i table =
        _mm512_mullo_epi16(_mm512_and_si512(sc, _mm512_set1_epi16(15)), _mm512_set1_epi32(0x03020100));
    min[half] = _mm512_mul_ps(supers.min, _mm512_cvtepi32_ps(_mm512_srli_epi32(sc, 20)));
    SMEPILOT_UNROLL
    for (int i = 0; i < 4; ++i) b.w[4 * half + i] = _mm512_shuffle_epi8(table, pair_index(q, i));
  }
  b.s0 = supers.scale;
  b.s1 = min[0];
  b.s2 = min[1];
}

// q3_k: 128 minus weights (-4 .. 3) times their scale (-32 .. 31), which are 0 .. 252, and so minus the scale of 256.
SMEPILOT_INLINE void load_q3_k(const RhsBlock<DType::kQ3_K>& from, const Supers& supers, Block& b) noexcept {
  const __m128i low = load_xmm(from.scale());
  const __m128i high =
      _mm_srl_epi16(load_xmm(from.scale_high()), _mm_cvtsi32_si128(static_cast<int>(from.in_group % 2 * 4)));
  const __m128i nibble = _mm_set1_epi8(0x0f), pair = _mm_set1_epi8(0x30);
  const __m128i sc[2] = {
      _mm_or_si128(_mm_and_si128(low, nibble), _mm_and_si128(_mm_slli_epi16(high, 4), pair)),
      _mm_or_si128(_mm_and_si128(_mm_srli_epi16(low, 4), nibble), _mm_and_si128(_mm_slli_epi16(high, 2), pair))};
  const __m512i third = load_zmm(from.high);
  const __m512i first_byte = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
  SMEPILOT_UNROLL
  for (int half = 0; half < 2; ++half) {
    const __m512i q = load_zmm(from.quants() + 64 * half);
    // Of s, the scale minus 32: bytes 128 + 4s, 128 + 3s, 128 + 2s, 128 + s, for pairs 0 .. 3. All are within 0 .. 255,
    // so multiplications and additions of the 16 bits of two give both.
    constexpr uint32_t kPlusLow = (0x8080u - 32 * 0x0304u) & 0xffffu, kPlusHigh = 0x8080u - 32 * 0x0102u;
    const __m512i table = _mm512_add_epi16(_mm512_mullo_epi16(twice_epi16(sc[half]), _mm512_set1_epi32(0x01020304)),
                                           _mm512_set1_epi32(static_cast<int>(kPlusHigh << 16 | kPlusLow)));
    // 4s, modulo 256, is what a third bit takes off.
    const __m512i four = _mm512_xor_si512(_mm512_shuffle_epi8(table, first_byte), _mm512_set1_epi8(-128));
    SMEPILOT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const __mmask64 set = _mm512_test_epi8_mask(third, _mm512_set1_epi8(static_cast<char>(1 << (4 * half + i))));
      const __m512i w = _mm512_shuffle_epi8(table, pair_index(q, i));
      b.w[4 * half + i] = _mm512_mask_sub_epi8(w, set, w, four);
    }
  }
  b.s0 = supers.scale;
}

template <DType D>
SMEPILOT_INLINE void load_k_scales(const RhsBlock<D>& from, const Supers& supers, Block& b) noexcept {
  const __m512 sc = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_xmm(from.scale())));
  const __m512 mn = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_xmm(from.min())));
  b.s0 = _mm512_mul_ps(supers.scale, sc);
  b.s1 = _mm512_mul_ps(supers.min, mn);
}

// In the order in which they lie: where memory is read front to back, the hardware's prefetchers follow.
template <DType D>
SMEPILOT_INLINE void load_block(const RhsBlock<D>& from, [[maybe_unused]] const Supers& supers, Block& b) noexcept {
  if constexpr (D == DType::kQ8_0) {
    b.s0 = load_half(from.scale());
    SMEPILOT_UNROLL
    for (int i = 0; i < 8; ++i) b.w[i] = load_zmm(from.quants() + 64 * i);
  } else if constexpr (D == DType::kQ4_0) {
    b.s0 = load_half(from.scale());
    unpack_nibbles(from.quants(), b.w);
  } else if constexpr (D == DType::kQ4_1) {
    b.s0 = load_half(from.scale());
    b.s1 = load_half(from.min());
    unpack_nibbles(from.quants(), b.w);
  } else if constexpr (D == DType::kQ5_0) {  // weights times 8, so that their zero point, 16, is one that n128 corrects
    b.s0 = _mm512_mul_ps(load_half(from.scale()), _mm512_set1_ps(1.0f / 8));
    unpack_five_bits<3>(from.quants(), from.high, b.w);
  } else if constexpr (D == DType::kQ5_1) {
    b.s0 = load_half(from.scale());
    b.s1 = load_half(from.min());
    unpack_five_bits<0>(from.quants(), from.high, b.w);
  } else if constexpr (D == DType::kIQ4_NL) {
    b.s0 = load_half(from.scale());
    unpack_nibbles(from.quants(), b.w);
    const __m128i values = load_xmm(reinterpret_cast<const uint8_t*>(kIq4NlValues));
    const __m512i table = _mm512_broadcast_i32x4(_mm_xor_si128(values, _mm_set1_epi8(-128)));  // plus 128
    SMEPILOT_UNROLL
    for (int i = 0; i < 8; ++i) b.w[i] = _mm512_shuffle_epi8(table, b.w[i]);
  } else if constexpr (D == DType::kQ2_K) {
    load_q2_k(from, supers, b);
  } else if constexpr (D == DType::kQ3_K) {
    load_q3_k(from, supers, b);
  } else if constexpr (D == DType::kQ4_K) {
    load_k_scales(from, supers, b);
    unpack_nibbles(from.quants(), b.w);
  } else if constexpr (D == DType::kQ5_K) {
    load_k_scales(from, supers, b);
    unpack_five_bits<0>(from.quants(), from.high, b.w);
  } else {
    static_assert(D == DType::kQ6_K);
    const uint8_t* sc = from.scale();
    b.s0 = _mm512_mul_ps(supers.scale, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_xmm(sc))));
    b.s1 = _mm512_mul_ps(supers.scale, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_xmm(sc + 16))));
    const __m512i low = _mm512_set1_epi8(0x0f), high = _mm512_set1_epi8(0x30);
    const __m512i h0 = load_zmm(from.high), h1 = load_zmm(from.high + 64);
    // The pairs of high bits, moved to bits 4..5 of each byte; the mask removes what 16-bit shifts drag along.
    const __m512i shifted[8] = {_mm512_slli_epi16(h0, 4), _mm512_slli_epi16(h0, 2), h0, _mm512_srli_epi16(h0, 2),
                                _mm512_slli_epi16(h1, 4), _mm512_slli_epi16(h1, 2), h1, _mm512_srli_epi16(h1, 2)};
    constexpr int kOrAnd = 0xf8;  // a | (b & c)
    SMEPILOT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const __m512i raw = load_zmm(from.quants() + 64 * i);
      b.w[i] = _mm512_ternarylogic_epi32(_mm512_and_si512(raw, low), shifted[i], high, kOrAnd);
      b.w[i + 4] =
          _mm512_ternarylogic_epi32(_mm512_and_si512(_mm512_srli_epi16(raw, 4), low), shifted[i + 4], high, kOrAnd);
    }
  }
}

}  // namespace
}  // namespace smepilot
