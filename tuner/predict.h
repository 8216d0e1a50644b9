// Plans for a machine that is not here: each operator of a model priced in each mode by the roofline of a platform
// profile. Everything that comes out is a prediction; the plan is that of the profile's fingerprint, which no machine
// has, and names no kernel of any build.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "db/plan.h"
#include "profiles/model_shape.h"
#include "profiles/platform_profile.h"
#include "profiles/roofline.h"
#include "tuner/simulate.h"

namespace smepilot {

struct PredictOptions {
  std::vector<uint32_t> ms = {1, 4, 8, 16, 32, 128, 512};
  std::vector<uint32_t> contexts = {512, 2048};
  std::vector<ExecutionMode> modes;  // empty: all that the machine has
};

struct ModePrice {
  ExecutionMode mode = ExecutionMode::kCpu;
  unsigned workers = 0, matrix_workers = 0;  // of each unit
  uint32_t split = 0;                        // coop matmul: columns of the matrix unit
  double ns = 0, compute_ns = 0, memory_ns = 0;
};

struct PredictedOperator {
  std::string role;
  OperatorShape shape = {};
  std::vector<ModePrice> modes;
  size_t best = 0;
  Regime regime = Regime::kMemoryBound;  // over all modes
  const ModePrice& choice() const { return modes[best]; }
};

struct Prediction {
  std::vector<PredictedOperator> operators;  // each shape once
};

// The modes of the machine that the profile describes.
std::vector<ExecutionMode> modes_of(const PlatformProfile& profile);

// Error: the profile lacks a number; the message names it, the operator and the mode.
Result<PredictedOperator> predict_operator(const PlatformProfile& profile, const std::string& role,
                                           const OperatorShape& shape, const std::vector<ExecutionMode>& modes);
Result<Prediction> predict(const PlatformProfile& profile, const ModelShape& model, const PredictOptions& options);

inline constexpr const char* kPredictedPlanner = "predicted";
Plan predicted_plan(const Prediction& prediction, const PlatformProfile& profile, const ModelShape& model);

// "predicted (published profile)": on every output.
std::string predicted_label(const PlatformProfile& profile);
std::string prediction_text(const Prediction& prediction, const PlatformProfile& profile, const ModelShape& model);

// One pass of a model, operator after operator with a barrier between them: each as a plan says, or in the mode with
// the lowest price where there is none or it does not cover the call.
struct SimStep {
  std::string role;
  OperatorShape shape = {};
  uint32_t calls = 0;
  ModePrice choice;
  bool planned = false;  // by the given plan
  SimMachine machine;
  SimResult result;  // of one call
};
struct SimModel {
  std::vector<SimStep> steps;
  double ns = 0;
};
struct SimPassOptions {
  uint32_t m = 1, kv_len = 1;
  Pass pass = Pass::kPrefill;
  std::vector<ExecutionMode> modes;  // empty: all
  const Plan* plan = nullptr;
  SimPipeline pipeline = SimPipeline::kFull;
  bool dynamic = false;
  bool keep_events = false;
};
Result<SimModel> simulate_model(const PlatformProfile& profile, const ModelShape& model, const SimPassOptions& options);

}  // namespace smepilot
