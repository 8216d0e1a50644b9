// A few rows of quantised activations on an SME2 unit, weights with one scale for each 32: see dot_sme2.h. One row
// takes two groups of four panels at a time, four blocks of each, and FMOPA makes the products of their scales: see
// one_row().
#include "kernels/matmul/dot_sme2.h"

namespace smepilot {
namespace {

// Adds the integers of a block to the sums. s0 .. s3: the column scales, f16 in the low halves of 32 bits.
template <int R>
SMEPILOT_INLINE void add_scaled_rows(const uint8_t* lhs, SMEPILOT_FOUR(svuint32_t, s),
                                     uint32_t za) noexcept SMEPILOT_STREAMING {
  const svfloat32_t d = svld1rq_f32(svptrue_b32(), reinterpret_cast<const float*>(lhs + R * kPlaneD));
  const svfloat32_t f0 = widened(s0), f1 = widened(s1), f2 = widened(s2), f3 = widened(s3);
  add_rows<R>(f0, f1, f2, f3, d, za, za + 4);
}

// Two blocks, whose quants are at `quants` of each panel and whose scales are at `scales`; or one, the panel's last.
template <DType D, int R, bool Two>
SMEPILOT_INLINE void add_blocks(const uint8_t* lhs, const Panels& p, size_t quants, size_t scales,
                                uint32_t za) noexcept SMEPILOT_STREAMING {
  constexpr size_t kStep = R * kLhsQ8BlockBytes;
  dot_block<D, R>(lhs, p, quants, za);
  const svbool_t lanes = Two ? svptrue_b8() : svwhilelt_b8_u32(0, 2 * kPanel);
  const svuint16x4_t h = svcreate4_u16(
      svreinterpret_u16_u8(svld1_u8(lanes, p.p0 + scales)), svreinterpret_u16_u8(svld1_u8(lanes, p.p1 + scales)),
      svreinterpret_u16_u8(svld1_u8(lanes, p.p2 + scales)), svreinterpret_u16_u8(svld1_u8(lanes, p.p3 + scales)));
  if constexpr (D == DType::kQ8_0) {
    const svuint32x4_t s01 = svunpk_u32_u16_x4(svcreate2_u16(svget4_u16(h, 0), svget4_u16(h, 1)));
    const svuint32x4_t s23 = svunpk_u32_u16_x4(svcreate2_u16(svget4_u16(h, 2), svget4_u16(h, 3)));
    add_scaled_rows<R>(lhs, svget4_u32(s01, 0), svget4_u32(s01, 2), svget4_u32(s23, 0), svget4_u32(s23, 2), za);
    if constexpr (Two) {
      dot_block<D, R>(lhs + kStep, p, quants + kQuantBytes<D>, za);
      add_scaled_rows<R>(lhs + kStep, svget4_u32(s01, 1), svget4_u32(s01, 3), svget4_u32(s23, 1), svget4_u32(s23, 3),
                         za);
    }
  } else {
    const svuint16x4_t z = svzipq_u16_x4(h);
    const svuint32x4_t first = svunpk_u32_u16_x4(svcreate2_u16(svget4_u16(z, 0), svget4_u16(z, 1)));
    add_scaled_rows<R>(lhs, svget4_u32(first, 0), svget4_u32(first, 1), svget4_u32(first, 2), svget4_u32(first, 3), za);
    if constexpr (Two) {
      dot_block<D, R>(lhs + kStep, p, quants + kQuantBytes<D>, za);
      const svuint32x4_t second = svunpk_u32_u16_x4(svcreate2_u16(svget4_u16(z, 2), svget4_u16(z, 3)));
      add_scaled_rows<R>(lhs + kStep, svget4_u32(second, 0), svget4_u32(second, 1), svget4_u32(second, 2),
                         svget4_u32(second, 3), za);
    }
  }
}

// Blocks first .. end - 1 of R rows and four panels. scale_at: where the scales are in a panel.
template <DType D, int R>
SMEPILOT_INLINE void add_range(const uint8_t* lhs, const Panels& p, size_t first, size_t end, size_t scale_at,
                               uint32_t za) noexcept SMEPILOT_STREAMING {
  size_t quants = first * kQuantBytes<D>, scales = scale_at + first * kScaleBytes<D>;
  lhs += first * R * kLhsQ8BlockBytes;
  for (size_t pairs = (end - first) / 2; pairs != 0; --pairs) {
    add_blocks<D, R, true>(lhs, p, quants, scales, za);
    lhs += 2 * R * kLhsQ8BlockBytes;
    quants += 2 * kQuantBytes<D>;
    scales += 2 * kScaleBytes<D>;
  }
  if ((end - first) % 2 != 0) add_blocks<D, R, false>(lhs, p, quants, scales, za);
}

template <DType D, int R>
SMEPILOT_INLINE void few_rows(const MatmulArgs* args, size_t scale_at) noexcept SMEPILOT_STREAMING {
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  const auto* lhs = static_cast<const uint8_t*>(args->lhs);
  float* dst = args->dst;
  for (uint32_t n = 0; n < args->n; n += kWide * kPanel, panel += kWide * args->rhs_stride, dst += kWide * kPanel) {
    const uint32_t left = args->n - n;
    svzero_za();
    add_range<D, R>(lhs, four_panels(panel, args->rhs_stride, left), 0, args->k / kQ8Block, scale_at, 0);
    store_rows<D, R>(args, dst, left, 4);
  }
}

// --- one row ---
//
// Here the scales of a block cost as much as its products, so FMOPA makes them, for four blocks at a time: an outer
// product of pairs of f16, into a tile whose row 4 v + b takes the scales of the columns of vector v in block b. The
// left operand has the row's scale of block b in word b of each 128 bits, of which a predicate takes the v-th, in its
// low half for blocks 0 and 1 and in its high half for blocks 2 and 3; the right one has pairs of column scales, of
// blocks 0 and 2 or of 1 and 3. The other half being zero, products are those of two f16 numbers, exact in f32. That
// vector group 4 b + (tile) holds the scales of block b, vector by vector, is how ZA is made.
//
// Groups of ZA, `za` being 0 for the first four panels and 8 for the next four: za and za + 1 integers of even and odd
// blocks, za + 4 sums. Scales of the first are in tile 3, of the others in tile 2.

constexpr uint32_t kColumns = kWide * kPanel;
constexpr uint64_t kIntegers = 0x03;  // 64-bit tiles 0 and 1: groups 0, 1, 8, 9
constexpr uint64_t kScaleTiles = 0xcc;

// The tile of scales of four blocks, whose column scales lie at 8 * `at` of each panel.
template <DType D, int Tile>
SMEPILOT_INLINE void multiply_scales(const Panels& p, size_t at, svuint8_t even, svuint8_t odd, svbool_t v0,
                                     svbool_t v1, svbool_t v2, svbool_t v3) noexcept SMEPILOT_STREAMING {
#define SMEPILOT_SCALES                                      \
  "ld1d {z16.d, z24.d}, %[both]/z, [%[p0], %[at], lsl #3]\n" \
  "ld1d {z17.d, z25.d}, %[both]/z, [%[p1], %[at], lsl #3]\n" \
  "ld1d {z18.d, z26.d}, %[both]/z, [%[p2], %[at], lsl #3]\n" \
  "ld1d {z19.d, z27.d}, %[both]/z, [%[p3], %[at], lsl #3]\n"
#define SMEPILOT_PRODUCT(v, side, z) "fmopa za%[tile].s, %[v" #v "]/m, %[all]/m, %[" #side "].h, z" #z ".h\n"
#define SMEPILOT_OPERANDS                                                                                           \
  :                                                                                                                 \
  : [both] "Uph"(svptrue_c64()), [all] "Upl"(svptrue_b8()), [v0] "Upl"(v0), [v1] "Upl"(v1), [v2] "Upl"(v2),          \
    [v3] "Upl"(v3), [even] "w"(even), [odd] "w"(odd), [p0] "r"(p.p0), [p1] "r"(p.p1), [p2] "r"(p.p2),               \
    [p3] "r"(p.p3), [at] "r"(at), [tile] "i"(Tile)                                                                  \
  : "z16", "z17", "z18", "z19", "z20", "z21", "z22", "z23", "z24", "z25", "z26", "z27", "z28", "z29", "z30", "z31", \
    "memory"
  if constexpr (D == DType::kQ8_0)
    __asm__ volatile(SMEPILOT_SCALES
                     "zip {z20.h, z21.h}, z16.h, z24.h\n"
                     "zip {z22.h, z23.h}, z17.h, z25.h\n"
                     "zip {z28.h, z29.h}, z18.h, z26.h\n"
                     "zip {z30.h, z31.h}, z19.h, z27.h\n" SMEPILOT_PRODUCT(0, even, 20) SMEPILOT_PRODUCT(1, even, 22)
                         SMEPILOT_PRODUCT(2, even, 28) SMEPILOT_PRODUCT(3, even, 30) SMEPILOT_PRODUCT(0, odd, 21)
                             SMEPILOT_PRODUCT(1, odd, 23) SMEPILOT_PRODUCT(2, odd, 29) SMEPILOT_PRODUCT(3, odd, 31)
                                 SMEPILOT_OPERANDS);
  else  // in the order of the interleaved columns
    __asm__ volatile(SMEPILOT_SCALES
                     "zip {z16.q - z19.q}, {z16.q - z19.q}\n"
                     "zip {z24.q - z27.q}, {z24.q - z27.q}\n"
                     "zip {z20.h, z21.h}, z16.h, z24.h\n"
                     "zip {z22.h, z23.h}, z17.h, z25.h\n"
                     "zip {z28.h, z29.h}, z18.h, z26.h\n"
                     "zip {z30.h, z31.h}, z19.h, z27.h\n" SMEPILOT_PRODUCT(0, even, 20) SMEPILOT_PRODUCT(1, even, 21)
                         SMEPILOT_PRODUCT(2, even, 22) SMEPILOT_PRODUCT(3, even, 23) SMEPILOT_PRODUCT(0, odd, 28)
                             SMEPILOT_PRODUCT(1, odd, 29) SMEPILOT_PRODUCT(2, odd, 30) SMEPILOT_PRODUCT(3, odd, 31)
                                 SMEPILOT_OPERANDS);
#undef SMEPILOT_SCALES
#undef SMEPILOT_PRODUCT
#undef SMEPILOT_OPERANDS
}

// Block B of four of a row: k 0 .. 15 of it in x0, the others in x1.
template <DType D, int B, int Tile>
SMEPILOT_INLINE void add_one_block(const Panels& p, size_t at, svint8_t x0, svint8_t x1,
                                   uint32_t za) noexcept SMEPILOT_STREAMING {
#define SMEPILOT_LOAD(at)                                       \
  "ld1b {z16.b, z20.b, z24.b, z28.b}, %[four]/z, [%[p0], %[" at \
  "]]\n"                                                        \
  "ld1b {z17.b, z21.b, z25.b, z29.b}, %[four]/z, [%[p1], %[" at \
  "]]\n"                                                        \
  "ld1b {z18.b, z22.b, z26.b, z30.b}, %[four]/z, [%[p2], %[" at \
  "]]\n"                                                        \
  "ld1b {z19.b, z23.b, z27.b, z31.b}, %[four]/z, [%[p3], %[" at "]]\n"
#define SMEPILOT_DOT(z, last, x, i) \
  "sdot za.s[%w[za], %[integers], vgx4], {z" #z ".b - z" #last ".b}, %[" #x "].b[" #i "]\n"
#define SMEPILOT_NIBBLES(i, a, b, c, d)                                                               \
  "luti4 {z4.b, z5.b}, zt0, z" #a                                                                     \
  "[0]\n"                                                                                             \
  "luti4 {z6.b, z7.b}, zt0, z" #b "[0]\n" SMEPILOT_DOT(4, 7, x0, i) "luti4 {z8.b, z9.b}, zt0, z" #c   \
                                                                    "[0]\n"                           \
                                                                    "luti4 {z10.b, z11.b}, zt0, z" #d \
                                                                    "[0]\n" SMEPILOT_DOT(8, 11, x1, i)
#define SMEPILOT_ADD                                         \
  "mova {z16.s - z19.s}, za.s[%w[za], %[integers], vgx4]\n"  \
  "mova {z20.s - z23.s}, za.s[%w[scales], %[scale], vgx4]\n" \
  "scvtf {z16.s - z19.s}, {z16.s - z19.s}\n"                 \
  "fmla za.s[%w[za], 4, vgx4], {z16.s - z19.s}, {z20.s - z23.s}\n"
#define SMEPILOT_OPERANDS                                                                                            \
  :                                                                                                                  \
  : [four] "Uph"(svptrue_c8()), [p0] "r"(p.p0), [p1] "r"(p.p1), [p2] "r"(p.p2), [p3] "r"(p.p3), [at] "r"(at),        \
    [next] "r"(at + 256), [x0] "x"(x0), [x1] "x"(x1), [za] "Uci"(za), [scales] "Uci"(B < 2 ? 0u : 8u),               \
    [integers] "i"(B % 2), [scale] "i"(B % 2 * 4 + Tile)                                                             \
  : "z4", "z5", "z6", "z7", "z8", "z9", "z10", "z11", "z16", "z17", "z18", "z19", "z20", "z21", "z22", "z23", "z24", \
    "z25", "z26", "z27", "z28", "z29", "z30", "z31", "memory"
  if constexpr (D == DType::kQ8_0)
    __asm__ volatile(SMEPILOT_LOAD("at") SMEPILOT_DOT(16, 19, x0, 0) SMEPILOT_DOT(20, 23, x0, 1)
                         SMEPILOT_DOT(24, 27, x0, 2) SMEPILOT_DOT(28, 31, x0, 3) SMEPILOT_LOAD("next")
                             SMEPILOT_DOT(16, 19, x1, 0) SMEPILOT_DOT(20, 23, x1, 1) SMEPILOT_DOT(24, 27, x1, 2)
                                 SMEPILOT_DOT(28, 31, x1, 3) SMEPILOT_ADD SMEPILOT_OPERANDS);
  else
    __asm__ volatile(SMEPILOT_LOAD(
        "at") "zip {z16.q - z19.q}, {z16.q - z19.q}\n"
              "zip {z20.q - z23.q}, {z20.q - z23.q}\n"
              "zip {z24.q - z27.q}, {z24.q - z27.q}\n"
              "zip {z28.q - z31.q}, {z28.q - z31.q}\n" SMEPILOT_NIBBLES(0, 16, 17, 18, 19)
                         SMEPILOT_NIBBLES(1, 20, 21, 22, 23) SMEPILOT_NIBBLES(2, 24, 25, 26, 27)
                             SMEPILOT_NIBBLES(3, 28, 29, 30, 31) SMEPILOT_ADD SMEPILOT_OPERANDS);
#undef SMEPILOT_LOAD
#undef SMEPILOT_DOT
#undef SMEPILOT_NIBBLES
#undef SMEPILOT_ADD
#undef SMEPILOT_OPERANDS
}

template <DType D, int B, bool Two>
SMEPILOT_INLINE void one_block(const uint8_t* lhs, const Panels& p, const Panels& q,
                               size_t at) noexcept SMEPILOT_STREAMING {
  const int8_t* x = reinterpret_cast<const int8_t*>(lhs + B * kLhsQ8BlockBytes);
  const svint8_t x0 = svld1rq_s8(svptrue_b8(), x), x1 = svld1rq_s8(svptrue_b8(), x + 16);
  add_one_block<D, B, 3>(p, at + B * kQuantBytes<D>, x0, x1, 0);
  if constexpr (Two) add_one_block<D, B, 2>(q, at + B * kQuantBytes<D>, x0, x1, 8);
}

// A row, with its scales as left operands: of four blocks, 16 bytes for each 128 bits of a vector.
struct Row {
  const uint8_t* lhs;
  const uint32_t* scales;
  size_t fours;   // how often there are four blocks whose scales are in `scales`
  size_t blocks;  // in all
};
constexpr size_t kMostFours = 256;  // 32768 k; what is beyond, streaming_rest() adds

// Scales of four blocks, or of eight, to left operands. Adds to `lost` what f16 does not hold of them.
template <bool Eight>
SMEPILOT_INLINE svuint32_t collect(const float* d, svuint32_t lost, uint32_t* scales) noexcept __arm_streaming {
  constexpr size_t kNext = kLhsQ8BlockBytes / sizeof(float);
  const svbool_t all = svptrue_b32(), high = svdupq_n_b32(false, false, true, true);
  // A vector that begins at the scale of a block has the next block's in lane 14. What no lane is the number of, is 0.
  const svbool_t two = svwhilelt_b32_u32(0, 15);
  const svuint32_t index = svindex_u32(0, 1), lanes = svdupq_n_u32(0, 14, 16, 30);
  const svuint32_t first = svsel_u32(svcmplt_n_u32(all, index, 4), lanes, svdup_n_u32(~0u));
  const svuint32_t second = svsel_u32(svcmpge_n_u32(all, index, 4), lanes, svdup_n_u32(~0u));
  svuint32_t exact =
      svreinterpret_u32_f32(svtbl2_f32(svcreate2_f32(svld1_f32(two, d), svld1_f32(two, d + 2 * kNext)), first));
  if constexpr (Eight)
    exact = svorr_u32_x(all, exact,
                        svreinterpret_u32_f32(svtbl2_f32(
                            svcreate2_f32(svld1_f32(two, d + 4 * kNext), svld1_f32(two, d + 6 * kNext)), second)));
  const svfloat16_t rounded = svcvt_f16_f32_x(all, svreinterpret_f32_u32(exact));  // low halves, with zeros above
  const svuint32_t back = svreinterpret_u32_f32(svcvt_f32_f16_x(all, rounded));
  svst1_u32(svwhilelt_b32_u32(0, Eight ? 8 : 4), scales, svlsl_n_u32_m(high, svreinterpret_u32_f16(rounded), 16));
  return svorr_u32_x(all, lost, sveor_u32_x(all, exact, back));
}

// Scales of the first 4 * fours blocks. False if one of them is not an f16 number, as it is where the quantiser would
// have overflowed f16.
SMEPILOT_INLINE bool collect_scales(const uint8_t* lhs, size_t fours, uint32_t* scales) noexcept __arm_streaming {
  svuint32_t lost = svdup_n_u32(0);
  constexpr size_t kEight = 8 * kLhsQ8BlockBytes / sizeof(float);
  const auto* d = reinterpret_cast<const float*>(lhs + kPlaneD);
  for (; fours >= 2; fours -= 2, d += kEight, scales += 8) lost = collect<true>(d, lost, scales);
  if (fours != 0) lost = collect<false>(d, lost, scales);
  return !svptest_any(svptrue_b32(), svcmpne_n_u32(svptrue_b32(), lost, 0));
}

// The blocks from `first` on of the panels at `panel`, added to group za + 4. Apart, because few calls need it.
template <DType D>
[[gnu::noinline]] void streaming_rest(const MatmulArgs* args, const uint8_t* panel, uint32_t left, size_t first,
                                      size_t scale_at, uint32_t za) noexcept SMEPILOT_STREAMING {
  add_range<D, 1>(static_cast<const uint8_t*>(args->lhs), four_panels(panel, args->rhs_stride, left), first,
                  args->k / kQ8Block, scale_at, za);
}

// The sums of the columns that begin at `panel`: p, and (Two) q. `left` of them exist.
template <DType D, bool Two>
SMEPILOT_INLINE void sum_row(const MatmulArgs* args, const Row& row, const Panels& p, const Panels& q,
                             const uint8_t* panel, uint32_t left, size_t scale_at) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b8();
  const svbool_t even = svcmpeq_n_u8(all, svand_n_u8_x(all, svindex_u8(0, 1), 4), 0), odd = svnot_b_z(all, even);
  const svuint8_t quarter = svlsr_n_u8_x(all, svindex_u8(0, 1), 4);
  const svbool_t v0 = svcmpeq_n_u8(all, quarter, 0), v1 = svcmpeq_n_u8(all, quarter, 1),
                 v2 = svcmpeq_n_u8(all, quarter, 2), v3 = svcmpeq_n_u8(all, quarter, 3);
  const uint8_t* lhs = row.lhs;
  // Scales of the row advance by 16 bytes where those of the columns advance by 128, so one index serves both.
  static_assert(4 * kScaleBytes<D> == 8 * sizeof(uint32_t[4]));
  const uintptr_t row_scales = reinterpret_cast<uintptr_t>(row.scales) - scale_at / 8;
  size_t quants = 0, at = scale_at / 8;
  svzero_za();
  for (size_t i = row.fours; i != 0; --i) {
    __asm__("" : "+r"(at));  // or the compiler makes two indices of it
    const auto* d = reinterpret_cast<const uint8_t*>(row_scales + at);
    const svuint8_t even_d = svld1rq_u8(even, d), odd_d = svld1rq_u8(odd, d);
    svzero_mask_za(kIntegers | kScaleTiles);
    multiply_scales<D, 3>(p, at, even_d, odd_d, v0, v1, v2, v3);
    if constexpr (Two) multiply_scales<D, 2>(q, at, even_d, odd_d, v0, v1, v2, v3);
    one_block<D, 0, Two>(lhs, p, q, quants);
    one_block<D, 1, Two>(lhs, p, q, quants);
    svzero_mask_za(kIntegers);
    one_block<D, 2, Two>(lhs, p, q, quants);
    one_block<D, 3, Two>(lhs, p, q, quants);
    lhs += 4 * kLhsQ8BlockBytes;
    quants += 4 * kQuantBytes<D>;
    at += sizeof(uint32_t[4]);
  }
  if (4 * row.fours == row.blocks) return;
  streaming_rest<D>(args, panel, left, 4 * row.fours, scale_at, 0);
  if constexpr (Two)
    streaming_rest<D>(args, panel + kWide * args->rhs_stride, left - kColumns, 4 * row.fours, scale_at, 8);
}

template <DType D>
SMEPILOT_INLINE void one_row(const MatmulArgs* args, size_t scale_at) noexcept SMEPILOT_STREAMING {
  uint32_t scales[4 * kMostFours];
  Row row = {static_cast<const uint8_t*>(args->lhs), scales, 0, args->k / kQ8Block};
  row.fours = row.blocks / 4 < kMostFours ? row.blocks / 4 : kMostFours;
  if (!collect_scales(row.lhs, row.fours, scales)) row.fours = 0;
  const size_t stride = args->rhs_stride;
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  float* dst = args->dst;
  uint32_t left = args->n;
  for (; left >= 2 * kColumns; left -= 2 * kColumns, panel += 2 * kWide * stride, dst += 2 * kColumns) {
    const uint8_t* const next = panel + kWide * stride;
    const Panels p = {panel, panel + stride, panel + 2 * stride, panel + 3 * stride};
    const Panels q = {next, next + stride, next + 2 * stride, next + 3 * stride};
    sum_row<D, true>(args, row, p, q, panel, left, scale_at);
    store_row<D, true>(dst, left, 4);
    store_row<D, true>(dst + kColumns, left, 12);
  }
  if (left == 0) return;
  const Panels p = four_panels(panel, stride, left);
  if (left <= kColumns) {
    sum_row<D, false>(args, row, p, p, panel, left, scale_at);
    return store_row<D, false>(dst, left, 4);
  }
  const Panels q = four_panels(panel + kWide * stride, stride, left - kColumns);
  sum_row<D, true>(args, row, p, q, panel, left, scale_at);
  store_row<D, false>(dst, left, 4);
  store_row<D, false>(dst + kColumns, left - kColumns, 12);
}

template <DType D>
void streaming_dot(const MatmulArgs* args, const RhsPlanes* at) noexcept SMEPILOT_STREAMING {
  load_nibble_table<D>();
  if (svcntb() != 4 * kPanel) return all_panels<D, false>(args, *at);
  switch (args->m) {
    case 2: return few_rows<D, 2>(args, at->scale);
    case 3: return few_rows<D, 3>(args, at->scale);
    case 4: return few_rows<D, 4>(args, at->scale);
    default: return all_panels<D, true>(args, *at);
  }
}

template <DType D>
void streaming_row(const MatmulArgs* args, const size_t* scale_at) noexcept SMEPILOT_STREAMING {
  load_nibble_table<D>();
  one_row<D>(args, *scale_at);
}

template <DType D>
void matmul_dot(const MatmulArgs* args) noexcept {
  const RhsPlanes at = rhs_planes(D, args->k);
  if (args->m == 1 && svcntsb() == 4 * kPanel) return call_streaming(streaming_row<D>, args, &at.scale);
  call_streaming(streaming_dot<D>, args, &at);
}

}  // namespace

extern const KernelVariant kMatmulF32Q8Q8_0DotSme2, kMatmulF32Q8Q4_0DotSme2, kMatmulF32Q8Iq4NlDotSme2;
constexpr KernelVariant kMatmulF32Q8Q8_0DotSme2 =
    dot_variant<DType::kQ8_0>("matmul.f32.q8.q8_0.4x4vl.sme2.sdot", matmul_dot<DType::kQ8_0>);
constexpr KernelVariant kMatmulF32Q8Q4_0DotSme2 =
    dot_variant<DType::kQ4_0>("matmul.f32.q8.q4_0.4x4vl.sme2.sdot", matmul_dot<DType::kQ4_0>);
constexpr KernelVariant kMatmulF32Q8Iq4NlDotSme2 =
    dot_variant<DType::kIQ4_NL>("matmul.f32.q8.iq4_nl.4x4vl.sme2.sdot", matmul_dot<DType::kIQ4_NL>);

}  // namespace smepilot
