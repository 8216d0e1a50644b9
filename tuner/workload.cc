#include "tuner/workload.h"

#include <algorithm>
#include <charconv>
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

namespace {

// "| a | b |" as {"a", "b"}; of another line, nothing.
std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  if (line.empty() || line[0] != '|') return cells;
  for (size_t at = 1, end; (end = line.find('|', at)) != std::string::npos; at = end + 1) {
    const size_t begin = line.find_first_not_of(' ', at), last = line.find_last_not_of(' ', end - 1);
    cells.push_back(begin >= end ? "" : line.substr(begin, last + 1 - begin));
  }
  return cells;
}

}  // namespace

std::optional<WorkloadRound> round_of_table(const std::string& text) {
  std::vector<std::string> header;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::vector<std::string> cells = cells_of(text.substr(at, end - at));
    at = end + 1;
    if (cells.empty() || cells[0].starts_with('-')) continue;
    if (cells[0] == "PP") {
      header = cells;
      continue;
    }
    const auto value = [&](const char* name) -> std::optional<double> {
      const size_t column = static_cast<size_t>(std::find(header.begin(), header.end(), name) - header.begin());
      if (column >= std::min(header.size(), cells.size())) return {};
      double v = 0;
      const std::string& cell = cells[column];
      const auto [stop, ec] = std::from_chars(cell.data(), cell.data() + cell.size(), v);
      return ec == std::errc() && stop == cell.data() + cell.size() ? std::optional(v) : std::nullopt;
    };
    const std::optional<double> prefill = value("T_PP s"), decode = value("T_TG s");
    if (!prefill || !decode) return {};
    return WorkloadRound{0, *prefill, *decode, {}};
  }
  return {};
}

const char* verdict_of(const PairedRatio& ratio) noexcept {
  if (ratio.pairs < kLeastPairs) return "not judged";
  return ratio.interval.low > 1 ? "win" : ratio.interval.high < 1 ? "loss" : "tie";
}

}  // namespace smepilot
