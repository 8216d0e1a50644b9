#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace smepilot {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

SamplerOptions plain(float temperature = 1.0f) {
  SamplerOptions o;
  o.temperature = temperature;
  o.top_k = 0;
  o.top_p = 1.0f;
  o.min_p = 0.0f;
  o.seed = 42;
  return o;
}

std::vector<int> draw(const SamplerOptions& options, const std::vector<float>& logits, int draws) {
  auto sampler = Sampler::create(options);
  EXPECT_TRUE(sampler.ok()) << sampler.message();
  std::vector<int> counts(logits.size());
  for (int i = 0; i < draws; ++i) {
    const int32_t token = sampler->sample(logits);
    EXPECT_GE(token, 0);
    EXPECT_LT(static_cast<size_t>(token), logits.size());
    ++counts[static_cast<size_t>(token)];
  }
  return counts;
}

// Pearson's statistic of the counts against softmax(logits / temperature) over the tokens in `kept`.
double chi_square(const std::vector<int>& counts, const std::vector<float>& logits, double temperature,
                  const std::set<size_t>& kept) {
  double total = 0, statistic = 0;
  int draws = 0;
  for (const size_t t : kept) total += std::exp(static_cast<double>(logits[t]) / temperature);
  for (size_t t = 0; t < counts.size(); ++t) {
    draws += counts[t];
    if (kept.count(t) == 0) {
      EXPECT_EQ(counts[t], 0) << "token " << t << " should have been left out";
    }
  }
  for (const size_t t : kept) {
    const double expected = draws * std::exp(static_cast<double>(logits[t]) / temperature) / total;
    statistic += (counts[t] - expected) * (counts[t] - expected) / expected;
  }
  return statistic;
}

const std::vector<float> kLogits = {0.0f, 1.0f, -1.0f, 2.0f, 0.5f, -0.5f, 1.5f, 0.25f};
const std::set<size_t> kAll = {0, 1, 2, 3, 4, 5, 6, 7};

TEST(Random, IsXoshiro256StarStarSeededBySplitMix64) {
  // SplitMix64 of seed 0 begins with these four (its reference implementation); the first draw follows by hand:
  // rotl(s[1] * 5, 7) * 9.
  const uint64_t s1 = 0x6e789e6aa1b965f4u;
  const uint64_t x = s1 * 5;
  EXPECT_EQ(Random(0).next(), (x << 7 | x >> 57) * 9);
  Random r(0);
  double low = 1, high = 0, sum = 0;
  for (int i = 0; i < 10000; ++i) {
    const double u = r.uniform();
    low = std::min(low, u);
    high = std::max(high, u);
    sum += u;
  }
  EXPECT_GE(low, 0.0);
  EXPECT_LT(high, 1.0);
  EXPECT_NEAR(sum / 10000, 0.5, 0.02);
}

// 7 degrees of freedom: above 24.3 with probability 0.001. The seed is fixed, so this either always or never fails.
TEST(Sampler, DrawsFromTheSoftmax) {
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    const auto counts = draw(plain(temperature), kLogits, 20000);
    EXPECT_LT(chi_square(counts, kLogits, static_cast<double>(temperature), kAll), 24.3) << temperature;
  }
  // The test can tell a wrong temperature.
  EXPECT_GT(chi_square(draw(plain(1.1f), kLogits, 20000), kLogits, 1.0, kAll), 24.3);
}

TEST(Sampler, TopKKeepsTheBest) {
  SamplerOptions o = plain();
  o.top_k = 3;
  EXPECT_LT(chi_square(draw(o, kLogits, 20000), kLogits, 1.0, {3, 6, 1}), 13.8);
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  // Probabilities in order: token 3 0.380, 6 0.230, 1 0.140, 4 0.085, …
  SamplerOptions o = plain();
  o.top_p = 0.5f;
  EXPECT_LT(chi_square(draw(o, kLogits, 20000), kLogits, 1.0, {3, 6}), 10.8);
  o.top_p = 0.7f;
  EXPECT_LT(chi_square(draw(o, kLogits, 20000), kLogits, 1.0, {3, 6, 1}), 13.8);
  o.top_p = 0.01f;
  EXPECT_EQ(draw(o, kLogits, 100)[3], 100);
  // It works on what top-k left: of the two best, token 3 has 0.62.
  o.top_k = 2;
  o.top_p = 0.6f;
  EXPECT_EQ(draw(o, kLogits, 100)[3], 100);
  // Temperature comes after it, so that a hot one does not change what is kept.
  o = plain(5.0f);
  o.top_p = 0.5f;
  EXPECT_LT(chi_square(draw(o, kLogits, 20000), kLogits, 5.0, {3, 6}), 10.8);
}

TEST(Sampler, MinPKeepsAShareOfTheBest) {
  SamplerOptions o = plain();
  o.min_p = 0.3f;  // logits above 2 + ln 0.3 = 0.796
  EXPECT_LT(chi_square(draw(o, kLogits, 20000), kLogits, 1.0, {3, 6, 1}), 13.8);
  o.min_p = 1.0f;
  EXPECT_EQ(draw(o, kLogits, 100)[3], 100);
}

TEST(Sampler, LargeVocabulariesAreCutAsSmallOnes) {
  std::vector<float> logits(130000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>((i * 7919) % 130000) * 1e-4f;
  SamplerOptions o = plain();
  o.top_k = 1000;
  o.top_p = 0.9999f;
  o.min_p = 0.0f;
  auto sampler = Sampler::create(o);
  ASSERT_TRUE(sampler.ok());
  for (int i = 0; i < 50; ++i) {
    const auto token = static_cast<size_t>(sampler->sample(logits));
    EXPECT_GE(logits[token], 129000 * 1e-4f - 1e-3f);
  }
  o.top_k = 0;  // without top-k many candidates take part in top-p
  o.top_p = 0.5f;
  sampler = Sampler::create(o);
  for (int i = 0; i < 50; ++i) {
    // The best x of 13: half of the total mass is within ln 2 of the best.
    EXPECT_GE(logits[static_cast<size_t>(sampler->sample(logits))], 13.0f - 0.7f);
  }
}

TEST(Sampler, GreedyTakesTheFirstOfTheBest) {
  auto sampler = Sampler::create(plain(0.0f));
  ASSERT_TRUE(sampler.ok());
  EXPECT_EQ(sampler->sample(std::vector<float>{1, 3, 2, 3}), 1);
  EXPECT_EQ(sampler->sample(std::vector<float>{-5, -kInfinity, -2}), 2);
  EXPECT_EQ(sampler->sample(std::vector<float>{NAN, -1, NAN}), 1);
  EXPECT_EQ(sampler->sample(std::vector<float>{NAN, NAN}), 0);
}

TEST(Sampler, PenaltyMakesRecentTokensLessLikely) {
  SamplerOptions o = plain(0.0f);
  o.repeat_penalty = 2.0f;
  o.repeat_window = 2;
  auto sampler = Sampler::create(o);
  ASSERT_TRUE(sampler.ok());
  const std::vector<float> logits = {3, 2, 1.8f, -0.5f};
  EXPECT_EQ(sampler->sample(logits), 0);
  sampler->accept(0);
  EXPECT_EQ(sampler->sample(logits), 1);  // 1.5, 2, 1.8
  sampler->accept(1);
  EXPECT_EQ(sampler->sample(logits), 2);  // 1.5, 1, 1.8
  sampler->accept(2);
  EXPECT_EQ(sampler->sample(logits), 0);  // 0 has left the window
  sampler->accept(-7);
  sampler->accept(1 << 30);  // not of this vocabulary: no effect
  EXPECT_EQ(sampler->sample(logits), 0);
  sampler->reset();
  sampler->accept(0);
  EXPECT_EQ(sampler->sample(std::vector<float>{-1.0f, -1.5f}), 1);  // -2, -1.5
}

TEST(Sampler, SameSeedSameDraws) {
  SamplerOptions o;
  o.seed = 7;
  auto a = Sampler::create(o), b = Sampler::create(o);
  ASSERT_TRUE(a.ok() && b.ok());
  std::vector<int32_t> first;
  for (int i = 0; i < 200; ++i) {
    first.push_back(a->sample(kLogits));
    EXPECT_EQ(first.back(), b->sample(kLogits));
  }
  a->reset();
  for (const int32_t token : first) EXPECT_EQ(a->sample(kLogits), token);
  o.seed = 8;
  auto c = Sampler::create(o);
  int equal = 0;
  for (const int32_t token : first) equal += c->sample(kLogits) == token;
  EXPECT_LT(equal, 120);
}

TEST(Sampler, SurvivesOddLogits) {
  for (const std::vector<float>& logits : {std::vector<float>{NAN, NAN, NAN},
                                           {-kInfinity, -kInfinity},
                                           {kInfinity, 1, kInfinity},
                                           {NAN, 1, -kInfinity},
                                           {1e38f, -1e38f},
                                           {5}}) {
    const auto counts = draw(SamplerOptions(), logits, 50);
    for (size_t i = 1; i < logits.size(); ++i) {  // token 0 is the answer where no logit is a number
      if (std::isnan(logits[i]) || logits[i] == -kInfinity) {
        EXPECT_EQ(counts[i], 0);
      }
    }
  }
}

TEST(Sampler, OptionsOutOfRangeAreNamed) {
  const auto message = [](auto change) {
    SamplerOptions o;
    change(o);
    return Sampler::create(o).message();
  };
  EXPECT_EQ(message([](SamplerOptions& o) { o.temperature = -1; }), "temperature is -1, expected 0 to 1000");
  EXPECT_NE(message([](SamplerOptions& o) { o.temperature = NAN; }).find("temperature"), std::string::npos);
  EXPECT_NE(message([](SamplerOptions& o) { o.top_p = 0; }).find("top-p"), std::string::npos);
  EXPECT_NE(message([](SamplerOptions& o) { o.min_p = 1.5f; }).find("min-p"), std::string::npos);
  EXPECT_NE(message([](SamplerOptions& o) { o.repeat_penalty = 0; }).find("repetition penalty"), std::string::npos);
  EXPECT_NE(message([](SamplerOptions& o) { o.repeat_window = 1u << 21; }).find("repetition window"),
            std::string::npos);
}

}  // namespace
}  // namespace smepilot
