// The test bed: what the registry hands out and what the platform says, before and after it is enabled. A program of
// its own, because that cannot be undone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string>

#include "kernels/driver/operators.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "profiles/platform.h"

namespace smepilot {
namespace {

std::set<std::string> ids() {
  std::set<std::string> out;
  for (const KernelVariant* v : all_variants()) out.insert(v->id);
  return out;
}

TEST(Testbed, PlaysAMatrixUnit) {
  // Without the kernels that play the matrix unit there is none, and nothing has changed.
  ASSERT_EQ(::setenv("SMEPILOT_FORCE_ISA", "portable", 1), 0);
  const Status refused = enable_testbed();
  ASSERT_EQ(::unsetenv("SMEPILOT_FORCE_ISA"), 0);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.message().find("avx512vnni"), std::string::npos) << refused.message();
  EXPECT_NE(refused.message().find("portable"), std::string::npos) << refused.message();
  EXPECT_FALSE(testbed_enabled());

  const std::set<std::string> all = ids();
  const IsaSet isa = usable_isa().value();
  const std::string hash = variant_set_hash(isa);
  const std::string fingerprint = detect_platform().value().fingerprint();
  if ((isa & kIsaAvx512Vnni) == 0) {
    EXPECT_FALSE(enable_testbed().ok());
    GTEST_SKIP() << "this machine cannot have a test bed";
  }
  ASSERT_TRUE(enable_testbed().ok());
  ASSERT_TRUE(enable_testbed().ok()) << "once more changes nothing";
  EXPECT_TRUE(testbed_enabled());

  EXPECT_NE(variant_set_hash(isa), hash);
  for (const KernelVariant* v : all_variants()) {
    EXPECT_EQ(all.count(v->id), 1u) << v->id;
    EXPECT_EQ(find_variant(v->id), v) << v->id;
    EXPECT_EQ(v->isa & (kIsaAmxInt8 | kIsaAmxBf16), 0u) << v->id;
    EXPECT_EQ(v->unit == ExecutionUnit::kMatrix, (v->isa & kIsaAvx512) != 0) << v->id;
  }
  const auto reads_alike = [&](DType dtype) {
    const Selection s = select_variants({OpKind::kMatmul, dtype, 64, 64, 256, 0, 0}, isa);
    return std::any_of(s.usable.begin(), s.usable.end(), [&](const KernelVariant* matrix) {
      return matrix->unit == ExecutionUnit::kMatrix &&
             std::any_of(s.usable.begin(), s.usable.end(), [&](const KernelVariant* vector) {
               return vector->unit == ExecutionUnit::kCpu && vector->lhs_layout == matrix->lhs_layout &&
                      vector->rhs_layout == matrix->rhs_layout;
             });
    });
  };
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_K, DType::kQ6_K})
    EXPECT_TRUE(reads_alike(dtype)) << traits(dtype).name << " has kernels for both units";
  const ElementwiseConfig elementwise = default_elementwise(1).value();
  for (const KernelVariant* v : {elementwise.norm, elementwise.rope, elementwise.swiglu, elementwise.softmax})
    EXPECT_EQ(v->unit, ExecutionUnit::kCpu) << v->id;

  const Platform p = detect_platform().value();
  EXPECT_EQ(p.matrix_unit, "testbed");
  EXPECT_EQ(p.matrix_units, 1u);
  ASSERT_EQ(p.unit_cpus.size(), 1u);
  EXPECT_EQ(p.unit_cpus[0], std::vector<int>{p.worker_cpus()[0]});
  EXPECT_NE(p.fingerprint(), fingerprint);
}

}  // namespace
}  // namespace smepilot
