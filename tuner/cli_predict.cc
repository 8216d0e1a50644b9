#include "tuner/cli_predict.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "db/plan_store.h"
#include "db/session_store.h"
#include "kernels/base/text.h"
#include "tuner/predict.h"

namespace smepilot {
namespace {

std::string to_json(const Prediction& prediction, const PlatformProfile& profile, const ModelShape& model,
                    const Plan& plan) {
  nlohmann::ordered_json j{{"label", predicted_label(profile)},
                           {"platform", profile.name},
                           {"chip", profile.chip},
                           {"profile", profile.file},
                           {"fingerprint", plan.fingerprint},
                           {"model", model.name},
                           {"plan", plan.id}};
  j["operators"] = nlohmann::ordered_json::array();
  for (const PredictedOperator& o : prediction.operators) {
    nlohmann::ordered_json modes = nlohmann::ordered_json::array();
    for (const ModePrice& p : o.modes)
      modes.push_back({{"mode", kModeNames[static_cast<size_t>(p.mode)]},
                       {"workers", p.workers},
                       {"matrix_workers", p.matrix_workers},
                       {"split", p.split},
                       {"predicted_ns", p.ns},
                       {"compute_ns", p.compute_ns},
                       {"memory_ns", p.memory_ns}});
    j["operators"].push_back({{"role", o.role},
                              {"kind", kOpNames[static_cast<size_t>(o.shape.kind)]},
                              {"dtype", traits(o.shape.dtype).name},
                              {"m", o.shape.m},
                              {"n", o.shape.n},
                              {"k", o.shape.k},
                              {"kv_len", o.shape.kv_len},
                              {"regime", regime_name(o.regime)},
                              {"choice", kModeNames[static_cast<size_t>(o.choice().mode)]},
                              {"predicted_ns", o.choice().ns},
                              {"modes", modes}});
  }
  return j.dump(2) + "\n";
}

std::string not_counted(const PlatformProfile& profile) {
  std::string out;
  for (const std::string field : {"cost.fork_join", "cost.streaming"})
    if (!profile.find(field) && (field != "cost.streaming" || profile.matrix_unit == "sme"))
      out += fmt::format("{}{}", out.empty() ? "" : ", ", field);
  return out.empty()
             ? ""
             : fmt::format("Not counted, as nothing is {}: {}.\n", profile.measured ? "measured" : "published", out);
}

}  // namespace

Result<std::vector<ExecutionMode>> modes_from(const std::vector<std::string>& names) {
  std::vector<ExecutionMode> out;
  for (const std::string& name : names) {
    const std::string plain = name == "sme" || name == "amx" ? "matrix" : name;
    const auto* const end = std::end(kModeNames);
    const auto* const it = std::find(std::begin(kModeNames), end, plain);
    if (it == end) return error("mode '{}': expected cpu, sme (or amx, matrix) or coop", name);
    out.push_back(static_cast<ExecutionMode>(it - std::begin(kModeNames)));
  }
  return out;
}

Result<PlatformProfile> profile_for(const Cli& cli, const std::string& platform) {
  if (!platform.empty()) return load_platform_profile(platform);
  SMEPILOT_ASSIGN(const Platform here, detect_platform());
  SMEPILOT_ASSIGN(Database db, Database::open(cli.db_path, OpenMode::kReadOnly));
  SMEPILOT_ASSIGN(const Calibration calibration, need_calibration(db, here));
  return profile_of(here, calibration, "this machine");
}

int predict_verb(const Cli& cli, const PredictRequest& request) {
  auto profile = load_platform_profile(request.platform);
  if (!profile.ok()) return fail(profile.status());
  auto model = load_model(request.model, request.dtype);
  if (!model.ok()) return fail(model.status());
  model->kv_type = request.kv_type == "q8_0" ? DType::kQ8_0 : DType::kF16;
  PredictOptions options;
  if (request.quick) {
    options.ms = {1, 32, 512};
    options.contexts = {512};
  }
  if (!request.ms.empty()) options.ms = request.ms;
  if (!request.contexts.empty()) options.contexts = request.contexts;
  for (auto* v : {&options.ms, &options.contexts}) {
    std::sort(v->begin(), v->end());
    v->erase(std::unique(v->begin(), v->end()), v->end());
  }
  auto modes = modes_from(request.modes);
  if (!modes.ok()) return fail(modes.status());
  options.modes = *modes;
  auto prediction = predict(*profile, *model, options);
  if (!prediction.ok())
    return fail(error("{}; --modes cpu,sme leaves modes out, and `smetune platforms show {}` lists what is known",
                      prediction.message(), request.platform));
  Plan plan = predicted_plan(*prediction, *profile, *model);

  auto here = detect_platform();
  if (!here.ok()) return fail(here.status());
  auto db = Database::open(cli.db_path);
  if (!db.ok()) return fail(db.status());
  auto session = SessionStore(*db).begin(*here, cli.command);
  if (!session.ok()) return fail(session.status());
  auto id = PlanStore(*db).save(session->id, plan);
  if (!id.ok()) return fail(id.status());
  plan.id = *id;
  if (request.json) return print_and_exit(to_json(*prediction, *profile, *model, plan));
  std::string out = prediction_text(*prediction, *profile, *model);
  out += "\n" + not_counted(*profile);
  out += wrap(fmt::format("Plan {} is stored in {} as {}: no machine runs it.", plan.id, db->path(), plan.planner), 80,
              2) +
         "\n";
  return print_and_exit(out);
}

}  // namespace smepilot
