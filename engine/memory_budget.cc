#include "engine/memory_budget.h"

#include <algorithm>
#include <vector>

#include "kernels/abi/layout.h"
#include "kernels/base/integer.h"
#include "kernels/driver/attention.h"

namespace smepilot {
namespace {

// For the rest of the process: code, tokenizer, norm vectors and embedding rows of the file, page tables.
constexpr uint64_t kOverhead = uint64_t{128} << 20;

std::string gigabytes(uint64_t bytes) {
  return fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9);
}

uint64_t kv_cache_bytes(const HyperParameters& hp, uint64_t context, uint64_t sequences, DType type) {
  return 2 * sequences * hp.layers * hp.kv_heads * kv_bytes(type, round_up(context, kPanel), hp.head_dim);
}

}  // namespace

MemoryNeed memory_need(const HyperParameters& hp, const MemoryRequest& request) {
  MemoryNeed need;
  need.weights = request.weight_bytes;
  need.kv_cache = kv_cache_bytes(hp, request.context, request.sequences, request.kv_type);
  need.logits = uint64_t{request.sequences} * hp.vocab * sizeof(float);
  // What Transformer sets aside for a pass of m rows: the residual stream, its norm and projection; in the same memory
  // q, k, v, the attention's result and its scratch, or the feed-forward's two halves; what matmuls read of all these,
  // packed; the rotation's table.
  const uint64_t m = request.rows, d = hp.embedding, heads = uint64_t{hp.heads} * hp.head_dim;
  const uint64_t kv = uint64_t{hp.kv_heads} * hp.head_dim;
  const bool moe = hp.experts != 0;
  const uint64_t routed = moe ? m * hp.experts_used : m, ff = moe ? hp.expert_feed_forward : hp.feed_forward;
  uint64_t floats = m * 3 * d + uint64_t{request.context} * hp.rope_dims;
  const uint64_t attention =
      m * (2 * heads + 2 * kv) * sizeof(float) +
      attention_scratch_bytes(request.workers, request.rows, hp.heads, round_up(request.context, kPanel), hp.head_dim);
  const uint64_t feed_forward = 2 * routed * ff * sizeof(float);
  const auto packed = [&](uint64_t rows, uint64_t k) {
    return request.packed == Layout::kRowMajor ? 0 : lhs_bytes(request.packed, rows, k);
  };
  uint64_t forms = std::max(packed(m, std::max(d, heads)), packed(routed, ff));
  if (moe) {
    floats += 2 * routed * d + m * hp.experts;
    forms += packed(routed, d);
  }
  need.scratch = floats * sizeof(float) + std::max(attention, feed_forward) + forms + kOverhead;
  return need;
}

Status check_memory(const HyperParameters& hp, const MemoryRequest& request, const AvailableMemory& available) {
  const MemoryNeed need = memory_need(hp, request);
  if (need.total() <= available.bytes) return {};
  std::vector<std::string> advice;
  const uint64_t rest = need.total() - need.kv_cache;  // what does not depend on the context, nearly
  if (rest < available.bytes) {
    const uint64_t per_position = std::max<uint64_t>(need.kv_cache / std::max(request.context, 1u), 1);
    const uint64_t fits = (available.bytes - rest) / per_position / kPanel * kPanel;
    if (fits >= kPanel) advice.push_back(fmt::format("a context of at most {} (--ctx)", fits));
    if (request.kv_type != DType::kQ8_0 && hp.head_dim % 32 == 0 &&
        rest + kv_cache_bytes(hp, request.context, request.sequences, DType::kQ8_0) <= available.bytes)
      advice.emplace_back("a q8_0 KV cache (--kv-type q8_0)");
    if (request.sequences > 1) advice.emplace_back("fewer sequences (--batch)");
  }
  if (advice.empty()) advice.emplace_back("a smaller model or a type with fewer bits");
  std::string text;
  for (size_t i = 0; i < advice.size(); ++i) text += (i == 0 ? "" : i + 1 == advice.size() ? " or " : ", ") + advice[i];
  return error(
      "not enough memory: {} are needed (packed weights {}, KV cache {} for {} positions{}, scratch {}, logits {}), {} "
      "are available ({}). What helps: {}; --force-memory runs anyway",
      gigabytes(need.total()), gigabytes(need.weights), gigabytes(need.kv_cache), request.context,
      request.sequences > 1 ? fmt::format(" of {} sequences", request.sequences) : "", gigabytes(need.scratch),
      gigabytes(need.logits), gigabytes(available.bytes), available.by, text);
}

}  // namespace smepilot
