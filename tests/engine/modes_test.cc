// Execution modes of whole models: the cores, the matrix unit and both together give the same logits, and the
// statistics say that each did what was asked. Experts choose by their own number of tokens.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "engine_support.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "testbed.h"

namespace smepilot {
namespace {

using test::cosine;
using test::expect_error;
using test::Graph;
using test::some_tokens;
using test::TempFolder;
using test::Tokens;

struct Kind {
  std::string architecture;
  DType dtype;
};

class Modes : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    const auto platform = detect_platform();
    ASSERT_TRUE(platform.ok()) << platform.message();
    if (platform->matrix_units == 0) GTEST_SKIP() << "no matrix unit here";
    test::write_model(test::random_model(GetParam().architecture, GetParam().dtype), path_);
  }
  TempFolder folder_;
  const std::string path_ = folder_ / "model.gguf";
};

INSTANTIATE_TEST_SUITE_P(All, Modes,
                         testing::Values(Kind{"llama", DType::kQ8_0}, Kind{"qwen3", DType::kQ4_0},
                                         Kind{"qwen3moe", DType::kQ4_1}, Kind{"llama", DType::kQ4_K},
                                         Kind{"llama", DType::kQ6_K}, Kind{"qwen3", DType::kF32},
                                         Kind{"llama", DType::kF16}, Kind{"llama", DType::kBF16}),
                         [](const testing::TestParamInfo<Kind>& kind) {
                           return kind.param.architecture + "_" + traits(kind.param.dtype).name;
                         });

TEST_P(Modes, GiveTheSameLogits) {
  const Tokens prompt = some_tokens(41), step = {77};
  std::vector<float> expected;
  for (const char* mode : {"cpu", "matrix", "coop"}) {
    EngineOptions options = test::plain_options(path_);
    options.plan.execution = mode;
    const auto engine = test::open_engine(options);
    ASSERT_NE(engine, nullptr);
    Stats stats;
    engine->set_stats(&stats);
    auto cache = engine->new_cache();
    ASSERT_TRUE(cache.ok()) << cache.message();
    std::vector<float> logits = test::evaluate(*engine, *cache, prompt, test::Logits::kAll);
    const std::vector<float> next = test::evaluate(*engine, *cache, step, test::Logits::kLast);
    logits.insert(logits.end(), next.begin(), next.end());
    if (expected.empty())
      expected = logits;
    else
      EXPECT_GE(cosine(logits, expected), test::same_enough(GetParam().dtype)) << mode;

    // What can be executed so was: where there is a kernel (or pair) for the weights, all but the smallest matrices.
    const OperatorShape shape{OpKind::kMatmul, GetParam().dtype, 41, 64, 256, 0, 0};
    const IsaSet isa = usable_isa().value();
    const std::vector<const KernelVariant*> usable = select_variants(shape, isa).usable;
    const bool has_kernel = std::any_of(usable.begin(), usable.end(),
                                        [](const KernelVariant* v) { return v->unit == ExecutionUnit::kMatrix; });
    const ExecutionMode wanted = !has_kernel || std::strcmp(mode, "cpu") == 0 ? ExecutionMode::kCpu
                                 : std::strcmp(mode, "matrix") == 0           ? ExecutionMode::kMatrix
                                 : coop_pairs(shape, isa).empty()             ? ExecutionMode::kCpu
                                                                              : ExecutionMode::kCoop;
    const HyperParameters& hp = engine->file().hyper;
    const OperatorShape attention{OpKind::kAttention, DType::kF16, 41, hp.heads, hp.head_dim, 41, hp.kv_heads};
    ExecutionMode wanted_attention = ExecutionMode::kCpu;
    if (std::strcmp(mode, "coop") == 0 && !coop_pairs(attention, isa).empty()) wanted_attention = ExecutionMode::kCoop;
    if (std::strcmp(mode, "matrix") == 0 && default_entry(attention, 2, ExecutionUnit::kMatrix).ok())
      wanted_attention = ExecutionMode::kMatrix;
    for (const OperatorStats& r : stats.rows()) {
      if (std::strcmp(r.execution.role, "attention") == 0) {
        EXPECT_EQ(r.execution.mode, wanted_attention) << mode;
      }
    }
    size_t seen = 0;
    for (const OperatorStats& r : stats.rows())
      for (const char* role :
           {"attn_qkv", "attn_output", "ffn_gate_up", "ffn_down", "moe_gate_up", "moe_down", "output"}) {
        if (std::strcmp(r.execution.role, role) != 0) continue;
        EXPECT_EQ(r.execution.mode, wanted) << mode << " " << role;
        EXPECT_EQ(r.execution.matrix != nullptr, wanted == ExecutionMode::kCoop) << mode << " " << role;
        ++seen;
      }
    EXPECT_GE(seen, 10u) << mode;
    for (const StatsPhase phase : {StatsPhase::kPrefill, StatsPhase::kDecode}) {
      const Conversions c = stats.summary(phase).conversions;
      EXPECT_EQ(c.activations, c.priced) << mode;
      EXPECT_EQ(c.weights, 0u) << mode;
      // A router of floats may want another form of a token than its experts.
      if (GetParam().architecture != "qwen3moe") {
        EXPECT_EQ(c.activations, 0u) << mode;
      }
    }
  }
}

TEST(ExecutionModes, AreNamed) {
  Platform platform;
  const auto mode = [&](const char* text) { return execution_mode(text, platform); };
  ASSERT_TRUE(mode("auto").ok());
  EXPECT_FALSE(mode("auto")->has_value());
  ASSERT_TRUE(mode("cpu").ok());
  EXPECT_EQ(**mode("cpu"), ExecutionMode::kCpu);
  expect_error(mode("gpu").status(), {"gpu", "coop"});
  for (const char* text : {"matrix", "sme", "amx", "coop"}) expect_error(mode(text).status(), {text, "no matrix unit"});
  platform.matrix_unit = "sme";
  platform.matrix_units = 2;
  for (const char* text : {"matrix", "sme"}) EXPECT_EQ(**mode(text), ExecutionMode::kMatrix);
  EXPECT_EQ(**mode("coop"), ExecutionMode::kCoop);
  expect_error(mode("amx").status(), {"amx", "sme"});
}

// Dispatch tables with entries of both units, on machines that have them.
class CoopEntries : public testing::Test {
 protected:
  void SetUp() override {
    const auto platform = detect_platform();
    ASSERT_TRUE(platform.ok()) << platform.message();
    isa_ = usable_isa().value();
    units_ = platform->matrix_units;
    if (units_ == 0 || coop_pairs(shape_, isa_).empty()) GTEST_SKIP() << "no pair of kernels here";
    model_.name = "toy";
    model_.heads = 4;
    model_.kv_heads = 2;
    model_.head_dim = 16;
    model_.matrices = {{"ffn_up", shape_.dtype, shape_.n, shape_.k, 1}};
  }
  OperatorShape shape_{OpKind::kMatmul, DType::kQ8_0, 256, 320, 64, 0, 0};
  ModelShape model_;
  IsaSet isa_ = 0;
  unsigned units_ = 0;
};

TEST_F(CoopEntries, BecomeConfigurationsOfBothUnits) {
  const Kernels pair = coop_pairs(shape_, isa_)[0];
  for (const SplitDim dim : {SplitDim::kN, SplitDim::kM}) {
    const auto d = Dispatch::build(model_, 256, 64, 4, [&](const OperatorShape& s) -> Result<PlanEntry> {
      SMEPILOT_ASSIGN(PlanEntry e, default_entry(s, 4));
      if (s.kind != OpKind::kMatmul) return e;
      e.variant = pair.variant->id;
      e.mode = ExecutionMode::kCoop;
      e.workers = 2;
      e.coop = {
          .variant = pair.matrix->id, .workers = 1, .mc = 64, .nc = 32, .dim = dim, .split = 192, .split_of = 256};
      if (dim == SplitDim::kN) e.coop.split_of = s.n;
      return e;
    });
    ASSERT_TRUE(d.ok()) << d.message();
    for (const uint32_t m : {256u, 128u, 40u}) {
      const MatmulConfig c = d->matmul(0, m);
      EXPECT_EQ(c.mode, ExecutionMode::kCoop);
      EXPECT_EQ(c.variant, pair.variant);
      EXPECT_EQ(c.workers, 2);
      EXPECT_EQ(c.coop.variant, pair.matrix);
      EXPECT_EQ(c.coop.workers, 1);
      EXPECT_EQ(c.coop.mc, 64u);
      EXPECT_EQ(c.coop.nc, 32u);
      EXPECT_EQ(c.coop.dim, dim);
      EXPECT_EQ(c.coop.split, dim == SplitDim::kN ? 192u : m == 256 ? 192u : m == 128 ? 96u : 32u) << m;
      EXPECT_EQ(lhs_form(*c.variant), lhs_form(*c.coop.variant));
    }
    // One panel of rows cannot be divided: the matrix unit has it all.
    if (dim == SplitDim::kM) {
      EXPECT_EQ(d->matmul(0, 16).mode, ExecutionMode::kMatrix);
    }
  }
  const auto alone = Dispatch::build(
      model_, 256, 64, 1, Dispatch::forced(ExecutionMode::kCoop, Dispatch::untuned(1), {isa_, 1, units_}, nullptr));
  ASSERT_TRUE(alone.ok()) << alone.message();
  EXPECT_EQ(alone->matmul(0, 256).mode, ExecutionMode::kCpu) << "one worker has nobody to share with";
}

TEST_F(CoopEntries, OfTheRooflineAreDividedByThePeaks) {
  Calibration c;
  for (const IsaName& name : kIsaNames)
    for (unsigned w = 1; w <= 2; ++w) {
      c.peaks.push_back({ExecutionUnit::kCpu, "int8", name.name, w, 1000.0, {1000.0}});
      c.peaks.push_back({ExecutionUnit::kMatrix, "int8", name.name, w, 3000.0, {3000.0}});
    }
  for (const char* level : {"L1", "L2", "LLC", "DRAM"})
    for (unsigned w = 1; w <= 2; ++w) c.bandwidths.push_back({level, "read", w, 1 << 20, 1e6, {1e6}});
  c.fork_join = {{1, 1, {1}}, {2, 1, {1}}};
  const Roofline roofline(c, detect_platform().value());
  const auto entry = Dispatch::by_roofline(roofline, {isa_, 2, units_})(shape_);
  ASSERT_TRUE(entry.ok()) << entry.message();
  EXPECT_EQ(entry->mode, ExecutionMode::kCoop) << entry->variant;
  EXPECT_EQ(entry->workers, 1u);
  EXPECT_EQ(entry->coop.workers, 1u);
  EXPECT_EQ(entry->coop.dim, SplitDim::kN);
  EXPECT_EQ(entry->coop.split, 240u) << "3/4 of 320 columns";
  EXPECT_EQ(entry->coop.split_of, 320u);
  EXPECT_NEAR(entry->predicted_ns, op_flops(shape_) / 4000, 2);
  // A unit that adds nothing is not asked to help, and one that nothing is known of neither.
  c.peaks.clear();
  for (const IsaName& name : kIsaNames)
    for (unsigned w = 1; w <= 2; ++w)
      c.peaks.push_back({ExecutionUnit::kCpu, "int8", name.name, w, 1000.0 * w, {1000.0 * w}});
  const Roofline without(c, detect_platform().value());
  const auto cpu = Dispatch::by_roofline(without, {isa_, 2, units_})(shape_);
  ASSERT_TRUE(cpu.ok()) << cpu.message();
  EXPECT_EQ(cpu->mode, ExecutionMode::kCpu);
  EXPECT_EQ(cpu->workers, 2u);
}

// A plan with thresholds: few tokens on one worker, more of them on two, many in the widest mode that is possible here.
TEST(Experts, ChooseByTheirOwnTokens) {
  const TempFolder folder;
  test::write_model(test::random_model("qwen3moe", DType::kQ8_0), folder / "model.gguf");
  const auto platform = detect_platform();
  ASSERT_TRUE(platform.ok()) << platform.message();
  const IsaSet isa = usable_isa().value();
  const Machine machine{isa, 2, platform->matrix_units};
  const OperatorShape any{OpKind::kMatmul, DType::kQ8_0, 64, 64, 64, 0, 0};
  const bool matrix = platform->matrix_units != 0 && !coop_pairs(any, isa).empty();
  const ExecutionMode many = matrix ? ExecutionMode::kCoop : ExecutionMode::kCpu;
  const ExecutionMode middle = matrix ? ExecutionMode::kMatrix : ExecutionMode::kCpu;
  constexpr uint32_t kFew = 13, kMiddle = 17;
  const auto lookup = [&](const OperatorShape& shape) -> Result<PlanEntry> {
    const bool expert = shape.kind == OpKind::kMatmul && shape.dtype == DType::kQ8_0;
    const ExecutionMode mode = !expert || shape.m <= kFew ? ExecutionMode::kCpu : shape.m <= kMiddle ? middle : many;
    SMEPILOT_ASSIGN(PlanEntry entry, Dispatch::forced(mode, Dispatch::untuned(2), machine, nullptr)(shape));
    if (expert && mode == ExecutionMode::kCpu) {
      entry.workers = shape.m <= kFew ? 1 : 2;
      entry.nc = shape.m <= kMiddle ? 32 : 16;
    }
    return entry;
  };
  const auto g = Graph::open(folder / "model.gguf", lookup);
  const auto plain = Graph::open(folder / "model.gguf", Dispatch::untuned(2));
  ASSERT_NE(g, nullptr);
  ASSERT_NE(plain, nullptr);
  const Tokens tokens = some_tokens(41);
  EXPECT_GE(cosine(g->logits(tokens), plain->logits(tokens)), 0.999);

  bool seen = false;
  for (const OperatorStats& r : g->stats.rows()) {
    if (std::strcmp(r.execution.role, "moe_down") != 0) continue;
    seen = true;
    EXPECT_EQ(r.calls, test::kModelLayers);
    ASSERT_GE(r.parts.size(), 2u) << "41 tokens, 2 of 5 experts each: they differ in how many they have";
    uint64_t operators = 0;
    double flops = 0;
    for (const OperatorPart& p : r.parts) {
      operators += p.operators;
      flops += p.flops;
      EXPECT_GE(p.m_min, r.m_min);
      EXPECT_LE(p.m_max, r.m_max);
      const bool few = p.m_max <= kFew;
      EXPECT_TRUE(few || p.m_min > kFew) << p.m_min << " to " << p.m_max << " across a threshold";
      if (few) {
        EXPECT_EQ(p.execution.mode, ExecutionMode::kCpu);
        EXPECT_EQ(p.execution.workers, 1u);
      } else if (p.m_max <= kMiddle) {
        EXPECT_EQ(p.execution.mode, middle);
      } else if (matrix) {
        EXPECT_GT(p.m_min, kMiddle);
        EXPECT_EQ(p.execution.mode, many);
        EXPECT_EQ(p.execution.matrix != nullptr, many == ExecutionMode::kCoop);
      } else {
        EXPECT_EQ(p.execution.workers, 2u);
      }
    }
    EXPECT_GT(operators, test::kModelLayers);
    EXPECT_LE(operators, test::kModelLayers * test::kModelExperts);
    EXPECT_EQ(flops, r.flops);
    EXPECT_EQ(r.flops, 2.0 * test::kModelLayers * 41 * test::kModelExpertsUsed * test::kModelEmbedding *
                           (test::kModelFeedForward / 3));
  }
  EXPECT_TRUE(seen);
  const std::string table = g->stats.table(), json = g->stats.json();
  EXPECT_NE(table.find("each operator by its own rows:"), std::string::npos) << table;
  EXPECT_NE(json.find("\"mixed\": true, \"parts\": [{\"m_min\": "), std::string::npos) << json;
}

}  // namespace
}  // namespace smepilot
