// Matmul with the instructions every target has. A block of at most 32 k of one weight panel is decoded to f32 once and
// then multiplied with all rows of the call; vectors are written with the compilers' generic 128-bit vector type.
//
// Quantised weights and activations are decoded to their integers (weights times their integer scale, where they have
// one), not to their values: sums of 32 products of those stay below 2^24, so f32 adds them exactly, and the result is
// that of integer arithmetic: at most 32 * 127 * 128 * 32 (q6_k: 6 bits times 8 bits of scale; q3_k: 3 times 6 bits).
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/abi/describe.h"
#include "kernels/abi/half.h"

namespace smepilot {
namespace {

typedef float F32x4 __attribute__((vector_size(16)));
typedef int32_t I32x4 __attribute__((vector_size(16)));
typedef uint32_t U32x4 __attribute__((vector_size(16)));

constexpr uint32_t kBlock = 32;    // k decoded at a time
constexpr uint32_t kMaxRows = 64;  // rows a call accepts
constexpr uint32_t kRowTile = 2;   // with 16 columns: 8 accumulators, 4 weights, 2 activations in 16 registers
constexpr uint32_t kVectors = kPanel / 4;

inline F32x4 load_f32(const float* p) noexcept {
  F32x4 v;
  memcpy(&v, p, sizeof v);
  return v;
}
inline void store_f32(float* p, F32x4 v) noexcept {
  memcpy(p, &v, sizeof v);
}
inline U32x4 load_u32(const uint8_t* p) noexcept {
  U32x4 v;
  memcpy(&v, p, sizeof v);
  return v;
}
inline F32x4 to_f32(U32x4 v) noexcept {
  return __builtin_convertvector(reinterpret_cast<I32x4>(v), F32x4);
}
inline F32x4 splat(float x) noexcept {
  return F32x4{x, x, x, x};
}

inline void load_halves(const uint8_t* p, float* out) noexcept {
  uint16_t h[kPanel];
  memcpy(h, p, sizeof h);
  for (uint32_t c = 0; c < kPanel; ++c) out[c] = f16_to_f32(h[c]);
}

// sum[r][c] = x[r][0..count) * w[0..count)[c] for `Rows` rows.
template <uint32_t Rows>
inline void multiply(const float* const* x, const float* w, uint32_t count, float (*sum)[kPanel]) noexcept {
  F32x4 acc[Rows][kVectors];
  for (uint32_t r = 0; r < Rows; ++r)
    for (uint32_t v = 0; v < kVectors; ++v) acc[r][v] = splat(0);
  for (uint32_t i = 0; i < count; ++i) {
    F32x4 weight[kVectors];
    for (uint32_t v = 0; v < kVectors; ++v) weight[v] = load_f32(w + i * kPanel + 4 * v);
    for (uint32_t r = 0; r < Rows; ++r) {
      const F32x4 value = splat(x[r][i]);
      for (uint32_t v = 0; v < kVectors; ++v) acc[r][v] += value * weight[v];
    }
  }
  for (uint32_t r = 0; r < Rows; ++r)
    for (uint32_t v = 0; v < kVectors; ++v) store_f32(sum[r] + 4 * v, acc[r][v]);
}

// Exactly n of the panel's columns.
inline void store_rows(const MatmulArgs* a, const float (*acc)[kPanel], uint32_t col) noexcept {
  const uint32_t count = a->n - col < kPanel ? a->n - col : kPanel;
  for (uint32_t r = 0; r < a->m; ++r) memcpy(a->dst + r * a->dst_stride + col, acc[r], count * sizeof(float));
}

// --- f32 activations -------------------------------------------------------------------------------------------------

struct WeightsF32 {
  static const float* decode(const uint8_t* panel, uint32_t k, uint32_t, float*) noexcept {
    return reinterpret_cast<const float*>(panel) + size_t{k} * kPanel;
  }
};

struct WeightsF16 {
  static const float* decode(const uint8_t* panel, uint32_t k, uint32_t count, float* w) noexcept {
    for (uint32_t i = 0; i < count; ++i) {
      if constexpr (kF16Pairs) {
        uint16_t h[2 * kPanel];
        memcpy(h, panel + size_t{(k + i) / 2} * sizeof h, sizeof h);
        for (uint32_t c = 0; c < kPanel; ++c) w[i * kPanel + c] = f16_to_f32(h[2 * c + (k + i) % 2]);
      } else {
        load_halves(panel + size_t{k + i} * kPanel * 2, w + i * kPanel);
      }
    }
    return w;
  }
};

struct WeightsBf16 {
  static const float* decode(const uint8_t* panel, uint32_t k, uint32_t count, float* w) noexcept {
    for (uint32_t i = 0; i < (count + 1) / 2; ++i) {
      for (uint32_t v = 0; v < kVectors; ++v) {  // a pair per word, the even k in its low half
        const U32x4 pair = load_u32(panel + size_t{k / 2 + i} * 64 + v * 16);
        store_f32(w + 2 * i * kPanel + 4 * v, reinterpret_cast<F32x4>(pair << 16));
        store_f32(w + (2 * i + 1) * kPanel + 4 * v, reinterpret_cast<F32x4>(pair & 0xffff0000u));
      }
    }
    return w;
  }
};

template <typename Weights>
void matmul_f32(const MatmulArgs* a) noexcept {
  alignas(64) float decoded[kBlock * kPanel];
  alignas(64) float acc[kMaxRows][kPanel];
  alignas(64) float sum[kRowTile][kPanel];
  for (uint32_t col = 0; col < a->n; col += kPanel) {
    const uint8_t* panel = static_cast<const uint8_t*>(a->rhs) + col / kPanel * a->rhs_stride;
    memset(acc, 0, sizeof(float) * kPanel * a->m);
    for (uint32_t k = 0; k < a->k; k += kBlock) {
      const uint32_t count = a->k - k < kBlock ? a->k - k : kBlock;
      const float* w = Weights::decode(panel, k, count, decoded);
      for (uint32_t row = 0; row < a->m; row += kRowTile) {
        const uint32_t rows = a->m - row < kRowTile ? 1 : kRowTile;
        const float* x[kRowTile];
        for (uint32_t r = 0; r < kRowTile; ++r) {
          const size_t at = row + (r < rows ? r : 0);
          x[r] = reinterpret_cast<const float*>(static_cast<const char*>(a->lhs) + at * a->lhs_stride) + k;
        }
        if (rows == kRowTile)
          multiply<kRowTile>(x, w, count, sum);
        else
          multiply<1>(x, w, count, sum);
        for (uint32_t r = 0; r < rows; ++r)
          for (uint32_t c = 0; c < kPanel; ++c) acc[row + r][c] += sum[r][c];
      }
    }
    store_rows(a, acc, col);
  }
}

// --- q8 activations --------------------------------------------------------------------------------------------------

// A decoded block of 32 k: value of (k, c) = scale[c] * w[k][c] + min[k / 16][c].
struct Decoded {
  alignas(64) float w[kBlock * kPanel];
  float scale[kPanel];
  float min[2][kPanel];  // as many as the weights have: none, one for all of the block, or one for each half
};

// What holds k = 4i .. 4i+3 of a block's nibbles for four columns, in the lowest bits of a lane; and at which bit k =
// 4i+j is there.
inline U32x4 nibble_words(const uint8_t* q, uint32_t i, uint32_t v) noexcept {
  if constexpr (kAdjacentNibbles) {
    uint16_t h[4];
    memcpy(h, q + i % 4 * 64 + i / 4 * 32 + v * 8, sizeof h);
    return U32x4{h[0], h[1], h[2], h[3]};
  }
  return load_u32(q + i % 4 * 64 + v * 16) >> (i / 4 * 4);
}
constexpr uint32_t nibble_bit(uint32_t j) noexcept {
  return (kAdjacentNibbles ? 4 : 8) * j;
}

// Nibbles minus `offset`.
inline void decode_nibbles(const uint8_t* q, float offset, float* w) noexcept {
  for (uint32_t i = 0; i < 8; ++i) {
    for (uint32_t v = 0; v < kVectors; ++v) {
      const U32x4 word = nibble_words(q, i, v);
      for (uint32_t j = 0; j < 4; ++j)
        store_f32(w + (4 * i + j) * kPanel + 4 * v, to_f32(word >> nibble_bit(j) & 15u) - offset);
    }
  }
}

// Nibbles with fifth bits [16][4], minus `offset`.
inline void decode_five_bits(const uint8_t* q, const uint8_t* high, float offset, float* w) noexcept {
  for (uint32_t v = 0; v < kVectors; ++v) {
    const U32x4 bits = load_u32(high + v * 16);
    for (uint32_t i = 0; i < 8; ++i) {
      const U32x4 word = nibble_words(q, i, v);
      for (uint32_t j = 0; j < 4; ++j) {
        const U32x4 five = (word >> nibble_bit(j) & 15u) | (bits >> (8 * j + i) & 1u) << 4;
        store_f32(w + (4 * i + j) * kPanel + 4 * v, to_f32(five) - offset);
      }
    }
  }
}

// Element k = 16 * half + 4i + j of four columns of pairs of bits [2][16][4].
inline U32x4 bit_pairs(const uint8_t* q, uint32_t half, uint32_t i, uint32_t j, uint32_t v) noexcept {
  return load_u32(q + half * 64 + v * 16) >> (8 * j + 2 * i) & 3u;
}

struct WeightsQ8_0 {
  static constexpr uint32_t kMinima = 0;
  static void decode(const uint8_t* panel, const RhsPlanes& p, uint32_t block, Decoded* d) noexcept {
    constexpr uint32_t kFlip = kQ8Zero == 128 ? 0 : 128;  // to value + 128
    const uint8_t* q = panel + p.quants_at(block);
    for (uint32_t i = 0; i < 8; ++i) {
      for (uint32_t v = 0; v < kVectors; ++v) {
        const U32x4 word = load_u32(q + i * 64 + v * 16);
        for (uint32_t j = 0; j < 4; ++j)
          store_f32(d->w + (4 * i + j) * kPanel + 4 * v, to_f32((word >> (8 * j) & 255u) ^ kFlip) - 128.0f);
      }
    }
    load_halves(panel + p.scale_at(block), d->scale);
  }
};

struct WeightsQ4_0 {
  static constexpr uint32_t kMinima = 0;
  static void decode(const uint8_t* panel, const RhsPlanes& p, uint32_t block, Decoded* d) noexcept {
    decode_nibbles(panel + p.quants_at(block), 8, d->w);
    load_halves(panel + p.scale_at(block), d->scale);
  }
};

struct WeightsQ4_1 {
  static constexpr uint32_t kMinima = 1;
  static void decode(const uint8_t* panel, const RhsPlanes& p, uint32_t block, Decoded* d) noexcept {
    decode_nibbles(panel + p.quants_at(block), 0, d->w);
    load_halves(panel + p.scale_at(block), d->scale);
    load_halves(panel + p.min_at(block), d->min[0]);
  }
};

struct WeightsQ5_0 {
  static constexpr uint32_t kMinima = 0;
  static void decode(const uint8_t* panel, const RhsPlanes& p, uint32_t block, Decoded* d) noexcept {
    decode_five_bits(panel + p.quants_at(block), panel + p.high_at(block), 16, d->w);
    load_halves(panel + p.scale_at(block), d->scale);
  }
};

struct WeightsQ5_1 {
  static constexpr uint32_t kMinima = 1;
  static void decode(const uint8_t* panel, const RhsPlanes& p, uint32_t block, Decoded* d) noexcept {
    decode_five_bits(panel + p.quants_at(block), panel + p.high_at(block), 0, d->w);
    load_halves(panel + p.scale_at(block), d->scale);
    load_halves(panel + p.min_at(block), d->min[0]);
  }
};

struct WeightsIq4Nl {
  static constexpr uint32_t kMinima = 0;
  static void decode(const uint8_t* panel, const RhsPlanes& p, uint32_t block, Decoded* d) noexcept {
    const uint8_t* q = panel + p.quants_at(block);
    for (uint32_t e = 0; e < kBlock; ++e) {
      for (uint32_t c = 0; c < kPanel; ++c) {
        const NibblePlace place = nibble_place(c, e);
        d->w[e * kPanel + c] = kIq4NlValues[q[place.byte] >> place.shift & 15];
      }
    }
    load_halves(panel + p.scale_at(block), d->scale);
  }
};

struct WeightsQ2_K {
  static constexpr uint32_t kMinima = 2;
  static void decode(const uint8_t* panel, const RhsPlanes& p, uint32_t block, Decoded* d) noexcept {
    const uint8_t* q = panel + p.quants_at(block);
    float super_min[kPanel];
    load_halves(panel + p.super_at(block), d->scale);
    load_halves(panel + p.super_min_at(block), super_min);
    for (uint32_t half = 0; half < 2; ++half) {
      const uint8_t* scales = panel + p.scale_at(block) + half * 16;
      float scale[kPanel];
      for (uint32_t c = 0; c < kPanel; ++c) {
        scale[c] = static_cast<float>(scales[c] & 15);
        d->min[half][c] = super_min[c] * -static_cast<float>(scales[c] >> 4);
      }
      for (uint32_t i = 0; i < 4; ++i)
        for (uint32_t v = 0; v < kVectors; ++v)
          for (uint32_t j = 0; j < 4; ++j)
            store_f32(d->w + (16 * half + 4 * i + j) * kPanel + 4 * v,
                      to_f32(bit_pairs(q, half, i, j, v)) * load_f32(scale + 4 * v));
    }
  }
};

struct WeightsQ3_K {
  static constexpr uint32_t kMinima = 0;
  static void decode(const uint8_t* panel, const RhsPlanes& p, uint32_t block, Decoded* d) noexcept {
    const uint8_t* q = panel + p.quants_at(block);
    const uint8_t* low = panel + p.scale_at(block);
    const uint8_t* high = panel + p.scale_high_at(block);
    for (uint32_t half = 0; half < 2; ++half) {
      float scale[kPanel];
      for (uint32_t c = 0; c < kPanel; ++c) {
        const int bits = (low[c] >> (4 * half) & 15) | (high[c] >> (block % 2 * 4 + 2 * half) & 3) << 4;
        scale[c] = static_cast<float>(bits - 32);
      }
      for (uint32_t v = 0; v < kVectors; ++v) {
        const U32x4 bits = load_u32(panel + p.high_at(block) + v * 16);
        for (uint32_t i = 0; i < 4; ++i) {
          for (uint32_t j = 0; j < 4; ++j) {
            const U32x4 three = bit_pairs(q, half, i, j, v) | (bits >> (8 * j + 4 * half + i) & 1u) << 2;
            store_f32(d->w + (16 * half + 4 * i + j) * kPanel + 4 * v,
                      (to_f32(three) - 4.0f) * load_f32(scale + 4 * v));
          }
        }
      }
    }
    load_halves(panel + p.super_at(block), d->scale);
  }
};

inline void decode_k_scales(const uint8_t* panel, const RhsPlanes& p, uint32_t block, Decoded* d) noexcept {
  load_halves(panel + p.super_at(block), d->scale);
  load_halves(panel + p.super_min_at(block), d->min[0]);
  for (uint32_t c = 0; c < kPanel; ++c) {
    d->scale[c] *= static_cast<float>(panel[p.scale_at(block) + c]);
    d->min[0][c] *= -static_cast<float>(panel[p.min_at(block) + c]);
  }
}

struct WeightsQ4_K {
  static constexpr uint32_t kMinima = 1;
  static void decode(const uint8_t* panel, const RhsPlanes& p, uint32_t block, Decoded* d) noexcept {
    decode_nibbles(panel + p.quants_at(block), 0, d->w);
    decode_k_scales(panel, p, block, d);
  }
};

struct WeightsQ5_K {
  static constexpr uint32_t kMinima = 1;
  static void decode(const uint8_t* panel, const RhsPlanes& p, uint32_t block, Decoded* d) noexcept {
    decode_five_bits(panel + p.quants_at(block), panel + p.high_at(block), 0, d->w);
    decode_k_scales(panel, p, block, d);
  }
};

struct WeightsQ6_K {
  static constexpr uint32_t kMinima = 0;
  static void decode(const uint8_t* panel, const RhsPlanes& p, uint32_t block, Decoded* d) noexcept {
    const uint8_t* low = panel + p.quants_at(block);
    for (uint32_t half = 0; half < 2; ++half) {
      const uint8_t* high = panel + p.high_at(block) + half * 64;
      float scale[kPanel];
      for (uint32_t c = 0; c < kPanel; ++c) scale[c] = static_cast<int8_t>(panel[p.scale_at(block) + half * 16 + c]);
      for (uint32_t i = 0; i < 4; ++i) {
        for (uint32_t v = 0; v < kVectors; ++v) {
          const U32x4 nibbles = nibble_words(low, 4 * half + i, v), bits = load_u32(high + v * 16);
          for (uint32_t j = 0; j < 4; ++j) {
            const U32x4 q = (nibbles >> nibble_bit(j) & 15u) | (bits >> (8 * j + 2 * i) & 3u) << 4;
            store_f32(d->w + (16 * half + 4 * i + j) * kPanel + 4 * v, (to_f32(q) - 32.0f) * load_f32(scale + 4 * v));
          }
        }
      }
    }
    load_halves(panel + p.super_at(block), d->scale);
  }
};

// What a row of a block of quantised activations holds, as f32.
struct Activations {
  float x[kBlock];
  float d, ds;
  float half_sums[2];  // d * sum of each half
};

inline void load_activations(const uint8_t* block, uint32_t rows, uint32_t r, Activations* out) noexcept {
  for (uint32_t i = 0; i < kBlock; i += 4) {
    int8_t q[4];
    memcpy(q, block + lhs_q8_place(kLhsQ8Layout, rows, r, i), sizeof q);
    for (uint32_t j = 0; j < 4; ++j) out->x[i + j] = q[j];
  }
  memcpy(&out->d, block + rows * kBlock + r * 4, sizeof out->d);
  memcpy(&out->ds, block + rows * (kBlock + 4) + r * 4, sizeof out->ds);
  for (uint32_t half = 0; half < 2; ++half) {
    int32_t sum;  // times -32
    memcpy(&sum, block + rows * (kBlock + 16 + 4 * half) + r * 4, sizeof sum);
    const int32_t half_sum = -sum / 32;  // exactly
    out->half_sums[half] = out->d * static_cast<float>(half_sum);
  }
}

template <DType type, typename Weights>
void matmul_q8(const MatmulArgs* a) noexcept {
  Decoded w;
  alignas(64) float acc[kMaxRows][kPanel];
  alignas(64) float sum[kRowTile][kPanel];
  const RhsPlanes planes = rhs_planes(type, a->k);
  for (uint32_t col = 0; col < a->n; col += kPanel) {
    const uint8_t* panel = static_cast<const uint8_t*>(a->rhs) + col / kPanel * a->rhs_stride;
    memset(acc, 0, sizeof(float) * kPanel * a->m);
    for (uint32_t block = 0; block < a->k / kBlock; ++block) {
      Weights::decode(panel, planes, block, &w);
      for (uint32_t row = 0; row < a->m; row += kRowTile) {
        const uint32_t first = row / kPanel * kPanel;  // of the lhs panel, which holds `in_panel` rows
        const uint32_t in_panel = a->m - first < kPanel ? a->m - first : kPanel;
        const uint8_t* lhs = static_cast<const uint8_t*>(a->lhs) + lhs_q8_bytes(first, a->k) +
                             size_t{block} * in_panel * kLhsQ8BlockBytes;
        const uint32_t rows = a->m - row < kRowTile ? 1 : kRowTile;
        Activations x[kRowTile];
        for (uint32_t r = 0; r < rows; ++r) load_activations(lhs, in_panel, row - first + r, &x[r]);
        const float* values[kRowTile] = {x[0].x, x[1].x};
        if (rows == kRowTile)
          multiply<kRowTile>(values, w.w, kBlock, sum);
        else
          multiply<1>(values, w.w, kBlock, sum);
        for (uint32_t r = 0; r < rows; ++r) {
          for (uint32_t c = 0; c < kPanel; ++c) {
            acc[row + r][c] += x[r].d * w.scale[c] * sum[r][c];
            if (Weights::kMinima == 1) acc[row + r][c] += x[r].ds * w.min[0][c];
            if (Weights::kMinima == 2)
              acc[row + r][c] += x[r].half_sums[0] * w.min[0][c] + x[r].half_sums[1] * w.min[1][c];
          }
        }
      }
    }
    store_rows(a, acc, col);
  }
}

static_assert(kPanel % kRowTile == 0 && kRowTile == 2);

constexpr KernelVariant variant(const char* id, DType lhs, DType rhs, MatmulFn fn) noexcept {
  return matmul_variant(id, kIsaPortable, lhs, rhs, kMaxRows, fn);
}

}  // namespace

extern const KernelVariant kMatmulF32F32F32Portable, kMatmulF32F32F16Portable, kMatmulF32F32Bf16Portable,
    kMatmulF32Q8Q8_0Portable, kMatmulF32Q8Q4_0Portable, kMatmulF32Q8Q4_1Portable, kMatmulF32Q8Q5_0Portable,
    kMatmulF32Q8Q5_1Portable, kMatmulF32Q8Iq4NlPortable, kMatmulF32Q8Q2_KPortable, kMatmulF32Q8Q3_KPortable,
    kMatmulF32Q8Q4_KPortable, kMatmulF32Q8Q5_KPortable, kMatmulF32Q8Q6_KPortable;

constexpr KernelVariant kMatmulF32F32F32Portable =
    variant("matmul.f32.f32.f32.2x16.portable.mul", DType::kF32, DType::kF32, matmul_f32<WeightsF32>);
constexpr KernelVariant kMatmulF32F32F16Portable =
    variant("matmul.f32.f32.f16.2x16.portable.mul", DType::kF32, DType::kF16, matmul_f32<WeightsF16>);
constexpr KernelVariant kMatmulF32F32Bf16Portable =
    variant("matmul.f32.f32.bf16.2x16.portable.mul", DType::kF32, DType::kBF16, matmul_f32<WeightsBf16>);
constexpr KernelVariant kMatmulF32Q8Q8_0Portable =
    variant("matmul.f32.q8.q8_0.2x16.portable.mul", DType::kQ8, DType::kQ8_0, matmul_q8<DType::kQ8_0, WeightsQ8_0>);
constexpr KernelVariant kMatmulF32Q8Q4_0Portable =
    variant("matmul.f32.q8.q4_0.2x16.portable.mul", DType::kQ8, DType::kQ4_0, matmul_q8<DType::kQ4_0, WeightsQ4_0>);
constexpr KernelVariant kMatmulF32Q8Q4_1Portable =
    variant("matmul.f32.q8.q4_1.2x16.portable.mul", DType::kQ8, DType::kQ4_1, matmul_q8<DType::kQ4_1, WeightsQ4_1>);
constexpr KernelVariant kMatmulF32Q8Q5_0Portable =
    variant("matmul.f32.q8.q5_0.2x16.portable.mul", DType::kQ8, DType::kQ5_0, matmul_q8<DType::kQ5_0, WeightsQ5_0>);
constexpr KernelVariant kMatmulF32Q8Q5_1Portable =
    variant("matmul.f32.q8.q5_1.2x16.portable.mul", DType::kQ8, DType::kQ5_1, matmul_q8<DType::kQ5_1, WeightsQ5_1>);
constexpr KernelVariant kMatmulF32Q8Iq4NlPortable = variant("matmul.f32.q8.iq4_nl.2x16.portable.mul", DType::kQ8,
                                                            DType::kIQ4_NL, matmul_q8<DType::kIQ4_NL, WeightsIq4Nl>);
constexpr KernelVariant kMatmulF32Q8Q2_KPortable =
    variant("matmul.f32.q8.q2_k.2x16.portable.mul", DType::kQ8, DType::kQ2_K, matmul_q8<DType::kQ2_K, WeightsQ2_K>);
constexpr KernelVariant kMatmulF32Q8Q3_KPortable =
    variant("matmul.f32.q8.q3_k.2x16.portable.mul", DType::kQ8, DType::kQ3_K, matmul_q8<DType::kQ3_K, WeightsQ3_K>);
constexpr KernelVariant kMatmulF32Q8Q4_KPortable =
    variant("matmul.f32.q8.q4_k.2x16.portable.mul", DType::kQ8, DType::kQ4_K, matmul_q8<DType::kQ4_K, WeightsQ4_K>);
constexpr KernelVariant kMatmulF32Q8Q5_KPortable =
    variant("matmul.f32.q8.q5_k.2x16.portable.mul", DType::kQ8, DType::kQ5_K, matmul_q8<DType::kQ5_K, WeightsQ5_K>);
constexpr KernelVariant kMatmulF32Q8Q6_KPortable =
    variant("matmul.f32.q8.q6_k.2x16.portable.mul", DType::kQ8, DType::kQ6_K, matmul_q8<DType::kQ6_K, WeightsQ6_K>);

}  // namespace smepilot
