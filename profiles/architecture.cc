#include "profiles/architecture.h"

#include "profiles/model_file.h"

namespace smepilot {
namespace {

constexpr uint32_t kDense = kPartCore | kPartDenseFfn, kSparse = kPartCore | kPartExperts;

// Rotation and parts as src/models/*.cpp and llama_model_rope_type() of github.com/ggml-org/llama.cpp have them.
constexpr Architecture kArchitectures[] = {
    // name       pairs   always                  if in the file  rope_free_every
    {"llama", true, kDense, kPartQkvBias, 0},  // Llama 2 and 3, Mistral, SmolLM, SmolLM2
    {"qwen2", false, kDense | kPartQkvBias, 0, 0},
    {"qwen3", false, kDense | kPartQkNorm, kPartQkvBias, 0},
    {"qwen3moe", false, kSparse | kPartQkNorm, kPartQkvBias, 0},
    {"smollm3", true, kDense, kPartQkvBias, 4},
};

using T = LayerTensors;
constexpr LayerTensorRow kLayerTensors[] = {
    {"attn_norm.weight", &T::attn_norm, kPartCore, false, {Dim::kEmbedding}},
    {"attn_q.weight", &T::attn_q, kPartCore, true, {Dim::kEmbedding, Dim::kQ}},
    {"attn_k.weight", &T::attn_k, kPartCore, true, {Dim::kEmbedding, Dim::kKv}},
    {"attn_v.weight", &T::attn_v, kPartCore, true, {Dim::kEmbedding, Dim::kKv}},
    {"attn_q.bias", &T::attn_q_bias, kPartQkvBias, false, {Dim::kQ}},
    {"attn_k.bias", &T::attn_k_bias, kPartQkvBias, false, {Dim::kKv}},
    {"attn_v.bias", &T::attn_v_bias, kPartQkvBias, false, {Dim::kKv}},
    {"attn_q_norm.weight", &T::attn_q_norm, kPartQkNorm, false, {Dim::kHeadDim}},
    {"attn_k_norm.weight", &T::attn_k_norm, kPartQkNorm, false, {Dim::kHeadDim}},
    {"attn_output.weight", &T::attn_output, kPartCore, true, {Dim::kQ, Dim::kEmbedding}},
    {"ffn_norm.weight", &T::ffn_norm, kPartCore, false, {Dim::kEmbedding}},
    {"ffn_gate.weight", &T::ffn_gate, kPartDenseFfn, true, {Dim::kEmbedding, Dim::kFeedForward}},
    {"ffn_up.weight", &T::ffn_up, kPartDenseFfn, true, {Dim::kEmbedding, Dim::kFeedForward}},
    {"ffn_down.weight", &T::ffn_down, kPartDenseFfn, true, {Dim::kFeedForward, Dim::kEmbedding}},
    {"ffn_gate_inp.weight", &T::ffn_gate_inp, kPartExperts, true, {Dim::kEmbedding, Dim::kExperts}},
    {"ffn_gate_exps.weight",
     &T::ffn_gate_exps,
     kPartExperts,
     true,
     {Dim::kEmbedding, Dim::kExpertFeedForward, Dim::kExperts}},
    {"ffn_up_exps.weight",
     &T::ffn_up_exps,
     kPartExperts,
     true,
     {Dim::kEmbedding, Dim::kExpertFeedForward, Dim::kExperts}},
    {"ffn_down_exps.weight",
     &T::ffn_down_exps,
     kPartExperts,
     true,
     {Dim::kExpertFeedForward, Dim::kEmbedding, Dim::kExperts}},
};

}  // namespace

std::span<const Architecture> architectures() noexcept {
  return kArchitectures;
}

const Architecture* find_architecture(std::string_view name) noexcept {
  for (const Architecture& a : kArchitectures)
    if (name == a.name) return &a;
  return nullptr;
}

std::string architecture_names() {
  std::string names;
  for (const Architecture& a : kArchitectures) names += (names.empty() ? "" : ", ") + std::string(a.name);
  return names;
}

std::span<const LayerTensorRow> layer_tensors() noexcept {
  return kLayerTensors;
}

}  // namespace smepilot
