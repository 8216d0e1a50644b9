// Collecting databases in one: ids of others, rows that are there already, older schemas, and files that are refused.
#include "db/merge.h"

#include "db/baseline_store.h"
#include "db/bench_store.h"
#include "db/check.h"
#include "db/migrations.h"
#include "tests/db/support.h"

namespace smepilot {
namespace {

Platform platform_named(const std::string& cpu) {
  Platform p = test::sample_platform();
  p.cpu_model = cpu;
  return p;
}

// Some of everything, on a machine of its own.
void fill(const std::string& path, const std::string& cpu, double median_ns) {
  auto db = Database::open(path);
  ASSERT_OK(db);
  const auto tuned = test::tune(*db, platform_named(cpu), {16, 32, 48}, median_ns);
  ASSERT_OK(tuned);
  ASSERT_OK(BenchStore(*db).save(test::sample_model(), test::sample_bench(tuned->session.id, tuned->plan_id)));
  Baseline baseline;
  baseline.engine = "llama.cpp";
  baseline.n_threads = 2;
  baseline.n_prompt = 8;
  baseline.avg_ts = 9;
  baseline.samples_ts = {9};
  baseline.raw_json = "{\"on\":\"" + cpu + "\"}";
  ASSERT_OK(BaselineStore(*db).save(tuned->session.id, std::span(&baseline, 1)));
}

int64_t count(Database& db, const std::string& table) {
  return *db.connection().integer("SELECT count(*) FROM " + table);
}

int64_t added(const MergeReport& report, const std::string& table) {
  for (const MergedTable& t : report.tables)
    if (t.table == table) return t.added;
  return -1;
}

class Merge : public ::testing::Test {
 protected:
  void SetUp() override {
    fill(a_, "Machine A", 100);
    fill(b_, "Machine B", 200);
  }
  test::TempFolder folder_;
  const std::string a_ = folder_ / "a.db", b_ = folder_ / "b.db", fleet_ = folder_ / "fleet.db";
};

TEST(MergeRules, EveryTableOfTheSchemaHasOne) {
  auto db = Database::open(":memory:");
  ASSERT_OK(db);
  EXPECT_OK(check_merge_rules(*db));
  ASSERT_OK(db->connection().execute("CREATE TABLE forgotten (id INTEGER PRIMARY KEY)"));
  EXPECT_ERROR(check_merge_rules(*db), "'forgotten' is missing");
}

TEST_F(Merge, CollectsTwoMachinesUnderNewIds) {
  const std::string before = test::read_file(a_);
  auto db = Database::open(fleet_);
  ASSERT_OK(db);
  for (const std::string& source : {a_, b_}) {
    auto report = merge_database(*db, source);
    ASSERT_OK(report);
    EXPECT_EQ(added(*report, "platform"), 1);
    EXPECT_EQ(added(*report, "measurement"), 3);
    EXPECT_EQ(added(*report, "plan_entry"), 4);
    EXPECT_EQ(added(*report, "operator"), source == a_ ? 1 : 0);  // the same shapes on both
    EXPECT_EQ(report->schema, Database::newest_schema());
    EXPECT_EQ(report->fingerprints.size(), 1u);
  }
  EXPECT_EQ(test::read_file(a_), before);
  EXPECT_EQ(count(*db, "platform"), 2);
  EXPECT_EQ(count(*db, "model"), 1);
  EXPECT_EQ(count(*db, "candidate"), 3);
  EXPECT_EQ(count(*db, "measurement"), 6);
  EXPECT_EQ(count(*db, "bench"), 2);
  EXPECT_EQ(count(*db, "baseline"), 2);
  const std::string hash = test::sample_model().hash();
  for (const auto& [cpu, base] : {std::pair{"Machine A", 100.0}, std::pair{"Machine B", 200.0}}) {
    const std::string fingerprint = platform_named(cpu).fingerprint();
    auto searches = MeasurementStore(*db).find_searches(fingerprint, hash, "0123456789abcdef");
    ASSERT_OK(searches);
    ASSERT_EQ(searches->size(), 1u);
    auto rows = MeasurementStore(*db).of_search(searches->at(0).id);
    ASSERT_OK(rows);  // digests, too
    ASSERT_EQ(rows->size(), 3u);
    EXPECT_EQ(rows->at(0).median_ns, base + 1);
    auto plan = PlanStore(*db).latest(fingerprint, hash);
    ASSERT_OK(plan);
    ASSERT_TRUE(plan->has_value());
    EXPECT_EQ((*plan)->entries.size(), 4u);
    auto calibration = CalibrationStore(*db).latest(fingerprint);
    ASSERT_OK(calibration);
    ASSERT_TRUE(calibration->has_value());
    EXPECT_EQ((*calibration)->peaks.size(), 2u);
    EXPECT_EQ((*calibration)->id, searches->at(0).calibration_id);
  }
  EXPECT_EQ(*db->connection().integer("SELECT count(*) FROM bench AS b JOIN plan AS p ON p.id = b.plan_id JOIN session "
                                      "AS s ON s.id = b.session_id WHERE p.session_id = s.id"),
            2);
  EXPECT_TRUE(check_database(fleet_)->ok());
}

TEST_F(Merge, TwiceAddsNothingAndLaterAddsWhatIsNew) {
  auto db = Database::open(fleet_);
  ASSERT_OK(db);
  ASSERT_OK(merge_database(*db, a_));
  auto again = merge_database(*db, a_);
  ASSERT_OK(again);
  EXPECT_EQ(again->added(), 0);
  EXPECT_EQ(again->updated(), 0);
  {  // the search goes on there
    auto source = Database::open(a_);
    ASSERT_OK(source);
    ASSERT_OK(MeasurementStore(*source).record(test::sample_measurement(1, 512, 99)));
    ASSERT_OK(MeasurementStore(*source).finish_search(1, SearchState::kDone));
  }
  auto later = merge_database(*db, a_);
  ASSERT_OK(later);
  EXPECT_EQ(later->added(), 2);  // a measurement and its candidate
  EXPECT_EQ(added(*later, "measurement"), 1);
  EXPECT_EQ(later->updated(), 1);
  EXPECT_EQ(MeasurementStore(*db).get_search(1)->value().state, SearchState::kDone);
}

TEST_F(Merge, EqualRowsOfOneFileStayTwo) {
  {
    auto source = Database::open(a_);
    ASSERT_OK(source);
    ASSERT_OK(source->connection().execute(
        "INSERT INTO session SELECT 50, platform_id, started, command, version, revision, compiler, flags, build_type, "
        "governor, kernel, hypervisor, load1 FROM session WHERE id = 1"));
  }
  auto db = Database::open(fleet_);
  ASSERT_OK(db);
  ASSERT_OK(merge_database(*db, a_));
  EXPECT_EQ(count(*db, "session"), 2);
  EXPECT_EQ(merge_database(*db, a_)->added(), 0);
}

TEST_F(Merge, AnOlderPlanThatArrivesLaterIsNotTheNewest) {
  const std::string fingerprint = platform_named("Machine A").fingerprint(), hash = test::sample_model().hash();
  {
    auto old = Database::open(a_);
    ASSERT_OK(old);
    ASSERT_OK(old->connection().execute("UPDATE session SET started = '2025-01-01T00:00:00Z'"));
    ASSERT_OK(old->connection().execute("UPDATE calibration SET created = '2025-01-01T00:00:00Z', noise_floor = 0.5"));
  }
  fill(fleet_, "Machine A", 50);
  auto db = Database::open(fleet_);
  ASSERT_OK(db);
  Plan plan = test::sample_plan();
  plan.fingerprint = fingerprint;
  plan.platform = platform_named("Machine A").identity();
  plan.planner = "newest";
  plan.created.clear();
  ASSERT_OK(PlanStore(*db).save(1, plan));
  ASSERT_OK(merge_database(*db, a_));
  EXPECT_EQ(PlanStore(*db).latest(fingerprint, hash)->value().planner, "newest");
  EXPECT_EQ(PlanStore(*db).list()->at(0).planner, "newest");
  EXPECT_LT(CalibrationStore(*db).latest(fingerprint)->value().noise_floor, 0.5);
}

TEST_F(Merge, OlderSchemasAreMigratedInACopy) {
  for (int v = 1; v < Database::newest_schema(); ++v) {
    const std::string path = folder_ / fmt::format("old{}.db", v);
    {
      auto c = sqlite::Connection::open(path, {});
      ASSERT_OK(c);
      ASSERT_OK(migrate(**c, migrations().first(static_cast<size_t>(v))));
      ASSERT_OK((*c)->execute(fmt::format("INSERT INTO platform VALUES (9, 'print{}', '{{}}', '{{}}', 'x')", v)));
    }
    const std::string before = test::read_file(path);
    auto db = Database::open(fleet_);
    ASSERT_OK(db);
    auto report = merge_database(*db, path);
    ASSERT_OK(report);
    EXPECT_EQ(report->schema, v);
    EXPECT_EQ(report->added(), 1);
    EXPECT_EQ(test::read_file(path), before) << v;
  }
}

TEST_F(Merge, RefusesWhatIsNotSoundAndAddsNothing) {
  auto db = Database::open(fleet_);
  ASSERT_OK(db);
  ASSERT_OK(merge_database(*db, b_));
  EXPECT_ERROR(merge_database(*db, fleet_), "merged into");
  EXPECT_ERROR(merge_database(*db, folder_ / "none.db"), "there is no database");
  test::write_file(folder_ / "text.db", std::string(5000, 'x'));
  EXPECT_ERROR(merge_database(*db, folder_ / "text.db"), folder_ / "text.db: not a database");
  const auto change = [&](const std::string& sql) {
    auto c = sqlite::Connection::open(a_, {});
    ASSERT_OK(c);
    ASSERT_OK((*c)->execute("PRAGMA foreign_keys = OFF; " + sql));
  };
  change("UPDATE measurement SET median_ns = 1 WHERE id = 2");
  EXPECT_ERROR(merge_database(*db, a_), a_ + ": measurement 2 is damaged");
  change("UPDATE measurement SET median_ns = 102 WHERE id = 2; UPDATE measurement SET samples_json = '[1,\"x\"]'");
  EXPECT_ERROR(merge_database(*db, a_), "samples_json");
  change("DELETE FROM measurement; DELETE FROM candidate WHERE id = 1; UPDATE bench SET plan_id = 77");
  EXPECT_ERROR(merge_database(*db, a_), "refers to a row of plan that is not there");
  change("PRAGMA user_version = 99");
  EXPECT_ERROR(merge_database(*db, a_), "schema 99");
  change("PRAGMA application_id = 1");
  EXPECT_ERROR(merge_database(*db, a_), "another program");
  EXPECT_EQ(count(*db, "platform"), 1);
  EXPECT_EQ(merge_database(*db, b_)->added(), 0);
}

TEST_F(Merge, InterruptsAndFullDisksLeaveTheTargetAsItWas) {
  auto db = Database::open(fleet_);
  ASSERT_OK(db);
  ASSERT_OK(merge_database(*db, b_));
  std::atomic<bool> cancel = false;
  MergeOptions options;
  options.cancel = &cancel;
  options.progress = [&](double, std::string_view what) {
    if (what == "plan") cancel = true;
  };  // in the middle of it
  EXPECT_FALSE(merge_database(*db, a_, options).ok());
  EXPECT_EQ(count(*db, "platform"), 1);
  EXPECT_EQ(count(*db, "measurement"), 3);

  ASSERT_OK(db->connection().execute(
      fmt::format("PRAGMA max_page_count = {}", *db->connection().integer("PRAGMA page_count"))));
  {
    auto source = Database::open(a_);
    ASSERT_OK(source);
    ASSERT_OK(source->connection().execute("UPDATE session SET command = hex(zeroblob(100000))"));
  }
  EXPECT_ERROR(merge_database(*db, a_), "disk is full");
  EXPECT_EQ(count(*db, "platform"), 1);
  ASSERT_OK(db->connection().execute("PRAGMA max_page_count = 1000000"));
  EXPECT_EQ(added(*merge_database(*db, a_), "platform"), 1);  // the same connection goes on
  EXPECT_TRUE(check_database(fleet_)->ok());
}

}  // namespace
}  // namespace smepilot
