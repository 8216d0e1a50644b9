// Attention over the f16 KV cache, avx512.
#include "kernels/activation/simd_avx512.h"

namespace smepilot {
namespace {
constexpr unsigned kTileRows = 8;     // most rows of a register tile
constexpr unsigned kRegisters = 32;   // vector registers
constexpr unsigned kStagedTiles = 3;  // register tiles from which sharing a conversion of K and V to f32 pays, measured
}  // namespace
}  // namespace smepilot

#include "kernels/attention/attention_tiles.h"

namespace smepilot {

extern const KernelVariant kAvx512AttentionOnline, kAvx512AttentionThreephase;

constexpr KernelVariant kAvx512AttentionOnline =
    attention_variant("attention.f32.f32.f16.64x16.avx512.online", kIsaAvx512, DType::kF32, kMaxRows, attention_online);

constexpr KernelVariant kAvx512AttentionThreephase = attention_variant(
    "attention.f32.f16.f16.64x16.avx512.threephase", kIsaAvx512, DType::kF16, kMaxRows, attention_threephase);

}  // namespace smepilot
