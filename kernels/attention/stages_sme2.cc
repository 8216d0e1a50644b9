// The matrix products of attention in stages on an SME unit with SME2: see stages_sme.h.
#include "kernels/attention/stages_sme.h"

namespace smepilot {

extern const KernelVariant kSme2AttentionTile, kSme2AttentionTileQ8_0;
constexpr KernelVariant kSme2AttentionTile = variant<DType::kF16>("attention_tile.f32.f32.f16.4vlx1vl.sme2.fmopa");
constexpr KernelVariant kSme2AttentionTileQ8_0 =
    variant<DType::kQ8_0>("attention_tile.f32.f32.q8_0.4vlx1vl.sme2.fmopa");

}  // namespace smepilot
