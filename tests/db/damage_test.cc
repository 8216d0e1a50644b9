// Damaged files: truncated at many sizes, and with bytes changed at random. Opening and reading must end in an error,
// or give what was written; never anything else, and never a crash.
#include <random>

#include "db/check.h"
#include "tests/db/support.h"

namespace smepilot {
namespace {

using test::read_file;
using test::write_file;

struct Stored {
  std::string bytes, plan_json;
  std::vector<double> samples;
};

// A closed database (no log beside it) with some of everything.
Stored make_database(const std::string& path) {
  Stored s;
  auto db = Database::open(path);
  EXPECT_OK(db);
  auto begun = test::begin(*db);
  EXPECT_OK(begun);
  EXPECT_OK(CalibrationStore(*db).save(begun->session.id, test::sample_calibration()));
  for (uint32_t i = 1; i <= 40; ++i)
    EXPECT_OK(MeasurementStore(*db).record(test::sample_measurement(begun->search.id, 16 * i, 1000 + i)));
  EXPECT_OK(PlanStore(*db).save(begun->session.id, test::sample_plan(), begun->search.id));
  s.plan_json = plan_to_json(test::sample_plan());
  {
    const Database closed = std::move(*db);
  }
  s.bytes = read_file(path);
  return s;
}

// Reads all that is there. "" if every answer was right, an error, or a missing row; else what was wrong.
std::string wrong_answer(const std::string& path, OpenMode mode, const Stored& stored, int& errors) {
  auto db = Database::open(path, mode);
  if (!db.ok()) {
    ++errors;
    return db.message().find(path) == 0 ? "" : "an error without the file's name: " + db.message();
  }
  const Plan sample = test::sample_plan();
  auto plan = PlanStore(*db).get(1);
  if (!plan.ok())
    ++errors;
  else if (plan->has_value() && plan_to_json(**plan) != stored.plan_json) {
    Plan renamed = **plan;  // the name of the model is the one text without a digest, and drives nothing
    renamed.model_name = sample.model_name;
    if (plan_to_json(renamed) != stored.plan_json) return "another plan:\n" + plan_to_json(**plan);
  }
  auto rows = MeasurementStore(*db).of_search(1);
  if (!rows.ok())
    ++errors;
  else
    for (const Measurement& m : *rows)
      if (m.candidate.mc % 16 != 0 || m.median_ns != 1000 + m.candidate.mc / 16 || m.samples_ns[1] != m.median_ns)
        return fmt::format("measurement {} with mc={} and {} ns", m.id, m.candidate.mc, m.median_ns);
  auto calibration = CalibrationStore(*db).get(1);
  if (!calibration.ok()) ++errors;
  auto searches = MeasurementStore(*db).list_searches();
  if (!searches.ok()) ++errors;
  auto report = check_database(path);
  if (!report.ok() || !report->ok()) ++errors;
  return "";
}

void remove_log(const std::string& path) {
  std::error_code ec;
  std::filesystem::remove(path + "-wal", ec);
  std::filesystem::remove(path + "-shm", ec);
}

TEST(Damage, TruncatedAtAnySize) {
  test::TempFolder folder;
  const Stored stored = make_database(folder / "whole.db");
  ASSERT_GT(stored.bytes.size(), 50'000u);
  const std::string path = folder / "cut.db";
  for (size_t size = 1; size < stored.bytes.size(); size += size < 4096 ? 97 : 3001) {
    for (const OpenMode mode : {OpenMode::kReadOnly, OpenMode::kReadWriteCreate}) {
      write_file(path, stored.bytes.substr(0, size));
      int errors = 0;
      EXPECT_EQ(wrong_answer(path, mode, stored, errors), "") << "cut at " << size;
      EXPECT_GT(errors, 0) << "cut at " << size;
      remove_log(path);
    }
  }
}

TEST(Damage, ATruncatedFileSaysWhatToDo) {
  test::TempFolder folder;
  const Stored stored = make_database(folder / "whole.db");
  write_file(folder / "cut.db", stored.bytes.substr(0, stored.bytes.size() / 2));
  auto db = Database::open(folder / "cut.db");
  EXPECT_ERROR(db, "the database is damaged");
  EXPECT_ERROR(db, "restore it from a copy");
}

TEST(Damage, ChangedBytes) {
  test::TempFolder folder;
  const Stored stored = make_database(folder / "whole.db");
  const std::string path = folder / "flipped.db";
  std::mt19937 random(20260131);
  int detected = 0;
  constexpr int kRounds = 120;
  for (int round = 0; round < kRounds; ++round) {
    std::string bytes = stored.bytes;
    // A third hits the file's header, a third the headers of pages, a third anything.
    const int flips = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < flips; ++i) {
      size_t at = random() % bytes.size();
      if (round % 3 == 0) at = random() % 100;
      if (round % 3 == 1) at = at / 4096 * 4096 + random() % 64;
      bytes[at] = static_cast<char>(bytes[at] ^ (1u << (random() % 8)));
    }
    write_file(path, bytes);
    int errors = 0;
    const OpenMode mode = round % 2 == 0 ? OpenMode::kReadOnly : OpenMode::kReadWriteCreate;
    EXPECT_EQ(wrong_answer(path, mode, stored, errors), "") << "round " << round;
    detected += errors > 0;
    remove_log(path);
  }
  // Free space, slack and fields that nothing depends on take hits unseen; if most went unseen, nothing was tested.
  EXPECT_GT(detected, kRounds / 3);
}

TEST(Damage, ChangedDigitsOfAPlanAndAMeasurement) {
  test::TempFolder folder;
  const std::string path = folder / "a.db";
  Stored stored = make_database(path);
  int changed = 0;
  for (size_t at = 0; (at = stored.bytes.find("1001.0,1002.125", at)) != std::string::npos; ++at, ++changed)
    stored.bytes[at + 3] = '7';
  for (size_t at = 0; (at = stored.bytes.find("matmul.f32.q8.q4_0.test", at)) != std::string::npos; ++at, ++changed)
    stored.bytes[at + 19] = 'b';
  ASSERT_GE(changed, 2);
  write_file(path, stored.bytes);
  auto db = Database::open(path);
  ASSERT_OK(db);
  EXPECT_ERROR(PlanStore(*db).get(1), "plan 1 is damaged");
  EXPECT_ERROR(MeasurementStore(*db).of_search(1), "is damaged");
}

}  // namespace
}  // namespace smepilot
