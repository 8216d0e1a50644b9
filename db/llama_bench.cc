// Reads what `llama-bench -o json` and `-o jsonl` print. Field names and meanings: llama.cpp,
// tools/llama-bench/llama-bench.cpp, test::get_fields() and the two printers.
#include <cmath>
#include <limits>
#include <utility>

#include "db/baseline_store.h"
#include "db/json_reader.h"

namespace smepilot {

namespace {

constexpr double kMaxRate = 1e12;

Result<Baseline> row_from_json(const Json& value, const std::string& source_name, size_t row) {
  ObjectReader in(value, source_name, fmt::format("row {}", row));
  Baseline b;
  b.engine = "llama.cpp";
  const std::string commit = in.text("build_commit");
  const int64_t number = in.signed_integer("build_number", 0, INT32_MAX);
  b.build = fmt::format("{} ({})", commit, number);
  b.cpu_info = in.text("cpu_info");
  const std::string file = in.text("model_filename");
  b.model_file = file.substr(file.find_last_of('/') + 1);
  b.model_type = in.text("model_type");
  b.n_threads = static_cast<uint32_t>(in.integer("n_threads", 1, UINT16_MAX));
  b.n_prompt = static_cast<uint32_t>(in.integer("n_prompt", 0, INT32_MAX));
  b.n_gen = static_cast<uint32_t>(in.integer("n_gen", 0, INT32_MAX));
  b.n_batch = static_cast<uint32_t>(in.integer("n_batch", 1, INT32_MAX));
  if (in.has("n_depth"))  // older versions could not start from a filled cache
    b.n_depth = static_cast<uint32_t>(in.integer("n_depth", 0, INT32_MAX));
  // ik_llama.cpp has -gp instead: what it times is generation after a prompt of n_prompt tokens.
  else if (in.has("test") && in.text("test") == fmt::format("tg{}@pp{}", b.n_gen, b.n_prompt))
    b.n_depth = std::exchange(b.n_prompt, 0u);
  b.test_time = in.text("test_time");
  in.real("avg_ns", 1, 1e18);
  in.real("stddev_ns", 0, 1e18);
  b.avg_ts = in.real("avg_ts", std::numeric_limits<double>::min(), kMaxRate);
  b.stddev_ts = in.real("stddev_ts", 0, kMaxRate);
  const std::vector<double> samples_ns = in.reals("samples_ns", 1, 1e18);
  b.samples_ts = in.reals("samples_ts", std::numeric_limits<double>::min(), kMaxRate);
  // Newer versions write -1 for "as many as fit", also where there is no GPU: only with one does it count.
  const int64_t layers = in.has("n_gpu_layers") ? in.signed_integer("n_gpu_layers", -1, INT32_MAX) : 0;
  const std::string gpu = in.has("gpu_info") ? in.text("gpu_info") : "";
  const uint64_t sequences = in.has("n_seqs") ? static_cast<uint64_t>(in.integer("n_seqs", 1, INT32_MAX)) : 1;
  SMEPILOT_TRY(in.finish(true));

  const auto path = [row](const char* field) { return fmt::format("row {}.{}", row, field); };
  if (!gpu.empty() && layers != 0)
    return error("{}: {} is {} with gpu_info '{}', expected 0: this row ran on a GPU and is no baseline for a CPU",
                 source_name, path("n_gpu_layers"), layers, gpu.substr(0, 80));
  if (sequences != 1)
    return error("{}: {} is {}, expected 1: a rate of several sequences is no baseline for one", source_name,
                 path("n_seqs"), sequences);
  if (b.n_prompt == 0 && b.n_gen == 0)
    return error("{}: {} and n_gen are 0, expected one of them to be at least 1", source_name, path("n_prompt"));
  if (b.samples_ts.empty()) return error("{}: {} is empty, expected at least one", source_name, path("samples_ts"));
  if (samples_ns.empty()) return error("{}: {} is empty, expected at least one", source_name, path("samples_ns"));
  // The mean of the samples' rates. The rate of the mean time would be less, by as much as the samples are noisy.
  double rate = 0;
  for (double ns : samples_ns) rate += 1e9 * (b.n_prompt + b.n_gen) / ns / static_cast<double>(samples_ns.size());
  if (std::fabs(b.avg_ts - rate) > 0.01 * rate)
    return error("{}: {} is {}, expected about {:.2f}, the mean of (n_prompt + n_gen) / samples_ns", source_name,
                 path("avg_ts"), b.avg_ts, rate);
  b.raw_json = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  b.source = source_name;
  return b;
}

}  // namespace

Result<std::vector<Baseline>> parse_llama_bench(const std::string& text, const std::string& source_name) {
  std::vector<Baseline> rows;
  const size_t start = text.find_first_not_of(" \t\r\n");
  if (start == std::string::npos) return error("{}: is empty, expected the output of llama-bench -o json", source_name);
  if (text[start] == '[') {
    SMEPILOT_ASSIGN(const Json document, parse_json(text, source_name));
    for (size_t i = 0; i < document.size(); ++i) {
      SMEPILOT_ASSIGN(Baseline row, row_from_json(document[i], source_name, i + 1));
      rows.push_back(std::move(row));
    }
  } else if (text[start] == '{') {
    size_t line = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      const std::string_view one(text.data() + at, end - at);
      ++line;
      at = end + 1;
      if (one.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      SMEPILOT_ASSIGN(const Json document, parse_json(one, fmt::format("{}: text line {}", source_name, line)));
      SMEPILOT_ASSIGN(Baseline row, row_from_json(document, source_name, rows.size() + 1));
      rows.push_back(std::move(row));
    }
  } else {
    return error("{}: starts with neither '[' nor '{{', expected the output of llama-bench -o json or -o jsonl",
                 source_name);
  }
  if (rows.empty()) return error("{}: has no rows", source_name);
  return rows;
}

}  // namespace smepilot
