// Runs the smetune program: what it prints, and its exit codes.
#include <algorithm>
#include <map>

#include "db/baseline_store.h"
#include "db/layer_store.h"
#include "db/measurement_store.h"
#include "db/plan_store.h"
#include "kernels/registry/registry.h"
#include "tests/tuner/smetune_fixture.h"
#include "tuner/search_space.h"

namespace smepilot {
namespace {

TEST_F(SmetuneTest, VersionSaysWhatThisBuildIs) {
  const Ran r = smetune({"--version"});
  EXPECT_EQ(r.code, 0);
  for (const char* part : {"smetune ", "built by", "can run", "could not build", "kernel variants"})
    EXPECT_NE(r.out.find(part), std::string::npos) << part << " in " << r.out;
}

TEST_F(SmetuneTest, ForcedIsaIsHonoured) {
  const Ran r = smetune({"variants", "list"}, {"SMEPILOT_FORCE_ISA=portable"});
  EXPECT_EQ(r.code, 0);
  EXPECT_NE(r.out.find("usable with portable"), std::string::npos) << r.out;
  const Ran bad = smetune({"variants", "list"}, {"SMEPILOT_FORCE_ISA=mmx"});
  EXPECT_EQ(bad.code, 1);
  EXPECT_NE(bad.err.find("mmx"), std::string::npos);
}

TEST_F(SmetuneTest, EveryVerbHasHelpWithExamples) {
  for (const std::vector<std::string>& verb : std::vector<std::vector<std::string>>{{"calibrate"},
                                                                                    {"search"},
                                                                                    {"plan"},
                                                                                    {"plan", "show"},
                                                                                    {"plan", "list"},
                                                                                    {"plan", "export"},
                                                                                    {"plan", "import"},
                                                                                    {"plan", "explain"},
                                                                                    {"plan", "compare"},
                                                                                    {"baseline"},
                                                                                    {"baseline", "import"},
                                                                                    {"report"},
                                                                                    {"db"},
                                                                                    {"db", "check"},
                                                                                    {"db", "export"},
                                                                                    {"models"},
                                                                                    {"models", "list"},
                                                                                    {"variants", "list"}}) {
    std::vector<std::string> args = verb;
    args.push_back("--help");
    const Ran r = smetune(args);
    EXPECT_EQ(r.code, 0) << verb.back();
    EXPECT_NE(r.out.find("smetune " + verb[0]), std::string::npos) << r.out;
    EXPECT_NE(r.out.find("Examples:"), std::string::npos) << r.out;
  }
}

TEST_F(SmetuneTest, WrongUsageIsTwo) {
  EXPECT_EQ(smetune({}).code, 2);
  EXPECT_EQ(smetune({"dance"}).code, 2);
  EXPECT_EQ(smetune({"search"}).code, 2);
  EXPECT_EQ(smetune({"search", "--model", "tiny", "--m", "0"}).code, 2);
  EXPECT_EQ(smetune({"search", "--model", "tiny", "--strategy", "guess"}).code, 2);
  EXPECT_EQ(smetune({"search", "--model", "tiny", "--budget", "-3"}).code, 2);
  EXPECT_EQ(smetune({"plan", "show", "--model", "x", "3"}).code, 2);
  const Ran r = smetune({"calibrate", "--speed"});
  EXPECT_EQ(r.code, 2);
  EXPECT_NE(r.err.find("--speed"), std::string::npos) << r.err;
}

TEST_F(SmetuneTest, FailuresAreOneAndSayWhatToDo) {
  const auto expect = [&](const std::vector<std::string>& args, const std::vector<std::string>& parts) {
    const Ran r = with_db(args);
    EXPECT_EQ(r.code, 1) << args[0] << ": " << r.out << r.err;
    for (const std::string& p : parts) EXPECT_NE(r.err.find(p), std::string::npos) << "'" << p << "' in: " << r.err;
  };
  expect({"plan", "show"}, {"t.db"});
  expect({"db", "check"}, {"t.db"});
  expect({"report"}, {"smetune: "});
  expect({"search", "--model", "no-such-model"}, {"no-such-model"});
  expect({"search", "--model", tiny_model()}, {"calibration", "smetune calibrate"});
  expect({"plan", "explain", "--model", tiny_model(), "--op", "ffn_sideways"}, {"ffn_sideways", "ffn_down"});
  expect({"plan", "explain", "--model", tiny_model(), "--op", "ffn_down"}, {"no plan", "smetune search"});
  expect({"plan", "show", "77"}, {"77"});
  expect({"plan", "import", (folder_ / "missing.json").string()}, {"missing.json"});
  write_file(folder_ / "bad.json", "{\"schema\": \"smepilot-plan/1\"}");
  expect({"plan", "import", (folder_ / "bad.json").string()}, {"bad.json"});
  expect({"baseline", "import", (folder_ / "bad.json").string()}, {"bad.json"});
  write_file(folder_ / "fake.gguf", "GGUF and then nothing");
  expect({"search", "--model", (folder_ / "fake.gguf").string()}, {"fake.gguf"});
}

TEST_F(SmetuneTest, DamagedAndUnwritableDatabasesAreRefused) {
  write_file(db_, std::string(8192, 'x'));
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{
           {"plan", "list"}, {"db", "check"}, {"calibrate", "--quick"}, {"baseline", "list"}}) {
    const Ran r = with_db(args);
    EXPECT_EQ(r.code, 1) << r.out;
    EXPECT_NE(r.err.find("t.db"), std::string::npos) << r.err;
  }
  EXPECT_EQ(read_file(db_), std::string(8192, 'x')) << "what is not ours is left alone";
  const Ran r = smetune({"calibrate", "--quick", "--db", "/proc/no/such/folder/t.db"});
  EXPECT_EQ(r.code, 1);
  EXPECT_NE(r.err.find("/proc/no/such/folder"), std::string::npos) << r.err;
}

TEST_F(SmetuneTest, FullOutputDeviceIsAFailure) {
  if (!fs::exists("/dev/full")) GTEST_SKIP();
  const std::string command = std::string(SMEPILOT_EMULATOR).empty() ? "" : "skip";
  if (!command.empty()) GTEST_SKIP() << "the emulator has arguments of its own";
  const int code = std::system((std::string(SMEPILOT_SMETUNE) + " models list > /dev/full 2>/dev/null").c_str());
  EXPECT_EQ(WEXITSTATUS(code), 1);
}

TEST_F(SmetuneTest, ListsKnowTheModels) {
  const Ran r = smetune({"models", "list"});
  EXPECT_EQ(r.code, 0);
  for (const char* name : {"llama-3.2-1b", "llama-3.2-3b", "qwen3-4b", "qwen3-30b-a3b", "smollm2-135m"})
    EXPECT_NE(r.out.find(name), std::string::npos) << r.out;
  EXPECT_EQ(smetune({"models", "list", "--json"}).out.substr(0, 1), "[");
}

TEST_F(SmetuneTest, SearchPlanExplainExportImport) {
  store_calibration();
  const std::string model = tiny_model();
  const Ran s = with_db({"search", "--model", model, "--m", "1,8", "--budget", "60"});
  ASSERT_EQ(s.code, 0) << s.err;
  EXPECT_NE(s.out.find("ffn_down"), std::string::npos) << s.out;
  EXPECT_NE(s.out.find("decode of 1 sequence"), std::string::npos) << s.out;
  EXPECT_EQ(s.err, "") << "no progress where standard error is no terminal";

  const Ran again = with_db({"search", "--model", model, "--m", "1,8"});
  EXPECT_EQ(again.code, 0);
  EXPECT_NE(again.out.find(" 0 samples measured"), std::string::npos) << again.out;

  EXPECT_NE(s.out.find("Chosen together"), std::string::npos) << s.out;
  EXPECT_NE(s.out.find("One layer, timed"), std::string::npos) << s.out;

  const Ran show = with_db({"plan", "show"});
  EXPECT_EQ(show.code, 0);
  EXPECT_NE(show.out.find("tiny"), std::string::npos);
  EXPECT_EQ(show.out.find("Not usable here"), std::string::npos) << show.out;

  const Ran explain = with_db({"plan", "explain", "--model", model, "--op", "ffn_down", "--m", "2"});
  EXPECT_EQ(explain.code, 0) << explain.err;
  for (const char* part : {"Chosen for M", "Measured (", "predicted", "decided at"})
    EXPECT_NE(explain.out.find(part), std::string::npos) << part << " in " << explain.out;
  EXPECT_EQ(with_db({"plan", "explain", "--model", model, "--op", "attention", "--json"}).code, 0);
  for (const char* part : {"Layer chain, decode of 1 sequence", "best reads", "All layers: as chosen"})
    EXPECT_NE(explain.out.find(part), std::string::npos) << part << " in " << explain.out;
  const Ran chain = with_db({"plan", "explain", "--model", model, "--m", "8"});
  EXPECT_EQ(chain.code, 0) << chain.err;
  EXPECT_NE(chain.out.find("Layer chain, decode of 8 sequences"), std::string::npos) << chain.out;
  for (const char* role : {"attn_q", "attention", "attn_output", "ffn_gate", "ffn_down", "output"})
    EXPECT_NE(chain.out.find(role), std::string::npos) << role << " in " << chain.out;
  EXPECT_EQ(chain.out.find("Chosen for M"), std::string::npos) << "no operator was asked for";
  EXPECT_NE(with_db({"plan", "explain", "--model", model, "--json"}).out.find("\"best_alone\""), std::string::npos);
  {
    auto db = Database::open(db_.string(), OpenMode::kReadOnly);
    ASSERT_TRUE(db.ok()) << db.message();
    LayerStore store(*db);
    const auto times = store.times(1);
    ASSERT_TRUE(times.ok()) << times.message();
    const bool timed = s.out.find("rounds)") != std::string::npos;  // else every operator stayed untuned
    EXPECT_EQ(!times->empty(), timed) << s.out;
    for (const LayerTimeRow& t : *times) {
      EXPECT_GE(t.chosen_samples_ns.size(), 6u);
      EXPECT_EQ(t.chosen_samples_ns.size(), t.untuned_samples_ns.size());
    }
    EXPECT_FALSE(store.chain(1)->empty());
  }

  const fs::path file = folder_ / "plan.json";
  const Ran exported = with_db({"plan", "export", "-o", file.string()});
  ASSERT_EQ(exported.code, 0) << exported.err;
  const Ran imported = smetune({"plan", "import", file.string(), "--db", (folder_ / "other.db").string()});
  EXPECT_EQ(imported.code, 0) << imported.err;
  EXPECT_EQ(imported.out.find("cannot be used"), std::string::npos) << imported.out;
  EXPECT_EQ(smetune({"plan", "show", "--db", (folder_ / "other.db").string()}).code, 0);

  // Another machine's plan is kept, and the field that differs is named.
  std::string text = read_file(file);
  const Platform here = std::move(detect_platform()).value();
  const size_t at = text.find(here.cpu_model);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, here.cpu_model.size(), "Imaginary 9000");
  write_file(file, text);
  const Ran foreign = smetune({"plan", "import", file.string(), "--db", (folder_ / "third.db").string()});
  if (foreign.code == 0) {
    EXPECT_NE(foreign.out.find("cpu_model"), std::string::npos) << foreign.out;
    EXPECT_NE(foreign.out.find("Imaginary"), std::string::npos) << foreign.out;
  } else {  // the import itself may see that fingerprint and fields disagree
    EXPECT_NE(foreign.err.find("fingerprint"), std::string::npos) << foreign.err;
  }
  EXPECT_EQ(with_db({"plan", "export", "-o", "/proc/nowhere/plan.json"}).code, 1);
  EXPECT_EQ(with_db({"db", "check"}).code, 0);
  EXPECT_EQ(with_db({"db", "export", (folder_ / "csv").string()}).code, 0);
  EXPECT_TRUE(fs::exists(folder_ / "csv" / "measurement.csv"));
}

TEST_F(SmetuneTest, PlansAreComparedByTakingTurns) {
  store_calibration();
  const std::string model = tiny_model();
  const std::vector<std::string> search = {"search", "--model", model, "--m", "1,8", "--context", "64"};
  const auto with = [&](std::vector<std::string> more) {
    std::vector<std::string> args = search;
    args.insert(args.end(), more.begin(), more.end());
    return with_db(args);
  };
  ASSERT_EQ(with({"--budget", "60"}).code, 0);
  ASSERT_EQ(with({"--strategy", "roofline"}).code, 0);
  const auto compare = [&](std::vector<std::string> more) {
    std::vector<std::string> args = {"plan", "compare"};
    args.insert(args.end(), more.begin(), more.end());
    args.insert(args.end(), {"--model", model, "--budget", "0.05"});
    return with_db(args);
  };
  const Ran same = compare({"1", "1"});
  ASSERT_EQ(same.code, 0) << same.err;
  EXPECT_NE(same.out.find(" decisions, "), std::string::npos) << same.out;
  EXPECT_EQ(same.out.find("differ"), std::string::npos) << same.out;
  EXPECT_NE(same.out.find("every operator alike"), std::string::npos) << same.out;

  // A plan that runs one operator otherwise, whatever the searches found.
  const fs::path file = folder_ / "plan.json";
  ASSERT_EQ(with_db({"plan", "export", "2", "-o", file.string()}).code, 0);
  std::string text = read_file(file);
  const size_t at = text.find("\"nc\": ");
  ASSERT_NE(at, std::string::npos) << text;
  const size_t end = text.find_first_not_of("0123456789", at + 6);
  text.replace(at, end - at, text.substr(at, end - at) == "\"nc\": 16" ? "\"nc\": 32" : "\"nc\": 16");
  write_file(file, text);
  ASSERT_EQ(with_db({"plan", "import", file.string()}).code, 0);
  const Ran other = compare({"2", "3"});
  ASSERT_EQ(other.code, 0) << other.err;
  EXPECT_NE(other.out.find("the noise of"), std::string::npos) << other.out;
  EXPECT_NE(other.out.find("x the time (interval"), std::string::npos) << other.out;
  EXPECT_NE(other.out.find("plan 3: "), std::string::npos) << other.out;
  EXPECT_NE(other.out.find("One layer, timed"), std::string::npos) << other.out;
  EXPECT_EQ(other.err, "") << "no progress where standard error is no terminal";
  const Ran listed = compare({"2", "3", "--untimed"});
  EXPECT_NE(listed.out.find("not timed"), std::string::npos) << listed.out;
  EXPECT_EQ(listed.out.find("x the time"), std::string::npos) << listed.out;
  EXPECT_EQ(listed.out.find("One layer"), std::string::npos) << listed.out;

  const Ran untuned = compare({"1", "--json"});
  ASSERT_EQ(untuned.code, 0) << untuned.err;
  for (const char* part : {"\"second\": \"untuned\"", "\"decisions\": ", "\"layers\": ", "\"noise\""})
    EXPECT_NE(untuned.out.find(part), std::string::npos) << part << " in " << untuned.out;
  const bool differs = untuned.out.find("\"differences\": []") == std::string::npos;
  EXPECT_EQ(differs, untuned.out.find("\"beyond_noise\"") != std::string::npos) << untuned.out;

  EXPECT_EQ(with_db({"plan", "compare"}).code, 2);
  const Ran unknown = with_db({"plan", "compare", "1", "2"});
  EXPECT_EQ(unknown.code, 1) << "a model of which only the file knows the sizes";
  EXPECT_NE(unknown.err.find("--model"), std::string::npos) << unknown.err;
  const Ran missing = compare({"1", "77"});
  EXPECT_EQ(missing.code, 1);
  EXPECT_NE(missing.err.find("there is no plan 77"), std::string::npos) << missing.err;
  const Ran wrong = with_db({"plan", "compare", "1", "2", "--model", "smollm2-135m"});
  EXPECT_EQ(wrong.code, 1);
  EXPECT_NE(wrong.err.find("smollm2-135m has hash"), std::string::npos) << wrong.err;
}

TEST_F(SmetuneTest, TestBedSaysSoAndKeepsItsRowsApart) {
  const Ran list = smetune({"variants", "list", "--testbed"});
  if ((detect_isa() & kIsaAvx512Vnni) == 0) {
    EXPECT_EQ(list.code, 1);
    EXPECT_NE(list.err.find("the test bed needs avx512vnni"), std::string::npos) << list.err;
    return;
  }
  EXPECT_EQ(list.code, 0);
  EXPECT_EQ(list.out.find("Test bed:"), 0u) << list.out;
  EXPECT_EQ(list.out.find(".amx"), std::string::npos) << "no kernel of the real unit";
  EXPECT_EQ(smetune({"variants", "list"}).out.find("Test bed"), std::string::npos);

  store_calibration();
  const std::string model = tiny_model(256, 512);
  const std::vector<std::string> search = {"search", "--model", model, "--strategy", "roofline", "--m", "64"};
  std::vector<std::string> on_bed = search;
  on_bed.push_back("--testbed");
  const Ran none = with_db(on_bed);
  EXPECT_EQ(none.code, 1) << "the real machine's calibration is not the test bed's";
  EXPECT_NE(none.err.find("no calibration of this machine"), std::string::npos) << none.err;
  store_calibration("testbed");
  const Ran planned = with_db(on_bed);
  EXPECT_EQ(planned.code, 0) << planned.err;
  EXPECT_EQ(planned.out.find("Test bed:"), 0u) << planned.out;
  const Ran json = with_db({"plan", "show", "--model", model, "--testbed", "--json"});
  EXPECT_EQ(json.code, 0) << json.err;
  EXPECT_EQ(json.out.find('{'), 0u);
  EXPECT_NE(json.err.find("Test bed:"), std::string::npos) << "beside the JSON";
  EXPECT_NE(json.out.find("testbed x1"), std::string::npos);
  // Here, it is another machine's.
  const Ran here = with_db({"plan", "show", "--model", model});
  EXPECT_NE(here.out.find("Not usable here"), std::string::npos) << here.out;
  EXPECT_NE(here.out.find("matrix_unit"), std::string::npos) << here.out;
}

TEST_F(SmetuneTest, OneOperatorIsSearchedWithoutMakingAPlan) {
  store_calibration();
  const std::string model = tiny_model();
  const Ran r = with_db({"search", "--model", model, "--m", "1", "--op", "ffn_up", "--strategy", "roofline"});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_NE(r.out.find("ffn_up"), std::string::npos) << r.out;
  EXPECT_EQ(r.out.find("ffn_down"), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("no plan is made"), std::string::npos) << r.out;
  EXPECT_EQ(with_db({"plan", "list"}).out.find("No plans"), 0u);
  const Ran bad = with_db({"search", "--model", model, "--m", "1", "--op", "ffn_sideways"});
  EXPECT_EQ(bad.code, 1);
  EXPECT_NE(bad.err.find("has no operator 'ffn_sideways' here; it has attention, attn_k"), std::string::npos)
      << bad.err;
}

TEST_F(SmetuneTest, RooflinePlannerMeasuresNothing) {
  store_calibration();
  const Ran r = with_db({"search", "--model", tiny_model(), "--planner", "roofline", "--json"});
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_NE(r.out.find("\"samples_measured\": 0"), std::string::npos) << r.out;
}

TEST_F(SmetuneTest, BaselineIsImportedOnce) {
  const std::string row =
      R"([{"build_commit": "1a2b3c4", "build_number": 5678, "cpu_info": "Testium", "model_filename": "m.gguf",
        "model_type": "llama 1B Q4_0", "n_batch": 2048, "n_threads": 2, "n_prompt": 512, "n_gen": 0, "n_depth": 0,
        "test_time": "2026-01-01T00:00:00Z", "avg_ns": 4145748987, "stddev_ns": 50000000, "samples_ns": [4196721311, 4096000000], "avg_ts": 123.5, "stddev_ts": 1.5, "samples_ts": [122.0, 125.0]}])";
  write_file(folder_ / "base.json", row);
  const Ran r = with_db({"baseline", "import", (folder_ / "base.json").string()});
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_NE(r.out.find("pp512"), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("1 of 1 rows are new"), std::string::npos) << r.out;
  EXPECT_NE(with_db({"baseline", "import", (folder_ / "base.json").string()}).out.find("0 of 1 rows are new"),
            std::string::npos);
  EXPECT_NE(with_db({"baseline", "list"}).out.find("123.50"), std::string::npos);
}

TEST_F(SmetuneTest, ReportRunsTheGenerator) {
  store_calibration();
  fs::create_directories(folder_ / "data" / "smepilot_report");
  const std::string data = "SMEPILOT_DATA_DIR=" + (folder_ / "data").string();
  write_file(folder_ / "data" / "smepilot_report" / "__init__.py", "");
  write_file(folder_ / "data" / "smepilot_report" / "__main__.py",
             "import sys\na = sys.argv\nopen(a[a.index('--out') + 1], 'w').write(a[a.index('--db') + 1])\n");
  const fs::path html = folder_ / "r.html";
  const Ran r = smetune({"report", "-o", html.string(), "--db", db_.string()}, {data});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(read_file(html), db_.string());

  write_file(folder_ / "data" / "smepilot_report" / "__main__.py", "import sys\nsys.exit(5)\n");
  const Ran failed = smetune({"report", "-o", html.string(), "--db", db_.string()}, {data});
  EXPECT_EQ(failed.code, 1);
  EXPECT_NE(failed.err.find("exit code 5"), std::string::npos) << failed.err;
  const Ran python = smetune({"report", "--db", db_.string()}, {data, "SMEPILOT_PYTHON=/no/such/python"});
  EXPECT_EQ(python.code, 1);
  EXPECT_NE(python.err.find("/no/such/python"), std::string::npos) << python.err;
  const Ran nothing =
      smetune({"report", "--db", db_.string()}, {"SMEPILOT_DATA_DIR=" + (folder_ / "nowhere").string()});
  EXPECT_EQ(nothing.code, 1);
  EXPECT_NE(nothing.err.find("SMEPILOT_DATA_DIR"), std::string::npos) << nothing.err;
}

TEST_F(SmetuneTest, ReplayDecidesOnARecordingAndStoresNothing) {
  store_calibration();
  const std::string model = tiny_model();
  ASSERT_EQ(with_db({"search", "--model", model, "--m", "1,8", "--budget", "60"}).code, 0);
  const std::string before = read_file(db_);
  const std::vector<std::string> replay = {"search", "--model", model, "--m", "1,8", "--replay", db_.string()};
  const auto here = [&](std::vector<std::string> more) {
    std::vector<std::string> args = replay;
    args.insert(args.end(), more.begin(), more.end());
    return smetune(args);
  };
  const Ran r = here({});
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_NE(r.out.find("replayed: search 1"), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("nothing was measured or stored"), std::string::npos) << r.out;
  EXPECT_TRUE(read_file(db_) == before) << "the database is as it was";
  const Ran live = with_db({"search", "--model", model, "--m", "1,8", "--json"}), again = here({"--json"});
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.out.find("\"label\": \"replayed\""), std::string::npos) << again.out;
  const auto entries = [](const std::string& out) { return out.substr(out.find("\"entries\"")).substr(0, 2000); };
  EXPECT_EQ(entries(again.out), entries(live.out)) << "the same strategy on the same samples and layers";
  for (const char* strategy : {"exhaustive", "roofline"}) EXPECT_EQ(here({"--strategy", strategy}).code, 0) << strategy;
  EXPECT_FALSE(fs::exists(folder_ / "smepilot")) << "no default database was made";

  const Ran none = smetune({"search", "--model", model, "--m", "3", "--op", "ffn_down", "--replay", db_.string()});
  EXPECT_EQ(none.code, 1);
  EXPECT_NE(none.err.find("no samples of any operator of model tiny"), std::string::npos) << none.err;
  const Ran other = smetune({"search", "--model", "smollm2-135m", "--replay", db_.string()});
  EXPECT_EQ(other.code, 1);
  EXPECT_NE(other.err.find("no search of model smollm2-135m"), std::string::npos) << other.err;
  EXPECT_EQ(here({"--fresh"}).code, 2);
  EXPECT_EQ(smetune({"search", "--model", model, "--replay", (folder_ / "none.db").string()}).code, 2);
}

}  // namespace
}  // namespace smepilot
