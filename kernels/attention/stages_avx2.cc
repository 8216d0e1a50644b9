// Attention in stages over f16 and Q8_0 KV caches, avx2.
#include "kernels/activation/simd_avx2.h"

namespace smepilot {
namespace {
constexpr unsigned kScorePositions = 4, kScoreVectors = 2;  // register tile of scores: positions x vectors of rows
constexpr unsigned kValueRows = 4, kValueVectors = 2;       // of outputs: rows x vectors of elements
}  // namespace
}  // namespace smepilot

#include "kernels/attention/stage_tiles.h"

namespace smepilot {

extern const KernelVariant kAvx2AttentionTile, kAvx2AttentionTileQ8_0;

constexpr KernelVariant kAvx2AttentionTile =
    attention_tile_variant("attention_tile.f32.f32.f16.256x16.avx2.fma", kIsaAvx2, DType::kF32, DType::kF16,
                           kMostTileRows, &kStages<F16Cache>);

constexpr KernelVariant kAvx2AttentionTileQ8_0 =
    attention_tile_variant("attention_tile.f32.f32.q8_0.256x16.avx2.fma", kIsaAvx2, DType::kF32, DType::kQ8_0,
                           kMostTileRows, &kStages<Q8Cache>);

}  // namespace smepilot
