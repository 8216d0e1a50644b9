// Who wins a workload: verdicts that are known, and how often one engine beats itself.
#include "tuner/workload.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace smepilot {
namespace {

using Json = nlohmann::json;

WorkloadRun run_of(const Json& rounds) {
  WorkloadRun run;
  for (const Json& r : rounds) {
    // Decode takes a third of the whole, so that all parts have the same ratio.
    const double seconds = r[1].get<double>();
    run.rounds.push_back({r[0].get<uint32_t>(), seconds * 0.75, seconds * 0.25, {}});
  }
  return run;
}

// tests/report/test_workloads.py holds the report's rule against the same file.
TEST(Workload, VerdictsThatTheReportShares) {
  std::ifstream in(std::string(SMEPILOT_SOURCE_DIR) + "/tests/tuner/data/workload_verdicts.json");
  const Json cases = Json::parse(in, nullptr, false);
  ASSERT_TRUE(cases.is_array());
  ASSERT_GE(cases.size(), 10u);
  for (const Json& c : cases) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const WorkloadRun ours = run_of(c["ours"]), theirs = run_of(c["theirs"]);
    for (const WorkloadPart part : {WorkloadPart::kPrefill, WorkloadPart::kDecode, WorkloadPart::kTotal}) {
      const PairedRatio r = compare_runs(ours, theirs, part);
      EXPECT_EQ(verdict_of(r), c["verdict"].get<std::string>());
      EXPECT_NEAR(r.estimate, c["ratio"].get<double>(), 1e-9);
      EXPECT_NEAR(r.interval.low, c["low"].get<double>(), 1e-9);
      if (c["high"].is_null())
        EXPECT_TRUE(std::isinf(r.interval.high));
      else
        EXPECT_NEAR(r.interval.high, c["high"].get<double>(), 1e-9);
      EXPECT_EQ(r.pairs, c["rounds"].get<size_t>());
    }
  }
}

TEST(Workload, NothingInCommonIsNotJudged) {
  WorkloadRun ours, theirs;
  EXPECT_STREQ(verdict_of(compare_runs(ours, theirs, WorkloadPart::kTotal)), "not judged");
  ours.rounds = {{1, 1, 1, {}}};
  theirs.rounds = {{2, 1, 1, {}}};
  EXPECT_EQ(compare_runs(ours, theirs, WorkloadPart::kTotal).pairs, 0u);
}

// Rounds of two engines on one machine: jitter and interruptions, which only ever add, of each run, and a drift that
// both see. `theirs` takes `ratio` times as long.
struct Session {
  WorkloadRun ours, theirs;
};
Session session_of(Rng& rng, uint32_t rounds, double ratio) {
  const auto run = [&rng](double seconds) {
    double t = seconds * (1 + 0.01 * std::abs(rng.normal()));
    if (rng.uniform() < 0.05) t *= 1 + 2 * rng.uniform();
    return t;
  };
  Session s;
  for (uint32_t i = 1; i <= rounds; ++i) {
    const double machine = 1 + 0.3 * i / rounds;  // it grows hot
    s.ours.rounds.push_back({i, run(machine), run(2 * machine), {}});
    s.theirs.rounds.push_back({i, run(ratio * machine), run(2 * ratio * machine), {}});
  }
  return s;
}

TEST(Workload, AnEngineBeatsItselfInAtMostFivePercent) {
  constexpr int kTrials = 20000;
  for (const uint32_t rounds : {6u, 7u, 8u, 9u, 10u, 12u, 15u, 20u, 40u}) {
    Rng rng(rounds);
    int wrong[3] = {};
    for (int t = 0; t < kTrials; ++t) {
      const Session s = session_of(rng, rounds, 1);
      for (const WorkloadPart part : {WorkloadPart::kPrefill, WorkloadPart::kDecode, WorkloadPart::kTotal}) {
        const std::string verdict = verdict_of(compare_runs(s.ours, s.theirs, part));
        wrong[static_cast<size_t>(part)] += verdict != "tie";
      }
    }
    for (const int w : wrong) EXPECT_LE(w, 0.06 * kTrials) << rounds << " rounds";  // 5 %, three standard errors
  }
}

TEST(Workload, TheDefaultNumberOfRoundsSeesFivePercent) {
  constexpr int kTrials = 1000;
  Rng rng(1);
  int wins = 0, losses = 0;
  for (int t = 0; t < kTrials; ++t) {
    Session s = session_of(rng, static_cast<uint32_t>(kLeastPairs), 1.05);
    wins += std::string(verdict_of(compare_runs(s.ours, s.theirs, WorkloadPart::kPrefill))) == "win";
    s = session_of(rng, 12, 1 / 1.05);
    losses += std::string(verdict_of(compare_runs(s.ours, s.theirs, WorkloadPart::kPrefill))) == "loss";
  }
  EXPECT_GE(wins, 0.65 * kTrials);   // one interrupted round of six makes a tie
  EXPECT_GE(losses, 0.8 * kTrials);  // of twelve, one may be
}

TEST(Workload, TableOfABatchedBench) {
  const std::string table =
      "n_kv_max = 96\n\n"
      "|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |\n"
      "|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|\n"
      "|    16 |      8 |    4 |     96 |    0.220 |   291.19 |    1.509 |    21.20 |    1.729 |    55.52 |\n\n"
      "total time = 2072.57 ms / 113 tokens\n";
  const std::optional<WorkloadRound> round = round_of_table(table);
  ASSERT_TRUE(round);
  EXPECT_EQ(round->prefill_s, 0.22);
  EXPECT_EQ(round->decode_s, 1.509);
  EXPECT_FALSE(round_of_table(""));
  EXPECT_FALSE(round_of_table("| PP | TG |\n|----|----|\n| 16 | 8 |\n")) << "of other columns";
  EXPECT_FALSE(round_of_table(table.substr(0, table.find("|    16")))) << "without a row";
  EXPECT_FALSE(round_of_table("| PP | T_PP s | T_TG s |\n|--|--|--|\n| 1 | soon | 2 |\n"));
}

TEST(Workload, ShapesAndScales) {
  ASSERT_EQ(workload_shapes().size(), 4u);
  ASSERT_NE(find_workload("gsm8k"), nullptr);
  EXPECT_EQ(find_workload("gsm8k")->n_gen, 100u);
  EXPECT_EQ(find_workload("gsm"), nullptr);
  EXPECT_EQ(scaled_tokens(100, 0.25), 25u);
  EXPECT_EQ(scaled_tokens(4, 0.01), 1u);
}

}  // namespace
}  // namespace smepilot
