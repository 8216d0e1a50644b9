#include "profiles/platform_profile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace smepilot {
namespace {

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string text_of(const char* name) {
  return read(std::string(SMEPILOT_SOURCE_DIR) + "/profiles/platforms/" + name + ".json");
}

// The M4 Pro's file with one piece of text replaced.
Result<PlatformProfile> with(const std::string& from, const std::string& to) {
  std::string text = text_of("apple-m4-pro");
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return platform_profile_from_json(text, "p.json");
}

void expect_error(const Result<PlatformProfile>& result, const std::string& text) {
  ASSERT_FALSE(result.ok()) << "expected an error with: " << text;
  EXPECT_NE(result.message().find(text), std::string::npos) << result.message();
  EXPECT_NE(result.message().find("p.json"), std::string::npos) << result.message();
}

TEST(PlatformProfile, EveryFileOfTheProjectIsValid) {
  const std::vector<std::string> names = known_platform_profiles();
  for (const char* name : {"apple-m4-ipad", "apple-m4-pro", "apple-m4-max", "apple-m5", "mediatek-d9500",
                           "kunpeng-920-72f8", "snapdragon-8-elite-gen5", "snapdragon-x2-elite", "exynos-2600"})
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
  std::vector<std::string> fingerprints;
  for (const std::string& name : names) {
    const Result<PlatformProfile> p = load_platform_profile(name);
    ASSERT_TRUE(p.ok()) << p.message();
    EXPECT_EQ(p->name, name);
    EXPECT_FALSE(p->measured) << name;
    EXPECT_STREQ(p->label(), "published profile");
    EXPECT_EQ(p->numbers.size(), profile_fields().size()) << name;
    for (const auto& [field, points] : p->numbers)
      for (const ProfileNumber& n : points) {
        EXPECT_GT(n.value, 0) << name << " " << field;
        EXPECT_NE(n.basis, Basis::kMeasured) << name << " " << field;
      }
    fingerprints.push_back(p->fingerprint());
  }
  std::sort(fingerprints.begin(), fingerprints.end());
  EXPECT_EQ(std::adjacent_find(fingerprints.begin(), fingerprints.end()), fingerprints.end());
}

// What arXiv:2606.16332v1 says of the M4 Pro.
TEST(PlatformProfile, M4ProHasThePublishedNumbers) {
  const Result<PlatformProfile> p = load_platform_profile("apple-m4-pro");
  ASSERT_TRUE(p.ok()) << p.message();
  EXPECT_EQ(p->find("compute.cpu.f16"), 1850);
  EXPECT_EQ(p->find("compute.matrix.f16"), 2920);
  EXPECT_EQ(p->find("compute.coop.f16"), 4270);
  EXPECT_EQ(p->find("memory.dram.read.cpu"), 247);
  EXPECT_EQ(p->find("memory.dram.read.matrix"), 224);
  EXPECT_EQ(p->find("memory.dram.write.cpu"), 112);
  EXPECT_NEAR(*p->find("exp.cpu") / *p->find("exp.matrix"), 4.10, 0.05);
  EXPECT_FALSE(p->find("compute.matrix.int8"));
  const std::vector<std::string> lacking = p->lacking();
  EXPECT_NE(std::find(lacking.begin(), lacking.end(), "compute.matrix.int8"), lacking.end());
  EXPECT_EQ(std::find(lacking.begin(), lacking.end(), "compute.matrix.f16"), lacking.end());
}

TEST(PlatformProfile, LackingNumberIsRefusedWithFieldAndReason) {
  const Result<PlatformProfile> p = load_platform_profile("apple-m4-pro");
  ASSERT_TRUE(p.ok()) << p.message();
  const Result<double> v = p->need("compute.matrix.int8", "ffn_up");
  ASSERT_FALSE(v.ok());
  for (const char* part : {"apple-m4-pro.json", "numbers.compute.matrix.int8", "null", "ffn_up"})
    EXPECT_NE(v.message().find(part), std::string::npos) << v.message();
}

TEST(PlatformProfile, WorkersInterpolate) {
  PlatformProfile p;
  p.numbers["compute.cpu.f32"] = {{100, 2, 0, Basis::kQuoted, "s", ""}, {180, 4, 0, Basis::kQuoted, "s", ""}};
  EXPECT_DOUBLE_EQ(*p.find("compute.cpu.f32", 1), 50);
  EXPECT_DOUBLE_EQ(*p.find("compute.cpu.f32", 2), 100);
  EXPECT_DOUBLE_EQ(*p.find("compute.cpu.f32", 3), 140);
  EXPECT_DOUBLE_EQ(*p.find("compute.cpu.f32", 4), 180);
  EXPECT_DOUBLE_EQ(*p.find("compute.cpu.f32", 9), 180);
  EXPECT_DOUBLE_EQ(*p.find("compute.cpu.f32"), 180);
  EXPECT_EQ(p.workers_of("compute.cpu.f32"), 4u);
  p.numbers["memory.dram.read.cpu"] = {{240, 0, 0, Basis::kQuoted, "s", ""}};  // not said of how many
  EXPECT_DOUBLE_EQ(*p.find("memory.dram.read.cpu", 3), 240);
}

TEST(PlatformProfile, BadFilesNameTheField) {
  expect_error(with("smepilot-platform/1", "smepilot-platform/9"), "field 'schema' is \"smepilot-platform/9\"");
  expect_error(with(R"_("chip": "Apple M4 Pro (10P+4E)")_", R"_("chip": 4)_"), "field 'chip' is 4, expected a string");
  expect_error(with(R"("kind": "published")", R"("kind": "rumoured")"), "field 'kind'");
  expect_error(with(R"("compute.cpu.f32": null,)", ""), "field 'numbers.compute.cpu.f32' is missing");
  expect_error(with(R"("compute.cpu.f32": null)", R"("compute.cpu.f32": 5)"), "expected an object");
  expect_error(with(R"("compute.cpu.f32": null)", R"("compute.cpu.f32": [])"), "numbers.compute.cpu.f32");
  expect_error(with(R"("compute.cpu.f32": null)", R"("compute.cpu.f32": null, "compute.cpu.f8": null)"),
               "numbers.compute.cpu.f8");
  expect_error(with(R"("value": 1850)", R"("value": -1)"), "field 'numbers.compute.cpu.f16.value' is -1");
  expect_error(with(R"("value": 1850)", R"("value": "1850")"), "numbers.compute.cpu.f16.value");
  expect_error(with(R"(1850, "unit": "GFLOP/s")", R"(1850, "unit": "TFLOP/s")"), "expected 'GFLOP/s'");
  expect_error(with(R"("workers": 8, "basis": "quoted")", R"("workers": 0, "basis": "quoted")"), "expected an integer");
  expect_error(with(R"("basis": "quoted")", R"("basis": "guessed")"), "numbers.cores.basis");
  expect_error(with(R"("basis": "quoted")", R"("basis": "measured")"), "the profile's kind is published");
  expect_error(with(R"("source": "paper")", R"("source": "hearsay")"), "expected a key of 'sources'");
  expect_error(with(R"("name": "apple-m4-pro",)", R"("name": "a", "name": "b",)"), "field 'name' is there twice");
  expect_error(with("{", "["), "not JSON");
  expect_error(platform_profile_from_json("[]", "p.json"), "expected a JSON object");
  const Result<PlatformProfile> unknown = load_platform_profile("apple-m9");
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.message().find("did you mean apple-m5?"), std::string::npos) << unknown.message();
  const Result<PlatformProfile> foreign = load_platform_profile("pdp-11");
  ASSERT_FALSE(foreign.ok());
  EXPECT_NE(foreign.message().find("known are apple-m4-ipad, "), std::string::npos) << foreign.message();
}

Platform here() {
  Platform p;
  p.cpu_model = "Test CPU";
  p.cpu_family = "Vendor 1/2/3";
  p.isa = "avx2+amxint8";
  p.cores = p.cpus = 2;
  p.caches = {{1, 32768, 2}, {3, 1u << 25, 1}};
  p.matrix_unit = "amx";
  p.matrix_units = 2;
  return p;
}

Calibration measured() {
  Calibration c;
  c.id = 7;
  c.created = "2026-01-02T03:04:05Z";
  c.peaks = {{ExecutionUnit::kCpu, "f32", "portable", 1, 10, {}},
             {ExecutionUnit::kCpu, "f32", "avx2", 1, 100, {}},
             {ExecutionUnit::kCpu, "f32", "avx2", 2, 190, {}},
             {ExecutionUnit::kMatrix, "int8", "amxint8", 1, 7000, {}}};
  c.bandwidths = {{"DRAM", "read", 1, 1u << 30, 17, {}},
                  {"DRAM", "read", 2, 1u << 30, 33, {}},
                  {"DRAM", "copy", 1, 1u << 30, 18, {}},
                  {"LLC", "write", 1, 1u << 24, 30, {}},
                  {"L1", "read", 1, 1u << 14, 400, {}}};
  c.coop_peaks = {{"int8", "amxint8", 1, 7500, {}, "int8", "avx512vnni", 1, 900, {}}};
  c.fork_join = {{2, 500, {}, 120}};
  c.exp_geps = 7;
  return c;
}

TEST(PlatformProfile, CalibrationBecomesAProfileLabelledMeasured) {
  const PlatformProfile p = profile_of(here(), measured(), "desk");
  EXPECT_TRUE(p.measured);
  EXPECT_STREQ(p.label(), "measured profile");
  EXPECT_EQ(p.find("compute.cpu.f32", 1), 100);  // the best of the ISA steps
  EXPECT_EQ(p.find("compute.cpu.f32", 2), 190);
  EXPECT_EQ(p.find("compute.coop.int8"), 8400);
  EXPECT_EQ(p.matrix_workers_of("compute.coop.int8"), 1u);
  EXPECT_EQ(p.find("memory.dram.read.cpu", 2), 33);
  EXPECT_EQ(p.find("memory.llc.write.matrix", 1), 30);
  EXPECT_FALSE(p.find("memory.dram.write.cpu"));  // nobody measured it
  EXPECT_EQ(p.find("cache.llc"), 1u << 25);
  EXPECT_EQ(p.find("exp.cpu", 2), 14);
  EXPECT_EQ(p.find("cost.barrier"), 120);
  EXPECT_FALSE(p.find("cost.streaming"));
}

TEST(PlatformProfile, ExportAndImportGiveTheSame) {
  const PlatformProfile p = profile_of(here(), measured(), "desk");
  const Result<PlatformProfile> again = platform_profile_from_json(platform_profile_to_json(p), "desk.json");
  ASSERT_TRUE(again.ok()) << again.message();
  EXPECT_EQ(again->fingerprint(), p.fingerprint());
  EXPECT_EQ(again->name, "desk");
  EXPECT_TRUE(again->measured);
  EXPECT_EQ(platform_profile_to_json(*again), platform_profile_to_json(p));
}

// A plan made from it can never pass for one of the machine itself.
TEST(PlatformProfile, IsNeverTheMachineItself) {
  const PlatformProfile p = profile_of(here(), measured(), "desk");
  EXPECT_NE(p.fingerprint(), here().fingerprint());
  ASSERT_EQ(p.identity().size(), here().identity().size());
  EXPECT_NE(p.identity()[0].second, here().identity()[0].second);
  EXPECT_EQ(p.identity()[0].second, "measured profile 'desk'");
}

}  // namespace
}  // namespace smepilot
