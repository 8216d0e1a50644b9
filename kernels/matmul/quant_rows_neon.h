// Quantised weights times quantised activations on cores: the loops over panels, chunks of k and rows, which the NEON,
// dot-product and matrix-multiply kernels share. Internal linkage. A translation unit brings a Kernel for each type:
//   kTile             rows of its register tile: 1, 2 or 4
//   kPasses<R>        passes over the weights in which it takes R rows
//   Direct            weights straight from a panel: made of (panel, planes, block)
//   Chunk, decode_chunk(), Chunked   up to kChunkBlocks blocks decoded, and weights from there
//   add<R, Alone>()   adds blocks of R rows to sums, which have an even number of rows if R > 1. Alone: the lhs panel
//                     has no others
#pragma once
#include "kernels/abi/compiler.h"
#include "kernels/abi/describe.h"
#include "kernels/matmul/rhs_block_neon.h"

namespace smepilot {
namespace {

constexpr uint32_t kMr = 32;  // rows of one call

// Weights in the panel, from block kb on.
template <DType D, Quants Q>
struct DirectBlocks {
  const uint8_t* panel;
  RhsPlanes at;
  ScaleView scales;
  size_t kb;
  DirectBlocks(const uint8_t* p, const RhsPlanes& planes, size_t block) noexcept
      : panel(p), at(planes), scales(scale_view(p, planes)), kb(block) {}
  SMEPILOT_INLINE Pair weights(uint32_t b, int i, int g) const noexcept {
    return load_pair<D, Q>(panel_view<D>(panel, at, kb + b), i, g);
  }
  SMEPILOT_INLINE Scales load_scale(uint32_t b, int c) const noexcept { return load_scales<D>(scales, kb + b, c); }
};

template <DType D>
struct DecodedBlocks {
  const Decoded& decoded;
  SMEPILOT_INLINE Pair weights(uint32_t b, int i, int g) const noexcept { return decoded.pair(b, i, g); }
  SMEPILOT_INLINE Scales load_scale(uint32_t b, int c) const noexcept {
    return decoded_scales<D>(decoded.scales, b, c);
  }
};

// R rows, at most one register tile: every pass uses the weights once, straight from the panel.
template <typename Kernel, int R>
void few_rows(const MatmulArgs* args) noexcept {
  const uint32_t blocks = args->k / kQ8Block;
  // One pass takes all of k; where there are two, the second should find the weights in L1.
  const uint32_t step = Kernel::template kPasses<R> == 1 ? blocks : kChunkBlocks;
  const RhsPlanes at = rhs_planes(Kernel::kType, args->k);
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  const uint8_t* lhs = static_cast<const uint8_t*>(args->lhs);
  for (uint32_t n = 0; n < args->n; n += kPanel, panel += args->rhs_stride) {
    alignas(64) float sums[R == 1 ? 1 : (R + 1) / 2 * 2][16] = {};
    for (uint32_t kb = 0; kb < blocks; kb += step) {
      const typename Kernel::Direct weights(panel, at, kb);
      Kernel::template add<R, true>(lhs + size_t{kb} * R * kLhsQ8BlockBytes, R, 0, weights,
                                    blocks - kb < step ? blocks - kb : step, sums);
    }
    store_rows(sums, R, args->n - n, args->dst + n, args->dst_stride);
  }
}

// A chunk of a panel is decoded once for all rows of the call.
template <typename Kernel>
void many_rows(const MatmulArgs* args) noexcept {
  const uint32_t blocks = args->k / kQ8Block, m = args->m;
  const RhsPlanes at = rhs_planes(Kernel::kType, args->k);
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  const uint8_t* lhs = static_cast<const uint8_t*>(args->lhs);
  typename Kernel::Chunk chunk;
  for (uint32_t n = 0; n < args->n; n += kPanel, panel += args->rhs_stride) {
    alignas(64) float sums[kMr][16] = {};
    for (uint32_t kb = 0; kb < blocks; kb += kChunkBlocks) {
      const uint32_t count = blocks - kb < kChunkBlocks ? blocks - kb : kChunkBlocks;
      Kernel::decode_chunk(panel, at, kb, count, chunk);
      const typename Kernel::Chunked weights{chunk};
      for (uint32_t row = 0; row < m; row += Kernel::kTile) {
        const uint32_t first = row / kPanel * kPanel, height = m - first < kPanel ? m - first : kPanel;
        const uint8_t* block = lhs + lhs_q8_bytes(first, args->k) + size_t{kb} * height * kLhsQ8BlockBytes;
        const auto add = [&]<int R>() noexcept {
          Kernel::template add<R, false>(block, height, row - first, weights, count, sums + row);
        };
        const uint32_t left = m - row;
        if (left >= Kernel::kTile) {
          add.template operator()<static_cast<int>(Kernel::kTile)>();
          continue;
        }
        if constexpr (Kernel::kTile > 2) {
          if (left == 3) add.template operator()<3>();
          if (left == 2) add.template operator()<2>();
        }
        if constexpr (Kernel::kTile > 1) {
          if (left == 1) add.template operator()<1>();
        }
      }
    }
    store_rows(sums, m, args->n - n, args->dst + n, args->dst_stride);
  }
}

// OneRow: the kernel that takes a single row.
template <typename Kernel, typename OneRow = Kernel>
void matmul(const MatmulArgs* args) noexcept {
  if (args->m == 1) return few_rows<OneRow, 1>(args);
  if constexpr (Kernel::kTile >= 2) {
    if (args->m == 2) return few_rows<Kernel, 2>(args);
  }
  if constexpr (Kernel::kTile >= 4) {
    if (args->m == 3) return few_rows<Kernel, 3>(args);
    if (args->m == 4) return few_rows<Kernel, 4>(args);
  }
  many_rows<Kernel>(args);
}

}  // namespace
}  // namespace smepilot
