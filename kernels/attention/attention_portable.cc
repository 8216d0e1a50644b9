// Attention over f16 and Q8_0 KV caches, portable.
#include "kernels/activation/simd_portable.h"

namespace smepilot {
namespace {
constexpr unsigned kTileRows = 4;     // most rows of a register tile
constexpr unsigned kRegisters = 16;   // vector registers
constexpr unsigned kStagedTiles = 2;  // register tiles from which sharing a conversion of K and V to f32 pays, measured
}  // namespace
}  // namespace smepilot

#include "kernels/attention/attention_call.h"

namespace smepilot {

extern const KernelVariant kPortableAttentionOnline, kPortableAttentionOnlineQ8_0, kPortableAttentionThreephase;

constexpr KernelVariant kPortableAttentionOnline =
    attention_variant("attention.f32.f32.f16.64x16.portable.online", kIsaPortable, DType::kF32, DType::kF16, kMaxRows,
                      attention_online<F16Cache>);

constexpr KernelVariant kPortableAttentionOnlineQ8_0 =
    attention_variant("attention.f32.f32.q8_0.256x16.portable.online", kIsaPortable, DType::kF32, DType::kQ8_0,
                      kMaxStagedRows, attention_online<Q8Cache>);

constexpr KernelVariant kPortableAttentionThreephase =
    attention_variant("attention.f32.f16.f16.64x16.portable.threephase", kIsaPortable, DType::kF16, DType::kF16,
                      kMaxRows, attention_threephase<F16Cache>);

}  // namespace smepilot
