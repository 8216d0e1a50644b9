// Physical layouts of tensors, with the arithmetic of their sizes. A kernel variant declares which it consumes and
// produces; packers in kernels/pack write them; nobody else may know their inside.
//
// One idea runs through all of them: output columns lie 16 to a panel, and four consecutive k of one column lie side
// by side (k4). A panel row is then 64 bytes: one AVX-512 register, two AVX2 registers, four NEON registers, one row
// of an AMX B tile, one SME vector at SVL 512. So one packed copy of the weights serves every unit of a machine.
//
// Five details are what the architecture likes best, constants below: on AArch64 nibbles lie adjacent (LUTI4 expands a
// vector of bytes to two vectors of consecutive elements), q8_0 is signed (SDOT, SMMLA and SMOPA multiply signed
// bytes), two k of f16 lie side by side (FMOPA and FDOT add up pairs), the quantised left operand has four k of all
// rows side by side, and the scales of a panel follow all its quants. On x86 nibbles of the two halves of a block share
// a byte (a shift separates them), q8_0 is unsigned (VPDPBUSD, TDPBSUD), f16 lies k by k (VCVTPH2PS widens consecutive
// elements), and the scales of a few blocks lie before their quants: see RhsPlanes.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "kernels/abi/dtype.h"

namespace smepilot {

enum class Layout : uint8_t {
  kRowMajor,        // [rows][cols], a row stride given separately
  kLhsQ8Panel16,    // quantised activations, k by k: for x86 (broadcasts of four k, AMX tiles)
  kLhsQ8Panel16K4,  // the same with four k of all rows side by side: for Arm (dot products by element, outer products)
  kLhsF32Panel16,   // f32 activations, k by k of all rows: for outer products
  kLhsF16Panel16,   // f16 activations, two k of all rows side by side
  kLhsBf16Panel16,  // bf16 activations, likewise
  kRhsPanel16,      // packed weights, see RhsPanel
  kKvKeyPanel16,    // K cache, see kv_panel_bytes()
  kKvValuePanel16,  // V cache, likewise
  kCount
};
inline constexpr const char* kLayoutNames[] = {"row",       "q8p16", "q8p16k4", "f32p16", "f16p16k2",
                                               "bf16p16k2", "n16k4", "k16",     "v16"};

#if defined(__aarch64__)
inline constexpr bool kAdjacentNibbles = true;
inline constexpr bool kF16Pairs = true;                          // of f16 weights; keys lie k by k everywhere
inline constexpr int kQ8Zero = 0;                                // what q8_0 weights and keys are stored with added
inline constexpr Layout kLhsQ8Layout = Layout::kLhsQ8Panel16K4;  // what all quantised matmul variants read
inline constexpr bool kRhsGroups = false;                        // of blocks, in a panel of quantised weights
#else
inline constexpr bool kAdjacentNibbles = false;
inline constexpr bool kF16Pairs = false;
inline constexpr int kQ8Zero = 128;
inline constexpr Layout kLhsQ8Layout = Layout::kLhsQ8Panel16;
inline constexpr bool kRhsGroups = true;
#endif

inline constexpr size_t kLine = 64;  // bytes of a cache line, of which panels are whole ones
static constexpr size_t to_lines(size_t bytes) noexcept {
  return (bytes + kLine - 1) / kLine * kLine;
}
inline constexpr uint32_t kPanel = 16;          // rows of an lhs panel, columns of an rhs panel, positions of a K panel
inline constexpr uint32_t kQ8Block = 32;        // k elements of one block of quantised activations
inline constexpr uint32_t kQ8SuperBlock = 256;  // k elements that share a scale where every consumer is a K-quant

// How many activations share a scale if weights of this type are to read them. Where consumers differ, the smallest
// serves them all.
static constexpr uint32_t lhs_q8_group(DType weights) noexcept {
  return traits(weights).block_elems == kQ8SuperBlock ? kQ8SuperBlock : kQ8Block;
}

// Quantised activations. The M rows are cut into panels of 16 (the last one holds the R = M % 16 rows that remain).
// A panel is K/32 blocks, each R * 56 bytes, made of planes:
//   int8  q[R][32]       round(x * 127 / max|x|), ties to even
//   f32   d[R]           scale, max|x| / 127
//   f32   ds[R]          d * sum(q)
//   int32 n8[R]          -8 * sum(q)      corrects unsigned 4-bit weights (Q4_0)
//   int32 n128[R]        -128 * sum(q)    corrects unsigned 8-bit weights (Q8_0 where kQ8Zero is 128)
//   int32 n32a[R]        -32 * sum(q[0..15])
//   int32 n32b[R]        -32 * sum(q[16..31])  corrects unsigned 6-bit weights (Q6_K)
// Blocks have scales of their own, rounded to f16 unless that overflows, as GGUF's Q8_0 has them; or, for K-quant
// weights, eight blocks share an f32 scale, as in Q8_K. So results can be compared with llama.cpp's, value by value.
// The sums start the integer accumulators, so that u8 x s8 dot products need no correction afterwards.
// Rows m0.. of panel p begin at byte lhs_q8_offset(m0, k); a panel of R rows is R * K/32 * 56 bytes.
inline constexpr uint32_t kLhsQ8BlockBytes = 56;  // per row
static constexpr size_t lhs_q8_bytes(size_t m, size_t k) noexcept {
  return m * (k / kQ8Block) * kLhsQ8BlockBytes;
}

// kLhsQ8Panel16K4: the same planes, but the quants of a block are int8 q[8][R][4], k = 4i+j of row r at [i][r][j]. A
// reader may load 16 bytes at any [i][r]: the planes follow.
//
// kLhsF32Panel16, kLhsF16Panel16, kLhsBf16Panel16: panels of 16 rows (the last one of the R that remain),
//   f32  x[K][R]
//   f16  x[K/2][R][2], bf16 likewise: k = 2i+j of row r at [i][r][j], K rounded up to even with a zero; rounded to
//        nearest even from f32, f16 saturated at its largest finite value
static constexpr size_t lhs_bytes(Layout layout, size_t m, size_t k) noexcept {  // kRowMajor: of dense f32 rows
  switch (layout) {
    case Layout::kLhsQ8Panel16:
    case Layout::kLhsQ8Panel16K4: return lhs_q8_bytes(m, k);
    case Layout::kLhsF16Panel16:
    case Layout::kLhsBf16Panel16: return m * ((k + 1) / 2) * 4;
    default: return m * k * 4;
  }
}
// Element e (of 32) of row r in the quants of a block of R rows of such a layout.
static constexpr size_t lhs_q8_place(Layout layout, size_t rows, size_t r, size_t e) noexcept {
  return layout == Layout::kLhsQ8Panel16K4 ? (e / 4 * rows + r) * 4 + e % 4 : r * kQ8Block + e;
}
static constexpr bool is_q8(Layout layout) noexcept {
  return layout == Layout::kLhsQ8Panel16 || layout == Layout::kLhsQ8Panel16K4;
}

// Packed weights [N][K] (row n = output column n). ceil(N/16) panels, each padded to a multiple of 64 bytes; columns
// beyond N hold zero weights. A panel is planes (KB = K/32, KS = K/256), see RhsPlanes for where they lie:
//   f32          f32  w[K][16]
//   f16          f16  w[K][16], or where kF16Pairs is true f16 w[K/2][16][2]
//   bf16         bf16 w[K/2][16][2]
//   q8_0         u8   q[KB][8][16][4] (value + kQ8Zero)                   f16 d[KB][16]
//   q4_0         u8   q[KB][4][16][4] (nibbles)                           f16 d[KB][16]
//   q4_1         u8   q[KB][4][16][4] (nibbles)                           f16 d[KB][16]  f16 m[KB][16]
//   q5_0         u8   q[KB][4][16][4] (nibbles)   u8 h[KB][16][4] (5th bits)   f16 d[KB][16]
//   q5_1         u8   q[KB][4][16][4] (nibbles)   u8 h[KB][16][4] (5th bits)   f16 d[KB][16]  f16 m[KB][16]
//   iq4_nl       u8   q[KB][4][16][4] (nibbles, indices of kIq4NlValues)  f16 d[KB][16]
//   q2_k         u8   q[KB][2][16][4] (2 bits)
//                u8   sc[KB][2][16] (scale | minimum << 4)  f16 d[KS][16]  f16 dmin[KS][16]
//   q3_k         u8   q[KB][2][16][4] (low 2 bits)  u8 h[KB][16][4] (3rd bits)
//                u8   sc[KB][16]  u8 sch[KB/2][16] (the bits of the scales, see below)  f16 d[KS][16]
//   q4_k         u8   q[KB][4][16][4] (nibbles)  u8 sc[KB][16] u8 mn[KB][16]  f16 d[KS][16]  f16 dmin[KS][16]
//   q5_k         u8   q[KB][4][16][4] (nibbles)  u8 h[KB][16][4] (5th bits)
//                u8   sc[KB][16] u8 mn[KB][16]  f16 d[KS][16]  f16 dmin[KS][16]
//   q6_k         u8   q[KB][4][16][4] (low 4 bits)  u8 h[KB][2][16][4] (high 2 bits)  i8 sc[KB][2][16]  f16 d[KS][16]
// Nibbles, kAdjacentNibbles false: byte [i][c][j] holds k = 4i+j in its low half and k = 16+4i+j in its high half (of
// the block's 32). True: the 64 bytes [i] are the 128 nibbles [2][16][4], k = 16h+4i+j of column c at [h][c][j], of
// which byte e holds number 2e in its low half and number 2e+1 in its high half. See nibble_place().
// The planes of pairs of bits and of single bits are the same everywhere: a shift and a mask of one row of them give
// those of four columns and four k in the order of the expanded nibbles.
// Pairs of bits: byte [s][c][j] holds, at bits 2i..2i+1, those of k = 16s+4i+j.
// Single bits: byte [c][j] holds, at bit i, that of k = 4i+j.
// Scales of q3_k, one for each half of a block, six bits, 32 is zero. sc: low four bits of first | second << 4. sch:
// high two bits of first | second << 2, of the even block in the low nibble and of the odd block in the high nibble.
struct NibblePlace {
  size_t byte;  // within the block's 256
  int shift;    // 0 or 4
};
static constexpr NibblePlace nibble_place(size_t col, size_t e) noexcept {  // of element e of a block of 32
  const size_t i = e % 16 / 4, j = e % 4;
  if (kAdjacentNibbles) return {i * 64 + e / 16 * 32 + col * 2 + j / 2, static_cast<int>(j % 2 * 4)};
  return {i * 64 + col * 4 + j, e < 16 ? 0 : 4};
}

// Bytes of a block of 32 k of 16 columns in the planes of quantised weights: quants, high bits, scales (and the same of
// minima, where there is one); and how many planes of one f16 per 256 k there are.
struct RhsBlockBytes {
  uint32_t quants, high, scale;
  bool min, scale_high;
  uint32_t supers;
};
static constexpr RhsBlockBytes rhs_block_bytes(DType t) noexcept {
  switch (t) {
    case DType::kQ8_0: return {512, 0, 32, false, false, 0};
    case DType::kQ4_0:
    case DType::kIQ4_NL: return {256, 0, 32, false, false, 0};
    case DType::kQ4_1: return {256, 0, 32, true, false, 0};
    case DType::kQ5_0: return {256, 64, 32, false, false, 0};
    case DType::kQ5_1: return {256, 64, 32, true, false, 0};
    case DType::kQ2_K: return {128, 0, 32, false, false, 2};
    case DType::kQ3_K: return {128, 64, 16, false, true, 1};
    case DType::kQ4_K: return {256, 0, 16, true, false, 2};
    case DType::kQ5_K: return {256, 64, 16, true, false, 2};
    case DType::kQ6_K: return {256, 128, 32, false, false, 1};
    default: return {0, 0, 0, false, false, 0};
  }
}

// Where the planes of a panel lie. The blocks of 32 k are cut into groups, and each group holds its part of all planes:
// first those of scales, then block by block the high bits and the quants. So one reads a panel, and all panels one
// after the other, from front to back: where memory is read in a single line, the hardware runs far ahead, and every
// jump costs it some 500 ns (measured on Zen 4: of a matmul of one row, a core reads q4_0 at 34 GB/s instead of 26, as
// fast as it reads anything, and with the AVX2 kernel at 31 instead of 15). A group is as few blocks as have scales of
// whole cache lines; the last one may have fewer blocks, but has room for all scales. Where kRhsGroups is false, all of
// K is one group, whose scales follow all quants and high bits.
struct RhsPlanes {
  size_t group_blocks;  // of a group, a multiple of 8 for K-quants
  size_t group_bytes;   // between groups
  // Byte offsets of the planes within a group; 0 where absent (and what comes first). scale_high: sch of q3_k.
  size_t quants, high, scale, scale_high, min, super, super_min;
  size_t quants_step, high_step;  // bytes from block to block
  size_t scale_step;              // the same of scale and min
  size_t used_bytes;              // of a panel, before its padding
  size_t panel_bytes;             // stride between panels

  // Byte offsets of what belongs to block kb within a panel.
  constexpr size_t quants_at(size_t kb) const noexcept { return group_at(kb) + quants + in_group(kb) * quants_step; }
  constexpr size_t high_at(size_t kb) const noexcept { return group_at(kb) + high + in_group(kb) * high_step; }
  constexpr size_t scale_at(size_t kb) const noexcept { return group_at(kb) + scale + in_group(kb) * scale_step; }
  constexpr size_t min_at(size_t kb) const noexcept { return group_at(kb) + min + in_group(kb) * scale_step; }
  constexpr size_t scale_high_at(size_t kb) const noexcept { return group_at(kb) + scale_high + in_group(kb) / 2 * 16; }
  constexpr size_t super_at(size_t kb) const noexcept { return group_at(kb) + super + in_group(kb) / 8 * 32; }
  constexpr size_t super_min_at(size_t kb) const noexcept { return group_at(kb) + super_min + in_group(kb) / 8 * 32; }

  constexpr size_t group_at(size_t kb) const noexcept { return kRhsGroups ? kb / group_blocks * group_bytes : 0; }
  constexpr size_t in_group(size_t kb) const noexcept { return kRhsGroups ? kb % group_blocks : kb; }
};

static constexpr RhsPlanes rhs_planes(DType t, size_t k) noexcept {
  RhsPlanes p = {};
  size_t at = 0;
  const RhsBlockBytes block = rhs_block_bytes(t);
  if (block.quants == 0) {
    p.group_blocks = 1;
    at = t == DType::kF32 ? k * 64 : t == DType::kF16 && !kF16Pairs ? k * 32 : (k + 1) / 2 * 64;
  } else {
    const auto plane = [&at](size_t bytes) {
      const size_t begin = at;
      at += bytes;
      return begin;
    };
    const size_t blocks = k / kQ8Block;
    if (kRhsGroups) {
      const size_t least = block.supers != 0 ? kQ8SuperBlock / kQ8Block : 1;
      do {
        p.group_blocks += least;
        const size_t n = p.group_blocks;
        at = 0;
        if (block.supers > 0) p.super = plane(n / 8 * 32);
        if (block.supers > 1) p.super_min = plane(n / 8 * 32);
        p.scale = plane(n * block.scale);
        if (block.scale_high) p.scale_high = plane(n / 2 * 16);
        if (block.min) p.min = plane(n * block.scale);
      } while (at % kLine != 0);
      p.high = block.high != 0 ? at : 0;
      p.quants = at + block.high;
      p.quants_step = p.high_step = block.quants + block.high;
      p.group_bytes = at + p.group_blocks * p.quants_step;
      const size_t scales = at, rest = blocks % p.group_blocks;
      at = blocks / p.group_blocks * p.group_bytes + (rest > 0 ? scales + rest * p.quants_step : 0);
    } else {
      p.quants = plane(blocks * block.quants);
      if (block.high != 0) p.high = plane(blocks * block.high);
      p.scale = plane(blocks * block.scale);
      if (block.scale_high) p.scale_high = plane(blocks / 2 * 16);
      if (block.min) p.min = plane(blocks * block.scale);
      if (block.supers > 0) p.super = plane(blocks / 8 * 32);
      if (block.supers > 1) p.super_min = plane(blocks / 8 * 32);
      p.quants_step = block.quants;
      p.high_step = block.high;
      p.group_blocks = blocks > 0 ? blocks : 1;
      p.group_bytes = at;
    }
    p.scale_step = block.scale;
  }
  p.used_bytes = at;
  p.panel_bytes = to_lines(at);
  return p;
}

static constexpr size_t rhs_bytes(DType t, size_t n, size_t k) noexcept {
  return (n + kPanel - 1) / kPanel * rhs_planes(t, k).panel_bytes;
}

// K and V caches of one KV head: panels of 16 positions. A panel of K has the quants of packed weights whose columns
// are the positions, all of them before the scales; a panel of V holds its positions row by row.
//   K f16    f16 w[head_dim][16]
//   K q8_0   u8  q[head_dim/32][8][16][4] (value + kQ8Zero)   f16 d[head_dim/32][16]
//   V f16    f16 v[16][head_dim]
//   V q8_0   i8  q[16][head_dim]                              f16 d[16][head_dim/32]
// q8_0 (head_dim a multiple of 32): blocks of 32 elements of one position, value = q * d, as in a GGUF file.
static constexpr size_t kv_panel_bytes(DType t, size_t head_dim) noexcept {
  return t == DType::kQ8_0 ? to_lines(kPanel * head_dim + kPanel * (head_dim / kQ8Block) * 2) : kPanel * head_dim * 2;
}
static constexpr size_t kv_scale_offset(size_t head_dim) noexcept {  // of the plane d in a panel of q8_0
  return kPanel * head_dim;
}
static constexpr size_t kv_bytes(DType t, size_t positions, size_t head_dim) noexcept {
  return (positions + kPanel - 1) / kPanel * kv_panel_bytes(t, head_dim);
}

}  // namespace smepilot
