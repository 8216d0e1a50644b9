#include "engine/bench.h"

#include <algorithm>
#include <cmath>

#include "db/database.h"
#include "kernels/base/build_info.h"
#include "profiles/statistics.h"
#include "profiles/timer.h"

namespace smepilot {
namespace {

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

Status evaluate_tokens(Engine& engine, KvCache& cache, uint32_t count, bool one_by_one,
                       const std::atomic<bool>& cancel) {
  uint32_t random = 2463534242u;
  std::vector<int32_t> tokens(count);
  for (int32_t& t : tokens) t = static_cast<int32_t>(next_random(random) % engine.vocab());
  if (!one_by_one) return engine.evaluate(tokens, cache, Transformer::Logits::kLast, &cancel).status();
  for (const int32_t& t : tokens)
    if (Result<std::span<const float>> r = engine.evaluate({&t, 1}, cache, Transformer::Logits::kLast, &cancel);
        !r.ok())
      return r.status();
  return {};
}

std::string json_escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out;
}

// The fields of one row in order, as (name, JSON value, plain value).
struct Field {
  const char* name;
  std::string value;
  bool quoted;
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

std::vector<Field> fields(const Engine& engine, const BenchResult& r) {
  const BuildInfo& build = build_info();
  const auto number = [](auto v) { return fmt::format("{}", v); };
  return {{"build_commit", build.revision, true},
          {"build_number", "0", false},
          {"cpu_info", engine.platform().cpu_model, true},
          {"gpu_info", "", true},
          {"backends", "smepilot", true},
          {"model_filename", engine.gguf().path(), true},
          {"model_type", model_type(engine), true},
          {"model_size", number(model_bytes(engine)), false},
          {"model_n_params", number(model_params(engine)), false},
          {"n_batch", number(engine.batch()), false},
          {"n_ubatch", number(engine.batch()), false},
          {"n_threads", number(engine.workers()), false},
          {"type_k", "f16", true},
          {"type_v", "f16", true},
          {"n_gpu_layers", "0", false},
          {"plan", engine.plan().planner, true},
          {"plan_id", number(engine.plan().plan != nullptr ? engine.plan().plan->id : 0), false},
          {"n_prompt", number(r.n_prompt), false},
          {"n_gen", number(r.n_gen), false},
          {"n_depth", number(r.n_depth), false},
          {"test_time", r.test_time, true},
          {"avg_ns", fmt::format("{:.0f}", r.avg_ns()), false},
          {"stddev_ns", fmt::format("{:.0f}", r.stddev_ns()), false},
          {"avg_ts", fmt::format("{:.6f}", r.avg_ts()), false},
          {"stddev_ts", fmt::format("{:.6f}", r.stddev_ts()), false}};
}

std::string json_row(const Engine& engine, const BenchResult& r, const char* indent, const char* separator) {
  std::string out;
  for (const Field& f : fields(engine, r))
    out += fmt::format("{}\"{}\": {},{}", indent, f.name,
                       f.quoted ? fmt::format("\"{}\"", json_escape(f.value)) : f.value, separator);
  out += fmt::format("{}\"samples_ns\": {},{}", indent, list(r.samples_ns, 0), separator);
  out += fmt::format("{}\"samples_ts\": {}", indent, list(r.samples_ts(), 3));
  return out;
}

std::string test_name(const BenchResult& r) {
  std::string name = r.n_prompt != 0 ? fmt::format("pp{}", r.n_prompt) : fmt::format("tg{}", r.n_gen);
  if (r.n_depth != 0) name += fmt::format(" @ d{}", r.n_depth);
  return name;
}

}  // namespace

std::vector<double> BenchResult::samples_ts() const {
  std::vector<double> ts;
  for (const double ns : samples_ns) ts.push_back(1e9 * (n_prompt + n_gen) / ns);
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

Result<BenchResult> run_bench(Engine& engine, uint32_t n_prompt, uint32_t n_gen, uint32_t depth, unsigned repetitions,
                              const std::function<void(unsigned done)>& progress, const std::atomic<bool>& cancel) {
  if ((n_prompt == 0) == (n_gen == 0)) return error("a test is either of a prompt or of generation");
  const uint32_t count = n_prompt + n_gen;
  if (uint64_t{depth} + count > engine.context())
    return error("{} tokens after {} do not fit into the context of {} (--ctx sets it)", count, depth,
                 engine.context());
  SMEPILOT_ASSIGN(KvCache cache, engine.new_cache());
  BenchResult result{n_prompt, n_gen, depth, utc_now(), {}};
  if (depth != 0) SMEPILOT_TRY(evaluate_tokens(engine, cache, depth, false, cancel));
  SMEPILOT_TRY(evaluate_tokens(engine, cache, n_gen != 0 ? 1 : count, n_gen != 0, cancel));  // warm-up
  for (unsigned i = 0; i < repetitions; ++i) {
    cache.set_length(depth);
    const int64_t begin = now_ns();
    SMEPILOT_TRY(evaluate_tokens(engine, cache, count, n_gen != 0, cancel));
    result.samples_ns.push_back(static_cast<double>(now_ns() - begin));
    if (progress) progress(i + 1);
  }
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
      out = fmt::format("| {:<30} | {:>10} | {:>8} | {:>7} | {:<8} | {:>14} | {:>18} |\n", "model", "size", "params",
                        "threads", "plan", "test", "t/s");
      out +=
          "| ------------------------------ | ---------: | -------: | ------: | -------- | -------------: | "
          "-----------------: |\n";
      for (const BenchResult& r : results)
        out +=
            fmt::format("| {:<30} | {:>10} | {:>8} | {:>7} | {:<8} | {:>14} | {:>18} |\n", model_type(engine),
                        fmt::format("{:.2f} MiB", static_cast<double>(model_bytes(engine)) / 1048576.0),
                        fmt::format("{:.2f} M", static_cast<double>(model_params(engine)) / 1e6), engine.workers(),
                        engine.plan().planner, test_name(r), fmt::format("{:.2f} ± {:.2f}", r.avg_ts(), r.stddev_ts()));
      return out;
    }
  }
  return out;
}

}  // namespace smepilot
