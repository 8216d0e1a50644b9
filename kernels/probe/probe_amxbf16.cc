#include "kernels/probe/probe_amx.h"

namespace smepilot {
namespace {

uint64_t flops_bf16(const ProbeArgs* a) noexcept {
  start_tiles(0x3e803f00);  // 0.5 and 0.25
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (int i = 0; i < kTileInner; ++i) {
      tile_dot_bf16<0, 4, 6>();
      tile_dot_bf16<1, 4, 7>();
      tile_dot_bf16<2, 5, 6>();
      tile_dot_bf16<3, 5, 7>();
    }
  }
  return stop_tiles();
}

}  // namespace

extern const Probe kProbeBf16AmxBf16;
const Probe kProbeBf16AmxBf16 = {
    "bf16.amxbf16", ProbeKind::kFlopsBf16, kIsaAmxBf16, ExecutionUnit::kMatrix, 2.0 * kTileMacs * 32 * 4 * kTileInner,
    flops_bf16};

}  // namespace smepilot
