// Several sequences in one forward pass, with and without a prefix that they share, against the same sequences one by
// one; the texts generated that way; and the KV cache's types.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/generate_batch.h"
#include "engine_support.h"

namespace smepilot {
namespace {

using test::cosine;
using test::expect_error;
using test::Logits;
using test::Oracle;
using test::some_tokens;
using test::TempFolder;
using test::Tokens;

struct Kind {
  std::string architecture;
  DType dtype;
  DType kv_type = DType::kF16;
};

std::vector<Kind> all_kinds() {
  std::vector<Kind> kinds;
  for (const Architecture& a : architectures())
    for (const DType dtype : {DType::kF32, DType::kQ8_0}) kinds.push_back({a.name, dtype});
  kinds.push_back({"llama", DType::kQ8_0, DType::kQ8_0});
  kinds.push_back({"qwen3", DType::kF32, DType::kQ8_0});
  return kinds;
}

class Batch : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    path_ = folder_ / "model.gguf";
    test::write_model(test::random_model(GetParam().architecture, GetParam().dtype, {.head_dim = head_dim()}), path_);
  }
  std::unique_ptr<Engine> open(uint32_t sequences, uint32_t ubatch = 512, unsigned workers = 2) const {
    EngineOptions options = test::plain_options(path_, workers);
    options.ubatch = ubatch;
    options.sequences = sequences;
    options.kv_type = GetParam().kv_type;
    return test::open_engine(options);
  }
  uint32_t head_dim() const { return GetParam().kv_type == DType::kQ8_0 ? 32 : test::kModelHeadDim; }
  // Batches differ in how rows fall into tiles and in the order of sums.
  static double same_enough() { return test::same_enough(GetParam().dtype, GetParam().kv_type); }
  void expect_rows(Engine& engine, std::span<const float> rows, const std::vector<Tokens>& texts) const {
    const size_t vocab = engine.vocab();
    const std::vector<float> all(rows.begin(), rows.end());  // what follows reuses the engine's buffer
    ASSERT_EQ(all.size(), texts.size() * vocab);
    std::vector<std::vector<float>> expected;
    for (const Tokens& t : texts) expected.push_back(test::logits_of(engine, t, Logits::kLast));
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::vector<float> row(all.begin() + static_cast<std::ptrdiff_t>(i * vocab),
                                   all.begin() + static_cast<std::ptrdiff_t>((i + 1) * vocab));
      EXPECT_GE(cosine(row, expected[i]), same_enough()) << "sequence " << i;
      // The comparison can fail: the sequences' rows are not alike.
      if (i > 0) {
        EXPECT_LT(cosine(row, expected[i - 1]), 0.99) << "sequence " << i;
      }
    }
  }

  TempFolder folder_;
  std::string path_;
};

INSTANTIATE_TEST_SUITE_P(All, Batch, testing::ValuesIn(all_kinds()), [](const testing::TestParamInfo<Kind>& kind) {
  return kind.param.architecture + "_" + traits(kind.param.dtype).name + "_kv_" + traits(kind.param.kv_type).name;
});

TEST_P(Batch, SequencesOfDifferentLengthsAsIfAlone) {
  for (const uint32_t ubatch : {512u, 16u}) {  // all in one pass, and cut in the middle of sequences
    const auto engine = open(5, ubatch);
    ASSERT_NE(engine, nullptr);
    std::vector<Tokens> texts;
    std::vector<KvCache> caches;
    std::vector<SequenceTokens> batch;
    for (const size_t length : {7u, 1u, 33u, 18u, 2u}) {
      texts.push_back(some_tokens(length, 100 + length));
      auto cache = engine->new_cache();
      ASSERT_TRUE(cache.ok()) << cache.message();
      caches.push_back(std::move(cache).value());
    }
    for (size_t i = 0; i < texts.size(); ++i) batch.push_back({&caches[i], texts[i]});
    auto rows = engine->evaluate(batch);
    ASSERT_TRUE(rows.ok()) << rows.message();
    expect_rows(*engine, *rows, texts);

    // Some of them go on, a token each, in another order; one of them with more.
    std::vector<Tokens> more;
    batch.clear();
    std::vector<Tokens> longer;
    for (const size_t i : {4u, 0u, 2u}) {
      more.push_back(some_tokens(i == 0 ? 3 : 1, 200 + i));
      longer.push_back(texts[i]);
      longer.back().insert(longer.back().end(), more.back().begin(), more.back().end());
    }
    size_t at = 0;
    for (const size_t i : {4u, 0u, 2u}) batch.push_back({&caches[i], more[at++]});
    rows = engine->evaluate(batch);
    ASSERT_TRUE(rows.ok()) << rows.message();
    expect_rows(*engine, *rows, longer);
    EXPECT_EQ(caches[0].length(), 10u);
    EXPECT_EQ(caches[1].length(), 1u);
    EXPECT_EQ(caches[2].length(), 34u);
  }
}

TEST_P(Batch, SixteenThatShareAPrefix) {
  const auto engine = open(16);
  ASSERT_NE(engine, nullptr);
  const Tokens common = some_tokens(37);
  auto made = engine->new_cache(37);
  ASSERT_TRUE(made.ok()) << made.message();
  const auto prefix = std::make_shared<KvCache>(std::move(made).value());
  ASSERT_TRUE(engine->evaluate(common, *prefix, Logits::kNone).ok());
  std::vector<KvCache> caches;
  std::vector<Tokens> texts(16, common);
  for (size_t i = 0; i < texts.size(); ++i) {
    auto cache = KvCache::fork(prefix, 20);
    ASSERT_TRUE(cache.ok()) << cache.message();
    caches.push_back(std::move(cache).value());
  }
  for (const size_t step : {3u, 1u, 1u}) {
    std::vector<Tokens> next;
    std::vector<SequenceTokens> batch;
    for (size_t i = 0; i < texts.size(); ++i) {
      next.push_back(some_tokens(step, 1000 * i + texts[i].size()));
      texts[i].insert(texts[i].end(), next.back().begin(), next.back().end());
    }
    for (size_t i = 0; i < texts.size(); ++i) batch.push_back({&caches[i], next[i]});
    const auto rows = engine->evaluate(batch);
    ASSERT_TRUE(rows.ok()) << rows.message();
    expect_rows(*engine, *rows, texts);
  }
  EXPECT_EQ(prefix->length(), 37u);
  EXPECT_EQ(caches[5].length(), 42u);
}

// One step against the oracle, which knows neither caches nor batches.
TEST_P(Batch, AgreesWithTheOracle) {
  const auto engine = open(3, 512, 1);
  ASSERT_NE(engine, nullptr);
  const std::vector<Tokens> texts = {some_tokens(9, 1), some_tokens(14, 2), some_tokens(4, 3)};
  std::vector<KvCache> caches;
  std::vector<SequenceTokens> batch;
  for (size_t i = 0; i < texts.size(); ++i) {
    auto cache = engine->new_cache();
    ASSERT_TRUE(cache.ok()) << cache.message();
    caches.push_back(std::move(cache).value());
  }
  for (size_t i = 0; i < texts.size(); ++i)
    batch.push_back({&caches[i], std::span(texts[i]).first(texts[i].size() - 1)});
  ASSERT_TRUE(engine->evaluate(batch).ok());
  for (size_t i = 0; i < texts.size(); ++i) batch[i].tokens = std::span(texts[i]).last(1);
  const auto rows = engine->evaluate(batch);
  ASSERT_TRUE(rows.ok()) << rows.message();
  const size_t vocab = engine->vocab();
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::vector<double> expected = Oracle(engine->file()).logits(texts[i]);
    EXPECT_GE(cosine(rows->data() + i * vocab, expected.data() + (texts[i].size() - 1) * vocab, vocab), same_enough())
        << "sequence " << i;
  }
}

TEST_P(Batch, TextsAreThoseOfOneByOne) {
  const auto engine = open(4);
  ASSERT_NE(engine, nullptr);
  const auto tokenizer = Tokenizer::from_gguf(engine->gguf());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.message();
  const std::atomic<bool> go{false};
  const GenerateOptions options{9, true};
  // Same prompt with different seeds, and prompts that begin alike.
  const Tokens common = some_tokens(20);
  for (const bool same : {true, false}) {
    std::vector<BatchText> texts(4);
    std::vector<Sampler> samplers;
    for (size_t i = 0; i < texts.size(); ++i) {
      SamplerOptions sampling;
      sampling.temperature = same ? 1.0f : 0.0f;
      sampling.seed = i;
      samplers.push_back(*Sampler::create(sampling));
      texts[i].prompt = common;
      if (same) continue;
      const Tokens own = some_tokens(i + 1, 70 + i);
      texts[i].prompt.insert(texts[i].prompt.end(), own.begin(), own.end());
    }
    for (size_t i = 0; i < texts.size(); ++i) texts[i].sampler = &samplers[i];
    uint32_t steps = 0;
    const auto all = generate_batch(*engine, *tokenizer, texts, options, [&](uint32_t n) { steps = n; }, go);
    ASSERT_TRUE(all.ok()) << all.message();
    EXPECT_EQ(all->shared_tokens, 20u);
    EXPECT_EQ(all->prompt_tokens, same ? 20u : 20u + 1 + 2 + 3 + 4);
    EXPECT_EQ(all->generated_tokens, 36u);
    EXPECT_EQ(steps, 8u) << "the first token comes from the prompt's logits";
    for (size_t i = 0; i < texts.size(); ++i) {
      auto generator = Generator::create(*engine, *tokenizer, samplers[i]);
      ASSERT_TRUE(generator.ok()) << generator.message();
      const auto one = generator->generate(texts[i].prompt, options, nullptr, go);
      ASSERT_TRUE(one.ok()) << one.message();
      EXPECT_EQ(all->texts[i].reason, StopReason::kLength);
      EXPECT_FALSE(all->texts[i].text.empty());
      const std::vector<TokenId>&a = one->tokens, &b = all->texts[i].tokens;
      const auto differ = static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
      if (differ == a.size()) continue;
      // The attention over a shared prefix and over the rest are rounded apart, which may tip a near tie. The first
      // token of equal prompts comes from the same pass over the prompt.
      EXPECT_GE(differ, same ? 1u : 0u) << "sequence " << i;
      if (same) continue;
      Tokens text = texts[i].prompt;
      text.insert(text.end(), a.begin(), a.begin() + static_cast<ptrdiff_t>(differ));
      auto cache = engine->new_cache();
      ASSERT_TRUE(cache.ok()) << cache.message();
      const auto logits = engine->evaluate(text, *cache);
      ASSERT_TRUE(logits.ok()) << logits.message();
      const auto [low, high] = std::minmax_element(logits->begin(), logits->end());
      const float gap = std::abs((*logits)[static_cast<size_t>(a[differ])] - (*logits)[static_cast<size_t>(b[differ])]);
      EXPECT_LT(gap, 0.02f * (*high - *low)) << "sequence " << i << " token " << differ;
    }
    if (same) {
      EXPECT_NE(all->texts[0].tokens, all->texts[1].tokens) << "seeds differ";
    }
  }
}

class BatchLimits : public testing::Test {
 protected:
  void SetUp() override {
    test::write_model(test::random_model("llama", DType::kQ8_0), folder_ / "model.gguf");
    options_ = test::plain_options(folder_ / "model.gguf", 1);
  }
  TempFolder folder_;
  EngineOptions options_;
};

TEST_F(BatchLimits, AreNamed) {
  options_.sequences = 0;
  expect_error(Engine::open(options_).status(), {"0 sequences"});
  options_.sequences = 2;
  options_.kv_type = DType::kQ4_0;
  expect_error(Engine::open(options_).status(), {"q4_0", "q8_0"});
  options_.kv_type = DType::kF16;
  options_.context = 16;
  options_.ubatch = 1;
  auto engine = Engine::open(options_);
  ASSERT_TRUE(engine.ok()) << engine.message();
  EXPECT_EQ((*engine)->ubatch(), 2u) << "a step of all sequences is one pass";
  Tokens tokens = some_tokens(16);
  KvCache a = (*engine)->new_cache().value(), b = (*engine)->new_cache(5).value(), c = (*engine)->new_cache().value();
  expect_error((*engine)->evaluate(std::span<const SequenceTokens>{}).status(), {"no sequences"});
  const SequenceTokens three[] = {{&a, tokens}, {&b, tokens}, {&c, tokens}};
  expect_error((*engine)->evaluate(three).status(), {"3 sequences", "up to 2"});
  const SequenceTokens none[] = {{&a, tokens}, {&b, {}}};
  expect_error((*engine)->evaluate(none).status(), {"no tokens"});
  EXPECT_EQ(a.length(), 0u) << "nothing was evaluated";
  const Tokens wrong = {5, 259};
  const SequenceTokens outside[] = {{&a, tokens}, {&b, wrong}};
  expect_error((*engine)->evaluate(outside).status(), {"token 259"});
  ASSERT_TRUE((*engine)->evaluate(std::span(three).first(2)).ok()) << "capacities are whole panels";
  expect_error((*engine)->evaluate(std::span(three).first(2)).status(), {"context is full", "16"});
  auto other = KvCache::allocate(2, 2, 32, 16, DType::kQ8_0);
  ASSERT_TRUE(other.ok()) << other.message();
  const SequenceTokens typed[] = {{&*other, tokens}};
  expect_error((*engine)->evaluate(typed).status(), {"q8_0", "f16"});
  const std::atomic<bool> stop{true};
  c.set_length(0);
  expect_error((*engine)->evaluate(std::span(three).subspan(2), &stop).status(), {"cancelled"});
}

TEST_F(BatchLimits, CancelledAndFullTextsEnd) {
  options_.sequences = 3;
  options_.context = 32;
  auto engine = Engine::open(options_);
  ASSERT_TRUE(engine.ok()) << engine.message();
  const auto tokenizer = Tokenizer::from_gguf((*engine)->gguf());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.message();
  std::vector<Sampler> samplers;
  std::vector<BatchText> texts(3);
  for (size_t i = 0; i < texts.size(); ++i) samplers.push_back(*Sampler::create({}));
  for (size_t i = 0; i < texts.size(); ++i) texts[i] = {some_tokens(8 * (i + 1), i), &samplers[i]};
  const std::atomic<bool> go{false}, stop{true};
  auto all = generate_batch(**engine, *tokenizer, texts, {0, true}, nullptr, go);
  ASSERT_TRUE(all.ok()) << all.message();
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(all->texts[i].reason, StopReason::kContextFull);
    EXPECT_EQ(all->texts[i].tokens.size(), 32 - texts[i].prompt.size() + 1) << "shorter prompts go on without longer";
  }
  all = generate_batch(**engine, *tokenizer, texts, {0, true}, nullptr, stop);
  ASSERT_TRUE(all.ok()) << all.message();
  EXPECT_EQ(all->texts[1].reason, StopReason::kCancelled);
  EXPECT_EQ(all->generated_tokens, 0u);
  std::atomic<bool> later{false};
  all = generate_batch(**engine, *tokenizer, texts, {0, true}, [&](uint32_t n) { later.store(n == 3); }, later);
  ASSERT_TRUE(all.ok()) << all.message();
  EXPECT_EQ(all->texts[0].reason, StopReason::kCancelled);
  EXPECT_EQ(all->texts[0].tokens.size(), 3u);

  texts[1].prompt.clear();
  expect_error(generate_batch(**engine, *tokenizer, texts, {0, true}, nullptr, go).status(), {"empty"});
  texts[1].prompt = some_tokens(33);
  expect_error(generate_batch(**engine, *tokenizer, texts, {0, true}, nullptr, go).status(), {"33", "32"});
  texts.resize(4, texts[0]);
  expect_error(generate_batch(**engine, *tokenizer, texts, {0, true}, nullptr, go).status(), {"4 texts", "up to 3"});
}

}  // namespace
}  // namespace smepilot
