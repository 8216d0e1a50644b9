// The matrix products of attention in stages on an SME unit with SME2: see stages_sme.h.
#include "kernels/attention/stages_sme.h"

namespace smepilot {

extern const KernelVariant kSme2AttentionTile;
constexpr KernelVariant kSme2AttentionTile = variant("attention_tile.f32.f32.f16.4vlx1vl.sme2.fmopa");

}  // namespace smepilot
