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

#include "engine/memory_budget.h"
#include "engine/plan_source.h"
#include "engine/transformer.h"
#include "engine/weight_cache.h"
#include "profiles/memory.h"

namespace smepilot {

struct EngineOptions {
  std::string model;  // path of a GGUF file
  PlanRequest plan;
  unsigned workers = 0;                      // 0: the plan's, or all physical cores
  uint32_t context = 0;                      // positions of the KV cache, 0: the model's context, at most 4096
  uint32_t ubatch = 512;                     // tokens per forward pass of a prompt
  uint32_t sequences = 1;                    // how many one forward pass can decode together
  DType kv_type = DType::kF16;               // what the KV cache holds: kF16 or kQ8_0
  WeightCacheOptions cache;                  // of packed weights; by default none
  bool force_memory = false;                 // run even if memory seems too small
  std::optional<AvailableMemory> available;  // instead of asking the system, for tests
  std::function<void(const char* stage, double fraction)> progress;
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> open(const EngineOptions& options);

  // Room for `capacity` positions; 0: for the whole context.
  Result<KvCache> new_cache(uint32_t capacity = 0) const;

  // Appends the tokens to the cache, `ubatch` at a time, and returns logits [vocab] of the last one (or [n][vocab] of
  // all, kAll), valid until the next call. Errors: a token outside the vocabulary, the context is full. `cancel`, if
  // given, is looked at between batches; a cancelled evaluation is an error that says so.
  Result<std::span<const float>> evaluate(std::span<const int32_t> tokens, KvCache& cache,
                                          Transformer::Logits logits = Transformer::Logits::kLast,
                                          const std::atomic<bool>* cancel = nullptr);

  // The same for several sequences, whose tokens share the forward passes: one pass if all of them together are at most
  // `ubatch`. Returns logits [sequences][vocab] of each one's last token. The caches are different ones.
  Result<std::span<const float>> evaluate(std::span<const SequenceTokens> batch,
                                          const std::atomic<bool>* cancel = nullptr);

  const GgufFile& gguf() const noexcept { return gguf_; }
  const ModelFile& file() const noexcept { return file_; }
  const ModelShape& shape() const noexcept { return shape_; }
  const Platform& platform() const noexcept { return platform_; }
  const PlanChoice& plan() const noexcept { return plan_; }
  // "auto", or what every operator that can be is executed by: "cpu", the matrix unit's name, "coop".
  std::string mode() const;
  const Weights& weights() const noexcept { return weights_; }
  // Waits until packed weights are stored in the cache. Error: they could not be.
  Status finish_cache() { return weights_.finish_cache(); }
  unsigned workers() const noexcept { return pool_->size(); }
  uint32_t ubatch() const noexcept { return transformer_->limits().rows; }
  uint32_t sequences() const noexcept { return transformer_->limits().sequences; }
  DType kv_type() const noexcept { return dispatch_.kv_type(); }
  WorkerPool& pool() noexcept { return *pool_; }
  uint32_t context() const noexcept { return context_; }
  uint32_t vocab() const noexcept { return file_.hyper.vocab; }
  size_t scratch_bytes() const noexcept { return transformer_->scratch_bytes(); }
  // What it holds: weights as packed, the scratch of a pass, and the caches and logits of all sequences at full
  // context.
  MemoryNeed memory() const noexcept;
  unsigned uncovered_shapes() const noexcept { return uncovered_; }
  // nullptr: nothing is recorded. Returns what was set before.
  Stats* set_stats(Stats* stats) noexcept { return transformer_->set_stats(stats); }
  // Of this engine's workers; may be nullptr.
  void set_adaptation(Adaptation* adaptation) noexcept { transformer_->set_adaptation(adaptation); }
  // Whether the plan (or what stands in for it) lets both units share any matmul.
  bool shares_matmuls() const noexcept { return dispatch_.any_coop_matmul(); }

 private:
  Engine() = default;
  Status check(const SequenceTokens& sequence) const;

  GgufFile gguf_;
  ModelFile file_;
  ModelShape shape_;
  Platform platform_;
  PlanChoice plan_;
  std::unique_ptr<WorkerPool> pool_;
  Weights weights_;
  Dispatch dispatch_;
  std::optional<Transformer> transformer_;
  std::vector<float> all_logits_;            // of several passes, in one piece
  std::vector<SequenceTokens> rest_, pass_;  // scratch of evaluate()
  uint32_t context_ = 0;
  unsigned uncovered_ = 0;
  MemoryNeed need_;  // as it was estimated
};

}  // namespace smepilot
