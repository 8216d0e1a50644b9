#include "tests/kernels/checks/checks.h"

namespace smepilot::test {

void check_variant(const KernelVariant& variant, Comparator& comparator) {
  switch (variant.op) {
    case OpKind::kMatmul: return check_matmul(variant, comparator);
    case OpKind::kAttention: return check_attention(variant, comparator);
    case OpKind::kNorm: return check_norm(variant, comparator);
    case OpKind::kRope: return check_rope(variant, comparator);
    case OpKind::kSwiglu: return check_swiglu(variant, comparator);
    case OpKind::kSoftmax: return check_softmax(variant, comparator);
    case OpKind::kQuantize: return check_quantize(variant, comparator);
    case OpKind::kAttentionTile: return check_attention_stages(variant, comparator);
    case OpKind::kCount: break;
  }
  comparator.fail(fmt::format("{}: no checker for operator {}", variant.id, static_cast<int>(variant.op)));
}

}  // namespace smepilot::test
