// From what a search decided at single values of M to a plan that answers for every M, and what that plan is worth.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "db/plan.h"
#include "profiles/model_shape.h"
#include "profiles/platform.h"
#include "tuner/search.h"

namespace smepilot {

// Entries for all operators of the result: each decision holds up to where the next one takes over. That is where the
// measured times of the two would cross if both were measured at both ends, else the geometric mean of the two M. A
// variant that is bounded in M is not stretched beyond its bound. Attention is divided by context length alike.
using BoundOf = std::function<uint32_t(const std::string& variant)>;  // largest m of a variant, UINT32_MAX: any
uint32_t registry_bound(const std::string& variant);
Result<Plan> build_plan(const SearchResult& result, const ModelShape& model, const Platform& platform,
                        const BoundOf& bound_of = registry_bound);

// One pass through the model at the measured M, added up from its operators.
struct PassGain {
  std::string name;  // "decode, 1 token, context 512"
  uint32_t m = 0, kv_len = 0;
  double chosen_ns = 0, default_ns = 0;  // sums over operators that were measured
  double predicted_ns = 0;               // sum of the roofline's prices of the chosen ones
  uint32_t operators = 0, measured = 0;  // calls' distinct operators, and how many of them have times
  double gain() const noexcept { return chosen_ns > 0 ? default_ns / chosen_ns : 1; }
};
std::vector<PassGain> pass_gains(const SearchResult& result, const ModelShape& model, std::span<const uint32_t> ms,
                                 std::span<const uint32_t> contexts);

}  // namespace smepilot
