// A search that is killed or interrupted loses nothing, and only one process runs it.
#include <fmt/ranges.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "db/measurement_store.h"
#include "db/sqlite.h"
#include "tests/tuner/smetune_fixture.h"
#include "tuner/search_space.h"

namespace smepilot {
namespace {

using Samples = std::map<std::string, std::vector<double>>;  // by operator and candidate

Samples stored_samples(const fs::path& path) {
  Samples out;
  auto db = Database::open(path.string(), OpenMode::kReadOnly);
  if (!db.ok()) return out;
  MeasurementStore store(*db);
  auto searches = store.list_searches();
  if (!searches.ok()) return out;
  for (const Search& s : *searches) {
    auto rows = store.of_search(s.id);
    if (!rows.ok()) continue;
    for (const Measurement& m : *rows)
      if (!m.samples_ns.empty()) out[describe(m.shape) + " | " + describe(m.candidate)] = m.samples_ns;
  }
  return out;
}

size_t total(const Samples& samples) {
  size_t n = 0;
  for (const auto& [key, s] : samples) n += s.size();
  return n;
}

// Starts a search that takes seconds and calls `stop` on it once it has stored something.
template <typename Stop>
Ran stop_early(const std::function<pid_t()>& start, const std::function<Ran(pid_t)>& wait, const fs::path& db,
               Stop stop) {
  const pid_t child = start();
  for (int i = 0; i < 4000 && total(stored_samples(db)) < 40; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  stop(child);
  return wait(child);
}

TEST_F(SmetuneTest, KilledSearchContinuesAndMeasuresNothingTwice) {
  store_calibration();
  const std::string model = tiny_model(512, 1024);
  const std::vector<std::string> args = {"search", "--model",  model, "--m",  "1,8,64",    "--context",
                                         "256",    "--budget", "40",  "--db", db_.string()};
  const Ran killed =
      stop_early([&] { return start(args); }, [&](pid_t p) { return wait(p); }, db_, [](pid_t p) { kill(p, SIGKILL); });
  ASSERT_EQ(killed.code, 128 + SIGKILL) << "the search ended before it could be killed: " << killed.out << killed.err;
  const Samples before = stored_samples(db_);
  ASSERT_GT(total(before), 0u);
  EXPECT_EQ(with_db({"db", "check"}).code, 0) << "the database survived";

  std::vector<std::string> json = args;
  json.push_back("--json");
  const Ran resumed = smetune(json);
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_NE(resumed.out.find("\"resumed\": true"), std::string::npos) << resumed.out.substr(0, 400);
  // Where something else used the machine, decisions are taken again from new samples, in place of those before.
  const auto said = nlohmann::json::parse(resumed.out);
  const size_t again = said["decided_again"].get<size_t>();
  std::set<std::string> replaced;  // operators
  const Samples after = stored_samples(db_);
  for (const auto& [key, samples] : before) {
    const auto it = after.find(key);
    if (it == after.end() || it->second.size() < samples.size() ||
        !std::equal(samples.begin(), samples.end(), it->second.begin()))
      replaced.insert(key.substr(0, key.find(" | ")));
  }
  EXPECT_LE(replaced.size(), again) << fmt::format("lost or measured again: {}", fmt::join(replaced, "; "));
  EXPECT_EQ(said["samples_reused"].get<size_t>(), total(before));
  const size_t measured = said["samples_measured"].get<size_t>();
  EXPECT_GE(measured, total(after) - total(before));
  if (again == 0) {
    EXPECT_EQ(measured, total(after) - total(before));
  }
}

TEST_F(SmetuneTest, TwoProcessesDoNotRunTheSameSearch) {
  store_calibration();
  const std::string model = tiny_model(512, 1024);
  const std::vector<std::string> args = {"search", "--model",  model, "--m",  "1,8,64",    "--context",
                                         "256",    "--budget", "40",  "--db", db_.string()};
  const pid_t first = start(args);
  for (int i = 0; i < 4000 && total(stored_samples(db_)) < 40; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  {
    // It is there, and stays so. The test writes meanwhile, so that the search is not stopped as it holds the lock.
    auto connection = sqlite::Connection::open(db_.string(), {.write = true});
    ASSERT_TRUE(connection.ok()) << connection.message();
    auto writing = sqlite::Transaction::begin(**connection);
    ASSERT_TRUE(writing.ok()) << writing.message();
    ASSERT_EQ(kill(first, SIGSTOP), 0);
    int status = 0;
    ASSERT_EQ(waitpid(first, &status, WUNTRACED), first);
    ASSERT_TRUE(WIFSTOPPED(status)) << "the search ended before it could be stopped";
  }
  const Ran second = smetune(args);
  EXPECT_EQ(second.code, 1) << second.out << second.err;
  for (const std::string& part :
       {db_.filename().string(), std::string("search 1"), "process " + std::to_string(first), std::string("--fresh")})
    EXPECT_NE(second.err.find(part), std::string::npos) << part << " in " << second.err;

  const std::vector<std::string> own = {"search", "--model",  model, "--m",     "1",    "--context",
                                        "256",    "--budget", "1",   "--fresh", "--db", db_.string()};
  const Ran fresh = smetune(own);
  EXPECT_EQ(fresh.code, 0) << fresh.out << fresh.err;
  EXPECT_NE(fresh.out.find("Search 2 "), std::string::npos) << fresh.out;
  EXPECT_NE(fresh.out.find("process " + std::to_string(first) + " ran another search"), std::string::npos) << fresh.out;

  ASSERT_EQ(kill(first, SIGKILL), 0);  // no chance to say that it is gone
  ASSERT_EQ(wait(first).code, 128 + SIGKILL);
  std::vector<std::string> json = args;
  json.push_back("--json");
  const Ran resumed = smetune(json);
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_NE(resumed.out.find("\"resumed\": true"), std::string::npos) << resumed.out.substr(0, 400);
}

TEST_F(SmetuneTest, CtrlCKeepsWhatWasMeasured) {
  store_calibration();
  const std::vector<std::string> args = {
      "search", "--model", tiny_model(512, 1024), "--m", "1,8,64", "--context", "256", "--budget",
      "40",     "--db",    db_.string()};
  const Ran r =
      stop_early([&] { return start(args); }, [&](pid_t p) { return wait(p); }, db_, [](pid_t p) { kill(p, SIGINT); });
  EXPECT_EQ(r.code, 130) << r.out << r.err;
  EXPECT_NE(r.err.find("same command continues"), std::string::npos) << r.err;
  EXPECT_GT(total(stored_samples(db_)), 0u);
  EXPECT_EQ(with_db({"db", "check"}).code, 0);
}

}  // namespace
}  // namespace smepilot
