// The arithmetic of perplexity: on a model whose every prediction is known, and on a random one against the oracle's
// logits, scored here token by token.
#include "engine/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "graph_oracle.h"
#include "random_model.h"

namespace smepilot {
namespace {

using test::Oracle;
using test::some_tokens;
using test::TempFolder;
using test::Tokens;

std::unique_ptr<Engine> open_engine(const std::string& path, uint32_t ubatch = 512, DType kv_type = DType::kF16) {
  EngineOptions options;
  options.model = path;
  options.plan.mode = PlanMode::kNone;
  options.workers = 2;
  options.ubatch = ubatch;
  options.kv_type = kv_type;
  auto engine = Engine::open(options);
  EXPECT_TRUE(engine.ok()) << engine.message();
  return engine.ok() ? std::move(engine).value() : nullptr;
}

const std::atomic<bool> kGo{false};

// With a final norm of zeros all logits are zero: every token is as probable as any other.
TEST(Perplexity, OfAModelThatKnowsNothingIsItsVocabulary) {
  TempFolder folder;
  const std::string path = folder / "model.gguf";
  test::write_model(test::random_model("llama", DType::kF32), path);
  std::string norm;
  {
    const auto file = GgufFile::open(path);
    ASSERT_TRUE(file.ok()) << file.message();
    const GgufTensor* t = file->tensor("output_norm.weight");
    ASSERT_NE(t, nullptr);
    norm.assign(reinterpret_cast<const char*>(t->bytes.data()), t->bytes.size());
  }
  std::string bytes = test::read_text(path);
  const size_t at = bytes.find(norm);
  ASSERT_NE(at, std::string::npos);
  bytes.replace(at, norm.size(), norm.size(), '\0');
  test::write_text(path, bytes);

  const auto engine = open_engine(path);
  ASSERT_NE(engine, nullptr);
  const auto p = measure_perplexity(*engine, some_tokens(100), 32, kNoToken, nullptr, kGo);
  ASSERT_TRUE(p.ok()) << p.message();
  EXPECT_EQ(p->all_chunks, 3u);
  EXPECT_EQ(p->chunks, 3u);
  EXPECT_EQ(p->scored, 3u * 15);
  EXPECT_NEAR(p->value(), test::kModelVocab, 1e-3);
  EXPECT_NEAR(p->error(), 0, 1e-3);
}

TEST(Perplexity, AgreesWithTheOracle) {
  TempFolder folder;
  const std::string path = folder / "model.gguf";
  for (const char* architecture : {"llama", "qwen2"}) {
    test::write_model(test::random_model(architecture, DType::kF32, {.head_dim = 32}),
                      path);  // heads that Q8_0 can hold
    constexpr uint32_t kContext = 22;
    const Tokens text = some_tokens(3 * kContext + 5);
    double sum = 0, squares = 0;
    size_t scored = 0;
    const auto engine = open_engine(path);
    ASSERT_NE(engine, nullptr);
    for (size_t chunk = 0; chunk < 3; ++chunk) {
      const auto begin = text.begin() + static_cast<std::ptrdiff_t>(chunk * kContext);
      Tokens tokens(begin, begin + kContext);
      tokens[0] = 1;
      const std::vector<double> logits = Oracle(engine->file()).logits(tokens);
      for (size_t i = kContext / 2; i + 1 < kContext; ++i) {
        const double* row = logits.data() + i * test::kModelVocab;
        double all = 0;
        for (size_t v = 0; v < test::kModelVocab; ++v) all += std::exp(row[v]);
        const double nll = std::log(all) - row[tokens[i + 1]];
        sum += nll;
        squares += nll * nll;
        ++scored;
      }
    }
    const double n = static_cast<double>(scored), mean = sum / n;
    const double deviation = std::sqrt((squares - n * mean * mean) / (n - 1));  // of one token
    for (const uint32_t ubatch : {512u, 4u}) {
      const auto again = open_engine(path, ubatch);
      ASSERT_NE(again, nullptr);
      std::vector<double> estimates;
      const auto p = measure_perplexity(
          *again, text, kContext, 1, [&](const Perplexity& so_far) { estimates.push_back(so_far.value()); }, kGo);
      ASSERT_TRUE(p.ok()) << p.message();
      EXPECT_EQ(p->scored, scored);
      EXPECT_NEAR(p->value(), std::exp(mean), 2e-3 * std::exp(mean));
      EXPECT_NEAR(p->error(), std::exp(mean) * deviation / std::sqrt(n), 5e-3 * p->error());
      ASSERT_EQ(estimates.size(), 3u);
      EXPECT_EQ(estimates[2], p->value());
      EXPECT_NE(estimates[0], estimates[1]);
    }
    // The first token counts, and so does where chunks begin.
    const auto other = measure_perplexity(*engine, text, kContext, kNoToken, nullptr, kGo);
    ASSERT_TRUE(other.ok()) << other.message();
    EXPECT_GT(std::fabs(other->value() / std::exp(mean) - 1), 5e-3);
    const auto compressed = open_engine(path, 512, DType::kQ8_0);
    ASSERT_NE(compressed, nullptr);
    const auto q8 = measure_perplexity(*compressed, text, kContext, 1, nullptr, kGo);
    ASSERT_TRUE(q8.ok()) << q8.message();
    EXPECT_NEAR(q8->value(), std::exp(mean), 0.03 * std::exp(mean));
  }
}

TEST(Perplexity, WantsAChunkAndMayBeInterrupted) {
  TempFolder folder;
  test::write_model(test::random_model("llama", DType::kQ8_0), folder / "model.gguf");
  const auto engine = open_engine(folder / "model.gguf");
  ASSERT_NE(engine, nullptr);
  auto p = measure_perplexity(*engine, some_tokens(31), 32, kNoToken, nullptr, kGo);
  ASSERT_FALSE(p.ok());
  EXPECT_NE(p.message().find("31 tokens"), std::string::npos) << p.message();
  EXPECT_FALSE(measure_perplexity(*engine, some_tokens(31), 3, kNoToken, nullptr, kGo).ok());
  EXPECT_FALSE(measure_perplexity(*engine, some_tokens(300), 256, kNoToken, nullptr, kGo).ok()) << "beyond the context";
  std::atomic<bool> stop{false};
  p = measure_perplexity(*engine, some_tokens(100), 32, kNoToken, [&](const Perplexity&) { stop.store(true); }, stop);
  ASSERT_TRUE(p.ok()) << p.message();
  EXPECT_EQ(p->chunks, 1u);
  EXPECT_EQ(p->scored, 15u);
  EXPECT_EQ(p->all_chunks, 3u);
  EXPECT_GT(p->value(), 1);
  const std::string json = perplexity_json(*p, *engine);
  for (const char* part : {"\"chunks\": 1", "\"all_chunks\": 3", "\"n_ctx\": 32", "\"type_k\": \"f16\""})
    EXPECT_NE(json.find(part), std::string::npos) << part << " in " << json;
}

}  // namespace
}  // namespace smepilot
