// The matrix products of attention in stages on an SME unit with SME: see stages_sme.h.
#include "kernels/attention/stages_sme.h"

namespace smepilot {

extern const KernelVariant kSmeAttentionTile;
constexpr KernelVariant kSmeAttentionTile = variant("attention_tile.f32.f32.f16.4vlx1vl.sme.fmopa");

}  // namespace smepilot
