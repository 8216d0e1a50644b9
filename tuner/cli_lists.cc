// models list and variants list.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "kernels/base/text.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "tuner/cli.h"

namespace smepilot {
namespace {

int models_list(bool json) {
  nlohmann::ordered_json j = nlohmann::ordered_json::array();
  Table t({{"name"},
           {"architecture"},
           {"layers", Table::Align::kRight},
           {"embedding", Table::Align::kRight},
           {"heads"},
           {"experts", Table::Align::kRight},
           {"weights", Table::Align::kRight}});
  std::string problems;
  for (const std::string& name : known_model_profiles()) {
    const Result<ModelShape> model = load_model_profile(name);
    if (!model.ok()) {
      problems += model.message() + "\n";
      continue;
    }
    uint64_t bytes = 0;
    for (const MatrixShape& m : model->matrices) bytes += uint64_t{m.count} * file_bytes(m.dtype, size_t{m.n} * m.k);
    t.add({name, model->architecture, fmt::format("{}", model->layers), fmt::format("{}", model->embedding),
           fmt::format("{}/{} x {}", model->heads, model->kv_heads, model->head_dim), fmt::format("{}", model->experts),
           fmt::format("{:.2f} GiB", static_cast<double>(bytes) / (1 << 30))});
    j.push_back({{"name", name},
                 {"architecture", model->architecture},
                 {"layers", model->layers},
                 {"embedding", model->embedding},
                 {"heads", model->heads},
                 {"kv_heads", model->kv_heads},
                 {"head_dim", model->head_dim},
                 {"experts", model->experts},
                 {"weight_bytes", bytes},
                 {"hash", model->hash()}});
  }
  if (json) return print_and_exit(j.dump(2) + "\n");
  const int code = print_and_exit(t.text());
  return problems.empty() ? code : fail(Status::error(problems));
}

int variants_list(bool json) {
  const Result<IsaSet> usable = usable_isa();
  if (!usable.ok()) return fail(usable.status());
  nlohmann::ordered_json j = nlohmann::ordered_json::array();
  Table t({{"variant"}, {"unit"}, {"rows"}, {"usable here"}});
  size_t count = 0;
  bool left_out = false;
  for (const KernelVariant* v : all_variants()) {
    const IsaSet missing = v->isa & ~*usable;
    const IsaSet lacking = v->isa & ~detect_isa();
    std::string why, shortly = "yes";
    if (lacking != 0) {
      why = "no: this CPU lacks " + isa_to_string(lacking);
      shortly = "no: lacks " + isa_to_string(lacking);
    } else if (missing != 0) {
      why = "no: SMEPILOT_FORCE_ISA leaves out " + isa_to_string(missing);
      shortly = "no: left out (1)";
      left_out = true;
    }
    count += missing == 0;
    const char* unit = v->unit == ExecutionUnit::kCpu ? "cpu" : "matrix";
    t.add({v->id, unit, v->max_m == 0 ? "any" : fmt::format("<= {}", v->max_m), shortly});
    j.push_back({{"id", v->id},
                 {"op", kOpNames[static_cast<size_t>(v->op)]},
                 {"isa", isa_to_string(v->isa)},
                 {"unit", unit},
                 {"mr", v->tile.mr},
                 {"nr", v->tile.nr},
                 {"kr", v->tile.kr},
                 {"max_m", v->max_m},
                 {"lhs_layout", kLayoutNames[static_cast<size_t>(v->lhs_layout)]},
                 {"rhs_layout", kLayoutNames[static_cast<size_t>(v->rhs_layout)]},
                 {"usable", missing == 0},
                 {"reason", why}});
  }
  if (json) return print_and_exit(j.dump(2) + "\n");
  std::string out = t.text();
  if (left_out) out += "\n(1) by SMEPILOT_FORCE_ISA\n";
  std::string steps = isa_to_string(*usable);
  for (size_t at = 0; (at = steps.find('+', at)) != std::string::npos; at += 2) steps.insert(at + 1, " ");
  out += "\n" + wrap(fmt::format("{} of {} variants are usable with {}", count, all_variants().size(), steps), 80, 4) +
         "\n";
  for (const char* isa : unbuilt_isas()) out += fmt::format("Not built, the compiler could not: {}\n", isa);
  return print_and_exit(out);
}

}  // namespace

void add_lists(Cli& cli) {
  const auto add = [&cli](const char* name, const char* what, int (*fn)(bool)) {
    const std::string example = fmt::format("  smetune {} list", name);
    CLI::App* verb = add_verb(&cli.app, name, what, example);
    verb->require_subcommand(1);
    CLI::App* list = add_verb(verb, "list", what, example + "\n" + example + " --json");
    auto json = std::make_shared<bool>(false);
    list->add_flag("--json", *json, "Print the list as JSON");
    list->callback([&cli, fn, json] { cli.action = [fn, json] { return fn(*json); }; });
  };
  add("models", "Models known by name", models_list);
  add("variants", "Kernel variants of this build, and which are usable here", variants_list);
}

}  // namespace smepilot
