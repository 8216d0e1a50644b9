#include "kernels/probe/probe_amx.h"

namespace smepilot {
namespace {

uint64_t flops_int8(const ProbeArgs* a) noexcept {
  start_tiles(0x0103fe02);
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (int i = 0; i < kTileInner; ++i) {
      tile_dot_s8<0, 4, 6>();
      tile_dot_s8<1, 4, 7>();
      tile_dot_s8<2, 5, 6>();
      tile_dot_s8<3, 5, 7>();
    }
  }
  return stop_tiles();
}

}  // namespace

extern const Probe kProbeInt8AmxInt8;
const Probe kProbeInt8AmxInt8 = {
    "int8.amxint8", ProbeKind::kFlopsInt8, kIsaAmxInt8, ExecutionUnit::kMatrix, 2.0 * kTileMacs * 64 * 4 * kTileInner,
    flops_int8};

}  // namespace smepilot
