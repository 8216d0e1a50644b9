#include "tuner/workload.h"

#include <algorithm>
#include <cmath>

namespace smepilot {
namespace {

constexpr WorkloadShape kWorkloads[] = {
    {"ruler-4k", "Ruler-4k", 3324, 4},
    {"ruler-8k", "Ruler-8k", 7338, 4},
    {"gsm8k", "GSM8K", 92, 100},
    {"longwriter", "LongWriter-6k", 339, 5424},
};

}  // namespace

std::span<const WorkloadShape> workload_shapes() noexcept {
  return kWorkloads;
}

const WorkloadShape* find_workload(const std::string& name) noexcept {
  for (const WorkloadShape& w : kWorkloads)
    if (name == w.name) return &w;
  return nullptr;
}

uint32_t scaled_tokens(uint32_t tokens, double scale) noexcept {
  return std::max(1u, static_cast<uint32_t>(std::lround(tokens * scale)));
}

double seconds_of(const WorkloadRound& round, WorkloadPart part) noexcept {
  return part == WorkloadPart::kPrefill  ? round.prefill_s
         : part == WorkloadPart::kDecode ? round.decode_s
                                         : round.prefill_s + round.decode_s;
}

double median_seconds(const WorkloadRun& run, WorkloadPart part) {
  std::vector<double> seconds;
  for (const WorkloadRound& r : run.rounds) seconds.push_back(seconds_of(r, part));
  return median(seconds);
}

PairedRatio compare_runs(const WorkloadRun& ours, const WorkloadRun& theirs, WorkloadPart part) {
  std::vector<double> a, b;
  for (const WorkloadRound& t : theirs.rounds)
    for (const WorkloadRound& o : ours.rounds)
      if (o.round == t.round) {
        a.push_back(seconds_of(t, part));
        b.push_back(seconds_of(o, part));
      }
  return paired_ratio(a, b);
}

const char* verdict_of(const PairedRatio& ratio) noexcept {
  if (ratio.pairs < kLeastPairs) return "not judged";
  return ratio.interval.low > 1 ? "win" : ratio.interval.high < 1 ? "loss" : "tie";
}

}  // namespace smepilot
