// The weights of a model in memory: every matrix packed into the layout that the kernels read, norm vectors as f32,
// and the token embedding left in the file, where only the rows in use are read.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/base/aligned_buffer.h"
#include "kernels/driver/operators.h"
#include "profiles/model_file.h"

namespace smepilot {

struct LayerWeights {
  const float* attn_norm = nullptr;    // [embedding]
  const float* ffn_norm = nullptr;     // [embedding]
  const float* attn_q_norm = nullptr;  // [head_dim], nullptr where the architecture has none
  const float* attn_k_norm = nullptr;  // [head_dim], likewise
  const float* attn_q_bias = nullptr;  // [heads * head_dim], likewise
  const float* attn_k_bias = nullptr;  // [kv_heads * head_dim], likewise
  const float* attn_v_bias = nullptr;  // [kv_heads * head_dim], likewise
  PackedMatrix attn_q, attn_k, attn_v, attn_output;
  PackedMatrix ffn_gate, ffn_up, ffn_down;  // n = 0 in a mixture of experts
  PackedMatrix router;                      // [experts][embedding], n = 0 in a dense model
  std::vector<PackedMatrix> expert_gate, expert_up, expert_down;
};

class Weights {
 public:
  // Packs all matrices with the workers of `pool`. `progress` is called with the fraction done. The file must stay
  // open as long as the weights are used (embedding rows are read from it). Errors: out of memory.
  static Result<Weights> load(const GgufFile& gguf, const ModelFile& file, WorkerPool& pool,
                              const std::function<void(double)>& progress = nullptr);

  std::vector<LayerWeights> layers;
  const float* output_norm = nullptr;   // [embedding]
  const float* rope_factors = nullptr;  // [rope_dims/2], nullptr: none
  PackedMatrix output;                  // [vocab][embedding], the embedding itself where that is tied

  size_t packed_bytes() const noexcept { return packed_bytes_; }

 private:
  std::vector<AlignedBuffer> storage_;
  size_t packed_bytes_ = 0;
};

}  // namespace smepilot
