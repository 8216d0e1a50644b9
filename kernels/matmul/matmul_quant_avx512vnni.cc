// Quantised weights times quantised activations with AVX-512 VNNI: one register tile of up to 16 rows by one panel of
// 16 columns.
//
// A block of 32 k is held as eight zmm of unsigned weights and used by all rows. Per row: the integer accumulator
// starts at the row's correction (a broadcast load, which costs no arithmetic port), takes eight vpdpbusd whose signed
// operand is a broadcast from memory, and is scaled into the row's f32 accumulator. Eleven operations for two
// arithmetic ports, eight of them dot products: 8/11 of the VNNI peak is the ceiling of the format for one scale per
// block, 8/12 where a minimum is added (q4_1, q4_k), 8/13 where there are two scales per block (q6_k).
#include "kernels/abi/describe.h"
#include "kernels/matmul/rhs_block_avx512.h"

namespace smepilot {
namespace {

// Asks for a block's weights `ahead` blocks before they are read, in this panel or the next one of the range. The
// hardware's prefetchers stop at every page and do not know where a plane continues in the next panel.
template <DType D>
SMEPILOT_INLINE void prefetch_block(const uint8_t* panel, const uint8_t* next, const RhsPlanes& at, size_t kb,
                                    size_t blocks) noexcept {
  if (kb >= blocks) {
    panel = next;
    kb -= blocks;
  }
  const auto fetch = [](const uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); };
  constexpr size_t kQuants = D == DType::kQ8_0 ? 512 : 256;
  SMEPILOT_UNROLL
  for (size_t line = 0; line < kQuants; line += 64) fetch(panel + kb * kQuants + line);
  if constexpr (D == DType::kQ6_K) {
    fetch(panel + at.high + kb * 128);
    fetch(panel + at.high + kb * 128 + 64);
  }
  constexpr size_t kScales = D == DType::kQ4_K ? 16 : 32;
  fetch(panel + at.scale + kb * kScales);
  if constexpr (kHasMin<D>) fetch(panel + at.min + kb * kScales);
}

// Four activations, broadcast from memory, into one row's dot product. In assembly for g++, which has no pattern for
// the broadcast operand, and because both compilers otherwise hoist the broadcasts of a whole block and spill to make
// room.
SMEPILOT_INLINE __m512i dot_step(__m512i dot, __m512i w, const uint8_t* q) noexcept {
  struct __attribute__((may_alias, packed)) Quad {
    int32_t value;
  };
  __asm__ volatile("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(dot) : "v"(w), "m"(*reinterpret_cast<const Quad*>(q)));
  return dot;
}

// Adds one block of `Rows` rows, from row `Row` on, to acc; R is the height of the lhs panel. The rows run side by
// side, because one row's dot products depend on each other (five cycles each).
template <DType D, int R, int Row, int Rows>
SMEPILOT_INLINE void add_rows(const uint8_t* lhs, const Block& b, __m512* acc) noexcept {
  constexpr size_t kStart = R * (D == DType::kQ4_0 ? kPlaneN8 : D == DType::kQ8_0 ? kPlaneN128 : kPlaneN32a);
  __m512i dot[Rows], dot2[Rows];
  SMEPILOT_UNROLL
  for (int r = 0; r < Rows; ++r) {
    dot[r] = kHasMin<D> ? _mm512_setzero_si512() : bcast_i32(lhs + kStart + (Row + r) * 4);
    if constexpr (kHasHalves<D>) dot2[r] = bcast_i32(lhs + R * kPlaneN32b + (Row + r) * 4);
  }
  SMEPILOT_UNROLL
  for (int i = 0; i < (kHasHalves<D> ? 4 : 8); ++i) {
    SMEPILOT_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const uint8_t* q = lhs + (Row + r) * 32 + i * 4;
      dot[r] = dot_step(dot[r], b.w[i], q);
      if constexpr (kHasHalves<D>) dot2[r] = dot_step(dot2[r], b.w[i + 4], q + 16);
    }
  }
  SMEPILOT_UNROLL
  for (int r = 0; r < Rows; ++r) {
    const __m512 d = bcast_f32(lhs + R * kPlaneD + (Row + r) * 4);
    __m512& sum = acc[Row + r];
    const __m512 x = _mm512_cvtepi32_ps(dot[r]);
    if constexpr (kHasHalves<D>) {
      const __m512 both = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot2[r]), b.s1, _mm512_mul_ps(x, b.s0));
      sum = _mm512_fmadd_ps(both, d, sum);
    } else {
      if constexpr (kHasMin<D>) sum = _mm512_fmadd_ps(b.s1, bcast_f32(lhs + R * kPlaneDs + (Row + r) * 4), sum);
      sum = _mm512_fmadd_ps(x, _mm512_mul_ps(b.s0, d), sum);
    }
  }
}

template <DType D, int R, int Row = 0>
SMEPILOT_INLINE void add_all_rows(const uint8_t* lhs, const Block& b, __m512* acc) noexcept {
  constexpr int kGroup = kHasHalves<D> ? 2 : 4;  // four dot products side by side
  constexpr int kRows = R - Row < kGroup ? R - Row : kGroup;
  add_rows<D, R, Row, kRows>(lhs, b, acc);
  if constexpr (Row + kRows < R) add_all_rows<D, R, Row + kRows>(lhs, b, acc);
}

// --- One lhs panel: weights go from the rhs panel through registers ---

// Blocks to prefetch ahead: 2 to 8 KiB. Measured from memory at one row: 1 to 3 % faster, and farther gains nothing.
constexpr size_t kAhead = 16;

template <DType D, int R>
void one_panel(const MatmulArgs* args) noexcept {
  const size_t blocks = args->k / kQ8Block;
  const RhsPlanes at = rhs_planes(D, args->k);
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  float* dst = args->dst;
  for (uint32_t left = args->n;; left -= kPanel) {
    const uint8_t* next = left > kPanel ? panel + args->rhs_stride : panel;
    __m512 acc[R];
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) acc[r] = _mm512_setzero_ps();
    const uint8_t* lhs = static_cast<const uint8_t*>(args->lhs);
    for (size_t kb = 0; kb < blocks; ++kb, lhs += R * kLhsQ8BlockBytes) {
      prefetch_block<D>(panel, next, at, kb + kAhead, blocks);
      Block b;
      load_block<D>(panel, at, kb, b);
      add_all_rows<D, R>(lhs, b, acc);
    }
    const __mmask16 mask = column_mask(left);
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) _mm512_mask_storeu_ps(dst + r * args->dst_stride, mask, acc[r]);
    if (left <= kPanel) return;
    panel += args->rhs_stride;
    dst += kPanel;
  }
}

// --- Several lhs panels: weights are unpacked to L1 a chunk of K at a time and used by all of them ---

constexpr uint32_t kMr = 64;   // rows of a call
constexpr size_t kChunk = 16;  // k blocks unpacked at a time

struct alignas(64) Scratch {
  uint8_t w[kChunk][8][64];
  float scale[kChunk][2][kPanel];
  float acc[kMr][kPanel];
};

struct Chunk {
  const uint8_t* w;  // 512 bytes per block: in the scratch, or where nothing needs unpacking in the panel
  size_t blocks;
  bool first, last;
};

// One lhs panel of R rows times one chunk.
template <DType D, int R>
void tile(const Chunk& chunk, const Scratch& scratch, const uint8_t* lhs, float* sums, float* dst, size_t dst_stride,
          __mmask16 mask) noexcept {
  __m512 acc[R];
  if (chunk.first) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) acc[r] = _mm512_setzero_ps();
  } else {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) acc[r] = _mm512_load_ps(sums + r * kPanel);
  }
  for (size_t kb = 0; kb < chunk.blocks; ++kb, lhs += R * kLhsQ8BlockBytes) {
    Block b;
    SMEPILOT_UNROLL
    for (int i = 0; i < 8; ++i) b.w[i] = load_zmm(chunk.w + kb * 512 + i * 64);
    b.s0 = _mm512_load_ps(scratch.scale[kb][0]);
    if constexpr (kHasMin<D> || kHasHalves<D>) b.s1 = _mm512_load_ps(scratch.scale[kb][1]);
    add_all_rows<D, R>(lhs, b, acc);
  }
  if (chunk.last) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) _mm512_mask_storeu_ps(dst + r * dst_stride, mask, acc[r]);
  } else {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) _mm512_store_ps(sums + r * kPanel, acc[r]);
  }
}

template <DType D>
void several_panels(const MatmulArgs* args) noexcept {
  using Tile = decltype(&tile<D, 1>);
  static constexpr Tile kTiles[kPanel] = {tile<D, 1>,  tile<D, 2>,  tile<D, 3>,  tile<D, 4>,  tile<D, 5>,  tile<D, 6>,
                                          tile<D, 7>,  tile<D, 8>,  tile<D, 9>,  tile<D, 10>, tile<D, 11>, tile<D, 12>,
                                          tile<D, 13>, tile<D, 14>, tile<D, 15>, tile<D, 16>};
  Scratch scratch;
  const size_t blocks = args->k / kQ8Block;
  const RhsPlanes at = rhs_planes(D, args->k);
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  float* dst = args->dst;
  for (uint32_t left = args->n;; left -= kPanel) {
    for (size_t kb0 = 0; kb0 < blocks; kb0 += kChunk) {
      Chunk chunk;
      chunk.blocks = blocks - kb0 < kChunk ? blocks - kb0 : kChunk;
      chunk.first = kb0 == 0;
      chunk.last = kb0 + chunk.blocks == blocks;
      chunk.w = D == DType::kQ8_0 ? panel + kb0 * 512 : scratch.w[0][0];
      for (size_t kb = 0; kb < chunk.blocks; ++kb) {
        Block b;
        load_block<D>(panel, at, kb0 + kb, b);
        if constexpr (D != DType::kQ8_0) {
          SMEPILOT_UNROLL
          for (int i = 0; i < 8; ++i) _mm512_store_si512(scratch.w[kb][i], b.w[i]);
        }
        _mm512_store_ps(scratch.scale[kb][0], b.s0);
        if constexpr (kHasMin<D> || kHasHalves<D>) _mm512_store_ps(scratch.scale[kb][1], b.s1);
      }
      for (uint32_t m0 = 0; m0 < args->m; m0 += kPanel) {
        const uint32_t height = args->m - m0 < kPanel ? args->m - m0 : kPanel;
        const uint8_t* lhs =
            static_cast<const uint8_t*>(args->lhs) + lhs_q8_bytes(m0, args->k) + kb0 * height * kLhsQ8BlockBytes;
        kTiles[height - 1](chunk, scratch, lhs, scratch.acc[m0], dst + m0 * args->dst_stride, args->dst_stride,
                           column_mask(left));
      }
    }
    if (left <= kPanel) return;
    panel += args->rhs_stride;
    dst += kPanel;
  }
}

template <DType D>
void matmul(const MatmulArgs* args) noexcept {
  static constexpr MatmulFn kOnePanel[kPanel] = {
      one_panel<D, 1>,  one_panel<D, 2>,  one_panel<D, 3>,  one_panel<D, 4>,  one_panel<D, 5>,  one_panel<D, 6>,
      one_panel<D, 7>,  one_panel<D, 8>,  one_panel<D, 9>,  one_panel<D, 10>, one_panel<D, 11>, one_panel<D, 12>,
      one_panel<D, 13>, one_panel<D, 14>, one_panel<D, 15>, one_panel<D, 16>};
  if (args->m <= kPanel)
    kOnePanel[args->m - 1](args);
  else
    several_panels<D>(args);
}

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return matmul_variant(id, kIsaAvx2 | kIsaAvx512 | kIsaAvx512Vnni, DType::kQ8, D, kMr, matmul<D>);
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
