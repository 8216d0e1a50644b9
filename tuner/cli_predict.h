// `smetune search --platform`: a plan for a machine that is not here.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "profiles/platform_profile.h"
#include "tuner/cli.h"

namespace smepilot {

struct PredictRequest {
  std::string platform, model, dtype, kv_type = "f16";
  std::vector<uint32_t> ms, contexts;  // empty: the defaults
  std::vector<std::string> modes;      // empty: all
  bool quick = false;                  // fewer M, one context
  bool json = false;
};

int predict_verb(const Cli& cli, const PredictRequest& request);

// "cpu", "matrix" (or "sme", "amx"), "coop". Error: anything else.
Result<std::vector<ExecutionMode>> modes_from(const std::vector<std::string>& names);

// A profile by name or file, or "" for what the newest calibration of this machine measured.
Result<PlatformProfile> profile_for(const Cli& cli, const std::string& platform);

}  // namespace smepilot
