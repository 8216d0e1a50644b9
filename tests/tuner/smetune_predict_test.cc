// smetune platforms, search --platform and simulate, as programs: labels, refusals, exit codes.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "db/calibration_store.h"
#include "db/session_store.h"
#include "tests/tuner/smetune_fixture.h"

namespace smepilot {
namespace {

class SmetunePredict : public SmetuneTest {
 protected:
  std::string path(const char* name) const { return (folder_ / name).string(); }

  // Words separated by spaces. `out` of the result holds both streams.
  Ran run(const std::string& args) {
    std::istringstream words(args);
    Ran r = with_db({std::istream_iterator<std::string>(words), {}});
    r.out += r.err;
    return r;
  }
  static bool has(const Ran& r, const std::string& text) { return r.out.find(text) != std::string::npos; }
};

TEST_F(SmetunePredict, PlatformsAreListedWithWhatTheyLack) {
  const Ran list = run("platforms");
  EXPECT_EQ(list.code, 0) << list.out;
  EXPECT_TRUE(has(list, "apple-m4-pro") && has(list, "published profile") && has(list, "lacks:")) << list.out;
  const auto json = nlohmann::json::parse(run("platforms --json").out);
  EXPECT_GE(json.size(), 9u);
  const Ran show = run("platforms show apple-m4-pro");
  EXPECT_TRUE(has(show, "4270") && has(show, "digitised") && has(show, "not published")) << show.out;
  EXPECT_EQ(run("platforms show nobody").code, 1);
}

TEST_F(SmetunePredict, SearchPlansForAnotherMachine) {
  const Ran r = run("search --platform apple-m4-pro --model llama-3.2-3b --dtype f16 --m 1,512 --json");
  ASSERT_EQ(r.code, 0) << r.out;
  const auto json = nlohmann::json::parse(r.out);
  EXPECT_EQ(json["label"], "predicted (published profile)");
  bool both = false;
  for (const auto& o : json["operators"]) both |= o["choice"] == "coop" && o["m"] == 512;
  EXPECT_TRUE(both);
  const Ran planned =
      run("simulate model --plan 1 --platform apple-m4-pro --model llama-3.2-3b --dtype f16 --prefill 512 --json");
  ASSERT_EQ(planned.code, 0) << planned.out;
  const auto priced = nlohmann::json::parse(planned.out);
  ASSERT_FALSE(priced["operators"].empty());
  for (const auto& o : priced["operators"]) EXPECT_TRUE(o["planned"]) << o["role"];
  const Ran other =
      run("simulate model --plan 1 --platform apple-m4-pro --model llama-3.2-1b --dtype f16 --prefill 512");
  EXPECT_EQ(other.code, 1);
  EXPECT_TRUE(has(other, "llama-3.2-3b")) << other.out;
  const Ran plans = run("plan list");
  EXPECT_TRUE(has(plans, "predicted (published profile)")) << plans.out;
  EXPECT_TRUE(has(run("search --platform apple-m4-pro --model llama-3.2-3b --dtype f16"), "no machine runs it"));
}

TEST_F(SmetunePredict, LackingNumbersAreRefused) {
  const Ran r = run("search --platform apple-m4-pro --model llama-3.2-3b --dtype q4_0");
  EXPECT_EQ(r.code, 1);
  EXPECT_TRUE(has(r, "compute.cpu.int8") && has(r, "attn_q") && has(r, "--modes")) << r.out;
  EXPECT_EQ(run("simulate matmul --platform apple-m5 --m 1 --n 64 --k 64").code, 1);
  const Ran huge = run("simulate attention --platform apple-m4-pro --m 131072");
  EXPECT_EQ(huge.code, 1);
  EXPECT_TRUE(has(huge, "--kv-tile")) << huge.out;
  EXPECT_EQ(run("simulate").code, 2);
  EXPECT_EQ(run("search --model llama-3.2-3b --modes cpu").code, 2);
}

TEST_F(SmetunePredict, PublishedFiguresArePrinted) {
  const Ran r = run("simulate --published");
  EXPECT_EQ(r.code, 0);
  for (const char* text : {"48.25 ms", "70.60 ms", "98.10 ms", "156.30 ms", "202.70 ms", "0.52 ms", "1.71 ms",
                           "2.92 TFLOP/s", "247.00 GB/s", "1.13 to 5.42 x", "within"})
    EXPECT_TRUE(has(r, text)) << r.out;
  const auto json = nlohmann::json::parse(run("simulate --published --json").out);
  ASSERT_EQ(json.size(), 18u);
  for (const auto& f : json) {
    if (f["published_low"] != f["published_high"]) continue;
    EXPECT_NEAR(f["error"].get<double>(), f["simulated"].get<double>() / f["published_low"].get<double>() - 1, 1e-9);
  }
}

TEST_F(SmetunePredict, SimulationsSayWhatTheyAreAndWriteTimelines) {
  const Ran r = run("simulate attention --platform apple-m4-pro --m 256 --trace " + path("t.json"));
  EXPECT_EQ(r.code, 0);
  EXPECT_TRUE(has(r, "simulated (published profile)")) << r.out;
  std::ifstream in(path("t.json"));
  EXPECT_GT(nlohmann::json::parse(in)["traceEvents"].size(), 100u);
  const Ran model =
      run("simulate model --platform apple-m4-pro --model llama-3.2-3b --dtype f16 --decode 4 --json --trace " +
          path("m.json"));
  ASSERT_EQ(model.code, 0) << model.out;
  EXPECT_EQ(nlohmann::json::parse(model.out)["label"], "simulated (published profile)");
  EXPECT_TRUE(fs::exists(path("m.json")));
  EXPECT_EQ(run("simulate model --platform apple-m4-pro --model llama-3.2-3b --dtype f16").code, 1);
}

// A fleet: what one machine exports, another plans from.
TEST_F(SmetunePredict, ExportedCalibrationIsAPlatform) {
  EXPECT_EQ(run("platforms export").code, 1);  // nothing calibrated yet
  {
    Result<Platform> here = detect_platform();
    ASSERT_TRUE(here.ok()) << here.message();
    Result<Database> db = Database::open(path("t.db"));
    ASSERT_TRUE(db.ok()) << db.message();
    const Result<SessionRow> session = SessionStore(*db).begin(*here, "test");
    ASSERT_TRUE(session.ok()) << session.message();
    Calibration c;
    const std::vector<double> samples = {1, 1};
    c.peaks = {{ExecutionUnit::kCpu, "f32", "portable", 1, 10, samples},
               {ExecutionUnit::kCpu, "int8", "portable", 1, 40, samples}};
    c.bandwidths = {{"DRAM", "read", 1, 1u << 30, 17, samples}, {"DRAM", "write", 1, 1u << 30, 12, samples}};
    c.fork_join = {{1, 10, samples, 5}};
    c.exp_geps = 1;
    const Result<int64_t> id = CalibrationStore(*db).save(session->id, c);
    ASSERT_TRUE(id.ok()) << id.message();
  }
  const Ran out = run("platforms export --name desk -o " + path("desk.json"));
  ASSERT_EQ(out.code, 0) << out.out;
  EXPECT_TRUE(has(out, "labelled measured")) << out.out;
  const Ran sim =
      run("simulate matmul --platform " + path("desk.json") + " --mode cpu --m 1 --n 64 --k 64 --dtype f32");
  EXPECT_EQ(sim.code, 0);
  EXPECT_TRUE(has(sim, "simulated (measured profile)")) << sim.out;
  EXPECT_EQ(run("simulate matmul --mode cpu --m 1 --n 64 --k 64 --dtype f32").code, 0);  // this machine's own
  const Ran refused = run("simulate matmul --mode cpu --m 1 --n 64 --k 64 --dtype bf16");
  EXPECT_EQ(refused.code, 1);
  EXPECT_TRUE(has(refused, "nothing is measured")) << refused.out;
}

}  // namespace
}  // namespace smepilot
