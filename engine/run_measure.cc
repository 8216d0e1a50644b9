// The modes of smepilot-run that measure: --bench, --perplexity and --dump-logits.
#include <fmt/format.h>

#include <algorithm>

#include "db/bench_store.h"
#include "db/session_store.h"
#include "engine/bench.h"
#include "engine/logits_dump.h"
#include "engine/perplexity.h"
#include "engine/run_session.h"
#include "kernels/base/text.h"

namespace smepilot {
namespace {

constexpr uint32_t kPerplexityContext = 512;  // as llama-perplexity's default

}  // namespace

int run_bench_mode(RunOptions& options) {
  std::string prompt_list;
  for (const std::string& p : options.prompts) prompt_list += (prompt_list.empty() ? "" : ",") + p;
  Result<std::vector<uint32_t>> prompts =
      parse_counts(prompt_list.empty() ? (options.both.empty() ? "512" : "0") : prompt_list, "--prompt");
  if (!prompts.ok()) return fail(prompts.status()), kExitUsage;
  Result<std::vector<uint32_t>> lengths =
      parse_counts(options.n.empty() ? (options.both.empty() ? "128" : "0") : options.n, "--n-predict");
  if (!lengths.ok()) return fail(lengths.status()), kExitUsage;
  std::vector<std::pair<uint32_t, uint32_t>> both;
  for (const std::string& text : options.both) {
    Result<std::vector<uint32_t>> pair = parse_counts(text, "--pg");
    if (pair.ok() && pair->size() != 2)
      pair = error("--pg '{}': expected the tokens of a prompt and those to generate, as in 512,128", text);
    if (!pair.ok()) return fail(pair.status()), kExitUsage;
    both.emplace_back(pair->at(0), pair->at(1));
  }
  Result<std::vector<uint32_t>> batches =
      parse_counts(options.batch_list.empty() ? "1" : options.batch_list, "--batch");
  if (batches.ok() && batches->empty()) batches = error("--batch: at least one sequence is needed");
  if (!batches.ok()) return fail(batches.status()), kExitUsage;
  options.engine.sequences = *std::max_element(batches->begin(), batches->end());
  Result<BenchFormat> format = parse_bench_format(options.output);
  if (!format.ok()) return fail(format.status()), kExitUsage;

  if (options.engine.context == 0) {  // what the longest test needs, not more: caches of many sequences add up
    uint32_t longest = 1;
    for (const auto* counts : {&*prompts, &*lengths})
      for (const uint32_t n : *counts) longest = std::max(longest, n);
    for (const auto& [p, n] : both) longest = std::max(longest, n > UINT32_MAX - p ? UINT32_MAX : p + n);
    options.engine.context = std::min(longest, UINT32_MAX - options.depth) + options.depth;
  }

  std::optional<Database> db;
  if (options.record) {  // before minutes of measuring
    Result<Database> opened = Database::open(options.engine.plan.database);
    if (!opened.ok()) return fail(opened.status());
    db = std::move(opened).value();
  }
  Result<Session> session = open_session(options);
  if (!session.ok()) return fail(session.status());
  Engine& engine = *session->engine;

  const std::atomic<bool>& cancel = *session->cancel;
  std::vector<BenchTest> tests;
  for (const uint32_t p : *prompts) tests.push_back({p, 0, options.depth, 1});
  for (const uint32_t n : *lengths)
    for (const uint32_t b : *batches) tests.push_back({0, n, options.depth, b});
  for (const auto& [p, n] : both)
    for (const uint32_t b : *batches) tests.push_back({p, n, options.depth, b});
  EnergyMeter meter;
  if (!meter.available()) note("joules per token are not known: " + meter.why_not());
  std::vector<BenchResult> results;
  ProgressLine line;
  for (size_t i = 0; i < tests.size(); ++i) {
    const auto progress = [&](unsigned done) {
      line.update((static_cast<double>(i) + static_cast<double>(done) / options.repetitions) /
                      static_cast<double>(tests.size()),
                  tests[i].name(), -1);
    };
    progress(0);
    Result<BenchResult> r = run_bench(engine, tests[i], options.repetitions, meter, progress, cancel);
    if (!r.ok()) {
      line.clear();
      if (!cancel.load()) return fail(r.status());
      note(results.empty() ? "interrupted; nothing was measured yet" : "interrupted; what was measured so far follows");
      break;
    }
    results.push_back(std::move(r).value());
  }
  line.clear();
  if (!results.empty() || *format != BenchFormat::kMarkdown)  // what is read by programs is well-formed in any case
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
      bench.planner = plan.plan != nullptr ? plan.plan->planner : plan.planner;
      bench.mode = engine.mode();
      bench.load_json = load_json(*session);
      bench.conversions_json = conversions_json(r);
      const std::string& path = engine.gguf().path();
      bench.model_file = path.substr(path.find_last_of('/') + 1);
      bench.n_threads = engine.workers();
      bench.kv_type = traits(engine.kv_type()).name;
      bench.n_prompt = r.test.n_prompt;
      bench.n_gen = r.test.n_gen;
      bench.n_depth = r.test.n_depth;
      bench.n_seqs = r.test.n_seqs;
      bench.avg_ts = r.avg_ts();
      bench.stddev_ts = r.stddev_ts();
      bench.samples_ts = r.samples_ts();
      bench.joules_per_token = r.joules_per_token();
      if (Result<int64_t> saved = store.save(engine.shape(), bench); !saved.ok()) return fail(saved.status());
    }
  }
  const int code = finish_session(options, *session);
  return cancel.load() ? kExitInterrupted : code;
}

int run_dump_mode(RunOptions& options) {
  Result<uint32_t> n = parse_count(options.n.empty() ? "0" : options.n, "--n-predict");
  if (!n.ok()) return fail(n.status()), kExitUsage;
  Result<std::string> prompt = read_prompt(options);
  if (!prompt.ok()) return fail(prompt.status());
  Result<Session> session = open_session(options);
  if (!session.ok()) return fail(session.status());
  const std::atomic<bool>& cancel = *session->cancel;
  Result<Tokenizer> tokenizer = Tokenizer::from_gguf(session->engine->gguf());
  if (!tokenizer.ok()) return fail(tokenizer.status());
  Result<std::vector<TokenId>> tokens = tokenizer->encode(*prompt, true, true);
  if (!tokens.ok()) return fail(tokens.status());
  Result<std::vector<int32_t>> all = dump_logits(*session->engine, *tokens, *n, options.dump_logits, cancel);
  if (!all.ok()) return cancel.load() ? kExitInterrupted : fail(all.status());
  std::string ids;
  for (const int32_t t : *all) ids += fmt::format("{}{}", ids.empty() ? "" : " ", t);
  if (const Status written = print_out(ids + "\n" + tokenizer->decode(*all, true) + "\n"); !written.ok())
    return fail(written);
  return finish_session(options, *session);
}

int run_perplexity_mode(RunOptions& options) {
  Result<std::string> text = read_text_file(options.perplexity);
  if (!text.ok()) return fail(text.status());
  if (options.engine.context == 0) options.engine.context = kPerplexityContext;
  Result<Session> session = open_session(options);
  if (!session.ok()) return fail(session.status());
  Engine& engine = *session->engine;
  Result<Tokenizer> tokenizer = Tokenizer::from_gguf(engine.gguf());
  if (!tokenizer.ok()) return fail(tokenizer.status());
  for (const std::string& warning : tokenizer->warnings()) note(warning);
  if (!text->empty() && text->back() == '\n') text->pop_back();  // as llama-perplexity reads a file
  Result<std::vector<TokenId>> tokens = tokenizer->encode(*text, true, false);
  if (!tokens.ok()) return fail(tokens.status());

  const std::atomic<bool>& cancel = *session->cancel;
  ProgressLine line;
  const auto on_chunk = [&](const Perplexity& p) {
    const double left = p.seconds / p.chunks * (p.all_chunks - p.chunks);
    line.update(double{1} * p.chunks / p.all_chunks,
                fmt::format("chunk {} of {}: perplexity {:.4f}", p.chunks, p.all_chunks, p.value()), left);
  };
  Result<Perplexity> p = measure_perplexity(engine, *tokens, engine.context(),
                                            tokenizer->adds_bos() ? tokenizer->bos() : kNoToken, on_chunk, cancel);
  line.clear();
  if (!p.ok()) return fail(p.status());
  if (cancel.load()) note(fmt::format("interrupted after {} of {} chunks", p->chunks, p->all_chunks));
  const std::string out =
      options.json
          ? perplexity_json(*p, engine)
          : fmt::format("perplexity {:.4f} ± {:.5f} ({} chunks of {} tokens, {} scored; {:.1f} s; KV {}; {})\n",
                        p->value(), p->error(), p->chunks, p->context, p->scored, p->seconds,
                        traits(engine.kv_type()).name, plan_name(engine));
  if (p->chunks != 0)
    if (const Status written = print_out(out); !written.ok()) return fail(written);
  const int code = finish_session(options, *session);
  return cancel.load() ? kExitInterrupted : code;
}

}  // namespace smepilot
