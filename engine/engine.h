// A model ready to run: file, plan, packed weights, workers and forward pass behind one object.
//
//   auto engine = Engine::open({.model = "model.gguf"});
//   auto cache = engine->new_cache();
//   auto logits = engine->evaluate(tokens, *cache);
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "engine/plan_source.h"
#include "engine/transformer.h"

namespace smepilot {

struct EngineOptions {
  std::string model;  // path of a GGUF file
  PlanRequest plan;
  unsigned workers = 0;  // 0: the plan's, or all physical cores
  uint32_t context = 0;  // positions of the KV cache, 0: the model's context, at most 4096
  uint32_t batch = 512;  // tokens per forward pass of a prompt
  std::function<void(const char* stage, double fraction)> progress;
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> open(const EngineOptions& options);

  Result<KvCache> new_cache() const;

  // Appends the tokens to the cache, `batch` at a time, and returns logits [vocab] of the last one (or [n][vocab] of
  // all, kAll), valid until the next call. Errors: a token outside the vocabulary, the context is full. `cancel`, if
  // given, is looked at between batches; a cancelled evaluation is an error that says so.
  Result<std::span<const float>> evaluate(std::span<const int32_t> tokens, KvCache& cache,
                                          Transformer::Logits logits = Transformer::Logits::kLast,
                                          const std::atomic<bool>* cancel = nullptr);

  const GgufFile& gguf() const noexcept { return gguf_; }
  const ModelFile& file() const noexcept { return file_; }
  const ModelShape& shape() const noexcept { return shape_; }
  const Platform& platform() const noexcept { return platform_; }
  const PlanChoice& plan() const noexcept { return plan_; }
  const Weights& weights() const noexcept { return weights_; }
  unsigned workers() const noexcept { return pool_->size(); }
  uint32_t batch() const noexcept { return transformer_->max_batch(); }
  uint32_t context() const noexcept { return context_; }
  uint32_t vocab() const noexcept { return file_.hyper.vocab; }
  unsigned uncovered_shapes() const noexcept { return uncovered_; }
  void set_stats(Stats* stats) noexcept { transformer_->set_stats(stats); }

 private:
  Engine() = default;

  GgufFile gguf_;
  ModelFile file_;
  ModelShape shape_;
  Platform platform_;
  PlanChoice plan_;
  std::unique_ptr<WorkerPool> pool_;
  Weights weights_;
  Dispatch dispatch_;
  std::optional<Transformer> transformer_;
  std::vector<float> all_logits_;
  uint32_t context_ = 0;
  unsigned uncovered_ = 0;
};

}  // namespace smepilot
