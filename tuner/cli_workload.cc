// workload: the paper's workloads on any model, ours and other engines taking turns.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "db/baseline_store.h"
#include "db/session_store.h"
#include "db/workload_store.h"
#include "kernels/base/os.h"
#include "kernels/base/text.h"
#include "kernels/registry/registry.h"
#include "profiles/gguf.h"
#include "profiles/model_file.h"
#include "profiles/timer.h"
#include "tuner/cli.h"
#include "tuner/subprocess.h"
#include "tuner/workload.h"

namespace smepilot {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string name, model, plan = "auto", kv_type = "f16";
  uint32_t batch = 1;
  unsigned rounds = kLeastPairs, threads = 0;
  double scale = 1;
  double timeout_s = 0;  // of one run of one engine; 0: none
  std::vector<std::string> baselines, baseline_args;
  bool json = false;
};

// smepilot-run, or a program that is llama.cpp's llama-bench or llama-batched-bench or behaves like it.
struct Contender {
  std::string program;
  bool batched = false;  // llama-batched-bench
  bool gp = false;       // a llama-bench that times generation after a prompt by -gp, not by -d
  std::vector<std::string> arguments;
  std::string note;  // why it does not take part
  WorkloadRun run;
};

struct Race {
  const Options* options;
  std::vector<Contender> contenders;  // the first one is ours
  ModelShape model;
  unsigned threads = 0;  // that all use: as given, or as ours chose
};

// $SMEPILOT_RUN, else beside this program, where a build puts it, or in $PATH.
Result<std::string> find_engine() {
  if (const char* given = std::getenv("SMEPILOT_RUN"); given != nullptr && *given != '\0') return find_program(given);
  const std::filesystem::path here = std::filesystem::path(program_path()).parent_path();
  for (const std::filesystem::path& path : {here / "smepilot-run", here.parent_path() / "engine" / "smepilot-run"})
    if (const Result<std::string> found = find_program(path.string()); found.ok()) return found;
  Result<std::string> found = find_program("smepilot-run");
  if (found.ok()) return found;
  return error("smepilot-run is neither in {} nor in PATH; SMEPILOT_RUN names it", here.string());
}

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; (at = text.find_first_not_of(' ', at)) != std::string::npos;) {
    const size_t end = std::min(text.find(' ', at), text.size());
    out.push_back(text.substr(at, end - at));
    at = end;
  }
  return out;
}

Result<ProcessOutput> output_of(const std::vector<std::string>& command, double timeout_s,
                                const std::atomic<bool>& cancel) {
  SMEPILOT_ASSIGN(ProcessOutput p, run_process(command, cancel, {.timeout_s = timeout_s}));
  if (p.cancelled) return error("interrupted");
  if (p.code == 0 && !p.timed_out) return p;
  std::string line;
  for (const std::string& w : command) line += (line.empty() ? "" : " ") + w;
  while (!p.err.empty() && p.err.back() == '\n') p.err.pop_back();
  return error("{}: {}\n{}",
               p.timed_out     ? fmt::format("not done after {:g} s (--timeout)", timeout_s)
               : p.signal != 0 ? fmt::format("ended by signal {}", p.signal)
                               : fmt::format("exit code {}", p.code),
               line, p.err);
}

// A number of a row that another program printed.
Result<double> number(const Json& row, const char* field, const std::string& program) {
  const auto it = row.find(field);
  if (it == row.end() || !it->is_number())
    return error("{}: {} is {}, expected a number", program, field, it == row.end() ? "missing" : it->dump());
  return it->get<double>();
}

// The only sample of a list of nanoseconds, in seconds.
Result<double> only_sample(const Json& row, const char* field, const std::string& program, double unit = 1e-9) {
  const auto it = row.find(field);
  if (it == row.end() || !it->is_array() || it->size() != 1 || !it->at(0).is_number() ||
      !(it->at(0).get<double>() >= 0))
    return error("{}: {} is {}, expected a list of one number", program, field,
                 it == row.end() ? "missing" : it->dump());
  return it->at(0).get<double>() * unit;
}

Result<WorkloadRound> run_ours(Race& race, Contender& c, const std::string& db, const std::atomic<bool>& cancel) {
  const Options& o = *race.options;
  std::vector<std::string> command = {c.program,   "-m",
                                      o.model,     "--bench",
                                      "--pg",      fmt::format("{},{}", c.run.n_prompt, c.run.n_gen),
                                      "-b",        fmt::format("{}", o.batch),
                                      "-r",        "1",
                                      "-o",        "json",
                                      "--plan",    o.plan,
                                      "--db",      db,
                                      "--kv-type", o.kv_type};
  if (race.threads != 0) command.insert(command.end(), {"-t", fmt::format("{}", race.threads)});
  if (testbed_enabled()) command.emplace_back("--testbed");
  SMEPILOT_ASSIGN(const ProcessOutput printed, output_of(command, o.timeout_s, cancel));
  const Json rows = Json::parse(printed.out, nullptr, false);
  if (!rows.is_array() || rows.size() != 1 || !rows[0].is_object())
    return error("{}: prints no list of one result: {}", c.program, shorten(printed.out, 200));
  const Json& row = rows[0];
  SMEPILOT_ASSIGN(const double total, only_sample(row, "samples_ns", c.program));
  WorkloadRound round;
  SMEPILOT_ASSIGN(round.prefill_s, only_sample(row, "samples_prefill_ns", c.program));
  round.decode_s = total - round.prefill_s;
  if (row.contains("samples_joules")) {
    SMEPILOT_ASSIGN(const double joules, only_sample(row, "samples_joules", c.program, 1));
    round.joules = joules;
  }
  SMEPILOT_ASSIGN(const double threads, number(row, "n_threads", c.program));
  SMEPILOT_ASSIGN(const double plan, number(row, "plan_id", c.program));
  c.run.n_threads = static_cast<uint32_t>(threads);
  c.run.plan_id = o.plan == "none" || (o.plan != "db" && o.plan != "auto") ? 0 : static_cast<int64_t>(plan);
  c.run.plan_mode = o.plan == "none" || (o.plan == "auto" && plan == 0) ? "none"
                    : o.plan == "db" || o.plan == "auto"                ? "db"
                                                                        : "file";
  c.run.build = row.value("build_commit", "");
  if (race.threads == 0) race.threads = c.run.n_threads;
  return round;
}

// Whether this llama-bench has no -d (n_depth), but ik_llama.cpp's -gp, which times generation after a prompt.
bool has_only_gp(const std::string& program, const std::atomic<bool>& cancel) {
  constexpr double kHelpTimeout_s = 10;
  const Result<ProcessOutput> help = run_process({program, "--help"}, cancel, {.timeout_s = kHelpTimeout_s});
  return help.ok() && help->code == 0 && help->out.find("-gp <pp,tg>") != std::string::npos &&
         help->out.find("--n-depth") == std::string::npos;
}

// llama-bench has no test that times both phases: the prompt, and in a second run generation after as many tokens.
Result<WorkloadRound> run_llama_bench(const Race& race, Contender& c, const std::atomic<bool>& cancel) {
  const Options& o = *race.options;
  WorkloadRound round;
  for (const bool decode : {false, true}) {
    std::vector<std::string> command = {
        c.program, "-m", o.model, "-r", "1", "-o", "json", "-t", fmt::format("{}", race.threads)};
    if (o.kv_type != "f16") command.insert(command.end(), {"-ctk", o.kv_type, "-ctv", o.kv_type});
    command.insert(command.end(), c.arguments.begin(), c.arguments.end());
    const auto run = [&] {
      const std::string p = fmt::format("{}", c.run.n_prompt), n = fmt::format("{}", c.run.n_gen);
      std::vector<std::string> whole = command;
      for (const std::string& word :
           !decode ? std::vector<std::string>{"-p", p, "-n", "0"}
           : c.gp  ? std::vector<std::string>{"-p", "0", "-n", "0", "-gp", fmt::format("{},{}", p, n)}
                   : std::vector<std::string>{"-p", "0", "-n", n, "-d", p})
        whole.push_back(word);
      return output_of(whole, o.timeout_s, cancel);
    };
    Result<ProcessOutput> printed = run();
    if (!printed.ok() && decode && !c.gp && !cancel.load() && has_only_gp(c.program, cancel)) {
      c.gp = true;
      printed = run();
    }
    if (!printed.ok()) return printed.status();
    SMEPILOT_ASSIGN(const std::vector<Baseline> rows, parse_llama_bench(printed->out, c.program));
    const Baseline& row = rows[0];
    if (rows.size() != 1 || row.n_prompt != (decode ? 0 : c.run.n_prompt) || row.n_gen != (decode ? c.run.n_gen : 0) ||
        row.n_depth != (decode ? c.run.n_prompt : 0))
      return error("{}: {} row{}, the first one of {} + {} tokens after {}; expected one of {} + {} after {}",
                   c.program, rows.size(), rows.size() == 1 ? "" : "s", row.n_prompt, row.n_gen, row.n_depth,
                   decode ? 0 : c.run.n_prompt, decode ? c.run.n_gen : 0, decode ? c.run.n_prompt : 0);
    (decode ? round.decode_s : round.prefill_s) = (row.n_prompt + row.n_gen) / row.samples_ts[0];
    c.run.build = row.build;
    c.run.n_threads = row.n_threads;
  }
  return round;
}

Result<WorkloadRound> run_batched_bench(const Race& race, Contender& c, const std::atomic<bool>& cancel) {
  const Options& o = *race.options;
  const uint64_t context = uint64_t{o.batch} * (uint64_t{c.run.n_prompt} + c.run.n_gen);
  std::vector<std::string> command = {c.program,
                                      "-m",
                                      o.model,
                                      "-c",
                                      fmt::format("{}", context),
                                      "-npp",
                                      fmt::format("{}", c.run.n_prompt),
                                      "-ntg",
                                      fmt::format("{}", c.run.n_gen),
                                      "-npl",
                                      fmt::format("{}", o.batch),
                                      "-t",
                                      fmt::format("{}", race.threads),
                                      "--output-format",
                                      "jsonl"};
  if (o.kv_type != "f16") command.insert(command.end(), {"-ctk", o.kv_type, "-ctv", o.kv_type});
  command.insert(command.end(), c.arguments.begin(), c.arguments.end());
  SMEPILOT_ASSIGN(const ProcessOutput printed, output_of(command, o.timeout_s, cancel));
  const auto checked = [&](const WorkloadRound& round) -> Result<WorkloadRound> {
    if (!(round.prefill_s > 0) || !(round.decode_s > 0))
      return error("{}: t_pp is {} and t_tg {}, expected more than 0", c.program, round.prefill_s, round.decode_s);
    c.run.n_threads = race.threads;
    return round;
  };
  const std::string& text = printed.out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const Json row = Json::parse(text.substr(at, end - at), nullptr, false);
    at = end + 1;
    if (!row.is_object()) continue;
    WorkloadRound round;
    SMEPILOT_ASSIGN(round.prefill_s, number(row, "t_pp", c.program));
    SMEPILOT_ASSIGN(round.decode_s, number(row, "t_tg", c.program));
    return checked(round);
  }
  // ik_llama.cpp's has no --output-format, and prints its table where its log is.
  for (const std::string* stream : {&printed.out, &printed.err})
    if (const std::optional<WorkloadRound> round = round_of_table(*stream)) return checked(*round);
  return error("{}: its output holds neither a JSON object nor a table of results: {}", c.program,
               shorten(text.empty() ? printed.err : text, 200));
}

Json part_json(const WorkloadRun& run, WorkloadPart part, double tokens) {
  Json samples = Json::array();
  for (const WorkloadRound& r : run.rounds) samples.push_back(seconds_of(r, part));
  const double seconds = median_seconds(run, part);
  return Json{{"median_s", seconds}, {"tokens_per_s", tokens / seconds}, {"samples_s", samples}};
}

std::string json_text(const Race& race, bool interrupted) {
  const Options& o = *race.options;
  const WorkloadRun& ours = race.contenders[0].run;
  Json j{{"schema", "smepilot-workload/1"}, {"workload", o.name},        {"scale", o.scale},
         {"full_size", o.scale == 1},       {"model", ours.model_file},  {"batch", o.batch},
         {"n_prompt", ours.n_prompt},       {"n_gen", ours.n_gen},       {"kv_type", o.kv_type},
         {"threads", race.threads},         {"interrupted", interrupted}};
  j["engines"] = Json::array();
  for (const Contender& c : race.contenders) {
    const WorkloadRun& r = c.run;
    Json e{{"engine", r.engine}, {"baseline", r.is_baseline}, {"program", c.program}, {"build", r.build}};
    if (!c.note.empty()) e["left_out"] = c.note;
    if (!r.is_baseline) e["plan_mode"] = r.plan_mode, e["plan_id"] = r.plan_id;
    if (!r.rounds.empty()) {
      const double prompt = 1.0 * r.n_prompt * o.batch, gen = 1.0 * r.n_gen * o.batch;
      e["run_id"] = r.id;
      e["prefill"] = part_json(r, WorkloadPart::kPrefill, prompt);
      e["decode"] = part_json(r, WorkloadPart::kDecode, gen);
      e["total"] = part_json(r, WorkloadPart::kTotal, prompt + gen);
      std::vector<double> joules;
      for (const WorkloadRound& round : r.rounds)
        if (round.joules) joules.push_back(*round.joules);
      e["joules_per_token"] = joules.empty() ? Json(nullptr) : Json(median(joules) / (prompt + gen));
      if (r.is_baseline && !ours.rounds.empty())
        for (const auto& [name, part] : {std::pair{"prefill_ratio", WorkloadPart::kPrefill},
                                         {"decode_ratio", WorkloadPart::kDecode},
                                         {"total_ratio", WorkloadPart::kTotal}}) {
          const PairedRatio ratio = compare_runs(ours, r, part);
          e[name] = {{"ratio", ratio.estimate},
                     {"low", ratio.interval.low},
                     {"high", ratio.interval.high},
                     {"rounds", ratio.pairs},
                     {"verdict", verdict_of(ratio)}};
        }
    }
    j["engines"].push_back(std::move(e));
  }
  return j.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string text_of(const Race& race) {
  const Options& o = *race.options;
  const WorkloadRun& ours = race.contenders[0].run;
  std::string out = fmt::format("{}{}: {} + {} tokens, batch {}, {} threads, {}\n\n", find_workload(o.name)->title,
                                o.scale == 1 ? "" : fmt::format(" at scale {:g} (not the full workload)", o.scale),
                                ours.n_prompt, ours.n_gen, o.batch, race.threads, ours.model_file);
  constexpr auto kRight = Table::Align::kRight;
  Table t({{"engine"},
           {"1st token", kRight},
           {"prefill/s", kRight},
           {"decode/s", kRight},
           {"total", kRight},
           {"J/token", kRight}});
  std::string ratios;
  for (const Contender& c : race.contenders) {
    const WorkloadRun& r = c.run;
    if (r.rounds.empty()) continue;
    const double prompt = 1.0 * r.n_prompt * o.batch, gen = 1.0 * r.n_gen * o.batch;
    const double prefill = median_seconds(r, WorkloadPart::kPrefill), decode = median_seconds(r, WorkloadPart::kDecode);
    std::vector<double> joules;
    for (const WorkloadRound& round : r.rounds)
      if (round.joules) joules.push_back(*round.joules);
    if (r.is_baseline) {
      const auto part = [&](const char* name, WorkloadPart which) {
        const PairedRatio x = compare_runs(ours, r, which);
        const std::string interval =
            x.pairs < kLeastPairs ? "" : fmt::format(" ({:.2f}-{:.2f})", x.interval.low, x.interval.high);
        return fmt::format("  {:<8}{:<10} {:.2f}{}\n", name, verdict_of(x), x.estimate, interval);
      };
      ratios += fmt::format("\nTime of {} / ours:\n", r.engine) + part("prefill", WorkloadPart::kPrefill) +
                part("decode", WorkloadPart::kDecode) + part("total", WorkloadPart::kTotal);
    }
    t.add({r.engine, fmt::format("{:.3g} s", prefill), fmt::format("{:.1f}", prompt / prefill),
           fmt::format("{:.1f}", gen / decode), fmt::format("{:.3g} s", median_seconds(r, WorkloadPart::kTotal)),
           joules.empty() ? "-" : fmt::format("{:.3g}", median(joules) / (prompt + gen))});
  }
  std::string explained = fmt::format("Medians of {} round{}.", ours.rounds.size(), ours.rounds.size() == 1 ? "" : "s");
  if (!ratios.empty())
    explained += fmt::format(
        " A ratio above 1: ours takes less time; from {} rounds on a win or loss is one whose 95 % interval does not "
        "hold 1.",
        kLeastPairs);
  out += t.text() + ratios + "\n" + wrap(explained, 80, 0) + "\n";
  for (const Contender& c : race.contenders)
    if (!c.note.empty()) out += wrap(fmt::format("{} did not take part: {}", c.run.engine, c.note), 80, 2) + "\n";
  return out;
}

Status set_up(Race& race) {
  const Options& o = *race.options;
  SMEPILOT_ASSIGN(const GgufFile gguf, GgufFile::open(o.model));
  SMEPILOT_ASSIGN(const ModelFile file, ModelFile::load(gguf));
  race.model = file.shape();
  race.threads = o.threads;
  const WorkloadShape& shape = *find_workload(o.name);
  WorkloadRun run;
  run.workload = o.name;
  run.scale = o.scale;
  run.batch = o.batch;
  run.n_prompt = scaled_tokens(shape.n_prompt, o.scale);
  run.n_gen = scaled_tokens(shape.n_gen, o.scale);
  run.kv_type = o.kv_type;
  run.model_file = std::filesystem::path(o.model).filename().string();
  run.engine = "smepilot";
  SMEPILOT_ASSIGN(std::string engine, find_engine());
  Contender ours;
  ours.program = std::move(engine);
  ours.run = run;
  race.contenders.push_back(std::move(ours));
  run.is_baseline = true;
  for (size_t i = 0; i < o.baselines.size(); ++i) {
    // NAME=PATH, unless there is a slash before: then it is part of a path.
    const std::string& given = o.baselines[i];
    const size_t equals = given.find('=');
    const bool named = equals != std::string::npos && equals != 0 && given.find('/') > equals;
    Result<std::string> program = find_program(named ? given.substr(equals + 1) : given);
    if (!program.ok()) return error("--baseline-cmd: {}", program.message());
    Contender c;
    c.program = *program;
    c.batched = program->find("batched-bench") != std::string::npos;
    c.run = run;
    if (!o.baseline_args.empty()) {
      c.run.arguments = o.baseline_args[std::min(i, o.baseline_args.size() - 1)];
      c.arguments = words(c.run.arguments);
    }
    c.run.engine = named ? given.substr(0, equals) : std::filesystem::path(*program).filename().string();
    if (!named && o.baselines.size() > 1) c.run.engine += fmt::format(" #{}", i + 1);
    if (!c.batched && o.batch > 1) c.note = "llama-bench has no test of several sequences; give llama-batched-bench";
    race.contenders.push_back(std::move(c));
  }
  return {};
}

int workload_verb(const Cli& cli, const Options& o) {
  Race race{&o, {}, {}, 0};
  if (const Status ready = set_up(race); !ready.ok()) return fail(ready);
  auto platform = detect_platform();
  if (!platform.ok()) return fail(platform.status());
  auto db = Database::open(cli.db_path);
  if (!db.ok()) return fail(db.status());
  auto session = SessionStore(*db).begin(*platform, cli.command);
  if (!session.ok()) return fail(session.status());
  WorkloadStore store(*db);

  const std::atomic<bool>& cancel = catch_interrupts();
  std::vector<size_t> order;
  for (size_t i = 0; i < race.contenders.size(); ++i)
    if (race.contenders[i].note.empty()) order.push_back(i);
  const size_t all = order.size() * o.rounds;
  size_t done = 0;
  const int64_t begin = now_ns();
  Status problem;
  {
    ProgressLine line;
    for (unsigned round = 1; round <= o.rounds && problem.ok() && !cancel.load(); ++round) {
      for (size_t at = 0; at < order.size() && problem.ok(); ++at) {
        // Turns are taken in an order that reverses, so that a drift of the machine hits all alike. Ours begins.
        Contender& c = race.contenders[order[round % 2 == 1 ? at : order.size() - 1 - at]];
        const double seconds = static_cast<double>(now_ns() - begin) * 1e-9;
        line.update(static_cast<double>(done) / static_cast<double>(all),
                    fmt::format("round {} of {}: {}", round, o.rounds, c.run.engine),
                    done == 0 ? -1 : seconds / static_cast<double>(done) * static_cast<double>(all - done));
        Result<WorkloadRound> r = !c.run.is_baseline ? run_ours(race, c, cli.db_path, cancel)
                                  : c.batched        ? run_batched_bench(race, c, cancel)
                                                     : run_llama_bench(race, c, cancel);
        if (!r.ok()) {
          problem = r.status();
          break;
        }
        r->round = round;
        c.run.rounds.push_back(*r);
        c.run.session_id = session->id;
        ++done;
        if (c.run.id == 0) {
          const Result<int64_t> id = store.begin(race.model, c.run);
          problem = id.status();
          c.run.id = id.ok() ? *id : 0;
        } else {
          problem = store.add(c.run.id, *r);
        }
      }
    }
  }
  const bool interrupted = cancel.load();
  if (done != 0) {
    const bool some_of_ours = !race.contenders[0].run.rounds.empty();
    if (some_of_ours)
      if (const int code = print_and_exit(o.json ? json_text(race, interrupted) : text_of(race)); code != kExitOk)
        return code;
    fmt::print(stderr, "smetune: {} of {} runs are stored in {}\n", done, all, db->path());
  }
  if (interrupted) {
    fmt::print(stderr, "smetune: interrupted\n");
    return kExitInterrupted;
  }
  return problem.ok() ? kExitOk : fail(problem);
}

}  // namespace

void add_workload(Cli& cli) {
  CLI::App* verb = add_verb(&cli.app, "workload", "Run a workload of published size, beside other engines",
                            "  smetune workload gsm8k --model model.gguf --batch 4\n"
                            "  smetune workload ruler-4k --model model.gguf -r 10 \\\n"
                            "    --baseline-cmd llama.cpp=PATH/llama-bench\n"
                            "  smetune workload longwriter --model model.gguf --scale 0.05 --json\n"
                            "Tokens of prompt and generation (arXiv 2606.16332): ruler-4k 3324 + 4,\n"
                            "ruler-8k 7338 + 4, gsm8k 92 + 100 and longwriter 339 + 5424 with 1 to 16\n"
                            "sequences. Rounds alternate; each one is stored when it ends, for smetune\n"
                            "report. llama-bench times generation in a run of its own.");
  auto o = std::make_shared<Options>();
  std::vector<std::string> names;
  for (const WorkloadShape& w : workload_shapes()) names.emplace_back(w.name);
  verb->add_option("WORKLOAD", o->name, "ruler-4k, ruler-8k, gsm8k or longwriter")
      ->required()
      ->check([names](const std::string& name) {
        return find_workload(name) != nullptr ? std::string()
                                              : "no workload '" + name + "'; " + suggest_names(name, names);
      });
  verb->add_option("-m,--model", o->model, "GGUF file")->required()->type_name("FILE");
  verb->add_option("-b,--batch", o->batch, "Sequences at the same time")
      ->check(CLI::Range(1, 16))
      ->capture_default_str();
  verb->add_option("-r,--rounds", o->rounds, "Rounds; below 6 nothing is judged, from 12 on one may be\ndisturbed")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  verb->add_option("-t,--threads", o->threads, "Threads of all engines (default: as ours chooses)")
      ->check(CLI::Range(1, 1024));
  verb->add_option("--plan", o->plan, "As smepilot-run's")->type_name("auto|db|none|FILE")->capture_default_str();
  verb->add_option("--kv-type", o->kv_type, "What the KV cache holds")
      ->check(CLI::IsMember({"f16", "q8_0"}))
      ->capture_default_str();
  verb->add_option("--scale", o->scale, "Share of the token counts; kept apart from the full size")
      ->check([](const std::string& text) {
        const auto v = parse_double(text);
        return v && *v > 0 && *v <= 1 ? std::string() : "expected a share above 0, at most 1";
      })
      ->type_name("F")
      ->capture_default_str();
  verb->add_option("--timeout", o->timeout_s, "End an engine's run after so many seconds [never]")
      ->check(CLI::Range(0.01, 1e7).description(""))
      ->type_name("SECONDS");
  verb->add_option("--baseline-cmd", o->baselines,
                   "A llama-bench or llama-batched-bench, and what to\ncall it; repeatable")
      ->allow_extra_args(false)
      ->type_name("[NAME=]PATH");
  verb->add_option("--baseline-args", o->baseline_args, "Further arguments of it; repeatable, in the same order")
      ->allow_extra_args(false)
      ->type_name("ARGS");
  verb->add_flag("--json", o->json, "JSON on standard output");
  verb->callback([&cli, o] { cli.action = [&cli, o] { return workload_verb(cli, *o); }; });
}

}  // namespace smepilot
