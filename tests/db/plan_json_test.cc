// Plans as JSON: nothing is lost on the way, and every way in which a file can be wrong is named.
#include <nlohmann/json.hpp>

#include "tests/db/support.h"

namespace smepilot {
namespace {

using Json = nlohmann::ordered_json;

Json sample() {
  return Json::parse(plan_to_json(test::sample_plan()));
}
Result<Plan> parse(const Json& j) {
  return plan_from_json(j.dump(), "plan.json");
}

TEST(PlanJson, RoundTrip) {
  Plan plan = test::sample_plan();
  plan.entries[0].predicted_ns = 0.1 + 0.2;
  const std::string text = plan_to_json(plan);
  auto back = plan_from_json(text, "plan.json");
  ASSERT_OK(back);
  EXPECT_EQ(plan_to_json(*back), text);
  EXPECT_EQ(back->platform, plan.platform);
  EXPECT_EQ(back->model_hash, plan.model_hash);
  EXPECT_EQ(back->created, plan.created);
  EXPECT_EQ(back->workers, plan.workers);
  ASSERT_EQ(back->entries.size(), 4u);
  const PlanEntry& e = back->entries[0];
  EXPECT_EQ(e.predicted_ns, 0.1 + 0.2);
  EXPECT_EQ(e.measured_ns, 1300.25);
  EXPECT_EQ(e.default_ns, 1500);
  EXPECT_EQ(e.why, plan.entries[0].why);
  EXPECT_EQ(e.variant, plan.entries[0].variant);  // unknown to this build, which check_plan() minds, not the import
  EXPECT_EQ(back->entries[1].m_max, UINT32_MAX);
  EXPECT_EQ(back->entries[2].kv_max, 512u);
  EXPECT_EQ(back->entries[3].kv_max, UINT32_MAX);
  EXPECT_EQ(back->entries[2].kind, OpKind::kAttention);
}

TEST(PlanJson, CoopIsVersion2AndLosesNothing) {
  EXPECT_EQ(sample()["schema"], "smepilot-plan/1") << "what an older build can read stays as it was";
  const Plan plan = test::sample_coop_plan();
  const std::string text = plan_to_json(plan);
  EXPECT_EQ(Json::parse(text)["schema"], "smepilot-plan/2");
  auto back = plan_from_json(text, "plan.json");
  ASSERT_OK(back);
  EXPECT_EQ(back->version, 2);
  EXPECT_EQ(plan_to_json(*back), text);
  ASSERT_EQ(back->entries.size(), plan.entries.size());
  for (size_t i = 0; i < plan.entries.size(); ++i)
    EXPECT_EQ(candidate_of(back->entries[i]), candidate_of(plan.entries[i])) << i;
  Json j = Json::parse(text);
  for (const char* schema : {"smepilot-plan/1", "smepilot-plan/2"}) {  // no coop entry: either is right
    Json plain = sample();
    plain["schema"] = schema;
    EXPECT_OK(parse(plain));
  }
  j["schema"] = "smepilot-plan/1";
  EXPECT_ERROR(parse(j), "entries[4].coop is unknown");
}

TEST(PlanJson, EveryFieldOfCoopIsRequiredAndNamed) {
  const Json good = Json::parse(plan_to_json(test::sample_coop_plan()));
  for (const int entry : {4, 5}) {
    const std::string at = fmt::format("plan.json: entries[{}].coop", entry);
    Json j = good;
    j["entries"][entry].erase("coop");
    EXPECT_ERROR(parse(j), at + " is missing");
    j["entries"][entry]["coop"] = 1;
    EXPECT_ERROR(parse(j), at + " is 1, expected an object");
    for (const auto& [key, value] : good["entries"][entry]["coop"].items()) {
      j = good;
      j["entries"][entry]["coop"].erase(key);
      EXPECT_ERROR(parse(j), at + "." + key + " is missing");
      j["entries"][entry]["coop"][key] = value.is_string() ? Json(-1) : Json("x");
      EXPECT_ERROR(parse(j), at + "." + key + " is ");
    }
    j = good;
    j["entries"][entry]["coop"]["turbo"] = 1;
    EXPECT_ERROR(parse(j), at + ".turbo is unknown");
  }
  const auto expect = [&](const char* pointer, const Json& value, const std::string& message) {
    Json j = good;
    j[Json::json_pointer(pointer)] = value;
    EXPECT_ERROR(parse(j), message);
  };
  expect("/entries/0/coop", good["entries"][4]["coop"], "entries[0].coop is unknown");
  expect("/entries/4/coop/variant", "", "entries[4].coop.variant: is empty");
  expect("/entries/4/coop/mc", 8, "entries[4].coop.mc: 8, expected a multiple of 16");
  expect("/entries/4/coop/nc", 0, "entries[4].coop.nc: 0, expected a multiple of 16");
  expect("/entries/4/coop/dim", "k", "entries[4].coop.dim is 'k'");
  expect("/entries/4/coop/split", 0, "entries[4].coop.split: 0 of 128");
  expect("/entries/4/coop/split", 40, "entries[4].coop.split: 40 of 128, expected a multiple of 16");
  expect("/entries/4/coop/split", 128, "entries[4].coop.split: 128 of 128");
  expect("/entries/4/coop/of", 256, "entries[4].coop.of: 256, expected the entry's n=128");
  expect("/entries/4/coop/dynamic", 2, "entries[4].coop.dynamic is 2");
  expect("/entries/4/coop/workers", 2, "entries[4].workers: 3, expected at most the plan's 2");
  expect("/entries/5/coop/rows", 24, "entries[5].coop.rows: 24, expected a multiple of 16");
  expect("/entries/5/coop/depth", 0, "entries[5].coop.depth: 0");
}

TEST(PlanJson, EveryFieldIsRequiredAndNamed) {
  const Json good = sample();
  for (const auto& [key, value] : good.items()) {
    Json j = good;
    j.erase(key);
    EXPECT_ERROR(parse(j), "plan.json: " + key + " is missing");
    j = good;
    j[key] = true;
    EXPECT_ERROR(parse(j), "plan.json: " + key + " is true, expected");
  }
  for (const auto& [key, value] : good["entries"][2].items()) {
    Json j = good;
    j["entries"][2].erase(key);
    EXPECT_ERROR(parse(j), "plan.json: entries[2]." + key + " is missing");
    j = good;
    j["entries"][2][key] = Json::array();
    EXPECT_ERROR(parse(j), "plan.json: entries[2]." + key + " is an array, expected");
    j["entries"][2][key] = value.is_string() ? Json(-1) : Json("x");
    EXPECT_ERROR(parse(j), "plan.json: entries[2]." + key + " is ");
    if (value.is_number() || value.is_null()) {
      j["entries"][2][key] = -1;
      EXPECT_ERROR(parse(j), "entries[2]." + key + " is -1, expected");
      j["entries"][2][key] = 1e300;
      EXPECT_ERROR(parse(j), "entries[2]." + key + " is 1e+300, expected");
    }
  }
  for (const char* key : {"name", "hash"}) {
    Json j = good;
    j["model"].erase(key);
    EXPECT_ERROR(parse(j), std::string("model.") + key + " is missing");
  }
}

TEST(PlanJson, UnknownFieldsAreNamed) {
  Json j = sample();
  j["comment"] = "hello";
  EXPECT_ERROR(parse(j), "plan.json: comment is unknown");
  j = sample();
  j["entries"][1]["turbo"] = 1;
  EXPECT_ERROR(parse(j), "plan.json: entries[1].turbo is unknown");
  j = sample();
  j["model"]["size"] = 1;
  EXPECT_ERROR(parse(j), "plan.json: model.size is unknown");
}

TEST(PlanJson, ValuesAreRangeChecked) {
  const auto expect = [](const char* pointer, const Json& value, const std::string& message) {
    Json j = sample();
    j[Json::json_pointer(pointer)] = value;
    EXPECT_ERROR(parse(j), message);
  };
  expect("/schema", "smepilot-plan/3", "schema is 'smepilot-plan/3', expected 'smepilot-plan/1' or 'smepilot-plan/2'");
  expect("/workers", 0, "workers is 0, expected an integer in 1 .. 65535");
  expect("/workers", 1, "entries[0].workers: 2, expected at most the plan's 1");
  expect("/workers", 2.5, "workers is 2.5");
  expect("/fingerprint", "", "fingerprint: is empty");
  expect("/fingerprint", std::string(65, 'f'), "fingerprint is a string of 65 bytes");
  expect("/variant_set_hash", "", "variant_set_hash: is empty");
  expect("/model/hash", "", "model.hash: is empty");
  expect("/platform/isa", 5, "platform.isa is 5");
  expect("/entries/0", 5, "entries[0] is 5, expected an object");
  expect("/entries/0/kind", "matmull", "entries[0].kind is 'matmull'");
  expect("/entries/0/dtype", "q5_7", "entries[0].dtype is 'q5_7'");
  expect("/entries/0/mode", "coop", "entries[0].coop.variant: is empty");
  expect("/entries/0/mode", "gpu", "entries[0].mode is 'gpu'");
  expect("/entries/0/n", 4294967296, "entries[0].n is 4294967296, expected an integer in 0 .. 4294967295");
  expect("/entries/0/n", 0, "entries[0].n: 0, expected at least 1");
  expect("/entries/0/k", 63, "entries[0].k: 63, expected a multiple of 32");
  expect("/entries/0/m_min", 2, "entries[0].m_max: 1, expected at least m_min=2");
  expect("/entries/0/workers", 65536, "entries[0].workers is 65536");
  expect("/entries/0/mc", 100, "entries[0].mc: 100, expected a multiple of 16");
  expect("/entries/0/nc", 0, "entries[0].nc: 0, expected a multiple of 16");
  expect("/entries/0/variant", "", "entries[0].variant: is empty");
  expect("/entries/0/variant", std::string("a\0b", 3), "entries[0].variant is a string of 3 bytes");
  expect("/entries/2/kv_tile", 8, "entries[2].kv_tile: 8, expected a multiple of 16");
  expect("/entries/2/kv_heads", 0, "entries[2].kv_heads: 0");
  expect("/entries/2/kv_max", 0, "entries[2].kv_max: 0");
  expect("/entries/2/kv_splits", 1 << 20, "entries[2].kv_splits: 1048576");
}

TEST(PlanJson, WhatIsNoPlanIsNamed) {
  EXPECT_ERROR(plan_from_json("", "plan.json"), "plan.json: not JSON at line 1");
  EXPECT_ERROR(plan_from_json("{\n \"schema\": oops}", "plan.json"), "line 2, column 12");
  EXPECT_ERROR(plan_from_json("[]", "plan.json"), "the file is an array, expected an object");
  EXPECT_ERROR(plan_from_json("{}", "plan.json"), "schema is missing");
  EXPECT_ERROR(plan_from_json("{\"schema\": 1, \"schema\": 2}", "plan.json"), "the key 'schema' appears twice");
  EXPECT_ERROR(plan_from_json("{\"schema\": 1e999}", "plan.json"), "not JSON");
  EXPECT_ERROR(plan_from_json("{\"schema\": \"\xff\"}", "plan.json"), "not JSON");
  EXPECT_ERROR(plan_from_json(std::string(2'000'000, '['), "plan.json"), "nested deeper than 16");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_ERROR(plan_from_json(objects, "plan.json"), "nested deeper than 16");
  EXPECT_ERROR(plan_from_json(plan_to_json(test::sample_plan()) + "x", "plan.json"), "not JSON");
}

TEST(PlanJson, EveryTruncationIsAnError) {
  const std::string text = plan_to_json(test::sample_plan());
  for (size_t size = 0; size + 2 < text.size(); size += 7)
    EXPECT_FALSE(plan_from_json(text.substr(0, size), "plan.json").ok()) << size;
}

TEST(PlanJson, NoChangedByteCrashes) {
  const std::string text = plan_to_json(test::sample_plan());
  int refused = 0, taken = 0;
  uint32_t state = 12345;
  for (int round = 0; round < 3000; ++round) {
    std::string changed = text;
    state = state * 1664525u + 1013904223u;
    changed[(state >> 8) % changed.size()] = static_cast<char>(state >> 24);
    const auto plan = plan_from_json(changed, "plan.json");
    plan.ok() ? ++taken : ++refused;  // a changed digit is still a plan
    if (!plan.ok()) {
      EXPECT_EQ(plan.message().find("plan.json: "), 0u) << plan.message();
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_GT(taken, 100);
}

}  // namespace
}  // namespace smepilot
