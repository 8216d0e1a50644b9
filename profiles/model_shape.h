// The shape of a model, without its weights: enough to know every operator call of its forward pass. Read from a GGUF
// file's metadata by the engine, or by name from profiles/models/*.json.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/abi/operator_shape.h"
#include "kernels/base/status.h"

namespace smepilot {

// One weight matrix of the layer (or of the output), by role.
struct MatrixShape {
  std::string role;  // attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down output ffn_gate_exps …
  DType dtype = DType::kF32;
  uint32_t n = 0, k = 0;
  uint32_t count = 1;  // how many layers (or experts x layers) have exactly this matrix
};

struct ModelShape {
  std::string name;          // "llama-3.2-3b", or general.name of the file
  std::string architecture;  // a row of architectures()
  uint32_t layers = 0, embedding = 0, heads = 0, kv_heads = 0, head_dim = 0, feed_forward = 0, vocab = 0, context = 0;
  uint32_t experts = 0, experts_used = 0, expert_feed_forward = 0;
  std::vector<MatrixShape> matrices;

  // 16 hex digits over all of the above but the name: plans are keyed by it.
  std::string hash() const;

  // What its KV cache is to hold: kF16 or kQ8_0. No property of the model, so not in the hash.
  DType kv_type = DType::kF16;
};

// An operator of the forward pass and how often one pass calls it.
struct ModelOperator {
  std::string role;     // as MatrixShape::role, or "attention"
  OperatorShape shape;  // m = tokens in the pass
  uint32_t calls = 0;
};

// What the m tokens of a pass are: consecutive ones of one sequence, or one each of m sequences.
enum class Pass : uint8_t { kPrefill, kDecode };

// The matmuls and attention of one pass of m tokens with kv_len positions in the cache (of each sequence) afterwards.
// In prefill the output matrix is applied to the last token only. For experts, m is the mean number of tokens that
// reach one of those that are reached at all, and calls is how many those are.
std::vector<ModelOperator> model_operators(const ModelShape& model, uint32_t m, uint32_t kv_len,
                                           Pass pass = Pass::kPrefill);

// From profiles/models/NAME.json, or a file path. `dtype` (q4_0, q8_0, f16, …) replaces the profile's weight type.
Result<ModelShape> load_model_profile(const std::string& name_or_path, const std::string& dtype = "");
std::vector<std::string> known_model_profiles();

}  // namespace smepilot
