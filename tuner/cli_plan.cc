// plan list|show|export|import.
#include "tuner/cli_plan.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "db/plan_store.h"
#include "db/session_store.h"
#include "kernels/base/atomic_file.h"
#include "kernels/base/text.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "tuner/cli.h"
#include "tuner/plan_text.h"

namespace smepilot {
namespace {

int plan_list(const Cli& cli, bool json) {
  auto db = Database::open(cli.db_path, OpenMode::kReadOnly);
  if (!db.ok()) return fail(db.status());
  auto plans = PlanStore(*db).list();
  if (!plans.ok()) return fail(plans.status());
  auto platform = detect_platform();
  if (!platform.ok()) return fail(platform.status());
  const std::string here = platform->fingerprint();
  Table t({{"plan", Table::Align::kRight},
           {"created"},
           {"planner"},
           {"entries", Table::Align::kRight},
           {"machine"},
           {"model"}});
  nlohmann::ordered_json j = nlohmann::ordered_json::array();
  for (const PlanSummary& p : *plans) {
    t.add({fmt::format("{}", p.id), p.created, p.planner, fmt::format("{}", p.entries),
           p.fingerprint == here ? "this one" : p.fingerprint, p.model_name});
    j.push_back({{"id", p.id},
                 {"created", p.created},
                 {"planner", p.planner},
                 {"entries", p.entries},
                 {"fingerprint", p.fingerprint},
                 {"model", p.model_name},
                 {"model_hash", p.model_hash},
                 {"variant_set_hash", p.variant_set_hash},
                 {"search", p.search_id},
                 {"build", p.build}});
  }
  if (json) return print_and_exit(j.dump(2) + "\n");
  return print_and_exit(t.empty() ? "No plans; make one with: smetune search --model MODEL\n" : t.text());
}

// Success if nothing that a plan depends on differs from this machine and build, whatever its model.
Status check_here(const Plan& plan, const Platform& platform) {
  SMEPILOT_ASSIGN(const IsaSet isa, usable_isa());
  for (const auto& [name, value] : platform.identity())
    for (const auto& [plan_name, plan_value] : plan.platform)
      if (name == plan_name && value != plan_value)
        return error("it was made for another machine: {} is '{}' there and '{}' here", name, plan_value, value);
  if (plan.fingerprint != platform.fingerprint())
    return error("it was made for another machine: fingerprint {}, here {}", plan.fingerprint, platform.fingerprint());
  if (plan.variant_set_hash != variant_set_hash(isa))
    return error("it was made for another set of kernel variants: {}, here {}", plan.variant_set_hash,
                 variant_set_hash(isa));
  return {};
}

int plan_show(const Cli& cli, const PlanQuery& query, bool json) {
  auto platform = detect_platform();
  if (!platform.ok()) return fail(platform.status());
  auto db = Database::open(cli.db_path, OpenMode::kReadOnly);
  if (!db.ok()) return fail(db.status());
  auto found = find_plan(*db, query, *platform);
  if (!found.ok()) return fail(found.status());
  const Plan& plan = found->plan;
  if (json) return print_and_exit(plan_to_json(plan) + "\n");
  std::string out = fmt::format("Plan {} for {}, made {} by {} ({})\n", plan.id, plan.model_name, plan.created,
                                plan.planner, plan.build);
  out += fmt::format("{} entries, up to {} workers\nmodel {}, machine {}, variants {}\n", plan.entries.size(),
                     plan.workers, plan.model_hash, plan.fingerprint, plan.variant_set_hash);
  if (const Status s = check_here(plan, *platform); !s.ok())
    out += wrap("Not usable here: " + s.message(), 80, 2) + "\n";
  out += "\n" + plan_table(plan, found->model ? &*found->model : nullptr);
  return print_and_exit(out);
}

int plan_export(const Cli& cli, const PlanQuery& query, const std::string& path) {
  auto platform = detect_platform();
  if (!platform.ok()) return fail(platform.status());
  auto db = Database::open(cli.db_path, OpenMode::kReadOnly);
  if (!db.ok()) return fail(db.status());
  auto found = find_plan(*db, query, *platform);
  if (!found.ok()) return fail(found.status());
  const std::string text = plan_to_json(found->plan) + "\n";
  if (path.empty() || path == "-") return print_and_exit(text);
  AtomicFile file(path);
  file.write(text);
  if (const Status status = file.commit(); !status.ok()) return fail(status);
  return print_and_exit(fmt::format("Plan {} ({}, {} entries) written to {}\n", found->plan.id, found->plan.model_name,
                                    found->plan.entries.size(), path));
}

int plan_import(const Cli& cli, const std::string& path) {
  auto plan = read_plan_file(path);
  if (!plan.ok()) return fail(plan.status());
  auto platform = detect_platform();
  if (!platform.ok()) return fail(platform.status());
  auto db = Database::open(cli.db_path);
  if (!db.ok()) return fail(db.status());
  auto session = SessionStore(*db).begin(*platform, cli.command);
  if (!session.ok()) return fail(session.status());
  auto id = PlanStore(*db).save(session->id, *plan);
  if (!id.ok()) return fail(id.status());
  std::string out = fmt::format("Plan {} for {} ({} entries) is stored in {}\n", *id, plan->model_name,
                                plan->entries.size(), db->path());
  if (const Status s = check_here(*plan, *platform); !s.ok())
    out += wrap("It cannot be used here: " + s.message(), 80, 2) + "\n";
  return print_and_exit(out);
}

}  // namespace

void add_plan_query(CLI::App* verb, const std::shared_ptr<PlanQuery>& query) {
  auto* id = verb->add_option("ID", query->id, "Number of the plan [the newest one for this machine]")
                 ->check(CLI::Range(int64_t{1}, INT64_MAX));
  auto* model = verb->add_option("--model", query->model, "The newest plan of this model (GGUF file or name)");
  verb->add_option("--dtype", query->dtype, "Weight type of a model given by name")->needs(model);
  id->excludes(model);
}

void take_kv_type(const Plan& plan, ModelShape& model) {
  for (const PlanEntry& e : plan.entries)
    if (e.kind == OpKind::kAttention) model.kv_type = e.dtype;
}

Result<FoundPlan> find_plan(Database& db, const PlanQuery& query, const Platform& platform) {
  PlanStore store(db);
  FoundPlan found;
  if (!query.model.empty()) {
    SMEPILOT_ASSIGN(ModelShape model, load_model(query.model, query.dtype));
    SMEPILOT_ASSIGN(std::optional<Plan> plan, store.latest(platform.fingerprint(), model.hash()));
    if (!plan) {
      SMEPILOT_ASSIGN(plan, store.latest_any(model.hash()));
    }
    if (!plan)
      return error("{}: no plan for model {}; make one with: smetune search --model {}", db.path(), model.name,
                   query.model);
    found.plan = std::move(*plan);
    found.model = std::move(model);
    return found;
  }
  int64_t id = query.id;
  if (id == 0) {
    SMEPILOT_ASSIGN(const std::vector<PlanSummary> plans, store.list());
    for (const PlanSummary& p : plans)
      if (p.fingerprint == platform.fingerprint()) {
        id = p.id;
        break;
      }
    if (id == 0) return error("{}: no plan for this machine; make one with: smetune search --model MODEL", db.path());
  }
  SMEPILOT_ASSIGN(std::optional<Plan> plan, store.get(id));
  if (!plan) return error("{}: there is no plan {}; see: smetune plan list", db.path(), id);
  found.plan = std::move(*plan);
  for (const std::string& name : known_model_profiles()) {  // its roles are nicer to read than sizes
    Result<ModelShape> model = load_model_profile(name);
    if (model.ok() && model->hash() == found.plan.model_hash) found.model = std::move(*model);
  }
  return found;
}

void add_plan(Cli& cli) {
  CLI::App* verb = add_verb(&cli.app, "plan", "Look at plans, move them between machines, ask for their reasons",
                            "  smetune plan list\n  smetune plan show --model model.gguf\n"
                            "  smetune plan explain --model model.gguf --op ffn_down --m 1\n"
                            "  smetune plan compare 1 2");
  verb->require_subcommand(1);

  auto json = std::make_shared<bool>(false);
  CLI::App* list = add_verb(verb, "list", "List the stored plans", "  smetune plan list");
  list->add_flag("--json", *json, "Print the list as JSON");
  list->callback([&cli, json] { cli.action = [&cli, json] { return plan_list(cli, *json); }; });

  CLI::App* show =
      add_verb(verb, "show", "Show what a plan chose and gained",
               "  smetune plan show\n  smetune plan show 3 --json\n  smetune plan show --model smollm2-135m");
  auto query = std::make_shared<PlanQuery>();
  add_plan_query(show, query);
  show->add_flag("--json", *json, "Print the plan as JSON (the export format)");
  show->callback([&cli, query, json] { cli.action = [&cli, query, json] { return plan_show(cli, *query, *json); }; });

  CLI::App* exp = add_verb(verb, "export", "Write a plan as a JSON file",
                           "  smetune plan export -o plan.json\n  smetune plan export 3 > plan.json");
  auto path = std::make_shared<std::string>();
  add_plan_query(exp, query);
  exp->add_option("-o,--out", *path, "File to write [standard output]");
  exp->callback([&cli, query, path] { cli.action = [&cli, query, path] { return plan_export(cli, *query, *path); }; });

  CLI::App* import = add_verb(verb, "import", "Store a plan from a JSON file", "  smetune plan import plan.json");
  import->add_option("FILE", *path, "File made by plan export")->required();
  import->callback([&cli, path] { cli.action = [&cli, path] { return plan_import(cli, *path); }; });

  add_explain(cli, verb);
  add_compare(cli, verb);
}

}  // namespace smepilot
