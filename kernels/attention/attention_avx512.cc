// Attention over f16 and Q8_0 KV caches, avx512.
#include "kernels/activation/simd_avx512.h"

namespace smepilot {
namespace {
constexpr unsigned kTileRows = 6;       // most rows of a register tile
constexpr unsigned kRegisters = 32;     // vector registers
constexpr unsigned kStagedTiles = ~0u;  // register tiles that share a conversion of f16 to f32: none, it costs nothing
}  // namespace
}  // namespace smepilot

#include "kernels/attention/attention_call.h"

namespace smepilot {

extern const KernelVariant kAvx512AttentionOnline, kAvx512AttentionOnlineQ8_0, kAvx512AttentionThreephase;

constexpr KernelVariant kAvx512AttentionOnline =
    attention_variant("attention.f32.f32.f16.64x16.avx512.online", kIsaAvx512, DType::kF32, DType::kF16, kMaxRows,
                      attention_online<F16Cache>);

constexpr KernelVariant kAvx512AttentionOnlineQ8_0 =
    attention_variant("attention.f32.f32.q8_0.256x16.avx512.online", kIsaAvx512, DType::kF32, DType::kQ8_0,
                      kMaxStagedRows, attention_online<Q8Cache>);

constexpr KernelVariant kAvx512AttentionThreephase =
    attention_variant("attention.f32.f16.f16.64x16.avx512.threephase", kIsaAvx512, DType::kF16, DType::kF16, kMaxRows,
                      attention_threephase<F16Cache>);

}  // namespace smepilot
