// F32, F16 and BF16 weights times activations of the same type on an SME unit, for SME (isa step sme) and SME2 (sme2),
// at any vector length. Internal linkage: included by one translation unit of each step.
//
// All three types are sums of outer products of 32-bit words: an element of f32, or two consecutive k of a 16-bit type,
// which FMOPA and BFMOPA multiply and add up into the f32 sums. Panels of both operands have a line of 16 words per
// step (one k of f32, two of the others). So what differs between types is the instruction.
//
// Up to four ZA tiles are in use for all of k: 2 x 2 vectors, or 1 x 4 for the rows that remain. At 16 lanes, where a
// line is a vector, SME2 loads four steps with an instruction; a last load of fewer is filled up with zeros, which add
// nothing. SME2 computes up to three rows without outer products, which would leave most of a tile unused: vectors of
// four panels at a time, times an element of a row.
#pragma once
#include "kernels/abi/compiler.h"
#include "kernels/abi/describe.h"
#include "kernels/sme/streaming.h"

namespace smepilot {
namespace {

constexpr uint32_t kMr = 128;      // rows of a call
constexpr size_t kLineBytes = 64;  // of a panel of 16 rows or columns, for one step

template <DType D>
constexpr uint32_t kStep = D == DType::kF32 ? 1 : 2;  // k of a step

template <DType D, int Tile>
SMEPILOT_INLINE void mopa(svuint32_t a, svuint32_t b) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b8();
  if constexpr (D == DType::kF32) svmopa_za32_f32_m(Tile, all, all, svreinterpret_f32_u32(a), svreinterpret_f32_u32(b));
  if constexpr (D == DType::kF16) svmopa_za32_f16_m(Tile, all, all, svreinterpret_f16_u32(a), svreinterpret_f16_u32(b));
  if constexpr (D == DType::kBF16)
    svmopa_za32_bf16_m(Tile, all, all, svreinterpret_bf16_u32(a), svreinterpret_bf16_u32(b));
}

// Tile i * N + j is that of vector i of rows and vector j of columns.
template <DType D, int M, int N>
SMEPILOT_INLINE void mopas(svuint32_t a0, svuint32_t a1, svuint32_t b0, svuint32_t b1, svuint32_t b2,
                           svuint32_t b3) noexcept SMEPILOT_STREAMING {
  static_assert(M <= 2 && M * N <= 4);
  mopa<D, 0>(a0, b0);
  if constexpr (N > 1) mopa<D, 1>(a0, b1);
  if constexpr (N > 2) mopa<D, 2>(a0, b2);
  if constexpr (N > 3) mopa<D, 3>(a0, b3);
  if constexpr (M > 1) mopa<D, N>(a1, b0);
  if constexpr (M > 1 && N > 1) mopa<D, N + 1>(a1, b1);
}

// A vector of rows or of columns: where its words of the first step lie, and what lies between steps.
struct Lane {
  const uint8_t* at;
  size_t step;
  uint32_t lanes;
  SMEPILOT_INLINE svbool_t mask() const noexcept __arm_streaming { return svwhilelt_b32_u32(0, lanes); }
};

SMEPILOT_INLINE svuint32_t load_words(svbool_t mask, const uint8_t* p) noexcept __arm_streaming {
  return svld1_u32(mask, reinterpret_cast<const uint32_t*>(p));
}

// --- any vector length, and the last steps ---

template <DType D, int M, int N>
SMEPILOT_INLINE void sum_words(const Lane* a, const Lane* b, size_t from, uint32_t k) noexcept SMEPILOT_STREAMING {
  constexpr int kA1 = M > 1 ? 1 : 0;
  constexpr int kB1 = N > 1 ? 1 : 0, kB2 = N > 2 ? 2 : 0, kB3 = N > 3 ? 3 : 0;
  const svbool_t columns = b[0].mask();
  for (size_t at = from; at * kStep<D> < k; ++at) {
    const size_t line = at * kLineBytes;
    mopas<D, M, N>(load_words(a[0].mask(), a[0].at + at * a[0].step),
                   load_words(a[kA1].mask(), a[kA1].at + at * a[kA1].step), load_words(columns, b[0].at + line),
                   load_words(columns, b[kB1].at + line), load_words(columns, b[kB2].at + line),
                   load_words(columns, b[kB3].at + line));
  }
}

// --- where a line is a vector ---

#if SMEPILOT_SME2

// Four steps of a rhs panel, from the (4 I)th at p on. words: which of them exist.
template <int I>
SMEPILOT_INLINE svuint32x4_t four_lines(svcount_t words, const uint8_t* p) noexcept __arm_streaming {
  return svld1_u32_x4(words, reinterpret_cast<const uint32_t*>(p + I * 4 * kLineBytes));
}

// The same of an lhs panel of 16 rows, or (not Whole) of fewer, of whose lines `left` exist.
template <bool Whole, int I>
SMEPILOT_INLINE svuint32x4_t four_rows(svcount_t words, const Lane& a, size_t at, size_t left) noexcept
    __arm_streaming {
  if constexpr (Whole) return four_lines<I>(words, a.at + at * kLineBytes);
  const uint8_t* p = a.at + (at + 4 * I) * a.step;
  const svbool_t rows = a.mask(), none = svpfalse_b();
  return svcreate4_u32(load_words(rows, p), load_words(left > 1 ? rows : none, p + a.step),
                       load_words(left > 2 ? rows : none, p + 2 * a.step),
                       load_words(left > 3 ? rows : none, p + 3 * a.step));
}

template <DType D, int M, int N, bool Whole, int I>
SMEPILOT_INLINE void four_steps(const Lane* a, const Lane* b, size_t at, size_t left,
                                svcount_t words) noexcept SMEPILOT_STREAMING {
  svuint32x4_t a0 = four_rows<Whole, I>(words, a[0], at, left), a1 = a0;
  if constexpr (M > 1) a1 = four_rows<Whole, I>(words, a[1], at, left);
  const size_t line = at * kLineBytes;
  svuint32x4_t b0 = four_lines<I>(words, b[0].at + line), b1 = b0, b2 = b0, b3 = b0;
  if constexpr (N > 1) b1 = four_lines<I>(words, b[1].at + line);
  if constexpr (N > 2) b2 = four_lines<I>(words, b[2].at + line);
  if constexpr (N > 3) b3 = four_lines<I>(words, b[3].at + line);
#define SMEPILOT_STEP(i)                                                                                        \
  mopas<D, M, N>(svget4_u32(a0, i), svget4_u32(a1, i), svget4_u32(b0, i), svget4_u32(b1, i), svget4_u32(b2, i), \
                 svget4_u32(b3, i))
  SMEPILOT_STEP(0);
  SMEPILOT_STEP(1);
  SMEPILOT_STEP(2);
  SMEPILOT_STEP(3);
#undef SMEPILOT_STEP
}

template <DType D, int M, int N, bool Whole>
SMEPILOT_INLINE void sum_lines(const Lane* a, const Lane* b, uint32_t k) noexcept SMEPILOT_STREAMING {
  const size_t steps = (size_t{k} + kStep<D> - 1) / kStep<D>;
  const svcount_t words = svptrue_c32();
  size_t at = 0;
  if constexpr (Whole && M * N == 4) {
    Lane x[M], y[N];
    for (int i = 0; i < M; ++i) x[i] = a[i];
    for (int j = 0; j < N; ++j) y[j] = b[j];
    for (size_t i = steps / 16; i > 0; --i) {
      // Without this the compiler keeps a pointer for every load, instead of one and offsets that all share.
      for (Lane& l : x) __asm__("" : "+r"(l.at));
      for (Lane& l : y) __asm__("" : "+r"(l.at));
      four_steps<D, M, N, Whole, 0>(x, y, 0, 4, words);
      four_steps<D, M, N, Whole, 1>(x, y, 0, 4, words);
      four_steps<D, M, N, Whole, 2>(x, y, 0, 4, words);
      four_steps<D, M, N, Whole, 3>(x, y, 0, 4, words);
      for (Lane& l : x) l.at += 16 * kLineBytes;
      for (Lane& l : y) l.at += 16 * kLineBytes;
    }
    at = steps / 16 * 16;
  }
  for (; at + 4 <= steps; at += 4) four_steps<D, M, N, Whole, 0>(a, b, at, 4, words);
  if (at < steps)
    four_steps<D, M, N, Whole, 0>(a, b, at, steps - at, svwhilelt_c32_u64(at * kPanel, steps * kPanel, 4));
}

// acc[group] += four vectors of columns * element Index of each 128 bits of x.
template <DType D, int Index>
SMEPILOT_INLINE void multiply(uint32_t group, svuint32_t w0, svuint32_t w1, svuint32_t w2, svuint32_t w3,
                              svuint32_t x) noexcept SMEPILOT_STREAMING {
  if constexpr (D == DType::kF32)
    svmla_lane_za32_f32_vg1x4(group,
                              svcreate4_f32(svreinterpret_f32_u32(w0), svreinterpret_f32_u32(w1),
                                            svreinterpret_f32_u32(w2), svreinterpret_f32_u32(w3)),
                              svreinterpret_f32_u32(x), Index);
  if constexpr (D == DType::kF16)
    svdot_lane_za32_f16_vg1x4(group,
                              svcreate4_f16(svreinterpret_f16_u32(w0), svreinterpret_f16_u32(w1),
                                            svreinterpret_f16_u32(w2), svreinterpret_f16_u32(w3)),
                              svreinterpret_f16_u32(x), Index);
  if constexpr (D == DType::kBF16)
    svdot_lane_za32_bf16_vg1x4(group,
                               svcreate4_bf16(svreinterpret_bf16_u32(w0), svreinterpret_bf16_u32(w1),
                                              svreinterpret_bf16_u32(w2), svreinterpret_bf16_u32(w3)),
                               svreinterpret_bf16_u32(x), Index);
}

constexpr uint32_t kFewRows = 3;  // up to here multiplying needs fewer instructions than outer products

// Step I of four: row r of R is word I * R + r of x0, x1, x2. Every row and step sums up in a group of its own.
template <DType D, int R, int I>
SMEPILOT_INLINE void multiply_rows(svuint32x4_t w0, svuint32x4_t w1, svuint32x4_t w2, svuint32x4_t w3, svuint32_t x0,
                                   svuint32_t x1, svuint32_t x2) noexcept SMEPILOT_STREAMING {
#define SMEPILOT_ROW(r)                                                                                \
  if constexpr (R > (r))                                                                               \
  multiply<D, (I * R + (r)) % 4>((r) * 4 + I, svget4_u32(w0, I), svget4_u32(w1, I), svget4_u32(w2, I), \
                                 svget4_u32(w3, I),                                                    \
                                 (I * R + (r)) / 4 == 0   ? x0                                         \
                                 : (I * R + (r)) / 4 == 1 ? x1                                         \
                                                          : x2)
  SMEPILOT_ROW(0);
  SMEPILOT_ROW(1);
  SMEPILOT_ROW(2);
#undef SMEPILOT_ROW
}

// Words x[4][R] times four lines of four panels, all of which exist. Written out, because the compiler copies vectors
// that its loads have already put where the products want them. Row r and step i add to group 4 r + i.
template <DType D, int R>
SMEPILOT_INLINE void multiply_lines(const uint32_t* x, const uint8_t* b0, const uint8_t* b1, const uint8_t* b2,
                                    const uint8_t* b3) noexcept SMEPILOT_STREAMING {
  const uint32_t low = 0, high = 8;
  const svbool_t all = svptrue_b32();
  const svcount_t words = svptrue_c32();
#define SMEPILOT_LOADS                                         \
  "ld1w { z16.s, z20.s, z24.s, z28.s }, %[words]/z, [%[b0]]\n" \
  "ld1w { z17.s, z21.s, z25.s, z29.s }, %[words]/z, [%[b1]]\n" \
  "ld1w { z18.s, z22.s, z26.s, z30.s }, %[words]/z, [%[b2]]\n" \
  "ld1w { z19.s, z23.s, z27.s, z31.s }, %[words]/z, [%[b3]]\n" \
  "ld1rqw { z0.s }, %[all]/z, [%[x]]\n"
#define SMEPILOT_LOAD_X1 "ld1rqw { z1.s }, %[all]/z, [%[x], #16]\n"
#define SMEPILOT_LOAD_X2 "ld1rqw { z2.s }, %[all]/z, [%[x], #32]\n"
#define SMEPILOT_ASM(text)                                                                                          \
  __asm__ volatile(text                                                                                             \
                   :                                                                                                \
                   : [x] "r"(x), [b0] "r"(b0), [b1] "r"(b1), [b2] "r"(b2), [b3] "r"(b3), [words] "Uph"(words),      \
                     [all] "Upl"(all), [low] "Uci"(low), [high] "Uci"(high)                                         \
                   : "z0", "z1", "z2", "z16", "z17", "z18", "z19", "z20", "z21", "z22", "z23", "z24", "z25", "z26", \
                     "z27", "z28", "z29", "z30", "z31", "memory")
#define SMEPILOT_F32(base, group, z, last, x, i) \
  "fmla za.s[%w[" base "], " #group ", vgx4], { z" #z ".s - z" #last ".s }, z" #x ".s[" #i "]\n"
#define SMEPILOT_BF16(base, group, z, last, x, i) \
  "bfdot za.s[%w[" base "], " #group ", vgx4], { z" #z ".h - z" #last ".h }, z" #x ".h[" #i "]\n"
#define SMEPILOT_F16(base, group, z, last, x, i) \
  "fdot za.s[%w[" base "], " #group ", vgx4], { z" #z ".h - z" #last ".h }, z" #x ".h[" #i "]\n"
#define SMEPILOT_ROWS1(P)   \
  P("low", 0, 16, 19, 0, 0) \
  P("low", 1, 20, 23, 0, 1) \
  P("low", 2, 24, 27, 0, 2) \
  P("low", 3, 28, 31, 0, 3)
#define SMEPILOT_ROWS2(P)   \
  P("low", 0, 16, 19, 0, 0) \
  P("low", 4, 16, 19, 0, 1) \
  P("low", 1, 20, 23, 0, 2) \
  P("low", 5, 20, 23, 0, 3) \
  P("low", 2, 24, 27, 1, 0) P("low", 6, 24, 27, 1, 1) P("low", 3, 28, 31, 1, 2) P("low", 7, 28, 31, 1, 3)
#define SMEPILOT_ROWS3(P)    \
  P("low", 0, 16, 19, 0, 0)  \
  P("low", 4, 16, 19, 0, 1)  \
  P("high", 0, 16, 19, 0, 2) \
  P("low", 1, 20, 23, 0, 3)  \
  P("low", 5, 20, 23, 1, 0)  \
  P("high", 1, 20, 23, 1, 1) \
  P("low", 2, 24, 27, 1, 2)  \
  P("low", 6, 24, 27, 1, 3)  \
  P("high", 2, 24, 27, 2, 0) P("low", 3, 28, 31, 2, 1) P("low", 7, 28, 31, 2, 2) P("high", 3, 28, 31, 2, 3)
  if constexpr (D == DType::kF32 && R == 1) SMEPILOT_ASM(SMEPILOT_LOADS SMEPILOT_ROWS1(SMEPILOT_F32));
  if constexpr (D == DType::kF32 && R == 2) SMEPILOT_ASM(SMEPILOT_LOADS SMEPILOT_LOAD_X1 SMEPILOT_ROWS2(SMEPILOT_F32));
  if constexpr (D == DType::kF32 && R == 3)
    SMEPILOT_ASM(SMEPILOT_LOADS SMEPILOT_LOAD_X1 SMEPILOT_LOAD_X2 SMEPILOT_ROWS3(SMEPILOT_F32));
  if constexpr (D == DType::kBF16 && R == 1) SMEPILOT_ASM(SMEPILOT_LOADS SMEPILOT_ROWS1(SMEPILOT_BF16));
  if constexpr (D == DType::kBF16 && R == 2)
    SMEPILOT_ASM(SMEPILOT_LOADS SMEPILOT_LOAD_X1 SMEPILOT_ROWS2(SMEPILOT_BF16));
  if constexpr (D == DType::kBF16 && R == 3)
    SMEPILOT_ASM(SMEPILOT_LOADS SMEPILOT_LOAD_X1 SMEPILOT_LOAD_X2 SMEPILOT_ROWS3(SMEPILOT_BF16));
  if constexpr (D == DType::kF16 && R == 1) SMEPILOT_ASM(SMEPILOT_LOADS SMEPILOT_ROWS1(SMEPILOT_F16));
  if constexpr (D == DType::kF16 && R == 2) SMEPILOT_ASM(SMEPILOT_LOADS SMEPILOT_LOAD_X1 SMEPILOT_ROWS2(SMEPILOT_F16));
  if constexpr (D == DType::kF16 && R == 3)
    SMEPILOT_ASM(SMEPILOT_LOADS SMEPILOT_LOAD_X1 SMEPILOT_LOAD_X2 SMEPILOT_ROWS3(SMEPILOT_F16));
#undef SMEPILOT_F16
#undef SMEPILOT_LOADS
#undef SMEPILOT_LOAD_X1
#undef SMEPILOT_LOAD_X2
#undef SMEPILOT_ASM
#undef SMEPILOT_F32
#undef SMEPILOT_BF16
#undef SMEPILOT_ROWS1
#undef SMEPILOT_ROWS2
#undef SMEPILOT_ROWS3
}

// R rows, which are a panel, against four rhs panels, of which `columns` columns exist.
template <DType D, int R>
SMEPILOT_INLINE void few_rows(const MatmulArgs* args, const uint8_t* x, const Lane* b, float* dst,
                              uint32_t columns) noexcept SMEPILOT_STREAMING {
  const size_t steps = (size_t{args->k} + kStep<D> - 1) / kStep<D>;
  const auto* word = reinterpret_cast<const uint32_t*>(x);
  const uint8_t *b0 = b[0].at, *b1 = b[1].at, *b2 = b[2].at, *b3 = b[3].at;
  constexpr size_t kFour = 4 * kLineBytes;
  svzero_za();
  for (size_t i = steps / 4; i > 0; --i, word += 4 * R, b0 += kFour, b1 += kFour, b2 += kFour, b3 += kFour)
    multiply_lines<D, R>(word, b0, b1, b2, b3);
  if (const size_t at = steps / 4 * 4; at < steps) {
    const svcount_t words = svwhilelt_c32_u64(at * kPanel, steps * kPanel, 4);
    const uint64_t left = (steps - at) * R;
    const svuint32x4_t w0 = four_lines<0>(words, b0), w1 = four_lines<0>(words, b1);
    const svuint32x4_t w2 = four_lines<0>(words, b2), w3 = four_lines<0>(words, b3);
    const svuint32_t x0 = svld1rq_u32(svwhilelt_b32_u64(0, left), word);
    svuint32_t x1 = x0, x2 = x0;
    if constexpr (R > 1) x1 = svld1rq_u32(svwhilelt_b32_u64(4, left), word + 4);
    if constexpr (R > 2) x2 = svld1rq_u32(svwhilelt_b32_u64(8, left), word + 8);
    multiply_rows<D, R, 0>(w0, w1, w2, w3, x0, x1, x2);
    multiply_rows<D, R, 1>(w0, w1, w2, w3, x0, x1, x2);
    multiply_rows<D, R, 2>(w0, w1, w2, w3, x0, x1, x2);
    multiply_rows<D, R, 3>(w0, w1, w2, w3, x0, x1, x2);
  }
  const svbool_t all = svptrue_b32();
  for (uint32_t r = 0; r < R; ++r, dst += args->dst_stride) {
    const svfloat32x4_t s0 = svread_za32_f32_vg1x4(4 * r), s1 = svread_za32_f32_vg1x4(4 * r + 1);
    const svfloat32x4_t s2 = svread_za32_f32_vg1x4(4 * r + 2), s3 = svread_za32_f32_vg1x4(4 * r + 3);
#define SMEPILOT_STORE(j)                                                            \
  svst1_f32(svwhilelt_b32_u32((j) * kPanel, columns), dst + (j) * kPanel,            \
            svadd_f32_x(all, svadd_f32_x(all, svget4_f32(s0, j), svget4_f32(s1, j)), \
                        svadd_f32_x(all, svget4_f32(s2, j), svget4_f32(s3, j))))
    SMEPILOT_STORE(0);
    SMEPILOT_STORE(1);
    SMEPILOT_STORE(2);
    SMEPILOT_STORE(3);
#undef SMEPILOT_STORE
  }
}

#else

// Step I of those around the lines that x and y point to. All rows exist, and all k.
template <DType D, int M, int N, int I>
SMEPILOT_INLINE void one_step(const uint8_t* const* x, const uint8_t* const* y) noexcept SMEPILOT_STREAMING {
  constexpr int kA1 = M > 1 ? 1 : 0;
  constexpr int kB1 = N > 1 ? 1 : 0, kB2 = N > 2 ? 2 : 0, kB3 = N > 3 ? 3 : 0;
  const svbool_t all = svptrue_b32();
#define SMEPILOT_LINE(p) svld1_vnum_u32(all, reinterpret_cast<const uint32_t*>(p), I)
  mopas<D, M, N>(SMEPILOT_LINE(x[0]), SMEPILOT_LINE(x[kA1]), SMEPILOT_LINE(y[0]), SMEPILOT_LINE(y[kB1]),
                 SMEPILOT_LINE(y[kB2]), SMEPILOT_LINE(y[kB3]));
#undef SMEPILOT_LINE
}

template <DType D, int M, int N, int... I>
SMEPILOT_INLINE void all_steps(const uint8_t* const* x, const uint8_t* const* y) noexcept SMEPILOT_STREAMING {
  (one_step<D, M, N, I>(x, y), ...);
}

template <DType D, int M, int N, bool Whole>
SMEPILOT_INLINE void sum_lines(const Lane* a, const Lane* b, uint32_t k) noexcept SMEPILOT_STREAMING {
  constexpr size_t kLines = 16;  // what a load reaches from one pointer: 8 lines back and 7 on
  size_t at = 0;
  if constexpr (Whole) {
    const size_t steps = (size_t{k} + kStep<D> - 1) / kStep<D>;
    const uint8_t *x[M], *y[N];
    for (int i = 0; i < M; ++i) x[i] = a[i].at + 8 * kLineBytes;
    for (int j = 0; j < N; ++j) y[j] = b[j].at + 8 * kLineBytes;
    for (size_t i = steps / kLines; i > 0; --i) {
      for (const uint8_t*& p : x) __asm__("" : "+r"(p));  // lest the compiler keeps a pointer for every load
      for (const uint8_t*& p : y) __asm__("" : "+r"(p));
      all_steps<D, M, N, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7>(x, y);
      for (const uint8_t*& p : x) p += kLines * kLineBytes;
      for (const uint8_t*& p : y) p += kLines * kLineBytes;
    }
    at = steps / kLines * kLines;
  }
  sum_words<D, M, N>(a, b, at, k);
}

#endif

// --- tiles and their order ---

template <int N, int I>
SMEPILOT_INLINE void store_row(uint32_t r, float* dst, uint32_t vl, svbool_t c0, svbool_t c1, svbool_t c2,
                               svbool_t c3) noexcept SMEPILOT_STREAMING {
  svst1_hor_za32(I * N, r, c0, dst);
  if constexpr (N > 1) svst1_hor_za32(I * N + 1, r, c1, dst + vl);
  if constexpr (N > 2) svst1_hor_za32(I * N + 2, r, c2, dst + 2 * vl);
  if constexpr (N > 3) svst1_hor_za32(I * N + 3, r, c3, dst + 3 * vl);
}

// The rows of vector I, from dst on. left: columns that exist.
template <int N, int I>
SMEPILOT_INLINE void store(float* dst, size_t stride, uint32_t rows, uint32_t vl,
                           uint32_t left) noexcept SMEPILOT_STREAMING {
  const svbool_t lanes = svwhilelt_b32_u32(0, vl);
  const svbool_t c0 = svand_b_z(lanes, lanes, svwhilelt_b32_u32(0, left)),
                 c1 = svand_b_z(lanes, lanes, svwhilelt_b32_u32(vl, left)),
                 c2 = svand_b_z(lanes, lanes, svwhilelt_b32_u32(2 * vl, left)),
                 c3 = svand_b_z(lanes, lanes, svwhilelt_b32_u32(3 * vl, left));
  uint32_t r = 0;
  for (; r + 4 <= rows; r += 4, dst += 4 * stride) {
    __asm__("" : "+r"(r));  // not a constant: only four rows from a register on can be named
    store_row<N, I>(r, dst, vl, c0, c1, c2, c3);
    store_row<N, I>(r + 1, dst + stride, vl, c0, c1, c2, c3);
    store_row<N, I>(r + 2, dst + 2 * stride, vl, c0, c1, c2, c3);
    store_row<N, I>(r + 3, dst + 3 * stride, vl, c0, c1, c2, c3);
  }
  for (; r < rows; ++r, dst += stride) store_row<N, I>(r, dst, vl, c0, c1, c2, c3);
}

// Lines: a line of a whole panel is a vector. Whole: all rows exist.
template <DType D, int M, int N, bool Lines, bool Whole>
SMEPILOT_INLINE void tile(const MatmulArgs* args, const Lane* a, const Lane* b, float* dst, uint32_t vl,
                          uint32_t left) noexcept SMEPILOT_STREAMING {
  svzero_za();
  if constexpr (Lines)
    sum_lines<D, M, N, Whole>(a, b, args->k);
  else
    sum_words<D, M, N>(a, b, 0, args->k);
  const size_t stride = args->dst_stride;
  store<N, 0>(dst, stride, a[0].lanes, vl, left);
  if constexpr (M > 1) store<N, 1>(dst + vl * stride, stride, a[1].lanes, vl, left);
}

// One vector of rows and N of columns.
template <DType D, bool Lines, int N>
SMEPILOT_INLINE void row(const MatmulArgs* args, const Lane* a, const Lane* b, float* dst, uint32_t vl,
                         uint32_t left) noexcept SMEPILOT_STREAMING {
#if SMEPILOT_SME2
  if constexpr (Lines && N == 4) {
    switch (a->lanes) {
      case 1: return few_rows<D, 1>(args, a->at, b, dst, left);
      case 2: return few_rows<D, 2>(args, a->at, b, dst, left);
      case 3: return few_rows<D, 3>(args, a->at, b, dst, left);
      default: break;
    }
  }
#endif
  if (a->lanes == kPanel)
    tile<D, 1, N, Lines, true>(args, a, b, dst, vl, left);
  else
    tile<D, 1, N, Lines, false>(args, a, b, dst, vl, left);
}

template <DType D, bool Lines>
SMEPILOT_INLINE void tiles(const MatmulArgs* args, uint32_t vl) noexcept SMEPILOT_STREAMING {
  constexpr int kM = 2, kN = 2;
  const size_t row_bytes = (size_t{args->k} + kStep<D> - 1) / kStep<D> * 4;
  Lane a[kM], b[4];
  for (uint32_t c = 0; c < args->n; c += 4 * vl) {
    const uint32_t left = args->n - c, vectors = left > 3 * vl ? 4 : (left + vl - 1) / vl;
    for (uint32_t j = 0; j < vectors; ++j) {
      const uint32_t column = c + j * vl;
      b[j] = {
          static_cast<const uint8_t*>(args->rhs) + column / kPanel * args->rhs_stride + column % kPanel * sizeof(float),
          kLineBytes, vl};
    }
    for (uint32_t r = 0; r < args->m;) {
      float* const dst = args->dst + r * args->dst_stride + c;
      const bool whole = r + kM * vl <= args->m;
      for (uint32_t i = 0; i < (whole ? kM : 1); ++i) {
        const uint32_t at = r + i * vl, panel = at / kPanel * kPanel;
        const uint32_t height = args->m - panel < kPanel ? args->m - panel : kPanel, below = height - (at - panel);
        a[i] = {static_cast<const uint8_t*>(args->lhs) + panel * row_bytes + (at - panel) * size_t{4},
                height * size_t{4}, below < vl ? below : vl};
      }
      if (whole) {
        uint32_t j = 0;
        for (; j + kN <= vectors; j += kN)
          tile<D, kM, kN, Lines, true>(args, a, b + j, dst + j * vl, vl, left - j * vl);
        if (j < vectors) tile<D, kM, 1, Lines, true>(args, a, b + j, dst + j * vl, vl, left - j * vl);
        r += kM * vl;
        continue;
      }
      switch (vectors) {
        case 1: row<D, Lines, 1>(args, a, b, dst, vl, left); break;
        case 2: row<D, Lines, 2>(args, a, b, dst, vl, left); break;
        case 3: row<D, Lines, 3>(args, a, b, dst, vl, left); break;
        default: row<D, Lines, 4>(args, a, b, dst, vl, left); break;
      }
      r += vl;
    }
  }
}

template <DType D>
void streaming_matmul(const MatmulArgs* args, const void*) noexcept SMEPILOT_STREAMING {
  const uint32_t lanes = static_cast<uint32_t>(svcntw());
  if (lanes == kPanel)
    tiles<D, true>(args, kPanel);
  else
    tiles<D, false>(args, lanes < kPanel ? lanes : kPanel);
}

template <DType D>
void matmul(const MatmulArgs* args) noexcept {
  call_streaming<MatmulArgs, void>(streaming_matmul<D>, args, nullptr);
}

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  KernelVariant v = matmul_variant(id, kIsaNeon | kIsaSme | (SMEPILOT_SME2 ? kIsaSme2 : 0u), D, D, kMr, matmul<D>,
                                   ExecutionUnit::kMatrix);
  v.lhs_layout = D == DType::kF32   ? Layout::kLhsF32Panel16
                 : D == DType::kF16 ? Layout::kLhsF16Panel16
                                    : Layout::kLhsBf16Panel16;
  return v;
}

}  // namespace
}  // namespace smepilot
