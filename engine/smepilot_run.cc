// smepilot-run: runs a GGUF model as the stored plan says. Options here; the modes are in run_modes.cc.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <exception>
#include <sstream>

#include "db/database.h"
#include "engine/run_modes.h"
#include "kernels/base/console.h"
#include "kernels/base/help.h"
#include "kernels/base/text.h"
#include "kernels/registry/registry.h"
#include "kernels/registry/version.h"

namespace smepilot {
namespace {

int run(int argc, char** argv) {
  RunOptions o;
  for (int i = 0; i < argc; ++i) o.command += (i > 0 ? " " : "") + std::string(argv[i]);
  o.engine.plan.database = default_database_path();
  std::string plan = "auto";
  bool bench = false;

  CLI::App app("Runs a GGUF language model on this machine as the plan that smetune stored says.");
  app.name("smepilot-run");
  app.set_version_flag("--version", [] { return version_text("smepilot-run"); });
  app.footer(
      "Examples:\n"
      "  smepilot-run -m model.gguf -p \"Once upon a time\" -n 64\n"
      "  smepilot-run -m model.gguf --chat -p \"What is the capital of France?\"\n"
      "  smepilot-run -m model.gguf -i\n"
      "  smepilot-run -m model.gguf -p \"Once upon a time\" -n 64 --batch 8\n"
      "  smepilot-run -m model.gguf --bench -p 512 -n 128 -b 1,8 -r 5 -o md\n"
      "  smepilot-run -m model.gguf --bench --pg 92,100 -b 4 -o md\n"
      "  smepilot-run -m model.gguf --perplexity text.txt\n"
      "  smepilot-run -m model.gguf --plan none -p \"Hello\" -n 32 --stats\n"
      "  smepilot-run -m model.gguf -i --adapt --adapt-log changes.jsonl\n"
      "  smepilot-run -m model.gguf --plan db --bench -p 512 -n 128 --adapt --learn\n\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.");

  app.add_option("-m,--model", o.engine.model, "Model, a GGUF file")->type_name("FILE");
  app.add_option("-t,--threads", o.engine.workers, "Workers (default: the plan's, or all cores)")
      ->check(CLI::Range(1, 1024));
  app.add_option("-c,--ctx", o.engine.context, "Context: positions of the KV cache (default: up to 4096)");
  app.add_option("-b,--batch", o.batch_list,
                 "Sequences decoded together, sharing each pass over the weights: N texts from one prompt, with seeds "
                 "that follow each other (with --bench: a list for the tests of generation; -d is their shared prefix)")
      ->type_name("N");
  app.add_option("-u,--ubatch", o.engine.ubatch, "Tokens of a prompt per forward pass")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();

  std::string kv_type = "f16";
  app.add_option("--kv-type", kv_type, "What the KV cache holds")
      ->check(CLI::IsMember({"f16", "q8_0"}))
      ->capture_default_str();

  app.add_flag("--force-memory", o.engine.force_memory, "Run even if more memory is needed than is available");

  auto* cache = app.add_option_group("Weight cache");
  o.engine.cache.folder = default_weight_cache_folder();
  bool no_cache = false;
  double cache_limit_gb = static_cast<double>(o.engine.cache.limit_bytes) / 1e9;
  cache->add_option("--cache", o.cache_action, "List or delete the packed weights kept on disk, in use ones excepted")
      ->check(CLI::IsMember({"list", "clear"}));
  cache->add_flag("--no-cache", no_cache, "Pack into memory, neither read nor write the cache");
  cache
      ->add_option("--cache-limit", cache_limit_gb,
                   "Largest size of the cache, 1e9 bytes; the least recently used go first")
      ->check(CLI::Range(0.0, 1e9))
      ->capture_default_str();

  auto* planning = app.add_option_group("Plan");
  planning
      ->add_option("--plan", plan,
                   "auto: the database's if it fits, else untuned; db: the database's; none: untuned; roofline: the "
                   "heuristic that a search has to beat, from the calibration alone; or a plan file")
      ->type_name("auto|db|none|roofline|FILE")
      ->capture_default_str();
  auto* db = planning->add_option("--db", o.engine.plan.database, "Database");
  db->type_name("PATH")->capture_default_str();
  planning->add_flag("--plan-fallback", o.engine.plan.fallback,
                     "If the plan is missing or refused, run on the roofline heuristic and say so");
  planning
      ->add_option(
          "--mode", o.engine.plan.execution,
          "Who executes every operator that can be executed so, whatever the plan says: cpu (the vector cores), "
          "matrix (the matrix unit, also by its name: sme, amx) or coop (both at once); auto: the plan")
      ->check(CLI::IsMember({"auto", "cpu", "matrix", "sme", "amx", "coop"}))
      ->capture_default_str();
  auto* adapt = planning->add_flag(
      "--adapt", o.adapt,
      "While running, move what the machine shows to be wrong now (shared, throttled): the two units' shares of an "
      "operator, whether both take part, how many workers do. Every change is one line on standard error");
  planning->add_option("--adapt-log", o.adapt_log, "Write its changes and trials as JSON lines")
      ->type_name("FILE")
      ->needs(adapt);
  planning
      ->add_flag("--learn", o.learn, "At the end store what --adapt has found as a new plan, which later runs will use")
      ->needs(adapt);
  bool testbed = false;
  planning->add_flag("--testbed", testbed,
                     "Test bed on x86: the AVX-512 kernels play a matrix unit, those up to AVX2 the vector cores");

  auto* text = app.add_option_group("Text");
  text->add_option("-p,--prompt", o.prompts,
                   "Prompt; several of them are continued together (with --bench: prompt lengths, comma-separated)")
      ->allow_extra_args(false)
      ->type_name("TEXT");
  text->add_option("-f,--file", o.prompt_file, "Read the prompt from a file, - for standard input")->type_name("FILE");
  text->add_option("-n,--n-predict", o.n, "Tokens to generate (with --bench: lengths); 0: until the model ends");
  text->add_flag("--chat", o.chat, "The prompt is a user's message: apply the model's chat template");
  text->add_flag("-i,--interactive", o.interactive, "Chat on the terminal");
  text->add_option("--system", o.system, "System message for a chat");
  text->add_flag("--ignore-eos", o.generate.ignore_end, "Go on after an end-of-text token");

  auto* sampling = app.add_option_group("Sampling");
  sampling->add_option("--temp", o.sampler.temperature, "Temperature, 0: greedy")->capture_default_str();
  sampling->add_option("--top-k", o.sampler.top_k, "Keep the k most probable tokens, 0: all")->capture_default_str();
  sampling->add_option("--top-p", o.sampler.top_p, "Keep the most probable tokens up to this sum, 1: all")
      ->capture_default_str();
  sampling->add_option("--min-p", o.sampler.min_p, "Drop tokens below this share of the best one, 0: none")
      ->capture_default_str();
  sampling->add_option("--repeat-penalty", o.sampler.repeat_penalty, "Penalty of recent tokens, 1: none")
      ->capture_default_str();
  sampling->add_option("--repeat-last-n", o.sampler.repeat_window, "How many tokens are recent")->capture_default_str();
  auto* seed = sampling->add_option("-s,--seed", o.sampler.seed, "Seed (default: a new one each time)");

  auto* measuring = app.add_option_group("Measuring");
  measuring->add_flag("--bench", bench, "Measure prompt processing and generation; -p and -n take lists of lengths");
  measuring->add_option("-r,--repetitions", o.repetitions, "Repetitions of each test")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  measuring
      ->add_option("--pg", o.both,
                   "Measure a prompt of P tokens and then G generated ones; repeatable; -b is for it, too")
      ->allow_extra_args(false)
      ->type_name("P,G");
  measuring->add_option("-d,--depth", o.depth, "Tokens in the cache before a test starts")->capture_default_str();
  measuring->add_option("-o,--output", o.output, "Format of --bench")
      ->check(CLI::IsMember({"json", "jsonl", "csv", "md"}))
      ->capture_default_str();
  measuring->add_flag("--record", o.record, "Store the results of --bench in the database, for the report");
  measuring
      ->add_option("--perplexity", o.perplexity,
                   "Perplexity over a text file (- for standard input), in chunks of --ctx tokens (default: 512)")
      ->type_name("FILE");
  measuring->add_flag(
      "--stats", o.stats,
      "What ran: per operator variant, mode, workers, time, rates, % of roofline; for prefill and decode "
      "% of the int8 peak and of the read bandwidth");
  measuring->add_flag("--json", o.json, "--stats and --perplexity as JSON on standard output");
  measuring
      ->add_option("--trace", o.trace,
                   "Write what each worker did when, as trace-event JSON (chrome://tracing, ui.perfetto.dev); what the "
                   "buffers have no room for is left out, and said")
      ->type_name("FILE");
  measuring
      ->add_option("--dump-logits", o.dump_logits,
                   "Write the logits of the prompt and of n greedy tokens (int32 n_vocab, n_rows; per row int32 "
                   "token, n_vocab f32)")
      ->type_name("FILE");
  app.get_formatter()->column_width(34);
  name_ranges(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    std::ostringstream out, err;
    const int code = app.exit(e, out, err);
    print_usage_error(app, code, err.str());
    if (const Status written = print_out(narrow_help(out.str())); !written.ok())
      return print_error("smepilot-run", written);
    return code == 0 ? kExitOk : kExitUsage;
  }
  o.random_seed = seed->count() == 0;
  PlanRequest& request = o.engine.plan;
  PlanRequest asked = plan_request(plan);
  request.mode = asked.mode;
  request.file = std::move(asked.file);
  o.engine.kv_type = kv_type == "q8_0" ? DType::kQ8_0 : DType::kF16;
  std::erase(o.prompts, "");
  if (testbed)
    if (const Status enabled = enable_testbed(); !enabled.ok()) return print_error("smepilot-run", enabled);
  o.engine.cache.limit_bytes = static_cast<uint64_t>(cache_limit_gb * 1e9);
  if (!o.cache_action.empty()) return run_cache_mode(o);
  if (no_cache) o.engine.cache.folder.clear();
  const int modes = int{bench} + int{!o.dump_logits.empty()} + int{!o.perplexity.empty()} + int{o.interactive};
  const bool generate = modes == 0;
  const auto [end, ec] = std::from_chars(o.batch_list.data(), o.batch_list.data() + o.batch_list.size(), o.batch);
  const bool batch_is_count =
      o.batch_list.empty() || (ec == std::errc() && end == o.batch_list.data() + o.batch_list.size() && o.batch != 0);
  const char* usage = o.engine.model.empty() ? "no model was given (-m)"
                      : modes > 1 ? "--bench, --dump-logits, --perplexity and --interactive exclude each other"
                      : !o.prompts.empty() && !o.prompt_file.empty() ? "--prompt and --file exclude each other"
                      : o.prompts.size() > 1 && !generate && !bench  ? "several prompts are for generating text"
                      : o.record && !bench                           ? "--record needs --bench"
                      : !o.both.empty() && !bench                    ? "--pg needs --bench"
                      : o.learn && (request.mode == PlanMode::kNone || request.mode == PlanMode::kRoofline)
                          ? "--learn needs a plan, not --plan none or roofline"
                      : o.learn && request.mode == PlanMode::kFile && db->count() == 0
                          ? "--learn with a plan file needs --db: where to store the new plan"
                      : o.record && o.adapt ? "--record is for what plans and modes do, not for --adapt"
                      : !o.batch_list.empty() && !generate && !bench ? "--batch is for generating text and for --bench"
                      : !bench && !batch_is_count                    ? "--batch is a number of sequences"
                      : o.prompts.size() > 1 && o.batch > 1          ? "--batch and several prompts exclude each other"
                      : generate && o.prompts.empty() && o.prompt_file.empty()
                          ? "nothing to do: give a prompt (-p, -f), -i, --bench, --perplexity or --dump-logits"
                          : nullptr;
  if (usage != nullptr) {
    fmt::print(stderr, "smepilot-run: {}\nRun with --help for more information.\n", usage);
    return kExitUsage;
  }
  if (bench) return run_bench_mode(o);
  if (!o.dump_logits.empty()) return run_dump_mode(o);
  if (!o.perplexity.empty()) return run_perplexity_mode(o);
  if (o.interactive) return run_chat_mode(o);
  return o.batch > 1 || o.prompts.size() > 1 ? run_batch_mode(o) : run_generate_mode(o);
}

}  // namespace
}  // namespace smepilot

int main(int argc, char** argv) {
  try {
    return smepilot::run(argc, argv);
  } catch (const std::exception& e) {  // bad_alloc and the like: ours are Status
    fmt::print(stderr, "smepilot-run: unexpected: {}\n", e.what());
    return smepilot::kExitFailed;
  }
}
