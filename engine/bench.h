// smepilot-run --bench: prompt processing and generation throughput, reported under llama-bench's field names so that
// any script made for one reads the other.
#pragma once
#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace smepilot {

// n_prompt tokens in passes of many, or n_gen tokens one by one, after n_depth tokens. With several sequences (of
// generation only) each has its own next token in every step; the n_depth tokens before are a prefix that all share.
struct BenchTest {
  uint32_t n_prompt = 0, n_gen = 0, n_depth = 0, n_seqs = 1;
  std::string name() const;  // pp512, tg128 b8 @ d1024
};

struct BenchResult {
  BenchTest test;
  std::string test_time;                   // ISO 8601, UTC
  std::vector<double> samples_ns;          // one per repetition
  std::vector<double> samples_ts() const;  // tokens of all sequences per second
  double avg_ns() const, stddev_ns() const, avg_ts() const, stddev_ts() const;
};

// Runs the test `repetitions` times after one warm-up. Tokens are pseudo-random and the same in each run. Logits are
// computed for the last token of a prompt.
Result<BenchResult> run_bench(Engine& engine, const BenchTest& test, unsigned repetitions,
                              const std::function<void(unsigned done)>& progress, const std::atomic<bool>& cancel);

enum class BenchFormat : uint8_t { kJson, kJsonl, kCsv, kMarkdown };
Result<BenchFormat> parse_bench_format(const std::string& name);
std::string format_bench(const Engine& engine, const std::vector<BenchResult>& results, BenchFormat format);

}  // namespace smepilot
