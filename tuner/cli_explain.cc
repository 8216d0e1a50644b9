// plan explain.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "db/layer_store.h"
#include "db/measurement_store.h"
#include "db/plan_store.h"
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

// The chain of the pass of the plan that is nearest to `m` rows, and what layers took when the plan was made.
struct PlanChain {
  std::vector<ChainRow> rows;  // none: the plan has no chain
  std::vector<LayerTimeRow> times;
};

Result<PlanChain> chain_of(Database& db, const Plan& plan, uint32_t m) {
  LayerStore store(db);
  SMEPILOT_ASSIGN(const std::vector<ChainRow> all, store.chain(plan.id));
  PlanChain out;
  const auto apart = [&](const ChainRow& r) { return r.m > m ? r.m - m : m - r.m; };
  const auto nearest =
      std::min_element(all.begin(), all.end(), [&](const auto& a, const auto& b) { return apart(a) < apart(b); });
  for (const ChainRow& r : all)
    if (r.pass == nearest->pass && r.m == nearest->m && r.kv_len == nearest->kv_len) out.rows.push_back(r);
  SMEPILOT_ASSIGN(const std::vector<PlanSummary> plans, PlanStore(db).list());
  for (const PlanSummary& p : plans) {
    if (p.id != plan.id || p.search_id == 0) continue;
    SMEPILOT_ASSIGN(out.times, store.times(p.search_id));
    std::erase_if(out.times, [&](const LayerTimeRow& t) { return t.session_id != p.session_id; });
  }
  return out;
}

nlohmann::ordered_json to_json(const ChainSide& s) {
  return {{"candidate", s.candidate},
          {"reads", s.layout},
          {"call_ns", s.ns},
          {"packings", s.packings},
          {"packing_ns", s.packing_ns}};
}

nlohmann::ordered_json to_json(const PlanChain& chain) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const ChainRow& r : chain.rows)
    rows.push_back({{"role", r.role},
                    {"m", r.m},
                    {"kv_len", r.kv_len},
                    {"step", r.step},
                    {"calls", r.calls},
                    {"label", r.predicted ? "predicted" : "measured operator, predicted packing"},
                    {"chosen", to_json(r.chosen)},
                    {"best_alone", to_json(r.best)}});
  return rows;
}

// Without an operator: the layer's chain alone.
int explain_chain(const Options& o, const Plan& plan, const PlanChain& chain) {
  if (o.json)
    return print_and_exit(nlohmann::ordered_json{{"plan", plan.id}, {"chain", to_json(chain)}}.dump(2) + "\n");
  if (chain.rows.empty())
    return fail(error("plan {} has no layer chain: it was imported, or made before chains were stored", plan.id));
  return print_and_exit(
      fmt::format("plan {} of {} ({}), for {}\n\n", plan.id, plan.created, plan.planner, plan.model_name) +
      layer_chain_text(chain.rows, chain.times));
}

int explain_verb(const Cli& cli, const Options& o) {
  auto platform = detect_platform();
  if (!platform.ok()) return fail(platform.status());
  auto model = load_model(o.query.model, o.query.dtype);
  if (!model.ok()) return fail(model.status());
  if (!o.op.empty())  // a wrong name is found before the database is
    if (auto asked = shape_of(*model, o.op, o.m, o.context); !asked.ok()) return fail(asked.status());
  auto db = Database::open(cli.db_path, OpenMode::kReadOnly);
  if (!db.ok()) return fail(db.status());
  auto found = find_plan(*db, o.query, *platform);
  if (!found.ok()) return fail(found.status());
  const Plan& plan = found->plan;
  auto chain = chain_of(*db, plan, o.m);
  if (!chain.ok()) return fail(chain.status());
  if (o.op.empty()) return explain_chain(o, plan, *chain);
  take_kv_type(plan, *model);
  auto asked = shape_of(*model, o.op, o.m, o.context);
  if (!asked.ok()) return fail(asked.status());
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
    j["chain"] = to_json(*chain);
    return print_and_exit(j.dump(2) + "\n");
  }
  Explanation e;
  e.asked = *asked;
  e.decided = *decided;
  e.role = o.op;
  e.entry = entry;
  e.known = *known;
  e.all = o.all;
  std::string out = explain_text(e, plan, *platform);
  if (!chain->rows.empty()) out += "\n" + layer_chain_text(chain->rows, chain->times);
  return print_and_exit(out);
}

}  // namespace

void add_explain(Cli& cli, CLI::App* plan) {
  CLI::App* verb = add_verb(plan, "explain", "Why a plan runs one operator, and the layer around it, as it does",
                            "  smetune plan explain --model model.gguf --op ffn_down --m 1\n"
                            "  smetune plan explain --model model.gguf --m 512\n"
                            "  smetune plan explain --model smollm2-135m --op attention --m 512 \\\n"
                            "      --context 2048 --all");
  auto o = std::make_shared<Options>();
  verb->add_option("--model", o->query.model, "GGUF file or name")->required();
  verb->add_option("--dtype", o->query.dtype, "Weight type of a model given by name");
  verb->add_option(
      "--op", o->op,
      "attn_q, attn_output, ffn_up, ffn_down, output, attention, ...\n[none: only the layer's chain of layouts]");
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
