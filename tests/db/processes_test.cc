// More than one process, processes that are killed, and disks that are full.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <thread>

#include "db/check.h"
#include "db/search_claim.h"
#include "db/sqlite.h"
#include "tests/db/support.h"

namespace smepilot {
namespace {

// Runs `body` in a process of its own, and gives its exit status (or 1000 + signal).
template <typename Body>
pid_t start(Body&& body) {
  const pid_t child = fork();
  if (child == 0) {
    const int code = body();
    _exit(code);
  }
  return child;
}

int wait_for(pid_t child) {
  int status = 0;
  if (waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

int complain(const Status& status) {
  std::fprintf(stderr, "%s\n", status.message().c_str());
  return 1;
}

// Records `count` measurements, distinct for each `writer`, through a connection of its own.
int record_some(const std::string& path, int64_t search, uint32_t writer, uint32_t count) {
  auto db = Database::open(path);
  if (!db.ok()) return complain(db.status());
  MeasurementStore store(*db);
  for (uint32_t i = 0; i < count; ++i) {
    Measurement m = test::sample_measurement(search, 16 * (i + 1), 1000 + i);
    m.candidate.workers = writer + 1;
    if (auto id = store.record(m); !id.ok()) return complain(id.status());
  }
  return 0;
}

TEST(Processes, TwoCreateTheSameFileAtOnce) {
  for (int round = 0; round < 5; ++round) {
    test::TempFolder folder;
    const std::string path = folder / "new/a.db";
    pid_t children[4];
    for (pid_t& child : children)
      child = start([&path] {
        auto db = Database::open(path);
        if (!db.ok()) return complain(db.status());
        auto begun = test::begin(*db);
        return begun.ok() ? 0 : complain(begun.status());
      });
    for (const pid_t child : children) EXPECT_EQ(wait_for(child), 0);
    auto db = Database::open(path);
    ASSERT_OK(db);
    EXPECT_EQ(SessionStore(*db).list()->size(), 4u);
    EXPECT_EQ(*db->connection().integer("SELECT count(*) FROM platform"), 1);
  }
}

TEST(Processes, WritersInProcessesAndThreadsLoseNothing) {
  test::TempFolder folder;
  const std::string path = folder / "a.db";
  int64_t search = 0;
  {
    auto db = Database::open(path);
    ASSERT_OK(db);
    search = test::begin(*db)->search.id;
  }
  constexpr uint32_t kCount = 40;
  const pid_t one = start([&] { return record_some(path, search, 0, kCount); });
  const pid_t two = start([&] { return record_some(path, search, 1, kCount); });
  int results[2] = {-1, -1};
  {
    std::thread three([&] { results[0] = record_some(path, search, 2, kCount); });
    std::thread four([&] { results[1] = record_some(path, search, 3, kCount); });
    three.join();
    four.join();
  }
  EXPECT_EQ(wait_for(one), 0);
  EXPECT_EQ(wait_for(two), 0);
  EXPECT_EQ(results[0], 0);
  EXPECT_EQ(results[1], 0);
  auto db = Database::open(path);
  ASSERT_OK(db);
  EXPECT_EQ(MeasurementStore(*db).of_search(search)->size(), 4 * kCount);
  EXPECT_TRUE(check_database(path)->ok());
}

TEST(Processes, KilledWhileWritingLosesNothingCommitted) {
  test::TempFolder folder;
  const std::string path = folder / "a.db";
  int64_t search = 0;
  {
    auto db = Database::open(path);
    ASSERT_OK(db);
    search = test::begin(*db)->search.id;
  }
  uint32_t expected = 0;
  for (int round = 0; round < 5; ++round) {
    int pipes[2];
    ASSERT_EQ(pipe(pipes), 0);
    const pid_t child = start([&] {
      close(pipes[0]);
      auto db = Database::open(path);
      if (!db.ok()) return complain(db.status());
      MeasurementStore store(*db);
      for (uint32_t i = expected;; ++i) {
        Measurement m = test::sample_measurement(search, 16 * (i + 1), 1000 + i);
        m.samples_ns.assign(2000, 1000.0 + i);  // many pages, so that the kill often hits a write
        m.samples_ns[1] = 1000.0 + i;
        if (auto id = store.record(m); !id.ok()) return complain(id.status());
        if (write(pipes[1], &i, sizeof i) != sizeof i) return 2;
      }
    });
    ASSERT_GT(child, 0);
    close(pipes[1]);
    uint32_t last = 0;
    bool any = false;
    for (int i = 0; i < 20 + 7 * round; ++i) {  // so many are committed for certain
      uint32_t done = 0;
      ASSERT_EQ(read(pipes[0], &done, sizeof done), static_cast<ssize_t>(sizeof done));
      last = done;
      any = true;
    }
    ASSERT_EQ(kill(child, SIGKILL), 0);
    EXPECT_EQ(wait_for(child), 1000 + SIGKILL);
    for (uint32_t done; read(pipes[0], &done, sizeof done) == sizeof done;) last = done;  // announced before the kill
    close(pipes[0]);
    ASSERT_TRUE(any);

    auto db = Database::open(path);
    ASSERT_OK(db);
    auto rows = MeasurementStore(*db).of_search(search);
    ASSERT_OK(rows);
    // All that was announced, and at most the one whose announcement the kill cut off.
    EXPECT_GE(rows->size(), last + 1);
    EXPECT_LE(rows->size(), last + 2);
    for (size_t i = 0; i < rows->size(); ++i) {
      EXPECT_EQ(rows->at(i).median_ns, 1000.0 + static_cast<double>(i));
      EXPECT_EQ(rows->at(i).samples_ns.size(), 2000u);
    }
    EXPECT_EQ(MeasurementStore(*db)
                  .find_searches(test::sample_platform().fingerprint(), test::sample_model().hash(), "0123456789abcdef")
                  ->at(0)
                  .state,
              SearchState::kRunning);  // to be resumed
    expected = static_cast<uint32_t>(rows->size());
  }
  EXPECT_TRUE(check_database(path)->ok());
}

TEST(Processes, NoRoomIsAnErrorThatLosesNothing) {
  test::TempFolder folder;
  const std::string path = folder / "a.db";
  int64_t search = 0;
  {
    auto db = Database::open(path);
    ASSERT_OK(db);
    search = test::begin(*db)->search.id;
  }
  const pid_t child = start([&] {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {1u << 20, 1u << 20};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 77;
    auto db = Database::open(path);
    if (!db.ok()) return complain(db.status());
    MeasurementStore store(*db);
    for (uint32_t i = 0; i < 10000; ++i) {
      Measurement m = test::sample_measurement(search, 16 * (i + 1), 1000 + i);
      m.samples_ns.assign(2000, 1000.0 + i);
      m.samples_ns[1] = 1000.0 + i;
      const auto id = store.record(m);
      if (id.ok()) continue;
      if (id.message().find("cannot write") == std::string::npos &&
          id.message().find("disk is full") == std::string::npos)
        return complain(id.status());
      auto rows = store.of_search(search);  // still readable, and whole
      return rows.ok() && rows->size() == i && i > 10 ? 0 : 3;
    }
    return 4;
  });
  const int code = wait_for(child);
  if (code == 77) GTEST_SKIP() << "SKIPPED: file sizes cannot be limited here";
  if (code == 4) GTEST_SKIP() << "SKIPPED: the file size limit has no effect here (an emulator?)";
  EXPECT_EQ(code, 0);
  auto db = Database::open(path);
  ASSERT_OK(db);
  EXPECT_GT(MeasurementStore(*db).of_search(search)->size(), 10u);
  ASSERT_OK(MeasurementStore(*db).record(test::sample_measurement(search, 16, 500)));  // goes on once there is room
  EXPECT_TRUE(check_database(path)->ok());
}

TEST(Processes, AFullDatabaseIsAnError) {
  auto db = Database::open(":memory:");
  ASSERT_OK(db);
  ASSERT_OK(db->connection().execute(
      fmt::format("PRAGMA max_page_count = {}", *db->connection().integer("PRAGMA page_count") + 1)));
  Status last;
  for (int i = 0; i < 100 && last.ok(); ++i)
    last = SessionStore(*db).begin(test::sample_platform(), std::string(1000, 'x')).status();
  EXPECT_ERROR(last, "disk is full");
  ASSERT_OK(SessionStore(*db).list());
}

// Claims search 3, tells so by a byte on `said`, and stays.
int claim_and_stay(const std::string& path, int said) {
  auto claims = SearchClaims::open(path);
  if (!claims.ok()) return complain(claims.status());
  auto holder = claims->claim(3);
  if (!holder.ok()) return complain(holder.status());
  if (*holder) return 2;
  if (fork() == 0) {  // as a candidate is checked in a process of its own: that one claims nothing
    sleep(60);
    _exit(0);
  }
  if (write(said, "c", 1) != 1) return 3;
  sleep(60);
  return 0;
}

TEST(Processes, OneClaimsASearchUntilItEndsHoweverItEnds) {
  test::TempFolder folder;
  const std::string path = folder / "a.db", other_name = folder / "b.db";
  ASSERT_OK(Database::open(path));
  std::filesystem::create_symlink(path, other_name);
  int said[2];
  ASSERT_EQ(pipe(said), 0);
  const pid_t child = start([&] {
    setpgid(0, 0);
    return claim_and_stay(other_name, said[1]);
  });
  char byte = 0;
  ASSERT_EQ(read(said[0], &byte, 1), 1);

  auto claims = SearchClaims::open(path);
  ASSERT_OK(claims);
  auto third = claims->claim(3), fourth = claims->claim(4);
  ASSERT_OK(third);
  ASSERT_TRUE(third->has_value()) << "by another name of the same file";
  EXPECT_EQ(**third, child);
  ASSERT_OK(fourth);
  EXPECT_FALSE(fourth->has_value()) << "another search";
  auto other = claims->other();
  ASSERT_OK(other);
  ASSERT_TRUE(other->has_value());
  EXPECT_EQ(**other, child);

  ASSERT_EQ(kill(child, SIGKILL), 0);
  EXPECT_EQ(wait_for(child), 1000 + SIGKILL);
  third = claims->claim(3);
  ASSERT_OK(third);
  EXPECT_FALSE(third->has_value()) << "although a child of the killed process is still there";
  other = claims->other();
  ASSERT_OK(other);
  EXPECT_FALSE(other->has_value()) << "its own claims are no other's";
  kill(-child, SIGKILL);
  for (const int fd : said) close(fd);
}

TEST(Processes, WhoBeginsASearchHasTheTurn) {
  test::TempFolder folder;
  const std::string path = folder / "a.db";
  auto claims = SearchClaims::open(path);
  ASSERT_OK(claims);
  ASSERT_OK(claims->take_turn());
  const auto turn_of_another = [&path] {
    auto own = SearchClaims::open(path);
    if (!own.ok()) return complain(own.status());
    return own->take_turn(0.05).ok() ? 0 : 5;
  };
  EXPECT_EQ(wait_for(start(turn_of_another)), 5);
  claims->end_turn();
  EXPECT_EQ(wait_for(start(turn_of_another)), 0);
  EXPECT_ERROR(SearchClaims::open("/proc/no/such/folder/a.db"), "/proc/no/such/folder/a.db.lock");
  auto memory = SearchClaims::open(":memory:");
  ASSERT_OK(memory);
  ASSERT_OK(memory->take_turn());
  EXPECT_FALSE(memory->claim(1)->has_value());
  EXPECT_FALSE(memory->other()->has_value());
}

}  // namespace
}  // namespace smepilot
