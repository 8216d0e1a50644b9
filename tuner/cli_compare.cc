// plan compare.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "db/plan_store.h"
#include "kernels/base/text.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "tuner/cli_plan.h"
#include "tuner/hardware_evaluator.h"
#include "tuner/plan_compare.h"

namespace smepilot {
namespace {

struct Options {
  int64_t first = 0, second = 0;
  std::string model, dtype;
  std::vector<uint32_t> ms, contexts;
  double budget_s = 2;
  bool untimed = false, json = false;
};

nlohmann::ordered_json to_json(const Alternation& t) {
  nlohmann::ordered_json j{{"rounds", t.rounds()}};
  if (t.rounds() == 0) return j;
  j["first_ns"] = t.other_ns;
  j["second_ns"] = t.chosen_ns;
  j["ratio"] = t.ratio.estimate;
  j["ratio_low"] = t.ratio.interval.low;
  j["ratio_high"] = t.ratio.interval.high;
  return j;
}

std::string to_json(const PlanComparison& c, const Options& o, double noise) {
  nlohmann::ordered_json j{
      {"testbed", testbed_enabled()},
      {"first", o.first},
      {"second", o.second == 0 ? nlohmann::ordered_json("untuned") : nlohmann::ordered_json(o.second)},
      {"noise", noise},
      {"decisions", c.decisions},
      {"alike", c.decisions - c.differences.size()}};
  j["differences"] = nlohmann::ordered_json::array();
  for (const PlanDifference& d : c.differences)
    j["differences"].push_back({{"roles", d.roles},
                                {"operator", describe(d.shape)},
                                {"first", describe(d.first)},
                                {"second", describe(d.second)},
                                {"times", to_json(d.times)},
                                {"failed", d.failed},
                                {"beyond_noise", d.beyond_noise(noise)}});
  j["layers"] = nlohmann::ordered_json::array();
  for (const LayerTime& t : c.layers)
    j["layers"].push_back({{"name", t.name}, {"alike", t.same}, {"times", to_json(t.times)}});
  return j.dump(2) + "\n";
}

// The model of the plan: as given, or a known one by its hash.
Result<ModelShape> model_of(const Options& o, const FoundPlan& found) {
  if (o.model.empty()) {
    if (found.model) return *found.model;
    return error("plan {} is of {}, whose sizes are not known here: name its file with --model", found.plan.id,
                 found.plan.model_name);
  }
  SMEPILOT_ASSIGN(ModelShape model, load_model(o.model, o.dtype));
  if (model.hash() == found.plan.model_hash) return model;
  return error("plan {} is of model {} (hash {}), and {} has hash {}", found.plan.id, found.plan.model_name,
               found.plan.model_hash, o.model, model.hash());
}

int compare_verb(const Cli& cli, const Options& o) {
  const std::atomic<bool>& cancel = catch_interrupts();
  auto platform = detect_platform();
  if (!platform.ok()) return fail(platform.status());
  auto isa = usable_isa();
  if (!isa.ok()) return fail(isa.status());
  auto db = Database::open(cli.db_path, OpenMode::kReadOnly);
  if (!db.ok()) return fail(db.status());
  auto first = find_plan(*db, {o.first, "", ""}, *platform);
  if (!first.ok()) return fail(first.status());
  auto model = model_of(o, *first);
  if (!model.ok()) return fail(model.status());
  take_kv_type(first->plan, *model);
  std::optional<Plan> second;
  if (o.second != 0) {
    auto found = find_plan(*db, {o.second, "", ""}, *platform);
    if (!found.ok()) return fail(found.status());
    second = std::move(found->plan);
  }
  for (const Plan* plan : {&first->plan, second ? &*second : nullptr})
    if (plan != nullptr)
      if (const Status s = check_plan(*plan, *platform, *model, variant_set_hash(*isa)); !s.ok())
        return fail(error("plan {}: {}", plan->id, s.message()));
  auto calibration = need_calibration(*db, *platform);
  if (!calibration.ok()) return fail(calibration.status());
  const double noise = decision_noise(*calibration, StrategyOptions{}.tie);

  ComparedSizes sizes = compared_sizes(first->plan, second ? &*second : nullptr, *model);
  if (!o.ms.empty()) sizes.ms = o.ms;
  if (!o.contexts.empty()) sizes.contexts = o.contexts;
  std::sort(sizes.ms.begin(), sizes.ms.end());
  std::sort(sizes.contexts.begin(), sizes.contexts.end());
  const unsigned workers = worker_counts(*platform).back();
  constexpr double kQuiet_s = 2;
  ProgressLine line(kQuiet_s);
  LayerRules rules;
  rules.cancel = &cancel;
  rules.budget_s = o.budget_s;
  rules.progress = [&line](double fraction, std::string_view label) { line.update(fraction, label); };
  HardwareEvaluator evaluator(*platform, workers);
  LayerTimer timer(*platform);
  LayerRules of_layers = rules;
  of_layers.budget_s = std::max(LayerRules{}.budget_s, o.budget_s);
  of_layers.progress = nullptr;
  const TimeLayer time_layer = on_machine(timer, of_layers, confirmed_passes(sizes.ms, sizes.contexts));
  auto compared = compare_plans(first->plan, second ? &*second : nullptr, *model, workers, sizes,
                                o.untimed ? nullptr : &evaluator, o.untimed ? TimeLayer() : time_layer, rules);
  line.clear();
  if (!compared.ok()) return fail(compared.status());
  if (compared->cancelled) {
    fmt::print(stderr, "smetune: interrupted; nothing was stored.\n");
    return kExitInterrupted;
  }
  if (o.json) return print_and_exit(to_json(*compared, o, noise));
  const std::string a = fmt::format("plan {}", o.first),
                    b = second ? fmt::format("plan {}", o.second) : std::string("untuned");
  std::string out = fmt::format("{} ({}, {})", a, first->plan.planner, first->plan.created);
  out += second ? fmt::format(" and {} ({}, {})", b, second->planner, second->created) : " and the untuned default";
  return print_and_exit(wrap(out + " for " + first->plan.model_name + " on this machine", 80, 2) + "\n" +
                        comparison_text(*compared, a, b, noise));
}

}  // namespace

void add_compare(Cli& cli, CLI::App* plan) {
  CLI::App* verb = add_verb(plan, "compare", "In what two plans differ, and what that is worth, measured in turns",
                            "  smetune plan compare 1 2\n  smetune plan compare 3\n"
                            "  smetune plan compare 1 2 --m 1,512 --json\n"
                            "Without a second plan, the untuned default is compared.");
  auto o = std::make_shared<Options>();
  verb->add_option("ID", o->first, "A plan")->required()->check(CLI::Range(int64_t{1}, INT64_MAX));
  verb->add_option("OTHER", o->second, "Another plan of the same model [the untuned default]")
      ->check(CLI::Range(int64_t{1}, INT64_MAX));
  auto* model = verb->add_option("--model", o->model, "The plans' model, where it is none of\n`smetune models list`");
  verb->add_option("--dtype", o->dtype, "Weight type of a model given by name")->needs(model);
  verb->add_option("--m", o->ms, "Rows at which to compare [where either plan was measured]")
      ->delimiter(',')
      ->check(CLI::Range(1u, 65536u));
  verb->add_option("--context", o->contexts, "Context lengths, likewise")
      ->delimiter(',')
      ->check(CLI::Range(1u, 1u << 20));
  verb->add_option("--budget", o->budget_s, "Seconds for a difference, after six rounds")
      ->check(CLI::Range(0.01, 1e4))
      ->capture_default_str();
  verb->add_flag("--untimed", o->untimed, "Only list the decisions that differ");
  verb->add_flag("--json", o->json, "Print as JSON");
  verb->callback([&cli, o] { cli.action = [&cli, o] { return compare_verb(cli, *o); }; });
}

}  // namespace smepilot
