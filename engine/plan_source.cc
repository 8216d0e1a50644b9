#include "engine/plan_source.h"

#include <filesystem>

#include "db/calibration_store.h"
#include "db/plan_store.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "profiles/matrix_units.h"

namespace smepilot {
namespace {

// A plan for the model that may be used here, or why there is none.
Result<Plan> read_database_plan(Database& db, const Platform& platform, const ModelShape& model,
                                const std::string& variants) {
  PlanStore store(db);
  SMEPILOT_ASSIGN(std::optional<Plan> plan, store.latest(platform.fingerprint(), model.hash()));
  if (!plan) {
    SMEPILOT_ASSIGN(plan, store.latest_any(model.hash()));
  }
  if (!plan)
    return error("{}: no plan for model '{}'; make one with: smetune search --model FILE", db.path(), model.name);
  if (Status refused = check_plan(*plan, platform, model, variants); !refused.ok())
    return error("{}: plan {} is refused: {}", db.path(), plan->id, refused.message());
  return std::move(*plan);
}

}  // namespace

std::string PlanChoice::name() const {
  return planner == "plan" && plan->id != 0 ? fmt::format("plan {}", plan->id) : planner;
}

PlanRequest plan_request(const std::string& text) {
  PlanRequest request;
  request.mode = text == "auto"       ? PlanMode::kAuto
                 : text == "db"       ? PlanMode::kDatabase
                 : text == "none"     ? PlanMode::kNone
                 : text == "roofline" ? PlanMode::kRoofline
                                      : PlanMode::kFile;
  if (request.mode == PlanMode::kFile) request.file = text;
  return request;
}

Result<std::optional<ExecutionMode>> execution_mode(const std::string& text, const Platform& platform) {
  std::optional<ExecutionMode> mode;
  if (text == "auto") return mode;
  if (text == "cpu")
    mode = ExecutionMode::kCpu;
  else if (text == "matrix" || text == "sme" || text == "amx")
    mode = ExecutionMode::kMatrix;
  else if (text == "coop")
    mode = ExecutionMode::kCoop;
  else
    return error("--mode {}: expected auto, cpu, matrix, sme, amx or coop", text);
  if (mode == ExecutionMode::kCpu) return mode;
  if (platform.matrix_units == 0)
    return error("--mode {}: this machine has no matrix unit that this build can use", text);
  if ((text == "sme" || text == "amx") && platform.matrix_unit != text && !is_testbed(platform))
    return error("--mode {}: the matrix unit of this machine is {}", text, platform.matrix_unit);
  return mode;
}

Result<PlanChoice> choose_plan(const PlanRequest& request, const Platform& platform, const ModelShape& model) {
  PlanChoice choice;
  choice.planner = "untuned";
  SMEPILOT_ASSIGN(choice.forced, execution_mode(request.execution, platform));
  SMEPILOT_ASSIGN(const IsaSet isa, usable_isa());
  const std::string variants = variant_set_hash(isa);
  const bool need_db = request.mode == PlanMode::kDatabase;
  Result<Plan> plan = error("{}: no such database; make one with: smetune calibrate, then smetune search --model FILE",
                            request.database);
  if (std::filesystem::exists(request.database)) {
    Result<Database> db = Database::open(request.database, OpenMode::kReadOnly);
    if (!db.ok()) {
      if (need_db && !request.fallback) return db.status();
      choice.notice = db.message();
      plan = db.status();
    } else {
      Result<std::optional<Calibration>> calibration = CalibrationStore(*db).latest(platform.fingerprint());
      if (!calibration.ok()) {
        if (need_db && !request.fallback) return calibration.status();
        choice.notice = calibration.message();
      } else if (*calibration) {
        choice.roofline = std::make_unique<Roofline>(**calibration, platform);
      }
      if (request.mode == PlanMode::kDatabase || request.mode == PlanMode::kAuto)
        plan = read_database_plan(*db, platform, model, variants);
    }
  }
  if (request.mode == PlanMode::kNone) {
    choice.notice.clear();
    return choice;
  }
  if (request.mode == PlanMode::kRoofline) {
    if (choice.roofline != nullptr) {
      choice.planner = "roofline";
      return choice;
    }
    const std::string why = !choice.notice.empty() ? choice.notice
                                                   : fmt::format(
                                                         "{}: no calibration of this machine; make one with: "
                                                         "smetune calibrate",
                                                         request.database);
    if (!request.fallback) return error("the roofline heuristic: {} (--plan-fallback runs without it)", why);
    choice.notice = "falling back to the untuned default: " + why;
    return choice;
  }
  if (request.mode == PlanMode::kFile) {
    plan = read_plan_file(request.file);
    if (plan.ok())
      if (Status refused = check_plan(*plan, platform, model, variants); !refused.ok())
        plan = error("{}: the plan is refused: {}", request.file, refused.message());
  }
  if (plan.ok()) {
    choice.plan = std::make_unique<Plan>(std::move(plan).value());
    choice.mode = request.mode == PlanMode::kFile ? PlanMode::kFile : PlanMode::kDatabase;
    choice.planner = "plan";
    return choice;
  }
  if (request.mode == PlanMode::kAuto && !request.fallback) {
    choice.notice = fmt::format("running untuned: {}", plan.message());
    return choice;
  }
  if (!request.fallback) return error("{} (--plan-fallback runs without it)", plan.message());
  choice.planner = choice.roofline != nullptr ? "roofline" : "untuned";
  choice.notice = fmt::format("falling back to the {}: {}",
                              choice.roofline != nullptr ? "roofline heuristic" : "untuned default (no calibration)",
                              plan.message());
  return choice;
}

}  // namespace smepilot
