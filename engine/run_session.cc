#include "engine/run_session.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>

#include "db/plan_store.h"
#include "db/session_store.h"
#include "engine/adapt_learn.h"
#include "kernels/base/build_info.h"
#include "kernels/base/os.h"
#include "kernels/base/text.h"
#include "kernels/driver/trace.h"
#include "profiles/matrix_units.h"
#include "profiles/timer.h"

namespace smepilot {
namespace {

constexpr const char* kProgram = "smepilot-run";

}  // namespace

int fail(const Status& status) {
  return print_error(kProgram, status);
}

void note(const std::string& text) {
  if (!text.empty()) fmt::print(stderr, "{}: {}\n", kProgram, text);
}

namespace {

// "ready in 0.21 s: 1.71 GB of weights from the cache"
std::string load_text(const Session& s) {
  const WeightSource source = s.engine->weights().report().source;
  return fmt::format("ready in {:.2f} s: {:.2f} GB of weights {}", s.load_seconds,
                     static_cast<double>(s.engine->weights().packed_bytes()) / 1e9,
                     source == WeightSource::kCache    ? "from the cache"
                     : source == WeightSource::kPacked ? "packed, and stored for the next start"
                                                       : "packed into memory");
}

// "memory: at most 1.21 GB in RAM; 0.71 GB of weights, …"
std::string memory_text(const Engine& engine) {
  const auto gigabytes = [](uint64_t bytes) { return fmt::format("{:.3f} GB", static_cast<double>(bytes) / 1e9); };
  const MemoryNeed memory = engine.memory();
  return fmt::format("memory: at most {} in RAM until now; {} of weights, {} for the cache, {} of scratch\n",
                     gigabytes(peak_resident_bytes()), gigabytes(memory.weights), gigabytes(memory.kv_cache),
                     gigabytes(memory.scratch));
}

// --learn derives a plan from the one in use.
Status check_learning(const Engine& engine) {
  if (engine.plan().plan == nullptr)
    return error(
        "--learn: no plan is in use that a new one could be derived from; make one with: smetune search "
        "--model FILE");
  if (engine.plan().forced) return error("--learn: --mode {} is not what the plan says", engine.mode());
  return {};
}

Status start_adaptation(const RunOptions& options, Session& s) {
  if (options.learn) SMEPILOT_TRY(check_learning(*s.engine));
  if (!options.adapt_log.empty()) {
    std::FILE* const file = std::fopen(options.adapt_log.c_str(), "w");
    if (file == nullptr) return error("{}: cannot be written: {}", options.adapt_log, std::strerror(errno));
    s.adapt_log = {file, [](std::FILE* f) { std::fclose(f); }};
  }
  if (s.engine->workers() < 2)
    note("adapt: with one worker there is nothing to move");
  else if (!s.engine->shares_matmuls())
    note("adapt: no operator is shared by both units here; there is nothing to move but the number of workers");
  s.adaptation = std::make_unique<Adaptation>(
      s.engine->pool(),
      [log = s.adapt_log](const AdaptRecord& record) {
        if (record.number != 0) note("adapt: " + describe(record));
        if (log == nullptr) return;
        fmt::print(log.get(), "{}\n", to_json(record));
        std::fflush(log.get());  // so that it can be watched, and an interrupted run has it
      },
      &s.engine->platform());
  s.engine->set_adaptation(s.adaptation.get());
  return {};
}

// Stores what was learned as a new plan.
Status store_learned(const RunOptions& options, const Session& session) {
  const PlanChoice& choice = session.engine->plan();
  const LearnedPlan learned =
      learn_plan(*choice.plan, *session.adaptation, fmt::format("{} {}", build_info().revision, build_info().compiler));
  if (learned.weak != 0)
    note(fmt::format("learn: {} operator{} moved, but ran fewer than {} calls since: not stored", learned.weak,
                     learned.weak == 1 ? "" : "s", kEnoughCalls));
  if (learned.entries == 0) {
    note("learn: nothing to store, the plan stays as it is");
    return {};
  }
  SMEPILOT_ASSIGN(Database db, Database::open(options.engine.plan.database));
  SMEPILOT_ASSIGN(const SessionRow row, SessionStore(db).begin(session.engine->platform(), options.command));
  SMEPILOT_ASSIGN(const int64_t id, PlanStore(db).save(row.id, learned.plan));
  note(fmt::format("learn: plan {} stored in {}: plan {} with {} of {} entries adapted; `smetune plan show` shows it",
                   id, db.path(), choice.plan->id, learned.entries, learned.plan.entries.size()));
  return {};
}

}  // namespace

Result<Session> open_session(const RunOptions& options) {
  Session s;
  EngineOptions engine_options = options.engine;
  ProgressLine line;
  const int64_t begin = now_ns();
  engine_options.progress = [&](const char* stage, double fraction) {
    const double passed = static_cast<double>(now_ns() - begin) * 1e-9;
    line.update(fraction, stage, fraction > 0 && passed > 0.5 ? passed * (1 - fraction) / fraction : -1);
  };
  SMEPILOT_ASSIGN(s.engine, Engine::open(engine_options));
  s.cancel = &catch_interrupts();
  line.clear();
  for (const std::string& text : s.engine->weights().report().notes) note(text);
  s.load_seconds = static_cast<double>(now_ns() - begin) * 1e-9;
  if (options.stats || line.terminal()) note(load_text(s));
  if (is_testbed(s.engine->platform()))
    note("test bed: one worker with the AVX-512 kernels plays the matrix unit, those up to AVX2 are the vector cores");
  note(s.engine->plan().notice);
  for (const std::string& warning : s.engine->file().warnings) note(warning);
  if (s.engine->uncovered_shapes() != 0)
    note("the plan does not cover every shape of this run; those use the default: search again to cover them");
  if (options.stats) {
    s.stats = std::make_unique<Stats>(s.engine->plan().roofline.get());
    s.engine->set_stats(s.stats.get());
  }
  if (options.adapt) SMEPILOT_TRY(start_adaptation(options, s));
  if (!options.trace.empty()) start_trace(s.engine->workers());
  return s;
}

std::string load_json(const Session& session) {
  constexpr const char* kSources[] = {"memory", "packed", "cache"};  // by WeightSource
  const Engine& engine = *session.engine;
  const WeightLoadReport& report = engine.weights().report();
  const MemoryNeed memory = engine.memory();
  return fmt::format(
      "{{\"seconds\": {:.6f}, \"weights_seconds\": {:.6f}, \"weights_from\": \"{}\", \"cache_file\": {}, "
      "\"peak_rss_bytes\": {}, \"weights_bytes\": {}, \"kv_cache_bytes\": {}, \"scratch_bytes\": {}}}",
      session.load_seconds, report.seconds, kSources[static_cast<size_t>(report.source)],
      report.cache_file.empty() ? "null" : fmt::format("\"{}\"", json_escape(report.cache_file)), peak_resident_bytes(),
      memory.weights, memory.kv_cache, memory.scratch);
}

Result<uint32_t> parse_count(const std::string& text, const char* option) {
  uint32_t value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size() || text.empty())
    return error("{}: '{}' is not a number of tokens", option, text);
  return value;
}

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

Result<std::string> read_text_file(const std::string& path) {
  if (path == "-") return std::string{std::istreambuf_iterator<char>(std::cin), {}};
  std::ifstream in(path, std::ios::binary);
  if (!in) return error("{}: cannot be read: {}", path, std::strerror(errno));
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) return error("{}: cannot be read: {}", path, std::strerror(errno));
  return text;
}

Result<std::string> read_prompt(const RunOptions& options) {
  if (!options.prompt_file.empty()) return read_text_file(options.prompt_file);
  return options.prompts.empty() ? std::string() : options.prompts[0];
}

std::string rate(uint32_t tokens, double ns) {
  return fmt::format("{} tokens, {:.1f} tokens/s", tokens, ns > 0 ? tokens * 1e9 / ns : 0.0);
}

std::string plan_name(const Engine& engine) {
  const PlanChoice& plan = engine.plan();
  std::string name = plan.name();
  if (plan.forced) name += fmt::format(", mode {}", engine.mode());
  return is_testbed(engine.platform()) ? name + ", test bed" : name;
}

int finish_session(const RunOptions& options, const Session& session) {
  if (!options.trace.empty()) {
    stop_trace();
    if (const Status written = write_trace(options.trace); !written.ok()) return fail(written);
    if (trace_dropped() != 0)
      note(fmt::format("{}: {} events are not in it, the buffers were full", options.trace, trace_dropped()));
  }
  if (const Status stored = session.engine->finish_cache(); !stored.ok()) note("weight cache: " + stored.message());
  if (session.adapt_log != nullptr && std::ferror(session.adapt_log.get()) != 0)
    return fail(error("{}: cannot be written", options.adapt_log));
  if (options.learn)
    if (const Status stored = store_learned(options, session); !stored.ok()) return fail(stored);
  if (session.stats == nullptr) return kExitOk;
  const Adaptation* const adaptation = session.adaptation.get();
  if (!options.json) {
    fmt::print(stderr, "\n{}{}{}", session.stats->table(), memory_text(*session.engine),
               adaptation != nullptr ? adaptation->table() : "");
    return kExitOk;
  }
  std::string more = "\"load\": " + load_json(session);
  if (adaptation != nullptr) more += ",\n\"adaptation\": " + adaptation->json();
  const Status written = print_out(session.stats->json(more));
  return written.ok() ? kExitOk : fail(written);
}

}  // namespace smepilot
