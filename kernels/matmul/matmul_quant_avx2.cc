// Quantised weights times quantised activations with AVX2: one register tile of up to 4 rows by one panel of 16
// columns, which is two registers wide.
//
// vpmaddubsw multiplies unsigned weights by signed activations and adds neighbours into 16 bits, saturating. So sums
// are widened to 32 bits before 16 bits could overflow: a block of 4-bit weights fits (16 * 15 * 127 < 32767), half a
// block of 5-bit weights (8 * 31 * 127 < 32767), 6-bit weights fit two at a time (4 * 63 * 127 < 32767). 8-bit weights
// only fit as magnitudes (2 * 128 * 127 < 32767): they are multiplied by activations that carry the weight's sign. Half
// a block of q2_k and q3_k fits, and is widened by vpmaddwd, which multiplies with the scale of that half in passing.
#include <immintrin.h>

#include "kernels/abi/compiler.h"
#include "kernels/abi/describe.h"
#include "kernels/matmul/prefetch_x86.h"
#include "kernels/matmul/rhs_block_x86.h"

namespace smepilot {
namespace {

constexpr uint32_t kMr = 32;         // rows of a call
constexpr uint32_t kRows = 4;        // rows of a register tile
constexpr size_t kChunk = 8;         // k blocks unpacked at a time
constexpr size_t kWidth = 512;       // bytes of an unpacked block: 8 steps of 4 k, 16 columns
constexpr size_t kAheadBytes = 128;  // of the chunk to come, asked for by a register tile with each block

// Planes of an lhs block of `height` rows, see LhsQ8Block in layout.h: the scales, the scaled sums, and the corrections
// for unsigned weights.
constexpr size_t kPlaneD = 32, kPlaneDs = 36, kPlaneN8 = 40, kPlaneN32a = 48, kPlaneN32b = 52;

// Weights that unpack() gives signed.
template <DType D>
constexpr bool kSigned = D == DType::kQ8_0 || D == DType::kIQ4_NL;
// Integer scales of each half of a block.
template <DType D>
constexpr bool kHasIntegerScales = D == DType::kQ2_K || D == DType::kQ3_K;
// Steps whose sums fit 16 bits.
template <DType D>
constexpr int kSteps = D == DType::kQ6_K                           ? 2
                       : kHasSingleBits<D> || kHasIntegerScales<D> ? 4
                                                                   : 8;

SMEPILOT_INLINE __m256i load(const uint8_t* p) noexcept {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
SMEPILOT_INLINE __m128i load_xmm(const uint8_t* p) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
SMEPILOT_INLINE __m256 load_half(const uint8_t* p) noexcept {
  return _mm256_cvtph_ps(load_xmm(p));
}
SMEPILOT_INLINE __m256i bcast_i32(const uint8_t* p) noexcept {
  int32_t v;
  __builtin_memcpy(&v, p, sizeof v);
  return _mm256_set1_epi32(v);
}
SMEPILOT_INLINE __m256 bcast_f32(const uint8_t* p) noexcept {
  float v;
  __builtin_memcpy(&v, p, sizeof v);
  return _mm256_set1_ps(v);
}
SMEPILOT_INLINE __m256 bytes_to_f32(const uint8_t* p, bool is_signed) noexcept {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm256_cvtepi32_ps(is_signed ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes));
}

// Bits `from` .. of each byte moved to bits `to` .. and masked: 16-bit shifts drag others along.
SMEPILOT_INLINE __m256i move_bits(__m256i bytes, int from, int to, int mask) noexcept {
  const __m256i moved = to > from   ? _mm256_slli_epi16(bytes, to - from)
                        : to < from ? _mm256_srli_epi16(bytes, from - to)
                                    : bytes;
  return _mm256_and_si256(moved, _mm256_set1_epi8(static_cast<char>(mask)));
}

// Step i of a block (0 .. 7: k = 4i .. 4i+3), columns 8h .. 8h+7, unsigned unless kSigned.
template <DType D>
SMEPILOT_INLINE __m256i unpack(const RhsBlock<D>& from, int i, int h) noexcept {
  const uint8_t* quants = from.quants() + h * 32;
  const uint8_t* high = from.high + h * 32;
  if constexpr (D == DType::kQ8_0) return _mm256_xor_si256(load(quants + i * 64), _mm256_set1_epi8(-128));
  if constexpr (kHasIntegerScales<D>) {
    const __m256i pair = move_bits(load(quants + i / 4 * 64), i % 4 * 2, 0, 3);
    if constexpr (D == DType::kQ2_K) return pair;
    return _mm256_or_si256(pair, move_bits(load(high), i, 2, 4));
  }
  const __m256i nibble = move_bits(load(quants + i % 4 * 64), i < 4 ? 0 : 4, 0, 0x0f);
  if constexpr (D == DType::kIQ4_NL) {
    const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kIq4NlValues));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibble);
  }
  if constexpr (kHasSingleBits<D>) return _mm256_or_si256(nibble, move_bits(load(high), i, 4, 0x10));
  if constexpr (D == DType::kQ6_K)
    return _mm256_or_si256(nibble, move_bits(load(high + i / 4 * 64), i % 4 * 2, 4, 0x30));
  return nibble;
}

// The integer scales of half a block for columns 8h .. 8h+7, each twice: what vpmaddwd multiplies two 16-bit sums with.
template <DType D>
SMEPILOT_INLINE __m256i integer_scale(const RhsBlock<D>& from, int h, int half) noexcept {
  const auto bytes = [](const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); };
  __m256i s;
  if constexpr (D == DType::kQ2_K) {
    s = _mm256_cvtepu8_epi32(bytes(from.scale() + half * 16 + h * 8));
    s = _mm256_and_si256(s, _mm256_set1_epi32(15));
  } else {
    const __m256i low = _mm256_cvtepu8_epi32(bytes(from.scale() + h * 8));
    const __m256i high = _mm256_cvtepu8_epi32(bytes(from.scale_high() + h * 8));
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(from.in_group % 2 * 4) + half * 2);
    const __m256i top = _mm256_and_si256(_mm256_srl_epi32(high, shift), _mm256_set1_epi32(3));
    s = _mm256_and_si256(half == 0 ? low : _mm256_srli_epi32(low, 4), _mm256_set1_epi32(15));
    s = _mm256_sub_epi32(_mm256_or_si256(s, _mm256_slli_epi32(top, 4)), _mm256_set1_epi32(32));
  }
  return _mm256_blend_epi16(s, _mm256_slli_epi32(s, 16), 0xaa);
}

// The scales of a block for columns 8h .. 8h+7. The first is the scale. The second is the minimum (q4_1, q5_1), minus
// the minimum (q4_k, q5_k), so that all are added, or the scale of the block's second half (q6_k). q2_k has minima for
// both halves, second and third, to be multiplied with d * n32a and d * n32b.
template <DType D>
SMEPILOT_INLINE __m256 scale(const RhsBlock<D>& from, int h, int which) noexcept {
  if constexpr (kHasIntegerScales<D>) {
    if (which == 0) return load_half(from.super() + h * 16);
    const uint8_t* sub = from.scale() + (which - 1) * 16 + h * 8;
    const __m256i min =
        _mm256_srli_epi32(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(sub))), 4);
    const __m256 dmin = _mm256_mul_ps(load_half(from.super_min() + h * 16), _mm256_set1_ps(1.0f / 32));
    return _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(min));
  }
  if constexpr (D == DType::kQ4_K || D == DType::kQ5_K) {
    const uint8_t* super = (which == 0 ? from.super() : from.super_min()) + h * 16;
    const uint8_t* sub = (which == 0 ? from.scale() : from.min()) + h * 8;
    const __m256 s = _mm256_mul_ps(load_half(super), bytes_to_f32(sub, false));
    return which == 0 ? s : _mm256_sub_ps(_mm256_setzero_ps(), s);
  }
  if constexpr (D == DType::kQ6_K)
    return _mm256_mul_ps(load_half(from.super() + h * 16), bytes_to_f32(from.scale() + which * 16 + h * 8, true));
  return load_half((which == 0 ? from.scale() : from.min()) + h * 16);
}

// Has the value computed here and kept in a register. Both compilers otherwise reorder a whole block's steps and spill
// (measured: 160 GOP/s becomes 220).
SMEPILOT_INLINE void pin(__m256i& v) noexcept {
  __asm__ volatile("" : "+x"(v));
}

struct alignas(64) Scratch {
  uint8_t w[kChunk][kWidth];
  float scale[kChunk][3][kPanel];
  int16_t integer_scale[kChunk][2][2 * kPanel];
  float sums[kMr][kPanel];
};

// A block's weights as the tile reads them: from the panel, for calls of few rows, or unpacked already.
template <DType D>
struct FromPanel {
  RhsBlock<D> block;
  SMEPILOT_INLINE __m256i weights(int i, int h) const noexcept { return unpack<D>(block, i, h); }
  SMEPILOT_INLINE __m256 scales(int h, int which) const noexcept { return scale<D>(block, h, which); }
  SMEPILOT_INLINE __m256i integer_scales(int h, int half) const noexcept { return integer_scale<D>(block, h, half); }
  SMEPILOT_INLINE void begin() const noexcept {
    if (block.in_group == 0) block.fetch_scales();
    block.fetch_high();
  }
  SMEPILOT_INLINE void advance() noexcept { block.advance(); }
};
struct FromScratch {
  const Scratch& scratch;
  const uint8_t* ahead;  // what to ask for, a bit with each block
  size_t kb = 0;
  SMEPILOT_INLINE __m256i weights(int i, int h) const noexcept { return load(&scratch.w[kb][i * 64 + h * 32]); }
  SMEPILOT_INLINE __m256 scales(int h, int which) const noexcept {
    return _mm256_load_ps(&scratch.scale[kb][which][h * 8]);
  }
  SMEPILOT_INLINE __m256i integer_scales(int h, int half) const noexcept {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(&scratch.integer_scale[kb][half][h * 16]));
  }
  SMEPILOT_INLINE void begin() const noexcept {
    SMEPILOT_UNROLL
    for (size_t line = 0; line < kAheadBytes; line += 64) fetch_later(ahead + line);
  }
  SMEPILOT_INLINE void advance() noexcept {
    ++kb;
    ahead += kAheadBytes;
  }
};

// Rows of an lhs panel as the tile reads them.
struct Lhs {
  const uint8_t* q;      // quants of the first row, first block
  const uint8_t* plane;  // its entry in a plane that would begin at the block
  size_t height;         // rows of the panel
};

// Adds `blocks` blocks of R rows to sum.
template <DType D, int R, typename Source>
SMEPILOT_INLINE void add_blocks(Source source, Lhs lhs, size_t blocks, __m256 (*sum)[2]) noexcept {
  const __m256i ones = _mm256_set1_epi16(1);
  for (size_t kb = 0; kb < blocks; ++kb, source.advance()) {
    source.begin();
    const auto plane = [&](size_t which, int r) { return lhs.plane + lhs.height * which + r * 4; };
    __m256i dot[R][2], narrow[R][2];
    SMEPILOT_UNROLL
    for (int half = 0; half < 2; ++half) {
      if (half == 0 || kHasHalves<D>) {
        SMEPILOT_UNROLL
        for (int r = 0; r < R; ++r) dot[r][0] = dot[r][1] = narrow[r][0] = narrow[r][1] = _mm256_setzero_si256();
      }
      if constexpr (D ==
                    DType::kQ3_K) {  // the zero point, 4: an eighth of that of q6_k. One of the two sums starts at it
        SMEPILOT_UNROLL
        for (int r = 0; r < R; ++r) {
          int32_t n32;
          __builtin_memcpy(&n32, plane(half ? kPlaneN32b : kPlaneN32a, r), sizeof n32);
          narrow[r][0] = narrow[r][1] = _mm256_set1_epi32(n32 / 8 & 0xffff);
        }
      }
      __m256i integer[2] = {};
      if constexpr (kHasIntegerScales<D>) {
        integer[0] = source.integer_scales(0, half);
        integer[1] = source.integer_scales(1, half);
      }
      SMEPILOT_UNROLL
      for (int step = 0; step < 4; ++step) {
        const int i = half * 4 + step;
        const __m256i w[2] = {source.weights(i, 0), source.weights(i, 1)};
        SMEPILOT_UNROLL
        for (int r = 0; r < R; ++r) {
          const __m256i a = bcast_i32(lhs.q + r * 32 + i * 4);
          SMEPILOT_UNROLL
          for (int h = 0; h < 2; ++h) {
            if constexpr (kSigned<D>) {
              const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w[h]), _mm256_sign_epi8(a, w[h]));
              dot[r][h] = _mm256_add_epi32(dot[r][h], _mm256_madd_epi16(pairs, ones));
              pin(dot[r][h]);
            } else {
              narrow[r][h] = _mm256_add_epi16(narrow[r][h], _mm256_maddubs_epi16(w[h], a));
              pin(narrow[r][h]);
              if (i % kSteps<D> == kSteps<D> - 1) {
                const __m256i times = kHasIntegerScales<D> ? integer[h] : ones;
                dot[r][h] = _mm256_add_epi32(dot[r][h], _mm256_madd_epi16(narrow[r][h], times));
                narrow[r][h] = _mm256_setzero_si256();
              }
            }
          }
        }
      }
      if (half == 0 && !kHasHalves<D>) continue;
      SMEPILOT_UNROLL
      for (int h = 0; h < 2; ++h) {
        const __m256 s = source.scales(h, kHasHalves<D> ? half : 0);
        SMEPILOT_UNROLL
        for (int r = 0; r < R; ++r) {
          __m256i x = dot[r][h];
          if constexpr (D == DType::kQ4_0) x = _mm256_add_epi32(x, bcast_i32(plane(kPlaneN8, r)));
          if constexpr (D == DType::kQ5_0) x = _mm256_add_epi32(x, _mm256_slli_epi32(bcast_i32(plane(kPlaneN8, r)), 1));
          if constexpr (kHasHalves<D>) x = _mm256_add_epi32(x, bcast_i32(plane(half ? kPlaneN32b : kPlaneN32a, r)));
          const __m256 d = _mm256_mul_ps(s, bcast_f32(plane(kPlaneD, r)));
          sum[r][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(x), d, sum[r][h]);
        }
        if constexpr (kHasMin<D>) {
          const __m256 m = source.scales(h, 1);
          SMEPILOT_UNROLL
          for (int r = 0; r < R; ++r) sum[r][h] = _mm256_fmadd_ps(m, bcast_f32(plane(kPlaneDs, r)), sum[r][h]);
        }
        if constexpr (kHasHalfMins<D>) {
          const __m256 min_a = source.scales(h, 1), min_b = source.scales(h, 2);
          SMEPILOT_UNROLL
          for (int r = 0; r < R; ++r) {
            const __m256 sum_a = _mm256_cvtepi32_ps(bcast_i32(plane(kPlaneN32a, r)));
            const __m256 sum_b = _mm256_cvtepi32_ps(bcast_i32(plane(kPlaneN32b, r)));
            const __m256 both = _mm256_fmadd_ps(sum_b, min_b, _mm256_mul_ps(sum_a, min_a));
            sum[r][h] = _mm256_fmadd_ps(both, bcast_f32(plane(kPlaneD, r)), sum[r][h]);
          }
        }
      }
    }
    lhs.q += lhs.height * kLhsQ8BlockBytes;
    lhs.plane += lhs.height * kLhsQ8BlockBytes;
  }
}

// Writes the first `left` columns of 16.
template <int R>
SMEPILOT_INLINE void store(const __m256 (*sum)[2], float* dst, size_t dst_stride, uint32_t left) noexcept {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i count = _mm256_set1_epi32(static_cast<int>(left < kPanel ? left : kPanel));
  const __m256i mask[2] = {_mm256_cmpgt_epi32(count, lane),
                           _mm256_cmpgt_epi32(count, _mm256_add_epi32(lane, _mm256_set1_epi32(8)))};
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    float* row = dst + static_cast<size_t>(r) * dst_stride;
    _mm256_maskstore_ps(row, mask[0], sum[r][0]);
    if (left > 8) _mm256_maskstore_ps(row + 8, mask[1], sum[r][1]);
  }
}

template <int R>
SMEPILOT_INLINE void clear(__m256 (*sum)[2]) noexcept {
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_ps();
}

// Calls of R rows, as many as a register tile has: weights are unpacked in registers.
template <DType D, int R>
void few_rows(const MatmulArgs* args) noexcept {
  const uint8_t* lhs = static_cast<const uint8_t*>(args->lhs);
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  float* dst = args->dst;
  for (uint32_t left = args->n;; left -= kPanel) {
    __m256 sum[R][2];
    clear<R>(sum);
    add_blocks<D, R>(FromPanel<D>{{panel, 0}}, Lhs{lhs, lhs, R}, args->k / kQ8Block, sum);
    store<R>(sum, dst, args->dst_stride, left);
    if (left <= kPanel) return;
    panel += args->rhs_stride;
    dst += kPanel;
  }
}

struct Step {  // one chunk of K for one tile of rows
  Lhs lhs;
  size_t blocks;
  const uint8_t* ahead;
  float* sums;
  float* dst;
  size_t dst_stride;
  uint32_t left;  // columns
  bool first, last;
};

template <DType D, int R>
void chunk_step(const Step& s, const Scratch& scratch) noexcept {
  __m256 sum[R][2];
  clear<R>(sum);
  if (!s.first) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      sum[r][0] = _mm256_load_ps(s.sums + r * kPanel);
      sum[r][1] = _mm256_load_ps(s.sums + r * kPanel + 8);
    }
  }
  if (s.last) {  // where the sums go, so that stores need not wait for it
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r)
      fetch_later(reinterpret_cast<const uint8_t*>(s.dst + static_cast<size_t>(r) * s.dst_stride));
  }
  add_blocks<D, R>(FromScratch{scratch, s.ahead}, s.lhs, s.blocks, sum);
  if (s.last) {
    store<R>(sum, s.dst, s.dst_stride, s.left);
    return;
  }
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    _mm256_store_ps(s.sums + r * kPanel, sum[r][0]);
    _mm256_store_ps(s.sums + r * kPanel + 8, sum[r][1]);
  }
}

// Calls of more rows: a chunk of K at a time is unpacked to L1 and used by all of them.
template <DType D>
void many_rows(const MatmulArgs* args) noexcept {
  using StepFn = void (*)(const Step&, const Scratch&) noexcept;
  static constexpr StepFn kSteps[kRows] = {chunk_step<D, 1>, chunk_step<D, 2>, chunk_step<D, 3>, chunk_step<D, 4>};
  Scratch scratch;
  const size_t blocks = args->k / kQ8Block;
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  float* dst = args->dst;
  constexpr size_t kShares = (RhsBlock<D>::kAt.quants_step + kAheadBytes - 1) / kAheadBytes;  // tiles that ask for all
  for (uint32_t left = args->n;; left -= kPanel) {
    const uint8_t* next_panel = left > kPanel ? panel + args->rhs_stride : panel;
    for (size_t kb0 = 0; kb0 < blocks; kb0 += kChunk) {
      Step s;
      s.blocks = blocks - kb0 < kChunk ? blocks - kb0 : kChunk;
      s.dst_stride = args->dst_stride;
      s.left = left;
      s.first = kb0 == 0;
      s.last = kb0 + s.blocks == blocks;
      RhsBlock<D> from(panel, kb0);
      for (size_t kb = 0; kb < s.blocks; ++kb, from.advance()) {
        SMEPILOT_UNROLL
        for (int h = 0; h < 2; ++h) {
          SMEPILOT_UNROLL
          for (int i = 0; i < 8; ++i)
            _mm256_store_si256(reinterpret_cast<__m256i*>(&scratch.w[kb][i * 64 + h * 32]), unpack<D>(from, i, h));
          _mm256_store_ps(&scratch.scale[kb][0][h * 8], scale<D>(from, h, 0));
          if constexpr (kHasMin<D> || kHasHalves<D> || kHasHalfMins<D>)
            _mm256_store_ps(&scratch.scale[kb][1][h * 8], scale<D>(from, h, 1));
          if constexpr (kHasHalfMins<D>) _mm256_store_ps(&scratch.scale[kb][2][h * 8], scale<D>(from, h, 2));
          if constexpr (kHasIntegerScales<D>) {
            SMEPILOT_UNROLL
            for (int half = 0; half < 2; ++half)
              _mm256_store_si256(reinterpret_cast<__m256i*>(&scratch.integer_scale[kb][half][h * 16]),
                                 integer_scale<D>(from, h, half));
          }
        }
      }
      const uint8_t* coming = s.last ? next_panel : RhsBlock<D>(panel, kb0 + kChunk).high;
      size_t number = 0;  // of a tile
      for (uint32_t m0 = 0; m0 < args->m; m0 += kPanel) {
        const uint32_t height = args->m - m0 < kPanel ? args->m - m0 : kPanel;
        const uint8_t* lhs =
            static_cast<const uint8_t*>(args->lhs) + lhs_q8_bytes(m0, args->k) + kb0 * height * kLhsQ8BlockBytes;
        for (uint32_t r = 0; r < height; r += kRows) {
          s.ahead = coming + number++ % kShares * kChunk * kAheadBytes;  // once more is harmless
          s.lhs = Lhs{lhs + r * 32, lhs + r * 4, height};
          s.sums = scratch.sums[m0 + r];
          s.dst = dst + (m0 + r) * args->dst_stride;
          kSteps[(height - r < kRows ? height - r : kRows) - 1](s, scratch);
        }
      }
    }
    if (left <= kPanel) return;
    panel += args->rhs_stride;
    dst += kPanel;
  }
}

template <DType D>
void matmul(const MatmulArgs* args) noexcept {
  static constexpr MatmulFn kFewRows[kRows] = {few_rows<D, 1>, few_rows<D, 2>, few_rows<D, 3>, few_rows<D, 4>};
  if (args->m <= kRows)
    kFewRows[args->m - 1](args);
  else
    many_rows<D>(args);
}

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return matmul_variant(id, kIsaAvx2, DType::kQ8, D, kMr, matmul<D>);
}

}  // namespace

extern const KernelVariant kMatmulF32Q8Q8_0Avx2, kMatmulF32Q8Q4_0Avx2, kMatmulF32Q8Q4_1Avx2, kMatmulF32Q8Q5_0Avx2,
    kMatmulF32Q8Q5_1Avx2, kMatmulF32Q8Iq4NlAvx2, kMatmulF32Q8Q2_KAvx2, kMatmulF32Q8Q3_KAvx2, kMatmulF32Q8Q4_KAvx2,
    kMatmulF32Q8Q5_KAvx2, kMatmulF32Q8Q6_KAvx2;
constexpr KernelVariant kMatmulF32Q8Q8_0Avx2 = variant<DType::kQ8_0>("matmul.f32.q8.q8_0.4x16.avx2.vpmaddubsw");
constexpr KernelVariant kMatmulF32Q8Q4_0Avx2 = variant<DType::kQ4_0>("matmul.f32.q8.q4_0.4x16.avx2.vpmaddubsw");
constexpr KernelVariant kMatmulF32Q8Q4_1Avx2 = variant<DType::kQ4_1>("matmul.f32.q8.q4_1.4x16.avx2.vpmaddubsw");
constexpr KernelVariant kMatmulF32Q8Q5_0Avx2 = variant<DType::kQ5_0>("matmul.f32.q8.q5_0.4x16.avx2.vpmaddubsw");
constexpr KernelVariant kMatmulF32Q8Q5_1Avx2 = variant<DType::kQ5_1>("matmul.f32.q8.q5_1.4x16.avx2.vpmaddubsw");
constexpr KernelVariant kMatmulF32Q8Iq4NlAvx2 = variant<DType::kIQ4_NL>("matmul.f32.q8.iq4_nl.4x16.avx2.vpmaddubsw");
constexpr KernelVariant kMatmulF32Q8Q2_KAvx2 = variant<DType::kQ2_K>("matmul.f32.q8.q2_k.4x16.avx2.vpmaddubsw");
constexpr KernelVariant kMatmulF32Q8Q3_KAvx2 = variant<DType::kQ3_K>("matmul.f32.q8.q3_k.4x16.avx2.vpmaddubsw");
constexpr KernelVariant kMatmulF32Q8Q4_KAvx2 = variant<DType::kQ4_K>("matmul.f32.q8.q4_k.4x16.avx2.vpmaddubsw");
constexpr KernelVariant kMatmulF32Q8Q5_KAvx2 = variant<DType::kQ5_K>("matmul.f32.q8.q5_k.4x16.avx2.vpmaddubsw");
constexpr KernelVariant kMatmulF32Q8Q6_KAvx2 = variant<DType::kQ6_K>("matmul.f32.q8.q6_k.4x16.avx2.vpmaddubsw");

}  // namespace smepilot
