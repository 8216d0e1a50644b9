// Layout state: the forms that activations take on their way through the graph. Every operator declares here what it
// reads and what it writes, and who reads that. The forward pass asks this table which forms a producer is to make; the
// conversions of a pass follow from it before anything has run.
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "engine/dispatch.h"
#include "engine/left_operand.h"
#include "engine/stats.h"

namespace smepilot {

enum class GraphNode : uint8_t {
  kEmbedding,
  kAttentionNorm,
  kQ,
  kK,
  kV,
  kRopeKv,  // biases, norms of the heads, rotation, and writing to the KV cache
  kAttention,
  kAttentionOutput,
  kFfnNorm,
  kRouter,
  kGather,  // of a mixture of experts: the rows of each expert, side by side
  kGate,
  kUp,
  kSwiglu,
  kDown,
  kCombine,  // of a mixture of experts: the weighted sum of each token's rows
  kOutputNorm,
  kLogits,
  kCount
};
inline constexpr size_t kGraphNodes = static_cast<size_t>(GraphNode::kCount);

// What an operator reads or writes of the activations.
enum class Flow : uint8_t {
  kNothing,  // of activations: the embedding's table, the logits
  kRows,     // Layout::kRowMajor
  kVariant,  // reads what the lhs_layout of the variant that the plan chose says
  kPacked,   // writes rows, and beside them every form that its consumers read
  kKvCache,  // K and V in Layout::kKvKeyPanel16 and kKvValuePanel16, packed as they are written; and rows of queries
};

struct GraphOperator {
  GraphNode node;
  const char* name;
  Flow reads, writes;
  std::span<const GraphNode> consumers;
};

// In the order of GraphNode.
std::span<const GraphOperator> graph_operators() noexcept;

// The matrices of a layer (or of the output) as indices into the dispatch table, by the operators that multiply by
// them.
inline constexpr uint32_t kNoMatrix = UINT32_MAX;
struct LayerMatrices {
  std::array<uint32_t, kGraphNodes> ids;
  LayerMatrices() noexcept { ids.fill(kNoMatrix); }
  uint32_t& operator[](GraphNode node) noexcept { return ids[static_cast<size_t>(node)]; }
  uint32_t operator[](GraphNode node) const noexcept { return ids[static_cast<size_t>(node)]; }
};

// What the consumers of `producer` read, which makes m rows. gathers: the rows of experts are gathered, else what would
// read the gathered rows reads the producer's.
FormSet consumer_forms(GraphNode producer, const LayerMatrices& matrices, const Dispatch& dispatch, uint32_t m,
                       bool gathers = false) noexcept;
// The same for every m.
FormSet every_consumer_form(GraphNode producer, const LayerMatrices& matrices, const Dispatch& dispatch) noexcept;

// Adds the conversions of an operand [m][k] that is read in these forms, and those that sharing avoids: every consumer
// of a packed form would make one if it packed for itself. Each costs Roofline::packing_ns() by so many workers.
// roofline: nullptr for none, then nothing is known of the cost.
void price_conversions(const FormSet& forms, uint32_t m, uint32_t k, unsigned workers, const Roofline* roofline,
                       Conversions& out);

}  // namespace smepilot
