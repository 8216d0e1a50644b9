// Layout state: the table of what operators read and write is consistent, whole passes need no conversion that their
// plan does not price, and one that is planted is made, counted and priced.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "engine/layout_state.h"
#include "engine_support.h"
#include "kernels/registry/registry.h"
#include "testbed.h"

namespace smepilot {
namespace {

using test::cosine;
using test::Graph;
using test::some_tokens;
using test::TempFolder;

const GraphOperator& operator_of(GraphNode node) {
  return graph_operators()[static_cast<size_t>(node)];
}

TEST(GraphTable, WhatIsReadIsWhatWasWritten) {
  std::set<std::string> names;
  for (size_t i = 0; i < kGraphNodes; ++i) {
    const GraphOperator& o = graph_operators()[i];
    EXPECT_EQ(static_cast<size_t>(o.node), i) << o.name;
    EXPECT_TRUE(names.insert(o.name).second) << o.name;
    EXPECT_EQ(o.consumers.empty(), o.writes == Flow::kNothing || o.node == GraphNode::kRouter) << o.name;
    for (const GraphNode consumer : o.consumers) {
      const GraphOperator& c = operator_of(consumer);
      switch (c.reads) {
        case Flow::kRows:
          EXPECT_TRUE(o.writes == Flow::kRows || o.writes == Flow::kPacked) << o.name << ", " << c.name;
          break;
        case Flow::kVariant: EXPECT_EQ(o.writes, Flow::kPacked) << o.name << ", " << c.name; break;
        case Flow::kKvCache: EXPECT_EQ(o.writes, Flow::kKvCache) << o.name << ", " << c.name; break;
        case Flow::kNothing:
        case Flow::kPacked: ADD_FAILURE() << c.name << " reads what nothing writes"; break;
      }
    }
  }
}

TEST(FormSet, SharesALayoutAndCountsTheOthers) {
  FormSet set;
  EXPECT_TRUE(set.packed().empty());
  EXPECT_EQ(set.conversions(), 0u);
  EXPECT_EQ(set.row_bytes(64), 0u);
  set.add({Layout::kRowMajor, 0});
  EXPECT_TRUE(set.rows());
  EXPECT_TRUE(set.packed().empty()) << "producers have rows anyway";
  set.add({Layout::kLhsQ8Panel16, kQ8SuperBlock});
  set.add({Layout::kLhsQ8Panel16, kQ8Block});
  set.add({Layout::kLhsQ8Panel16, kQ8SuperBlock});
  ASSERT_EQ(set.packed().size(), 1u);
  EXPECT_EQ(set.packed()[0].group, kQ8Block) << "the smaller group serves both";
  EXPECT_EQ(set.conversions(), 0u);
  EXPECT_EQ(set.readers(0), 3u);
  set.add({Layout::kLhsF32Panel16, 0});
  EXPECT_EQ(set.conversions(), 1u);
  EXPECT_EQ(set.readers(1), 1u);
  FormSet twice = set;
  twice.add(set);
  EXPECT_EQ(twice.packed().size(), 2u);
  EXPECT_EQ(twice.readers(0), 6u);
  EXPECT_EQ(set.packed()[0].layout, Layout::kLhsQ8Panel16) << "the first one is the producer's";
  EXPECT_EQ(set.row_bytes_to(1, 64), 128u) << "112 bytes, rounded up to whole lines";
  EXPECT_EQ(set.row_bytes(64), 128u + 256);
}

struct Kind {
  std::string architecture;
  DType dtype;
  std::map<std::string, DType> types = {};
};

std::vector<Kind> all_kinds() {
  std::vector<Kind> kinds;
  for (const char* architecture : {"llama", "qwen3"}) {
    for (const DType dtype : test::weight_types()) kinds.push_back({architecture, dtype});
    // As files of mixed types have it: more bits where they matter more.
    kinds.push_back({architecture, DType::kQ4_K, {{"attn_v", DType::kQ6_K}, {"ffn_down", DType::kQ6_K}}});
    kinds.push_back({architecture, DType::kQ4_0, {{"attn_v", DType::kQ8_0}, {"attn_k", DType::kF32}}});
  }
  return kinds;
}

class Passes : public testing::TestWithParam<Kind> {};

INSTANTIATE_TEST_SUITE_P(All, Passes, testing::ValuesIn(all_kinds()), [](const testing::TestParamInfo<Kind>& kind) {
  std::string name = kind.param.architecture + "_" + traits(kind.param.dtype).name;
  for (const auto& [part, dtype] : kind.param.types) name += "_" + part + "_" + traits(dtype).name;
  return name;
});

TEST_P(Passes, NeedNoConversionThatThePlanDidNotPrice) {
  const TempFolder folder;
  const Kind& kind = GetParam();
  test::write_model(test::random_model(kind.architecture, kind.dtype, {.types = kind.types}), folder / "model.gguf");
  const auto g = Graph::open(folder / "model.gguf", Dispatch::untuned(2));
  ASSERT_NE(g, nullptr);
  g->logits(some_tokens(37));
  g->logits({40});
  for (const StatsPhase phase : {StatsPhase::kPrefill, StatsPhase::kDecode}) {
    const PhaseSummary s = g->stats.summary(phase);
    EXPECT_EQ(s.passes, 1u);
    EXPECT_EQ(s.conversions.weights, 0u);
    EXPECT_EQ(s.conversions.activations, s.conversions.priced);
    // With every matmul reading packed activations: q, k, v; attn_output; gate, up; down in each layer, and the output.
    EXPECT_LE(s.conversions.avoided + s.conversions.priced, 7u * test::kModelLayers + 1);
    if (kind.types.empty() && kind.dtype != DType::kF32 && kind.dtype != DType::kF16 && kind.dtype != DType::kBF16) {
      EXPECT_EQ(s.conversions.avoided, 7u * test::kModelLayers + 1);
    }
    // Kernels of this build read floats as rows or every type alike, unless types are mixed.
    if (kind.types.empty()) {
      EXPECT_EQ(s.conversions.activations, 0u);
    }
    for (const char* role : {"attn_qkv", "attention", "attn_output", "ffn_gate_up", "ffn_down", "output"})
      EXPECT_EQ(std::count_if(g->stats.rows().begin(), g->stats.rows().end(),
                              [&](const OperatorStats& r) {
                                return r.phase == phase && std::strcmp(r.execution.role, role) == 0;
                              }),
                1)
          << role;
  }
}

// A form that nothing else reads, so that its consumer differs from every other: rows of a panel side by side, of which
// the kernel makes rows again for the portable one.
void pack_panel(const QuantizeArgs* a) noexcept {
  auto* const dst = static_cast<float*>(a->dst);
  for (size_t k = 0; k < a->k; ++k)
    for (size_t r = 0; r < a->rows; ++r) dst[k * a->rows + r] = a->x[r * a->x_stride + k];
}

const KernelVariant* portable_f32() {
  for (const KernelVariant* v : all_variants())
    if (v->op == OpKind::kMatmul && v->rhs == DType::kF32 && v->isa == kIsaPortable) return v;
  return nullptr;
}

void matmul_of_panels(const MatmulArgs* a) noexcept {
  std::vector<float> rows(size_t{a->m} * a->k);
  for (uint32_t row = 0; row < a->m; row += kPanel) {
    const uint32_t count = std::min(kPanel, a->m - row);
    const float* const panel = static_cast<const float*>(a->lhs) + size_t{row} * a->k;
    for (uint32_t r = 0; r < count; ++r)
      for (uint32_t k = 0; k < a->k; ++k) rows[size_t{row + r} * a->k + k] = panel[size_t{k} * count + r];
  }
  const KernelVariant& kernel = *portable_f32();
  for (uint32_t row = 0; row < a->m; row += kernel.tile.mr) {
    MatmulArgs part = *a;
    part.m = std::min(kernel.tile.mr, a->m - row);
    part.lhs = rows.data() + size_t{row} * a->k;
    part.lhs_stride = a->k * sizeof(float);
    part.dst += row * a->dst_stride;
    kernel.matmul(&part);
  }
}

class Planted : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(All, Planted, testing::Values("llama", "qwen3", "qwen3moe"));

TEST_P(Planted, MismatchIsConvertedCountedAndPriced) {
  const bool moe = GetParam() == "qwen3moe";
  const TempFolder folder;
  // Weights of floats among quantised ones, whose consumer will want another form than its neighbours.
  const std::string odd = moe ? "ffn_gate_exps" : "attn_q";
  test::write_model(test::random_model(GetParam(), DType::kQ8_0, {.types = {{odd, DType::kF32}}}),
                    folder / "model.gguf");
  const auto g = Graph::open(folder / "model.gguf", Dispatch::untuned(2));
  ASSERT_NE(g, nullptr);
  const std::vector<float> prefill = g->logits(some_tokens(37)), decode = g->logits({40});
  EXPECT_EQ(g->stats.summary(StatsPhase::kPrefill).conversions.activations, 0u);

  KernelVariant packer = {};
  packer.id = "test";
  packer.op = OpKind::kQuantize;
  packer.dst_layout = Layout::kLhsF32Panel16;
  packer.quantize = pack_panel;
  KernelVariant kernel = *portable_f32();
  kernel.lhs_layout = Layout::kLhsF32Panel16;
  kernel.tile.mr = 32;
  kernel.matmul = matmul_of_panels;
  const MatrixShape* shape = nullptr;
  const ModelShape model = g->file.shape();
  for (const MatrixShape& m : model.matrices)
    if (m.dtype == DType::kF32 && m.n != test::kModelExperts) shape = &m;
  ASSERT_NE(shape, nullptr);
  g->dispatch.set_packer(packer);
  g->dispatch.set_matmul(g->dispatch.matrix_id(DType::kF32, shape->n, shape->k),
                         {&kernel, ExecutionMode::kCpu, 2, 64, 16});
  ASSERT_TRUE(g->start().ok());
  EXPECT_GE(cosine(g->logits(some_tokens(37)), prefill), 0.99999);
  EXPECT_GE(cosine(g->logits({40}), decode), 0.99999);

  const PhaseSummary p = g->stats.summary(StatsPhase::kPrefill), d = g->stats.summary(StatsPhase::kDecode);
  if (moe) {  // of each expert that has tokens; of one token's experts together
    EXPECT_GT(p.conversions.activations, test::kModelLayers);
    EXPECT_LE(p.conversions.activations, test::kModelLayers * test::kModelExperts);
  } else {
    EXPECT_EQ(p.conversions.activations, test::kModelLayers);
    EXPECT_EQ(p.conversions.priced, test::kModelLayers);
  }
  EXPECT_EQ(d.conversions.activations, test::kModelLayers);
  EXPECT_EQ(d.conversions.priced, test::kModelLayers);
  EXPECT_GT(p.conversions.ns, 0);
  EXPECT_EQ(p.conversions.weights, 0u);
  const std::string table = g->stats.table(), json = g->stats.json();
  EXPECT_NE(table.find(fmt::format("conversions: {} of activations", p.conversions.activations)), std::string::npos)
      << table;
  EXPECT_NE(json.find(fmt::format("\"conversions\": {{\"count\": {}", p.conversions.activations)), std::string::npos)
      << json;
}

TEST(PriceOfConversions, IsThatOfTheRoofline) {
  Calibration c;
  for (const char* level : {"L1", "L2", "LLC", "DRAM"})
    c.bandwidths.push_back({level, "copy", 1, 1u << 30, 20.0, {20.0}});
  const Roofline roofline(c, Platform{});
  FormSet set;
  set.add({Layout::kLhsQ8Panel16, kQ8Block});
  set.add({Layout::kLhsQ8Panel16, kQ8Block});
  set.add({Layout::kLhsF32Panel16, 0});
  Conversions out;
  price_conversions(set, 10, 64, 4, &roofline, out);
  EXPECT_EQ(out.activations, 1u);
  EXPECT_DOUBLE_EQ(out.ns, roofline.packing_ns(Layout::kLhsF32Panel16, 10, 64, 4));
  EXPECT_GT(out.ns, 0);
  EXPECT_EQ(out.avoided, 2u) << "the first form is made in passing, for two";
  EXPECT_DOUBLE_EQ(out.avoided_ns, 2 * roofline.packing_ns(Layout::kLhsQ8Panel16, 10, 64, 4));
  EXPECT_GT(out.avoided_ns, 0);
  price_conversions(set, 10, 64, 4, nullptr, out);
  EXPECT_EQ(out.activations, 2u);
  EXPECT_DOUBLE_EQ(out.ns, roofline.packing_ns(Layout::kLhsF32Panel16, 10, 64, 4)) << "nothing is known of the second";
}

}  // namespace
}  // namespace smepilot
