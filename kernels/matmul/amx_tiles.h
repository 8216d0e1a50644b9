// AMX tile registers, for every operator. In assembly, because g++'s intrinsics paste the tile number into it as text
// and so accept no template parameter. Internal linkage.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "kernels/abi/compiler.h"

namespace smepilot {
namespace {

// The operand of LDTILECFG (Intel SDM volume 1, chapter 18): eight full tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

SMEPILOT_INLINE void tiles_on(const TileConfig& c) noexcept {
  // Not the intrinsic: in g++ 12 it names only the first bytes as read, and the stores to the rest would be lost.
  __asm__ volatile("ldtilecfg %0" : : "m"(c) : "memory");
}
SMEPILOT_INLINE void tiles_off() noexcept {
  __asm__ volatile("tilerelease" : : : "memory");
}
template <int Tile>
SMEPILOT_INLINE void tile_zero() noexcept {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(Tile));
}
// Rows `stride` bytes apart.
template <int Tile>
SMEPILOT_INLINE void tile_load(const void* p, size_t stride = 64) noexcept {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "i"(Tile) : "memory");
}
template <int Tile>
SMEPILOT_INLINE void tile_store(void* p, size_t stride = 64) noexcept {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(stride), "i"(Tile) : "memory");
}
// C += A * B. s8: C[16][16] i32, A[16][64], B[16][16][4], both signed. bf16: C f32, A[16][32], B[16][16][2].
template <int C, int A, int B>
SMEPILOT_INLINE void tile_dot_s8() noexcept {
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}
template <int C, int A, int B>
SMEPILOT_INLINE void tile_dot_bf16() noexcept {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}

}  // namespace
}  // namespace smepilot
