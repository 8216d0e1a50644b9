// Weights times activations in panels of floats (kLhsF32Panel16 and its like), with NEON: the loops. These are the left
// operands of the matrix unit's float kernels, so both sides of a coop matmul can read the same ones. Internal linkage:
// included by translation units that bring a Type, which says how to multiply a step, one 32-bit word of each row and
// each column:
//   kLhs        the layout of the activations
//   kWidened    bytes of a step of weights that are widened to f32 once for all rows of a call; 0: they never are
//   widen()     a step of weights to those
//   multiply()  a step of R rows times 16 columns, of weights as they lie, or (Widened) of widened ones
//
// Register tile: 4 rows x 16 columns. A chunk of a panel stays in L1 while all rows of the call use it.
#pragma once
#include <arm_neon.h>

#include "kernels/abi/compiler.h"
#include "kernels/abi/describe.h"

namespace smepilot {
namespace {

constexpr uint32_t kMr = 32;      // rows of one call
constexpr uint32_t kTile = 4;     // rows of the register tile
constexpr size_t kChunk = 128;    // steps: 8 KiB of weights
constexpr size_t kWordBytes = 4;  // of one row, or of one column

// A step of R rows. No byte more than that: the last panel ends with it.
template <int R>
SMEPILOT_INLINE uint32x4_t load_rows(const uint8_t* p) noexcept {
  const uint32_t* words = reinterpret_cast<const uint32_t*>(p);
  if constexpr (R == 4) return vld1q_u32(words);
  if constexpr (R == 3) return vld1q_lane_u32(words + 2, vcombine_u32(vld1_u32(words), vdup_n_u32(0)), 2);
  if constexpr (R == 2) return vcombine_u32(vld1_u32(words), vdup_n_u32(0));
  return vld1q_dup_u32(words);
}

// Adds `steps` of k: R rows, `stride` bytes from step to step, times 16 columns.
template <typename Type, bool Widened, int R>
SMEPILOT_INLINE void add_tile(const uint8_t* x, size_t stride, const uint8_t* weights, size_t steps,
                              float (*sums)[16]) noexcept {
  // One row has 4 accumulators, too few to hide the latency: every other step gets its own.
  constexpr int kSets = R == 1 ? 2 : 1;
  constexpr size_t kStepBytes = Widened ? Type::kWidened : kPanel * kWordBytes;
  float32x4_t acc[kSets][R][4];
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) {
      acc[0][r][c] = vld1q_f32(sums[r] + 4 * c);
      if (kSets == 2) acc[kSets - 1][r][c] = vdupq_n_f32(0);
    }
  }
  size_t i = 0;
  for (; i + 2 <= steps; i += 2, x += 2 * stride, weights += 2 * kStepBytes) {
    Type::template multiply<Widened, R>(load_rows<R>(x), weights, acc[0]);
    Type::template multiply<Widened, R>(load_rows<R>(x + stride), weights + kStepBytes, acc[kSets - 1]);
  }
  if (i < steps) Type::template multiply<Widened, R>(load_rows<R>(x), weights, acc[0]);
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c)
      vst1q_f32(sums[r] + 4 * c, kSets == 2 ? vaddq_f32(acc[0][r][c], acc[kSets - 1][r][c]) : acc[0][r][c]);
  }
}

// All rows of the call, a chunk of k.
template <typename Type, bool Widened>
SMEPILOT_INLINE void add_rows(const MatmulArgs* args, const uint8_t* weights, size_t at, size_t count,
                              float (*sums)[16]) noexcept {
  for (uint32_t row = 0; row < args->m; row += kTile) {
    const uint32_t first = row / kPanel * kPanel;
    const uint32_t height = args->m - first < kPanel ? args->m - first : kPanel;
    const size_t stride = height * kWordBytes;
    const uint8_t* x = static_cast<const uint8_t*>(args->lhs) + lhs_bytes(Type::kLhs, first, args->k) + at * stride +
                       (row - first) * kWordBytes;
    switch (args->m - row) {
      case 1: add_tile<Type, Widened, 1>(x, stride, weights, count, sums + row); break;
      case 2: add_tile<Type, Widened, 2>(x, stride, weights, count, sums + row); break;
      case 3: add_tile<Type, Widened, 3>(x, stride, weights, count, sums + row); break;
      default: add_tile<Type, Widened, 4>(x, stride, weights, count, sums + row); break;
    }
  }
}

template <typename Type>
void matmul(const MatmulArgs* args) noexcept {
  constexpr size_t kWidenedBytes = Type::kWidened == 0 ? 1 : kChunk * Type::kWidened;
  alignas(64) uint8_t widened[kWidenedBytes];
  const size_t steps = lhs_bytes(Type::kLhs, 1, args->k) / kWordBytes;
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  for (uint32_t n = 0; n < args->n; n += kPanel, panel += args->rhs_stride) {
    alignas(64) float sums[kMr][16] = {};
    for (size_t at = 0; at < steps; at += kChunk) {
      const size_t count = steps - at < kChunk ? steps - at : kChunk;
      const uint8_t* weights = panel + at * kPanel * kWordBytes;
      if constexpr (Type::kWidened != 0) {
        if (args->m > kTile) {
          for (size_t i = 0; i < count; ++i)
            Type::widen(weights + i * kPanel * kWordBytes, reinterpret_cast<float*>(widened + i * Type::kWidened));
          add_rows<Type, true>(args, widened, at, count, sums);
          continue;
        }
      }
      add_rows<Type, false>(args, weights, at, count, sums);
    }
    const uint32_t columns = args->n - n < kPanel ? args->n - n : kPanel;
    for (uint32_t r = 0; r < args->m; ++r) {
      float* dst = args->dst + r * args->dst_stride + n;
      for (uint32_t c = 0; c < columns; ++c) dst[c] = sums[r][c];
    }
  }
}

template <typename Type>
constexpr KernelVariant variant(const char* id, IsaSet isa) noexcept {
  KernelVariant v = matmul_variant(id, isa, Type::kType, Type::kType, kMr, matmul<Type>);
  v.lhs_layout = Type::kLhs;
  return v;
}

}  // namespace
}  // namespace smepilot
