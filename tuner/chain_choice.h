// From the operators of a model and what a search found out about each to the choice of all of them together: the
// chain of a layer (layout_chain.h) over the layouts that kernel variants declare. Timing an operator alone leaves out
// what packing its left operand costs; here every form that a producer has to make has its price.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "db/layer_store.h"
#include "profiles/model_shape.h"
#include "profiles/roofline.h"
#include "tuner/layout_chain.h"
#include "tuner/search.h"

namespace smepilot {

// A decision of a search that its chain reversed.
struct ChainOverride {
  std::string roles;  // "attn_q, attn_output"
  OperatorShape shape = {};
  Candidate winner, chosen;  // alone the best; in the chain
  double winner_ns = 0, chosen_ns = 0;
};

// The chain of all layers in one pass.
struct PassChain {
  std::string name;  // as PassGain::name
  Pass pass = Pass::kDecode;
  uint32_t m = 0, kv_len = 0;
  ChainCost cost, greedy;
  ChainCost untuned;                     // with the default everywhere; ns 0: not all defaults have times
  uint32_t operators = 0;                // that the pass calls
  uint32_t counted = 0;                  // of them, those in the chain: the others have no times
  bool predicted = false;                // times are the roofline's: nothing was measured
  std::vector<ChainOverride> overrides;  // what this pass changed
  std::vector<ChainRow> rows;            // every counted operator, as chosen and with the best of each
};

struct ChainRules {
  const Roofline* roofline = nullptr;  // prices packing; nullptr: it costs nothing, and the winners stay
  unsigned workers = 1;                // that pack
  double noise = 0.02;                 // a saving below this fraction of the winner's time is none
};

// The place of an operator in the layer: operators of one place read what the same producer made.
size_t chain_step_of(std::string_view role) noexcept;

// "decode of 1 sequence, context 512"
std::string pass_name(Pass pass, uint32_t m, uint32_t kv_len);

// For each m the chain of its pass (a step of m sequences as far as those are batched, else a prompt batch) at the
// first context: changes decisions of `result` where the chain is cheaper with another candidate that has a time, and
// says so in their `why`. An operator that several passes share is decided in the first of them. Only finished
// decisions change.
std::vector<PassChain> choose_chains(SearchResult& result, const ModelShape& model, std::span<const uint32_t> ms,
                                     std::span<const uint32_t> contexts, const ChainRules& rules);

}  // namespace smepilot
