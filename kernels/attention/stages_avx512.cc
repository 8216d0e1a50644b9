// Attention in stages over f16 and Q8_0 KV caches, avx512.
#include "kernels/activation/simd_avx512.h"

namespace smepilot {
namespace {
constexpr unsigned kScorePositions = 8, kScoreVectors = 2;  // register tile of scores: positions x vectors of rows
constexpr unsigned kValueRows = 4, kValueVectors = 4;       // of outputs: rows x vectors of elements
}  // namespace
}  // namespace smepilot

#include "kernels/attention/stage_tiles.h"

namespace smepilot {

extern const KernelVariant kAvx512AttentionTile, kAvx512AttentionTileQ8_0;

constexpr KernelVariant kAvx512AttentionTile =
    attention_tile_variant("attention_tile.f32.f32.f16.256x16.avx512.fma", kIsaAvx512, DType::kF32, DType::kF16,
                           kMostTileRows, &kStages<F16Cache>);

constexpr KernelVariant kAvx512AttentionTileQ8_0 =
    attention_tile_variant("attention_tile.f32.f32.q8_0.256x16.avx512.fma", kIsaAvx512, DType::kF32, DType::kQ8_0,
                           kMostTileRows, &kStages<Q8Cache>);

}  // namespace smepilot
