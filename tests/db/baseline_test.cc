// Import of llama-bench's output. data/ holds what it printed for a tiny model, folder and build name replaced.
#include <nlohmann/json.hpp>

#include "db/baseline_store.h"
#include "tests/db/support.h"

namespace smepilot {
namespace {

using Json = nlohmann::ordered_json;

std::string data(const std::string& name) {
  return test::read_file(std::string(SMEPILOT_SOURCE_DIR) + "/tests/db/data/" + name);
}

TEST(Baseline, JsonAndJsonl) {
  for (const char* file : {"llama_bench.json", "llama_bench.jsonl"}) {
    auto rows = parse_llama_bench(data(file), file);
    ASSERT_OK(rows);
    ASSERT_EQ(rows->size(), 2u) << file;
    const Baseline& prompt = rows->at(0);
    EXPECT_EQ(prompt.engine, "llama.cpp");
    EXPECT_EQ(prompt.build, "1a2b3c4 (5678)");
    EXPECT_EQ(prompt.model_file, "stories260K-f32.gguf");
    EXPECT_EQ(prompt.model_type, "llama ?B all F32");
    EXPECT_EQ(prompt.cpu_info, "Intel(R) Xeon(R) Processor");
    EXPECT_EQ(prompt.n_threads, 2u);
    EXPECT_EQ(prompt.n_prompt, 32u);
    EXPECT_EQ(prompt.n_gen, 0u);
    EXPECT_EQ(prompt.n_batch, 2048u);
    EXPECT_EQ(prompt.n_depth, 0u);
    EXPECT_EQ(prompt.samples_ts.size(), 3u);
    EXPECT_EQ(prompt.source, file);
    EXPECT_EQ(rows->at(1).n_gen, 8u);
  }
  EXPECT_EQ(parse_llama_bench(data("llama_bench.json"), "f")->at(0).avg_ts, 24364.735836);
  EXPECT_EQ(parse_llama_bench(data("llama_bench.json"), "f")->at(0).stddev_ts, 1049.910704);
}

TEST(Baseline, StoredOnceWithItsRawText) {
  auto db = Database::open(":memory:");
  ASSERT_OK(db);
  auto session = SessionStore(*db).begin(test::sample_platform(), "smetune baseline import");
  ASSERT_OK(session);
  auto rows = parse_llama_bench(data("llama_bench.json"), "a.json");
  ASSERT_OK(rows);
  BaselineStore store(*db);
  EXPECT_EQ(*store.save(session->id, *rows), 2);
  EXPECT_EQ(*store.save(session->id, *rows), 0);  // the same file again
  EXPECT_EQ(*store.save(session->id, *parse_llama_bench(data("llama_bench.jsonl"), "b.jsonl")), 2);
  auto list = store.list();
  ASSERT_EQ(list->size(), 4u);
  const Baseline& first = list->at(3);
  EXPECT_EQ(first.n_prompt, 32u);
  EXPECT_EQ(first.samples_ts, rows->at(0).samples_ts);
  EXPECT_EQ(first.avg_ts, rows->at(0).avg_ts);
  EXPECT_EQ(Json::parse(first.raw_json), Json::parse(data("llama_bench.json"))[0]);
}

// Two samples a hundred times apart, as a busy machine gives them: the mean of the rates is far from the rate of the
// mean time, and right.
TEST(Baseline, NoisySamplesAreNoMistake) {
  Json row = Json::parse(data("llama_bench.json"))[0];
  const double tokens = row["n_prompt"].get<double>() + row["n_gen"].get<double>();
  row["samples_ns"] = {1e6, 100e6};
  row["avg_ns"] = 50.5e6;
  row["samples_ts"] = {tokens * 1e3, tokens * 10};
  row["avg_ts"] = tokens * 505;
  const auto rows = parse_llama_bench(Json::array({row}).dump(), "f");
  ASSERT_TRUE(rows.ok()) << rows.message();
  EXPECT_EQ(rows->at(0).avg_ts, tokens * 505);
}

// ik_llama.cpp's -gp 16,8: eight tokens are timed, after a prompt of 16.
TEST(Baseline, GenerationAfterAPrompt) {
  Json row = Json::parse(data("llama_bench.json"))[0];
  row.erase("n_depth");
  row["n_prompt"] = 16;
  row["n_gen"] = 8;
  row["samples_ns"] = {1e9};
  row["avg_ns"] = 1e9;
  row["samples_ts"] = {8.0};
  row["avg_ts"] = 8.0;
  EXPECT_ERROR(parse_llama_bench(Json::array({row}).dump(), "f"), "avg_ts is 8, expected about 24");
  row["test"] = "tg8@pp16";
  const auto rows = parse_llama_bench(Json::array({row}).dump(), "f");
  ASSERT_OK(rows);
  EXPECT_EQ(rows->at(0).n_prompt, 0u);
  EXPECT_EQ(rows->at(0).n_gen, 8u);
  EXPECT_EQ(rows->at(0).n_depth, 16u);
}

TEST(Baseline, ErrorsNameFileRowAndField) {
  const Json good = Json::parse(data("llama_bench.json"));
  const auto expect = [&good](auto change, const std::string& message) {
    Json j = good;
    change(j[1]);
    EXPECT_ERROR(parse_llama_bench(j.dump(), "x.json"), "x.json: row 2" + message);
  };
  for (const char* field :
       {"build_commit", "build_number", "cpu_info", "model_filename", "model_type", "n_batch", "n_threads", "n_prompt",
        "n_gen", "test_time", "avg_ns", "stddev_ns", "avg_ts", "stddev_ts", "samples_ns", "samples_ts"}) {
    expect([field](Json& row) { row.erase(field); }, fmt::format(".{} is missing", field));
    expect([field](Json& row) { row[field] = Json::object(); }, fmt::format(".{} is an object", field));
  }
  expect([](Json& row) { row = 5; }, " is 5, expected an object");
  expect([](Json& row) { row["n_threads"] = 0; }, ".n_threads is 0");
  expect([](Json& row) { row["n_prompt"] = -1; }, ".n_prompt is -1");
  expect([](Json& row) { row["n_seqs"] = 8; }, ".n_seqs is 8, expected 1");
  expect([](Json& row) { row["n_gen"] = 0; }, ".n_prompt and n_gen are 0");
  expect([](Json& row) { row["avg_ts"] = 0; }, ".avg_ts is 0");
  expect([](Json& row) { row["avg_ts"] = row["avg_ts"].get<double>() * 1000; }, ".avg_ts is ");
  expect([](Json& row) { row["samples_ts"][1] = "fast"; }, ".samples_ts[1] is 'fast'");
  expect([](Json& row) { row["samples_ts"] = Json::array(); }, ".samples_ts is empty");
  expect(
      [](Json& row) {
        row["gpu_info"] = "Some GPU";
        row["n_gpu_layers"] = 99;
      },
      ".n_gpu_layers is 99 with gpu_info 'Some GPU'");
}

TEST(Baseline, FieldsThatCameLaterMayBeMissing) {
  Json j = Json::parse(data("llama_bench.json"));
  for (Json& row : j)
    for (const char* field : {"n_depth", "gpu_info", "n_gpu_layers", "flash_attn", "fit_target"}) row.erase(field);
  ASSERT_OK(parse_llama_bench(j.dump(), "old.json"));
  for (Json& row : j) row["a_field_of_tomorrow"] = {1, 2};
  ASSERT_OK(parse_llama_bench(j.dump(), "new.json"));
}

TEST(Baseline, WhatIsNoOutputOfLlamaBench) {
  EXPECT_ERROR(parse_llama_bench("", "x"), "x: is empty");
  EXPECT_ERROR(parse_llama_bench("| model | size |", "x"), "-o json");
  EXPECT_ERROR(parse_llama_bench("[]", "x"), "x: has no rows");
  EXPECT_ERROR(parse_llama_bench("[1", "x"), "x: not JSON");
  const std::string lines = data("llama_bench.jsonl");
  EXPECT_ERROR(parse_llama_bench(lines + "{oops\n", "x"), "x: text line 3: not JSON");
  EXPECT_ERROR(parse_llama_bench(std::string(1'000'000, '['), "x"), "nested deeper");
  const std::string text = data("llama_bench.json");
  for (size_t size = 0; size + 3 < text.size(); size += 13)
    EXPECT_FALSE(parse_llama_bench(text.substr(0, size), "x").ok()) << size;
}

}  // namespace
}  // namespace smepilot
