// smepilot-run --bench: prompt processing and generation throughput, reported under llama-bench's field names so that
// any script made for one reads the other.
#pragma once
#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace smepilot {

struct BenchResult {
  uint32_t n_prompt = 0, n_gen = 0, n_depth = 0;
  std::string test_time;                   // ISO 8601, UTC
  std::vector<double> samples_ns;          // one per repetition
  std::vector<double> samples_ts() const;  // tokens per second
  double avg_ns() const, stddev_ns() const, avg_ts() const, stddev_ts() const;
};

// One test: n_prompt tokens in batches, or n_gen tokens one by one after `depth` tokens, `repetitions` times after one
// warm-up. Tokens are pseudo-random and the same in each run. Logits are computed for the last token of a prompt.
Result<BenchResult> run_bench(Engine& engine, uint32_t n_prompt, uint32_t n_gen, uint32_t depth, unsigned repetitions,
                              const std::function<void(unsigned done)>& progress, const std::atomic<bool>& cancel);

enum class BenchFormat : uint8_t { kJson, kJsonl, kCsv, kMarkdown };
Result<BenchFormat> parse_bench_format(const std::string& name);
std::string format_bench(const Engine& engine, const std::vector<BenchResult>& results, BenchFormat format);

}  // namespace smepilot
