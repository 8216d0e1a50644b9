// Attention over f16 and Q8_0 KV caches, neon.
#include "kernels/activation/simd_neon.h"

namespace smepilot {
namespace {
constexpr unsigned kTileRows = 5;     // most rows of a register tile: with 6, both halves of a K line do not fit
constexpr unsigned kRegisters = 32;   // vector registers
constexpr unsigned kStagedTiles = 3;  // register tiles from which K and V are converted to f32 once for all
}  // namespace
}  // namespace smepilot

#include "kernels/attention/attention_call.h"

namespace smepilot {

extern const KernelVariant kNeonAttentionOnline, kNeonAttentionOnlineQ8_0, kNeonAttentionThreephase;

constexpr KernelVariant kNeonAttentionOnline =
    attention_variant("attention.f32.f32.f16.64x16.neon.online", kIsaNeon, DType::kF32, DType::kF16, kMaxRows,
                      attention_online<F16Cache>);

constexpr KernelVariant kNeonAttentionOnlineQ8_0 =
    attention_variant("attention.f32.f32.q8_0.256x16.neon.online", kIsaNeon, DType::kF32, DType::kQ8_0, kMaxStagedRows,
                      attention_online<Q8Cache>);

constexpr KernelVariant kNeonAttentionThreephase =
    attention_variant("attention.f32.f16.f16.64x16.neon.threephase", kIsaNeon, DType::kF16, DType::kF16, kMaxRows,
                      attention_threephase<F16Cache>);

}  // namespace smepilot
