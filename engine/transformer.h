// The forward pass. One function serves every Llama-like architecture: what differs (rotary style, q/k norms, experts)
// is data in ModelFile and the presence of weights, so a new architecture is a row in its table.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "engine/dispatch.h"
#include "engine/kv_cache.h"
#include "engine/stats.h"
#include "engine/weights.h"
#include "profiles/model_file.h"

namespace smepilot {

class Transformer {
 public:
  // `max_batch` tokens at most per forward() (longer inputs are the caller's to cut), `capacity` positions of rotary
  // table. Everything referenced must outlive the Transformer.
  static Result<Transformer> create(const ModelFile& file, const Weights& weights, const Dispatch& dispatch,
                                    WorkerPool& pool, uint32_t max_batch, uint32_t capacity);

  enum class Logits : uint8_t { kNone, kLast, kAll };

  // Runs tokens (at positions cache.length() …) and appends them to the cache. Returns logits [rows][vocab], rows = 0,
  // 1 or tokens.size(), valid until the next call. Preconditions: 1 <= tokens.size() <= max_batch, ids < vocab, room in
  // the cache.
  std::span<const float> forward(std::span<const int32_t> tokens, KvCache& cache, Logits logits = Logits::kLast);

  void set_stats(Stats* stats) noexcept { stats_ = stats; }
  uint32_t max_batch() const noexcept { return max_batch_; }
  size_t scratch_bytes() const noexcept { return arena_.size(); }

 private:
  struct LayerIds {  // indices into the dispatch table
    uint32_t q, k, v, output, gate, up, down, router;
  };

  Transformer() = default;
  void embed(std::span<const int32_t> tokens);
  // x += residual (if any); norm_ = rmsnorm(x) * weight. Here and below, `group` is of the consumers: 0 where none
  // reads the quantised form, else it is made in q8_ with that many elements to a scale.
  LhsOperand norm(uint32_t m, const float* weight, const float* residual, uint32_t group);
  LhsOperand quantise(const float* x, uint32_t m, uint32_t k, uint32_t group);
  void attention_block(const LayerWeights& w, const LayerIds& id, const LhsOperand& x, const AttentionSequence& sequence, uint32_t pos,
                       uint32_t m, bool rotated);
  void dense_ffn(const LayerWeights& w, const LayerIds& id, const LhsOperand& x, uint32_t m);
  void moe_ffn(const LayerWeights& w, const LayerIds& id, const LhsOperand& x, uint32_t m);
  LhsOperand swiglu(uint32_t rows, uint32_t cols, uint32_t group);
  void quantise_experts(const float* x, uint32_t k, uint32_t group, std::byte* dst);
  uint32_t q8_group(std::initializer_list<uint32_t> matrix_ids) const;
  void run_group(const char* role, std::span<const MatmulCall> calls);

  const ModelFile* file_ = nullptr;
  const Weights* weights_ = nullptr;
  const Dispatch* dispatch_ = nullptr;
  WorkerPool* pool_ = nullptr;
  Stats* stats_ = nullptr;
  uint32_t max_batch_ = 0, capacity_ = 0;
  std::vector<LayerIds> ids_;
  uint32_t output_id_ = 0;

  AlignedBuffer arena_;             // holds all of the following
  float* x_ = nullptr;              // [max_batch][embedding] residual stream
  float* norm_ = nullptr;           // [max_batch][embedding]
  float* q_ = nullptr;              // [max_batch][heads*head_dim]
  float* k_ = nullptr;              // [max_batch][kv_heads*head_dim]
  float* v_ = nullptr;              // [max_batch][kv_heads*head_dim]
  float* attn_ = nullptr;           // [max_batch][heads*head_dim]
  float* proj_ = nullptr;           // [max_batch][embedding] output of a block before the residual addition
  float* gate_ = nullptr;           // [rows][feed_forward], rows = max_batch (x experts_used)
  float* up_ = nullptr;             // likewise
  float* expert_in_ = nullptr;      // [max_batch*experts_used][embedding] rows gathered by expert
  float* expert_out_ = nullptr;     // [max_batch*experts_used][embedding]
  float* router_ = nullptr;         // [max_batch][experts]
  float* rope_ = nullptr;           // [capacity][2][rope_dims/2]
  std::byte* q8_ = nullptr;         // quantised left operand
  std::byte* expert_q8_ = nullptr;  // quantised, gathered by expert
  std::byte* attn_scratch_ = nullptr;
  std::vector<float> logits_;
  std::vector<uint32_t> expert_rows_, expert_first_;   // rows sorted by expert, and where each expert begins
  std::vector<uint32_t> expert_chosen_, expert_next_;  // routing scratch
  std::vector<float> expert_weight_;
  std::vector<MatmulCall> calls_;
};

}  // namespace smepilot
