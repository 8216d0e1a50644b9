// F32, F16 and BF16 weights times f32 activations with fused multiply-adds: the loops, for any vector width. An ISA's
// translation unit includes it with a Simd type that supplies the vectors; everything here has internal linkage, so
// that each gets its own copy, compiled with its flags.
//
// A register tile is Simd::kRows rows by Simd::kPanels panels. Several tiles of rows read the panels one after the
// other. Where that would convert 16-bit weights to f32 too often (Simd::kConvertsOnce), they go through K in chunks:
// the chunk's weights, converted once, stay in L1 while all rows of the call use them.
#pragma once
#include "kernels/abi/compiler.h"
#include "kernels/abi/describe.h"

namespace smepilot {
namespace {

constexpr uint32_t kMr = 48;      // rows of a call
constexpr uint32_t kChunk = 128;  // k steps of a chunk, even

// Loads Simd::kLanes columns from `lane` on, at step k of a panel.
template <typename Simd, DType D, bool Odd>
SMEPILOT_INLINE typename Simd::F load_weights(const uint8_t* panel, size_t k, int lane) noexcept {
  if constexpr (D == DType::kF32) return Simd::load_f32(panel + k * 64 + lane * 4);
  if constexpr (D == DType::kF16) return Simd::load_f16(panel + k * 32 + lane * 2);
  if constexpr (D == DType::kBF16) {
    const uint8_t* pair = panel + k / 2 * 64 + lane * 4;  // even k in the low half of each 32 bits, odd k in the high
    return Odd ? Simd::load_bf16_high(pair) : Simd::load_bf16_low(pair);
  }
}

// x: R rows, x_stride bytes apart; panels panel_stride bytes apart; sum: [R][V] vectors, V vectors in P panels.
template <typename Simd, DType D, int R, int P>
struct Tile {
  using F = typename Simd::F;
  static constexpr int kPerPanel = static_cast<int>(kPanel) / Simd::kLanes;
  static constexpr int kV = P * kPerPanel;
  // Sums kept apart so that a few rows do not wait for one multiply-add to end before the next may start.
  static constexpr int kChains = R * kV >= 8 ? 1 : R * kV >= 4 ? 2 : 4;

  template <bool Odd>
  static SMEPILOT_INLINE void step(const uint8_t* x, size_t x_stride, const uint8_t* panel, size_t panel_stride,
                                   size_t k, F (*sum)[kV]) noexcept {
    F w[kV];
    SMEPILOT_UNROLL
    for (int v = 0; v < kV; ++v)
      w[v] = load_weights<Simd, D, Odd>(panel + static_cast<size_t>(v / kPerPanel) * panel_stride, k,
                                        v % kPerPanel * Simd::kLanes);
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      const F a = Simd::broadcast(x + static_cast<size_t>(r) * x_stride + k * 4);
      SMEPILOT_UNROLL
      for (int v = 0; v < kV; ++v) sum[r][v] = Simd::fma(w[v], a, sum[r][v]);
    }
  }

  static SMEPILOT_INLINE void add(const uint8_t* x, size_t x_stride, const uint8_t* panel, size_t panel_stride,
                                  size_t count, F (*sum)[kV]) noexcept {
    F part[kChains][R][kV];
    SMEPILOT_UNROLL
    for (int c = 0; c < kChains; ++c) {
      SMEPILOT_UNROLL
      for (int r = 0; r < R; ++r) {
        SMEPILOT_UNROLL
        for (int v = 0; v < kV; ++v) part[c][r][v] = c == 0 ? sum[r][v] : Simd::zero();
      }
    }
    size_t k = 0;
    for (; k + 4 <= count; k += 4) {
      step<false>(x, x_stride, panel, panel_stride, k, part[0]);
      step<true>(x, x_stride, panel, panel_stride, k + 1, part[1 % kChains]);
      step<false>(x, x_stride, panel, panel_stride, k + 2, part[2 % kChains]);
      step<true>(x, x_stride, panel, panel_stride, k + 3, part[3 % kChains]);
    }
    if (k < count) step<false>(x, x_stride, panel, panel_stride, k, part[0]);
    if (k + 1 < count) step<true>(x, x_stride, panel, panel_stride, k + 1, part[1 % kChains]);
    if (k + 2 < count) step<false>(x, x_stride, panel, panel_stride, k + 2, part[2 % kChains]);
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      SMEPILOT_UNROLL
      for (int v = 0; v < kV; ++v) {
        sum[r][v] = part[0][r][v];
        SMEPILOT_UNROLL
        for (int c = 1; c < kChains; ++c) sum[r][v] = Simd::add(sum[r][v], part[c][r][v]);
      }
    }
  }

  // Writes `columns` of the tile's columns.
  static SMEPILOT_INLINE void store(const F (*sum)[kV], float* dst, size_t dst_stride, uint32_t columns) noexcept {
    SMEPILOT_UNROLL
    for (int v = 0; v < kV; ++v) {
      const uint32_t at = static_cast<uint32_t>(v * Simd::kLanes);
      if (at >= columns) break;
      const uint32_t here = columns - at < Simd::kLanes ? columns - at : Simd::kLanes;
      SMEPILOT_UNROLL
      for (int r = 0; r < R; ++r) Simd::store(dst + static_cast<size_t>(r) * dst_stride + at, sum[r][v], here);
    }
  }

  static void direct(const MatmulArgs* args, const uint8_t* panel, float* dst, uint32_t columns) noexcept {
    F sum[R][kV];
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      SMEPILOT_UNROLL
      for (int v = 0; v < kV; ++v) sum[r][v] = Simd::zero();
    }
    add(static_cast<const uint8_t*>(args->lhs), args->lhs_stride, panel, args->rhs_stride, args->k, sum);
    store(sum, dst, args->dst_stride, columns);
  }
};

struct Step {  // one chunk of K for one tile of rows
  const uint8_t* x;
  size_t x_stride;
  const uint8_t* panel;
  size_t panel_stride;
  size_t count;
  float* sums;  // [R][kV * kLanes], carried between chunks
  float* dst;
  size_t dst_stride;
  uint32_t columns;
  bool first, last;
};

template <typename Simd, int R, int P>
void chunk_step(const Step& s) noexcept {
  using T = Tile<Simd, DType::kF32, R, P>;
  typename T::F sum[R][T::kV];
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int v = 0; v < T::kV; ++v)
      sum[r][v] = s.first ? Simd::zero()
                          : Simd::load_f32(reinterpret_cast<const uint8_t*>(s.sums + (r * T::kV + v) * Simd::kLanes));
  }
  if (s.last) {  // where the sums go, so that stores need not wait for it
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      SMEPILOT_UNROLL
      for (int p = 0; p < P; ++p)
        __builtin_prefetch(s.dst + static_cast<size_t>(r) * s.dst_stride + p * static_cast<int>(kPanel), 0, 2);
    }
  }
  T::add(s.x, s.x_stride, s.panel, s.panel_stride, s.count, sum);
  if (s.last) {
    T::store(sum, s.dst, s.dst_stride, s.columns);
    return;
  }
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int v = 0; v < T::kV; ++v)
      Simd::store(s.sums + (r * T::kV + v) * Simd::kLanes, sum[r][v], static_cast<uint32_t>(Simd::kLanes));
  }
}

// Whether several tiles of rows go through K in chunks.
template <typename Simd, DType D>
constexpr bool kChunks = Simd::kConvertsOnce && D != DType::kF32;

// The functions of all row counts up to R, in order: kTable[R - 1] is that of R rows.
using DirectFn = void (*)(const MatmulArgs*, const uint8_t*, float*, uint32_t) noexcept;
using StepFn = void (*)(const Step&) noexcept;
template <typename Simd, DType D, int P>
struct Tables {
  DirectFn direct[Simd::kRows];
  StepFn step[Simd::kRows];
  template <int R = 1>
  constexpr void fill() noexcept {
    direct[R - 1] = Tile<Simd, D, R, P>::direct;
    if constexpr (kChunks<Simd, D>) step[R - 1] = chunk_step<Simd, R, P>;
    if constexpr (R < Simd::kRows) fill<R + 1>();
  }
  constexpr Tables() noexcept : direct{}, step{} { fill(); }
};

struct alignas(64) Scratch {
  float w[2][kChunk][kPanel];
  float sums[kMr][2 * kPanel];
};

template <typename Simd, DType D, int P>
SMEPILOT_INLINE void panels_in_chunks(const MatmulArgs* args, const Tables<Simd, D, P>& tables, const uint8_t* panel,
                                      float* dst, uint32_t columns, Scratch& scratch) noexcept {
  constexpr uint32_t kRows = static_cast<uint32_t>(Simd::kRows);
  for (uint32_t k0 = 0; k0 < args->k; k0 += kChunk) {
    Step s;
    s.count = args->k - k0 < kChunk ? args->k - k0 : kChunk;
    s.x_stride = args->lhs_stride;
    s.dst_stride = args->dst_stride;
    s.columns = columns;
    s.first = k0 == 0;
    s.last = k0 + s.count == args->k;
    s.panel = reinterpret_cast<const uint8_t*>(scratch.w);
    s.panel_stride = sizeof scratch.w[0];
    for (int p = 0; p < P; ++p) {
      const uint8_t* from = panel + static_cast<size_t>(p) * args->rhs_stride;
      for (size_t k = 0; k < s.count; k += 2) {
        SMEPILOT_UNROLL
        for (int lane = 0; lane < static_cast<int>(kPanel); lane += Simd::kLanes) {
          Simd::store(&scratch.w[p][k][lane], load_weights<Simd, D, false>(from, k0 + k, lane), Simd::kLanes);
          if (k + 1 < s.count)
            Simd::store(&scratch.w[p][k + 1][lane], load_weights<Simd, D, true>(from, k0 + k + 1, lane), Simd::kLanes);
        }
      }
    }
    for (uint32_t m0 = 0; m0 < args->m;) {
      const uint32_t rows = args->m - m0 < kRows ? args->m - m0 : kRows;
      s.x = static_cast<const uint8_t*>(args->lhs) + m0 * args->lhs_stride + size_t{k0} * 4;
      s.sums = scratch.sums[m0];
      s.dst = dst + m0 * args->dst_stride;
      tables.step[rows - 1](s);
      m0 += rows;
    }
  }
}

// All rows of the call against P panels, `columns` of whose columns exist.
template <typename Simd, DType D, int P>
SMEPILOT_INLINE void panels(const MatmulArgs* args, const uint8_t* panel, float* dst, uint32_t columns,
                            [[maybe_unused]] Scratch& scratch) noexcept {
  static constexpr Tables<Simd, D, P> kTables;
  constexpr uint32_t kRows = static_cast<uint32_t>(Simd::kRows);
  if constexpr (kChunks<Simd, D>) {
    if (args->m > kRows) return panels_in_chunks<Simd, D, P>(args, kTables, panel, dst, columns, scratch);
  }
  MatmulArgs part = *args;
  for (uint32_t m0 = 0; m0 < args->m; m0 += part.m) {
    part.m = args->m - m0 < kRows ? args->m - m0 : kRows;
    part.lhs = static_cast<const uint8_t*>(args->lhs) + m0 * args->lhs_stride;
    kTables.direct[part.m - 1](&part, panel, dst + m0 * args->dst_stride, columns);
  }
}

template <typename Simd, DType D>
void matmul(const MatmulArgs* args) noexcept {
  Scratch scratch;
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  float* dst = args->dst;
  uint32_t left = args->n;
  if constexpr (Simd::kPanels == 2) {
    while (left > kPanel && args->m > 1) {  // a single row reads one panel after the other, as memory likes it best
      const uint32_t columns = left < 2 * kPanel ? left : 2 * kPanel;
      panels<Simd, D, 2>(args, panel, dst, columns, scratch);
      panel += 2 * args->rhs_stride;
      dst += columns;
      left -= columns;
    }
  }
  while (left > 0) {
    const uint32_t columns = left < kPanel ? left : kPanel;
    panels<Simd, D, 1>(args, panel, dst, columns, scratch);
    panel += args->rhs_stride;
    dst += columns;
    left -= columns;
  }
}

template <typename Simd, DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return matmul_variant(id, Simd::kIsa, DType::kF32, D, kMr, matmul<Simd, D>);
}

}  // namespace
}  // namespace smepilot
