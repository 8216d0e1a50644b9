// plan explain.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "db/measurement_store.h"
#include "tuner/cli_plan.h"
#include "tuner/plan_text.h"
#include "tuner/search_space.h"

namespace smepilot {
namespace {

struct Options {
  PlanQuery query;
  std::string op;
  uint32_t m = 1, context = 512;
  bool all = false, json = false;
};

// The operator of that role in a pass of m rows.
Result<OperatorShape> shape_of(const ModelShape& model, const std::string& role, uint32_t m, uint32_t context) {
  std::string roles;
  for (const Pass pass : {Pass::kPrefill, Pass::kDecode})
    for (const ModelOperator& op : model_operators(model, m, std::max(m, context), pass)) {
      const bool wanted = pass == (role == "output" ? Pass::kDecode : Pass::kPrefill);
      if (op.role == role && wanted) return op.shape;
      if (pass == Pass::kPrefill && roles.find(op.role) == std::string::npos)
        roles += (roles.empty() ? "" : ", ") + op.role;
    }
  return error("model {} has no operator '{}'; it has {}", model.name, role, roles);
}

// The searched shape that the entry was decided at: the nearest in m, and in context, of those that it covers.
Result<OperatorShape> decided_shape(MeasurementStore& store, const Plan& plan, const PlanEntry& entry,
                                    const OperatorShape& asked) {
  OperatorShape s = asked;
  if (entry.measured_m != 0) {
    s.m = entry.measured_m;
    s.kv_len = asked.kind == OpKind::kAttention ? entry.measured_kv : 0;
    return s;
  }
  // Never measured: by the searches of the model.
  SMEPILOT_ASSIGN(const std::vector<Search> searches,
                  store.find_searches(plan.fingerprint, plan.model_hash, plan.variant_set_hash));
  const auto distance = [&](const OperatorShape& o) {
    const auto apart = [](uint32_t a, uint32_t b) { return a > b ? a - b : b - a; };
    return uint64_t{apart(o.m, asked.m)} * 1000000 + apart(o.kv_len, asked.kv_len);
  };
  bool found = false;
  for (const Search& search : searches) {
    SMEPILOT_ASSIGN(const std::vector<SearchOperator> operators, store.search_operators(search.id));
    for (const SearchOperator& o : operators) {
      if (o.shape.kind != asked.kind || o.shape.dtype != asked.dtype || o.shape.n != asked.n || o.shape.k != asked.k ||
          o.shape.kv_heads != asked.kv_heads)
        continue;
      if (found && distance(o.shape) >= distance(s)) continue;
      s = o.shape;
      found = true;
    }
  }
  return s;
}

nlohmann::ordered_json to_json(const Measurement& m) {
  return {{"candidate", describe(m.candidate)},
          {"mode", kModeNames[static_cast<size_t>(m.candidate.mode)]},
          {"variant", m.candidate.variant},
          {"workers", m.candidate.workers},
          {"mc", m.candidate.mc},
          {"nc", m.candidate.nc},
          {"kv_tile", m.candidate.kv_tile},
          {"kv_splits", m.candidate.kv_splits},
          {"matrix_variant", m.candidate.coop.variant},
          {"matrix_workers", m.candidate.coop.workers},
          {"split", m.candidate.coop.split},
          {"split_of", m.candidate.coop.split_of},
          {"dynamic", m.candidate.coop.dynamic},
          {"status", status_name(m.status)},
          {"reason", m.reason},
          {"predicted_ns", m.predicted_ns},
          {"median_ns", m.median_ns},
          {"ci_low_ns", m.ci_low_ns},
          {"ci_high_ns", m.ci_high_ns},
          {"samples", m.samples_ns.size()},
          {"is_default", m.is_default},
          {"search", m.search_id}};
}

int explain_verb(const Cli& cli, const Options& o) {
  auto platform = detect_platform();
  if (!platform.ok()) return fail(platform.status());
  auto model = load_model(o.query.model, o.query.dtype);
  if (!model.ok()) return fail(model.status());
  auto asked = shape_of(*model, o.op, o.m, o.context);
  if (!asked.ok()) return fail(asked.status());
  auto db = Database::open(cli.db_path, OpenMode::kReadOnly);
  if (!db.ok()) return fail(db.status());
  auto found = find_plan(*db, o.query, *platform);
  if (!found.ok()) return fail(found.status());
  const Plan& plan = found->plan;
  const PlanEntry* entry = plan.find(*asked);
  if (entry == nullptr)
    return fail(error("plan {} says nothing about {} ({}): the default would run", plan.id, o.op, describe(*asked)));
  MeasurementStore store(*db);
  auto decided = decided_shape(store, plan, *entry, *asked);
  if (!decided.ok()) return fail(decided.status());
  auto known = store.known(plan.fingerprint, plan.variant_set_hash, {&*decided, 1});
  if (!known.ok()) return fail(known.status());

  if (o.json) {
    nlohmann::ordered_json j{{"plan", plan.id},
                             {"role", o.op},
                             {"asked", describe(*asked)},
                             {"decided_at", describe(*decided)},
                             {"chosen", describe(candidate_of(*entry))},
                             {"why", entry->why},
                             {"m_min", entry->m_min},
                             {"m_max", entry->m_max},
                             {"predicted_ns", entry->predicted_ns},
                             {"measured_ns", entry->measured_ns},
                             {"default_ns", entry->default_ns}};
    j["candidates"] = nlohmann::ordered_json::array();
    for (const Measurement& m : *known) j["candidates"].push_back(to_json(m));
    return print_and_exit(j.dump(2) + "\n");
  }
  Explanation e;
  e.asked = *asked;
  e.decided = *decided;
  e.role = o.op;
  e.entry = entry;
  e.known = *known;
  e.all = o.all;
  return print_and_exit(explain_text(e, plan, *platform));
}

}  // namespace

void add_explain(Cli& cli, CLI::App* plan) {
  CLI::App* verb = add_verb(plan, "explain", "Why a plan runs one operator as it does",
                            "  smetune plan explain --model model.gguf --op ffn_down --m 1\n"
                            "  smetune plan explain --model smollm2-135m --op attention --m 512 \\\n"
                            "      --context 2048 --all");
  auto o = std::make_shared<Options>();
  verb->add_option("--model", o->query.model, "GGUF file or name")->required();
  verb->add_option("--dtype", o->query.dtype, "Weight type of a model given by name");
  verb->add_option("--op", o->op, "attn_q, attn_output, ffn_up, ffn_down, output, attention, ...")->required();
  verb->add_option("--m", o->m, "Rows: tokens or sequences in the pass")
      ->check(CLI::Range(1u, 1u << 20))
      ->capture_default_str();
  verb->add_option("--context", o->context, "Positions in the cache, for attention")
      ->check(CLI::Range(1u, 1u << 20))
      ->capture_default_str();
  verb->add_flag("--all", o->all, "Every candidate in a line of its own");
  verb->add_flag("--json", o->json, "Print as JSON");
  verb->callback([&cli, o] { cli.action = [&cli, o] { return explain_verb(cli, *o); }; });
}

}  // namespace smepilot
