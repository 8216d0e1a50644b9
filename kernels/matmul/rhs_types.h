// What kernels of every ISA step need to know about a quantised weight type when they are compiled for it; see
// RhsPlanes in kernels/abi/layout.h. Constants only.
#pragma once
#include "kernels/abi/layout.h"

namespace smepilot {
namespace {

// One minimum for each block, added times d * sum(q) of the lhs.
template <DType D>
inline constexpr bool kHasMin = D == DType::kQ4_1 || D == DType::kQ5_1 || D == DType::kQ4_K || D == DType::kQ5_K;
// One minimum for each half of a block.
template <DType D>
inline constexpr bool kHasHalfMins = D == DType::kQ2_K;
// One scale for each half of a block, applied to the integers of that half. q2_k and q3_k have such scales too, but of
// so few bits that kernels multiply the integers with them.
template <DType D>
inline constexpr bool kHasHalves = D == DType::kQ6_K;
// A bit of its own for each element, above the nibble or the pair of bits.
template <DType D>
inline constexpr bool kHasSingleBits = D == DType::kQ5_0 || D == DType::kQ5_1 || D == DType::kQ3_K || D == DType::kQ5_K;

// Bytes of a block of 32 k in the planes, see rhs_block_bytes().
template <DType D>
inline constexpr size_t kQuantBytes = rhs_block_bytes(D).quants;
template <DType D>
inline constexpr size_t kHighBytes = rhs_block_bytes(D).high;
template <DType D>
inline constexpr size_t kScaleBytes = rhs_block_bytes(D).scale;

}  // namespace
}  // namespace smepilot
