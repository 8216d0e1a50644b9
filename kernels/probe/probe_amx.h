// AMX: four accumulator tiles hide the 52 cycles of a tile multiply that starts every 16 (Intel optimisation manual,
// chapter on AMX). Internal linkage only.
#pragma once
#include "kernels/matmul/amx_tiles.h"
#include "kernels/probe/probe_loop.h"

namespace smepilot {
namespace {

constexpr int kTileInner = 64;
constexpr double kTileMacs = 16 * 16;  // results of one tile multiply, times its depth

// Configures 8 full tiles and fills them: 0-3 accumulators with zeros, 4-7 operands with `operand` in every 32 bits.
SMEPILOT_INLINE void start_tiles(uint32_t operand) noexcept {
  alignas(64) uint32_t values[16 * 16];
  for (uint32_t& value : values) value = operand;
  tiles_on({});
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  tile_load<4>(values);
  tile_load<5>(values);
  tile_load<6>(values);
  tile_load<7>(values);
}

SMEPILOT_INLINE uint64_t stop_tiles() noexcept {
  alignas(64) uint32_t out[16 * 16];
  uint64_t sum = 0;
  tile_store<0>(out);
  sum += out[0];
  tile_store<3>(out);
  sum += out[255];
  tiles_off();
  return sum;
}

}  // namespace
}  // namespace smepilot
