// What the stores write is what they give back, under the keys that they promise.
#include <sqlite3.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "db/bench_store.h"
#include "db/check.h"
#include "db/layer_store.h"
#include "db/sqlite.h"
#include "db/workload_store.h"
#include "tests/db/support.h"

namespace smepilot {
namespace {

using test::matmul_shape;
using test::sample_measurement;

class Stores : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = Database::open(path_);
    ASSERT_OK(opened);
    db_.emplace(std::move(*opened));
    auto begun = test::begin(*db_);
    ASSERT_OK(begun);
    session_ = begun->session;
    search_ = begun->search;
  }
  test::TempFolder folder_;
  std::string path_ = folder_ / "a.db";
  std::optional<Database> db_;
  SessionRow session_;
  Search search_;
};

TEST_F(Stores, SessionHoldsProvenance) {
  auto got = SessionStore(*db_).get(session_.id);
  ASSERT_OK(got);
  ASSERT_TRUE(got->has_value());
  EXPECT_EQ((*got)->fingerprint, test::sample_platform().fingerprint());
  EXPECT_EQ((*got)->command, "smetune search");
  EXPECT_EQ((*got)->governor, "performance");
  EXPECT_FALSE((*got)->compiler.empty());
  EXPECT_EQ((*got)->started.size(), 20u);
  Platform other = test::sample_platform();
  other.governor = "powersave";  // provenance, not identity: the same platform
  auto second = SessionStore(*db_).begin(other, "again");
  ASSERT_OK(second);
  EXPECT_EQ(second->platform_id, session_.platform_id);
  other.cores = 8;
  EXPECT_NE(SessionStore(*db_).begin(other, "x")->platform_id, session_.platform_id);
  EXPECT_EQ(SessionStore(*db_).list()->size(), 3u);
  EXPECT_FALSE(SessionStore(*db_).get(999)->has_value());
}

TEST_F(Stores, CalibrationRoundTripAndChoice) {
  CalibrationStore store(*db_);
  Calibration c = test::sample_calibration();
  const std::string fingerprint = session_.fingerprint;
  EXPECT_FALSE(store.latest(fingerprint)->has_value());
  auto full = store.save(session_.id, c);
  ASSERT_OK(full);
  c.quick = true;
  auto quick = store.save(session_.id, c);
  ASSERT_OK(quick);
  EXPECT_EQ(store.latest(fingerprint)->value().id, *full);  // a thorough one wins over a newer quick one
  EXPECT_EQ(*store.list(fingerprint), (std::vector<int64_t>{*quick, *full}));
  EXPECT_FALSE(store.latest("other")->has_value());
  auto got = store.get(*quick);
  ASSERT_OK(got);
  const Calibration& g = **got;
  EXPECT_TRUE(g.quick);
  ASSERT_EQ(g.peaks.size(), 2u);
  EXPECT_EQ(g.peaks[1].unit, ExecutionUnit::kMatrix);
  EXPECT_EQ(g.peaks[1].isa, "amxint8");
  EXPECT_EQ(g.peaks[0].samples, c.peaks[0].samples);
  ASSERT_EQ(g.bandwidths.size(), 1u);
  EXPECT_EQ(g.bandwidths[0].working_set_bytes, 1ull << 28);
  EXPECT_EQ(g.bandwidths[0].gbps, 20.5);
  ASSERT_EQ(g.fork_join.size(), 1u);
  EXPECT_EQ(g.fork_join[0].ns, 350);
  EXPECT_EQ(g.fork_join[0].barrier_ns, 120);
  ASSERT_EQ(g.coop_peaks.size(), 1u);
  EXPECT_EQ(g.coop_peaks[0].matrix_isa, "amxint8");
  EXPECT_EQ(g.coop_peaks[0].matrix_gflops, 2400);
  EXPECT_EQ(g.coop_peaks[0].matrix_samples, c.coop_peaks[0].matrix_samples);
  EXPECT_EQ(g.coop_peaks[0].cpu_dtype, "int8");
  EXPECT_EQ(g.coop_peaks[0].cpu_gflops, 99);
  EXPECT_EQ(g.coop_peaks[0].cpu_samples, c.coop_peaks[0].cpu_samples);
  ASSERT_EQ(g.coop_bandwidths.size(), 1u);
  EXPECT_EQ(g.coop_bandwidths[0].level, "DRAM");
  EXPECT_EQ(g.coop_bandwidths[0].matrix_gbps, 10.5);
  EXPECT_EQ(g.coop_bandwidths[0].cpu_gbps, 9.5);
  EXPECT_EQ(g.coop_bandwidths[0].cpu_samples, c.coop_bandwidths[0].cpu_samples);
  EXPECT_EQ(g.noise_floor, c.noise_floor);
  EXPECT_EQ(g.busy_fraction, c.busy_fraction);
  EXPECT_EQ(g.streaming_ns, 55.5);
  EXPECT_EQ(g.pack_gbps, 2.5);
  EXPECT_EQ(g.lhs_pack_gbps, 12.5);
  ASSERT_EQ(g.kernels.size(), 1u);
  EXPECT_EQ(g.kernels[0].kind, OpKind::kMatmul);
  EXPECT_EQ(g.kernels[0].dtype, DType::kQ4_0);
  EXPECT_EQ(g.kernels[0].variant, "matmul.f32.q8.q4_0.test");
  EXPECT_EQ(g.kernels[0].workers, 2u);
  EXPECT_EQ(g.kernels[0].compute, 0.43);
  EXPECT_EQ(g.kernels[0].memory, 0.75);
  ASSERT_EQ(g.operators.size(), 2u);
  EXPECT_FALSE(g.operators[0].held_out);
  EXPECT_TRUE(g.operators[1].held_out);
  EXPECT_EQ(g.operators[1].shape.kind, OpKind::kAttention);
  EXPECT_EQ(g.operators[1].shape.kv_len, 512u);
  EXPECT_EQ(g.operators[1].shape.kv_heads, 2u);
  EXPECT_EQ(g.operators[1].predicted_ns, 90);
  EXPECT_EQ(g.operators[1].measured_ns, 100);
  EXPECT_EQ(g.operators[1].samples, c.operators[1].samples);
  EXPECT_EQ(*db_->connection().integer("SELECT CAST(round(median_error * 1000) AS INTEGER) FROM calibration LIMIT 1"),
            100);
  EXPECT_EQ(g.clock.first_gflops, 50);
  EXPECT_EQ(g.clock.last_gflops, 49);
  EXPECT_EQ(g.clock.lowest_gflops, 40);
  EXPECT_EQ(g.clock.highest_gflops, 51);
  EXPECT_EQ(g.clock.tolerance, 0.03);
  EXPECT_EQ(g.clock.cooldown_s, 1.5);
  EXPECT_EQ(g.clock.repeated, 2u);
  EXPECT_FALSE(g.created.empty());
}

TEST_F(Stores, LayerTimesAndChainsComeBack) {
  LayerStore store(*db_);
  auto plan = PlanStore(*db_).save(session_.id, test::sample_plan(), search_.id);
  ASSERT_OK(plan);
  LayerTimeRow decided{0,   session_.id,    search_.id, Pass::kDecode, 1,          512, 90,
                       100, {0.875, 0.925}, false,      {89.5, 90},    {100, 101}, ""};
  LayerTimeRow open = decided;
  open.pass = Pass::kPrefill;
  open.m = 32;
  open.ratio = {0, std::numeric_limits<double>::infinity()};
  open.reverted = true;
  ASSERT_OK(store.save_times({decided, open}));
  auto times = store.times(search_.id);
  ASSERT_OK(times);
  ASSERT_EQ(times->size(), 2u);
  const LayerTimeRow &t = times->at(1), &u = times->at(0);  // the newest first
  EXPECT_EQ(t.session_id, session_.id);
  EXPECT_EQ(t.pass, Pass::kDecode);
  EXPECT_EQ(t.kv_len, 512u);
  EXPECT_EQ(t.ratio.low, 0.875);
  EXPECT_EQ(t.ratio.high, 0.925);
  EXPECT_EQ(t.chosen_samples_ns, decided.chosen_samples_ns);
  EXPECT_EQ(t.untuned_samples_ns, decided.untuned_samples_ns);
  EXPECT_FALSE(t.created.empty());
  EXPECT_EQ(u.m, 32u);
  EXPECT_EQ(u.ratio.low, 0);
  EXPECT_TRUE(std::isinf(u.ratio.high));
  EXPECT_TRUE(u.reverted);
  EXPECT_EQ(store.times(search_.id + 1)->size(), 0u);

  const ChainRow row{
      Pass::kPrefill, 32, 512, 3, "ffn_up", 28, true, {"a x2", "row", 110, 0, 0}, {"b x2", "q8p16", 100, 28, 2.5}};
  ASSERT_OK(store.save_chain(*plan, {row, row}));
  auto chain = store.chain(*plan);
  ASSERT_OK(chain);
  ASSERT_EQ(chain->size(), 2u);
  EXPECT_EQ(chain->at(0).pass, Pass::kPrefill);
  EXPECT_EQ(chain->at(0).role, "ffn_up");
  EXPECT_EQ(chain->at(0).step, 3u);
  EXPECT_TRUE(chain->at(0).predicted);
  EXPECT_EQ(chain->at(0).chosen.layout, "row");
  EXPECT_EQ(chain->at(0).best.candidate, "b x2");
  EXPECT_EQ(chain->at(0).best.pass_ns(chain->at(0).calls), 28 * 102.5);

  ChainRow broken = row;
  broken.chosen.ns = 0;
  EXPECT_ERROR(store.save_chain(*plan, {row, broken}), "schema refuses");
  EXPECT_EQ(store.chain(*plan)->size(), 2u) << "nothing half written";
}

TEST_F(Stores, SearchIsFoundResumedAndFinished) {
  MeasurementStore store(*db_);
  const std::string model = test::sample_model().hash();
  auto found = store.find_searches(session_.fingerprint, model, search_.variant_set_hash);
  ASSERT_OK(found);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ((*found)[0].id, search_.id);
  EXPECT_EQ((*found)[0].state, SearchState::kRunning);
  EXPECT_EQ((*found)[0].finished, "");
  EXPECT_TRUE(store.find_searches(session_.fingerprint, model, "other")->empty());
  EXPECT_TRUE(store.find_searches(session_.fingerprint, "other", search_.variant_set_hash)->empty());
  EXPECT_TRUE(store.find_searches("other", model, search_.variant_set_hash)->empty());
  EXPECT_EQ(store.search_operators(search_.id)->size(), 2u);  // two roles of one shape

  ASSERT_OK(store.finish_search(search_.id, SearchState::kStopped));
  EXPECT_EQ(store.get_search(search_.id)->value().state, SearchState::kStopped);
  EXPECT_NE(store.get_search(search_.id)->value().finished, "");
  const SearchOperator more[] = {{"ffn_up", matmul_shape(8), 3, 0}, {"output", matmul_shape(1), 1, 0}};
  ASSERT_OK(store.resume_search(search_.id, more));
  EXPECT_EQ(store.get_search(search_.id)->value().state, SearchState::kRunning);
  auto operators = store.search_operators(search_.id);
  ASSERT_EQ(operators->size(), 3u);
  for (const SearchOperator& o : *operators) EXPECT_EQ(o.calls, o.role == "ffn_up" ? 3u : o.role == "output" ? 1u : 2u);
  EXPECT_ERROR(store.resume_search(999, {}), "no search 999");
  EXPECT_ERROR(store.finish_search(999, SearchState::kDone), "no search 999");
  EXPECT_ERROR(store.finish_search(search_.id, SearchState::kRunning), "done or stopped");
  EXPECT_EQ(store.list_searches()->size(), 1u);
}

TEST_F(Stores, MeasurementRoundTrip) {
  MeasurementStore store(*db_);
  Measurement m = sample_measurement(search_.id, 128, 1000.0625);
  m.is_default = true;
  auto id = store.record(m);
  ASSERT_OK(id);
  auto rows = store.of_search(search_.id);
  ASSERT_OK(rows);
  ASSERT_EQ(rows->size(), 1u);
  const Measurement& got = (*rows)[0];
  EXPECT_EQ(got.id, *id);
  EXPECT_EQ(got.session_id, session_.id);
  EXPECT_EQ(got.candidate, m.candidate);
  EXPECT_EQ(got.shape.n, m.shape.n);
  EXPECT_EQ(got.median_ns, m.median_ns);
  EXPECT_EQ(got.ci_low_ns, m.ci_low_ns);
  EXPECT_EQ(got.samples_ns, m.samples_ns);
  EXPECT_TRUE(got.is_default);
  EXPECT_EQ(got.revision, session_.revision);
}

TEST_F(Stores, CoopCandidatesDifferInEveryField) {
  MeasurementStore store(*db_);
  std::vector<Candidate> candidates;
  const auto with = [&](auto change) {
    Candidate c = candidate_of(test::coop_entry(1, 8));
    change(c.coop);
    candidates.push_back(c);
  };
  with([](CoopPart&) {});
  with([](CoopPart& p) { p.variant = "matmul.f32.q8.q4_0.other"; });
  with([](CoopPart& p) { p.workers = 2; });
  with([](CoopPart& p) { p.mc = 128; });
  with([](CoopPart& p) { p.nc = 128; });
  with([](CoopPart& p) { p.dim = SplitDim::kM; });
  with([](CoopPart& p) { p.split = 32; });
  with([](CoopPart& p) { p.split_of = 256; });
  with([](CoopPart& p) { p.dynamic = false; });
  with([](CoopPart& p) { p.rows = 16; });
  with([](CoopPart& p) { p.depth = 2; });
  std::vector<int64_t> ids;
  for (const Candidate& c : candidates) {
    Measurement m = sample_measurement(search_.id, 128, 1000);
    m.candidate = c;
    ASSERT_OK(store.record(m));
    ids.push_back(*store.candidate_id(*store.operator_id(m.shape), c));
  }
  for (size_t i = 1; i < ids.size(); ++i) EXPECT_EQ(std::count(ids.begin(), ids.end(), ids[i]), 1) << i;
  auto rows = store.of_search(search_.id);
  ASSERT_OK(rows);
  ASSERT_EQ(rows->size(), candidates.size());
  for (size_t i = 0; i < rows->size(); ++i) EXPECT_EQ(rows->at(i).candidate, candidates[i]) << i;
  // A changed field of a coop candidate does not go unnoticed.
  ASSERT_OK(db_->connection().execute("UPDATE candidate SET split = 48 WHERE split = 32"));
  EXPECT_ERROR(store.of_search(search_.id), "is damaged");
}

TEST_F(Stores, WhatWasRunIsNeverReplacedByWhatWasNot) {
  MeasurementStore store(*db_);
  Measurement m = sample_measurement(search_.id, 128, 1000);
  Measurement pruned = m;
  pruned.status = MeasurementStatus::kPruned;
  pruned.reason = "predicted 5x the best";
  pruned.samples_ns.clear();
  auto first = store.record(pruned);
  ASSERT_OK(first);
  EXPECT_EQ(store.of_search(search_.id)->at(0).median_ns, 0);  // not timed, whatever the struct says
  ASSERT_OK(store.record(m));
  auto again = store.record(pruned);
  ASSERT_OK(again);
  EXPECT_EQ(*again, *first);
  auto rows = store.of_search(search_.id);
  ASSERT_EQ(rows->size(), 1u);
  EXPECT_EQ(rows->at(0).status, MeasurementStatus::kOk);
  m.median_ns = m.ci_low_ns = m.ci_high_ns = 990;
  m.samples_ns.push_back(990);
  ASSERT_OK(store.record(m));
  EXPECT_EQ(store.of_search(search_.id)->at(0).samples_ns.size(), 4u);
  pruned.reason.clear();
  pruned.candidate.mc = 16;
  EXPECT_ERROR(store.record(pruned), "schema refuses");  // every failure says why
  Measurement broken = sample_measurement(search_.id, 16, 1000);
  broken.samples_ns[1] = std::numeric_limits<double>::infinity();
  EXPECT_ERROR(store.record(broken), "samples_ns[1]");
}

TEST_F(Stores, KnownAcrossSearchesOfOtherModels) {
  MeasurementStore store(*db_);
  ASSERT_OK(store.record(sample_measurement(search_.id, 128, 1000)));
  Measurement failed = sample_measurement(search_.id, 64, 1);
  failed.status = MeasurementStatus::kIncorrect;
  failed.reason = "element 3 differs";
  ASSERT_OK(store.record(failed));

  ModelShape other = test::sample_model();
  other.layers = 30;
  Search second = search_;
  second.model_id = *store.model_id(other);
  const SearchOperator operators[] = {{"ffn_up", matmul_shape(8), 30, 0}};
  auto begun = store.begin_search(second, operators);
  ASSERT_OK(begun);
  Measurement pruned = sample_measurement(begun->id, 128, 1);
  pruned.status = MeasurementStatus::kPruned;
  pruned.reason = "predicted too slow";
  ASSERT_OK(store.record(pruned));  // must not hide what the first search measured

  const OperatorShape shapes[] = {matmul_shape(8), matmul_shape(16)};
  auto known = store.known(session_.fingerprint, search_.variant_set_hash, shapes);
  ASSERT_OK(known);
  ASSERT_EQ(known->size(), 2u);
  EXPECT_EQ(known->at(0).status, MeasurementStatus::kOk);
  EXPECT_EQ(known->at(0).median_ns, 1000);
  EXPECT_EQ(known->at(1).status, MeasurementStatus::kIncorrect);
  ASSERT_OK(store.record(sample_measurement(begun->id, 128, 900)));  // measured anew: the newer counts
  EXPECT_EQ(store.known(session_.fingerprint, search_.variant_set_hash, shapes)->at(0).candidate.mc, 64u);
  EXPECT_EQ(store.known(session_.fingerprint, search_.variant_set_hash, shapes)->at(1).median_ns, 900);
  EXPECT_TRUE(store.known(session_.fingerprint, "other", shapes)->empty());
  EXPECT_TRUE(store.known("other", search_.variant_set_hash, shapes)->empty());
}

TEST_F(Stores, ASearchIsNotContinuedOnAnotherMachine) {
  Platform other = test::sample_platform();
  other.cpu_model = "Other CPU";
  auto foreign = SessionStore(*db_).begin(other, "x");
  ASSERT_OK(foreign);
  Measurement m = sample_measurement(search_.id, 128, 1000);
  m.session_id = foreign->id;
  EXPECT_ERROR(MeasurementStore(*db_).record(m), "another machine");
  m.session_id = 4711;
  EXPECT_ERROR(MeasurementStore(*db_).record(m), "no session 4711");
  m.session_id = 0;
  m.search_id = 4711;
  EXPECT_ERROR(MeasurementStore(*db_).record(m), "no search 4711");
  // Nothing of the refused rows stayed.
  EXPECT_EQ(*db_->connection().integer("SELECT count(*) FROM candidate"), 0);
}

TEST_F(Stores, RecordAllIsAllOrNothing) {
  MeasurementStore store(*db_);
  std::vector<Measurement> rows = {sample_measurement(search_.id, 16, 10), sample_measurement(search_.id, 32, 10),
                                   sample_measurement(4711, 48, 10)};
  EXPECT_ERROR(store.record_all(rows), "4711");
  EXPECT_TRUE(store.of_search(search_.id)->empty());
  rows.pop_back();
  ASSERT_OK(store.record_all(rows));
  EXPECT_EQ(store.of_search(search_.id)->size(), 2u);
}

TEST_F(Stores, PlanRoundTripAndChoice) {
  PlanStore store(*db_);
  Plan plan = test::sample_plan();
  auto id = store.save(session_.id, plan, search_.id);
  ASSERT_OK(id);
  auto got = store.latest(plan.fingerprint, plan.model_hash);
  ASSERT_OK(got);
  ASSERT_TRUE(got->has_value());
  EXPECT_EQ((*got)->id, *id);
  EXPECT_EQ((*got)->platform, plan.platform);
  EXPECT_EQ(plan_to_json(**got), plan_to_json(plan));  // names every field

  Plan foreign = plan;
  foreign.fingerprint = "feedfeedfeedfeed";
  foreign.platform[0].second = "other";
  auto foreign_id = store.save(session_.id, foreign);
  ASSERT_OK(foreign_id);
  EXPECT_EQ(store.latest(plan.fingerprint, plan.model_hash)->value().id, *id);
  EXPECT_EQ(store.latest_any(plan.model_hash)->value().id, *foreign_id);
  EXPECT_EQ(store.latest_any(plan.model_hash)->value().platform, foreign.platform);
  EXPECT_FALSE(store.latest_any("none")->has_value());
  EXPECT_FALSE(store.get(4711)->has_value());
  auto list = store.list();
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ(list->at(0).id, *foreign_id);
  EXPECT_EQ(list->at(1).search_id, search_.id);
  EXPECT_EQ(list->at(1).entries, 4);

  plan.entries[2].kv_tile = 100;
  EXPECT_ERROR(store.save(session_.id, plan), "entries[2].kv_tile");

  const Plan coop = test::sample_coop_plan();
  auto coop_id = store.save(session_.id, coop, search_.id);
  ASSERT_OK(coop_id);
  got = store.get(*coop_id);
  ASSERT_OK(got);
  EXPECT_EQ((*got)->version, 2);
  EXPECT_EQ(plan_to_json(**got), plan_to_json(coop));
  ASSERT_OK(db_->connection().execute("UPDATE plan_entry SET split = 48 WHERE split = 64"));
  EXPECT_ERROR(store.get(*coop_id), "is damaged");
}

TEST_F(Stores, PlanOfAModelKnownOnlyByHash) {
  Plan plan = test::sample_plan();
  ModelShape model = test::sample_model();
  model.layers = 77;
  plan.model_hash = model.hash();
  ASSERT_OK(PlanStore(*db_).save(session_.id, plan));
  auto architecture = [&] {
    return *db_->connection().text("SELECT architecture || shape_json FROM model WHERE hash = '" + plan.model_hash +
                                   "'");
  };
  EXPECT_EQ(architecture(), "{}");
  ASSERT_OK(MeasurementStore(*db_).model_id(model));
  EXPECT_NE(architecture().find("\"layers\":77"), std::string::npos);
  ASSERT_OK(PlanStore(*db_).save(session_.id, plan));  // does not take the shape away again
  EXPECT_NE(architecture().find("\"layers\":77"), std::string::npos);
}

TEST_F(Stores, BenchRoundTrip) {
  Bench b;
  b.session_id = session_.id;
  b.plan_mode = "none";
  b.model_file = "tiny.gguf";
  b.n_threads = 2;
  b.n_prompt = 512;
  b.avg_ts = 100.5;
  b.stddev_ts = 0.5;
  b.samples_ts = {100, 101};
  ASSERT_OK(BenchStore(*db_).save(test::sample_model(), b));
  auto rows = BenchStore(*db_).list();
  ASSERT_EQ(rows->size(), 1u);
  EXPECT_EQ(rows->at(0).samples_ts, b.samples_ts);
  EXPECT_EQ(rows->at(0).plan_id, 0);
  EXPECT_EQ(rows->at(0).n_prompt, 512u);
  EXPECT_EQ(rows->at(0).n_seqs, 1u);
  EXPECT_FALSE(rows->at(0).joules_per_token);
  EXPECT_EQ(rows->at(0).kv_type, "f16");
  b.n_seqs = 8;
  b.kv_type = "q8_0";
  b.joules_per_token = 0.125;
  b.planner = "roofline";
  b.mode = "cpu";
  b.load_json = "{\"seconds\": 0.5}";
  b.conversions_json = "{\"prefill\": null}";
  ASSERT_OK(BenchStore(*db_).save(test::sample_model(), b));
  rows = BenchStore(*db_).list();
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ(rows->at(0).n_seqs, 8u);
  EXPECT_EQ(rows->at(0).kv_type, "q8_0");
  ASSERT_TRUE(rows->at(0).joules_per_token);
  EXPECT_EQ(*rows->at(0).joules_per_token, 0.125);
  EXPECT_EQ(rows->at(0).planner, "roofline");
  EXPECT_EQ(rows->at(0).mode, "cpu");
  EXPECT_EQ(rows->at(0).load_json, b.load_json);
  EXPECT_EQ(rows->at(1).load_json, "");
  EXPECT_EQ(rows->at(0).conversions_json, b.conversions_json);
  EXPECT_EQ(rows->at(1).conversions_json, "");
  b.n_seqs = 0;
  EXPECT_ERROR(BenchStore(*db_).save(test::sample_model(), b), "schema refuses");
  b.n_seqs = 1;
  b.load_json = "{";
  EXPECT_ERROR(BenchStore(*db_).save(test::sample_model(), b), "schema refuses");
  b.load_json = "";
  b.conversions_json = "x";
  EXPECT_ERROR(BenchStore(*db_).save(test::sample_model(), b), "schema refuses");
  b.conversions_json = "";
  b.plan_mode = "guess";
  EXPECT_ERROR(BenchStore(*db_).save(test::sample_model(), b), "schema refuses");
}

TEST_F(Stores, WorkloadRoundTrip) {
  WorkloadRun run;
  run.session_id = session_.id;
  run.plan_mode = "none";
  run.workload = "gsm8k";
  run.scale = 0.5;
  run.batch = 4;
  run.n_prompt = 46;
  run.n_gen = 50;
  run.engine = "smepilot";
  run.build = "abc";
  run.model_file = "tiny.gguf";
  run.kv_type = "f16";
  run.n_threads = 2;
  run.rounds = {{1, 0.5, 1.5, {}}};
  WorkloadStore store(*db_);
  const auto ours = store.begin(test::sample_model(), run);
  ASSERT_OK(ours);
  ASSERT_OK(store.add(*ours, {2, 0.25, 1.25, 9.5}));
  EXPECT_ERROR(store.add(*ours, {2, 1, 1, {}}), "schema refuses");  // a round is there once
  EXPECT_ERROR(store.add(*ours, {3, 0, 1, {}}), "schema refuses");
  EXPECT_ERROR(store.add(*ours + 1, {1, 1, 1, {}}), "schema refuses");
  run.engine = "llama.cpp";
  run.is_baseline = true;
  run.plan_mode = "";
  run.arguments = "-fa 1";
  run.rounds.clear();
  ASSERT_OK(store.begin(test::sample_model(), run));
  const auto runs = store.list();
  ASSERT_OK(runs);
  ASSERT_EQ(runs->size(), 2u);
  EXPECT_TRUE(runs->at(0).is_baseline);
  EXPECT_EQ(runs->at(0).arguments, "-fa 1");
  EXPECT_TRUE(runs->at(0).rounds.empty());
  const WorkloadRun& first = runs->at(1);
  EXPECT_EQ(first.workload, "gsm8k");
  EXPECT_EQ(first.scale, 0.5);
  EXPECT_EQ(first.batch, 4u);
  EXPECT_EQ(first.n_prompt, 46u);
  EXPECT_EQ(first.n_gen, 50u);
  EXPECT_FALSE(first.is_baseline);
  ASSERT_EQ(first.rounds.size(), 2u);
  EXPECT_FALSE(first.rounds[0].joules);
  EXPECT_EQ(first.rounds[1].prefill_s, 0.25);
  EXPECT_EQ(first.rounds[1].decode_s, 1.25);
  ASSERT_TRUE(first.rounds[1].joules);
  EXPECT_EQ(*first.rounds[1].joules, 9.5);
  run.scale = 2;
  EXPECT_ERROR(store.begin(test::sample_model(), run), "schema refuses");
}

TEST_F(Stores, HostileNamesAreKeptOrReplacedNeverFatal) {
  ModelShape model = test::sample_model();
  model.name = "a\xff\xfe', \"b\"; DROP TABLE model; --";
  model.architecture = "\xc3";
  ASSERT_OK(MeasurementStore(*db_).model_id(model));
  Plan plan = test::sample_plan();
  plan.model_name = "\xff";
  plan.entries[0].why = "\xff\n\"";
  auto id = PlanStore(*db_).save(session_.id, plan);
  ASSERT_OK(id);
  ASSERT_OK(PlanStore(*db_).get(*id));
}

TEST_F(Stores, CheckReportsWhatIsThere) {
  ASSERT_OK(MeasurementStore(*db_).record(sample_measurement(search_.id, 128, 1000)));
  auto report = check_database(path_);
  ASSERT_OK(report);
  EXPECT_TRUE(report->ok()) << report->problems[0];
  EXPECT_EQ(report->schema, Database::newest_schema());
  for (const auto& [table, rows] : report->rows)
    EXPECT_EQ(rows, table == "measurement" ? 1 : *db_->connection().integer("SELECT count(*) FROM " + table)) << table;
  ASSERT_OK(db_->connection().execute("PRAGMA foreign_keys = OFF; DELETE FROM model"));
  report = check_database(path_);
  ASSERT_OK(report);
  ASSERT_FALSE(report->ok());
  EXPECT_NE(report->problems[0].find("search refers to a row of model"), std::string::npos) << report->problems[0];
}

TEST_F(Stores, CsvIsExact) {
  Measurement m = sample_measurement(search_.id, 128, 0.1);
  m.status = MeasurementStatus::kCrashed;
  m.reason = "said \"no\",\nthen nothing";
  m.predicted_ns = 0.1;
  ASSERT_OK(MeasurementStore(*db_).record(m));
  auto files = export_csv(path_, folder_ / "csv/deep");
  ASSERT_OK(files);
  EXPECT_EQ(files->size(), 24u);
  const std::string text = test::read_file(folder_ / "csv/deep/measurement.csv");
  EXPECT_EQ(text.find("id,search_id,session_id,candidate_id,"), 0u) << text;
  EXPECT_NE(text.find(",crashed,\"said \"\"no\"\",\nthen nothing\",0.1,,,,"), std::string::npos) << text;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "csv/deep/measurement.csv.part"));
  test::write_file(folder_ / "file", "");
  EXPECT_ERROR(export_csv(path_, folder_ / "file"), folder_ / "file");
  EXPECT_ERROR(export_csv(folder_ / "none.db", folder_ / "x"), "there is no database");
}

TEST_F(Stores, SomeTablesAreExported) {
  auto files = export_csv(path_, folder_ / "csv", {"session", "platform", "session"});
  ASSERT_OK(files);
  EXPECT_EQ(*files, (std::vector<std::string>{folder_ / "csv/session.csv", folder_ / "csv/platform.csv"}));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "csv/model.csv"));
  EXPECT_ERROR(export_csv(path_, folder_ / "none", {"session", "platfrom"}),
               "no table 'platfrom'; did you mean platform?");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "none"));
  EXPECT_ERROR(tables_to_export(path_, {"../x"}), "no table '../x'; known are ");
  const auto all = tables_to_export(path_);
  ASSERT_OK(all);
  EXPECT_EQ(all->size(), 24u);
  ASSERT_OK(db_->connection().execute("CREATE TABLE '../x' (a)"));
  EXPECT_ERROR(tables_to_export(path_), "cannot be a file name");
}

}  // namespace
}  // namespace smepilot
