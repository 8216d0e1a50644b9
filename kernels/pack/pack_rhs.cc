#include "kernels/pack/pack_rhs.h"

#include <algorithm>
#include <cstring>

#include "kernels/base/check.h"

// Sixteen rows are read side by side, a block of each in turn, and one stretch of each plane is written: 16 sequential
// read streams and at most 6 sequential write streams. All that moves within a block is 32-bit words (a k4 group of one
// column), so packing is a transposition of words and a few masks.
namespace smepilot {
namespace {

using Planes = RhsPlanes;

// A row of the panel. A column beyond n reads the same zero bytes again and again.
struct Source {
  const uint8_t* at;
  size_t step;  // 1, or 0 for the zero bytes
};

constexpr size_t kChunkBytes = 64;               // of f32, f16 and bf16 rows: one cache line a turn
alignas(64) constexpr uint8_t kZeros[256] = {};  // longer than a block of any type
static_assert(traits(DType::kQ6_K).block_bytes <= sizeof kZeros && kChunkBytes <= sizeof kZeros);

inline uint32_t load32(const uint8_t* p) noexcept {
  uint32_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline uint16_t load16(const uint8_t* p) noexcept {
  uint16_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store32(uint8_t* p, uint32_t v) noexcept {
  std::memcpy(p, &v, sizeof v);
}
inline void store16(uint8_t* p, uint16_t v) noexcept {
  std::memcpy(p, &v, sizeof v);
}

// Nibbles in the low halves of four bytes to two bytes.
[[maybe_unused]] inline uint16_t squeeze(uint32_t nibbles) noexcept {
  const uint32_t pairs = (nibbles | nibbles >> 4) & 0x00ff00ffu;
  return static_cast<uint16_t>(pairs | pairs >> 8);
}

// k = 4i .. 4i+3 and 16+4i .. 16+4i+3 of a 32-block, in the low and in the high halves of the bytes of a word.
inline void store_nibbles(uint8_t* dst, size_t i, size_t col, uint32_t word) noexcept {
  if constexpr (kAdjacentNibbles) {
    store16(dst + i * 64 + col * 2, squeeze(word & 0x0f0f0f0fu));
    store16(dst + i * 64 + 32 + col * 2, squeeze(word >> 4 & 0x0f0f0f0fu));
  } else {
    store32(dst + i * 64 + col * 4, word);
  }
}

// Those of a 32-block whose bytes hold elements i and 16+i.
inline void nibble_words(const uint8_t* q, uint8_t* dst, size_t col) noexcept {
  for (size_t i = 0; i < 4; ++i) store_nibbles(dst, i, col, load32(q + 4 * i));
}

struct PackQ8_0 {
  static constexpr DType kType = DType::kQ8_0;
  static void block(const uint8_t* b, uint8_t* panel, const Planes& p, size_t at, size_t col) noexcept {
    constexpr uint32_t kFlip = kQ8Zero == 128 ? 0x80808080u : 0;
    uint8_t* q = panel + p.quants_at(at);
    for (size_t i = 0; i < 8; ++i) store32(q + i * 64 + col * 4, load32(b + 2 + 4 * i) ^ kFlip);
    store16(panel + p.scale_at(at) + col * 2, load16(b));
  }
};

struct PackQ4_0 {
  static constexpr DType kType = DType::kQ4_0;
  static void block(const uint8_t* b, uint8_t* panel, const Planes& p, size_t at, size_t col) noexcept {
    nibble_words(b + 2, panel + p.quants_at(at), col);
    store16(panel + p.scale_at(at) + col * 2, load16(b));
  }
};

struct PackQ4_1 {
  static constexpr DType kType = DType::kQ4_1;
  static void block(const uint8_t* b, uint8_t* panel, const Planes& p, size_t at, size_t col) noexcept {
    nibble_words(b + 4, panel + p.quants_at(at), col);
    store16(panel + p.scale_at(at) + col * 2, load16(b));
    store16(panel + p.min_at(at) + col * 2, load16(b + 2));
  }
};

// Bit i of `bits` to bit i/4 of byte i%4: single bits as the panel wants them.
inline uint32_t spread_bits(uint32_t bits) noexcept {
  uint32_t word = 0;
  for (unsigned i = 0; i < 8; ++i) {
    // A multiplication copies the four bits to distances of 7, so that each is once the lowest of its byte.
    word |= ((bits >> (4 * i) & 15u) * 0x00204081u & 0x01010101u) << i;
  }
  return word;
}

// The same of bit `which` of 32 bytes: K-quants keep those of eight blocks in the same bytes.
inline uint32_t gather_bits(const uint8_t* bytes, size_t which) noexcept {
  uint32_t word = 0;
  for (unsigned i = 0; i < 8; ++i) word |= (load32(bytes + 4 * i) >> which & 0x01010101u) << i;
  return word;
}

// Pair of bits number `which` of 32 bytes to [2][16][4].
inline void pair_words(const uint8_t* bytes, size_t which, uint8_t* dst, size_t col) noexcept {
  for (size_t s = 0; s < 2; ++s) {
    uint32_t word = 0;
    for (unsigned i = 0; i < 4; ++i) word |= (load32(bytes + 16 * s + 4 * i) >> (2 * which) & 0x03030303u) << (2 * i);
    store32(dst + s * 64 + col * 4, word);
  }
}

struct PackQ5_0 {
  static constexpr DType kType = DType::kQ5_0;
  static void block(const uint8_t* b, uint8_t* panel, const Planes& p, size_t at, size_t col) noexcept {
    nibble_words(b + 6, panel + p.quants_at(at), col);
    store32(panel + p.high_at(at) + col * 4, spread_bits(load32(b + 2)));
    store16(panel + p.scale_at(at) + col * 2, load16(b));
  }
};

struct PackQ5_1 {
  static constexpr DType kType = DType::kQ5_1;
  static void block(const uint8_t* b, uint8_t* panel, const Planes& p, size_t at, size_t col) noexcept {
    nibble_words(b + 8, panel + p.quants_at(at), col);
    store32(panel + p.high_at(at) + col * 4, spread_bits(load32(b + 4)));
    store16(panel + p.scale_at(at) + col * 2, load16(b));
    store16(panel + p.min_at(at) + col * 2, load16(b + 2));
  }
};

struct PackIq4Nl {
  static constexpr DType kType = DType::kIQ4_NL;
  static void block(const uint8_t* b, uint8_t* panel, const Planes& p, size_t at, size_t col) noexcept {
    PackQ4_0::block(b, panel, p, at, col);
  }
};

struct PackQ2_K {
  static constexpr DType kType = DType::kQ2_K;
  static void block(const uint8_t* b, uint8_t* panel, const Planes& p, size_t at, size_t col) noexcept {
    for (size_t i = 0; i < 8; ++i) pair_words(b + 16 + i / 4 * 32, i % 4, panel + p.quants_at(at * 8 + i), col);
    for (size_t i = 0; i < 16; ++i) panel[p.scale_at(at * 8) + i * 16 + col] = b[i];
    store16(panel + p.super_at(at * 8) + col * 2, load16(b + 80));
    store16(panel + p.super_min_at(at * 8) + col * 2, load16(b + 82));
  }
};

struct PackQ3_K {
  static constexpr DType kType = DType::kQ3_K;
  static void block(const uint8_t* b, uint8_t* panel, const Planes& p, size_t at, size_t col) noexcept {
    const uint8_t* s = b + 96;
    for (size_t i = 0; i < 8; ++i) {
      pair_words(b + 32 + i / 4 * 32, i % 4, panel + p.quants_at(at * 8 + i), col);
      store32(panel + p.high_at(at * 8 + i) + col * 4, gather_bits(b, i));
      // Scales 2i and 2i+1: low four bits from the same half of two bytes, high two bits from the same pair.
      const int first = s[2 * i % 8] >> (i / 4 * 4) & 15, second = s[2 * i % 8 + 1] >> (i / 4 * 4) & 15;
      panel[p.scale_at(at * 8 + i) + col] = static_cast<uint8_t>(first | second << 4);
    }
    const auto high = [s](size_t i) { return s[8 + i % 4] >> (i / 4 * 2) & 3; };
    for (size_t i = 0; i < 4; ++i)
      panel[p.scale_high_at(at * 8 + 2 * i) + col] =
          static_cast<uint8_t>(high(4 * i) | high(4 * i + 1) << 2 | high(4 * i + 2) << 4 | high(4 * i + 3) << 6);
    store16(panel + p.super_at(at * 8) + col * 2, load16(b + 108));
  }
};

// What q4_k and q5_k have in common: all but the fifth bits.
inline void pack_q4_k(const uint8_t* b, const uint8_t* quants, uint8_t* panel, const Planes& p, size_t at,
                      size_t col) noexcept {
  constexpr uint32_t kLow = 0x0f0f0f0fu, kHigh = 0xf0f0f0f0u;
  for (size_t pair = 0; pair < 4; ++pair) {  // two blocks of 32 share 32 bytes: one low halves, one high halves
    uint8_t* q[2] = {panel + p.quants_at(at * 8 + pair * 2), panel + p.quants_at(at * 8 + pair * 2 + 1)};
    for (size_t i = 0; i < 4; ++i) {
      const uint32_t first = load32(quants + pair * 32 + 4 * i), second = load32(quants + pair * 32 + 16 + 4 * i);
      store_nibbles(q[0], i, col, (first & kLow) | (second & kLow) << 4);
      store_nibbles(q[1], i, col, (first >> 4 & kLow) | (second & kHigh));
    }
  }
  const uint8_t* s = b + 4;
  uint8_t* scale = panel + p.scale_at(at * 8) + col;
  uint8_t* min = panel + p.min_at(at * 8) + col;
  for (size_t i = 0; i < 4; ++i) {
    scale[i * 16] = s[i] & 63;
    min[i * 16] = s[i + 4] & 63;
    scale[(i + 4) * 16] = static_cast<uint8_t>((s[i + 8] & 15) | s[i] >> 6 << 4);
    min[(i + 4) * 16] = static_cast<uint8_t>(s[i + 8] >> 4 | s[i + 4] >> 6 << 4);
  }
  store16(panel + p.super_at(at * 8) + col * 2, load16(b));
  store16(panel + p.super_min_at(at * 8) + col * 2, load16(b + 2));
}

struct PackQ4_K {
  static constexpr DType kType = DType::kQ4_K;
  static void block(const uint8_t* b, uint8_t* panel, const Planes& p, size_t at, size_t col) noexcept {
    pack_q4_k(b, b + 16, panel, p, at, col);
  }
};

struct PackQ5_K {
  static constexpr DType kType = DType::kQ5_K;
  static void block(const uint8_t* b, uint8_t* panel, const Planes& p, size_t at, size_t col) noexcept {
    pack_q4_k(b, b + 48, panel, p, at, col);
    for (size_t i = 0; i < 8; ++i) store32(panel + p.high_at(at * 8 + i) + col * 4, gather_bits(b + 16, i));
  }
};

struct PackQ6_K {
  static constexpr DType kType = DType::kQ6_K;
  static void block(const uint8_t* b, uint8_t* panel, const Planes& p, size_t at, size_t col) noexcept {
    for (size_t half = 0; half < 2; ++half) {
      const uint8_t* low = b + half * 64;
      const uint8_t* high = b + 128 + half * 32;
      for (size_t run = 0; run < 4; ++run) {  // the half's blocks of 32
        const size_t block32 = at * 8 + half * 4 + run;
        const uint8_t* run_low = low + run % 2 * 32;
        const unsigned nibble = run < 2 ? 0 : 4;
        uint8_t* q = panel + p.quants_at(block32);
        for (size_t i = 0; i < 4; ++i) {
          const uint32_t first = load32(run_low + 4 * i) >> nibble & 0x0f0f0f0fu;
          const uint32_t second = load32(run_low + 16 + 4 * i) >> nibble & 0x0f0f0f0fu;
          store_nibbles(q, i, col, first | second << 4);
        }
        pair_words(high, run, panel + p.high_at(block32), col);
        uint8_t* scale = panel + p.scale_at(block32) + col;
        scale[0] = b[192 + half * 8 + run * 2];
        scale[16] = b[192 + half * 8 + run * 2 + 1];
      }
    }
    store16(panel + p.super_at(at * 8) + col * 2, load16(b + 208));
  }
};

template <typename Pack>
void pack_blocks(const Source (&rows)[kPanel], size_t k, uint8_t* panel) noexcept {
  constexpr DTypeTraits kTraits = traits(Pack::kType);
  const Planes planes = rhs_planes(Pack::kType, k);
  const size_t blocks = k / kTraits.block_elems;
  // The last group may have room for the scales of more blocks than there are.
  if (const size_t all = k / kQ8Block; kRhsGroups && all % planes.group_blocks != 0)
    std::memset(panel + planes.group_at(all), 0, planes.quants - rhs_block_bytes(Pack::kType).high);
  for (size_t at = 0; at < blocks; ++at)
    for (size_t col = 0; col < kPanel; ++col)
      Pack::block(rows[col].at + at * kTraits.block_bytes * rows[col].step, panel, planes, at, col);
}

// Words[k][16] of rows of words: f32, f16, or pairs of a 16-bit type.
template <typename Word>
void pack_words(const Source (&rows)[kPanel], size_t words, uint8_t* panel) noexcept {
  constexpr size_t kChunk = kChunkBytes / sizeof(Word);
  size_t at = 0;
  for (; at + kChunk <= words; at += kChunk) {
    uint8_t* dst = panel + at * kPanel * sizeof(Word);
    for (size_t col = 0; col < kPanel; ++col) {
      Word chunk[kChunk];
      std::memcpy(chunk, rows[col].at + at * sizeof(Word) * rows[col].step, sizeof chunk);
      for (size_t i = 0; i < kChunk; ++i) std::memcpy(dst + (i * kPanel + col) * sizeof(Word), &chunk[i], sizeof(Word));
    }
  }
  for (; at < words; ++at)
    for (size_t col = 0; col < kPanel; ++col)
      std::memcpy(panel + (at * kPanel + col) * sizeof(Word), rows[col].at + at * sizeof(Word) * rows[col].step,
                  sizeof(Word));
}

// Of 16-bit types: two k of a row to a word.
void pack_pairs(const Source (&rows)[kPanel], size_t k, uint8_t* panel) noexcept {
  pack_words<uint32_t>(rows, k / 2, panel);
  if (k % 2 == 0) return;
  for (size_t col = 0; col < kPanel; ++col)  // the last pair has one element and a zero
    store32(panel + k / 2 * 64 + col * 4, load16(rows[col].at + (k - 1) * 2 * rows[col].step));
}

}  // namespace

void pack_rhs(DType type, const void* file_rows, size_t row_stride_bytes, size_t n, size_t k, size_t panel_begin,
              size_t panel_end, std::byte* dst) noexcept {
  SMEPILOT_DCHECK(k % traits(type).block_elems == 0);
  SMEPILOT_DCHECK(panel_end <= (n + kPanel - 1) / kPanel);
  const auto* file = static_cast<const uint8_t*>(file_rows);
  const RhsPlanes planes = rhs_planes(type, k);
  for (size_t p = panel_begin; p < panel_end; ++p) {
    Source rows[kPanel];
    for (size_t col = 0; col < kPanel; ++col) {
      const size_t row = p * kPanel + col;
      rows[col] = row < n ? Source{file + row * row_stride_bytes, 1} : Source{kZeros, 0};
    }
    auto* panel = reinterpret_cast<uint8_t*>(dst) + p * planes.panel_bytes;
    switch (type) {
      case DType::kF32: pack_words<uint32_t>(rows, k, panel); break;
      case DType::kF16:
        if constexpr (kF16Pairs)
          pack_pairs(rows, k, panel);
        else
          pack_words<uint16_t>(rows, k, panel);
        break;
      case DType::kBF16: pack_pairs(rows, k, panel); break;
      case DType::kQ8_0: pack_blocks<PackQ8_0>(rows, k, panel); break;
      case DType::kQ4_0: pack_blocks<PackQ4_0>(rows, k, panel); break;
      case DType::kQ4_1: pack_blocks<PackQ4_1>(rows, k, panel); break;
      case DType::kQ5_0: pack_blocks<PackQ5_0>(rows, k, panel); break;
      case DType::kQ5_1: pack_blocks<PackQ5_1>(rows, k, panel); break;
      case DType::kIQ4_NL: pack_blocks<PackIq4Nl>(rows, k, panel); break;
      case DType::kQ2_K: pack_blocks<PackQ2_K>(rows, k, panel); break;
      case DType::kQ3_K: pack_blocks<PackQ3_K>(rows, k, panel); break;
      case DType::kQ4_K: pack_blocks<PackQ4_K>(rows, k, panel); break;
      case DType::kQ5_K: pack_blocks<PackQ5_K>(rows, k, panel); break;
      case DType::kQ6_K: pack_blocks<PackQ6_K>(rows, k, panel); break;
      case DType::kQ8:
      case DType::kCount: SMEPILOT_DCHECK(false && "not a weight type"); break;
    }
    std::memset(panel + planes.used_bytes, 0, planes.panel_bytes - planes.used_bytes);
  }
}

}  // namespace smepilot
