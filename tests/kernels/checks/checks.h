// One checker per operator: runs a variant on awkward shapes between guard pages and compares it with the oracle.
#pragma once
#include "kernels/abi/kernel_variant.h"
#include "tests/kernels/support/comparator.h"

namespace smepilot::test {

void check_matmul(const KernelVariant& variant, Comparator& comparator);
void check_attention(const KernelVariant& variant, Comparator& comparator);
void check_norm(const KernelVariant& variant, Comparator& comparator);
void check_rope(const KernelVariant& variant, Comparator& comparator);
void check_swiglu(const KernelVariant& variant, Comparator& comparator);
void check_softmax(const KernelVariant& variant, Comparator& comparator);
void check_quantize(const KernelVariant& variant, Comparator& comparator);

// The one for the variant's operator.
void check_variant(const KernelVariant& variant, Comparator& comparator);

}  // namespace smepilot::test
