// Where the engine's decisions come from: a plan of the database or of a file, checked against this machine, this model
// and this build; the roofline; or the untuned default. Nothing falls back silently: what happened is in `notice`.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "engine/dispatch.h"

namespace smepilot {

enum class PlanMode : uint8_t {
  kAuto,      // the database's plan if there is one that fits, else untuned, saying so
  kDatabase,  // the database's plan or an error
  kFile,      // the file's plan or an error
  kRoofline,  // the roofline heuristic, which needs a calibration
  kNone,      // the untuned default
};

struct PlanRequest {
  PlanMode mode = PlanMode::kAuto;
  std::string file;       // kFile
  std::string database;   // path; may not exist unless kDatabase
  bool fallback = false;  // a plan that is missing or refused becomes the roofline heuristic instead of an error
  std::string execution = "auto";  // or a mode for every operator that can be executed so: cpu, matrix (sme, amx), coop
};

struct PlanChoice {
  std::unique_ptr<Plan> plan;           // nullptr: none in use
  std::unique_ptr<Roofline> roofline;   // of the newest calibration of this machine; nullptr: none stored
  PlanMode mode = PlanMode::kNone;      // kDatabase, kFile or kNone: what is in use
  std::string planner;                  // "plan", "roofline", "untuned"
  std::optional<ExecutionMode> forced;  // the mode that was asked for
  std::string notice;                   // for the user, "" if all is as asked

  std::string name() const;  // the planner, or "plan 3" of the database
};

// Of the text of --plan: auto, db, none, roofline, or a plan file. Execution, fallback and database are the defaults.
PlanRequest plan_request(const std::string& text);

// What `text` of --mode asks for; nothing for "auto". Error: no such mode, or this machine has no unit of that name.
Result<std::optional<ExecutionMode>> execution_mode(const std::string& text, const Platform& platform);

// Error: the requested plan is missing, damaged, or refused (the first differing field is named), or the roofline that
// was asked for has no calibration, without fallback.
Result<PlanChoice> choose_plan(const PlanRequest& request, const Platform& platform, const ModelShape& model);

}  // namespace smepilot
