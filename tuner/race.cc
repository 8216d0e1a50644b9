#include "tuner/race.h"

#include <fmt/format.h>

#include <algorithm>

namespace smepilot {
namespace {

// A candidate this much slower leaves without the full number of rounds…
constexpr double kFarSlower = 1.5;
constexpr unsigned kFarRounds = 3;
// … and one whose single call is both long and this much slower leaves after that call: an interruption by other
// programs does not last that long.
constexpr double kHopeless = 3.0;
constexpr double kLongCall_ns = 100e6;

// After each round from the first at which somebody may be dropped.
const Looks& looks_of(const RaceRules& rules) {
  std::vector<unsigned> rounds;
  for (unsigned n = std::min(rules.min_rounds, rules.max_rounds); n <= rules.max_rounds; ++n) rounds.push_back(n);
  return looks_after(rounds);
}

// Whether the simplest of those that are left, which a tie goes to, is shown to be no slower than any other by more
// than the tie: which of the others is the fastest decides nothing then.
bool simplest_suffices(const SearchSpace& space, std::span<const Lane> lanes, const Looks& looks, double tie) {
  const Lane* simplest = nullptr;
  for (const Lane& l : lanes)
    if (l.running && (simplest == nullptr || simpler(space, l.entry, simplest->entry))) simplest = &l;
  return std::all_of(lanes.begin(), lanes.end(), [&](const Lane& l) {
    return !l.running || &l == simplest || looks.ratio(simplest->rounds, l.rounds).interval.high <= 1 + tie;
  });
}

std::string slower_than(double ratio, const SearchSpace& space, size_t entry) {
  return fmt::format("{:.2f}x the time of {}", ratio, describe(space.entries[entry].candidate));
}

}  // namespace

bool out_of_time(Evaluator& evaluator, const StrategyOptions& options) {
  return is_set(options.cancel) || evaluator.now_s() >= options.deadline_s;
}

double Lane::median_ns() const {
  return median(rounds);
}

size_t leader(std::span<const Lane> lanes) {
  size_t best = lanes.size();
  double best_ns = 0;
  for (size_t i = 0; i < lanes.size(); ++i) {
    if (!lanes[i].running || lanes[i].rounds.empty()) continue;
    const double ns = lanes[i].median_ns();
    if (best == lanes.size() || ns < best_ns) {
      best = i;
      best_ns = ns;
    }
  }
  return best;
}

Result<RaceEnd> run_race(const SearchSpace& space, Evaluator& evaluator, const StrategyOptions& options,
                         const RaceRules& rules, std::vector<Lane>& lanes) {
  std::vector<size_t> order;  // of lanes, best prediction first, so that a hopeless one is seen to be so at once
  for (size_t i = 0; i < lanes.size(); ++i) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return space.entries[lanes[a].entry].predicted_ns < space.entries[lanes[b].entry].predicted_ns;
  });
  const auto save = [&]() -> Status { return options.checkpoint ? options.checkpoint() : Status(); };
  const Looks* const looks = rules.drop == Drop::kSlower ? &looks_of(rules) : nullptr;
  const bool odd = !lanes.empty() && lanes.front().rounds.size() % 2 != 0;  // rounds that it had before
  if (odd) std::reverse(order.begin(), order.end());

  for (unsigned round = 0; round < rules.max_rounds; ++round) {
    std::erase_if(order, [&](size_t i) { return !lanes[i].running; });
    if (order.empty()) return RaceEnd::kDone;
    if (round > 0) std::reverse(order.begin(), order.end());
    std::vector<double> forth(order.size(), 0), back(order.size(), 0);
    double best_call = 0;
    size_t best_at = 0;
    evaluator.begin_round();
    for (size_t i = 0; i < order.size(); ++i) {
      if (out_of_time(evaluator, options)) {
        SMEPILOT_TRY(save());
        return RaceEnd::kOutOfTime;
      }
      const std::optional<double> ns = evaluator.sample(space.entries[lanes[order[i]].entry].candidate);
      if (!ns) {
        SMEPILOT_TRY(save());
        return RaceEnd::kOutOfTime;
      }
      forth[i] = *ns;
      if (best_call == 0 || *ns < best_call) {
        best_call = *ns;
        best_at = order[i];
      }
    }
    for (size_t i = order.size(); i-- > 0;) {
      if (rules.drop != Drop::kNobody && forth[i] > kHopeless * best_call && forth[i] >= kLongCall_ns) {
        lanes[order[i]].running = false;
        lanes[order[i]].dropped = slower_than(forth[i] / best_call, space, lanes[best_at].entry) + " in its first call";
        continue;
      }
      if (out_of_time(evaluator, options)) {
        SMEPILOT_TRY(save());
        return RaceEnd::kOutOfTime;
      }
      const std::optional<double> ns = evaluator.sample(space.entries[lanes[order[i]].entry].candidate);
      if (!ns) {
        SMEPILOT_TRY(save());
        return RaceEnd::kOutOfTime;
      }
      back[i] = *ns;
    }
    for (size_t i = 0; i < order.size(); ++i)
      if (lanes[order[i]].running) lanes[order[i]].rounds.push_back(std::min(forth[i], back[i]));
    SMEPILOT_TRY(save());
    if (looks == nullptr) continue;

    const size_t first = leader(lanes);
    for (const size_t i : order) {
      Lane& lane = lanes[i];
      if (i == first || !lane.running) continue;
      const unsigned done = static_cast<unsigned>(lane.rounds.size());
      if (done >= kFarRounds && done < rules.min_rounds) {
        const std::vector<double> ratios = paired_ratios(lane.rounds, lanes[first].rounds);
        if (*std::min_element(ratios.begin(), ratios.end()) > kFarSlower) {
          lane.running = false;
          lane.dropped = slower_than(median(ratios), space, lanes[first].entry);
          continue;
        }
      }
      if (done < rules.min_rounds) continue;
      const PairedRatio r = looks->ratio(lane.rounds, lanes[first].rounds);
      if (r.interval.low > 1 + options.tie) {
        lane.running = false;
        lane.dropped = fmt::format("{} (95 % interval {:.2f} to {:.2f})",
                                   slower_than(r.estimate, space, lanes[first].entry), r.interval.low, r.interval.high);
      }
    }
    const auto running = std::count_if(lanes.begin(), lanes.end(), [](const Lane& l) { return l.running; });
    if (running <= 1) return RaceEnd::kDone;
    if (round + 1 >= rules.min_rounds && simplest_suffices(space, lanes, *looks, options.tie)) return RaceEnd::kDone;
  }
  return RaceEnd::kDone;
}

}  // namespace smepilot
