// Quantised weights times quantised activations with AMX: 16 rows by one panel of 16 columns by one block of 32 k per
// tile product.
//
// Scales apply per block, so every product's integers leave the tile registers, and scaling them costs more than the
// product. Two things follow from that:
// - While tile instructions are in flight, multiplications and conversions of whole registers run on one port only,
//   additions on two (measured: 48 conversions and multiplications beside a product and its store take 15 ns, with
//   16 additions among them 12 ns). So tiles do not start at zero but at the bit pattern of 1.5 * 2^23: an integer
//   below 2^22 added to it is that float plus the integer, and a subtraction replaces the conversion.
// - Weights are unpacked to signed bytes, which costs little because many rows use them, and no correction is left.
// Products are pipelined: a tile is stored two products after it was computed and scaled another one later.
#include <immintrin.h>

#include "kernels/abi/compiler.h"
#include "kernels/abi/kernel_variant.h"

namespace smepilot {
namespace {

constexpr uint32_t kMr = 64;  // rows of a call
constexpr size_t kChunk = 8;  // k blocks unpacked at a time
constexpr int kRing = 4;      // tiles in flight
constexpr size_t kLag = 2;    // products between a tile's product and its store
constexpr int32_t kBias = 0x4b400000;
constexpr float kBiasFloat = 12582912.0f;  // 1.5 * 2^23, what those bits are

constexpr size_t kPlaneD = 32, kPlaneDs = 36;  // planes of an lhs block, see LhsQ8Block in layout.h

template <DType D>
constexpr bool kHasMin = D == DType::kQ4_1 || D == DType::kQ4_K;
// Products per block: q6_k scales each half on its own.
template <DType D>
constexpr size_t kParts = D == DType::kQ6_K ? 2 : 1;

SMEPILOT_INLINE __m512 load_half(const uint8_t* p) noexcept {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
SMEPILOT_INLINE __m512i load_zmm(const uint8_t* p) noexcept {
  return _mm512_loadu_si512(p);
}
SMEPILOT_INLINE __m128i load_xmm(const uint8_t* p) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
SMEPILOT_INLINE __m512 bcast_f32(const uint8_t* p) noexcept {
  float v;
  __builtin_memcpy(&v, p, sizeof v);
  return _mm512_set1_ps(v);
}

struct alignas(64) Scratch {
  int32_t bias[kPanel][kPanel];
  int32_t ring[kRing][kPanel][kPanel];
  int8_t w[kChunk][8][64];
  float scale[kChunk][2][kPanel];
  float sums[kMr][kPanel];
};

// One block of a panel to signed bytes and two vectors of scales: the second is the minimum (q4_1), minus the minimum
// (q4_k), so that both are added, or the scale of the block's second half (q6_k).
template <DType D>
SMEPILOT_INLINE void unpack(const uint8_t* panel, const RhsPlanes& at, size_t kb, int8_t (*w)[64],
                            float (*scale)[kPanel]) noexcept {
  const __m512i low = _mm512_set1_epi8(0x0f);
  if constexpr (D == DType::kQ8_0) {
    SMEPILOT_UNROLL
    for (int i = 0; i < 8; ++i)
      _mm512_store_si512(w[i], _mm512_xor_si512(load_zmm(panel + kb * 512 + i * 64), _mm512_set1_epi8(-128)));
  } else if constexpr (D == DType::kQ6_K) {
    const __m512i h0 = load_zmm(panel + at.high + kb * 128), h1 = load_zmm(panel + at.high + kb * 128 + 64);
    // The pairs of high bits, moved to bits 4..5 of each byte; the mask removes what 16-bit shifts drag along.
    const __m512i high[8] = {_mm512_slli_epi16(h0, 4), _mm512_slli_epi16(h0, 2), h0, _mm512_srli_epi16(h0, 2),
                             _mm512_slli_epi16(h1, 4), _mm512_slli_epi16(h1, 2), h1, _mm512_srli_epi16(h1, 2)};
    constexpr int kOrAnd = 0xf8;  // a | (b & c)
    SMEPILOT_UNROLL
    for (int i = 0; i < 8; ++i) {
      const __m512i raw = load_zmm(panel + kb * 256 + i % 4 * 64);
      const __m512i nibble = _mm512_and_si512(i < 4 ? raw : _mm512_srli_epi16(raw, 4), low);
      const __m512i value = _mm512_ternarylogic_epi32(nibble, high[i], _mm512_set1_epi8(0x30), kOrAnd);
      _mm512_store_si512(w[i], _mm512_sub_epi8(value, _mm512_set1_epi8(32)));
    }
  } else {
    SMEPILOT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const __m512i raw = load_zmm(panel + kb * 256 + i * 64);
      __m512i a = _mm512_and_si512(raw, low), b = _mm512_and_si512(_mm512_srli_epi16(raw, 4), low);
      if constexpr (D == DType::kQ4_0) {
        a = _mm512_sub_epi8(a, _mm512_set1_epi8(8));
        b = _mm512_sub_epi8(b, _mm512_set1_epi8(8));
      }
      _mm512_store_si512(w[i], a);
      _mm512_store_si512(w[i + 4], b);
    }
  }
  if constexpr (D == DType::kQ4_K) {
    const __m512 d = load_half(panel + at.super + kb / 8 * 32);
    const __m512 dmin = load_half(panel + at.super_min + kb / 8 * 32);
    const __m512 sc = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_xmm(panel + at.scale + kb * 16)));
    const __m512 mn = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_xmm(panel + at.min + kb * 16)));
    _mm512_store_ps(scale[0], _mm512_mul_ps(d, sc));
    _mm512_store_ps(scale[1], _mm512_mul_ps(_mm512_sub_ps(_mm512_setzero_ps(), dmin), mn));
  } else if constexpr (D == DType::kQ6_K) {
    const __m512 d = load_half(panel + at.super + kb / 8 * 32);
    SMEPILOT_UNROLL
    for (int half = 0; half < 2; ++half) {
      const __m128i sc = load_xmm(panel + at.scale + kb * 32 + half * 16);
      _mm512_store_ps(scale[half], _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sc))));
    }
  } else {
    _mm512_store_ps(scale[0], load_half(panel + at.scale + kb * 32));
    if constexpr (D == DType::kQ4_1) _mm512_store_ps(scale[1], load_half(panel + at.min + kb * 32));
  }
}

// Tile registers: 0 .. kRing-1 hold products, and two each hold rows and weights, so that loads run ahead.
constexpr int kTileA = 4, kTileB = 6;

// The operand of LDTILECFG (Intel SDM volume 1, chapter 18).
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_per_row[16] = {};
  uint8_t rows[16] = {};
};

template <DType D>
SMEPILOT_INLINE void configure(uint32_t rows) noexcept {
  TileConfig c;
  constexpr size_t kDepth = kQ8Block / kParts<D>;
  for (int t = 0; t < kTileB + 2; ++t) {
    c.rows[t] = static_cast<uint8_t>(t < kTileB ? rows : kDepth / 4);
    c.bytes_per_row[t] = static_cast<uint16_t>(t < kTileA || t >= kTileB ? 64 : kDepth);
  }
  // Not the intrinsic: in g++ 12 it names only the first bytes as read, and the stores above would be lost.
  __asm__ volatile("ldtilecfg %0" : : "m"(c));
}

// Tile instructions in assembly, because g++'s intrinsics paste the tile number into it as text and so accept no
// template parameter. They do not say that they read memory: what they read is settled by barriers.
template <int Tile>
SMEPILOT_INLINE void tile_load(const void* p, size_t stride) noexcept {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "i"(Tile));
}
template <int Tile>
SMEPILOT_INLINE void tile_store(void* p, size_t stride) noexcept {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(stride), "i"(Tile) : "memory");
}
template <int C, int A, int B>
SMEPILOT_INLINE void tile_dot() noexcept {  // C += A * B, all signed
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}

// One lhs panel of R rows times one chunk of `parts` products.
template <DType D, int R>
struct Pipeline {
  const uint8_t* lhs;
  Scratch& scratch;
  size_t parts;
  __m512 acc[R];

  template <int C>
  SMEPILOT_INLINE void start(size_t j) noexcept {
    const size_t kb = j / kParts<D>, part = j % kParts<D>;
    const uint8_t* q = lhs + kb * R * kLhsQ8BlockBytes + part * 16;
    tile_load<kTileB + C % 2>(scratch.w[kb][part * 4], 64);
    tile_load<kTileA + C % 2>(q, 32);
    tile_load<C>(scratch.bias, 64);
    tile_dot<C, kTileA + C % 2, kTileB + C % 2>();
  }

  template <int C>
  SMEPILOT_INLINE void store() noexcept {
    tile_store<C>(scratch.ring[C], 64);
  }

  template <int C>
  SMEPILOT_INLINE void scale(size_t j) noexcept {
    const size_t kb = j / kParts<D>, part = j % kParts<D>;
    const uint8_t* d = lhs + kb * R * kLhsQ8BlockBytes + R * kPlaneD;
    const uint8_t* ds = lhs + kb * R * kLhsQ8BlockBytes + R * kPlaneDs;
    const __m512 s = _mm512_load_ps(scratch.scale[kb][part]);
    const __m512 bias = _mm512_set1_ps(-kBiasFloat);
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      const __m512 x = _mm512_add_ps(_mm512_castsi512_ps(_mm512_load_si512(scratch.ring[C][r])), bias);
      acc[r] = _mm512_fmadd_ps(x, _mm512_mul_ps(s, bcast_f32(d + r * 4)), acc[r]);
      if constexpr (kHasMin<D>)
        acc[r] = _mm512_fmadd_ps(_mm512_load_ps(scratch.scale[kb][1]), bcast_f32(ds + r * 4), acc[r]);
    }
  }

  // Step j starts product j, stores product j - kLag and scales product j - kLag - 1.
  template <int C>
  SMEPILOT_INLINE void step(size_t j) noexcept {
    if (j < parts) start<C>(j);
    if (j >= kLag && j - kLag < parts) store<(C + kRing - kLag) % kRing>();
    if (j >= kLag + 1 && j - kLag - 1 < parts) scale<(C + kRing - kLag - 1) % kRing>(j - kLag - 1);
  }

  SMEPILOT_INLINE void run() noexcept {
    for (size_t j = 0; j < parts + kLag + 1; j += kRing) {
      step<0>(j);
      step<1>(j + 1);
      step<2>(j + 2);
      step<3>(j + 3);
    }
  }
};

struct Chunk {
  size_t blocks;
  bool first, last;
};

template <DType D, int R>
SMEPILOT_INLINE void tile(const Chunk& chunk, Scratch& scratch, const uint8_t* lhs, float* sums, float* dst,
                          size_t dst_stride, __mmask16 mask) noexcept {
  Pipeline<D, R> p{lhs, scratch, chunk.blocks * kParts<D>, {}};
  if (!chunk.first) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) p.acc[r] = _mm512_load_ps(sums + r * kPanel);
  }
  p.run();
  if (chunk.last) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) _mm512_mask_storeu_ps(dst + r * dst_stride, mask, p.acc[r]);
  } else {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) _mm512_store_ps(sums + r * kPanel, p.acc[r]);
  }
}

// `tiles` lhs panels of R rows, from row m0 on, times all panels.
template <DType D, int R>
void rows(const MatmulArgs* args, Scratch& scratch, uint32_t m0, uint32_t tiles) noexcept {
  configure<D>(R);
  const size_t blocks = args->k / kQ8Block;
  const RhsPlanes at = rhs_planes(D, args->k);
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  const uint8_t* lhs = static_cast<const uint8_t*>(args->lhs) + lhs_q8_bytes(m0, args->k);
  float* dst = args->dst + m0 * args->dst_stride;
  for (uint32_t left = args->n;; left -= kPanel) {
    const __mmask16 mask = static_cast<__mmask16>(left >= kPanel ? 0xffffu : (1u << left) - 1);
    for (size_t kb0 = 0; kb0 < blocks; kb0 += kChunk) {
      Chunk chunk;
      chunk.blocks = blocks - kb0 < kChunk ? blocks - kb0 : kChunk;
      chunk.first = kb0 == 0;
      chunk.last = kb0 + chunk.blocks == blocks;
      for (size_t kb = 0; kb < chunk.blocks; ++kb) unpack<D>(panel, at, kb0 + kb, scratch.w[kb], scratch.scale[kb]);
      __asm__ volatile("" : : : "memory");
      for (uint32_t t = 0; t < tiles; ++t)
        tile<D, R>(chunk, scratch, lhs + t * lhs_q8_bytes(kPanel, args->k) + kb0 * R * kLhsQ8BlockBytes,
                   scratch.sums[t * kPanel], dst + t * kPanel * args->dst_stride, args->dst_stride, mask);
    }
    if (left <= kPanel) return;
    panel += args->rhs_stride;
    dst += kPanel;
  }
}

template <DType D>
void matmul(const MatmulArgs* args) noexcept {
  using RowsFn = void (*)(const MatmulArgs*, Scratch&, uint32_t, uint32_t) noexcept;
  static constexpr RowsFn kTail[kPanel] = {nullptr,     rows<D, 1>,  rows<D, 2>,  rows<D, 3>, rows<D, 4>,  rows<D, 5>,
                                           rows<D, 6>,  rows<D, 7>,  rows<D, 8>,  rows<D, 9>, rows<D, 10>, rows<D, 11>,
                                           rows<D, 12>, rows<D, 13>, rows<D, 14>, rows<D, 15>};
  Scratch scratch;
  for (auto& row : scratch.bias) _mm512_store_si512(row, _mm512_set1_epi32(kBias));
  const uint32_t tiles = args->m / kPanel, tail = args->m % kPanel;
  if (tiles > 0) rows<D, kPanel>(args, scratch, 0, tiles);
  if (tail > 0) kTail[tail](args, scratch, tiles * kPanel, 1);
  _tile_release();
}

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return {id,
          OpKind::kMatmul,
          kIsaAvx2 | kIsaAvx512 | kIsaAvx512Vnni | kIsaAmxInt8,
          ExecutionUnit::kMatrix,
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

extern const KernelVariant kMatmulF32Q8Q8_0AmxInt8, kMatmulF32Q8Q4_0AmxInt8, kMatmulF32Q8Q4_1AmxInt8,
    kMatmulF32Q8Q4_KAmxInt8, kMatmulF32Q8Q6_KAmxInt8;
constexpr KernelVariant kMatmulF32Q8Q8_0AmxInt8 = variant<DType::kQ8_0>("matmul.f32.q8.q8_0.16x16.amxint8.tdpbssd");
constexpr KernelVariant kMatmulF32Q8Q4_0AmxInt8 = variant<DType::kQ4_0>("matmul.f32.q8.q4_0.16x16.amxint8.tdpbssd");
constexpr KernelVariant kMatmulF32Q8Q4_1AmxInt8 = variant<DType::kQ4_1>("matmul.f32.q8.q4_1.16x16.amxint8.tdpbssd");
constexpr KernelVariant kMatmulF32Q8Q4_KAmxInt8 = variant<DType::kQ4_K>("matmul.f32.q8.q4_k.16x16.amxint8.tdpbssd");
constexpr KernelVariant kMatmulF32Q8Q6_KAmxInt8 = variant<DType::kQ6_K>("matmul.f32.q8.q6_k.16x16.amxint8.tdpbssd");

}  // namespace smepilot
