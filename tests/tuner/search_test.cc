// Whole searches on a made-up machine and a real database: resumption, reuse, stored reasons.
#include "tuner/search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "db/calibration_store.h"
#include "db/plan_store.h"
#include "db/session_store.h"
#include "fake_landscape.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "tuner/plan_builder.h"

namespace smepilot {
namespace {

class SearchTest : public testing::Test {
 protected:
  void SetUp() override {
    platform_.cpu_model = "Testium 9000";
    platform_.cpu_family = "Test 1/2/3";
    platform_.isa = isa_to_string(*usable_isa());
    platform_.cores = platform_.cpus = 2;
    platform_.caches = {{1, 32 << 10, 2}, {2, 1 << 20, 2}};
    model_.name = "toy";
    model_.architecture = "llama";
    model_.layers = 2;
    model_.heads = 4;
    model_.kv_heads = 2;
    model_.head_dim = 32;
    model_.matrices = {{"ffn_up", DType::kQ8_0, 192, 64, 2}, {"output", DType::kF32, 320, 64, 1}};
    calibration_.created = "2026-01-01T00:00:00Z";
    for (const char* isa : {"portable", "avx2", "avx512", "avx512vnni", "neon", "dotprod"})
      for (const char* dtype : {"f32", "int8"})
        for (const unsigned w : {1u, 2u})
          calibration_.peaks.push_back({ExecutionUnit::kCpu, dtype, isa, w, 50.0 * w, {50.0 * w}});
    for (const char* level : {"L1", "L2", "LLC", "DRAM"})
      for (const unsigned w : {1u, 2u})
        calibration_.bandwidths.push_back({level, "read", w, 1 << 20, 20.0 * w, {20.0 * w}});
    calibration_.fork_join = {{1, 10, {10}}, {2, 500, {500}}};
    calibration_.noise_floor = 0.02;
    auto db = Database::open(":memory:");
    ASSERT_TRUE(db.ok()) << db.message();
    db_ = std::make_unique<Database>(std::move(*db));
    auto session = SessionStore(*db_).begin(platform_, "test");
    ASSERT_TRUE(session.ok()) << session.message();
    session_ = session->id;
    auto id = CalibrationStore(*db_).save(session_, calibration_);
    ASSERT_TRUE(id.ok()) << id.message();
    calibration_.id = *id;
    options_.ms = {1, 16};
    options_.contexts = {256};
    options_.budget_s = 1000;
  }

  SearchResult search(Evaluator& e) {
    auto r = run_search(*db_, session_, platform_, calibration_, model_, &e, options_);
    EXPECT_TRUE(r.ok()) << r.message();
    return r.ok() ? std::move(*r) : SearchResult{};
  }

  std::vector<Measurement> rows(int64_t search_id) {
    return std::move(MeasurementStore(*db_).of_search(search_id)).value();
  }

  Platform platform_;
  ModelShape model_;
  Calibration calibration_;
  std::unique_ptr<Database> db_;
  int64_t session_ = 0;
  SearchOptions options_;
};

// Times that depend on nothing but the candidate, without noise: two runs are comparable sample by sample.
void steady(FakeEvaluator& e) {
  e.noise = 0;
  e.interruption = 0;
}

TEST_F(SearchTest, EveryCandidateIsStoredWithItsFate) {
  FakeEvaluator e(1);
  const SearchResult r = search(e);
  EXPECT_EQ(r.search.state, SearchState::kDone);
  EXPECT_EQ(r.unfinished, 0u);
  EXPECT_EQ(r.measured, e.samples);
  size_t entries = 0;
  for (const OperatorResult& o : r.operators) entries += o.space.entries.size();
  const std::vector<Measurement> stored = rows(r.search.id);
  EXPECT_EQ(stored.size(), entries);
  size_t samples = 0, defaults = 0;
  for (const Measurement& m : stored) {
    samples += m.samples_ns.size();
    defaults += m.is_default;
    if (m.status == MeasurementStatus::kOk) {
      EXPECT_GT(m.samples_ns.size(), 0u);
      EXPECT_GT(m.median_ns, 0);
      EXPECT_LE(m.ci_low_ns, m.median_ns);
      EXPECT_GE(m.ci_high_ns, m.median_ns);
    } else {
      EXPECT_FALSE(m.reason.empty());
    }
  }
  EXPECT_EQ(samples, e.samples) << "every raw sample is in the database";
  EXPECT_EQ(defaults, r.operators.size());
}

TEST_F(SearchTest, SecondRunMeasuresNothingAndDecidesTheSame) {
  FakeEvaluator first(1), second(99);
  const SearchResult a = search(first), b = search(second);
  EXPECT_GT(first.samples, 0u);
  EXPECT_EQ(second.samples, 0u);
  EXPECT_EQ(second.prepares, 0u);
  EXPECT_EQ(b.measured, 0u);
  EXPECT_EQ(b.reused, a.measured);
  ASSERT_EQ(a.operators.size(), b.operators.size());
  for (size_t i = 0; i < a.operators.size(); ++i) {
    EXPECT_EQ(a.operators[i].decision.chosen, b.operators[i].decision.chosen);
    EXPECT_EQ(a.operators[i].decision.chosen_ns, b.operators[i].decision.chosen_ns);
  }
}

TEST_F(SearchTest, FreshMeasuresAgain) {
  FakeEvaluator first(1), second(1);
  search(first);
  options_.fresh = true;
  EXPECT_FALSE(search(second).resumed);
  EXPECT_GT(second.samples, 0u);
}

// Interrupted anywhere: what was sampled is stored, the next run continues the same search and takes the rest.
TEST_F(SearchTest, InterruptedSearchIsContinuedWithoutMeasuringTwice) {
  FakeEvaluator whole(1);
  steady(whole);
  const SearchResult expected = search(whole);
  for (const size_t stop : {size_t{1}, size_t{30}, whole.samples / 2, whole.samples - 1}) {
    SetUp();  // an empty database
    std::atomic<bool> cancel{false};
    FakeEvaluator first(1), second(1);
    steady(first);
    steady(second);
    first.on_sample = [&](size_t n) { cancel = n >= stop; };
    options_.cancel = &cancel;
    const SearchResult a = search(first);
    EXPECT_TRUE(a.cancelled);
    EXPECT_EQ(a.search.state, SearchState::kStopped);
    options_.cancel = nullptr;
    const SearchResult b = search(second);
    EXPECT_TRUE(b.resumed);
    EXPECT_EQ(b.search.id, a.search.id);
    EXPECT_EQ(b.search.state, SearchState::kDone);
    EXPECT_EQ(first.samples + second.samples, whole.samples) << "stopped after " << stop;
    EXPECT_EQ(first.log + second.log, whole.log);
    ASSERT_EQ(b.operators.size(), expected.operators.size());
    for (size_t i = 0; i < b.operators.size(); ++i)
      EXPECT_EQ(b.operators[i].decision.chosen, expected.operators[i].decision.chosen);
  }
}

// A budget in fake seconds cannot be given (the search looks at the wall clock between operators), but none at all can.
// A core is taken away while the operators are decided, so that one worker is as fast as two, and comes back.
TEST_F(SearchTest, AChoiceThatDoesNotHoldLaterIsTakenBack) {
  bool alone = true;
  FakeEvaluator e(1);
  e.noise = 0.005;
  e.interruption = 0;
  e.truth = [&](const Candidate& c) { return c.workers == 2 && !alone ? 10000.0 : 19000.0; };
  size_t met = 0;
  options_.progress = [&](const SearchProgress& p) {
    if (p.label.find(", once more") == std::string::npos) return;
    alone = false;
    ++met;
  };
  const SearchResult r = search(e);
  ASSERT_GT(met, 0u) << "one worker is the simpler choice";
  size_t taken_back = 0;
  for (const OperatorResult& o : r.operators) {
    EXPECT_EQ(o.decision.chosen, o.space.default_index) << o.decision.why;
    if (o.decision.why.find("met again later") == std::string::npos) continue;
    ++taken_back;
    EXPECT_NEAR(o.decision.chosen_ns, 10000, 500);
    EXPECT_EQ(o.decision.verdict, Verdict::kDefault);
  }
  EXPECT_EQ(taken_back, met);
  EXPECT_EQ(r.measured, e.samples);
  // The recording says the same without a machine.
  FakeEvaluator none(2);
  const SearchResult again = search(none);
  EXPECT_EQ(none.samples, 0u);
  for (const OperatorResult& o : again.operators) EXPECT_EQ(o.decision.chosen, o.space.default_index);
}

TEST_F(SearchTest, WithoutTimeThePlanIsTheDefault) {
  options_.budget_s = 0;
  FakeEvaluator e(1);
  const SearchResult r = search(e);
  EXPECT_EQ(e.samples, 0u);
  EXPECT_EQ(r.search.state, SearchState::kStopped);
  EXPECT_EQ(r.unfinished, r.operators.size());
  const Plan plan = std::move(build_plan(r, model_, platform_)).value();
  for (const OperatorResult& o : r.operators) {
    const PlanEntry* p = plan.find(o.space.shape);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(p->variant, o.space.entries[o.space.default_index].candidate.variant);
    EXPECT_EQ(p->measured_ns, 0);
  }
}

TEST_F(SearchTest, MoreRowsReuseWhatIsKnown) {
  FakeEvaluator first(1), second(2);
  search(first);
  options_.ms = {1, 4, 16};
  const SearchResult r = search(second);
  EXPECT_FALSE(r.resumed) << "other options: another search";
  for (const OperatorResult& o : r.operators)
    EXPECT_EQ(o.measured == 0, o.space.shape.m != 4) << describe(o.space.shape);
}

TEST_F(SearchTest, RefusedByTheMachineIsARow) {
  FakeEvaluator e(1);
  std::set<std::string> broken;
  for (const KernelVariant* v : all_variants())
    if (v->op == OpKind::kMatmul && v->rhs == DType::kQ8_0 && (v->isa & ~*usable_isa()) == 0) broken.insert(v->id);
  if (broken.size() < 2) GTEST_SKIP() << "one variant only";
  e.failures[*broken.begin()] = {MeasurementStatus::kCrashed, "ended by signal 4 (Illegal instruction)"};
  const SearchResult r = search(e);
  bool stored = false;
  for (const Measurement& m : rows(r.search.id))
    if (m.candidate.variant == *broken.begin() && m.status == MeasurementStatus::kCrashed) {
      EXPECT_EQ(m.reason, "ended by signal 4 (Illegal instruction)");
      stored = true;
    }
  const bool was_tried = e.checks > 0;
  EXPECT_EQ(stored, was_tried);
  for (const OperatorResult& o : r.operators) EXPECT_NE(o.chosen().candidate.variant, *broken.begin());
}

TEST_F(SearchTest, RooflineNeedsNoMachine) {
  options_.strategy = "roofline";
  auto r = run_search(*db_, session_, platform_, calibration_, model_, nullptr, options_);
  ASSERT_TRUE(r.ok()) << r.message();
  EXPECT_EQ(r->search.state, SearchState::kDone);
  const Plan plan = std::move(build_plan(*r, model_, platform_)).value();
  for (const PlanEntry& e : plan.entries) {
    EXPECT_EQ(e.measured_ns, 0);
    EXPECT_GT(e.predicted_ns, 0);
  }
}

TEST_F(SearchTest, PlanRoundTripsThroughTheDatabaseAndFitsHere) {
  FakeEvaluator e(1);
  const SearchResult r = search(e);
  const Plan plan = std::move(build_plan(r, model_, platform_)).value();
  PlanStore store(*db_);
  auto id = store.save(session_, plan, r.search.id);
  ASSERT_TRUE(id.ok()) << id.message();
  const std::optional<Plan> back = std::move(store.latest(platform_.fingerprint(), model_.hash())).value();
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->entries.size(), plan.entries.size());
  const Status fits = check_plan(*back, platform_, model_, variant_set_hash(*usable_isa()));
  EXPECT_TRUE(fits.ok()) << fits.message();
}

// A machine whose candidates differ, in a way that only their names decide.
class Landscape final : public Evaluator {
 public:
  explicit Landscape(uint64_t seed, double noise = 0.02) : fake_(seed) {
    fake_.noise = noise;
    if (noise == 0) fake_.interruption = 0;
  }
  static double truth(const OperatorShape& shape, const Candidate& c) {
    const size_t hash = std::hash<std::string>()(describe(shape) + describe(c));
    return 20000 * (1 + 0.5 * static_cast<double>(hash % 1000) / 1000);
  }
  Status prepare(const OperatorTask& task) override {
    shape_ = task.shape;
    return {};
  }
  CheckResult check(const Candidate& c) override { return fake_.check(c); }
  std::optional<double> sample(const Candidate& c) override {
    fake_.truth_ns[describe(c)] = truth(shape_, c);
    return fake_.sample(c);
  }
  double now_s() override { return fake_.now_s(); }
  size_t samples() const { return fake_.samples; }

 private:
  FakeEvaluator fake_;
  OperatorShape shape_ = {};
};

// Something else has the machine while the first operators are decided: it hides what differs between candidates.
class Disturbed final : public Evaluator {
 public:
  static constexpr double kHidden_ns = 77777;
  explicit Disturbed(size_t until_prepared) : machine_(1, 0), until_(until_prepared) {}
  Status prepare(const OperatorTask& task) override {
    ++prepared_;
    return machine_.prepare(task);
  }
  CheckResult check(const Candidate& c) override { return machine_.check(c); }
  std::optional<double> sample(const Candidate& c) override {
    const std::optional<double> ns = machine_.sample(c);
    ++seen_.samples;
    if (prepared_ > until_) return ns;
    ++seen_.disturbed;
    return kHidden_ns;
  }
  double now_s() override { return machine_.now_s(); }
  Disturbance disturbance() const override { return seen_; }

 private:
  Landscape machine_;
  const size_t until_;
  size_t prepared_ = 0;
  Disturbance seen_;
};

TEST_F(SearchTest, DecisionsOfADisturbedMachineAreTakenAgain) {
  Landscape quiet(1, 0);
  const SearchResult expected = search(quiet);
  EXPECT_EQ(expected.decided_again, 0u);
  size_t tuned = 0;
  for (size_t i = 0; i < 2; ++i) tuned += expected.operators[i].decision.verdict == Verdict::kFaster ? 1 : 0;
  ASSERT_GT(tuned, 0u) << "a landscape in which nothing is to be found tests nothing";

  options_.fresh = true;
  Disturbed machine(2);
  const SearchResult r = search(machine);
  EXPECT_EQ(r.search.state, SearchState::kDone);
  EXPECT_EQ(r.decided_again, 2u);
  EXPECT_EQ(r.disturbed, 0u);
  ASSERT_EQ(r.operators.size(), expected.operators.size());
  for (size_t i = 0; i < r.operators.size(); ++i)
    EXPECT_EQ(r.operators[i].chosen().candidate, expected.operators[i].chosen().candidate) << i;
  size_t samples = 0;
  for (const Measurement& m : rows(r.search.id))
    for (const double ns : m.samples_ns) {
      ASSERT_NE(ns, Disturbed::kHidden_ns) << describe(m.shape) << " " << describe(m.candidate);
      ++samples;
    }
  EXPECT_GT(samples, 0u);
}

TEST_F(SearchTest, AMachineThatStaysDisturbedIsSaidToBe) {
  Disturbed machine(1000);
  const SearchResult r = search(machine);
  EXPECT_EQ(r.search.state, SearchState::kDone);
  EXPECT_EQ(r.disturbed, r.operators.size());
  EXPECT_EQ(r.decided_again, r.operators.size()) << "once each";
}

class Replay : public SearchTest {
 protected:
  // Records a search by this strategy; what the database then knows is the recording.
  SearchResult record(const std::string& strategy, uint64_t seed = 7) {
    Landscape machine(seed);
    options_.strategy = strategy;
    SearchResult r = search(machine);
    recorded_samples_ = machine.samples();
    std::vector<OperatorShape> shapes;
    for (const OperatorResult& o : r.operators) shapes.push_back(o.space.shape);
    recording_ =
        std::move(MeasurementStore(*db_).known(platform_.fingerprint(), r.search.variant_set_hash, shapes)).value();
    return r;
  }
  SearchResult replay(const std::string& strategy) {
    auto memory = Database::open(":memory:");
    EXPECT_TRUE(memory.ok());
    auto session = SessionStore(*memory).begin(platform_, "replay");
    EXPECT_TRUE(session.ok());
    SearchOptions o = options_;
    o.strategy = strategy;
    o.replay = &recording_;
    Calibration c = calibration_;
    c.id = 0;
    auto r = run_search(*memory, session->id, platform_, c, model_, nullptr, o);
    EXPECT_TRUE(r.ok()) << r.message();
    return r.ok() ? std::move(*r) : SearchResult{};
  }
  static double truth_of_choice(const OperatorResult& r) {
    return Landscape::truth(r.space.shape, r.chosen().candidate);
  }

  std::vector<Measurement> recording_;
  size_t recorded_samples_ = 0;
};

TEST_F(Replay, ExhaustiveDecidesAsItDidAndMeasuresNothing) {
  const SearchResult was = record("exhaustive"), is = replay("exhaustive");
  ASSERT_EQ(is.operators.size(), was.operators.size());
  size_t tuned = 0;
  for (size_t i = 0; i < was.operators.size(); ++i) {
    const Decision &a = was.operators[i].decision, &b = is.operators[i].decision;
    EXPECT_TRUE(b.finished);
    EXPECT_EQ(was.operators[i].chosen().candidate, is.operators[i].chosen().candidate);
    EXPECT_EQ(a.verdict, b.verdict);
    EXPECT_EQ(a.chosen_ns, b.chosen_ns);
    EXPECT_EQ(a.default_ns, b.default_ns);
    EXPECT_EQ(a.why, b.why);
    tuned += a.verdict == Verdict::kFaster;
  }
  EXPECT_GT(tuned, 0u) << "a landscape in which nothing is to be found tests nothing";
  EXPECT_EQ(is.measured, 0u);
  EXPECT_EQ(is.reused, recorded_samples_);
  EXPECT_EQ(is.repeated, 0u) << "it asks for what it took, in the same order";
}

TEST_F(Replay, RaceDecidesAsItDidOnItsOwnRecording) {
  const SearchResult was = record("race"), is = replay("race");
  ASSERT_EQ(is.operators.size(), was.operators.size());
  for (size_t i = 0; i < was.operators.size(); ++i) {
    EXPECT_EQ(was.operators[i].chosen().candidate, is.operators[i].chosen().candidate);
    EXPECT_EQ(was.operators[i].decision.chosen_ns, is.operators[i].decision.chosen_ns);
  }
  EXPECT_EQ(is.measured, 0u);
  EXPECT_EQ(is.repeated, 0u);
}

// On the recording of every candidate the race finds, of what it may look at, one as good as the best.
TEST_F(Replay, RaceOnAnExhaustiveRecordingIsWithinNoise) {
  const SearchResult was = record("exhaustive"), is = replay("race");
  ASSERT_EQ(is.operators.size(), was.operators.size());
  for (size_t i = 0; i < is.operators.size(); ++i) {
    const OperatorResult& r = is.operators[i];
    EXPECT_TRUE(r.decision.finished) << r.decision.why;
    const Candidate& def = r.space.entries[r.space.default_index].candidate;
    double best = Landscape::truth(r.space.shape, def);
    for (size_t e = 0; e < r.space.entries.size(); ++e)  // that it raced, not only priced
      if (r.decision.outcomes[e].sampled)
        best = std::min(best, Landscape::truth(r.space.shape, r.space.entries[e].candidate));
    EXPECT_LE(truth_of_choice(r), best * 1.04) << r.decision.why;
    EXPECT_LE(truth_of_choice(was.operators[i]), truth_of_choice(r) * 1.04)
        << "and what was measured exhaustively is no worse";
  }
  EXPECT_EQ(is.measured, 0u);
  EXPECT_LT(is.reused, recorded_samples_);
}

TEST_F(Replay, RooflineNeedsOnlyWhatWasRecordedAbout) {
  record("race");
  const SearchResult is = replay("roofline");
  options_.strategy = "roofline";
  auto live = run_search(*db_, session_, platform_, calibration_, model_, nullptr, options_);
  ASSERT_TRUE(live.ok()) << live.message();
  ASSERT_EQ(is.operators.size(), live->operators.size());
  for (size_t i = 0; i < is.operators.size(); ++i) {
    EXPECT_EQ(is.operators[i].chosen().candidate, live->operators[i].chosen().candidate);
    EXPECT_EQ(is.operators[i].decision.verdict, Verdict::kPredicted);
  }
  EXPECT_EQ(is.reused, 0u);
}

// A race that wants more than a shorter one took gets the samples again; a recording that broke off stays open.
TEST_F(Replay, SamplesAreGivenAgainWhereARaceCameToItsEnd) {
  record("race");
  options_.rules.max_rounds *= 2;
  options_.rules.duel_rounds *= 2;
  options_.rules.min_rounds *= 2;
  const SearchResult longer = replay("exhaustive");
  EXPECT_GT(longer.repeated, 0u);
  EXPECT_EQ(longer.measured, 0u);
  EXPECT_EQ(longer.reused - longer.repeated <= recorded_samples_, true);

  for (Measurement& m : recording_)
    if (m.samples_ns.size() > 4) m.samples_ns.resize(4);
  const SearchResult broken = replay("race");
  EXPECT_EQ(broken.repeated, 0u);
  for (const OperatorResult& r : broken.operators) EXPECT_FALSE(r.decision.finished) << describe(r.space.shape);
}

}  // namespace
}  // namespace smepilot
