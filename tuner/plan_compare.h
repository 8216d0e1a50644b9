// Two plans of one model on this machine: in which decisions they differ, what each difference is worth, and what whole
// layers take by either. Where times are needed, the two take turns.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "db/plan.h"
#include "profiles/model_shape.h"
#include "tuner/evaluator.h"
#include "tuner/layer_timing.h"

namespace smepilot {

struct PlanDifference {
  std::string roles;  // "attn_q, attn_output"
  OperatorShape shape = {};
  Candidate first, second;
  Alternation times;   // chosen: the second plan's; no rounds: not timed
  std::string failed;  // why not, where that is because a candidate does not run
  bool beyond_noise(double noise) const { return times.slower(noise) || times.faster(noise); }
};

struct PlanComparison {
  uint32_t decisions = 0;  // operators at each of the M and contexts
  std::vector<PlanDifference> differences;
  std::vector<LayerTime> layers;  // chosen: by the second plan, other: by the first
  bool cancelled = false;
};

// The M and contexts at which either plan was decided; those that a search takes by itself where none was measured.
struct ComparedSizes {
  std::vector<uint32_t> ms, contexts;
};
ComparedSizes compared_sizes(const Plan& first, const Plan* second, const ModelShape& model);

// `second`: null for the untuned default with `workers` workers. `evaluator` and `time_layer` may be null: then nothing
// is timed. What a plan says nothing of is the untuned default. Errors: no kernel can run an operator.
Result<PlanComparison> compare_plans(const Plan& first, const Plan* second, const ModelShape& model, unsigned workers,
                                     const ComparedSizes& sizes, Evaluator* evaluator, const TimeLayer& time_layer,
                                     const LayerRules& rules);

// `names`: of the first and the second plan, as "plan 3".
std::string comparison_text(const PlanComparison& c, const std::string& first, const std::string& second, double noise);

}  // namespace smepilot
