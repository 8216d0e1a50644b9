#include "tuner/predict.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "db/measurement_store.h"
#include "db/plan_store.h"
#include "db/session_store.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "profiles/platform.h"

namespace smepilot {
namespace {

PlatformProfile m4_pro() {
  Result<PlatformProfile> p = load_platform_profile("apple-m4-pro");
  EXPECT_TRUE(p.ok()) << p.message();
  return std::move(*p);
}

ModelShape llama(const char* dtype = "f16") {
  Result<ModelShape> m = load_model_profile("llama-3.2-3b", dtype);
  EXPECT_TRUE(m.ok()) << m.message();
  return std::move(*m);
}

PredictedOperator ffn_down(uint32_t m) {
  const OperatorShape shape{OpKind::kMatmul, DType::kF16, m, 3072, 8192, 0, 0};
  Result<PredictedOperator> p = predict_operator(m4_pro(), "ffn_down", shape, modes_of(m4_pro()));
  EXPECT_TRUE(p.ok()) << p.message();
  return std::move(*p);
}

TEST(Predict, MatmulCrossesFromCoresToBothUnitsAsRowsGrow) {
  const PredictedOperator one = ffn_down(1), many = ffn_down(4096);
  EXPECT_EQ(one.choice().mode, ExecutionMode::kCpu);
  EXPECT_EQ(one.regime, Regime::kMemoryBound);
  const double bytes = 2.0 * 3072 * 8192 + 4.0 * (3072 + 8192);
  EXPECT_NEAR(one.choice().ns, bytes / 247, 1);  // the cores read a little faster than the units
  EXPECT_EQ(ffn_down(8).regime, Regime::kRidgeCrossing);
  EXPECT_EQ(many.choice().mode, ExecutionMode::kCoop);
  EXPECT_EQ(many.regime, Regime::kComputeBound);
  EXPECT_EQ(many.choice().workers, 8u);
  EXPECT_EQ(many.choice().matrix_workers, 2u);
  // The paper's rho, rounded to the tile, and its time.
  EXPECT_EQ(many.choice().split % kPanel, 0u);
  EXPECT_NEAR(many.choice().split, 3072 * 2920.0 / (2920 + 1850), kPanel / 2.0);
  EXPECT_NEAR(many.choice().ns / 1e6, 48.25, 0.05 * 48.25);
  const auto sme = std::find_if(many.modes.begin(), many.modes.end(),
                                [](const ModePrice& p) { return p.mode == ExecutionMode::kMatrix; });
  ASSERT_NE(sme, many.modes.end());
  EXPECT_NEAR(sme->ns / 1e6, 70.6, 0.05 * 70.6);
}

TEST(Predict, WholeModelHasOneOperatorForEachShape) {
  const Result<Prediction> p = predict(m4_pro(), llama(), {});
  ASSERT_TRUE(p.ok()) << p.message();
  for (size_t i = 0; i < p->operators.size(); ++i) {
    const PredictedOperator& a = p->operators[i];
    EXPECT_TRUE(std::isfinite(a.choice().ns) && a.choice().ns > 0) << a.role;
    for (size_t j = 0; j < i; ++j) {
      const OperatorShape &x = a.shape, &y = p->operators[j].shape;
      EXPECT_FALSE(x.kind == y.kind && x.m == y.m && x.n == y.n && x.k == y.k && x.dtype == y.dtype &&
                   x.kv_len == y.kv_len)
          << a.role;
    }
  }
}

TEST(Predict, LackingNumberIsRefusedWithFieldOperatorAndMode) {
  const Result<Prediction> quantised = predict(m4_pro(), llama("q4_0"), {});
  ASSERT_FALSE(quantised.ok());
  for (const char* part : {"apple-m4-pro.json", "numbers.compute.cpu.int8", "attn_q", "q4_0", "mode cpu"})
    EXPECT_NE(quantised.message().find(part), std::string::npos) << quantised.message();
  PlatformProfile less = m4_pro();
  less.numbers["memory.dram.read.coop"].clear();
  const Result<Prediction> no_bandwidth = predict(less, llama(), {});
  ASSERT_FALSE(no_bandwidth.ok());
  EXPECT_NE(no_bandwidth.message().find("memory.dram.read.coop"), std::string::npos) << no_bandwidth.message();
  EXPECT_NE(no_bandwidth.message().find("mode coop"), std::string::npos) << no_bandwidth.message();
  // Without that mode there is nothing to refuse.
  PredictOptions options;
  options.modes = {ExecutionMode::kCpu, ExecutionMode::kMatrix};
  EXPECT_TRUE(predict(less, llama(), options).ok());
}

// Calibration measures every type that a unit multiplies: without a rate the operator is the cores' alone.
TEST(Predict, MeasuredMachineRunsOnItsCoresWhatItsMatrixUnitCannot) {
  Platform here;
  here.cpu_model = "Test CPU";
  here.isa = "avx2+avx512+avx512bf16+amxbf16";
  here.cores = here.matrix_units = 2;
  here.matrix_unit = "amx";
  Calibration c;
  c.peaks = {{ExecutionUnit::kCpu, "f32", "avx512", 1, 100, {}},
             {ExecutionUnit::kCpu, "f32", "avx512", 2, 200, {}},
             {ExecutionUnit::kCpu, "bf16", "avx512bf16", 2, 150, {}},
             {ExecutionUnit::kMatrix, "bf16", "amxbf16", 1, 2000, {}},
             {ExecutionUnit::kMatrix, "bf16", "amxbf16", 2, 4000, {}}};
  c.bandwidths = {{"DRAM", "read", 2, 1u << 30, 30, {}}};
  c.coop_peaks = {{"bf16", "amxbf16", 1, 1900, {}, "bf16", "avx512bf16", 1, 70, {}}};
  c.exp_geps = 5;
  const PlatformProfile p = profile_of(here, c, "desk");
  EXPECT_STREQ(multiplied_dtype(p, ExecutionUnit::kMatrix, DType::kF16), "bf16");
  EXPECT_STREQ(multiplied_dtype(p, ExecutionUnit::kCpu, DType::kF16), "bf16");
  EXPECT_STREQ(multiplied_dtype(p, ExecutionUnit::kCpu, DType::kBF16), "bf16");
  EXPECT_STREQ(multiplied_dtype(p, ExecutionUnit::kCpu, DType::kF32), "f32");
  EXPECT_STREQ(multiplied_dtype(m4_pro(), ExecutionUnit::kCpu, DType::kF16), "f16");
  const auto modes = [&](DType dtype) {
    const OperatorShape shape{OpKind::kMatmul, dtype, 512, 1024, 1024, 0, 0};
    const Result<PredictedOperator> o = predict_operator(p, "ffn_up", shape, modes_of(p));
    EXPECT_TRUE(o.ok()) << o.message();
    return o.ok() ? o->modes.size() : 0;
  };
  EXPECT_EQ(modes(DType::kF32), 1u);
  EXPECT_EQ(modes(DType::kBF16), 3u);
  const OperatorShape q8{OpKind::kMatmul, DType::kQ8_0, 1, 1024, 1024, 0, 0};
  EXPECT_FALSE(predict_operator(p, "ffn_up", q8, modes_of(p)).ok());  // not even the cores' rate is known
}

TEST(Predict, PublishedProfilesWithoutRatesAreRefused) {
  for (const char* name : {"apple-m4-max", "apple-m5", "mediatek-d9500", "kunpeng-920-72f8", "snapdragon-x2-elite"}) {
    const Result<PlatformProfile> p = load_platform_profile(name);
    ASSERT_TRUE(p.ok()) << p.message();
    EXPECT_FALSE(predict(*p, llama(), {}).ok()) << name;
  }
}

TEST(PredictedPlan, CoversEveryRowCountOfItsOperators) {
  const ModelShape model = llama();
  const Result<Prediction> p = predict(m4_pro(), model, {});
  ASSERT_TRUE(p.ok()) << p.message();
  const Plan plan = predicted_plan(*p, m4_pro(), model);
  for (const uint32_t m : {1u, 2u, 3u, 5u, 31u, 512u, 100000u}) {
    const PlanEntry* e = plan.find({OpKind::kMatmul, DType::kF16, m, 8192, 3072, 0, 0});
    ASSERT_NE(e, nullptr) << m;
    EXPECT_EQ(e->mode, m >= 16 ? ExecutionMode::kCoop : ExecutionMode::kCpu) << m;
    EXPECT_EQ(e->measured_ns, 0) << m;
    EXPECT_GT(e->predicted_ns, 0) << m;
    EXPECT_NE(e->variant.find("predicted."), std::string::npos) << e->variant;
    EXPECT_EQ(find_variant(e->variant), nullptr) << e->variant;
  }
  EXPECT_EQ(plan.planner, "predicted (published profile)");
}

// Neither here nor on a machine that says of itself what the profile says.
TEST(PredictedPlan, NoMachineMayLoadIt) {
  const ModelShape model = llama();
  const Result<Prediction> p = predict(m4_pro(), model, {});
  ASSERT_TRUE(p.ok()) << p.message();
  Plan plan = predicted_plan(*p, m4_pro(), model);
  const Result<IsaSet> isa = usable_isa();
  ASSERT_TRUE(isa.ok());
  const std::string variants = variant_set_hash(*isa);
  Result<Platform> here = detect_platform();
  ASSERT_TRUE(here.ok()) << here.message();
  EXPECT_FALSE(check_plan(plan, *here, model, variants).ok());
  Platform same;
  same.cpu_model = "Apple M4 Pro (10P+4E)";
  same.isa = "sme+sme2";
  same.cores = same.cpus = 10;
  same.matrix_unit = "sme";
  same.matrix_units = 2;
  const Status refused = check_plan(plan, same, model, variants);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.message().find("published profile"), std::string::npos) << refused.message();
  // And should both identities be forged: its kernels are of no build.
  plan.platform = here->identity();
  plan.fingerprint = here->fingerprint();
  EXPECT_NE(check_plan(plan, *here, model, variants).message().find("variant_set_hash"), std::string::npos);
  plan.variant_set_hash = variants;
  EXPECT_FALSE(check_plan(plan, *here, model, variants).ok());
}

TEST(PredictedPlan, IsStoredApartFromWhatWasMeasured) {
  const std::string path =
      (std::filesystem::temp_directory_path() / fmt::format("smepilot_predict_{}.db", getpid())).string();
  {
    Result<Database> db = Database::open(path);
    ASSERT_TRUE(db.ok()) << db.message();
    const ModelShape model = llama();
    const PlatformProfile profile = m4_pro();
    const Result<Prediction> p = predict(profile, model, {});
    ASSERT_TRUE(p.ok()) << p.message();
    const Result<Platform> here = detect_platform();
    ASSERT_TRUE(here.ok()) << here.message();
    const Result<SessionRow> session = SessionStore(*db).begin(*here, "test");
    ASSERT_TRUE(session.ok()) << session.message();
    PlanStore plans(*db);
    const Result<int64_t> id = plans.save(session->id, predicted_plan(*p, profile, model));
    ASSERT_TRUE(id.ok()) << id.message();
    EXPECT_FALSE(*plans.latest(here->fingerprint(), model.hash()));  // not one of this machine
    const Result<std::optional<Plan>> stored = plans.latest(profile.fingerprint(), model.hash());
    ASSERT_TRUE(stored.ok()) << stored.message();
    ASSERT_TRUE(*stored);
    EXPECT_EQ((*stored)->planner, "predicted (published profile)");
    EXPECT_TRUE(MeasurementStore(*db).list_searches()->empty());
    const Result<Plan> round_trip = plan_from_json(plan_to_json(**stored), "plan.json");
    EXPECT_TRUE(round_trip.ok()) << round_trip.message();
  }
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path + suffix);
}

TEST(SimulateModel, StepsAddUpAndNoneBeatsItsBound) {
  for (const Pass pass : {Pass::kPrefill, Pass::kDecode}) {
    SimPassOptions options;
    options.pass = pass;
    options.m = pass == Pass::kPrefill ? 256 : 8;
    options.kv_len = 512;
    const Result<SimModel> r = simulate_model(m4_pro(), llama(), options);
    ASSERT_TRUE(r.ok()) << r.message();
    double sum = 0;
    for (const SimStep& s : r->steps) {
      sum += s.result.ns * s.calls;
      EXPECT_GE(s.result.ns, s.result.bound_ns * (1 - 1e-9)) << s.role;
      EXPECT_LE(s.result.ns, 2 * s.choice.ns + 2e5) << s.role;  // the roofline is not far off
    }
    EXPECT_DOUBLE_EQ(sum, r->ns);
  }
}

TEST(SimulateModel, FollowsTheGivenPlan) {
  const ModelShape model = llama();
  PredictOptions cores;
  cores.modes = {ExecutionMode::kCpu};
  const Result<Prediction> p = predict(m4_pro(), model, cores);
  ASSERT_TRUE(p.ok()) << p.message();
  const Plan plan = predicted_plan(*p, m4_pro(), model);
  SimPassOptions options;
  options.m = options.kv_len = 512;
  const Result<SimModel> free = simulate_model(m4_pro(), model, options);
  options.plan = &plan;
  const Result<SimModel> planned = simulate_model(m4_pro(), model, options);
  ASSERT_TRUE(free.ok() && planned.ok());
  EXPECT_GT(planned->ns, 1.5 * free->ns);
  for (const SimStep& s : planned->steps) {
    EXPECT_TRUE(s.planned) << s.role;
    EXPECT_EQ(s.choice.mode, ExecutionMode::kCpu) << s.role;
  }
}

TEST(SimulateModel, BothUnitsHelpPrefillAndLeaveDecodeAlone) {
  const auto ns = [](Pass pass, uint32_t m, std::vector<ExecutionMode> modes) {
    SimPassOptions options;
    options.pass = pass;
    options.m = m;
    options.kv_len = 512;
    options.modes = std::move(modes);
    const Result<SimModel> r = simulate_model(m4_pro(), llama(), options);
    EXPECT_TRUE(r.ok()) << r.message();
    return r.ok() ? r->ns : 0;
  };
  EXPECT_LT(ns(Pass::kPrefill, 512, {}), 0.6 * ns(Pass::kPrefill, 512, {ExecutionMode::kCpu}));
  EXPECT_NEAR(ns(Pass::kDecode, 1, {}), ns(Pass::kDecode, 1, {ExecutionMode::kCpu}), 1);
  // Batch 1 reads every weight once: 3.2e9 of two bytes.
  EXPECT_GT(ns(Pass::kDecode, 1, {}), 2 * 3.2e9 / 247);
}

}  // namespace
}  // namespace smepilot
