// Opening: new files, older and newer schemas, files of others, and places that cannot be written.
#include "db/database.h"

#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "db/check.h"
#include "db/columns.h"
#include "db/migrations.h"
#include "db/sqlite.h"
#include "tests/db/support.h"

namespace smepilot {
namespace {

using test::read_file;
using test::write_file;

std::string sql_text(const std::string& path, const std::string& sql) {
  auto c = sqlite::Connection::open(path, {});
  if (!c.ok()) return c.message();
  auto value = (*c)->text(sql);
  return value.ok() ? *value : value.message();
}

void run_sql(const std::string& path, const std::string& sql) {
  auto c = sqlite::Connection::open(path, {});
  ASSERT_OK(c);
  ASSERT_OK((*c)->execute(sql));
}

TEST(Database, NewFileGetsFolderSchemaAndSettings) {
  test::TempFolder folder;
  const std::string path = folder / "a/b c/ü?#%.db";  // nothing in a name may be taken for a URI
  auto db = Database::open(path);
  ASSERT_OK(db);
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_EQ(*db->schema(), Database::newest_schema());
  EXPECT_EQ(*db->connection().text("PRAGMA journal_mode"), "wal");
  EXPECT_EQ(*db->connection().integer("PRAGMA foreign_keys"), 1);
  EXPECT_EQ(*db->connection().integer("PRAGMA synchronous"), 1);
  EXPECT_EQ(*db->connection().integer("PRAGMA busy_timeout"), sqlite::kBusyTimeoutMs);
  EXPECT_EQ(*db->connection().integer("PRAGMA application_id"), kApplicationId);
}

TEST(Database, MigratesFromEveryOlderSchema) {
  // Schema v is what the first v migrations make. 0 is an empty file.
  for (int v = 0; v <= Database::newest_schema(); ++v) {
    test::TempFolder folder;
    const std::string path = folder / "old.db";
    if (v == 0) {
      write_file(path, "");
    } else {
      auto c = sqlite::Connection::open(path, {});
      ASSERT_OK(c);
      ASSERT_OK(migrate(**c, migrations().first(static_cast<size_t>(v))));
      EXPECT_EQ(*(*c)->integer("PRAGMA user_version"), v);
    }
    auto db = Database::open(path);
    ASSERT_OK(db);
    EXPECT_EQ(*db->schema(), Database::newest_schema()) << "from " << v;
    ASSERT_OK(test::begin(*db));
  }
}

// Rows as older builds wrote them, with the digests that those computed. Schema 2 added columns with defaults only.
TEST(Database, MeasurementsAndPlansOfOlderSchemasStayReadable) {
  for (int v = 1; v < Database::newest_schema(); ++v) {
    test::TempFolder folder;
    const std::string path = folder / "old.db";
    const Plan plan = test::sample_plan();
    {
      auto c = sqlite::Connection::open(path, {});
      ASSERT_OK(c);
      ASSERT_OK(migrate(**c, migrations().first(static_cast<size_t>(v))));
      const std::string fingerprint = test::sample_platform().fingerprint(), model = test::sample_model().hash();
      ASSERT_OK((*c)->execute(fmt::format(
          "INSERT INTO platform VALUES (1, '{}', '{{}}', '{{}}', 'x');"
          "INSERT INTO session VALUES (1, 1, 'x', 'x', 'x', 'rev', 'x', 'x', 'x', 'x', 'x', 'x', 0);"
          "INSERT INTO calibration (id, session_id, created, quick, seconds, noise_floor, exp_geps, pack_gbps, "
          "busy_fraction) VALUES (5, 1, 'x', 0, 3.5, 0.01, 1, 2, 0);"
          "INSERT INTO peak VALUES (1, 5, 'cpu', 'f32', 'avx2', 1, 99.5, '[99.5]');"
          "INSERT INTO model VALUES (1, 'tiny', 'llama', '{}', '{{}}');"
          "INSERT INTO search VALUES (1, 1, 1, NULL, 'race', 'feed', 1, '{{}}', 'done', 'x', 'x');"
          "INSERT INTO operator VALUES (1, 'matmul', 'q4_0', 8, 128, 64, 0, 0);"
          "INSERT INTO candidate (id, operator_id, variant, mode, workers, mc, nc, kv_tile, kv_splits) VALUES (7, 1, "
          "'a.test', 'cpu', 2, 128, 64, 0, 0), (9, 1, 'a.test', 'cpu', 2, 64, 64, "
          "0, 0);"
          "INSERT INTO measurement VALUES (1, 1, 1, 7, 1, 'feed', 'ok', '', 900.5, 10.0, 9.0, 11.5, '[9,10,11.5]', 1, "
          "'x', '{}'), (2, 1, 1, 9, 1, 'feed', 'pruned', 'slow', 5.0, NULL, NULL, NULL, '[]', 0, 'x', '{}');",
          fingerprint, model,
          digest("matmul q4_0 8 128 64 0 0 | a.test cpu 2 128 64 0 0 | ok  900.5 10 9 11.5 true [9,10,11.5]"),
          digest("matmul q4_0 8 128 64 0 0 | a.test cpu 2 64 64 0 0 | pruned slow 5 0 0 0 false []"))));
      // The plan's digest is that of its JSON without the model's name.
      Plan unnamed = plan;
      unnamed.model_name.clear();
      std::string sql =
          fmt::format("INSERT INTO plan VALUES (1, 1, 1, 1, '{}', '{}', 1, '{}', '{}', {}, '{}', '{}', '{}');",
                      fingerprint, pairs_to_json(plan.platform), plan.variant_set_hash, plan.planner, plan.workers,
                      plan.build, plan.created, digest(plan_to_json(unnamed)));
      for (const PlanEntry& e : plan.entries)
        sql += fmt::format(
            "INSERT INTO plan_entry (plan_id, kind, dtype, n, k, kv_heads, m_min, m_max, kv_max, mode, variant, "
            "workers, "
            "mc, nc, kv_tile, kv_splits, measured_m, measured_kv, predicted_ns, measured_ns, default_ns, why) VALUES "
            "(1, '{}', '{}', {}, {}, {}, {}, {}, {}, '{}', '{}', {}, {}, {}, {}, "
            "{}, {}, {}, {:.17g}, {:.17g}, {:.17g}, '{}');",
            kind_name(e.kind), dtype_name(e.dtype), e.n, e.k, e.kv_heads, e.m_min, e.m_max, e.kv_max, mode_name(e.mode),
            e.variant, e.workers, e.mc, e.nc, e.kv_tile, e.kv_splits, e.measured_m, e.measured_kv, e.predicted_ns,
            e.measured_ns, e.default_ns, e.why);
      ASSERT_OK((*c)->execute(sql));
    }
    auto db = Database::open(path);
    ASSERT_OK(db);
    auto rows = MeasurementStore(*db).of_search(1);
    ASSERT_OK(rows);
    ASSERT_EQ(rows->size(), 2u) << "from " << v;
    EXPECT_EQ(rows->at(0).candidate_id, 7);
    EXPECT_EQ(rows->at(0).candidate.coop, CoopPart{});
    EXPECT_EQ(rows->at(0).median_ns, 10);
    EXPECT_EQ(rows->at(1).candidate.mc, 64u);
    auto calibration = CalibrationStore(*db).get(5);
    ASSERT_OK(calibration);
    ASSERT_TRUE(calibration->has_value());
    EXPECT_EQ((*calibration)->peaks.at(0).gflops, 99.5);
    EXPECT_TRUE((*calibration)->kernels.empty() && (*calibration)->operators.empty());
    EXPECT_EQ((*calibration)->clock.first_gflops, 0);
    auto back = PlanStore(*db).get(1);
    ASSERT_OK(back);
    ASSERT_TRUE(back->has_value());
    EXPECT_EQ(plan_to_json(**back), plan_to_json(plan));
    EXPECT_TRUE(check_database(path)->ok());
    // The rebuilt table still guards its measurements.
    EXPECT_ERROR(db->connection().execute("DELETE FROM candidate WHERE id = 7"), "FOREIGN KEY");
  }
}

TEST(Database, MigrationKeepsRowsAndStopsWholeAtAFailure) {
  const Migration good[] = {{1, "001_a.sql", "CREATE TABLE a (x INTEGER NOT NULL) STRICT;"},
                            {2, "002_b.sql", "ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 7;"}};
  const Migration bad[] = {
      good[0], good[1], {3, "003_bad.sql", "CREATE TABLE c (z INTEGER) STRICT; INSERT INTO nowhere VALUES (1);"}};
  test::TempFolder folder;
  auto c = sqlite::Connection::open(folder / "m.db", {});
  ASSERT_OK(c);
  ASSERT_OK(migrate(**c, std::span(good).first(1)));
  ASSERT_OK((*c)->execute("INSERT INTO a VALUES (42)"));
  EXPECT_ERROR(migrate(**c, bad), "003_bad.sql");
  EXPECT_EQ(*(*c)->integer("PRAGMA user_version"), 2);  // the good step stays, the bad one is gone whole
  EXPECT_EQ(*(*c)->integer("SELECT x * 100 + y FROM a"), 4207);
  EXPECT_EQ(*(*c)->integer("SELECT count(*) FROM sqlite_schema WHERE name = 'c'"), 0);
  ASSERT_OK(verify_schema(**c, good));
  ASSERT_OK(migrate(**c, good));  // nothing to do
}

TEST(Database, RefusesANewerSchemaNamingBoth) {
  test::TempFolder folder;
  const std::string path = folder / "new.db";
  ASSERT_OK(Database::open(path));
  run_sql(path, "PRAGMA user_version = 99");
  for (const OpenMode mode : {OpenMode::kReadWriteCreate, OpenMode::kReadOnly}) {
    EXPECT_ERROR(Database::open(path, mode), "schema 99");
    EXPECT_ERROR(Database::open(path, mode), fmt::format("up to schema {}", Database::newest_schema()));
  }
}

TEST(Database, RefusesADatabaseOfAnotherProgramUnchanged) {
  test::TempFolder folder;
  const std::string path = folder / "other.db";
  run_sql(path, "CREATE TABLE bookmarks (url TEXT); INSERT INTO bookmarks VALUES ('x')");
  const std::string before = read_file(path);
  EXPECT_ERROR(Database::open(path), "another program");
  EXPECT_ERROR(Database::open(path, OpenMode::kReadOnly), "another program");
  EXPECT_EQ(read_file(path), before);
  EXPECT_EQ(sql_text(path, "SELECT url FROM bookmarks"), "x");
  run_sql(path, "PRAGMA application_id = 1196444487");  // GeoPackage
  EXPECT_ERROR(Database::open(path), "0x47504b47");
}

TEST(Database, RefusesWhatIsNoDatabaseUnchanged) {
  test::TempFolder folder;
  for (const size_t size : {size_t{1}, size_t{50}, size_t{99}, size_t{100}, size_t{511}, size_t{5000}}) {
    const std::string path = folder / fmt::format("text{}", size);
    write_file(path, std::string(size, 'x'));
    EXPECT_ERROR(Database::open(path), "not a database");
    EXPECT_ERROR(Database::open(path, OpenMode::kReadOnly), path);
    EXPECT_EQ(read_file(path), std::string(size, 'x'));
  }
  EXPECT_ERROR(Database::open(folder.path()), "is a folder");
  EXPECT_ERROR(Database::open(""), "empty");
  EXPECT_ERROR(Database::open("/dev/null"), "not a regular file");
}

TEST(Database, RefusesAMissingOrChangedTable) {
  test::TempFolder folder;
  const std::string path = folder / "a.db";
  ASSERT_OK(Database::open(path));
  run_sql(path, "CREATE TABLE notes (x TEXT)");  // more than needed is fine
  ASSERT_OK(Database::open(path));
  run_sql(path, "CREATE TRIGGER t AFTER INSERT ON session BEGIN DELETE FROM model; END");
  EXPECT_ERROR(Database::open(path), "trigger 't' is not of this program");
  run_sql(path, "DROP TRIGGER t; CREATE VIEW v AS SELECT * FROM model");
  EXPECT_ERROR(Database::open(path, OpenMode::kReadOnly), "view 'v' is not of this program");
  run_sql(path, "DROP VIEW v");
  run_sql(path, "DROP TABLE bandwidth");
  EXPECT_ERROR(Database::open(path), "'bandwidth' is missing");
}

TEST(Database, ReadOnlyNeitherCreatesNorChanges) {
  test::TempFolder folder;
  EXPECT_ERROR(Database::open(folder / "none.db", OpenMode::kReadOnly), "there is no database here");
  EXPECT_FALSE(std::filesystem::exists(folder / "none.db"));
  write_file(folder / "empty.db", "");
  EXPECT_ERROR(Database::open(folder / "empty.db", OpenMode::kReadOnly), "is empty");
  const std::string path = folder / "a.db";
  ASSERT_OK(Database::open(path));
  auto db = Database::open(path, OpenMode::kReadOnly);
  ASSERT_OK(db);
  EXPECT_ERROR(SessionStore(*db).begin(test::sample_platform(), "x"), "cannot be written");
}

TEST(Database, UnwritablePathsAreNamed) {
  test::TempFolder folder;
  write_file(folder / "file", "");
  EXPECT_ERROR(Database::open(folder / "file/a.db"), folder / "file");
  EXPECT_ERROR(Database::open("/proc/smepilot/a.db"), "/proc/smepilot");
  EXPECT_ERROR(Database::open("/proc/a.db"), "/proc/a.db");
  EXPECT_ERROR(Database::open(folder / std::string(300, 'x')), "cannot open");
}

TEST(Database, ReadsFromAFolderThatCannotBeWritten) {
  test::TempFolder folder;
  const std::string path = folder / "a.db";
  {
    auto db = Database::open(path);
    ASSERT_OK(db);
    ASSERT_OK(test::begin(*db));
  }
  ASSERT_EQ(chmod(path.c_str(), 0444), 0);
  ASSERT_EQ(chmod(folder.path().c_str(), 0555), 0);
  // Root may write anywhere, so this is tried as somebody else.
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(77);
    if (access(path.c_str(), R_OK) != 0) _exit(77);
    auto db = Database::open(path, OpenMode::kReadOnly);
    if (!db.ok()) {
      std::fprintf(stderr, "%s\n", db.message().c_str());
      _exit(1);
    }
    auto sessions = SessionStore(*db).list();
    if (!sessions.ok() || sessions->size() != 1) _exit(2);
    auto writer = Database::open(path);
    const bool refused = writer.ok() ? !SessionStore(*writer).begin(test::sample_platform(), "x").ok()
                                     : writer.message().find(path) != std::string::npos;
    _exit(refused ? 0 : 3);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(chmod(folder.path().c_str(), 0755), 0);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77)
    GTEST_SKIP() << "SKIPPED: root here may not become another user, or that user may not enter the temporary folder";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Database, DefaultPath) {
  const char* old_data = std::getenv("XDG_DATA_HOME");
  const char* old_home = std::getenv("HOME");
  const std::string data = old_data != nullptr ? old_data : "", home = old_home != nullptr ? old_home : "";
  setenv("XDG_DATA_HOME", "/data", 1);
  setenv("HOME", "/home/x", 1);
  EXPECT_EQ(default_database_path(), "/data/smepilot/smepilot.db");
  setenv("XDG_DATA_HOME", "relative", 1);
  EXPECT_EQ(default_database_path(), "/home/x/.local/share/smepilot/smepilot.db");
  unsetenv("XDG_DATA_HOME");
  EXPECT_EQ(default_database_path(), "/home/x/.local/share/smepilot/smepilot.db");
  unsetenv("HOME");
  EXPECT_EQ(default_database_path(), "smepilot.db");
  if (old_data != nullptr) setenv("XDG_DATA_HOME", data.c_str(), 1);
  if (old_home != nullptr) setenv("HOME", home.c_str(), 1);
}

TEST(Database, TransactionsNestAndRollBack) {
  auto db = Database::open(":memory:");
  ASSERT_OK(db);
  sqlite::Connection& c = db->connection();
  ASSERT_OK(c.execute("CREATE TABLE t (x INTEGER)"));
  const auto count = [&c] { return *c.integer("SELECT count(*) FROM t"); };
  {
    auto outer = sqlite::Transaction::begin(c);
    ASSERT_OK(outer);
    ASSERT_OK(c.execute("INSERT INTO t VALUES (1)"));
    {
      auto inner = sqlite::Transaction::begin(c);
      ASSERT_OK(inner);
      ASSERT_OK(c.execute("INSERT INTO t VALUES (2)"));
    }  // rolled back
    EXPECT_EQ(count(), 1);
    ASSERT_OK(outer->commit());
  }
  EXPECT_EQ(count(), 1);
  {
    auto outer = sqlite::Transaction::begin(c);
    ASSERT_OK(outer);
    ASSERT_OK(c.execute("INSERT INTO t VALUES (3)"));
  }
  EXPECT_EQ(count(), 1);
  EXPECT_FALSE(c.in_transaction());
}

TEST(Database, ForeignKeysAndChecksHold) {
  auto db = Database::open(":memory:");
  ASSERT_OK(db);
  EXPECT_ERROR(CalibrationStore(*db).save(12345, test::sample_calibration()), "FOREIGN KEY");
  auto begun = test::begin(*db);
  ASSERT_OK(begun);
  Calibration broken = test::sample_calibration();
  broken.bandwidths[0].op = "scribble";
  EXPECT_ERROR(CalibrationStore(*db).save(begun->session.id, broken), "schema refuses");
  broken = test::sample_calibration();
  broken.exp_geps = std::numeric_limits<double>::quiet_NaN();
  EXPECT_ERROR(CalibrationStore(*db).save(begun->session.id, broken), "finite");
  EXPECT_EQ(CalibrationStore(*db).list(begun->session.fingerprint)->size(), 0u);  // nothing half written
}

}  // namespace
}  // namespace smepilot
