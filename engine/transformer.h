// The forward pass. One function serves every Llama-like architecture: what differs (profiles/architecture.h) is data
// in ModelFile and the presence of weights. It takes new tokens of one or of several sequences: all rows go through the
// matmuls together, so that a step reads the weights once, while positions, caches and attention are each sequence's.
#pragma once
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/adaptation.h"
#include "engine/dispatch.h"
#include "engine/kv_cache.h"
#include "engine/layout_state.h"
#include "engine/stats.h"
#include "engine/weights.h"
#include "profiles/model_file.h"

namespace smepilot {

class Carver;
class Timing;

// New tokens of one sequence, to be appended to its cache.
struct SequenceTokens {
  KvCache* cache = nullptr;
  std::span<const int32_t> tokens;  // at least one
};

struct TransformerLimits {
  uint32_t rows = 512;      // tokens of all sequences together per forward()
  uint32_t sequences = 1;   // per forward()
  uint32_t capacity = 512;  // positions of a sequence
};

class Transformer {
 public:
  // Everything referenced must outlive the Transformer.
  static Result<Transformer> create(const ModelFile& file, const Weights& weights, const Dispatch& dispatch,
                                    WorkerPool& pool, const TransformerLimits& limits);

  enum class Logits : uint8_t { kNone, kLast, kAll };

  // Runs the tokens of each sequence (at its positions cache.length() …) and appends them to its cache. Returns logits
  // [rows][vocab], valid until the next call: none, those of each sequence's last token, or of every token in the order
  // given. Preconditions: within the limits, ids < vocab, room in the caches, which are different ones and of the
  // dispatch's KV type.
  std::span<const float> forward(std::span<const SequenceTokens> batch, Logits logits = Logits::kLast);

  Stats* set_stats(Stats* stats) noexcept { return std::exchange(stats_, stats); }
  // May execute operators otherwise than the dispatch table says; nullptr: nothing may. Of this pool's workers.
  void set_adaptation(Adaptation* adaptation) noexcept { adaptation_ = adaptation; }
  // The conversions that a pass of m rows needs, `outputs` of which go on to the logits, with this dispatch table: 0
  // where it gives all consumers of each producer one form. What experts need depends on their rows and is not priced.
  Conversions priced_conversions(uint32_t m, uint32_t outputs) const;
  const TransformerLimits& limits() const noexcept { return limits_; }
  size_t scratch_bytes() const noexcept { return arena_.size(); }

 private:
  struct ExpertPanel {  // up to kPanel consecutive rows of one expert
    uint32_t expert, row, count;
  };

  Transformer() = default;
  // Bytes to the row that the packed forms of an operator's results take at most.
  struct PackedBytes {
    size_t layer = 0;            // of a token: norms, attention
    size_t gathered = 0;         // of a routed row, before the experts
    size_t swiglu = 0;           // of a token, or of a routed row
    bool gathered_rows = false;  // whether routed rows are kept as floats
  };
  PackedBytes packed_bytes() const;
  void carve(Carver& carver, const PackedBytes& packed);
  void fill_rope_table();
  uint32_t place(std::span<const SequenceTokens> batch);
  void embed(std::span<const SequenceTokens> batch, uint32_t m);
  // x += residual (if any); norm_ = rmsnorm(x) * weight, and the forms of it, in packed_. Likewise below.
  LeftOperand norm(uint32_t m, const float* weight, const float* residual, const FormSet& forms);
  LeftOperand pack_attention(uint32_t m, const FormSet& forms);
  void attention_block(uint32_t layer, const LeftOperand& x, std::span<const SequenceTokens> batch);
  unsigned rotate(const LayerWeights& w, uint32_t m, bool rotated);  // returns how many workers did it
  void attend(uint32_t m);
  void dense_ffn(const LayerWeights& w, const LayerMatrices& id, const LeftOperand& x);
  LeftOperand swiglu(uint32_t rows, uint32_t cols, const FormSet& forms);
  // transformer_moe.cc
  void moe_ffn(const LayerWeights& w, const LayerMatrices& id, const LeftOperand& x);
  // One token's experts all read the same row; of more, each expert's rows are gathered.
  static bool gathers(uint32_t m) noexcept { return m > 1; }
  void choose_experts(uint32_t m);
  void place_experts(GraphNode producer, const LayerMatrices& id, const float* rows, uint32_t k, std::byte* packed,
                     size_t row_bytes);
  void gather_rows();
  void swiglu_experts(uint32_t cols);
  void convert_experts();
  void combine_experts(uint32_t m);
  uint32_t last_rows(std::span<const SequenceTokens> batch);

  MatmulCall call(uint32_t matrix_id, const PackedMatrix& weights, const LeftOperand& x, float* dst,
                  size_t dst_stride) const;
  // The forms of x behind the first.
  void convert(const LeftOperand& x);
  void run_group(const char* role, std::span<const MatmulCall> calls);
  // Element-wise work on m rows by `workers` workers, or fewer: fn(worker, workers). Returns how many.
  template <typename Fn>
  unsigned run_elementwise(const char* role, unsigned workers, uint32_t m, Fn fn) {
    if (adaptation_ == nullptr || workers < 2) {
      pool_->run(workers, fn);
      return workers;
    }
    const unsigned taken = adaptation_->configure(role, workers, m);
    CallTime& time = *adaptation_->time();
    time.begin(taken, false);
    pool_->run(taken, [&](unsigned worker, unsigned count) {
      WorkerTime* const mine = time.start(worker);
      fn(worker, count);
      if (mine != nullptr) time.finish(*mine);
    });
    time.end();
    adaptation_->executed();
    return taken;
  }
  // For the statistics.
  void record_group(const char* role, std::span<const MatmulCall> calls, const Timing& timing);
  void record_attention(const AttentionConfig& config, uint32_t m, const Timing& timing);

  const ModelFile* file_ = nullptr;
  const Weights* weights_ = nullptr;
  const Dispatch* dispatch_ = nullptr;
  WorkerPool* pool_ = nullptr;
  Stats* stats_ = nullptr;
  Adaptation* adaptation_ = nullptr;
  TransformerLimits limits_;
  std::vector<LayerMatrices> ids_;
  LayerMatrices output_id_;
  PackedBytes packed_bytes_;

  AlignedBuffer arena_;          // holds all of the following; rows = limits_.rows
  float* x_ = nullptr;           // [rows][embedding] residual stream
  float* norm_ = nullptr;        // [rows][embedding]
  float* q_ = nullptr;           // [rows][heads*head_dim]
  float* k_ = nullptr;           // [rows][kv_heads*head_dim]
  float* v_ = nullptr;           // [rows][kv_heads*head_dim]
  float* attn_ = nullptr;        // [rows][heads*head_dim]
  float* proj_ = nullptr;        // [rows][embedding] output of a block before the residual addition
  float* gate_ = nullptr;        // [rows (x experts_used)][feed_forward]
  float* up_ = nullptr;          // likewise
  float* rope_ = nullptr;        // [capacity][2][rope_dims/2]
  std::byte* packed_ = nullptr;  // left operand of the next matmuls, in the forms that these read
  std::byte* attn_scratch_ = nullptr;
  uint32_t* positions_ = nullptr;  // [rows] of each row in its sequence
  // Experts. "routed" = rows*experts_used: a row for each token and choice, sorted by expert.
  float* expert_out_ = nullptr;  // [routed][embedding]
  float* router_ = nullptr;      // [rows][experts]
  float* expert_in_ = nullptr;   // [routed][embedding] gathered rows, or [workers][kPanel][embedding] on their way
  std::byte* expert_packed_ = nullptr;  // gathered rows, packed; panels do not span experts
  uint32_t* chosen_ = nullptr;          // [rows][experts_used] experts of each token, best first
  float* expert_weight_ = nullptr;      // [rows][experts_used]
  uint32_t* expert_rows_ = nullptr;     // [rows][experts_used] which routed row serves this token and choice
  uint32_t* routed_token_ = nullptr;    // [routed] the token that a routed row is a copy of
  uint32_t* expert_first_ = nullptr;    // [experts + 1] first routed row of each expert
  uint32_t* expert_next_ = nullptr;     // [experts]

  std::vector<float> logits_;
  std::vector<AttentionSequence> sequences_;
  std::vector<ExpertPanel> panels_;
  std::vector<LeftOperand> expert_lhs_;  // of each expert, for its next matmuls
  std::vector<MatmulCall> calls_;
  std::vector<OperatorShape> shapes_;  // for the statistics
  std::vector<Execution> executions_;  // likewise
};

}  // namespace smepilot
