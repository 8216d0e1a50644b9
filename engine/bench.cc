#include "engine/bench.h"

#include <algorithm>
#include <cmath>

#include "db/database.h"
#include "kernels/base/build_info.h"
#include "kernels/base/text.h"
#include "profiles/matrix_units.h"
#include "profiles/statistics.h"
#include "profiles/timer.h"

namespace smepilot {
namespace {

constexpr uint32_t kTokensPerSample = 256;  // of energy: reading counters takes microseconds, their end minutes

double stddev(const std::vector<double>& v) {
  if (v.size() < 2) return 0;
  const double m = mean(v);
  double sum = 0;
  for (const double x : v) sum += (x - m) * (x - m);
  return std::sqrt(sum / static_cast<double>(v.size() - 1));
}

uint32_t next_random(uint32_t& state) {  // xorshift32, Marsaglia 2003
  state ^= state << 13;
  state ^= state >> 17;
  return state ^= state << 5;
}

std::vector<int32_t> random_tokens(uint32_t count, uint32_t vocab, uint32_t seed = 2463534242u) {
  std::vector<int32_t> tokens(count);
  for (int32_t& t : tokens) t = static_cast<int32_t>(next_random(seed) % vocab);
  return tokens;
}

// The sequences of a test and the tokens that they are given.
struct Sequences {
  std::vector<KvCache> caches;
  std::vector<std::vector<int32_t>> tokens;
  std::vector<SequenceTokens> step;
};

Result<Sequences> make_sequences(Engine& engine, const BenchTest& test, const std::atomic<bool>& cancel) {
  Sequences s;
  const std::vector<int32_t> before = random_tokens(test.n_depth, engine.vocab());
  const uint32_t own = test.n_prompt + test.n_gen;
  std::shared_ptr<KvCache> prefix;
  for (uint32_t i = 0; i < test.n_seqs; ++i) {
    Result<KvCache> cache = error("");
    if (test.n_seqs == 1) {
      cache = engine.new_cache(test.n_depth + own);
      if (cache.ok() && test.n_depth != 0)
        SMEPILOT_TRY(engine.evaluate(before, *cache, Transformer::Logits::kNone, &cancel).status());
    } else {
      if (test.n_depth != 0 && prefix == nullptr) {
        SMEPILOT_ASSIGN(KvCache shared, engine.new_cache(test.n_depth));
        SMEPILOT_TRY(engine.evaluate(before, shared, Transformer::Logits::kNone, &cancel).status());
        prefix = std::make_shared<KvCache>(std::move(shared));
      }
      cache = prefix != nullptr ? KvCache::fork(prefix, own) : engine.new_cache(own);
    }
    if (!cache.ok()) return cache.status();
    s.caches.push_back(std::move(cache).value());
    s.tokens.push_back(random_tokens(own, engine.vocab(), 2463534242u + i));
  }
  for (KvCache& cache : s.caches) s.step.push_back({&cache, {}});
  return s;
}

// The first `count` tokens of each sequence, in passes of many.
Status evaluate_prompt(Engine& engine, Sequences& s, uint32_t count, const std::atomic<bool>& cancel) {
  if (s.caches.size() == 1)
    return engine.evaluate(std::span(s.tokens[0]).first(count), s.caches[0], Transformer::Logits::kLast, &cancel)
        .status();
  for (size_t i = 0; i < s.step.size(); ++i) s.step[i].tokens = std::span(s.tokens[i]).first(count);
  return engine.evaluate(s.step, &cancel).status();
}

// Evaluates something with a Stats of its own, which is then the result.
Result<Stats> recorded(Engine& engine, const std::function<Status()>& evaluate) {
  Stats stats(engine.plan().roofline.get());
  Stats* const own = engine.set_stats(&stats);
  const Status done = evaluate();
  engine.set_stats(own);
  if (!done.ok()) return done;
  return stats;
}

// From token `at` of each sequence on.
Status evaluate_generation(Engine& engine, Sequences& s, uint32_t at, uint32_t count, EnergyMeter& meter,
                           const std::atomic<bool>& cancel) {
  for (const uint32_t end = at + count; at < end; ++at) {
    for (size_t i = 0; i < s.step.size(); ++i) s.step[i].tokens = std::span(s.tokens[i]).subspan(at, 1);
    SMEPILOT_TRY(engine.evaluate(s.step, &cancel).status());
    if (at % kTokensPerSample == kTokensPerSample - 1) meter.sample();
  }
  return {};
}

// The fields of one row in order, as (name, JSON value, plain value).
struct Field {
  const char* name;
  std::string value;
  bool quoted;  // "" unquoted: null
};

std::string list(const std::vector<double>& values, int decimals) {
  std::string out = "[ ";
  for (const double& v : values) out += fmt::format("{}{:.{}f}", &v == values.data() ? "" : ", ", v, decimals);
  return out + " ]";
}

std::string model_type(const Engine& engine) {
  const HyperParameters& hp = engine.file().hyper;
  // The type that most weights have.
  uint64_t most = 0;
  DType dtype = DType::kF32;
  for (const MatrixShape& m : engine.shape().matrices) {
    uint64_t elements = 0;
    for (const MatrixShape& o : engine.shape().matrices)
      if (o.dtype == m.dtype) elements += uint64_t{o.n} * o.k * o.count;
    if (elements > most) {
      most = elements;
      dtype = m.dtype;
    }
  }
  std::string type = traits(dtype).name;
  std::transform(type.begin(), type.end(), type.begin(), [](unsigned char c) { return std::toupper(c); });
  return fmt::format("{} {}", hp.architecture, type);
}

uint64_t model_bytes(const Engine& engine) {
  uint64_t bytes = 0;
  for (const GgufTensor& t : engine.gguf().tensors()) bytes += t.bytes.size();
  return bytes;
}

uint64_t model_params(const Engine& engine) {
  uint64_t n = 0;
  for (const GgufTensor& t : engine.gguf().tensors()) n += t.elements;
  return n;
}

// "plan", "untuned coop"; where cores play the matrix unit, with that.
std::string plan_text(const Engine& engine) {
  std::string text = engine.plan().planner;
  if (engine.plan().forced) text += " " + engine.mode();
  return is_testbed(engine.platform()) ? text + ", test bed" : text;
}

std::vector<Field> fields(const Engine& engine, const BenchResult& r) {
  const BuildInfo& build = build_info();
  const char* const kv = traits(engine.kv_type()).name;
  const auto number = [](auto v) { return fmt::format("{}", v); };
  return {{"build_commit", build.revision, true},
          {"build_number", "0", false},
          {"cpu_info", engine.platform().cpu_model, true},
          {"gpu_info", "", true},
          {"backends", is_testbed(engine.platform()) ? "smepilot (test bed)" : "smepilot", true},
          {"model_filename", engine.gguf().path(), true},
          {"model_type", model_type(engine), true},
          {"model_size", number(model_bytes(engine)), false},
          {"model_n_params", number(model_params(engine)), false},
          {"n_batch", number(engine.ubatch()), false},
          {"n_ubatch", number(engine.ubatch()), false},
          {"n_threads", number(engine.workers()), false},
          {"type_k", kv, true},
          {"type_v", kv, true},
          {"n_gpu_layers", "0", false},
          {"plan", engine.plan().planner, true},
          {"mode", engine.mode(), true},
          {"matrix_unit", engine.platform().matrix_unit, true},
          {"plan_id", number(engine.plan().plan != nullptr ? engine.plan().plan->id : 0), false},
          {"n_prompt", number(r.test.n_prompt), false},
          {"n_gen", number(r.test.n_gen), false},
          {"n_depth", number(r.test.n_depth), false},
          {"n_seqs", number(r.test.n_seqs), false},
          {"test_time", r.test_time, true},
          {"avg_ns", fmt::format("{:.0f}", r.avg_ns()), false},
          {"stddev_ns", fmt::format("{:.0f}", r.stddev_ns()), false},
          {"avg_ts", fmt::format("{:.6f}", r.avg_ts()), false},
          {"stddev_ts", fmt::format("{:.6f}", r.stddev_ts()), false},
          {"joules_per_token", r.joules_per_token() ? fmt::format("{:.9g}", *r.joules_per_token()) : "", false}};
}

std::string json_row(const Engine& engine, const BenchResult& r, const char* indent, const char* separator) {
  std::string out;
  for (const Field& f : fields(engine, r))
    out += fmt::format("{}\"{}\": {},{}", indent, f.name,
                       f.quoted          ? fmt::format("\"{}\"", json_escape(f.value))
                       : f.value.empty() ? "null"
                                         : f.value,
                       separator);
  out += fmt::format("{}\"samples_ns\": {},{}", indent, list(r.samples_ns, 0), separator);
  if (!r.prefill_ns.empty())
    out += fmt::format("{}\"samples_prefill_ns\": {},{}", indent, list(r.prefill_ns, 0), separator);
  if (!r.samples_joules.empty())
    out += fmt::format("{}\"samples_joules\": {},{}", indent, list(r.samples_joules, 6), separator);
  out += fmt::format("{}\"samples_ts\": {}", indent, list(r.samples_ts(), 3));
  return out;
}

}  // namespace

std::string conversions_json(const BenchResult& result) {
  const auto phase = [](const PhaseSummary& s) {
    if (s.passes == 0) return std::string("null");
    return fmt::format("{{\"passes\": {}, \"tokens\": {}, \"ns\": {:.0f}, \"conversions\": {}}}", s.passes, s.tokens,
                       s.ns, conversions_json(s.conversions));
  };
  return fmt::format("{{\"prefill\": {}, \"decode\": {}}}", phase(result.prefill_pass), phase(result.decode_pass));
}

std::vector<double> BenchResult::samples_ts() const {
  std::vector<double> ts;
  for (const double ns : samples_ns)
    ts.push_back(1e9 * test.n_prompt * test.n_seqs / ns + 1e9 * test.n_gen * test.n_seqs / ns);
  return ts;
}
double BenchResult::avg_ns() const {
  return mean(samples_ns);
}
double BenchResult::stddev_ns() const {
  return stddev(samples_ns);
}
double BenchResult::avg_ts() const {
  return mean(samples_ts());
}
double BenchResult::stddev_ts() const {
  return stddev(samples_ts());
}

std::optional<double> BenchResult::joules_per_token() const {
  if (samples_joules.empty()) return {};
  return median(samples_joules) / ((1.0 * test.n_prompt + test.n_gen) * test.n_seqs);
}

std::string BenchTest::name() const {
  std::string name = n_prompt != 0 ? fmt::format("pp{}", n_prompt) : "";
  if (n_gen != 0) name += fmt::format("{}tg{}", name.empty() ? "" : "+", n_gen);
  if (n_seqs > 1) name += fmt::format(" b{}", n_seqs);
  if (n_depth != 0) name += fmt::format(" @ d{}", n_depth);
  return name;
}

Result<BenchResult> run_bench(Engine& engine, const BenchTest& test, unsigned repetitions, EnergyMeter& meter,
                              const std::function<void(unsigned done)>& progress, const std::atomic<bool>& cancel) {
  if (test.n_prompt == 0 && test.n_gen == 0) return error("a test is of a prompt, of generation or of both");
  if (test.n_seqs == 0 || (test.n_seqs > 1 && test.n_gen == 0))
    return error("several sequences are for tests of generation");
  if (test.n_seqs > engine.sequences())
    return error("{} sequences were asked for, this engine evaluates up to {} together", test.n_seqs,
                 engine.sequences());
  const uint64_t count = uint64_t{test.n_prompt} + test.n_gen;
  if (test.n_depth + count > engine.context())
    return error("{} tokens after {} do not fit into the context of {} (--ctx sets it)", count, test.n_depth,
                 engine.context());
  SMEPILOT_ASSIGN(Sequences sequences, make_sequences(engine, test, cancel));
  BenchResult result;
  result.test = test;
  result.test_time = utc_now();
  const bool prompt = test.n_prompt != 0, both = prompt && test.n_gen != 0;
  // Warm-up: where generation follows, one pass shows as much as all of them.
  if (prompt) {
    const uint32_t tokens = both ? std::min(test.n_prompt, engine.ubatch()) : test.n_prompt;
    SMEPILOT_ASSIGN(const Stats stats,
                    recorded(engine, [&] { return evaluate_prompt(engine, sequences, tokens, cancel); }));
    // A prompt of one token is a pass as decode has them.
    result.prefill_pass = stats.summary(tokens == 1 ? StatsPhase::kDecode : StatsPhase::kPrefill);
  }
  if (test.n_gen != 0) {
    const auto step = [&] { return evaluate_generation(engine, sequences, test.n_prompt, 1, meter, cancel); };
    SMEPILOT_TRY(step());
    for (KvCache& cache : sequences.caches) cache.set_length(cache.length() - 1);
    SMEPILOT_ASSIGN(const Stats stats, recorded(engine, step));
    result.decode_pass = stats.summary(StatsPhase::kDecode);
  }
  for (unsigned i = 0; i < repetitions; ++i) {
    for (KvCache& cache : sequences.caches) cache.set_length(test.n_depth);
    meter.start();
    const int64_t begin = now_ns();
    if (prompt) SMEPILOT_TRY(evaluate_prompt(engine, sequences, test.n_prompt, cancel));
    const int64_t first = now_ns();
    if (test.n_gen != 0) SMEPILOT_TRY(evaluate_generation(engine, sequences, test.n_prompt, test.n_gen, meter, cancel));
    result.samples_ns.push_back(static_cast<double>(now_ns() - begin));
    if (both) result.prefill_ns.push_back(static_cast<double>(first - begin));
    if (const std::optional<Energy> energy = meter.stop()) result.samples_joules.push_back(energy->joules);
    if (progress) progress(i + 1);
  }
  if (result.samples_joules.size() != result.samples_ns.size()) result.samples_joules.clear();
  return result;
}

Result<BenchFormat> parse_bench_format(const std::string& name) {
  if (name == "json") return BenchFormat::kJson;
  if (name == "jsonl") return BenchFormat::kJsonl;
  if (name == "csv") return BenchFormat::kCsv;
  if (name == "md") return BenchFormat::kMarkdown;
  return error("output format '{}': expected json, jsonl, csv or md", name);
}

std::string format_bench(const Engine& engine, const std::vector<BenchResult>& results, BenchFormat format) {
  std::string out;
  switch (format) {
    case BenchFormat::kJson:
      out = "[";
      for (const BenchResult& r : results)
        out += fmt::format("{}\n  {{\n{}\n  }}", &r == results.data() ? "" : ",", json_row(engine, r, "    ", "\n"));
      return out + "\n]\n";
    case BenchFormat::kJsonl:
      for (const BenchResult& r : results) out += fmt::format("{{{}}}\n", json_row(engine, r, "", " "));
      return out;
    case BenchFormat::kCsv: {
      for (const BenchResult& r : results) {
        std::string head, row;
        for (const Field& f : fields(engine, r)) {
          std::string value = f.value;
          for (size_t at = 0; (at = value.find('"', at)) != std::string::npos; at += 2) value.insert(at, 1, '"');
          head += fmt::format("{}{}", head.empty() ? "" : ",", f.name);
          row += fmt::format("{}\"{}\"", row.empty() ? "" : ",", value);
        }
        if (out.empty()) out = head + "\n";
        out += row + "\n";
      }
      return out;
    }
    case BenchFormat::kMarkdown: {
      bool energy = false;
      for (const BenchResult& r : results) energy |= r.joules_per_token().has_value();
      out = fmt::format("| {:<30} | {:>10} | {:>8} | {:>7} | {:<22} | {:>6} | {:>14} | {:>18} |{}\n", "model", "size",
                        "params", "threads", "plan", "type_k", "test", "t/s", energy ? " J/token |" : "");
      out +=
          "| ------------------------------ | ---------: | -------: | ------: | ---------------------- | -----: | "
          "-------------: | "
          "-----------------: |";
      out += energy ? " ------: |\n" : "\n";
      for (const BenchResult& r : results) {
        out += fmt::format("| {:<30} | {:>10} | {:>8} | {:>7} | {:<22} | {:>6} | {:>14} | {:>18} |", model_type(engine),
                           fmt::format("{:.2f} MiB", static_cast<double>(model_bytes(engine)) / 1048576.0),
                           fmt::format("{:.2f} M", static_cast<double>(model_params(engine)) / 1e6), engine.workers(),
                           plan_text(engine), traits(engine.kv_type()).name, r.test.name(),
                           fmt::format("{:.2f} ± {:.2f}", r.avg_ts(), r.stddev_ts()));
        if (energy) out += r.joules_per_token() ? fmt::format(" {:>7.4g} |", *r.joules_per_token()) : "       - |";
        out += "\n";
      }
      return out;
    }
  }
  return out;
}

}  // namespace smepilot
