// One checker per operator: runs a variant on awkward shapes between guard pages and compares it with the oracle.
#pragma once
#include "kernels/abi/kernel_variant.h"
#include "kernels/reference/operators.h"
#include "tests/kernels/support/comparator.h"

namespace smepilot::test {

void check_matmul(const KernelVariant& variant, Comparator& comparator);
void check_attention(const KernelVariant& variant, Comparator& comparator);
// What an attention variant may differ from the oracle by, in one row that sees `limit` positions.
struct AttentionTolerance {
  double relative;  // to the sum of p * |v|
  double absolute;
  double of(double magnitude) const noexcept { return relative * magnitude + absolute; }
};
AttentionTolerance attention_tolerance(const KernelVariant& variant, const reference::AttentionRow& row,
                                       size_t head_dim, size_t limit);

void check_attention_stages(const KernelVariant& variant, Comparator& comparator);
void check_norm(const KernelVariant& variant, Comparator& comparator);
void check_rope(const KernelVariant& variant, Comparator& comparator);
void check_swiglu(const KernelVariant& variant, Comparator& comparator);
void check_softmax(const KernelVariant& variant, Comparator& comparator);
void check_quantize(const KernelVariant& variant, Comparator& comparator);

// Which cases of a variant a check runs: all, or with SMEPILOT_CHECK_SAMPLE=n or n:first in the environment every n-th
// one (of matmul and attention, which have most), beginning with another one for each variant. For emulators.
class Sample {
 public:
  explicit Sample(const KernelVariant& variant) noexcept;
  static unsigned every() noexcept;
  bool takes_next() noexcept { return next_++ % every() == 0; }

 private:
  unsigned next_;
};

// The one for the variant's operator.
void check_variant(const KernelVariant& variant, Comparator& comparator);

}  // namespace smepilot::test
