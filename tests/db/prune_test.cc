// Pruning: what newer rows have replaced goes, and nothing that a row which stays refers to.
#include "db/prune.h"

#include "db/bench_store.h"
#include "db/check.h"
#include "db/sqlite.h"
#include "tests/db/support.h"

namespace smepilot {
namespace {

class Prune : public ::testing::Test {
 protected:
  void SetUp() override {
    auto db = Database::open(path_);
    ASSERT_OK(db);
    db_.emplace(std::move(*db));
    for (int year = 2021; year <= 2024; ++year) add(year);
  }

  // A session with a calibration, a search of two measurements (one of them of a candidate of its own), and a plan.
  void add(int year) {
    const auto tuned = test::tune(*db_, test::sample_platform(), {16, static_cast<uint32_t>(year)}, 100);
    ASSERT_OK(tuned);
    ASSERT_OK(MeasurementStore(*db_).finish_search(tuned->search.id, SearchState::kDone));
    ASSERT_OK(db_->connection().execute(
        fmt::format("UPDATE session SET started = '{0}-01-01T00:00:00Z' WHERE id = {1};"
                    "UPDATE search SET started = '{0}-01-01T00:00:00Z' WHERE id = {3};"
                    "UPDATE measurement SET created = '{0}-01-01T00:00:00Z' WHERE search_id = {3};"
                    "UPDATE calibration SET created = '{0}-01-01T00:00:00Z' WHERE id = {2};"
                    "UPDATE plan SET created = '{0}-01-01T00:00:00Z' WHERE search_id = {3}",
                    year, tuned->session.id, tuned->calibration_id, tuned->search.id)));
  }

  int64_t count(const std::string& table) { return *db_->connection().integer("SELECT count(*) FROM " + table); }

  test::TempFolder folder_;
  const std::string path_ = folder_ / "a.db";
  std::optional<Database> db_;
};

TEST_F(Prune, NeedsACriterion) {
  EXPECT_ERROR(prune_database(*db_, {}), "nothing says what");
  EXPECT_ERROR(prune_database(*db_, {{}, 0, false}), "at least 1");
  EXPECT_ERROR(prune_database(*db_, {-1, {}, false}), "-1 days");
}

TEST_F(Prune, KeepsTheNewestAndWhatTheyRestOn) {
  auto dry = prune_database(*db_, {{}, 2, true});
  ASSERT_OK(dry);
  EXPECT_EQ(count("plan"), 4);  // a rehearsal
  auto report = prune_database(*db_, {{}, 2, false});
  ASSERT_OK(report);
  EXPECT_EQ(dry->removed, report->removed);
  EXPECT_EQ(count("plan"), 2);
  EXPECT_EQ(*db_->connection().integer("SELECT min(id) FROM plan"), 3);
  // Two measurements of replaced searches are the only ones of their candidates, and the plans' kernels are the same:
  // a kept plan may rest on them, so they stay, and with them their searches and calibrations.
  EXPECT_EQ(count("measurement"), 6);
  EXPECT_EQ(count("search"), 4);
  EXPECT_EQ(count("calibration"), 4);
  EXPECT_TRUE(check_database(path_)->ok());
  EXPECT_EQ(prune_database(*db_, {{}, 2, false})->rows(), 0);
}

TEST_F(Prune, OtherKernelsMeasurementsGoWithTheirPlans) {
  ASSERT_OK(db_->connection().execute(
      "UPDATE search SET variant_set_hash = 'old' WHERE id <= 2; UPDATE measurement SET variant_set_hash = 'old' WHERE "
      "search_id <= 2; UPDATE plan SET variant_set_hash = 'old' WHERE search_id <= 2"));
  auto report = prune_database(*db_, {{}, 2, false});
  ASSERT_OK(report);
  for (const char* table : {"plan", "search", "calibration", "session"}) EXPECT_EQ(count(table), 2) << table;
  EXPECT_EQ(count("measurement"), 4);
  EXPECT_EQ(count("candidate"), 3);  // the shared one and those of the two that stay
  EXPECT_EQ(count("operator"), 1);
  EXPECT_EQ(count("platform"), 1);
  EXPECT_EQ(count("plan_entry"), 8);
  EXPECT_EQ(count("peak"), 4);
  EXPECT_EQ(MeasurementStore(*db_).of_search(4)->size(), 2u);
  EXPECT_TRUE(check_database(path_)->ok());
}

TEST_F(Prune, AgeAloneSparesTheNewestAndTheYoung) {
  add(9999);
  ASSERT_OK(prune_database(*db_, {1'000'000, {}, false}));
  EXPECT_EQ(count("plan"), 5);
  ASSERT_OK(prune_database(*db_, {0, 3, false}));  // both: neither young nor among three
  EXPECT_EQ(count("plan"), 3);
  ASSERT_OK(prune_database(*db_, {0, {}, false}));
  EXPECT_EQ(count("plan"), 1);
  EXPECT_EQ(*db_->connection().integer("SELECT id FROM plan"), 5);
}

TEST_F(Prune, PlansThatBenchesRanAndRunningSearchesStay) {
  ASSERT_OK(BenchStore(*db_).save(test::sample_model(), test::sample_bench(1, 1)));
  ASSERT_OK(db_->connection().execute(
      "UPDATE search SET variant_set_hash = 'old' WHERE id <= 3; UPDATE measurement SET variant_set_hash = 'old' WHERE "
      "search_id <= 3; UPDATE search SET state = 'running', finished = NULL WHERE id = 2"));
  ASSERT_OK(prune_database(*db_, {{}, 1, false}));
  EXPECT_EQ(*db_->connection().text("SELECT group_concat(id) FROM (SELECT id FROM plan ORDER BY id)"), "1,4");
  // 1: of a plan that stays; 2: runs; 3: may have measured what 2 reuses.
  EXPECT_EQ(*db_->connection().text("SELECT group_concat(id) FROM (SELECT id FROM search ORDER BY id)"), "1,2,3,4");
  EXPECT_TRUE(check_database(path_)->ok());
}

}  // namespace
}  // namespace smepilot
