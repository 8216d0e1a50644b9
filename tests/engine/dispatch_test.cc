// From plans to configurations, where plans come from, and what is reported about a run.
#include "engine/dispatch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <sstream>

#include "db/baseline_store.h"
#include "db/calibration_store.h"
#include "db/measurement_store.h"
#include "db/plan_store.h"
#include "db/session_store.h"
#include "engine/bench.h"
#include "engine/stats.h"
#include "engine_support.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

using test::expect_error;
using test::TempFolder;

constexpr uint32_t kNoBound = UINT32_MAX;

ModelShape toy_model() {
  ModelShape m;
  m.name = "toy";
  m.architecture = "llama";
  m.layers = 1;
  m.embedding = 64;
  m.heads = 4;
  m.kv_heads = 2;
  m.head_dim = 16;
  m.feed_forward = 96;
  m.vocab = 256;
  m.context = 512;
  m.matrices = {{"ffn_up", DType::kQ8_0, 96, 64, 1},
                {"ffn_gate", DType::kQ8_0, 96, 64, 1},
                {"output", DType::kF32, 256, 64, 1},
                {"ffn_down", DType::kQ4_K, 64, 256, 1}};
  return m;
}

PlanEntry entry_for(const OperatorShape& shape) {
  auto e = default_entry(shape, 1);
  EXPECT_TRUE(e.ok()) << e.message();
  return std::move(e).value();
}

// Untuned, but with `change` applied: a plan in the form of a function.
Dispatch::Lookup changed(std::function<void(const OperatorShape&, PlanEntry&)> change) {
  return [change = std::move(change)](const OperatorShape& shape) -> Result<PlanEntry> {
    PlanEntry e = entry_for(shape);
    change(shape, e);
    return e;
  };
}

TEST(Dispatch, RangesAreTheLookups) {
  const auto d = Dispatch::build(toy_model(), 300, 1000, 4, changed([](const OperatorShape& s, PlanEntry& e) {
                                   e.mc = s.m == 1 ? 16 : s.m <= 8 ? 32 : 48;
                                   e.nc = s.n == 96 ? 64 : 32;
                                   e.workers = s.m < 4 ? 1 : 3;
                                   e.kv_splits = s.m == 1 ? 4 : 1;
                                 }));
  ASSERT_TRUE(d.ok()) << d.message();
  const uint32_t up = d->matrix_id(DType::kQ8_0, 96, 64), output = d->matrix_id(DType::kF32, 256, 64);
  EXPECT_NE(up, output);
  // Up to 16 every m is looked up by itself.
  for (uint32_t m = 1; m <= 16; ++m) {
    EXPECT_EQ(d->matmul(up, m).mc, m == 1 ? 16u : m <= 8 ? 32u : 48u) << m;
    EXPECT_EQ(d->matmul(up, m).workers, m < 4 ? 1 : 3) << m;
    EXPECT_EQ(d->attention(m, 500).kv_splits, m == 1 ? 4u : 1u) << m;
  }
  for (const uint32_t m : {17u, 300u, 400u}) EXPECT_EQ(d->matmul(up, m).mc, 48u) << m;
  EXPECT_EQ(d->matmul(up, 5).nc, 64u);
  EXPECT_EQ(d->matmul(output, 5).nc, 32u);
  EXPECT_EQ(d->matmul(output, 5).variant->rhs, DType::kF32);
  EXPECT_EQ(d->workers(), 4u);
}

TEST(Dispatch, AttentionFollowsTheLengthOfTheContext) {
  const auto d = Dispatch::build(toy_model(), 64, 4096, 2, changed([](const OperatorShape& s, PlanEntry& e) {
                                   if (s.kind == OpKind::kAttention) e.kv_splits = s.kv_len <= 1024 ? 2 : 7;
                                 }));
  ASSERT_TRUE(d.ok()) << d.message();
  for (const uint32_t m : {1u, 2u, 33u, 64u}) {
    for (const uint32_t kv : {64u, 100u, 512u}) EXPECT_EQ(d->attention(m, kv).kv_splits, 2u) << m << " of " << kv;
    for (const uint32_t kv : {1500u, 4000u, 4096u}) EXPECT_EQ(d->attention(m, kv).kv_splits, 7u) << m << " of " << kv;
  }
}

TEST(Dispatch, WorkersAreClampedToThePool) {
  const auto d = Dispatch::build(toy_model(), 4, 64, 2,
                                 changed([](const OperatorShape& s, PlanEntry& e) { e.workers = s.m == 1 ? 0 : 900; }));
  ASSERT_TRUE(d.ok()) << d.message();
  EXPECT_EQ(d->matmul(0, 1).workers, 1);
  EXPECT_EQ(d->matmul(0, 2).workers, 2);
  EXPECT_EQ(d->attention(1, 64).workers, 1);
  EXPECT_EQ(d->attention(3, 64).workers, 2);
}

TEST(Dispatch, FormsFollowFromTheVariants) {
  const auto d = Dispatch::build(toy_model(), 4, 64, 1, Dispatch::untuned(1));
  ASSERT_TRUE(d.ok()) << d.message();
  const auto group = [&](DType dtype, uint32_t n, uint32_t k) {
    const std::span<const LhsForm> forms = d->forms(d->matrix_id(dtype, n, k)).packed();
    EXPECT_EQ(forms.size(), 1u) << traits(dtype).name;
    return forms.empty() ? 0 : forms[0].group;
  };
  EXPECT_EQ(group(DType::kQ8_0, 96, 64), kQ8Block);
  EXPECT_EQ(group(DType::kQ4_K, 64, 256), kQ8SuperBlock) << "K-quants share scales among more activations";
  const uint32_t output = d->matrix_id(DType::kF32, 256, 64);
  EXPECT_EQ(d->forms(output).rows(), lhs_form(*d->matmul(output, 1).variant).layout == Layout::kRowMajor);
}

TEST(Dispatch, EntriesThatCannotRunAreNamed) {
  const auto build = [](const std::string& variant) {
    return Dispatch::build(toy_model(), 4, 64, 1, changed([&](const OperatorShape& s, PlanEntry& e) {
                             if (s.kind == OpKind::kMatmul && s.dtype == DType::kQ8_0) e.variant = variant;
                           }))
        .status();
  };
  expect_error(build("matmul.f32.q8.q9.imaginary"), {"matmul", "96x64", "matmul.f32.q8.q9.imaginary", "no kernel"});
  const std::string attention = entry_for({OpKind::kAttention, DType::kF16, 1, 4, 16, 64, 2}).variant;
  expect_error(build(attention), {attention, "is a kernel for attention", "q8_0"});
  const std::string f32 = entry_for({OpKind::kMatmul, DType::kF32, 1, 96, 64, 0, 0}).variant;
  expect_error(build(f32), {f32, "reads f32", "q8_0"});
  const IsaSet isa = usable_isa().value();
  for (const KernelVariant* v : all_variants())
    if (v->op == OpKind::kMatmul && v->rhs == DType::kQ8_0 && (v->isa & ~isa) != 0)
      expect_error(build(v->id), {v->id, "cannot run", isa_to_string(v->isa & ~isa)});
  const auto failing = [](const OperatorShape&) -> Result<PlanEntry> { return error("no answer"); };
  expect_error(Dispatch::build(toy_model(), 4, 64, 1, failing).status(), {"no answer"});
}

TEST(Dispatch, ByPlanCountsWhatThePlanLacks) {
  Plan plan;
  const OperatorShape up{OpKind::kMatmul, DType::kQ8_0, 1, 96, 64, 0, 0};
  PlanEntry e = entry_for(up);
  e.m_min = 1;
  e.m_max = 4;
  e.mc = 32;
  plan.entries = {e};
  unsigned uncovered = 0;
  const Dispatch::Lookup lookup = Dispatch::by_plan(plan, Dispatch::untuned(1), &uncovered);
  auto found = lookup(up);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->mc, 32u);
  EXPECT_EQ(uncovered, 0u);
  OperatorShape five = up;
  five.m = 5;
  found = lookup(five);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->mc, entry_for(five).mc);
  EXPECT_EQ(uncovered, 1u);
}

TEST(Dispatch, RooflineChoosesTheCheapestVariantAndWorkers) {
  const Platform platform = detect_platform().value();
  const OperatorShape shape{OpKind::kMatmul, DType::kQ8_0, 64, 96, 64, 0, 0};
  const IsaSet isa = usable_isa().value();
  const Selection selection = select_variants(shape, isa);
  ASSERT_FALSE(selection.usable.empty());
  // The portable step is calibrated as the fastest by far, and two workers as no help at all.
  Calibration c;
  for (const IsaName& name : kIsaNames)
    for (const ExecutionUnit unit : {ExecutionUnit::kCpu, ExecutionUnit::kMatrix})
      for (unsigned w = 1; w <= 2; ++w)
        c.peaks.push_back({unit, "int8", name.name, w, name.isa == kIsaPortable ? 5000.0 : 1.0, {1}});
  for (const char* level : {"L1", "L2", "LLC", "DRAM"})
    for (unsigned w = 1; w <= 2; ++w) c.bandwidths.push_back({level, "read", w, 1 << 20, 1000, {1000}});
  c.fork_join = {{1, 10, {10}}, {2, 500, {500}}};
  const Roofline roofline(c, platform);
  const auto entry = Dispatch::by_roofline(roofline, {isa, 2, 2})(shape);
  ASSERT_TRUE(entry.ok()) << entry.message();
  EXPECT_EQ(entry->workers, 1);
  EXPECT_GT(entry->predicted_ns, 0);
  for (const KernelVariant* v : selection.usable)
    for (unsigned w = 1; w <= 2; ++w) EXPECT_LE(entry->predicted_ns, roofline.price(shape, *v, w).ns) << v->id << w;
}

// ---------------------------------------------------------------------------------------------------------------------

class PlanSource : public testing::Test {
 protected:
  void SetUp() override {
    platform_ = detect_platform().value();
    path_ = folder_ / "model.gguf";
    test::write_model(test::random_model("llama", DType::kQ8_0), path_);
    const auto gguf = GgufFile::open(path_);
    ASSERT_TRUE(gguf.ok()) << gguf.message();
    const auto file = ModelFile::load(*gguf);
    ASSERT_TRUE(file.ok()) << file.message();
    model_ = file->shape();
  }

  // Covers every operator of the model, recognisable by its blocking.
  Plan plan(const Platform& platform) const {
    Plan p;
    p.fingerprint = platform.fingerprint();
    p.platform = platform.identity();
    p.model_name = model_.name;
    p.model_hash = model_.hash();
    p.variant_set_hash = variant_set_hash(usable_isa().value());
    p.build = "test";
    p.created = "2026-01-31T12:34:56Z";
    p.planner = "race";
    p.workers = 1;
    const auto add = [&](const OperatorShape& s) {
      PlanEntry e = entry_for(s);
      e.m_min = 1;
      e.m_max = kNoBound;
      e.mc = s.kind == OpKind::kMatmul ? 48 : 0;
      e.kv_max = s.kind == OpKind::kAttention ? kNoBound : 0;
      if (std::none_of(p.entries.begin(), p.entries.end(), [&](const PlanEntry& o) {
            return o.kind == e.kind && o.dtype == e.dtype && o.n == e.n && o.k == e.k;
          }))
        p.entries.push_back(e);
    };
    for (const MatrixShape& m : model_.matrices) add({OpKind::kMatmul, m.dtype, 512, m.n, m.k, 0, 0});
    add({OpKind::kAttention, DType::kF16, 512, model_.heads, model_.head_dim, 512, model_.kv_heads});
    return p;
  }
  // A platform that differs in its model of CPU, and consistently so.
  Platform other_machine() const {
    Platform p = platform_;
    p.cpu_model = "Imaginary 9000";
    return p;
  }
  int64_t store(const Plan& p, const Platform& platform) {
    auto db = Database::open(db_);
    EXPECT_TRUE(db.ok()) << db.message();
    auto session = SessionStore(*db).begin(platform, "test");
    EXPECT_TRUE(session.ok()) << session.message();
    auto model = MeasurementStore(*db).model_id(model_);
    EXPECT_TRUE(model.ok()) << model.message();
    auto id = PlanStore(*db).save(session->id, p);
    EXPECT_TRUE(id.ok()) << id.message();
    return id.ok() ? *id : 0;
  }
  void store_calibration() {
    auto db = Database::open(db_);
    ASSERT_TRUE(db.ok()) << db.message();
    auto session = SessionStore(*db).begin(platform_, "test");
    ASSERT_TRUE(session.ok()) << session.message();
    Calibration c;
    for (const IsaName& isa : kIsaNames) c.peaks.push_back({ExecutionUnit::kCpu, "int8", isa.name, 1, 50.0, {50.0}});
    for (const IsaName& isa : kIsaNames) c.peaks.push_back({ExecutionUnit::kCpu, "f32", isa.name, 1, 50.0, {50.0}});
    c.bandwidths = {{"DRAM", "read", 1, 1 << 28, 10.0, {10.0}}};
    c.fork_join = {{1, 10, {10}}};
    ASSERT_TRUE(CalibrationStore(*db).save(session->id, c).ok());
  }
  Result<PlanChoice> choose(PlanMode mode, bool fallback = false, const std::string& file = "") const {
    return choose_plan({mode, file, db_, fallback}, platform_, model_);
  }

  TempFolder folder_;
  std::string path_, db_ = folder_ / "plans.db";
  Platform platform_;
  ModelShape model_;
};

TEST_F(PlanSource, FittingPlanIsUsedAndRespected) {
  const int64_t id = store(plan(platform_), platform_);
  for (const PlanMode mode : {PlanMode::kAuto, PlanMode::kDatabase}) {
    const auto choice = choose(mode);
    ASSERT_TRUE(choice.ok()) << choice.message();
    ASSERT_NE(choice->plan, nullptr);
    EXPECT_EQ(choice->plan->id, id);
    EXPECT_EQ(choice->planner, "plan");
    EXPECT_EQ(choice->mode, PlanMode::kDatabase);
    EXPECT_EQ(choice->notice, "");
  }
  EngineOptions options;
  options.model = path_;
  options.plan = {PlanMode::kDatabase, "", db_, false};
  const auto engine = Engine::open(options);
  ASSERT_TRUE(engine.ok()) << engine.message();
  EXPECT_EQ((*engine)->workers(), 1u) << "the plan's";
  EXPECT_EQ((*engine)->uncovered_shapes(), 0u);
}

TEST_F(PlanSource, PlanWithGapsIsUsedAndTheGapsAreCounted) {
  Plan p = plan(platform_);
  for (PlanEntry& e : p.entries) e.m_max = 8;
  store(p, platform_);
  EngineOptions options;
  options.model = path_;
  options.plan = {PlanMode::kDatabase, "", db_, false};
  const auto engine = Engine::open(options);
  ASSERT_TRUE(engine.ok()) << engine.message();
  EXPECT_GT((*engine)->uncovered_shapes(), 0u);
}

TEST_F(PlanSource, PlanFileIsUsed) {
  const std::string file = folder_ / "plan.json";
  test::write_text(file, plan_to_json(plan(platform_)));
  const auto choice = choose(PlanMode::kFile, false, file);
  ASSERT_TRUE(choice.ok()) << choice.message();
  EXPECT_EQ(choice->mode, PlanMode::kFile);
  EXPECT_NE(choice->plan, nullptr);
}

TEST_F(PlanSource, ForeignPlanIsRefusedByName) {
  const Platform other = other_machine();
  const std::string file = folder_ / "plan.json";
  test::write_text(file, plan_to_json(plan(other)));
  expect_error(choose(PlanMode::kFile, false, file).status(),
               {"plan.json", "cpu_model", "Imaginary 9000", platform_.cpu_model, "--plan-fallback"});
  Plan another_model = plan(platform_);
  another_model.model_hash = "0000000000000000";
  test::write_text(file, plan_to_json(another_model));
  expect_error(choose(PlanMode::kFile, false, file).status(), {"plan.json", "model", "0000000000000000"});
  Plan another_set = plan(platform_);
  another_set.variant_set_hash = "1111111111111111";
  test::write_text(file, plan_to_json(another_set));
  expect_error(choose(PlanMode::kFile, false, file).status(), {"plan.json", "variant_set_hash", "1111111111111111"});

  store(plan(other), other);
  expect_error(choose(PlanMode::kDatabase).status(), {"plans.db", "cpu_model", "Imaginary 9000", platform_.cpu_model});
  const auto untuned = choose(PlanMode::kAuto);
  ASSERT_TRUE(untuned.ok()) << untuned.message();
  EXPECT_EQ(untuned->plan, nullptr);
  EXPECT_EQ(untuned->planner, "untuned");
  EXPECT_NE(untuned->notice.find("cpu_model"), std::string::npos) << untuned->notice;
  // One that fits beside it is found.
  const int64_t id = store(plan(platform_), platform_);
  const auto fitting = choose(PlanMode::kDatabase);
  ASSERT_TRUE(fitting.ok()) << fitting.message();
  EXPECT_EQ(fitting->plan->id, id);
}

TEST_F(PlanSource, FallbackIsTheRooflineAndSaysSo) {
  auto choice = choose(PlanMode::kDatabase, true);
  ASSERT_TRUE(choice.ok()) << choice.message();
  EXPECT_EQ(choice->planner, "untuned");
  EXPECT_NE(choice->notice.find("no calibration"), std::string::npos) << choice->notice;
  EXPECT_NE(choice->notice.find("plans.db"), std::string::npos) << choice->notice;

  store_calibration();
  const std::string file = folder_ / "plan.json";
  test::write_text(file, plan_to_json(plan(other_machine())));
  for (const PlanMode mode : {PlanMode::kFile, PlanMode::kDatabase, PlanMode::kAuto}) {
    choice = choose(mode, true, file);
    ASSERT_TRUE(choice.ok()) << choice.message();
    EXPECT_EQ(choice->planner, "roofline");
    EXPECT_EQ(choice->plan, nullptr);
    EXPECT_NE(choice->notice.find("falling back to the roofline heuristic"), std::string::npos) << choice->notice;
    EXPECT_NE(choice->notice.find(mode == PlanMode::kFile ? "cpu_model" : "no plan for model"), std::string::npos)
        << choice->notice;
  }
  EngineOptions options;
  options.model = path_;
  options.workers = 1;
  options.plan = {PlanMode::kDatabase, "", db_, true};
  const auto engine = Engine::open(options);
  ASSERT_TRUE(engine.ok()) << engine.message();
  EXPECT_EQ((*engine)->plan().planner, "roofline");
}

TEST_F(PlanSource, RooflineIsTakenWhenAskedForWhateverPlanThereIs) {
  expect_error(choose(PlanMode::kRoofline).status(), {"plans.db", "calibration", "smetune calibrate"});
  auto choice = choose(PlanMode::kRoofline, true);
  ASSERT_TRUE(choice.ok()) << choice.message();
  EXPECT_EQ(choice->planner, "untuned");
  EXPECT_NE(choice->notice.find("untuned default"), std::string::npos) << choice->notice;

  store(plan(platform_), platform_);
  store_calibration();
  EXPECT_EQ(plan_request("roofline").mode, PlanMode::kRoofline);
  choice = choose(PlanMode::kRoofline);
  ASSERT_TRUE(choice.ok()) << choice.message();
  EXPECT_EQ(choice->planner, "roofline");
  EXPECT_EQ(choice->plan, nullptr);
  EXPECT_EQ(choice->notice, "");
  EngineOptions options;
  options.model = path_;
  options.plan = {PlanMode::kRoofline, "", db_};
  const auto engine = Engine::open(options);
  ASSERT_TRUE(engine.ok()) << engine.message();
  EXPECT_EQ((*engine)->plan().planner, "roofline");
}

TEST_F(PlanSource, MissingAndDamagedAreNamed) {
  expect_error(choose(PlanMode::kDatabase).status(), {"plans.db", "no such database", "smetune search"});
  auto choice = choose(PlanMode::kAuto);
  ASSERT_TRUE(choice.ok()) << choice.message();
  EXPECT_NE(choice->notice.find("running untuned"), std::string::npos) << choice->notice;
  choice = choose(PlanMode::kNone);
  ASSERT_TRUE(choice.ok()) << choice.message();
  EXPECT_EQ(choice->notice, "");
  expect_error(choose(PlanMode::kFile, false, folder_ / "none.json").status(), {"none.json", "cannot read"});
  test::write_text(folder_ / "bad.json", "{\"schema\": ");
  expect_error(choose(PlanMode::kFile, false, folder_ / "bad.json").status(), {"bad.json"});
  expect_error(choose(PlanMode::kFile, false, folder_ / ".").status(), {"cannot read"});

  test::write_text(db_, std::string(8192, 'x'));
  expect_error(choose(PlanMode::kDatabase).status(), {"plans.db"});
  choice = choose(PlanMode::kAuto);
  ASSERT_TRUE(choice.ok()) << choice.message();
  EXPECT_NE(choice->notice.find("plans.db"), std::string::npos) << choice->notice;
  choice = choose(PlanMode::kNone);
  ASSERT_TRUE(choice.ok()) << "no plan is wanted: " << choice.message();
  EXPECT_EQ(choice->notice, "");
  choice = choose(PlanMode::kDatabase, true);
  ASSERT_TRUE(choice.ok()) << choice.message();
  EXPECT_NE(choice->notice.find("plans.db"), std::string::npos) << choice->notice;
}

// ---------------------------------------------------------------------------------------------------------------------

TEST(StatsTable, MergesRowsAndShowsThem) {
  const KernelVariant* v = find_variant(entry_for({OpKind::kMatmul, DType::kQ8_0, 1, 96, 64, 0, 0}).variant);
  ASSERT_NE(v, nullptr);
  Stats stats;
  const OperatorShape one{OpKind::kMatmul, DType::kQ8_0, 1, 96, 64, 0, 0};
  OperatorShape ten = one, twenty = one;
  ten.m = 10;
  twenty.m = 20;
  const OperatorShape pair[] = {ten, ten};
  const Execution ffn{"ffn_gate_up", v, ExecutionMode::kCpu, 2};
  stats.begin_pass(StatsPhase::kPrefill, 20);
  stats.record(ffn, pair, 3000);
  stats.record(ffn, {&twenty, 1}, 1000);
  stats.begin_pass(StatsPhase::kDecode, 1);
  stats.record(ffn, {&one, 1}, 500);
  stats.begin_pass(StatsPhase::kPrefill, 20);
  stats.record({"norm", nullptr, ExecutionMode::kCpu, 1}, {}, 9000);
  ASSERT_EQ(stats.rows().size(), 3u);
  const OperatorStats& prefill = stats.rows()[0];
  EXPECT_EQ(prefill.calls, 2u);
  EXPECT_EQ(prefill.ns, 4000);
  EXPECT_EQ(prefill.m_min, 10u);
  EXPECT_EQ(prefill.m_max, 20u);
  EXPECT_EQ(prefill.flops, 2.0 * 96 * 64 * (10 + 10 + 20));
  EXPECT_EQ(stats.rows()[1].calls, 1u);

  const PhaseSummary sum = stats.summary(StatsPhase::kPrefill);
  EXPECT_EQ(sum.passes, 2u);
  EXPECT_EQ(sum.tokens, 40u);
  EXPECT_EQ(sum.ns, 13000);
  EXPECT_EQ(sum.matmul_ns, 4000);
  EXPECT_EQ(sum.matmul_flops, prefill.flops);
  EXPECT_EQ(sum.bytes, prefill.bytes);
  EXPECT_EQ(sum.int8_peak_gops, 0) << "no calibration";
  EXPECT_EQ(stats.summary(StatsPhase::kDecode).matmul_ns, 500);

  const std::string table = stats.table();
  EXPECT_LT(table.find("norm"), table.find("ffn_gate_up")) << "sorted by time\n" << table;
  for (const char* part :
       {"10-20", v->id, "total", "smetune calibrate", "prefill: 40 tokens in 2 passes", "decode: 1 tokens in 1 pass"})
    EXPECT_NE(table.find(part), std::string::npos) << part << " in\n" << table;
  const std::string json = stats.json();
  for (const char* part : {"\"operator\": \"norm\"", "\"variant\": null", "\"m_max\": 20", "\"roofline_ns\": null",
                           "\"prefill\": {\"passes\": 2, \"tokens\": 40", "\"int8_peak_fraction\": null"})
    EXPECT_NE(json.find(part), std::string::npos) << part << " in\n" << json;
  stats.clear();
  EXPECT_TRUE(stats.rows().empty());
  EXPECT_EQ(stats.summary(StatsPhase::kPrefill).passes, 0u);
}

TEST(StatsTable, SharesOfThePeaks) {
  Platform platform;
  Calibration c;
  for (const unsigned workers : {1u, 2u}) {
    c.peaks.push_back({ExecutionUnit::kCpu, "int8", "portable", workers, 100.0 * workers, {}});
    c.bandwidths.push_back({"DRAM", "read", workers, 1u << 30, 10.0 * workers, {}});
  }
  const Roofline roofline(c, platform);
  const KernelVariant* v = nullptr;
  for (const KernelVariant* one : all_variants())
    if (one->op == OpKind::kMatmul && one->rhs == DType::kQ8_0 && one->lhs == DType::kQ8 && one->isa == kIsaPortable)
      v = one;
  ASSERT_NE(v, nullptr);
  Stats stats(&roofline);
  const OperatorShape many{OpKind::kMatmul, DType::kQ8_0, 64, 320, 640, 0, 0};
  OperatorShape one = many;
  one.m = 1;
  stats.begin_pass(StatsPhase::kPrefill, 64);
  stats.record({"ffn_down", v, ExecutionMode::kCpu, 2}, {&many, 1}, op_flops(many) / 50);  // a quarter of 200 GOP/s
  stats.begin_pass(StatsPhase::kDecode, 1);
  stats.record({"ffn_down", v, ExecutionMode::kCpu, 2}, {&one, 1}, op_bytes(one) / 16);  // 16 of 20 GB/s
  stats.record({"norm", nullptr, ExecutionMode::kCpu, 1}, {}, op_bytes(one) / 16);       // as long again
  const PhaseSummary prefill = stats.summary(StatsPhase::kPrefill), decode = stats.summary(StatsPhase::kDecode);
  EXPECT_NEAR(prefill.int8_peak_fraction, 0.25, 1e-9);
  EXPECT_NEAR(prefill.int8_peak_gops, 200, 1e-9);
  EXPECT_NEAR(decode.read_gbps, 20, 1e-9);
  EXPECT_NEAR(decode.matmul_bytes / decode.matmul_ns, 16, 1e-9);
  EXPECT_NEAR(decode.bytes / decode.ns, 8, 1e-9);
  const std::string table = stats.table();
  for (const char* part : {"25.0 % of the int8 peak (200 GOP/s)", "16.0 GB/s = 80.0 % of read bandwidth",
                           "8.0 GB/s = 40.0 % of read bandwidth (20.0 GB/s)"})
    EXPECT_NE(table.find(part), std::string::npos) << part << " in\n" << table;
}

class Bench : public testing::Test {
 protected:
  void SetUp() override {
    test::write_model(test::random_model("llama", DType::kQ8_0), folder_ / "model \"x\".gguf");
    EngineOptions options;
    options.model = folder_ / "model \"x\".gguf";
    options.plan.mode = PlanMode::kNone;
    options.workers = 1;
    options.sequences = 4;
    auto engine = Engine::open(options);
    ASSERT_TRUE(engine.ok()) << engine.message();
    engine_ = std::move(engine).value();
  }
  TempFolder folder_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(Bench, MeasuresWhatWasAskedFor) {
  const std::atomic<bool> go{false}, stop{true};
  unsigned done = 0;
  TempFolder nothing;  // no counters
  EnergyMeter meter(nothing / "sys");
  const auto pp = run_bench(*engine_, {20, 0, 0, 1}, 3, meter, [&](unsigned n) { done = n; }, go);
  ASSERT_TRUE(pp.ok()) << pp.message();
  EXPECT_EQ(done, 3u);
  ASSERT_EQ(pp->samples_ns.size(), 3u);
  EXPECT_DOUBLE_EQ(pp->samples_ts()[0], 20e9 / pp->samples_ns[0]);
  EXPECT_DOUBLE_EQ(pp->avg_ns(), (pp->samples_ns[0] + pp->samples_ns[1] + pp->samples_ns[2]) / 3);
  const auto tg = run_bench(*engine_, {0, 4, 30, 1}, 2, meter, nullptr, go);
  ASSERT_TRUE(tg.ok()) << tg.message();
  EXPECT_EQ(tg->test.n_depth, 30u);
  const auto four = run_bench(*engine_, {0, 6, 30, 4}, 2, meter, nullptr, go);
  ASSERT_TRUE(four.ok()) << four.message();
  EXPECT_DOUBLE_EQ(four->samples_ts()[1], 24e9 / four->samples_ns[1]) << "tokens of all sequences";
  EXPECT_EQ(four->test.name(), "tg6 b4 @ d30");
  expect_error(run_bench(*engine_, {0, 4, 0, 5}, 1, meter, nullptr, go).status(), {"5 sequences", "up to 4"});
  expect_error(run_bench(*engine_, {20, 0, 0, 4}, 1, meter, nullptr, go).status(), {"several sequences"});
  expect_error(run_bench(*engine_, {0, 0, 0, 1}, 1, meter, nullptr, go).status(),
               {"of a prompt, of generation or of both"});
  const auto both = run_bench(*engine_, {5, 4, 0, 2}, 2, meter, nullptr, go);
  ASSERT_TRUE(both.ok()) << both.message();
  EXPECT_EQ(both->test.name(), "pp5+tg4 b2");
  // A pass of each phase that there is was recorded, and not by the engine's own.
  EXPECT_EQ(pp->prefill_pass.tokens, 20u);
  EXPECT_EQ(pp->decode_pass.passes, 0u);
  EXPECT_EQ(tg->prefill_pass.passes, 0u);
  EXPECT_EQ(tg->decode_pass.passes, 1u);
  EXPECT_EQ(four->decode_pass.tokens, 4u);
  EXPECT_EQ(both->prefill_pass.tokens, 10u);
  EXPECT_EQ(both->decode_pass.tokens, 2u);
  EXPECT_GT(both->decode_pass.conversions.avoided, 0u) << "q, k and v share what their norm packed";
  EXPECT_EQ(engine_->set_stats(nullptr), nullptr);
  EXPECT_NE(conversions_json(*tg).find("{\"prefill\": null, \"decode\": {\"passes\": 1, \"tokens\": 1, "),
            std::string::npos);
  ASSERT_EQ(both->prefill_ns.size(), 2u);
  EXPECT_LT(both->prefill_ns[0], both->samples_ns[0]) << "the first token comes before the last";
  expect_error(run_bench(*engine_, {100, 0, 100, 1}, 1, meter, nullptr, go).status(), {"100", "128", "--ctx"});
  expect_error(run_bench(*engine_, {20, 0, 0, 1}, 1, meter, nullptr, stop).status(), {"cancelled"});
}

// What reads llama-bench's output reads ours.
TEST_F(Bench, OutputHasTheFieldsOfLlamaBench) {
  std::vector<BenchResult> results(2);
  results[0] = {{512, 0, 0, 1}, "2026-01-31T12:34:56Z", {2e9, 3e9, 4e9}, {}, {}};
  results[1] = {{0, 64, 16, 1}, "2026-01-31T12:35:56Z", {1.5e9}, {}, {}};
  for (const BenchFormat format : {BenchFormat::kJson, BenchFormat::kJsonl}) {
    const std::string text = format_bench(*engine_, results, format);
    const auto rows = parse_llama_bench(text, "bench");
    ASSERT_TRUE(rows.ok()) << rows.message() << "\n" << text;
    ASSERT_EQ(rows->size(), 2u);
    const Baseline& a = (*rows)[0];
    EXPECT_EQ(a.model_file, "model \"x\".gguf");
    EXPECT_EQ(a.model_type, "llama Q8_0");
    EXPECT_EQ(a.n_threads, 1u);
    EXPECT_EQ(a.n_prompt, 512u);
    EXPECT_EQ(a.n_gen, 0u);
    EXPECT_EQ(a.cpu_info, engine_->platform().cpu_model);
    EXPECT_EQ(a.test_time, results[0].test_time);
    EXPECT_NEAR(a.avg_ts, results[0].avg_ts(), 1e-5);
    EXPECT_NEAR(a.stddev_ts, results[0].stddev_ts(), 1e-5);
    EXPECT_EQ(a.samples_ts.size(), 3u);
    EXPECT_EQ((*rows)[1].n_gen, 64u);
    EXPECT_EQ((*rows)[1].n_depth, 16u);
  }
  EXPECT_EQ(format_bench(*engine_, {}, BenchFormat::kJson), "[\n]\n");

  const std::string csv = format_bench(*engine_, results, BenchFormat::kCsv);
  std::istringstream lines(csv);
  std::string head, row;
  std::getline(lines, head);
  EXPECT_EQ(head.substr(0, 37), "build_commit,build_number,cpu_info,gp") << head;
  EXPECT_NE(head.find("n_prompt,n_gen,n_depth,n_seqs,test_time,avg_ns,stddev_ns,avg_ts,stddev_ts"), std::string::npos);
  size_t rows = 0;
  while (std::getline(lines, row)) {
    ++rows;
    size_t separators = 0;  // every value is quoted, quotes are doubled
    for (size_t at = 0; (at = row.find("\",\"", at)) != std::string::npos; at += 3) ++separators;
    EXPECT_EQ(separators, static_cast<size_t>(std::count(head.begin(), head.end(), ','))) << row;
    EXPECT_NE(row.find("model \"\"x\"\".gguf"), std::string::npos) << row;
  }
  EXPECT_EQ(rows, 2u);

  const std::string md = format_bench(*engine_, results, BenchFormat::kMarkdown);
  EXPECT_EQ(std::count(md.begin(), md.end(), '\n'), 4);
  // The mean of 256, 170.67 and 128 tokens per second.
  for (const char* part : {"| model ", " pp512 |", " tg64 @ d16 |", "---: |", " 184.89 \xc2\xb1 "})
    EXPECT_NE(md.find(part), std::string::npos) << part << " in\n" << md;
}

TEST(BenchFormats, AreNamed) {
  for (const char* name : {"json", "jsonl", "csv", "md"}) EXPECT_TRUE(parse_bench_format(name).ok()) << name;
  expect_error(parse_bench_format("xml").status(), {"xml", "jsonl"});
}

}  // namespace
}  // namespace smepilot
