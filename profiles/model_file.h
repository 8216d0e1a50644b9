// What a GGUF file says about the model in it: hyper-parameters, range-checked, and the tensors that the graph of its
// architecture needs, found by name and shape-checked. After load() the graph may index without further checks.
// Names of keys and tensors: gguf-py/gguf/constants.py of github.com/ggml-org/llama.cpp.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/base/status.h"
#include "profiles/architecture.h"
#include "profiles/gguf.h"
#include "profiles/model_shape.h"

namespace smepilot {

struct HyperParameters {
  std::string name;          // general.name, or the file's name
  std::string architecture;  // a row of architectures()
  uint32_t parts = 0;        // GraphParts that this file's graph has
  uint32_t layers = 0, embedding = 0, heads = 0, kv_heads = 0, head_dim = 0, feed_forward = 0, vocab = 0, context = 0;
  uint32_t experts = 0, experts_used = 0, expert_feed_forward = 0;  // 0 for dense models
  uint32_t rope_dims = 0;                                           // leading elements of a head that are rotated, even
  float rope_base = 10000.0f;     // angle(position, i) = position * rope_scale * base^(-2i/rope_dims) / rope_freqs[i]
  float rope_scale = 1.0f;        // 1 / factor of linear scaling
  bool rope_interleaved = false;  // pairs (2i, 2i+1); otherwise (i, i + rope_dims/2)
  uint32_t rope_free_every = 0;   // layers number n, 2n, … (from 1) are not rotated; 0: all are
  float rms_eps = 1e-5f;

  bool has(GraphPart part) const noexcept { return (parts & part) != 0; }
};

// Null where the graph has no such part (profiles/architecture.cc says which). Sizes in GGUF's order: the contiguous
// dimension (K) first.
struct LayerTensors {
  const GgufTensor* attn_norm = nullptr;      // f32 [embedding]
  const GgufTensor* attn_q = nullptr;         // [embedding, heads * head_dim]
  const GgufTensor* attn_k = nullptr;         // [embedding, kv_heads * head_dim]
  const GgufTensor* attn_v = nullptr;         // [embedding, kv_heads * head_dim]
  const GgufTensor* attn_q_bias = nullptr;    // f32 [heads * head_dim]
  const GgufTensor* attn_k_bias = nullptr;    // f32 [kv_heads * head_dim]
  const GgufTensor* attn_v_bias = nullptr;    // f32 [kv_heads * head_dim]
  const GgufTensor* attn_q_norm = nullptr;    // f32 [head_dim]
  const GgufTensor* attn_k_norm = nullptr;    // f32 [head_dim]
  const GgufTensor* attn_output = nullptr;    // [heads * head_dim, embedding]
  const GgufTensor* ffn_norm = nullptr;       // f32 [embedding]
  const GgufTensor* ffn_gate = nullptr;       // [embedding, feed_forward]
  const GgufTensor* ffn_up = nullptr;         // [embedding, feed_forward]
  const GgufTensor* ffn_down = nullptr;       // [feed_forward, embedding]
  const GgufTensor* ffn_gate_inp = nullptr;   // [embedding, experts]; the router
  const GgufTensor* ffn_gate_exps = nullptr;  // [embedding, expert_feed_forward, experts]
  const GgufTensor* ffn_up_exps = nullptr;    // [embedding, expert_feed_forward, experts]
  const GgufTensor* ffn_down_exps = nullptr;  // [expert_feed_forward, embedding, experts]
};

class ModelFile {
 public:
  // The tensors point into `gguf`, which must outlive the result. Errors name the file, the key or tensor, what was
  // expected and what was found. A tensor that the graph would not use is an error too: leaving it out would change
  // what the model says.
  static Result<ModelFile> load(const GgufFile& gguf);

  HyperParameters hyper;
  const GgufTensor* token_embd = nullptr;   // [embedding, vocab]
  const GgufTensor* output_norm = nullptr;  // f32 [embedding]
  const GgufTensor* output = nullptr;       // [embedding, vocab]; token_embd where the file has none (tied)
  const GgufTensor* rope_freqs = nullptr;   // f32 [rope_dims/2], divides the frequencies; optional
  std::vector<LayerTensors> layers;
  std::vector<std::string> warnings;  // for the user

  bool tied_output() const noexcept { return output == token_embd; }
  // The weight matrices by role, dtype and size, for the tuner and the plan. The roles of LayerTensors, and "output".
  ModelShape shape() const;
};

}  // namespace smepilot
