// Attention over a Q8_0 KV cache, dotprod.
#include "kernels/activation/simd_neon.h"

namespace smepilot {
namespace {
constexpr unsigned kTileRows = 5;     // most rows of a register tile: with 6, both halves of a K line do not fit
constexpr unsigned kRegisters = 32;   // vector registers
constexpr unsigned kStagedTiles = 3;  // register tiles from which K and V are converted to f32 once for all
}  // namespace
}  // namespace smepilot

#include "kernels/attention/q8_dotprod.h"

namespace smepilot {

extern const KernelVariant kDotprodAttentionOnlineQ8_0;

constexpr KernelVariant kDotprodAttentionOnlineQ8_0 =
    attention_variant("attention.f32.f16.q8_0.256x16.dotprod.online", kIsaNeon | kIsaDotprod, DType::kF16, DType::kQ8_0,
                      kMaxStagedRows, attention_online_dotprod);

}  // namespace smepilot
