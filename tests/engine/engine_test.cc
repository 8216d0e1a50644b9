// Forward passes and generation on models of the project's own making: they agree with themselves however the tokens
// are cut into batches and whatever was in the cache before, and with an oracle that computes one pass in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/generate.h"
#include "engine/logits_dump.h"
#include "engine/stats.h"
#include "engine_support.h"

namespace smepilot {
namespace {

using test::all_logits;
using test::cosine;
using test::evaluate;
using test::expect_error;
using test::Logits;
using test::open_engine;
using test::Oracle;
using test::some_tokens;
using test::TempFolder;
using test::Tokens;

struct Kind {
  std::string architecture;
  DType dtype;
  bool tied = false;  // where the random model's output is not tied anyway
};

// Every architecture that the loader knows, with float and with quantised weights; qwen2 tied as well; and every type
// of weights.
std::vector<Kind> all_kinds() {
  std::vector<Kind> kinds;
  for (const Architecture& a : architectures())
    for (const DType dtype : {DType::kF32, DType::kQ8_0}) kinds.push_back({a.name, dtype});
  kinds.push_back({"qwen2", DType::kQ8_0, true});
  for (const DType dtype : test::weight_types())
    if (dtype != DType::kF32 && dtype != DType::kQ8_0) kinds.push_back({"llama", dtype});
  return kinds;
}

class RandomModel : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    path_ = folder_ / "model.gguf";
    test::write_model(test::random_model(GetParam().architecture, GetParam().dtype, {.tied = GetParam().tied}), path_);
  }
  static double same_enough() { return test::same_enough(GetParam().dtype); }

  TempFolder folder_;
  std::string path_;
};

INSTANTIATE_TEST_SUITE_P(All, RandomModel, testing::ValuesIn(all_kinds()),
                         [](const testing::TestParamInfo<Kind>& kind) {
                           return kind.param.architecture + "_" + traits(kind.param.dtype).name +
                                  (kind.param.tied ? "_tied" : "");
                         });

TEST_P(RandomModel, AgreesWithTheOracle) {
  const auto engine = open_engine(path_);
  ASSERT_NE(engine, nullptr);
  const Tokens tokens = some_tokens(21);
  const std::vector<float> found = all_logits(*engine, tokens);
  const std::vector<double> expected = Oracle(engine->file()).logits(tokens);
  ASSERT_EQ(found.size(), expected.size());
  const size_t vocab = engine->vocab();
  for (size_t row = 0; row < tokens.size(); ++row)
    EXPECT_GE(cosine(found.data() + row * vocab, expected.data() + row * vocab, vocab), same_enough()) << "row " << row;
  // The comparison can fail: rows differ from each other by more than that.
  EXPECT_LT(cosine(found.data() + vocab, expected.data(), vocab), 0.99);
}

TEST_P(RandomModel, BatchesDoNotMatter) {
  const Tokens tokens = some_tokens(45);
  const auto whole = open_engine(path_);
  ASSERT_NE(whole, nullptr);
  const std::vector<float> expected = all_logits(*whole, tokens);
  const auto in_pieces = open_engine(path_, 7, 1);
  ASSERT_NE(in_pieces, nullptr);
  EXPECT_GE(cosine(all_logits(*in_pieces, tokens), expected), same_enough());

  auto cache = whole->new_cache();
  ASSERT_TRUE(cache.ok()) << cache.message();
  std::vector<float> one_by_one;
  for (const int32_t t : tokens) {
    const std::vector<float> row = evaluate(*whole, *cache, {t}, Logits::kLast);
    one_by_one.insert(one_by_one.end(), row.begin(), row.end());
  }
  EXPECT_GE(cosine(one_by_one, expected), same_enough());

  // Two batches, the second behind a cache that holds something else beyond its end.
  cache->set_length(0);
  evaluate(*whole, *cache, {tokens.begin(), tokens.begin() + 30}, Logits::kNone);
  evaluate(*whole, *cache, some_tokens(40, 99), Logits::kNone);
  cache->set_length(30);
  const std::vector<float> last = evaluate(*whole, *cache, {tokens.begin() + 30, tokens.end()}, Logits::kLast);
  const size_t vocab = whole->vocab();
  ASSERT_EQ(last.size(), vocab);
  EXPECT_GE(cosine(last, {expected.end() - static_cast<std::ptrdiff_t>(vocab), expected.end()}), same_enough());
  EXPECT_EQ(cache->length(), 45u);
}

TEST_P(RandomModel, EveryTokenCounts) {
  const auto engine = open_engine(path_);
  ASSERT_NE(engine, nullptr);
  auto cache = engine->new_cache();
  ASSERT_TRUE(cache.ok()) << cache.message();
  Tokens tokens = some_tokens(20);
  const auto last = [&] {
    cache->set_length(0);
    return evaluate(*engine, *cache, tokens, Logits::kLast);
  };
  const std::vector<float> before = last();
  EXPECT_EQ(before, last()) << "the same twice";
  std::swap(tokens[3], tokens[11]);
  EXPECT_LT(cosine(before, last()), 0.999999) << "order counts";
  std::swap(tokens[3], tokens[11]);
  tokens[0] = tokens[0] == 50 ? 51 : 50;
  EXPECT_LT(cosine(before, last()), 0.999999) << "the first token counts";
}

TEST_P(RandomModel, GenerationReusesWhatTheCacheHolds) {
  const auto engine = open_engine(path_);
  ASSERT_NE(engine, nullptr);
  const auto tokenizer = Tokenizer::from_gguf(engine->gguf());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.message();
  SamplerOptions greedy;
  greedy.temperature = 0;
  auto sampler = Sampler::create(greedy);
  ASSERT_TRUE(sampler.ok());
  const std::atomic<bool> go{false};
  const GenerateOptions options{12, true};
  const auto fresh = [&](const std::vector<TokenId>& prompt) {
    auto generator = Generator::create(*engine, *tokenizer, *sampler);
    EXPECT_TRUE(generator.ok());
    auto g = generator->generate(prompt, options, nullptr, go);
    EXPECT_TRUE(g.ok()) << g.message();
    EXPECT_EQ(g->reused_tokens, 0u);
    return std::move(g).value();
  };

  auto generator = Generator::create(*engine, *tokenizer, *sampler);
  ASSERT_TRUE(generator.ok());
  std::vector<TokenId> prompt = some_tokens(17);
  std::string heard;
  const auto first = generator->generate(prompt, options, [&](const std::string& piece) { heard += piece; }, go);
  ASSERT_TRUE(first.ok()) << first.message();
  EXPECT_EQ(first->tokens, fresh(prompt).tokens);
  EXPECT_EQ(heard, first->text);
  EXPECT_EQ(first->tokens.size(), 12u);
  EXPECT_EQ(first->reason, StopReason::kLength);
  EXPECT_EQ(first->prompt_tokens, 17u);

  // The conversation goes on: all that is known is found again.
  prompt.insert(prompt.end(), first->tokens.begin(), first->tokens.end());
  const std::vector<TokenId> known = prompt;
  prompt.push_back(77);
  const auto second = generator->generate(prompt, options, nullptr, go);
  ASSERT_TRUE(second.ok()) << second.message();
  EXPECT_EQ(second->reused_tokens, known.size());
  EXPECT_EQ(second->tokens, fresh(prompt).tokens);

  // It takes another turn in the middle.
  prompt.resize(20);
  prompt[10] = prompt[10] == 60 ? 61 : 60;
  const auto third = generator->generate(prompt, options, nullptr, go);
  ASSERT_TRUE(third.ok()) << third.message();
  EXPECT_EQ(third->reused_tokens, 10u);
  EXPECT_EQ(third->tokens, fresh(prompt).tokens);

  // Exactly the same prompt: only its last token is evaluated, for the logits.
  const auto fourth = generator->generate(prompt, options, nullptr, go);
  ASSERT_TRUE(fourth.ok()) << fourth.message();
  EXPECT_EQ(fourth->reused_tokens, prompt.size() - 1);
  EXPECT_EQ(fourth->prompt_tokens, 1u);
  EXPECT_EQ(fourth->tokens, third->tokens);
}

class EngineTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = folder_ / "model.gguf";
    test::write_model(test::random_model("llama", DType::kQ8_0), path_);
  }
  TempFolder folder_;
  std::string path_;
};

TEST_F(EngineTest, RefusesWhatDoesNotFit) {
  const auto engine = open_engine(path_, 16, 1, 40);
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(engine->context(), 40u);
  EXPECT_EQ(engine->ubatch(), 16u);
  auto cache = engine->new_cache();
  ASSERT_TRUE(cache.ok()) << cache.message();
  expect_error(engine->evaluate({}, *cache).status(), {"no tokens"});
  expect_error(engine->evaluate(some_tokens(41), *cache).status(), {"context", "40", "41"});
  expect_error(engine->evaluate(Tokens{5, -1}, *cache).status(), {"token -1", "259"});
  expect_error(engine->evaluate(Tokens{5, 259}, *cache).status(), {"token 259", "259"});
  EXPECT_EQ(cache->length(), 0u) << "nothing was evaluated";
  ASSERT_TRUE(engine->evaluate(some_tokens(40), *cache).ok());
  expect_error(engine->evaluate(Tokens{5}, *cache).status(), {"context is full", "40"});
  EXPECT_EQ(cache->length(), 40u);
}

TEST_F(EngineTest, CancelEndsBetweenBatches) {
  const auto engine = open_engine(path_, 8, 1);
  ASSERT_NE(engine, nullptr);
  auto cache = engine->new_cache();
  ASSERT_TRUE(cache.ok()) << cache.message();
  const std::atomic<bool> stop{true};
  expect_error(engine->evaluate(some_tokens(30), *cache, Logits::kLast, &stop).status(), {"cancelled"});
  EXPECT_EQ(cache->length(), 0u);

  const auto tokenizer = Tokenizer::from_gguf(engine->gguf());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.message();
  auto sampler = Sampler::create({});
  ASSERT_TRUE(sampler.ok());
  auto generator = Generator::create(*engine, *tokenizer, *sampler);
  ASSERT_TRUE(generator.ok());
  const auto none = generator->generate(some_tokens(30), {5, true}, nullptr, stop);
  ASSERT_TRUE(none.ok()) << none.message();
  EXPECT_EQ(none->reason, StopReason::kCancelled);
  EXPECT_TRUE(none->tokens.empty());

  std::atomic<bool> later{false};
  int pieces = 0;
  const auto some =
      generator->generate(some_tokens(30), {50, true}, [&](const std::string&) { later.store(++pieces == 3); }, later);
  ASSERT_TRUE(some.ok()) << some.message();
  EXPECT_EQ(some->reason, StopReason::kCancelled);
  EXPECT_FALSE(some->text.empty());
  EXPECT_LT(some->tokens.size(), 50u);
}

TEST_F(EngineTest, GenerationStopsWhereTheContextEnds) {
  const auto engine = open_engine(path_, 512, 1, 24);
  ASSERT_NE(engine, nullptr);
  const auto tokenizer = Tokenizer::from_gguf(engine->gguf());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.message();
  auto sampler = Sampler::create({});
  ASSERT_TRUE(sampler.ok());
  auto generator = Generator::create(*engine, *tokenizer, *sampler);
  ASSERT_TRUE(generator.ok());
  const std::atomic<bool> go{false};
  const auto g = generator->generate(some_tokens(20), {0, true}, nullptr, go);
  ASSERT_TRUE(g.ok()) << g.message();
  EXPECT_EQ(g->reason, StopReason::kContextFull);
  EXPECT_EQ(g->tokens.size(), 5u);  // four that fit behind the prompt, and the one sampled after them
  expect_error(generator->generate(some_tokens(25), {1, true}, nullptr, go).status(), {"context"});
  expect_error(generator->generate({}, {1, true}, nullptr, go).status(), {"empty"});
  const auto again = generator->generate(some_tokens(20), {2, true}, nullptr, go);
  ASSERT_TRUE(again.ok()) << "usable after an error: " << again.message();
  EXPECT_EQ(again->tokens.size(), 2u);
}

TEST_F(EngineTest, OpenRefusesBadOptions) {
  EngineOptions options;
  options.model = folder_ / "missing.gguf";
  options.plan.mode = PlanMode::kNone;
  expect_error(Engine::open(options).status(), {"missing.gguf"});
  options.model = path_;
  options.context = 129;
  expect_error(Engine::open(options).status(), {"model.gguf", "129", "128"});
  options.context = 0;
  options.workers = 1025;
  expect_error(Engine::open(options).status(), {"1025"});
}

TEST_F(EngineTest, StatsCountEveryOperator) {
  const auto engine = open_engine(path_, 512, 2);
  ASSERT_NE(engine, nullptr);
  auto cache = engine->new_cache();
  ASSERT_TRUE(cache.ok()) << cache.message();
  Stats stats;
  engine->set_stats(&stats);
  evaluate(*engine, *cache, some_tokens(20), Logits::kLast);
  evaluate(*engine, *cache, {9}, Logits::kLast);
  evaluate(*engine, *cache, {10}, Logits::kLast);
  engine->set_stats(nullptr);
  evaluate(*engine, *cache, {11}, Logits::kLast);
  uint64_t decode = 0, prefill = 0;
  double flops = 0;
  for (const OperatorStats& row : stats.rows()) {
    if (std::strcmp(row.execution.role, "ffn_down") == 0) {
      (row.m_max == 1 ? decode : prefill) += row.calls;
      flops += row.flops;
      ASSERT_NE(row.execution.variant, nullptr);
      EXPECT_EQ(row.execution.variant->rhs, DType::kQ8_0);
    }
    EXPECT_GT(row.ns, 0) << row.execution.role;
  }
  EXPECT_EQ(prefill, test::kModelLayers);
  EXPECT_EQ(decode, 2 * test::kModelLayers);
  EXPECT_EQ(flops, 2.0 * test::kModelLayers * 22 * test::kModelFeedForward * test::kModelEmbedding);
}

TEST_F(EngineTest, DumpHasEveryRowAndAppearsWhole) {
  const auto engine = open_engine(path_, 512, 1);
  ASSERT_NE(engine, nullptr);
  const Tokens prompt = some_tokens(6);
  const std::string file = folder_ / "logits.bin";
  std::atomic<bool> cancel{false};
  const auto tokens = dump_logits(*engine, prompt, 4, file, cancel);
  ASSERT_TRUE(tokens.ok()) << tokens.message();
  ASSERT_EQ(tokens->size(), 10u);
  EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), tokens->begin()));
  const std::string bytes = test::read_text(file);
  const size_t vocab = engine->vocab(), rows = 9;
  ASSERT_EQ(bytes.size(), 8 + rows * (4 + 4 * vocab));
  std::vector<float> dumped;
  for (size_t r = 0; r < rows; ++r) {
    int32_t token = 0;
    std::memcpy(&token, bytes.data() + 8 + r * (4 + 4 * vocab), 4);
    EXPECT_EQ(token, (*tokens)[r]);
    dumped.resize((r + 1) * vocab);
    std::memcpy(dumped.data() + r * vocab, bytes.data() + 12 + r * (4 + 4 * vocab), 4 * vocab);
    if (r + 1 >= prompt.size()) {  // each greedy token is the best of the row before it
      EXPECT_EQ(std::max_element(dumped.end() - static_cast<std::ptrdiff_t>(vocab), dumped.end()) -
                    (dumped.end() - static_cast<std::ptrdiff_t>(vocab)),
                (*tokens)[r + 1]);
    }
  }
  EXPECT_GE(cosine(dumped, all_logits(*engine, {tokens->begin(), tokens->end() - 1})), 0.999);
  expect_error(dump_logits(*engine, {}, 1, file, cancel).status(), {"prompt"});
  expect_error(dump_logits(*engine, prompt, 1, folder_ / "no/such/folder.bin", cancel).status(),
               {"no/such/folder.bin"});
  // A run that fails leaves the old file as it was, and nothing beside it.
  expect_error(dump_logits(*engine, Tokens{5, 9999}, 1, file, cancel).status(), {"9999"});
  cancel.store(true);
  expect_error(dump_logits(*engine, prompt, 1, file, cancel).status(), {"cancelled"});
  EXPECT_EQ(test::read_text(file), bytes);
  EXPECT_FALSE(std::filesystem::exists(file + ".part"));
}

}  // namespace
}  // namespace smepilot
