// The matrix products of attention in stages on an SME unit with SME: see stages_sme.h.
#include "kernels/attention/stages_sme.h"

namespace smepilot {

extern const KernelVariant kSmeAttentionTile, kSmeAttentionTileQ8_0;
constexpr KernelVariant kSmeAttentionTile = variant<DType::kF16>("attention_tile.f32.f32.f16.4vlx1vl.sme.fmopa");
constexpr KernelVariant kSmeAttentionTileQ8_0 = variant<DType::kQ8_0>("attention_tile.f32.f32.q8_0.4vlx1vl.sme.fmopa");

}  // namespace smepilot
