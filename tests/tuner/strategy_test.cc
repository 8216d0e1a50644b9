#include "tuner/strategy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "fake_landscape.h"
#include "tuner/race.h"
#include "tuner/recorded_evaluator.h"

namespace smepilot {
namespace {

std::unique_ptr<Strategy> strategy(const std::string& name) {
  return std::move(make_strategy(name)).value();
}

// Kernels a, b, c, each with 1 and 2 workers and three blockings; a x2 nc64 is the default.
SearchSpace kernels() {
  std::vector<std::pair<Candidate, double>> list = {{fake_candidate("a", 2, 64), 9000}};
  for (const char* v : {"a", "b", "c"})
    for (const uint32_t w : {1u, 2u})
      for (const uint32_t nc : {32u, 64u, 128u})
        if (!(v[0] == 'a' && w == 2 && nc == 64)) list.push_back({fake_candidate(v, w, nc), w == 1 ? 12000.0 : 9000.0});
  return fake_space(list);
}

Decision decide(const std::string& name, const SearchSpace& space, Evaluator& e, const StrategyOptions& o = {}) {
  Result<Decision> d = strategy(name)->decide(space, e, o);
  EXPECT_TRUE(d.ok()) << d.message();
  return d.ok() ? std::move(*d) : Decision{};
}

class MeasuringStrategies : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, MeasuringStrategies, testing::Values("race", "exhaustive"));

TEST_P(MeasuringStrategies, FindsPlantedKernel) {
  const SearchSpace space = kernels();
  int found = 0;
  constexpr int kRuns = 40;
  for (int seed = 0; seed < kRuns; ++seed) {
    FakeEvaluator e(static_cast<uint64_t>(seed) + 100);
    for (const uint32_t nc : {32u, 64u, 128u}) e.truth_ns[describe(fake_candidate("b", 2, nc))] = 8500;
    e.truth_ns[describe(fake_candidate("b", 2, 128))] = 7500;
    const Decision d = decide(GetParam(), space, e);
    EXPECT_TRUE(d.finished);
    EXPECT_EQ(d.verdict, Verdict::kFaster);
    found += space.entries[d.chosen].candidate == fake_candidate("b", 2, 128);
    EXPECT_LT(d.ratio.high, 1);
    EXPECT_LT(d.chosen_ns, d.default_ns);
  }
  EXPECT_EQ(found, kRuns);
}

// A machine of two units, of which one alone takes 1000 us and the other one 3000 us, so that both end together at
// three quarters. What was predicted is wrong: that they are equally fast.
struct TwoUnits {
  static constexpr uint32_t kColumns = 1024;
  static Candidate alone(ExecutionMode mode) {
    Candidate c = fake_candidate(mode == ExecutionMode::kCpu ? "cores" : "unit");
    c.mode = mode;
    return c;
  }
  static Candidate both(uint32_t split, bool dynamic = false) {
    Candidate c = fake_candidate("cores");
    c.mode = ExecutionMode::kCoop;
    c.coop.variant = "unit";
    c.coop.workers = 1;
    c.coop.mc = 128;
    c.coop.nc = 64;
    c.coop.split = split;
    c.coop.split_of = kColumns;
    c.coop.dynamic = dynamic;
    return c;
  }
  static double time_ns(uint32_t split) {
    const double share = static_cast<double>(split) / kColumns;
    return 1.04 * std::max(share * 1e6, (1 - share) * 3e6);  // they get in each other's way a little
  }
  TwoUnits() {
    std::vector<std::pair<Candidate, double>> list = {{fake_candidate("cores", 2), 1.5e6},
                                                      {alone(ExecutionMode::kMatrix), 1.2e6},
                                                      {alone(ExecutionMode::kCpu), 1.2e6}};
    for (uint32_t split = 256; split <= 992; split += 16) {
      const double share = static_cast<double>(split) / kColumns;
      list.emplace_back(both(split), 1.2e6 * std::max(share, 1 - share));
      truth[describe(both(split))] = time_ns(split);
    }
    for (const uint32_t split : {448u, 512u, 576u}) {
      list.emplace_back(both(split, true), 6e5);
      truth[describe(both(split, true))] = 9e5;  // taking over costs something on this machine
    }
    truth[describe(fake_candidate("cores", 2))] = 1.6e6;
    truth[describe(alone(ExecutionMode::kMatrix))] = 1e6;
    truth[describe(alone(ExecutionMode::kCpu))] = 3e6;
    space = fake_space(list);
  }
  SearchSpace space;
  std::map<std::string, double> truth;
};

TEST(Race, FindsTheSplitWithinAStepWhateverWasPredicted) {
  const TwoUnits machine;
  size_t samples = 0;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    FakeEvaluator e(seed);
    e.truth_ns = machine.truth;
    const Decision d = decide("race", machine.space, e);
    const Candidate& c = machine.space.entries[d.chosen].candidate;
    ASSERT_EQ(c.mode, ExecutionMode::kCoop) << d.why;
    EXPECT_FALSE(c.coop.dynamic);
    EXPECT_NEAR(c.coop.split, 768, 16) << d.why;
    EXPECT_EQ(d.verdict, Verdict::kFaster);
    EXPECT_TRUE(d.finished);
    samples += e.samples;
  }
  EXPECT_LT(samples / 30, 500u) << "by far not every split was measured";
}

// What each side does alone was not measured: from the best prediction, a step at a time.
TEST(Race, ClimbsToTheSplitFromABadPrediction) {
  TwoUnits machine;
  for (const size_t side : {1, 2}) machine.space.entries[side].status = MeasurementStatus::kPruned;
  FakeEvaluator e(5);
  e.truth_ns = machine.truth;
  e.noise = 0.005;
  for (auto& [name, ns] : e.truth_ns)  // the balance is eight steps from what was predicted
    if (name.find(" + ") != std::string::npos && name.find("dynamic") == std::string::npos)
      for (uint32_t split = 256; split <= 992; split += 16)
        if (name == describe(TwoUnits::both(split))) {
          const double share = split / 1024.0;
          ns = 1e6 * std::max(share * 0.6, (1 - share) * 1.0);  // balanced at 640
        }
  const Decision d = decide("race", machine.space, e);
  const Candidate& c = machine.space.entries[d.chosen].candidate;
  ASSERT_EQ(c.mode, ExecutionMode::kCoop) << d.why;
  EXPECT_NEAR(c.coop.split, 640, 16);
}

TEST(Race, OneUnitAloneIsKeptWhereBothGainNothing) {
  TwoUnits machine;
  for (auto& [name, ns] : machine.truth)
    if (name.find(" + ") != std::string::npos) ns = 1e6;  // as fast as the unit alone, at any split
  FakeEvaluator e(3);
  e.truth_ns = machine.truth;
  const Decision d = decide("race", machine.space, e);
  EXPECT_EQ(machine.space.entries[d.chosen].candidate, TwoUnits::alone(ExecutionMode::kMatrix)) << d.why;
}

TEST_P(MeasuringStrategies, DriftOfTheMachineDoesNotDecide) {
  const SearchSpace space = kernels();
  for (uint64_t seed = 0; seed < 20; ++seed) {
    FakeEvaluator e(seed);
    e.drift = 300;  // doubles within 3 ms of fake time, the length of a race
    e.truth_ns[describe(fake_candidate("c", 2, 64))] = 8000;
    for (const uint32_t nc : {32u, 128u}) e.truth_ns[describe(fake_candidate("c", 2, nc))] = 8800;
    const Decision d = decide(GetParam(), space, e);
    EXPECT_EQ(space.entries[d.chosen].candidate, fake_candidate("c", 2, 64)) << d.why;
  }
}

// Six kernels with three blockings each, all of which take the same time.
SearchSpace equals() {
  std::vector<std::pair<Candidate, double>> list;
  for (const char* v : {"a", "b", "c", "d", "e", "f"})
    for (const uint32_t nc : {64u, 32u, 128u}) list.push_back({fake_candidate(v, 1, nc), 9000});
  return fake_space(list);
}

// Whatever is called faster is false, and at most five per cent of the decisions may be: on noise of any kind, and
// also where time runs out in the middle.
TEST_P(MeasuringStrategies, SameAgainstSameHasFewFalseWinners) {
  const SearchSpace space = equals();
  struct Machine {
    const char* name;
    std::function<void(FakeEvaluator&)> set;
    bool hurry = false;
  };
  const auto by = [](std::function<double(Rng&)> factor) { return [factor](FakeEvaluator& e) { e.factor = factor; }; };
  const Machine machines[] = {
      {"jitter of 5 % and interruptions", [](FakeEvaluator& e) { e.noise = 0.05; }},
      {"normal, 3 %", by([](Rng& r) { return std::max(0.1, 1 + 0.03 * r.normal()); })},
      {"lognormal, 10 %", by([](Rng& r) { return std::exp(0.1 * r.normal()); })},
      {"Pareto", by([](Rng& r) { return 1 + 0.02 * (std::pow(1 - r.uniform(), -1 / 1.5) - 1); })},
      {"a machine that slows down",
       [](FakeEvaluator& e) {
         e.noise = 0.05;
         e.drift = 50;
       }},
      {"lognormal, 10 %, time runs out", by([](Rng& r) { return std::exp(0.1 * r.normal()); }), true},
  };
  constexpr int kDecisions = 200;
  for (const Machine& m : machines) {
    int winners = 0;
    Rng rng(1);
    for (uint64_t seed = 0; seed < kDecisions; ++seed) {
      FakeEvaluator e(seed * 7919 + 13);
      m.set(e);
      StrategyOptions o;
      o.tie = 0;                                          // nothing but the statistics protects against chance
      if (m.hurry) o.deadline_s = 12e-3 * rng.uniform();  // a whole decision takes about as long
      winners += decide(GetParam(), space, e, o).verdict == Verdict::kFaster;
    }
    std::printf("A/A, %s: %d false winners in %d decisions of %s\n", m.name, winners, kDecisions, GetParam());
    EXPECT_LE(winners, 0.05 * kDecisions) << m.name;
  }
}

// A kernel that takes 5 % less time, where single calls scatter by 3 %: found, and how soon.
TEST_P(MeasuringStrategies, FivePercentAreFoundAtThreePercentNoise) {
  const SearchSpace space = equals();
  constexpr int kDecisions = 100;
  int found = 0;
  std::vector<double> samples;
  for (uint64_t seed = 0; seed < kDecisions; ++seed) {
    FakeEvaluator e(seed + 1);
    e.factor = [](Rng& r) { return std::max(0.1, 1 + 0.03 * r.normal()); };
    for (const uint32_t nc : {64u, 32u, 128u}) e.truth_ns[describe(fake_candidate("d", 1, nc))] = 9500;
    const Decision d = decide(GetParam(), space, e);
    found += d.verdict == Verdict::kFaster && space.entries[d.chosen].candidate.variant == "d";
    samples.push_back(static_cast<double>(e.samples));
  }
  std::printf("5 %% at 3 %% noise: found in %d of %d decisions of %s, %.0f samples of %zu candidates in half of them\n",
              found, kDecisions, GetParam(), median(samples), space.entries.size());
  EXPECT_GE(found, 0.95 * kDecisions);
}

TEST_P(MeasuringStrategies, KeepsDefaultWithinTie) {
  const SearchSpace space = kernels();
  for (uint64_t seed = 0; seed < 20; ++seed) {
    FakeEvaluator e(seed);
    e.truth_ns[describe(fake_candidate("b", 2, 64))] = 9950;  // half a per cent
    for (const char* v : {"a", "b", "c"})
      for (const uint32_t nc : {32u, 64u, 128u}) e.truth_ns[describe(fake_candidate(v, 1, nc))] = 19000;
    const Decision d = decide(GetParam(), space, e);
    EXPECT_EQ(d.verdict, Verdict::kDefault) << d.why;
    EXPECT_EQ(d.chosen, space.default_index);
    EXPECT_GT(d.default_ns, 0);
    EXPECT_EQ(d.chosen_ns, d.default_ns);
  }
}

TEST_P(MeasuringStrategies, FewerWorkersWinATie) {
  const SearchSpace space = kernels();
  FakeEvaluator e(3);
  e.noise = 0.005;  // everything takes the same time
  const Decision d = decide(GetParam(), space, e);
  EXPECT_EQ(d.verdict, Verdict::kSimpler) << d.why;
  EXPECT_EQ(space.entries[d.chosen].candidate.workers, 1u);
}

TEST_P(MeasuringStrategies, IncorrectAndCrashedCandidatesNeverWin) {
  const SearchSpace space = kernels();
  FakeEvaluator e(5);
  for (const uint32_t nc : {32u, 64u, 128u})
    for (const uint32_t w : {1u, 2u}) {
      e.truth_ns[describe(fake_candidate("b", w, nc))] = 100;
      e.truth_ns[describe(fake_candidate("c", w, nc))] = 50;
    }
  e.failures["b"] = {MeasurementStatus::kIncorrect, "element [0][0] is 1"};
  e.failures["c"] = {MeasurementStatus::kCrashed, "ended by signal 4"};
  const Decision d = decide(GetParam(), space, e);
  EXPECT_EQ(space.entries[d.chosen].candidate.variant, "a");
  for (size_t i = 0; i < space.entries.size(); ++i) {
    const Outcome& o = d.outcomes[i];
    if (space.entries[i].candidate.variant == "b" && !o.sampled && o.status != MeasurementStatus::kPruned) {
      EXPECT_EQ(o.status, MeasurementStatus::kIncorrect);
      EXPECT_EQ(o.reason, "element [0][0] is 1");
    }
  }
  EXPECT_EQ(e.log.find("b x"), std::string::npos) << "a wrong candidate was timed";
}

TEST_P(MeasuringStrategies, BrokenDefaultIsReplaced) {
  const SearchSpace space = kernels();
  FakeEvaluator e(5);
  e.failures["a"] = {MeasurementStatus::kCrashed, "ended by signal 4"};
  const Decision d = decide(GetParam(), space, e);
  EXPECT_NE(space.entries[d.chosen].candidate.variant, "a");
  EXPECT_NE(d.why.find("ended by signal 4"), std::string::npos);
}

TEST_P(MeasuringStrategies, NothingCorrectIsAnError) {
  const SearchSpace space = kernels();
  FakeEvaluator e(5);
  for (const char* v : {"a", "b", "c"}) e.failures[v] = {MeasurementStatus::kIncorrect, "wrong sign"};
  const Result<Decision> d = strategy(GetParam())->decide(space, e, {});
  ASSERT_FALSE(d.ok());
  EXPECT_NE(d.message().find("wrong sign"), std::string::npos);
}

TEST_P(MeasuringStrategies, DeadlineKeepsTheDefault) {
  const SearchSpace space = kernels();
  for (const double deadline : {0.0, 60e-6, 200e-6}) {
    FakeEvaluator e(9);
    for (const uint32_t nc : {32u, 64u, 128u}) e.truth_ns[describe(fake_candidate("b", 2, nc))] = 5000;
    StrategyOptions o;
    o.deadline_s = deadline;
    const Decision d = decide(GetParam(), space, e, o);
    EXPECT_FALSE(d.finished);
    EXPECT_EQ(d.chosen, space.default_index);
    EXPECT_FALSE(d.why.empty());
    EXPECT_LT(e.now_s(), deadline + 100e-6);
  }
}

TEST_P(MeasuringStrategies, DeadlineAfterAClearLeadKeepsTheLead) {
  const SearchSpace space = kernels();
  FakeEvaluator e(9);
  e.noise = 0.01;
  e.interruption = 0;
  for (const uint32_t nc : {32u, 64u, 128u}) e.truth_ns[describe(fake_candidate("b", 2, nc))] = 4000;
  StrategyOptions o;
  size_t calls = 0;
  std::atomic<bool> cancel{false};
  o.checkpoint = [&] {
    cancel = ++calls == 4;  // four rounds of the first race
    return Status();
  };
  o.cancel = &cancel;
  const Decision d = decide(GetParam(), space, e, o);
  EXPECT_FALSE(d.finished);
  EXPECT_EQ(d.verdict, Verdict::kFaster) << d.why;
  EXPECT_EQ(space.entries[d.chosen].candidate.variant, "b");
  EXPECT_NE(d.why.find("ran out of time"), std::string::npos);
}

TEST_P(MeasuringStrategies, CancelStopsAtOnce) {
  const SearchSpace space = kernels();
  std::atomic<bool> cancel{false};
  FakeEvaluator e(9);
  e.on_sample = [&](size_t n) { cancel = n >= 7; };
  StrategyOptions o;
  o.cancel = &cancel;
  EXPECT_FALSE(decide(GetParam(), space, e, o).finished);
  EXPECT_EQ(e.samples, 7u);
}

// Stopped after n samples, then continued from the log: the same decision, and not one sample more in all.
TEST_P(MeasuringStrategies, ReplayContinuesWhereItStopped) {
  const SearchSpace space = kernels();
  const auto truth = [](FakeEvaluator& e) {
    for (const uint32_t nc : {32u, 64u, 128u}) e.truth_ns[describe(fake_candidate("b", 2, nc))] = 8000 + nc;
    e.noise = 0;  // so that the two machines give the same samples whatever their generators did before
    e.interruption = 0;
  };
  FakeEvaluator whole(1);
  truth(whole);
  const Decision expected = decide(GetParam(), space, whole);
  ASSERT_TRUE(expected.finished);
  for (size_t stop = 1; stop < whole.samples; stop += 13) {
    std::atomic<bool> cancel{false};
    FakeEvaluator first(1), second(1);
    truth(first);
    truth(second);
    first.on_sample = [&](size_t n) { cancel = n >= stop; };
    OperatorTask task;
    RecordedEvaluator log(&first, task, {});
    StrategyOptions o;
    o.cancel = &cancel;
    decide(GetParam(), space, log, o);
    std::vector<Measurement> known;
    for (const RecordedEvaluator::Record* r : log.take_changed()) {
      Measurement m;
      m.candidate = r->candidate;
      m.status = r->status;
      m.samples_ns = r->samples_ns;
      known.push_back(m);
    }
    RecordedEvaluator resumed(&second, task, known);
    const Decision d = decide(GetParam(), space, resumed);
    EXPECT_TRUE(d.finished);
    EXPECT_EQ(d.chosen, expected.chosen);
    EXPECT_EQ(d.chosen_ns, expected.chosen_ns);
    EXPECT_EQ(first.samples + second.samples, whole.samples);
    EXPECT_EQ(first.log + second.log, whole.log);
    EXPECT_EQ(resumed.reused(), first.samples);
  }
}

TEST_P(MeasuringStrategies, FinishedLogNeedsNoMachine) {
  const SearchSpace space = kernels();
  FakeEvaluator e(11);
  e.truth_ns[describe(fake_candidate("c", 2, 64))] = 7000;
  OperatorTask task;
  RecordedEvaluator log(&e, task, {});
  const Decision first = decide(GetParam(), space, log);
  std::vector<Measurement> known;
  for (const RecordedEvaluator::Record* r : log.take_changed()) {
    Measurement m;
    m.candidate = r->candidate;
    m.samples_ns = r->samples_ns;
    known.push_back(m);
  }
  RecordedEvaluator recording(nullptr, task, known);
  const Decision again = decide(GetParam(), space, recording);
  EXPECT_TRUE(again.finished);
  EXPECT_EQ(again.chosen, first.chosen);
  EXPECT_EQ(again.chosen_ns, first.chosen_ns);
  EXPECT_EQ(recording.measured(), 0u);
}

TEST_P(MeasuringStrategies, FailedCheckpointIsAnError) {
  const SearchSpace space = kernels();
  FakeEvaluator e(11);
  StrategyOptions o;
  o.checkpoint = [] { return Status::error("disk full"); };
  const Result<Decision> d = strategy(GetParam())->decide(space, e, o);
  ASSERT_FALSE(d.ok());
  EXPECT_EQ(d.message(), "disk full");
}

TEST(RaceStrategy, SpendsLessThanExhaustive) {
  const SearchSpace space = kernels();
  FakeEvaluator a(2), b(2);
  for (FakeEvaluator* e : {&a, &b})
    for (const uint32_t nc : {32u, 64u, 128u}) e->truth_ns[describe(fake_candidate("b", 2, nc))] = 5000;
  decide("race", space, a);
  decide("exhaustive", space, b);
  EXPECT_LT(a.samples * 2, b.samples);
}

TEST(RaceStrategy, HopelessLongCandidateIsCalledOnce) {
  SearchSpace space = fake_space({{fake_candidate("a"), 1e7}, {fake_candidate("slow"), 2e7}});
  FakeEvaluator e(2);
  e.interruption = 0;
  e.truth_ns[describe(fake_candidate("a"))] = 1e7;
  e.truth_ns[describe(fake_candidate("slow"))] = 1e9;
  const Decision d = decide("race", space, e);
  EXPECT_EQ(d.chosen, 0u);
  EXPECT_EQ(e.log.find("slow"), e.log.rfind("slow"));
  EXPECT_NE(d.outcomes[1].reason.find("in its first call"), std::string::npos);
}

TEST(RaceStrategy, DroppedCandidatesSayByHowMuch) {
  const SearchSpace space =
      fake_space({{fake_candidate("a"), 9000}, {fake_candidate("b"), 9000}, {fake_candidate("c"), 9000}});
  FakeEvaluator e(4);
  e.truth_ns[describe(fake_candidate("b"))] = 11000;
  e.truth_ns[describe(fake_candidate("c"))] = 30000;
  const Decision d = decide("race", space, e);
  EXPECT_NE(d.outcomes[1].reason.find("x the time of a x1"), std::string::npos) << d.outcomes[1].reason;
  EXPECT_NE(d.outcomes[1].reason.find("interval"), std::string::npos);
  EXPECT_NEAR(std::stod(d.outcomes[2].reason), 3, 0.2) << d.outcomes[2].reason;
}

TEST(ExhaustiveStrategy, MeasuresWhatThePricePruned) {
  SearchSpace space = fake_space({{fake_candidate("a"), 1000}, {fake_candidate("b"), 90000}});
  space.entries[1].status = MeasurementStatus::kPruned;
  space.entries[1].reason = "predicted 90 us";
  FakeEvaluator e(4), r(4);
  for (FakeEvaluator* x : {&e, &r}) x->truth_ns[describe(fake_candidate("b"))] = 5000;
  EXPECT_EQ(decide("exhaustive", space, e).chosen, 1u);
  EXPECT_EQ(decide("race", space, r).chosen, 0u);
}

TEST(RooflineStrategy, ChoosesByPriceAndMeasuresNothing) {
  SearchSpace space = fake_space({{fake_candidate("a", 2), 9000},
                                  {fake_candidate("b", 2, 32), 8000},
                                  {fake_candidate("b", 1, 64), 8000},
                                  {fake_candidate("b", 1, 32), 8000},
                                  {fake_candidate("c", 1), 7000}});
  space.entries[4].status = MeasurementStatus::kRefused;
  space.entries[4].reason = "needs neon";
  FakeEvaluator e;
  const Decision d = decide("roofline", space, e);
  EXPECT_EQ(d.chosen, 2u) << "equal prices: fewer workers, then the default's blocking";
  EXPECT_EQ(d.verdict, Verdict::kPredicted);
  EXPECT_EQ(e.samples + e.checks, 0u);
  EXPECT_EQ(d.chosen_ns, 0);
  EXPECT_EQ(d.outcomes[4].status, MeasurementStatus::kRefused);
  EXPECT_EQ(d.outcomes[0].status, MeasurementStatus::kPruned);
}

TEST(RooflineStrategy, WithoutPricesTheDefault) {
  const SearchSpace space = fake_space({{fake_candidate("a", 2), 0}, {fake_candidate("b"), 0}});
  FakeEvaluator e;
  EXPECT_EQ(decide("roofline", space, e).chosen, 0u);
}

TEST(Strategies, UnknownNameIsRefused) {
  const auto s = make_strategy("genetic");
  ASSERT_FALSE(s.ok());
  EXPECT_NE(s.message().find("genetic"), std::string::npos);
  EXPECT_NE(s.message().find("race"), std::string::npos);
}

}  // namespace
}  // namespace smepilot
