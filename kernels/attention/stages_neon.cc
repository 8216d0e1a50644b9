// Attention in stages over f16 and Q8_0 KV caches, neon.
#include "kernels/activation/simd_neon.h"

namespace smepilot {
namespace {
constexpr unsigned kScorePositions = 4, kScoreVectors = 4;  // register tile of scores: positions x vectors of rows
constexpr unsigned kValueRows = 8, kValueVectors = 2;       // of outputs: rows x vectors of elements
}  // namespace
}  // namespace smepilot

#include "kernels/attention/stage_tiles.h"

namespace smepilot {

extern const KernelVariant kNeonAttentionTile, kNeonAttentionTileQ8_0;

constexpr KernelVariant kNeonAttentionTile =
    attention_tile_variant("attention_tile.f32.f32.f16.256x16.neon.fma", kIsaNeon, DType::kF32, DType::kF16,
                           kMostTileRows, &kStages<F16Cache>);

constexpr KernelVariant kNeonAttentionTileQ8_0 =
    attention_tile_variant("attention_tile.f32.f32.q8_0.256x16.neon.fma", kIsaNeon, DType::kF32, DType::kQ8_0,
                           kMostTileRows, &kStages<Q8Cache>);

}  // namespace smepilot
