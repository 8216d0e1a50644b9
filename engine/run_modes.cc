#include "engine/run_modes.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>

#include "db/bench_store.h"
#include "db/session_store.h"
#include "engine/bench.h"
#include "engine/logits_dump.h"
#include "kernels/base/console.h"
#include "kernels/base/text.h"

namespace smepilot {
namespace {

constexpr const char* kProgram = "smepilot-run";

bool terminal(int fd) {
  return ::isatty(fd) != 0;
}

int fail(const Status& status) {
  return print_error(kProgram, status);
}

void note(const std::string& text) {
  if (!text.empty()) fmt::print(stderr, "{}: {}\n", kProgram, text);
}

// The engine and what every mode needs beside it.
struct Session {
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Stats> stats;
};

Result<Session> open(const RunOptions& options) {
  Session s;
  EngineOptions engine_options = options.engine;
  ProgressLine line;
  engine_options.progress = [&](const char* stage, double fraction) { line.update(fraction, stage, -1); };
  SMEPILOT_ASSIGN(s.engine, Engine::open(engine_options));
  line.clear();
  note(s.engine->plan().notice);
  for (const std::string& warning : s.engine->file().warnings) note(warning);
  if (s.engine->uncovered_shapes() != 0)
    note("the plan does not cover every shape of this run; those use the default: search again to cover them");
  if (options.stats) {
    s.stats = std::make_unique<Stats>(s.engine->plan().roofline.get());
    s.engine->set_stats(s.stats.get());
  }
  return s;
}

Result<uint32_t> parse_count(const std::string& text, const char* option) {
  uint32_t value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size() || text.empty())
    return error("{}: '{}' is not a number of tokens", option, text);
  return value;
}

// "512" or "128,512"; "" and "0" mean none.
Result<std::vector<uint32_t>> parse_counts(const std::string& text, const char* option) {
  std::vector<uint32_t> counts;
  for (size_t at = 0; at <= text.size() && !text.empty();) {
    const size_t end = std::min(text.find(',', at), text.size());
    SMEPILOT_ASSIGN(const uint32_t count, parse_count(text.substr(at, end - at), option));
    if (count != 0) counts.push_back(count);
    at = end + 1;
  }
  return counts;
}

// --n-predict of a mode that generates text.
Status read_length(RunOptions& options) {
  if (options.n.empty()) return {};
  SMEPILOT_ASSIGN(options.generate.max_tokens, parse_count(options.n, "--n-predict"));
  return {};
}

Result<std::string> read_prompt(const RunOptions& options) {
  if (options.prompt_file.empty()) return options.prompt;
  if (options.prompt_file == "-") return std::string{std::istreambuf_iterator<char>(std::cin), {}};
  std::ifstream in(options.prompt_file, std::ios::binary);
  if (!in) return error("{}: cannot read the prompt: {}", options.prompt_file, std::strerror(errno));
  return std::string{std::istreambuf_iterator<char>(in), {}};
}

std::string rate(uint32_t tokens, double ns) {
  return fmt::format("{} tokens, {:.1f} tokens/s", tokens, ns > 0 ? tokens * 1e9 / ns : 0.0);
}

std::string summary(const Engine& engine, const Generated& g) {
  const PlanChoice& plan = engine.plan();
  const std::string by =
      plan.planner == "plan" && plan.plan->id != 0 ? fmt::format("plan {}", plan.plan->id) : plan.planner;
  return fmt::format("[prompt {}{}; generated {}; {}, {} workers; measured]", rate(g.prompt_tokens, g.prompt_ns),
                     g.reused_tokens != 0 ? fmt::format(" (+{} cached)", g.reused_tokens) : "",
                     rate(static_cast<uint32_t>(g.tokens.size()), g.generate_ns), by, engine.workers());
}

int print_stats(const RunOptions& options, const Session& session) {
  if (session.stats == nullptr) return kExitOk;
  if (!options.json) {
    fmt::print(stderr, "\n{}", stats_table(session.stats->rows()));
    return kExitOk;
  }
  const Status written = print_out(stats_json(session.stats->rows()));
  return written.ok() ? kExitOk : fail(written);
}

Result<Sampler> make_sampler(RunOptions& options) {
  if (options.random_seed) options.sampler.seed = std::random_device{}();
  return Sampler::create(options.sampler);
}

// The conversation's parts, opened together because they refer to each other.
struct Speaker {
  Tokenizer tokenizer;
  std::optional<Sampler> sampler;
  std::optional<ChatTemplate> chat_template;
  std::optional<Generator> generator;
};

Result<std::unique_ptr<Speaker>> make_speaker(RunOptions& options, Engine& engine, bool chat) {
  auto s = std::make_unique<Speaker>();
  SMEPILOT_ASSIGN(s->tokenizer, Tokenizer::from_gguf(engine.gguf()));
  for (const std::string& warning : s->tokenizer.warnings()) note(warning);
  SMEPILOT_ASSIGN(s->sampler, make_sampler(options));
  if (chat) {
    SMEPILOT_ASSIGN(s->chat_template, ChatTemplate::from_gguf(engine.gguf(), s->tokenizer));
    note(s->chat_template->note());
  }
  SMEPILOT_ASSIGN(s->generator, Generator::create(engine, s->tokenizer, *s->sampler));
  return s;
}

void explain_stop(const Engine& engine, const Generated& g) {
  if (g.reason == StopReason::kContextFull)
    note(fmt::format("stopped: the context of {} tokens is full (--ctx sets it)", engine.context()));
}

}  // namespace

int run_generate_mode(RunOptions& options) {
  if (const Status bad = read_length(options); !bad.ok()) return fail(bad), kExitUsage;
  Result<std::string> prompt = read_prompt(options);
  if (!prompt.ok()) return fail(prompt.status());
  Result<Session> session = open(options);
  if (!session.ok()) return fail(session.status());
  Engine& engine = *session->engine;
  Result<std::unique_ptr<Speaker>> made = make_speaker(options, engine, options.chat);
  if (!made.ok()) return fail(made.status());
  Speaker& speaker = **made;

  const std::atomic<bool>& cancel = catch_interrupts();
  Status written;
  const Generator::OnText on_text = [&](const std::string& piece) {
    if (written.ok()) written = print_out(piece);
  };
  Result<Generated> generated = error("");
  if (options.chat) {
    generated = Chat(*speaker.generator, *speaker.chat_template, speaker.tokenizer, options.system)
                    .say(*prompt, options.generate, on_text, cancel);
  } else {
    Result<std::vector<TokenId>> tokens = speaker.tokenizer.encode(*prompt, true, true);
    if (!tokens.ok()) return fail(tokens.status());
    on_text(*prompt);
    generated = speaker.generator->generate(*tokens, options.generate, on_text, cancel);
  }
  if (!generated.ok()) return fail(generated.status());
  on_text("\n");
  if (!written.ok()) return fail(written);
  explain_stop(engine, *generated);
  if (options.stats || terminal(STDERR_FILENO)) fmt::print(stderr, "{}\n", summary(engine, *generated));
  const int code = print_stats(options, *session);
  return generated->reason == StopReason::kCancelled ? kExitInterrupted : code;
}

int run_chat_mode(RunOptions& options) {
  if (const Status bad = read_length(options); !bad.ok()) return fail(bad), kExitUsage;
  Result<Session> session = open(options);
  if (!session.ok()) return fail(session.status());
  Engine& engine = *session->engine;
  Result<std::unique_ptr<Speaker>> made = make_speaker(options, engine, true);
  if (!made.ok()) return fail(made.status());
  Speaker& speaker = **made;
  Chat chat(*speaker.generator, *speaker.chat_template, speaker.tokenizer, options.system);

  std::atomic<bool>& cancel = catch_interrupts();
  const bool human = terminal(STDIN_FILENO);
  if (human)
    fmt::print(stderr, "Chat with {}. Ctrl-C stops an answer; /clear forgets, /exit or Ctrl-D ends.\n",
               engine.file().hyper.name);
  Status written;
  const Generator::OnText on_text = [&](const std::string& piece) {
    if (written.ok()) written = print_out(piece);
  };
  std::string first = options.prompt;  // -p is the first message
  for (std::string line;;) {
    if (!first.empty()) {
      line = std::exchange(first, {});
    } else {
      if (human) fmt::print(stderr, "\n> ");
      if (!std::getline(std::cin, line)) break;
    }
    if (cancel.load()) break;
    if (line.empty()) continue;
    if (line == "/exit" || line == "/quit") break;
    if (line == "/clear") {
      chat.clear();
      continue;
    }
    if (line == "/help" || line == "/?") {
      fmt::print(stderr, "/clear  forget the conversation\n/exit   end (also Ctrl-D)\n");
      continue;
    }
    Result<Generated> answer = chat.say(line, options.generate, on_text, cancel);
    if (!answer.ok()) {
      fail(answer.status());
      if (!human) return kExitFailed;
      continue;
    }
    on_text("\n");
    if (!written.ok()) return fail(written);
    explain_stop(engine, *answer);
    if (human) fmt::print(stderr, "{}\n", summary(engine, *answer));
    if (answer->reason == StopReason::kCancelled) {
      if (!human) return kExitInterrupted;
      cancel.store(false);
    }
  }
  return print_stats(options, *session);
}

int run_bench_mode(RunOptions& options) {
  Result<std::vector<uint32_t>> prompts = parse_counts(options.prompt.empty() ? "512" : options.prompt, "--prompt");
  if (!prompts.ok()) return fail(prompts.status()), kExitUsage;
  Result<std::vector<uint32_t>> lengths = parse_counts(options.n.empty() ? "128" : options.n, "--n-predict");
  if (!lengths.ok()) return fail(lengths.status()), kExitUsage;
  Result<BenchFormat> format = parse_bench_format(options.output);
  if (!format.ok()) return fail(format.status()), kExitUsage;

  std::optional<Database> db;
  if (options.record) {  // before minutes of measuring
    Result<Database> opened = Database::open(options.engine.plan.database);
    if (!opened.ok()) return fail(opened.status());
    db = std::move(opened).value();
  }
  Result<Session> session = open(options);
  if (!session.ok()) return fail(session.status());
  Engine& engine = *session->engine;

  const std::atomic<bool>& cancel = catch_interrupts();
  struct Test {
    uint32_t n_prompt, n_gen;
  };
  std::vector<Test> tests;
  for (const uint32_t p : *prompts) tests.push_back({p, 0});
  for (const uint32_t n : *lengths) tests.push_back({0, n});
  std::vector<BenchResult> results;
  ProgressLine line;
  for (size_t i = 0; i < tests.size(); ++i) {
    const std::string label =
        tests[i].n_prompt != 0 ? fmt::format("pp{}", tests[i].n_prompt) : fmt::format("tg{}", tests[i].n_gen);
    const auto progress = [&](unsigned done) {
      line.update((static_cast<double>(i) + static_cast<double>(done) / options.repetitions) /
                      static_cast<double>(tests.size()),
                  label, -1);
    };
    progress(0);
    Result<BenchResult> r =
        run_bench(engine, tests[i].n_prompt, tests[i].n_gen, options.depth, options.repetitions, progress, cancel);
    if (!r.ok()) {
      line.clear();
      if (!cancel.load()) return fail(r.status());
      note("interrupted; what was measured so far follows");
      break;
    }
    results.push_back(std::move(r).value());
  }
  line.clear();
  if (const Status written = print_out(format_bench(engine, results, *format)); !written.ok()) return fail(written);
  if (db) {
    Result<SessionRow> row = SessionStore(*db).begin(engine.platform(), options.command);
    if (!row.ok()) return fail(row.status());
    BenchStore store(*db);
    for (const BenchResult& r : results) {
      Bench bench;
      bench.session_id = row->id;
      const PlanChoice& plan = engine.plan();
      bench.plan_id = plan.mode == PlanMode::kDatabase ? plan.plan->id : 0;
      bench.plan_mode = plan.mode == PlanMode::kDatabase ? "db" : plan.mode == PlanMode::kFile ? "file" : "none";
      const std::string& path = engine.gguf().path();
      bench.model_file = path.substr(path.find_last_of('/') + 1);
      bench.n_threads = engine.workers();
      bench.n_prompt = r.n_prompt;
      bench.n_gen = r.n_gen;
      bench.n_depth = r.n_depth;
      bench.avg_ts = r.avg_ts();
      bench.stddev_ts = r.stddev_ts();
      bench.samples_ts = r.samples_ts();
      if (Result<int64_t> saved = store.save(engine.shape(), bench); !saved.ok()) return fail(saved.status());
    }
  }
  const int code = print_stats(options, *session);
  return cancel.load() ? kExitInterrupted : code;
}

int run_dump_mode(RunOptions& options) {
  Result<uint32_t> n = parse_count(options.n.empty() ? "0" : options.n, "--n-predict");
  if (!n.ok()) return fail(n.status()), kExitUsage;
  Result<std::string> prompt = read_prompt(options);
  if (!prompt.ok()) return fail(prompt.status());
  Result<Session> session = open(options);
  if (!session.ok()) return fail(session.status());
  Result<Tokenizer> tokenizer = Tokenizer::from_gguf(session->engine->gguf());
  if (!tokenizer.ok()) return fail(tokenizer.status());
  Result<std::vector<TokenId>> tokens = tokenizer->encode(*prompt, true, true);
  if (!tokens.ok()) return fail(tokens.status());
  Result<std::vector<int32_t>> all = dump_logits(*session->engine, *tokens, *n, options.dump_logits);
  if (!all.ok()) return fail(all.status());
  std::string ids;
  for (const int32_t t : *all) ids += fmt::format("{}{}", ids.empty() ? "" : " ", t);
  if (const Status written = print_out(ids + "\n" + tokenizer->decode(*all, true) + "\n"); !written.ok())
    return fail(written);
  return print_stats(options, *session);
}

}  // namespace smepilot
