// Runtime adaptation of real calls. Slowness is planted: a kernel that computes its outputs several times over plays
// the matrix unit, so that this runs on every machine and under emulators, and no time is asserted, only what follows
// from one side being slower than the other by far.
#include "engine/adaptation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

#include "db/plan_store.h"
#include "db/session_store.h"
#include "engine/adapt_learn.h"
#include "engine_support.h"
#include "kernels/base/os.h"
#include "kernels/driver/trace.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/reference/quantize.h"
#include "kernels/registry/registry.h"
#include "testbed.h"

namespace smepilot {
namespace {

constexpr uint32_t kM = 32, kN = 256, kK = 64;
constexpr int kTimesSlower = 40;
constexpr int kMostCalls = 20000;

MatmulFn original = nullptr;
void many_times(const MatmulArgs* args) noexcept {
  for (int i = 0; i < kTimesSlower; ++i) original(args);
}

// One operator that both sides share, one of them slower by far.
class SlowSide : public testing::Test {
 protected:
  void SetUp() override {
    if (cpus_.size() == 1) GTEST_SKIP() << "NOT TESTED: two workers need two cores";
    const IsaSet isa = usable_isa().value();
    for (const KernelVariant* v : select_variants({OpKind::kMatmul, DType::kF32, kM, kN, kK, 0, 0}, isa).usable)
      if (v->unit == ExecutionUnit::kCpu && v->lhs_layout == Layout::kRowMajor) fast_ = *v;
    ASSERT_NE(fast_.matmul, nullptr);
    original = fast_.matmul;
    matrix_ = fast_;
    matrix_.unit = ExecutionUnit::kMatrix;
    reference::Random random(5);
    lhs_.resize(size_t{kM} * kK);
    weights_.resize(size_t{kN} * kK);
    dst_.assign(size_t{kM} * kN, 0);
    random.fill_uniform(lhs_.data(), lhs_.size(), -1, 1);
    random.fill_uniform(weights_.data(), weights_.size(), -1, 1);
    rhs_ = {DType::kF32, kN, kK, reinterpret_cast<const std::byte*>(weights_.data())};
    call_.rhs = &rhs_;
    call_.lhs = {lhs_.data(), kK, nullptr, {}, kM, kK};
    call_.dst = dst_.data();
    call_.dst_stride = kN;
    MatmulConfig& c = call_.config;
    c.variant = &fast_;
    c.mode = ExecutionMode::kCoop;
    c.workers = 1;
    c.nc = 16;
    c.coop.variant = &matrix_;
    c.coop.workers = 1;
    c.coop.nc = 16;
    c.coop.split = kN / 2;
    matmul_group(pool_, {&call_, 1});
    expected_ = dst_;
  }

  // Until the operator has moved so, or far too many calls: other work on this machine may have misled it first.
  template <typename Moved>
  void run(Adaptation& adaptation, Moved moved) {
    for (int i = 0; i < kMostCalls; ++i) {
      step(adaptation);
      if (moved(adaptation.operators()[0]->controller.current())) return;
    }
  }
  // By its share, or because the other side helps it.
  static bool less_for_matrix(const AdaptSetting& s) {
    return s.mode == ExecutionMode::kCpu || (s.mode == ExecutionMode::kCoop && (s.dynamic || s.share < 0.5));
  }
  static bool more_for_matrix(const AdaptSetting& s) {
    return s.mode == ExecutionMode::kMatrix || (s.mode == ExecutionMode::kCoop && (s.dynamic || s.share > 0.5));
  }
  void step(Adaptation& adaptation) {
    std::fill(dst_.begin(), dst_.end(), -1.0f);
    adaptation.begin_step();
    const std::span<const MatmulCall> calls = adaptation.configure("ffn_down", {&call_, 1});
    matmul_group(pool_, calls, adaptation.time());
    adaptation.executed();
    // However it is divided, each output is the same sum.
    ASSERT_EQ(std::memcmp(dst_.data(), expected_.data(), dst_.size() * sizeof(float)), 0);
  }

  // On cores of their own, where threads can be pinned: two on one core are as slow as each other.
  static std::vector<int> two_cpus() {
    std::vector<int> cpus = current_affinity();
    if (cpus.size() > 2) cpus.resize(2);
    return cpus;
  }
  const std::vector<int> cpus_ = two_cpus();
  WorkerPool pool_{2, cpus_.size() == 2 ? std::span<const int>(cpus_) : std::span<const int>()};
  KernelVariant fast_{}, matrix_{};
  std::vector<float> lhs_, weights_, dst_, expected_;
  PackedMatrix rhs_;
  MatmulCall call_;
};

TEST_F(SlowSide, TheMatrixUnitGetsLess) {
  matrix_.matmul = many_times;
  std::vector<AdaptRecord> log;
  Adaptation adaptation(pool_, [&](const AdaptRecord& r) { log.push_back(r); });
  run(adaptation, less_for_matrix);
  ASSERT_EQ(adaptation.operators().size(), 1u);
  const AdaptedOperator& o = *adaptation.operators()[0];
  EXPECT_EQ(o.controller.home(), (AdaptSetting{ExecutionMode::kCoop, 0.5, 2}));
  const AdaptSetting& now = o.controller.current();
  EXPECT_TRUE(less_for_matrix(now)) << describe(now);
  EXPECT_GE(adaptation.changes(), 1u);
  const auto changed = std::find_if(log.begin(), log.end(), [](const AdaptRecord& r) { return r.event.changed; });
  ASSERT_NE(changed, log.end());
  EXPECT_EQ(changed->role, "ffn_down");
  EXPECT_EQ(changed->m, kM);
  EXPECT_GT(changed->event.saved, 0);
  EXPECT_GE(changed->step, 1u);
  const std::string text = describe(*changed), json = to_json(*changed);
  for (const char* part : {"ffn_down m=32", "coop, 50 % on the matrix unit", "less time"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
  for (const char* part : {"\"operator\": \"ffn_down\"", "\"changed\": true", "\"share\": 0.5000"})
    EXPECT_NE(json.find(part), std::string::npos) << json;
  EXPECT_NE(adaptation.table().find("ffn_down"), std::string::npos);
  EXPECT_NE(adaptation.json().find("\"trials\""), std::string::npos);
}

TEST_F(SlowSide, TheCoresGetLess) {
  matrix_.matmul = original;
  fast_.matmul = many_times;
  Adaptation adaptation(pool_);
  run(adaptation, more_for_matrix);
  const AdaptSetting& now = adaptation.operators()[0]->controller.current();
  EXPECT_TRUE(more_for_matrix(now)) << describe(now);
}

// What a call reports adds up, whoever took which task.
TEST_F(SlowSide, SidesReportWhatTheyDid) {
  matrix_.matmul = original;
  for (const bool dynamic : {false, true}) {
    call_.config.coop.dynamic = dynamic;
    call_.config.coop.split = 96;
    CallTime time(pool_.size());
    matmul_group(pool_, {&call_, 1}, &time);
    ASSERT_TRUE(time.measured());
    EXPECT_TRUE(time.apart());
    EXPECT_EQ(time.workers(), 2u);
    const CallTime::Side matrix = time.side(ExecutionUnit::kMatrix), vector = time.side(ExecutionUnit::kCpu);
    EXPECT_EQ(matrix.workers + vector.workers, 2u);
    EXPECT_DOUBLE_EQ(matrix.work + vector.work, double{kM} * kN * kK);
    if (!dynamic) {
      EXPECT_DOUBLE_EQ(matrix.work, double{kM} * 96 * kK);
      EXPECT_EQ(matrix.tasks, 6u);
    }
    EXPECT_LE(std::max(matrix.ns, vector.ns), time.ns());
    EXPECT_GE(time.waiting(), 0);
    EXPECT_LE(time.waiting(), 1);
    for (unsigned w = 0; w < 2; ++w) EXPECT_EQ(time[w].core_share, -1);
    time.watch_cores(true);
    matmul_group(pool_, {&call_, 1}, &time);
    for (unsigned w = 0; w < 2; ++w) {
      EXPECT_GE(time[w].core_share, 0);
      EXPECT_LE(time[w].core_share, 1);
    }
  }
}

PlanEntry entry_of(const MatmulCall& call, uint32_t m_min, uint32_t m_max) {
  PlanEntry e;
  e.dtype = call.rhs->dtype;
  e.n = kN;
  e.k = kK;
  e.m_min = m_min;
  e.m_max = m_max;
  e.mode = ExecutionMode::kCoop;
  e.variant = "cores";
  e.mc = call.config.mc;
  e.nc = call.config.nc;
  e.coop = {"matrix", 1, 128, 32, SplitDim::kN, kN / 2, kN, false, 0, 0};
  e.measured_ns = 1;
  e.default_ns = 2;
  e.why = "measured";
  return e;
}

TEST_F(SlowSide, IsLearned) {
  matrix_.matmul = many_times;
  Adaptation adaptation(pool_);
  run(adaptation, less_for_matrix);
  Plan plan;
  plan.id = 7;
  plan.fingerprint = "0123456789abcdef";
  plan.platform = {{"cpu_model", "any"}};
  plan.model_name = "toy";
  plan.model_hash = "00000000deadbeef";
  plan.variant_set_hash = "1111111111111111";
  plan.planner = "race";
  plan.workers = 2;
  plan.version = 2;
  plan.entries = {entry_of(call_, 1, 16), entry_of(call_, 17, 64)};
  // Too little evidence: the change has only just been made.
  const LearnedPlan weak = learn_plan(plan, adaptation, "a build");
  EXPECT_EQ(weak.entries, 0u);
  EXPECT_EQ(weak.weak, 1u);
  // Whatever else it does, it will have run long enough some time.
  const AdaptController& controller = adaptation.operators()[0]->controller;
  for (int i = 0;
       i < kMostCalls && (controller.calls_of_current() < kEnoughCalls || controller.current() == controller.home());
       ++i)
    step(adaptation);
  const AdaptSetting now = controller.current();
  const LearnedPlan learned = learn_plan(plan, adaptation, "a build");
  EXPECT_EQ(learned.entries, 1u);
  EXPECT_EQ(learned.weak, 0u);
  EXPECT_EQ(learned.plan.planner, "adapted");
  EXPECT_EQ(learned.plan.build, "a build");
  EXPECT_EQ(learned.plan.id, 0);
  EXPECT_EQ(candidate_of(learned.plan.entries[0]), candidate_of(plan.entries[0]));
  EXPECT_EQ(learned.plan.entries[0].measured_ns, 1);
  const PlanEntry& e = learned.plan.entries[1];
  EXPECT_EQ(e.mode, now.mode);
  if (e.mode == ExecutionMode::kCoop) {
    EXPECT_EQ(e.coop.split, round_split(now.share, kN));
    EXPECT_EQ(e.coop.dynamic, now.dynamic);
    EXPECT_EQ(e.coop.variant, "matrix");
  } else {
    EXPECT_EQ(e.coop, CoopPart{});
    EXPECT_EQ(e.variant, now.mode == ExecutionMode::kCpu ? "cores" : "matrix");
  }
  EXPECT_EQ(e.measured_m, kM);
  EXPECT_GT(e.measured_ns, 0);
  EXPECT_EQ(e.default_ns, 0);
  for (const char* part : {"from plan 7", "alternating pairs", "ffn_down"})
    EXPECT_NE(e.why.find(part), std::string::npos) << e.why;

  // It is a plan like any other: the database keeps it beside the old one.
  test::TempFolder folder;
  auto db = Database::open(folder / "plans.db");
  ASSERT_TRUE(db.ok()) << db.message();
  const auto platform = detect_platform();
  ASSERT_TRUE(platform.ok()) << platform.message();
  const auto session = SessionStore(*db).begin(*platform, "test");
  ASSERT_TRUE(session.ok()) << session.message();
  PlanStore store(*db);
  const auto old_id = store.save(session->id, plan);
  const auto new_id = store.save(session->id, learned.plan);
  ASSERT_TRUE(old_id.ok()) << old_id.message();
  ASSERT_TRUE(new_id.ok()) << new_id.message();
  const auto latest = store.latest(plan.fingerprint, plan.model_hash);
  ASSERT_TRUE(latest.ok() && latest->has_value());
  EXPECT_EQ((*latest)->id, *new_id);
  EXPECT_EQ((*latest)->planner, "adapted");
  EXPECT_EQ(candidate_of((*latest)->entries[1]), candidate_of(e));
  const auto old = store.get(*old_id);
  ASSERT_TRUE(old.ok() && old->has_value());
  EXPECT_EQ((*old)->planner, "race");
}

TEST(AdaptedCores, AreExchangedWhereNothingElseChanges) {
  Platform p;
  p.cores = 4;
  p.core_classes = {{"P", {0, 1}, 2}, {"E", {2, 3}, 2}};
  EXPECT_TRUE(exchangeable(p, 0, 1));
  EXPECT_FALSE(exchangeable(p, 0, 2));  // of another kind
  p.core_classes = {{"cpu", {0, 1, 2, 3}, 4}};
  EXPECT_TRUE(exchangeable(p, 0, 2));
  p.matrix_unit = "sme";
  p.matrix_units = 2;
  EXPECT_FALSE(exchangeable(p, 0, 1));  // nobody knows which unit they use
  p.unit_cpus = {{0, 1}, {2, 3}};
  EXPECT_TRUE(exchangeable(p, 0, 1));
  EXPECT_FALSE(exchangeable(p, 1, 2));
  p.matrix_units = 4;  // each has its own
  EXPECT_TRUE(exchangeable(p, 1, 2));
  p.matrix_unit = "testbed";
  p.matrix_units = 1;
  EXPECT_TRUE(exchangeable(p, 0, 3));
}

// Whole models give the logits that they give without it, whatever is being tried.
class AdaptedModel : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, AdaptedModel, testing::Values("llama", "qwen3moe"),
                         [](const testing::TestParamInfo<std::string>& model) { return model.param; });

TEST_P(AdaptedModel, GivesTheSameLogits) {
  const test::TempFolder folder;
  const std::string path = folder / "model.gguf";
  test::write_model(test::random_model(GetParam(), DType::kQ8_0), path);
  EngineOptions options = test::plain_options(path);
  const auto platform = detect_platform();
  ASSERT_TRUE(platform.ok()) << platform.message();
  if (platform->matrix_units != 0) options.plan.execution = "coop";
  const test::Tokens prompt = test::some_tokens(40);
  std::vector<float> expected;
  for (const bool adapt : {false, true}) {
    const auto engine = test::open_engine(options);
    ASSERT_NE(engine, nullptr);
    AdaptPolicy eager;  // tries everything that the evidence could mean
    eager.settle = 2;
    eager.most_pairs = 6;
    eager.most_waiting = -1;
    eager.worthwhile = 0;
    std::set<std::string> tried;
    Adaptation adaptation(
        engine->pool(), [&](const AdaptRecord& r) { tried.insert(r.role); }, &engine->platform(), eager);
    if (adapt) engine->set_adaptation(&adaptation);
    auto cache = engine->new_cache();
    ASSERT_TRUE(cache.ok()) << cache.message();
    for (int round = 0; round < 12; ++round) {
      cache->set_length(0);
      std::vector<float> logits = test::evaluate(*engine, *cache, prompt, test::Logits::kAll);
      const std::vector<float> next = test::evaluate(*engine, *cache, {7}, test::Logits::kLast);
      logits.insert(logits.end(), next.begin(), next.end());
      if (expected.empty()) expected = logits;
      ASSERT_GE(test::cosine(logits, expected), test::same_enough(DType::kQ8_0)) << round;
    }
    if (!adapt) continue;
    EXPECT_EQ(adaptation.steps(), 24u);
    std::set<std::string> seen;
    for (const auto& o : adaptation.operators()) {
      EXPECT_GT(o->controller.calls(), 0u) << o->role;
      seen.insert(o->role);
    }
    for (const char* role : {"attn_qkv", "attention", "attn_output", "output"}) EXPECT_EQ(seen.count(role), 1u) << role;
    EXPECT_EQ(seen.count(GetParam() == "llama" ? "ffn_down" : "moe_down"), 1u);
    EXPECT_FALSE(tried.empty());
    engine->set_adaptation(nullptr);
  }
}

TEST(AdaptTrace, MarksAreInstants) {
  start_trace(1);
  trace_instant("adapt", "ffn_down", ExecutionMode::kCoop, 3);
  stop_trace();
  ASSERT_EQ(trace_events(0).size(), 1u);
  const std::string json = trace_json();
  for (const char* part : {R"("ph":"i")", R"("name":"adapt")", R"("operator":"ffn_down")", R"("index":3)"})
    EXPECT_NE(json.find(part), std::string::npos) << json;
  EXPECT_EQ(json.find("\"dur\""), std::string::npos);
}

}  // namespace
}  // namespace smepilot
