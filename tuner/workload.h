// Workloads of the paper: how many tokens a prompt has and how many are generated, and who is faster at them.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "db/workload_store.h"
#include "profiles/paired.h"

namespace smepilot {

struct WorkloadShape {
  const char* name;
  const char* title;
  uint32_t n_prompt, n_gen;  // tokens of each sequence
};

// Token counts of SMEPilot, arXiv 2606.16332.
std::span<const WorkloadShape> workload_shapes() noexcept;
const WorkloadShape* find_workload(const std::string& name) noexcept;

// A share `scale` (0 < scale <= 1) of the tokens, at least one.
uint32_t scaled_tokens(uint32_t tokens, double scale) noexcept;

// How much less time ours takes: their time / our time over the rounds that both have (paired_ratio()).
enum class WorkloadPart : uint8_t { kPrefill, kDecode, kTotal };
double seconds_of(const WorkloadRound& round, WorkloadPart part) noexcept;
double median_seconds(const WorkloadRun& run, WorkloadPart part);
PairedRatio compare_runs(const WorkloadRun& ours, const WorkloadRun& theirs, WorkloadPart part);

// "win" where the interval lies above 1, "loss" where it lies below, else "tie"; "not judged" below kLeastPairs rounds.
// One engine against itself wins or loses in at most 5 % of cases. The report judges by the same rule
// (smepilot_report.stats.judge_pairs), and tests of both read tests/tuner/data/workload_verdicts.json.
const char* verdict_of(const PairedRatio& ratio) noexcept;

// The first row of the table that llama-batched-bench prints where it knows no --output-format; nothing: there is none.
std::optional<WorkloadRound> round_of_table(const std::string& text);

}  // namespace smepilot
