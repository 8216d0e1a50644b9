#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "db/calibration_store.h"
#include "db/plan_store.h"
#include "db/session_store.h"
#include "kernels/base/text.h"
#include "kernels/registry/registry.h"
#include "profiles/timer.h"
#include "tuner/chain_choice.h"
#include "tuner/cli.h"
#include "tuner/cli_predict.h"
#include "tuner/hardware_evaluator.h"
#include "tuner/layer_timing.h"
#include "tuner/plan_builder.h"
#include "tuner/plan_text.h"
#include "tuner/search.h"

namespace smepilot {
namespace {

struct Options {
  std::string model, dtype, kv_type = "f16", strategy = "race";
  std::vector<uint32_t> ms, contexts;
  std::vector<std::string> ops, modes;
  std::string platform, replay;
  double budget_s = 0;
  double factor = PruneRule{}.factor;
  bool quick = false, fresh = false, json = false;
};

SearchOptions search_options(const Options& o, const ModelShape& model) {
  SearchOptions s;
  s.strategy = o.strategy;
  if (o.quick) {
    s.ms = {1, 32, 512};
    s.contexts = {512};
    s.rules.max_rounds = 8;
    s.rules.duel_rounds = 16;
  }
  if (!o.ms.empty()) s.ms = o.ms;
  if (!o.contexts.empty()) s.contexts = o.contexts;
  if (o.contexts.empty() && model.context > 0)  // a model is not run beyond what it was made for
    for (uint32_t& c : s.contexts) c = std::min(c, model.context);
  for (auto* v : {&s.ms, &s.contexts}) {
    std::sort(v->begin(), v->end());
    v->erase(std::unique(v->begin(), v->end()), v->end());
  }
  s.prune.factor = o.factor;
  s.prune.variant_factor = std::max(s.prune.variant_factor, o.factor);
  s.budget_s = o.budget_s > 0 ? o.budget_s : o.quick ? 30 : 120;
  s.fresh = o.fresh;
  s.roles = o.ops;
  return s;
}

nlohmann::ordered_json to_json(const PassChain& c) {
  nlohmann::ordered_json changed = nlohmann::ordered_json::array();
  for (const ChainOverride& o : c.overrides)
    changed.push_back({{"roles", o.roles},
                       {"operator", describe(o.shape)},
                       {"best_alone", describe(o.winner)},
                       {"best_alone_ns", o.winner_ns},
                       {"chosen", describe(o.chosen)},
                       {"chosen_ns", o.chosen_ns}});
  return {{"name", c.name},
          {"m", c.m},
          {"kv_len", c.kv_len},
          {"label", c.predicted ? "predicted" : "measured operators, predicted packing"},
          {"operators", c.operators},
          {"counted_operators", c.counted},
          {"untuned_ns", c.untuned.ns},
          {"greedy_ns", c.greedy.ns},
          {"chosen_ns", c.cost.ns},
          {"greedy_packings", c.greedy.packings},
          {"packings", c.cost.packings},
          {"packing_ns", c.cost.packing_ns},
          {"greedy_conversions", c.greedy.conversions},
          {"conversions", c.cost.conversions},
          {"changed", changed}};
}

nlohmann::ordered_json to_json(const LayerTime& t) {
  nlohmann::ordered_json j{{"name", t.name}, {"m", t.m}, {"kv_len", t.kv_len}, {"same_as_untuned", t.same}};
  if (t.times.rounds() == 0) return j;
  j["untuned_ns"] = t.times.other_ns;
  j["chosen_ns"] = t.times.chosen_ns;
  j["ratio_low"] = t.times.ratio.interval.low;
  j["ratio_high"] = t.times.ratio.interval.high;
  j["rounds"] = t.times.rounds();
  j["reverted"] = t.reverted;
  return j;
}

// Everything that is known of the operators, together: what packing costs counts, too.
std::vector<PassChain> together(SearchResult& result, const ModelShape& model, const SearchOptions& options,
                                const Calibration& calibration, const Platform& platform) {
  const Roofline roofline(calibration, platform);
  ChainRules rules;
  rules.roofline = &roofline;
  rules.workers = std::max(platform.cores, 1u);
  rules.noise = decision_noise(calibration, options.rules.tie);
  return choose_chains(result, model, options.ms, options.contexts, rules);
}

nlohmann::ordered_json to_json(const SearchResult& r, const Plan& plan, std::span<const PassGain> gains,
                               std::span<const PassChain> chains) {
  nlohmann::ordered_json j{{"testbed", testbed_enabled()},
                           {"search", r.search.id},
                           {"plan", plan.id},
                           {"state", state_name(r.search.state)},
                           {"resumed", r.resumed},
                           {"strategy", r.search.planner},
                           {"seconds", r.seconds},
                           {"operators", r.operators.size()},
                           {"unfinished", r.unfinished},
                           {"decided_again", r.decided_again},
                           {"disturbed", r.disturbed},
                           {"samples_measured", r.measured},
                           {"samples_reused", r.reused}};
  j["passes"] = nlohmann::ordered_json::array();
  for (const PassGain& g : gains)
    j["passes"].push_back({{"name", g.name},
                           {"m", g.m},
                           {"kv_len", g.kv_len},
                           {"predicted_ns", g.predicted_ns},
                           {"measured_ns", g.chosen_ns},
                           {"default_ns", g.default_ns},
                           {"gain", g.gain()},
                           {"operators", g.operators},
                           {"measured_operators", g.measured}});
  j["chains"] = nlohmann::ordered_json::array();
  for (const PassChain& c : chains) j["chains"].push_back(to_json(c));
  j["entries"] = nlohmann::ordered_json::parse(plan_to_json(plan))["entries"];
  return j;
}

// What a database knows about a model on this machine.
struct Recording {
  Search search;  // the newest one with samples
  std::vector<Measurement> rows;
  Calibration calibration;
  std::vector<LayerTimeRow> layers;
};

Result<Recording> read_recording(const std::string& path, const ModelShape& model, const Platform& platform,
                                 const SearchOptions& options) {
  SMEPILOT_ASSIGN(Database db, Database::open(path, OpenMode::kReadOnly));
  MeasurementStore store(db);
  SMEPILOT_ASSIGN(const std::vector<Search> searches, store.list_searches());
  std::vector<OperatorShape> shapes;
  for (const OperatorTask& t : operator_tasks(model, options.ms, options.contexts)) shapes.push_back(t.shape);
  std::string elsewhere;
  size_t here = 0;
  for (const Search& s : searches) {
    if (s.model_hash != model.hash()) continue;
    if (s.fingerprint != platform.fingerprint()) {
      elsewhere = s.fingerprint;
      continue;
    }
    ++here;
    Recording r;
    r.search = s;
    SMEPILOT_ASSIGN(r.rows, store.known(s.fingerprint, s.variant_set_hash, shapes));
    if (std::none_of(r.rows.begin(), r.rows.end(), [](const Measurement& m) { return !m.samples_ns.empty(); }))
      continue;
    SMEPILOT_ASSIGN(std::optional<Calibration> calibration, CalibrationStore(db).get(s.calibration_id));
    if (!calibration) return error("{}: search {} has no calibration to price its candidates by", path, s.id);
    r.calibration = std::move(*calibration);
    SMEPILOT_ASSIGN(r.layers, LayerStore(db).times(s.id));
    return r;
  }
  if (here > 0)
    return error("{}: no samples of model {} at M {} and context {}: its searches measured others", path, model.name,
                 fmt::join(options.ms, ","), fmt::join(options.contexts, ","));
  if (!elsewhere.empty())
    return error("{}: its searches of model {} are of another machine (fingerprint {}, here {}); replay them there",
                 path, model.name, elsewhere, platform.fingerprint());
  return error("{}: no search of model {} (hash {}) is stored there", path, model.name, model.hash());
}

// Decides again on what was measured before. Everything that a search stores goes to a database in memory.
int replay_verb(const Cli& cli, const Options& options) {
  auto model = load_model(options.model, options.dtype);
  if (!model.ok()) return fail(model.status());
  model->kv_type = options.kv_type == "q8_0" ? DType::kQ8_0 : DType::kF16;
  auto platform = detect_platform();
  if (!platform.ok()) return fail(platform.status());
  SearchOptions s = search_options(options, *model);
  auto recording = read_recording(options.replay, *model, *platform, s);
  if (!recording.ok()) return fail(recording.status());
  auto db = Database::open(":memory:");
  if (!db.ok()) return fail(db.status());
  auto session = SessionStore(*db).begin(*platform, cli.command);
  if (!session.ok()) return fail(session.status());
  const std::atomic<bool>& cancel = catch_interrupts();
  s.cancel = &cancel;
  s.replay = &recording->rows;
  recording->calibration.id = 0;  // it is not in that database
  auto result = run_search(*db, session->id, *platform, recording->calibration, *model, nullptr, s);
  if (!result.ok()) return fail(result.status());
  if (result->cancelled) return kExitInterrupted;
  const bool whole = options.ops.empty();
  std::vector<PassChain> chains;
  std::vector<LayerTime> layers;
  if (whole) {
    chains = together(*result, *model, s, recording->calibration, *platform);
    // Another strategy's layers would be other ones.
    if (s.strategy == recording->search.planner)
      layers = confirm_layers(*result, *model, s.ms, s.contexts, s.rules.tie, as_recorded(recording->layers));
  }
  auto plan = build_plan(*result, *model, *platform);
  if (!plan.ok()) return fail(plan.status());
  const std::vector<PassGain> gains = pass_gains(*result, *model, s.ms, s.contexts);
  if (options.json) {
    nlohmann::ordered_json j = to_json(*result, *plan, gains, chains);
    j["search"] = recording->search.id;
    j["label"] = "replayed";
    j["replayed_from"] = options.replay;
    return print_and_exit(j.dump(2) + "\n");
  }
  std::string out = fmt::format("{} (replayed: search {} of {}, measured {})\n\n", model->name, recording->search.id,
                                options.replay, recording->search.started);
  out += plan_table(*plan, &*model) + "\n";
  if (whole) out += gain_table(gains) + "\n" + chain_table(chains);
  if (!layers.empty()) out += "\n" + layer_text(layers);
  out += fmt::format("\nReplayed by {}: {} operators on {} recorded samples; nothing was measured or stored.\n",
                     result->search.planner, result->operators.size(), result->reused - result->repeated);
  if (result->repeated > 0)
    out += wrap(fmt::format("{} more samples were wanted than are recorded of their candidates: those were given "
                            "again, from the first one on.",
                            result->repeated),
                80, 0) +
           "\n";
  if (result->unfinished > 0)
    out += wrap(fmt::format("For {} of them the recording ended before the decision, as its search did: the default "
                            "stays unless another kernel led clearly.",
                            result->unfinished),
                80, 0) +
           "\n";
  return print_and_exit(out);
}

// Whole layers as chosen against untuned, on this machine.
std::vector<LayerTime> confirm_here(SearchResult& result, const ModelShape& model, const Platform& platform,
                                    const SearchOptions& s, const std::atomic<bool>& cancel) {
  constexpr double kQuiet_s = 2;
  ProgressLine line(kQuiet_s);
  LayerRules rules;
  rules.cancel = &cancel;
  rules.progress = [&line](double fraction, std::string_view label) { line.update(fraction, label); };
  LayerTimer timer(platform);
  const std::vector<LayerPass> passes = confirmed_passes(s.ms, s.contexts);
  return confirm_layers(result, model, s.ms, s.contexts, s.rules.tie, on_machine(timer, rules, passes));
}

int search_verb(const Cli& cli, const Options& options) {
  const std::atomic<bool>& cancel = catch_interrupts();
  auto model = load_model(options.model, options.dtype);
  if (!model.ok()) return fail(model.status());
  auto platform = detect_platform();
  if (!platform.ok()) return fail(platform.status());
  auto db = Database::open(cli.db_path);
  if (!db.ok()) return fail(db.status());
  auto calibration = need_calibration(*db, *platform);
  if (!calibration.ok()) return fail(calibration.status());
  auto session = SessionStore(*db).begin(*platform, cli.command);
  if (!session.ok()) return fail(session.status());

  model->kv_type = options.kv_type == "q8_0" ? DType::kQ8_0 : DType::kF16;
  SearchOptions s = search_options(options, *model);
  ProgressLine line;
  s.cancel = &cancel;
  s.progress = [&line](const SearchProgress& p) {
    const double fraction = p.total == 0 ? 0 : static_cast<double>(p.done) / static_cast<double>(p.total);
    const double by_rate = p.done == 0 ? p.budget_s : p.elapsed_s / fraction * (1 - fraction);
    line.update(fraction, fmt::format("{}/{} {}", p.done, p.total, p.label),
                std::min(by_rate, std::max(p.budget_s - p.elapsed_s, 0.0)));
  };
  const std::vector<uint32_t> workers = worker_counts(*platform);
  HardwareEvaluator evaluator(*platform, workers.back());
  auto result = run_search(*db, session->id, *platform, *calibration, *model, &evaluator, s);
  line.clear();
  if (!result.ok()) return fail(result.status());
  if (result->cancelled) {
    fmt::print(stderr,
               "smetune: interrupted; everything measured so far ({} samples) is stored and no plan was changed. The "
               "same command continues the search.\n",
               result->measured);
    return kExitInterrupted;
  }
  const bool whole = options.ops.empty();  // a plan of some operators must not take the place of one of all
  std::vector<PassChain> chains;
  std::vector<LayerTime> layers;
  double layers_s = 0;
  if (whole) {
    chains = together(*result, *model, s, *calibration, *platform);
    const int64_t layers_start = now_ns();
    if (s.strategy != "roofline") layers = confirm_here(*result, *model, *platform, s, cancel);
    layers_s = static_cast<double>(now_ns() - layers_start) * 1e-9;
  }
  if (cancel.load(std::memory_order_relaxed)) {
    fmt::print(stderr,
               "smetune: interrupted; every sample is stored and no plan was changed. The same command goes on.\n");
    return kExitInterrupted;
  }
  auto plan = build_plan(*result, *model, *platform);
  if (!plan.ok()) return fail(plan.status());
  if (whole) {
    auto id = PlanStore(*db).save(session->id, *plan, result->search.id);
    if (!id.ok()) return fail(id.status());
    plan->id = *id;
    LayerStore store(*db);
    std::vector<ChainRow> rows;
    for (const PassChain& c : chains) rows.insert(rows.end(), c.rows.begin(), c.rows.end());
    if (const Status status = store.save_chain(*id, rows); !status.ok()) return fail(status);
    if (const Status status = store.save_times(layer_rows(layers, session->id, result->search.id)); !status.ok())
      return fail(status);
  }
  const std::vector<PassGain> gains = pass_gains(*result, *model, s.ms, s.contexts);
  if (options.json) {
    nlohmann::ordered_json j = to_json(*result, *plan, gains, chains);
    j["layers_seconds"] = layers_s;
    j["layers"] = nlohmann::ordered_json::array();
    for (const LayerTime& t : layers) j["layers"].push_back(to_json(t));
    return print_and_exit(j.dump(2) + "\n");
  }

  std::string out =
      fmt::format("{} on {} ({} cores, {})\n\n", model->name, platform->cpu_model, platform->cores, platform->isa);
  out += plan_table(*plan, &*model) + "\n";
  if (whole) out += gain_table(gains) + "\n" + chain_table(chains);
  if (!layers.empty()) out += "\n" + layer_text(layers);
  out += fmt::format("\nSearch {} ({}{}): {} operators, {} samples measured, {} reused, in {}{}.\n", result->search.id,
                     result->search.planner, result->resumed ? ", resumed" : "", result->operators.size(),
                     result->measured, result->reused, format_duration(result->seconds),
                     layers.empty() ? "" : fmt::format(", layers in {}", format_duration(layers_s)));
  if (result->unfinished > 0)
    out +=
        wrap(fmt::format("The budget of {} ended before {} operator{} decided: the default stays unless another "
                         "kernel led clearly. The same command continues from here.",
                         format_duration(s.budget_s), result->unfinished, result->unfinished == 1 ? " was" : "s were"),
             80, 0) +
        "\n";
  out += whole ? fmt::format("Plan {} is stored in {}\n", plan->id, db->path())
               : "What was measured is stored; with --op no plan is made of it.\n";
  if (result->beside)
    out += wrap(fmt::format("Warning: {} ran another search of this database meanwhile. Each took the cores from the "
                            "other: search again with --fresh, one after the other.",
                            process_name(*result->beside)),
                80, 2) +
           "\n";
  if (evaluator.repeated() > 0 || result->disturbed > 0) {
    std::string text = fmt::format("{} samples were taken again because something else had a part of the machine",
                                   evaluator.repeated());
    if (result->decided_again > 0)
      text += fmt::format(", and {} decision{} when that was over", result->decided_again,
                          result->decided_again == 1 ? "" : "s");
    text += result->disturbed == 0 ? "."
                                   : fmt::format("; {} decision{} on samples of such moments all the same.",
                                                 result->disturbed, result->disturbed == 1 ? " rests" : "s rest");
    out += wrap(text, 80, 0) + "\n";
  }
  constexpr double kBusy = 0.1;
  if (evaluator.busy_fraction() > kBusy)
    out += wrap(fmt::format(
                    "Warning: other programs took {:.0f} % of the time of the core that was measured on. On a busy "
                    "machine fewer workers look better than they are: search again with --fresh when it is idle.",
                    100 * evaluator.busy_fraction()),
                80, 2) +
           "\n";
  return print_and_exit(out);
}

}  // namespace

void add_search(Cli& cli) {
  CLI::App* verb = add_verb(&cli.app, "search", "Search how this machine should run a model's operators",
                            "  smetune search --model smollm2-135m\n"
                            "  smetune search --model model.gguf --budget 300\n"
                            "  smetune search --model llama-3.2-1b --dtype q8_0 --m 1,4,16,512\n"
                            "  smetune search --model llama-3.2-3b --m 1,2,3,4,6,8,12,16,32,64,128,256,512,\\\n"
                            "    1024,2048,4096,8192 --context 512,2048,8192 --budget 1800\n"
                            "  smetune search --platform apple-m4-pro --model llama-3.2-3b --dtype f16\n"
                            "  smetune search --model llama-3.2-3b --replay old.db --strategy exhaustive\n"
                            "Interrupted or out of budget, the same command continues.");
  auto o = std::make_shared<Options>();
  verb->add_option("--model", o->model, "A GGUF file, or a name from `smetune models list`")->required();
  verb->add_option("--dtype", o->dtype, "Weight type of a model given by name (q4_0, q8_0, f16, ...)");
  verb->add_option("--kv-type", o->kv_type, "What the KV cache holds")
      ->check(CLI::IsMember({"f16", "q8_0"}))
      ->capture_default_str();
  verb->add_option("--m", o->ms,
                   "Rows: tokens of a prompt batch (up to 8192 and beyond),\nsequences of a decode batch (1 to "
                   "16)\n[1,4,8,16,32,128,512; 1,32,512 with --quick]")
      ->delimiter(',')
      ->check(CLI::Range(1u, 65536u));
  verb->add_option("--context", o->contexts,
                   "Context lengths for attention, as 512,2048,8192\n[512,2048; 512 with --quick]")
      ->delimiter(',')
      ->check(CLI::Range(1u, 1u << 20));
  verb->add_option("--op", o->ops, "Only these operators (ffn_up, attention, ...), without\nmaking a plan")
      ->delimiter(',');
  verb->add_option("--budget", o->budget_s, "Stop after this many seconds [120; 30 with --quick]")
      ->check(CLI::Range(0.1, 1e6));
  verb->add_option("--strategy,--planner", o->strategy, "race, exhaustive, or roofline (measures nothing)")
      ->check(CLI::IsMember({"race", "exhaustive", "roofline"}))
      ->capture_default_str();
  verb->add_option("--factor", o->factor, "Measure what is predicted within this factor of the best")
      ->check(CLI::Range(1.0, 1e6))
      ->capture_default_str();
  auto* platform = verb->add_option(
      "--platform", o->platform,
      "Plan for that machine from its profile, measuring nothing\n(a name from `smetune platforms`, or a file)");
  verb->add_option("--modes", o->modes, "With --platform: choose among these only (cpu, sme, coop)")
      ->delimiter(',')
      ->needs(platform);
  auto* replay =
      verb->add_option("--replay", o->replay,
                       "Decide on what is recorded in this database instead of\nmeasuring; nothing is stored")
          ->type_name("DB")
          ->check(CLI::ExistingFile);
  verb->add_flag("--quick", o->quick, "Fewer M, one context, fewer rounds");
  verb->add_flag("--fresh", o->fresh, "Measure everything again");
  verb->add_flag("--json", o->json, "Print the result as JSON");
  for (const char* other : {"--platform", "--budget", "--fresh"}) replay->excludes(verb->get_option(other));
  for (const char* measures : {"--op", "--budget", "--strategy", "--factor", "--fresh"})
    platform->excludes(verb->get_option(measures));
  verb->callback([&cli, o] {
    cli.action = [&cli, o] {
      if (!o->replay.empty()) return replay_verb(cli, *o);
      if (o->platform.empty()) return search_verb(cli, *o);
      return predict_verb(
          cli, {o->platform, o->model, o->dtype, o->kv_type, o->ms, o->contexts, o->modes, o->quick, o->json});
    };
  });
}

}  // namespace smepilot
