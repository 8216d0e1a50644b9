// What plans and searches say becomes the driver's configuration; kernels that do not fit each other are named.
#include "db/execution.h"

#include "kernels/abi/describe.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "tests/db/support.h"

namespace smepilot {
namespace {

// Nobody calls these.
const KernelVariant kCpuKernel = matmul_variant("cpu", 0, DType::kQ8, DType::kQ4_0, 64, nullptr);
const KernelVariant kMatrixKernel =
    matmul_variant("matrix", 0, DType::kQ8, DType::kQ4_0, 64, nullptr, ExecutionUnit::kMatrix);
constexpr Kernels kBoth = {&kCpuKernel, &kMatrixKernel};

Candidate coop() {
  Candidate c = candidate_of(test::coop_entry(1, 8));
  c.workers = 3;
  c.coop.workers = 2;
  return c;
}

TEST(Config, OneUnit) {
  Candidate c = candidate_of(test::matmul_entry(1, 8));
  const MatmulConfig config = matmul_config(c, {&kCpuKernel, nullptr}, 8, 128, 16);
  EXPECT_EQ(config.variant, &kCpuKernel);
  EXPECT_EQ(config.mode, ExecutionMode::kCpu);
  EXPECT_EQ(config.workers, 2);
  EXPECT_EQ(config.mc, 128u);
  EXPECT_EQ(config.nc, 64u);
  EXPECT_EQ(config.coop.variant, nullptr);
  EXPECT_EQ(matmul_config(c, {&kCpuKernel, nullptr}, 8, 128, 1).workers, 1);
}

TEST(Config, BothUnits) {
  const MatmulConfig config = matmul_config(coop(), kBoth, 8, 128, 16);
  EXPECT_EQ(config.mode, ExecutionMode::kCoop);
  EXPECT_EQ(config.variant, &kCpuKernel);
  EXPECT_EQ(config.workers, 3);
  EXPECT_EQ(config.coop.variant, &kMatrixKernel);
  EXPECT_EQ(config.coop.workers, 2);
  EXPECT_EQ(config.coop.mc, 64u);
  EXPECT_EQ(config.coop.nc, 32u);
  EXPECT_EQ(config.coop.dim, SplitDim::kN);
  EXPECT_EQ(config.coop.split, 64u);
  EXPECT_TRUE(config.coop.dynamic);
}

TEST(Config, FewerWorkersThanPlanned) {
  const auto workers = [](unsigned available) {
    const MatmulConfig c = matmul_config(coop(), kBoth, 8, 128, available);
    return std::pair<unsigned, unsigned>(c.coop.workers, c.workers);
  };
  EXPECT_EQ(workers(5), std::pair(2u, 3u));
  EXPECT_EQ(workers(4), std::pair(2u, 2u));
  EXPECT_EQ(workers(3), std::pair(2u, 1u));
  EXPECT_EQ(workers(2), std::pair(1u, 1u));
  const MatmulConfig alone = matmul_config(coop(), kBoth, 8, 128, 1);
  EXPECT_EQ(alone.mode, ExecutionMode::kMatrix);
  EXPECT_EQ(alone.variant, &kMatrixKernel);
  EXPECT_EQ(alone.workers, 1);
  EXPECT_EQ(alone.nc, 32u);
  EXPECT_EQ(alone.coop.variant, nullptr);
}

TEST(Config, RowsAreSplitInProportion) {
  Candidate c = coop();
  c.coop.dim = SplitDim::kM;
  c.coop.split = 384;
  c.coop.split_of = 512;
  for (const auto& [m, split] : {std::pair{512u, 384u}, {1024u, 768u}, {100u, 80u}, {32u, 16u}, {40u, 32u}})
    EXPECT_EQ(matmul_config(c, kBoth, m, 128, 16).coop.split, split) << m;
  const MatmulConfig few = matmul_config(c, kBoth, 16, 128, 16);  // one panel of rows is not divided
  EXPECT_EQ(few.mode, ExecutionMode::kMatrix);
  EXPECT_EQ(few.workers, 2);
}

TEST(Config, AttentionPipeline) {
  Candidate c = candidate_of(test::pipeline_entry(1024));
  c.workers = 3;
  AttentionConfig config = attention_config(c, kBoth, 16);
  EXPECT_EQ(config.mode, ExecutionMode::kCoop);
  EXPECT_EQ(config.variant, &kCpuKernel);
  EXPECT_EQ(config.workers, 3);
  EXPECT_EQ(config.kv_tile, 128u);
  EXPECT_EQ(config.pipeline.variant, &kMatrixKernel);
  EXPECT_EQ(config.pipeline.workers, 1);
  EXPECT_EQ(config.pipeline.rows, 64u);
  EXPECT_EQ(config.pipeline.depth, 4u);
  config = attention_config(c, kBoth, 2);
  EXPECT_EQ(config.workers, 1);
  EXPECT_EQ(config.pipeline.workers, 1);
}

TEST(Split, IsAMultipleOfTheStepWithinTheTensor) {
  EXPECT_EQ(round_split(0.5, 128), 64u);
  EXPECT_EQ(round_split(0.55, 128), 64u);
  EXPECT_EQ(round_split(0.57, 128), 80u);
  EXPECT_EQ(round_split(0, 128), 16u) << "each side has something";
  EXPECT_EQ(round_split(1, 128), 112u);
  EXPECT_EQ(round_split(1, 130), 128u) << "the last panel may be narrow";
  EXPECT_EQ(round_split(0.5, 17), 16u);
  EXPECT_EQ(round_split(0.5, 16), 0u);
  EXPECT_EQ(round_split(0.6, 8192, 128), 4864u);
  for (const uint32_t size : {17u, 100u, 576u, 8191u})
    for (double share = -0.5; share <= 1.5; share += 0.01) {
      const uint32_t split = round_split(share, size, 48);
      EXPECT_EQ(split % kPanel, 0u);
      EXPECT_GE(split, kPanel);
      EXPECT_LT(split, size);
    }
}

TEST(FindKernels, NamesWhatDoesNotFit) {
  const IsaSet isa = *usable_isa();
  const KernelTask task{OpKind::kMatmul, DType::kF32, 64, 1};
  const KernelVariant* cpu = nullptr;
  for (const KernelVariant* v : select_variants({OpKind::kMatmul, DType::kF32, 1, 64, 64, 0, 0}, isa).usable)
    if (v->unit == ExecutionUnit::kCpu) cpu = v;
  ASSERT_NE(cpu, nullptr);
  Candidate c;
  c.variant = cpu->id;
  auto found = find_kernels(c, task, isa);
  ASSERT_OK(found);
  EXPECT_EQ(found->variant, cpu);
  EXPECT_EQ(found->matrix, nullptr);
  c.mode = ExecutionMode::kMatrix;
  EXPECT_ERROR(find_kernels(c, task, isa), "mode: is matrix, but");
  c.mode = ExecutionMode::kCoop;
  c.coop.variant = "matmul.of.tomorrow";
  EXPECT_ERROR(find_kernels(c, task, isa), "coop.variant: this build has no kernel 'matmul.of.tomorrow'");
  c.coop.variant = cpu->id;
  EXPECT_ERROR(find_kernels(c, task, isa), "runs on the cpu unit, expected a kernel of the matrix unit");
}

TEST(CoopPairs, ReadTheSameOperandsOnDifferentUnits) {
  const IsaSet isa = *usable_isa();
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_K}) {
    const OperatorShape shape{OpKind::kMatmul, dtype, 64, 256, 256, 0, 0};
    const auto suits = [&](const KernelVariant& v, ExecutionUnit unit) {
      return v.op == OpKind::kMatmul && v.rhs == dtype && v.unit == unit && (v.isa & ~isa) == 0 &&
             (v.max_m == 0 || v.max_m >= shape.m);
    };
    size_t expected = 0;
    for (const KernelVariant* a : all_variants())
      for (const KernelVariant* b : all_variants())
        expected += suits(*a, ExecutionUnit::kMatrix) && suits(*b, ExecutionUnit::kCpu) &&
                    a->lhs_layout == b->lhs_layout && a->lhs == b->lhs;
    const std::vector<Kernels> pairs = coop_pairs(shape, isa);
    EXPECT_EQ(pairs.size(), expected) << traits(dtype).name;
    for (const Kernels& k : pairs) {
      EXPECT_EQ(k.matrix->unit, ExecutionUnit::kMatrix);
      EXPECT_EQ(k.variant->unit, ExecutionUnit::kCpu);
      Candidate c = coop();
      c.variant = k.variant->id;
      c.coop.variant = k.matrix->id;
      EXPECT_OK(find_kernels(c, {OpKind::kMatmul, dtype, 256, 64}, isa));
    }
  }
}

}  // namespace
}  // namespace smepilot
