// A plan, and what was considered for it, as text for the terminal.
#pragma once
#include <span>
#include <string>

#include "db/measurement_store.h"
#include "db/plan.h"
#include "profiles/model_shape.h"
#include "profiles/platform.h"
#include "tuner/chain_choice.h"
#include "tuner/layer_timing.h"
#include "tuner/plan_builder.h"

namespace smepilot {

// Roles of the operator that an entry is for ("attn_q, attn_output"), or its sizes where the model is not known.
std::string entry_label(const PlanEntry& entry, const ModelShape* model);

// "avx512vnni.vpdpbusd x2 128/64": matmul with its mc/nc, attention with its tile/splits. Of both units "i8mm x8+sme2
// x2 n6144/8192 dyn": the matrix unit's split, or "128x64/4": positions and rows of a tile, and how many are in flight.
std::string short_choice(const Candidate& candidate);

// What a plan says, one line per entry. `model` may be null.
std::string plan_table(const Plan& plan, const ModelShape* model);

// Times of whole passes with the plan and with the default, and the gain; dashes where an operator was not measured.
std::string gain_table(std::span<const PassGain> gains);

// Times of the layers' operators in each pass, packing between them counted: untuned, with the best of each operator,
// and as chosen together; how often activations are packed, and what the chain changed.
std::string chain_table(std::span<const PassChain> chains);

// Of one pass of a plan, operator by operator: the layout that it reads, its time and what packing costs it, as chosen
// and with the best of each operator alone; what the chain changed, and both sums. `times`: of its layers, as recorded.
std::string layer_chain_text(std::span<const ChainRow> pass, std::span<const LayerTimeRow> times);

// Whole layers as chosen against untuned, a line for each pass that was timed.
std::string layer_text(std::span<const LayerTime> layers);

// For one operator at one shape: what was considered, predicted, measured, refused, pruned and why, and what the plan
// chose. `entry` covers the asked m; `known` are the rows of the shape it was decided at. `all`: every candidate in a
// line of its own, also those that were not run.
struct Explanation {
  OperatorShape asked = {}, decided = {};
  std::string role;
  const PlanEntry* entry = nullptr;
  std::span<const Measurement> known;
  bool all = false;
};
std::string explain_text(const Explanation& e, const Plan& plan, const Platform& platform);

// "1.34x", and "=" where there is no difference to show.
std::string format_gain(double default_ns, double chosen_ns);

}  // namespace smepilot
