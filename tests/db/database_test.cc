// Opening: new files, older and newer schemas, files of others, and places that cannot be written.
#include "db/database.h"

#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <map>

#include "db/baseline_store.h"
#include "db/bench_store.h"
#include "db/check.h"
#include "db/layer_store.h"
#include "db/migrations.h"
#include "db/sqlite.h"
#include "db/workload_store.h"
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

// A database as a build with schema `v` left it (tests/db/make_schema_fixture.py), in a new file.
void write_fixture(int v, const std::string& path) {
  const std::string name = fmt::format("{}/tests/db/data/schema_{:03}.sql", SMEPILOT_SOURCE_DIR, v);
  const std::string sql = read_file(name);
  ASSERT_FALSE(sql.empty()) << name << " is missing: every schema needs one, see tests/db/make_schema_fixture.py";
  run_sql(path, sql);
}

std::map<std::string, int64_t> rows_by_table(const std::string& path) {
  std::map<std::string, int64_t> rows;
  auto c = sqlite::Connection::open(path, {});
  if (!c.ok()) return rows;
  sqlite::Statement s(**c, "SELECT name FROM sqlite_schema WHERE type = 'table'");
  auto names = sqlite::all(s.bind(), [](sqlite::Statement& row) { return row.text(0); });
  if (!names.ok()) return rows;
  for (const std::string& name : *names)
    rows[name] = (*c)->integer(fmt::format("SELECT count(*) FROM \"{}\"", name)).ok()
                     ? *(*c)->integer(fmt::format("SELECT count(*) FROM \"{}\"", name))
                     : -1;
  return rows;
}

TEST(Database, AnEmptyFileBecomesTheNewestSchema) {
  test::TempFolder folder;
  const std::string path = folder / "empty.db";
  write_file(path, "");
  auto db = Database::open(path);
  ASSERT_OK(db);
  EXPECT_EQ(*db->schema(), Database::newest_schema());
  ASSERT_OK(test::begin(*db));
}

// From every version, the newest included, so that a new migration cannot come without its fixture.
TEST(Database, MigratesWhatEverySchemasBuildWrote) {
  for (int v = 1; v <= Database::newest_schema(); ++v) {
    SCOPED_TRACE(fmt::format("schema {}", v));
    test::TempFolder folder;
    const std::string path = folder / "old.db";
    ASSERT_NO_FATAL_FAILURE(write_fixture(v, path));
    EXPECT_EQ(sql_text(path, "SELECT CAST(user_version AS TEXT) FROM pragma_user_version"), fmt::format("{}", v));
    const std::map<std::string, int64_t> before = rows_by_table(path);
    ASSERT_GE(before.size(), 16u);
    for (const auto& [table, rows] : before) EXPECT_GT(rows, 0) << table << " has no row in the fixture";
    {
      // What the migrations of today make of nothing is what that build made: none was changed afterwards.
      auto c = sqlite::Connection::open(path, {});
      ASSERT_OK(c);
      EXPECT_OK(verify_schema(**c, migrations().first(static_cast<size_t>(v))));
    }
    auto db = Database::open(path);
    ASSERT_OK(db);
    EXPECT_EQ(*db->schema(), Database::newest_schema());
    for (const auto& [table, rows] : before) EXPECT_EQ(rows_by_table(path)[table], rows) << table;
    EXPECT_TRUE(check_database(path)->ok());
    ASSERT_OK(test::begin(*db));
  }
}

// Rows as older builds wrote them, with the digests that those computed.
TEST(Database, RowsOfOlderSchemasStayReadable) {
  for (int v = 1; v <= Database::newest_schema(); ++v) {
    SCOPED_TRACE(fmt::format("schema {}", v));
    test::TempFolder folder;
    const std::string path = folder / "old.db";
    ASSERT_NO_FATAL_FAILURE(write_fixture(v, path));
    auto db = Database::open(path);
    ASSERT_OK(db);
    auto rows = MeasurementStore(*db).of_search(1);
    ASSERT_OK(rows);
    ASSERT_EQ(rows->size(), 2u);
    EXPECT_EQ(rows->at(0).candidate_id, 7);
    EXPECT_EQ(rows->at(0).candidate.coop, CoopPart{});
    EXPECT_EQ(rows->at(0).median_ns, 10);
    EXPECT_EQ(rows->at(1).candidate.mc, 64u);
    auto calibration = CalibrationStore(*db).get(5);
    ASSERT_OK(calibration);
    ASSERT_TRUE(calibration->has_value());
    EXPECT_EQ((*calibration)->peaks.at(0).gflops, 99.5);
    EXPECT_EQ((*calibration)->bandwidths.at(0).gbps, 20.5);
    EXPECT_EQ((*calibration)->fork_join.at(0).ns, 350);
    EXPECT_EQ((*calibration)->fork_join.size(), v >= 3 ? 2u : 1u);
    EXPECT_EQ((*calibration)->coop_peaks.size(), v >= 4 ? 1u : 0u);
    EXPECT_EQ((*calibration)->coop_bandwidths.size(), v >= 4 ? 1u : 0u);
    EXPECT_TRUE((*calibration)->kernels.empty() && (*calibration)->operators.empty());
    EXPECT_EQ((*calibration)->clock.first_gflops, 0);
    EXPECT_EQ((*calibration)->lhs_pack_gbps, 0);
    auto later = CalibrationStore(*db).get(6);
    ASSERT_OK(later);
    ASSERT_EQ(later->has_value(), v >= 5);
    if (v >= 5) {
      EXPECT_EQ((*later)->streaming_ns, 55.5);
    }
    if (v >= 6) {
      EXPECT_EQ((*later)->kernels.at(0).compute, 0.43);
      EXPECT_EQ((*later)->operators.at(0).measured_ns, 100);
      EXPECT_EQ((*later)->clock.lowest_gflops, 40);
    }
    if (v >= 8) {
      EXPECT_EQ((*later)->lhs_pack_gbps, 12.5);
      EXPECT_EQ((*later)->clock.repeated, 2u);
    }
    auto benches = BenchStore(*db).list();
    ASSERT_OK(benches);
    EXPECT_EQ(benches->size(), v >= 10 ? 4u : v >= 9 ? 3u : v >= 2 ? 2u : 1u);
    const auto labelled =
        std::find_if(benches->begin(), benches->end(), [](const Bench& b) { return !b.planner.empty(); });
    ASSERT_EQ(labelled != benches->end(), v >= 9);
    if (v >= 9) {
      EXPECT_EQ(labelled->planner, "race");
      EXPECT_EQ(labelled->mode, "auto");
      EXPECT_NE(labelled->load_json.find("ready_seconds"), std::string::npos);
    }
    const auto converted =
        std::find_if(benches->begin(), benches->end(), [](const Bench& b) { return !b.conversions_json.empty(); });
    ASSERT_EQ(converted != benches->end(), v >= 10);
    if (v >= 10) {
      EXPECT_NE(converted->conversions_json.find("avoided_ns"), std::string::npos);
    }
    auto baselines = BaselineStore(*db).list();
    ASSERT_OK(baselines);
    EXPECT_EQ(baselines->size(), 1u);
    auto workloads = WorkloadStore(*db).list();
    ASSERT_OK(workloads);
    EXPECT_EQ(workloads->size(), v >= 7 ? 1u : 0u);
    auto times = LayerStore(*db).times(1);
    ASSERT_OK(times);
    EXPECT_EQ(times->size(), v >= 8 ? 2u : 0u);
    auto chain = LayerStore(*db).chain(1);
    ASSERT_OK(chain);
    EXPECT_EQ(chain->size(), v >= 8 ? 1u : 0u);
    auto plan = PlanStore(*db).get(1);
    ASSERT_OK(plan);
    ASSERT_TRUE(plan->has_value());
    EXPECT_EQ(plan_to_json(**plan), plan_to_json(test::sample_plan()));
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
