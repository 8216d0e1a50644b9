// AMX: four accumulator tiles hide the 52 cycles of a tile multiply that starts every 16 (Intel optimisation manual,
// chapter on AMX). Internal linkage only.
#pragma once
#include <immintrin.h>

#include "kernels/probe/probe_loop.h"

namespace smepilot {
namespace {

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

constexpr int kTileInner = 64;
constexpr double kTileMacs = 16 * 16;  // results of one tile multiply, times its depth

// Configures 8 full tiles and fills them: 0-3 accumulators with zeros, 4-7 operands with `operand` in every 32 bits.
SMEPILOT_INLINE void start_tiles(uint32_t operand) noexcept {
  TileConfig config;
  alignas(64) uint32_t zero[16 * 16], values[16 * 16];
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = 64;
    config.rows[i] = 16;
  }
  for (uint32_t i = 0; i < 16 * 16; ++i) {
    zero[i] = 0;
    values[i] = operand;
  }
  SMEPILOT_MEMORY_BARRIER();  // the compiler does not see that tile loads read these arrays
  _tile_loadconfig(&config);
  _tile_loadd(0, zero, 64);
  _tile_loadd(1, zero, 64);
  _tile_loadd(2, zero, 64);
  _tile_loadd(3, zero, 64);
  _tile_loadd(4, values, 64);
  _tile_loadd(5, values, 64);
  _tile_loadd(6, values, 64);
  _tile_loadd(7, values, 64);
}

SMEPILOT_INLINE uint64_t stop_tiles() noexcept {
  alignas(64) uint32_t out[16 * 16];
  uint64_t sum = 0;
  _tile_stored(0, out, 64);
  SMEPILOT_MEMORY_BARRIER();
  sum += out[0];
  _tile_stored(3, out, 64);
  SMEPILOT_MEMORY_BARRIER();
  sum += out[255];
  _tile_release();
  return sum;
}

}  // namespace
}  // namespace smepilot
