// simulate matmul|attention|model, and simulate --published: schedules on a machine that is known by its rates.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "db/plan_store.h"
#include "kernels/base/atomic_file.h"
#include "kernels/base/text.h"
#include "tuner/cli.h"
#include "tuner/cli_predict.h"
#include "tuner/predict.h"
#include "tuner/search_space.h"
#include "tuner/simulate_published.h"

namespace smepilot {
namespace {

using Json = nlohmann::ordered_json;

struct Common {
  std::string platform, mode = "coop", trace;
  unsigned workers = 0, matrix_workers = 0;
  SimRates rates;
  bool json = false;
};

DType dtype_of(const std::string& name) {
  for (uint8_t t = 0; t < static_cast<uint8_t>(DType::kQ8); ++t)
    if (name == traits(static_cast<DType>(t)).name) return static_cast<DType>(t);
  return DType::kCount;
}

CLI::IsMember dtypes() {
  std::vector<std::string> names;
  for (uint8_t t = 0; t < static_cast<uint8_t>(DType::kQ8); ++t) names.emplace_back(traits(static_cast<DType>(t)).name);
  return CLI::IsMember(names);
}

// "simulated (published profile)": on every output.
std::string label_of(const PlatformProfile& p, const SimRates& rates) {
  const bool given = rates.matrix_gflops > 0 || rates.cpu_gflops > 0 || rates.exp_geps > 0;
  return fmt::format("simulated ({}{})", p.label(), given ? ", with rates from the command line" : "");
}

Status write_timeline(const std::string& path, const SimMachine& machine, const SimResult& result,
                      const std::string& title) {
  if (path.empty()) return {};
  AtomicFile file(path);
  file.write(sim_trace_json(machine, result, title));
  return file.commit();
}

Json result_json(const SimMachine& m, const SimResult& r) {
  Json j{
      {"ns", r.ns}, {"bound_ns", r.bound_ns}, {"memory_share", r.ns > 0 ? r.memory_ns / r.ns : 0}, {"tasks", r.tasks}};
  for (const ExecutionUnit unit : {ExecutionUnit::kCpu, ExecutionUnit::kMatrix}) {
    const auto u = static_cast<size_t>(unit);
    if (m.workers[u] == 0) continue;
    j[kUnitNames[u]] = {{"workers", m.workers[u]},
                        {"busy_share", r.busy_ns[u] / (r.ns * m.workers[u])},
                        {"flops", r.flops[u]},
                        {"exps", r.exps[u]}};
  }
  j["read_bytes"] = r.read_bytes;
  j["write_bytes"] = r.write_bytes;
  return j;
}

std::string result_text(const SimMachine& m, const SimResult& r) {
  std::string out = fmt::format("{}; no schedule beats {}\n", format_ns(r.ns), format_ns(r.bound_ns));
  for (const ExecutionUnit unit : {ExecutionUnit::kMatrix, ExecutionUnit::kCpu}) {
    const auto u = static_cast<size_t>(unit);
    if (m.workers[u] == 0) continue;
    out += fmt::format("  {:<7}{:>3} workers, {:>3.0f} % busy", kUnitNames[u], m.workers[u],
                       100 * r.busy_ns[u] / (r.ns * m.workers[u]));
    if (r.flops[u] > 0) out += fmt::format(", {:.0f} GFLOP/s", r.flops[u] / r.ns);
    if (r.exps[u] > 0) out += fmt::format(", {:.2f} Gexp/s", r.exps[u] / r.ns);
    out += "\n";
  }
  return out + fmt::format("  memory {:.0f} % busy, {:.2f} GB read, {:.2f} GB written; {} tasks\n",
                           100 * r.memory_ns / r.ns, r.read_bytes / 1e9, r.write_bytes / 1e9, r.tasks);
}

int report(const Common& c, const PlatformProfile& profile, const std::string& what, const SimMachine& machine,
           const SimResult& result) {
  const std::string label = label_of(profile, c.rates), title = fmt::format("{} on {}, {}", what, profile.name, label);
  if (const Status s = write_timeline(c.trace, machine, result, title); !s.ok()) return fail(s);
  if (!c.json) return print_and_exit(fmt::format("{}\n{}", wrap(title, 80, 2), result_text(machine, result)));
  Json j{{"label", label}, {"platform", profile.name}, {"what", what}, {"mode", c.mode}};
  j.update(result_json(machine, result));
  return print_and_exit(j.dump(2) + "\n");
}

Result<SimMachine> machine_for(const Common& c, const PlatformProfile& profile, SimNeed need) {
  SMEPILOT_ASSIGN(const std::vector<ExecutionMode> mode, modes_from({c.mode}));
  need.mode = mode[0];
  need.workers = c.workers;
  need.matrix_workers = c.matrix_workers;
  return sim_machine(profile, need, c.rates);
}

// A simulation is to take seconds, and its timeline to fit into memory.
Status check_tasks(double tasks, bool trace, const char* advice) {
  const double most = trace ? 2e6 : 1.5e7;
  if (tasks <= most) return {};
  return error("about {:.0f} million tasks, at most {:.0f} million are simulated{}; take {}", tasks / 1e6, most / 1e6,
               trace ? " with --trace" : "", advice);
}

// --- matmul ---

struct MatmulOptions : Common {
  uint32_t m = 1, n = 1, k = 1;
  std::string dtype = "f16";
  SimMatmul call;
};

int matmul_verb(const Cli& cli, const MatmulOptions& o) {
  auto profile = profile_for(cli, o.platform);
  if (!profile.ok()) return fail(profile.status());
  SimMatmul call = o.call;
  call.dtype = dtype_of(o.dtype);
  if (o.call.k % traits(call.dtype).block_elems != 0)
    return fail(
        error("--k {}: expected a multiple of {}, the block of {}", call.k, traits(call.dtype).block_elems, o.dtype));
  const double tasks = std::ceil(double{1} * call.m / call.mc) * std::ceil(double{1} * call.n / call.nc);
  if (const Status s = check_tasks(tasks, !o.trace.empty(), "larger ones with --mc and --nc"); !s.ok()) return fail(s);
  const std::string what = fmt::format("matmul {} m={} n={} k={}{}", o.dtype, call.m, call.n, call.k,
                                       call.naive_packing ? ", packed each call" : "");
  SimNeed need;
  need.who = what;
  need.dtype = call.dtype;
  need.resident_bytes = static_cast<double>(rhs_bytes(call.dtype, call.n, call.k));
  const auto machine = machine_for(o, *profile, need);
  if (!machine.ok()) return fail(machine.status());
  call.mode = (*modes_from({o.mode}))[0];
  if (call.mode == ExecutionMode::kCoop) {
    if (call.split == 0) call.split = balanced_split(*machine, call.n);
    if (call.split == 0 || call.split >= call.n || call.split % kPanel != 0)
      return fail(error("--split {}: expected a multiple of {} below n={}", call.split, kPanel, call.n));
  }
  const SimResult r = simulate_matmul(*machine, call, !o.trace.empty());
  const std::string how = call.mode != ExecutionMode::kCoop
                              ? o.mode
                              : fmt::format("coop, {} of {} columns on the matrix unit{}", call.split, call.n,
                                            call.dynamic ? ", dynamic end" : "");
  return report(o, *profile, what + ", " + how, *machine, r);
}

// --- attention ---

struct AttentionOptions : Common {
  SimAttention call;
  std::string pipeline = "full", kv_type = "f16";
  bool no_mask = false;
};

SimPipeline pipeline_of(const std::string& name) {
  return name == "full" ? SimPipeline::kFull : name == "two-stage" ? SimPipeline::kTwoStage : SimPipeline::kNone;
}

int attention_verb(const Cli& cli, const AttentionOptions& o) {
  auto profile = profile_for(cli, o.platform);
  if (!profile.ok()) return fail(profile.status());
  SimAttention call = o.call;
  call.dtype = dtype_of(o.kv_type);
  call.causal = !o.no_mask;
  call.kv_len = std::max(call.kv_len, call.m);
  call.pipeline = pipeline_of(o.pipeline);
  if (call.heads % call.kv_heads != 0)
    return fail(error("--kv-heads {}: expected a divisor of --heads {}", call.kv_heads, call.heads));
  const double tiles =
      std::ceil(double{1} * call.m * call.heads / call.rows) * std::ceil(double{1} * call.kv_len / call.kv_tile);
  if (const Status s = check_tasks(3 * tiles, !o.trace.empty(), "larger ones with --rows and --kv-tile"); !s.ok())
    return fail(s);
  const std::string what = fmt::format("attention {} m={} kv={} heads={}/{} d={}{}", o.kv_type, call.m, call.kv_len,
                                       call.heads, call.kv_heads, call.head_dim, call.causal ? "" : ", no mask");
  SimNeed need;
  need.who = what;
  need.kind = OpKind::kAttention;
  need.dtype = call.dtype;
  need.cores_multiply = call.cores_multiply;
  need.resident_bytes = double{1} * call.heads * call.m * call.kv_len * sizeof(float);
  const auto machine = machine_for(o, *profile, need);
  if (!machine.ok()) return fail(machine.status());
  call.mode = (*modes_from({o.mode}))[0];
  const SimResult r = simulate_attention(*machine, call, !o.trace.empty());
  return report(o, *profile, what + ", " + (call.mode == ExecutionMode::kCoop ? "pipeline: " + o.pipeline : o.mode),
                *machine, r);
}

// --- model ---

struct ModelOptions : Common {
  std::string model, dtype, plan, pipeline = "full";
  uint32_t prefill = 0, decode = 0, context = 0;
  std::vector<std::string> modes;
  bool dynamic = false;
};

// A plan by its number in the database, or from a file.
Result<Plan> plan_named(const Cli& cli, const std::string& name, const ModelShape& model) {
  Plan plan;
  const std::optional<double> id = parse_double(name);
  if (id) {
    SMEPILOT_ASSIGN(Database db, Database::open(cli.db_path, OpenMode::kReadOnly));
    SMEPILOT_ASSIGN(std::optional<Plan> found, PlanStore(db).get(static_cast<int64_t>(*id)));
    if (!found) return error("{}: there is no plan {}; see: smetune plan list", db.path(), name);
    plan = std::move(*found);
  } else {
    SMEPILOT_ASSIGN(plan, read_plan_file(name));
  }
  if (plan.model_hash != model.hash())
    return error("plan {}: it is for model {} ({}), this one is {} ({})", name, plan.model_name, plan.model_hash,
                 model.name, model.hash());
  return plan;
}

// All steps once, one after the other.
SimResult timeline_of(const SimModel& model, SimMachine& widest) {
  SimResult all;
  for (const SimStep& s : model.steps)
    for (size_t u = 0; u < 2; ++u) widest.workers[u] = std::max(widest.workers[u], s.machine.workers[u]);
  for (const SimStep& s : model.steps) {
    for (SimEvent e : s.result.events) {
      e.begin_ns += all.ns;
      e.end_ns += all.ns;
      // The cores' workers come behind those of the widest matrix side.
      if (e.unit == ExecutionUnit::kCpu) e.worker += widest.workers[1] - s.machine.workers[1];
      all.events.push_back(e);
    }
    all.ns += s.result.ns;
  }
  return all;
}

int model_verb(const Cli& cli, const ModelOptions& o) {
  if ((o.prefill == 0) == (o.decode == 0)) return fail(error("give one of --prefill TOKENS and --decode SEQUENCES"));
  auto profile = profile_for(cli, o.platform);
  if (!profile.ok()) return fail(profile.status());
  auto model = load_model(o.model, o.dtype);
  if (!model.ok()) return fail(model.status());
  SimPassOptions pass;
  pass.pass = o.prefill != 0 ? Pass::kPrefill : Pass::kDecode;
  pass.m = std::max(o.prefill, o.decode);
  pass.kv_len = o.context != 0 ? o.context : o.prefill != 0 ? o.prefill : 512;
  const SimAttention tile;
  const double tiles = std::ceil(double{1} * model->heads * pass.m / tile.rows) *
                       std::ceil(double{1} * std::max(pass.kv_len, pass.m) / tile.kv_tile);
  if (const Status s =
          check_tasks(3 * tiles, pass.pass == Pass::kPrefill && !o.trace.empty(), "a shorter prompt or context");
      !s.ok())
    return fail(s);
  pass.pipeline = pipeline_of(o.pipeline);
  pass.dynamic = o.dynamic;
  pass.keep_events = !o.trace.empty();
  auto modes = modes_from(o.modes);
  if (!modes.ok()) return fail(modes.status());
  pass.modes = *modes;
  std::optional<Plan> plan;
  if (!o.plan.empty()) {
    auto found = plan_named(cli, o.plan, *model);
    if (!found.ok()) return fail(found.status());
    plan = std::move(*found);
    pass.plan = &*plan;
  }
  auto simulated = simulate_model(*profile, *model, pass);
  if (!simulated.ok()) return fail(simulated.status());
  const std::string label = label_of(*profile, {});
  const std::string what = fmt::format("{} {} of {}, context {}", model->name, o.prefill != 0 ? "prefill" : "decode",
                                       pass.m, std::max(pass.kv_len, pass.m));
  if (!o.trace.empty()) {
    SimMachine widest;
    const SimResult all = timeline_of(*simulated, widest);
    if (const Status s = write_timeline(o.trace, widest, all, what + ", each operator once, " + label); !s.ok())
      return fail(s);
  }
  const double rate = pass.m / (simulated->ns / 1e9);
  if (o.json) {
    Json j{
        {"label", label}, {"platform", profile->name}, {"what", what}, {"ns", simulated->ns}, {"tokens_per_s", rate}};
    j["operators"] = Json::array();
    for (const SimStep& s : simulated->steps) {
      Json step{{"role", s.role},
                {"shape", describe(s.shape)},
                {"calls", s.calls},
                {"planned", s.planned},
                {"mode", kModeNames[static_cast<size_t>(s.choice.mode)]},
                {"split", s.choice.split},
                {"predicted_ns", s.choice.ns}};
      step.update(result_json(s.machine, s.result));
      j["operators"].push_back(step);
    }
    return print_and_exit(j.dump(2) + "\n");
  }
  std::string out =
      fmt::format("{}\n{}, {:.1f} tokens/s; norms, rotations and activations not counted\n\n",
                  wrap(fmt::format("{} on {}, {}", what, profile->name, label), 80, 2), format_ns(simulated->ns), rate);
  Table t({{"operator"},
           {"calls", Table::Align::kRight},
           {"mode"},
           {"split", Table::Align::kRight},
           {"one call", Table::Align::kRight},
           {"bound", Table::Align::kRight},
           {"of the pass", Table::Align::kRight}});
  for (const SimStep& s : simulated->steps)
    t.add({s.role, fmt::format("{}", s.calls), kModeNames[static_cast<size_t>(s.choice.mode)],
           s.choice.split != 0 ? fmt::format("{}/{}", s.choice.split, s.shape.n) : "", format_ns(s.result.ns),
           format_ns(s.result.bound_ns), fmt::format("{:.1f} %", 100 * s.result.ns * s.calls / simulated->ns)});
  return print_and_exit(out + t.text());
}

int published_verb(bool json) {
  const auto figures = published_figures();
  if (!figures.ok()) return fail(figures.status());
  Json j = Json::array();
  Table t({{"Apple M4 Pro, arXiv:2606.16332v1"},
           {"published", Table::Align::kRight},
           {"simulated", Table::Align::kRight},
           {"error", Table::Align::kRight}});
  std::vector<std::pair<std::string, std::string>> assumed;  // and for which figures
  for (const PublishedFigure& f : *figures) {
    const bool range = f.low != f.high;
    t.add({f.what, fmt::format("{}{:.2f} {}", range ? fmt::format("{:.2f} to ", f.low) : "", f.high, f.unit),
           fmt::format("{:.2f} {}", f.simulated, f.unit),
           range && f.error() == 0 ? "within" : fmt::format("{:+.1f} %", 100 * f.error())});
    const auto same = std::find_if(assumed.begin(), assumed.end(), [&](const auto& a) { return a.first == f.remark; });
    if (same != assumed.end())
      same->second += "; " + f.what;
    else if (!f.remark.empty())
      assumed.emplace_back(f.remark, f.what);
    j.push_back({{"what", f.what},
                 {"unit", f.unit},
                 {"published_low", f.low},
                 {"published_high", f.high},
                 {"simulated", f.simulated},
                 {"error", f.error()},
                 {"assumed", f.remark}});
  }
  if (json) return print_and_exit(j.dump(2) + "\n");
  std::string out = t.text() + "\nAssumed where the source does not say:\n";
  for (const auto& [what, of] : assumed) out += wrap(fmt::format("  {}: {}", what, of), 80, 4) + "\n";
  return print_and_exit(out);
}

void add_common(CLI::App* verb, Common& c, bool rates) {
  verb->add_option("--platform", c.platform,
                   "A name from `smetune platforms`, or a file [this\nmachine's calibration]");
  if (rates) {
    verb->add_option("--mode", c.mode, "cpu, sme (or amx, matrix), coop")
        ->check(CLI::IsMember({"cpu", "sme", "amx", "matrix", "coop"}))
        ->capture_default_str();
    verb->add_option("--workers", c.workers, "Vector cores [as many as the profile's rates are of]")
        ->check(CLI::Range(1u, 4096u));
    verb->add_option("--matrix-workers", c.matrix_workers, "Workers of the matrix units [likewise]")
        ->check(CLI::Range(1u, 4096u));
    verb->add_option("--matrix-rate", c.rates.matrix_gflops, "GFLOP/s of the matrix units, instead of the profile's")
        ->check(CLI::Range(1e-3, 1e9));
    verb->add_option("--cpu-rate", c.rates.cpu_gflops, "GFLOP/s of the vector cores, likewise")
        ->check(CLI::Range(1e-3, 1e9));
    verb->add_option("--exp-rate", c.rates.exp_geps, "1e9 exponentials per second of the vector cores, likewise")
        ->check(CLI::Range(1e-6, 1e6));
  }
  verb->add_option("--trace", c.trace, "Write the simulated timeline, for Perfetto")->type_name("FILE");
  verb->add_flag("--json", c.json, "Print the result as JSON");
}

void add_matmul(Cli& cli, CLI::App* parent) {
  CLI::App* verb = add_verb(parent, "matmul", "One matmul on one unit or divided between both",
                            "  smetune simulate matmul --platform apple-m4-pro --m 4096 --n 3072 --k 8192\n"
                            "  smetune simulate matmul --platform apple-m4-pro --m 16 --n 3072 --k 8192 \\\n"
                            "      --naive-packing\n"
                            "  smetune --testbed simulate matmul --m 512 --n 3072 --k 8192 --dtype q4_0 \\\n"
                            "      --matrix-rate 468 --cpu-rate 217 --dynamic");
  auto o = std::make_shared<MatmulOptions>();
  const CLI::Range sizes(1u, 1u << 20);
  verb->add_option("--m", o->call.m, "Rows: tokens")->required()->check(sizes);
  verb->add_option("--n", o->call.n, "Columns of the result")->required()->check(sizes);
  verb->add_option("--k", o->call.k, "Length of the products")->required()->check(sizes);
  verb->add_option("--dtype", o->dtype, "Of the weights")->check(dtypes())->capture_default_str();
  verb->add_option("--split", o->call.split, "Columns of the matrix unit, a multiple of 16 [balanced]")->check(sizes);
  verb->add_flag("--dynamic", o->call.dynamic, "The unit that is done takes over from the other");
  verb->add_option("--mc", o->call.mc, "Rows of a task")->check(CLI::Range(16u, 65536u))->capture_default_str();
  verb->add_option("--nc", o->call.nc, "Columns of a task")->check(CLI::Range(16u, 65536u))->capture_default_str();
  verb->add_flag("--naive-packing", o->call.naive_packing, "The cores pack all weights before the call");
  add_common(verb, *o, true);
  verb->callback([&cli, o] { cli.action = [&cli, o] { return matmul_verb(cli, *o); }; });
}

void add_attention(Cli& cli, CLI::App* parent) {
  CLI::App* verb = add_verb(parent, "attention", "Attention: as a pipeline of both units, without one, or on one unit",
                            "  smetune simulate attention --platform apple-m4-pro --m 4096 --no-mask \\\n"
                            "      --pipeline full\n"
                            "  smetune simulate attention --platform apple-m4-pro --m 4096 --no-mask \\\n"
                            "      --pipeline none --trace t.json\n"
                            "  smetune simulate attention --platform apple-m4-pro --m 1024 --mode sme");
  auto o = std::make_shared<AttentionOptions>();
  o->call.heads = 24;
  o->call.kv_heads = 8;
  o->call.head_dim = 128;
  verb->add_option("--m", o->call.m, "Query tokens, the last ones of the context")
      ->required()
      ->check(CLI::Range(1u, 1u << 17));
  verb->add_option("--kv", o->call.kv_len, "Positions in the cache [m]")->check(CLI::Range(1u, 1u << 20));
  verb->add_option("--heads", o->call.heads, "Heads")->check(CLI::Range(1u, 1024u))->capture_default_str();
  verb->add_option("--kv-heads", o->call.kv_heads, "Heads of the cache")
      ->check(CLI::Range(1u, 1024u))
      ->capture_default_str();
  verb->add_option("--head-dim", o->call.head_dim, "Width of a head, a multiple of 32")
      ->check(CLI::Range(32u, 1024u))
      ->capture_default_str();
  verb->add_option("--kv-type", o->kv_type, "What the cache holds")
      ->check(CLI::IsMember({"f16", "q8_0"}))
      ->capture_default_str();
  verb->add_flag("--no-mask", o->no_mask, "Every query sees every position [causal]");
  verb->add_option("--pipeline", o->pipeline,
                   "Mode coop: full, two-stage (scores with softmax, then the\nvalues), none")
      ->check(CLI::IsMember({"full", "two-stage", "none"}))
      ->capture_default_str();
  verb->add_option("--rows", o->call.rows, "Query rows of a tile")
      ->check(CLI::Range(16u, 4096u))
      ->capture_default_str();
  verb->add_option("--kv-tile", o->call.kv_tile, "Positions of a tile")
      ->check(CLI::Range(16u, 65536u))
      ->capture_default_str();
  verb->add_option("--depth", o->call.depth, "Tiles in flight")->check(CLI::Range(1u, 4096u))->capture_default_str();
  verb->add_flag("--cores-multiply", o->call.cores_multiply, "Cores without a softmax to do take tiles of values");
  add_common(verb, *o, true);
  verb->callback([&cli, o] { cli.action = [&cli, o] { return attention_verb(cli, *o); }; });
}

void add_model(Cli& cli, CLI::App* parent) {
  CLI::App* verb = add_verb(parent, "model", "A prefill or decode step of a model, operator after operator",
                            "  smetune simulate model --platform apple-m4-pro --model llama-3.2-3b \\\n"
                            "      --dtype f16 --prefill 512\n"
                            "  smetune simulate model --platform apple-m4-pro --model llama-3.2-3b \\\n"
                            "      --dtype f16 --decode 16 --context 2048");
  auto o = std::make_shared<ModelOptions>();
  verb->add_option("--model", o->model, "A GGUF file, or a name from `smetune models list`")->required();
  verb->add_option("--dtype", o->dtype, "Weight type of a model given by name");
  verb->add_option("--prefill", o->prefill, "Tokens of a prompt")->check(CLI::Range(1u, 1u << 17));
  verb->add_option("--decode", o->decode, "Sequences of a decode step")->check(CLI::Range(1u, 4096u));
  verb->add_option("--context", o->context, "Positions in the cache afterwards [the prompt; 512]")
      ->check(CLI::Range(1u, 1u << 20));
  verb->add_option("--plan", o->plan,
                   "Modes, workers and splits of that plan: its number, or a file\n[the lowest predicted price]");
  verb->add_option("--modes", o->modes, "Choose among these only (cpu, sme, coop)")->delimiter(',');
  verb->add_option("--pipeline", o->pipeline, "Of attention on both units: full, two-stage, none")
      ->check(CLI::IsMember({"full", "two-stage", "none"}))
      ->capture_default_str();
  verb->add_flag("--dynamic", o->dynamic, "Divided matmuls end dynamically");
  add_common(verb, *o, false);
  verb->callback([&cli, o] { cli.action = [&cli, o] { return model_verb(cli, *o); }; });
}

}  // namespace

void add_simulate(Cli& cli) {
  CLI::App* verb = add_verb(&cli.app, "simulate", "Simulate schedules on a machine that is known by its rates",
                            "  smetune simulate --published\n"
                            "  smetune simulate matmul --platform apple-m4-pro --m 4096 --n 3072 \\\n"
                            "      --k 8192 --mode sme\n"
                            "  smetune simulate attention --platform apple-m4-pro --m 4096 --no-mask \\\n"
                            "      --pipeline none");
  verb->require_subcommand(0, 1);
  auto published = std::make_shared<bool>(false), json = std::make_shared<bool>(false);
  verb->add_flag("--published", *published, "Published figures beside simulated ones, with the errors");
  verb->add_flag("--json", *json, "Print the result as JSON");
  verb->callback([&cli, verb, published, json] {
    if (!verb->get_subcommands().empty()) return;
    if (!*published) throw CLI::RequiredError("--published, or one of matmul, attention, model");
    cli.action = [json] { return published_verb(*json); };
  });
  add_matmul(cli, verb);
  add_attention(cli, verb);
  add_model(cli, verb);
}

}  // namespace smepilot
