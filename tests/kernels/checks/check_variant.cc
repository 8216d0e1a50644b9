#include <charconv>
#include <cstdlib>
#include <cstring>

#include "tests/kernels/checks/checks.h"

namespace smepilot::test {

namespace {

struct Sampling {
  unsigned every = 1, first = 0;
};
Sampling sampling_from(const char* text) noexcept {
  Sampling s;
  if (text == nullptr) return s;
  const char* end = text + std::strlen(text);
  const char* at = std::from_chars(text, end, s.every).ptr;
  if (at != end && *at == ':') std::from_chars(at + 1, end, s.first);
  if (s.every == 0) s.every = 1;
  return s;
}
const Sampling& sampling() noexcept {
  static const Sampling kSampling = sampling_from(std::getenv("SMEPILOT_CHECK_SAMPLE"));
  return kSampling;
}

}  // namespace

Sample::Sample(const KernelVariant& variant) noexcept : next_(sampling().first) {
  for (const char* c = variant.id; *c != '\0'; ++c) next_ += static_cast<unsigned char>(*c);
}

unsigned Sample::every() noexcept {
  return sampling().every;
}

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
