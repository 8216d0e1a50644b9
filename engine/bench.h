// smepilot-run --bench: prompt processing and generation throughput, reported under llama-bench's field names so that
// any script made for one reads the other.
#pragma once
#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "profiles/energy.h"

namespace smepilot {

// n_prompt tokens in passes of many, then n_gen tokens one by one, after n_depth tokens; either may be 0. With several
// sequences (where there is something to generate) all prompts share passes, and each sequence has its own next token
// in every step; the n_depth tokens before are a prefix that all share.
struct BenchTest {
  uint32_t n_prompt = 0, n_gen = 0, n_depth = 0, n_seqs = 1;
  std::string name() const;  // pp512, tg128 b8 @ d1024, pp92+tg100
};

struct BenchResult {
  BenchTest test;
  std::string test_time;               // ISO 8601, UTC
  std::vector<double> samples_ns;      // one per repetition
  std::vector<double> prefill_ns;      // of tests of both: until the first token of each sequence is known
  std::vector<double> samples_joules;  // one per repetition; empty: not counted
  // One pass of each phase that the test has, before the timed runs; of the others, none (passes is 0).
  PhaseSummary prefill_pass = {}, decode_pass = {};
  std::vector<double> samples_ts() const;  // tokens of all sequences per second
  double avg_ns() const, stddev_ns() const, avg_ts() const, stddev_ts() const;
  std::optional<double> joules_per_token() const;  // median
};

// Runs the test `repetitions` times after one warm-up, whose passes are recorded instead of by the engine's own Stats.
// Tokens are pseudo-random and the same in each run. Logits are computed for the last token of a prompt. `meter` may be
// without counters.
Result<BenchResult> run_bench(Engine& engine, const BenchTest& test, unsigned repetitions, EnergyMeter& meter,
                              const std::function<void(unsigned done)>& progress, const std::atomic<bool>& cancel);

enum class BenchFormat : uint8_t { kJson, kJsonl, kCsv, kMarkdown };
// The conversions of these passes: {"prefill": {"passes", "tokens", "ns", "conversions": {...}}, "decode": ...}, each
// of which is null where the test has no such phase.
std::string conversions_json(const BenchResult& result);

Result<BenchFormat> parse_bench_format(const std::string& name);
std::string format_bench(const Engine& engine, const std::vector<BenchResult>& results, BenchFormat format);

}  // namespace smepilot
