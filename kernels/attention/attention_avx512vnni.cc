// Attention over a Q8_0 KV cache, avx512vnni.
#include "kernels/activation/simd_avx512.h"

namespace smepilot {
namespace {
constexpr unsigned kTileRows = 6;       // most rows of a register tile
constexpr unsigned kRegisters = 32;     // vector registers
constexpr unsigned kStagedTiles = ~0u;  // register tiles that share a conversion of f16 to f32: none, it costs nothing
}  // namespace
}  // namespace smepilot

#include "kernels/attention/q8_vnni.h"

namespace smepilot {

extern const KernelVariant kAvx512VnniAttentionOnlineQ8_0;

constexpr KernelVariant kAvx512VnniAttentionOnlineQ8_0 =
    attention_variant("attention.f32.f16.q8_0.256x16.avx512vnni.online", kIsaAvx512Vnni, DType::kF16, DType::kQ8_0,
                      kMaxStagedRows, attention_online_vnni);

}  // namespace smepilot
