#include "engine/layout_state.h"

namespace smepilot {
namespace {

using enum GraphNode;

constexpr GraphNode kOfEmbedding[] = {kAttentionNorm}, kOfAttentionNorm[] = {kQ, kK, kV}, kOfQkv[] = {kRopeKv},
                    kOfRopeKv[] = {kAttention}, kOfAttention[] = {kAttentionOutput}, kOfAttentionOutput[] = {kFfnNorm},
                    kOfFfnNorm[] = {kRouter, kGather}, kOfGather[] = {kGate, kUp}, kOfGateUp[] = {kSwiglu},
                    kOfSwiglu[] = {kDown}, kOfDown[] = {kCombine}, kOfCombine[] = {kAttentionNorm, kOutputNorm},
                    kOfOutputNorm[] = {kLogits};

constexpr GraphOperator kOperators[] = {
    {kEmbedding, "embedding", Flow::kNothing, Flow::kRows, kOfEmbedding},
    {kAttentionNorm, "attn_norm", Flow::kRows, Flow::kPacked, kOfAttentionNorm},
    {kQ, "attn_q", Flow::kVariant, Flow::kRows, kOfQkv},
    {kK, "attn_k", Flow::kVariant, Flow::kRows, kOfQkv},
    {kV, "attn_v", Flow::kVariant, Flow::kRows, kOfQkv},
    {kRopeKv, "rope_kv", Flow::kRows, Flow::kKvCache, kOfRopeKv},
    {kAttention, "attention", Flow::kKvCache, Flow::kPacked, kOfAttention},
    {kAttentionOutput, "attn_output", Flow::kVariant, Flow::kRows, kOfAttentionOutput},
    {kFfnNorm, "ffn_norm", Flow::kRows, Flow::kPacked, kOfFfnNorm},
    {kRouter, "moe_router", Flow::kVariant, Flow::kRows, {}},
    {kGather, "moe_gather", Flow::kRows, Flow::kPacked, kOfGather},
    {kGate, "ffn_gate", Flow::kVariant, Flow::kRows, kOfGateUp},
    {kUp, "ffn_up", Flow::kVariant, Flow::kRows, kOfGateUp},
    {kSwiglu, "swiglu", Flow::kRows, Flow::kPacked, kOfSwiglu},
    {kDown, "ffn_down", Flow::kVariant, Flow::kRows, kOfDown},
    {kCombine, "moe_combine", Flow::kRows, Flow::kRows, kOfCombine},
    {kOutputNorm, "output_norm", Flow::kRows, Flow::kPacked, kOfOutputNorm},
    {kLogits, "output", Flow::kVariant, Flow::kNothing, {}},
};
static_assert(std::size(kOperators) == kGraphNodes);

// Adds what `node` reads, by `form` of its matrix.
template <typename Form>
void add_consumers(GraphNode producer, const LayerMatrices& matrices, bool gathers, const Form& form, FormSet& out) {
  for (const GraphNode consumer : kOperators[static_cast<size_t>(producer)].consumers) {
    if (consumer == kGather && !gathers)
      add_consumers(kGather, matrices, gathers, form, out);
    else if (const uint32_t id = matrices[consumer]; id != kNoMatrix)
      out.add(form(id));
  }
}

}  // namespace

std::span<const GraphOperator> graph_operators() noexcept {
  return kOperators;
}

FormSet consumer_forms(GraphNode producer, const LayerMatrices& matrices, const Dispatch& dispatch, uint32_t m,
                       bool gathers) noexcept {
  FormSet out;
  add_consumers(
      producer, matrices, gathers, [&](uint32_t id) { return lhs_form(*dispatch.matmul(id, m).variant); }, out);
  return out;
}

FormSet every_consumer_form(GraphNode producer, const LayerMatrices& matrices, const Dispatch& dispatch) noexcept {
  FormSet out;
  add_consumers(producer, matrices, false, [&](uint32_t id) { return dispatch.forms(id); }, out);
  return out;
}

void price_conversions(const FormSet& forms, uint32_t m, uint32_t k, unsigned workers, const Roofline* roofline,
                       Conversions& out) {
  for (size_t i = 0; i < forms.packed().size(); ++i) {
    const uint32_t made = i == 0 ? 0 : 1, avoided = forms.readers(i) - made;  // the first is made in passing
    out.activations += made;
    out.avoided += avoided;
    if (roofline == nullptr) continue;
    const double ns = roofline->packing_ns(forms.packed()[i].layout, m, k, workers);
    out.ns += made * ns;
    out.avoided_ns += avoided * ns;
  }
}

}  // namespace smepilot
