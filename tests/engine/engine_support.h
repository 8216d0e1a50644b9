// What tests of whole engines have in common: opening one, evaluating tokens, and how errors and logits are judged.
#pragma once
#include <gtest/gtest.h>

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "graph_oracle.h"
#include "random_model.h"

namespace smepilot::test {

using Logits = Transformer::Logits;

// Without a plan or a cache on disk.
inline EngineOptions plain_options(const std::string& model, unsigned workers = 2) {
  EngineOptions options;
  options.model = model;
  options.plan.mode = PlanMode::kNone;
  options.workers = workers;
  return options;
}

inline std::unique_ptr<Engine> open_engine(const EngineOptions& options) {
  auto engine = Engine::open(options);
  EXPECT_TRUE(engine.ok()) << engine.message();
  return engine.ok() ? std::move(engine).value() : nullptr;
}
inline std::unique_ptr<Engine> open_engine(const std::string& model, uint32_t ubatch = 512, unsigned workers = 2,
                                           uint32_t context = 0) {
  EngineOptions options = plain_options(model, workers);
  options.ubatch = ubatch;
  options.context = context;
  return open_engine(options);
}

inline std::vector<float> evaluate(Engine& engine, KvCache& cache, const Tokens& tokens, Logits logits) {
  const auto r = engine.evaluate(tokens, cache, logits);
  EXPECT_TRUE(r.ok()) << r.message();
  return r.ok() ? std::vector<float>(r->begin(), r->end()) : std::vector<float>{};
}

// Of these tokens in an empty cache: of every one in one call, or of the last.
inline std::vector<float> logits_of(Engine& engine, const Tokens& tokens, Logits logits) {
  auto cache = engine.new_cache();
  EXPECT_TRUE(cache.ok()) << cache.message();
  return evaluate(engine, *cache, tokens, logits);
}
inline std::vector<float> all_logits(Engine& engine, const Tokens& tokens) {
  return logits_of(engine, tokens, Logits::kAll);
}

// How alike logits must be that were computed in different ways: nothing but the cache is rounded, or activations are
// too, to 16 bits on some units where weights have as many, to 8 where they are quantised, which may tip a value over.
inline double same_enough(DType weights, DType cache = DType::kF16) {
  return weights == DType::kF32 && cache == DType::kF16 ? 0.99999 : 0.999;
}

// A model's graph with a dispatch table of the test's own, which an engine would make of a plan.
struct Graph {
  GgufFile gguf;
  ModelFile file;
  WorkerPool pool{2};
  Weights weights;
  Dispatch dispatch;
  std::optional<Transformer> transformer;
  std::optional<KvCache> cache;
  Stats stats;

  static std::unique_ptr<Graph> open(const std::string& path, const Dispatch::Lookup& lookup) {
    auto g = std::make_unique<Graph>();
    const Status status = [&]() -> Status {
      SMEPILOT_ASSIGN(g->gguf, GgufFile::open(path));
      SMEPILOT_ASSIGN(g->file, ModelFile::load(g->gguf));
      g->weights = Weights::describe(g->file);
      SMEPILOT_TRY(g->weights.load(g->gguf, g->pool, {}));
      SMEPILOT_ASSIGN(g->dispatch,
                      Dispatch::build(g->file.shape(), kModelContext, kModelContext, g->pool.size(), lookup));
      const HyperParameters& hp = g->file.hyper;
      SMEPILOT_ASSIGN(g->cache, KvCache::allocate(hp.layers, hp.kv_heads, hp.head_dim, kModelContext, DType::kF16));
      return g->start();
    }();
    EXPECT_TRUE(status.ok()) << status.message();
    return status.ok() ? std::move(g) : nullptr;
  }
  // Again, after a change of the dispatch table.
  Status start() {
    SMEPILOT_ASSIGN(transformer, Transformer::create(file, weights, dispatch, pool, {kModelContext, 1, kModelContext}));
    cache->set_length(0);
    stats.clear();
    transformer->set_stats(&stats);
    return {};
  }
  // Of the last of these tokens, which go behind those that the cache holds.
  std::vector<float> logits(const Tokens& tokens) {
    const SequenceTokens sequence{&*cache, tokens};
    const std::span<const float> row = transformer->forward({&sequence, 1});
    return {row.begin(), row.end()};
  }
};

inline void expect_error(const Status& status, std::initializer_list<std::string> parts) {
  ASSERT_FALSE(status.ok());
  for (const std::string& p : parts)
    EXPECT_NE(status.message().find(p), std::string::npos) << "'" << p << "' in: " << status.message();
}

}  // namespace smepilot::test
