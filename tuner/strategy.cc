#include "tuner/strategy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "tuner/race.h"

namespace smepilot {
namespace {

double percent_less(double ratio) noexcept {
  return 100 * (1 - ratio);
}

// State of one decision, shared by the measuring strategies.
class Measured {
 public:
  Measured(const SearchSpace& space, Evaluator& evaluator, const StrategyOptions& options)
      : space_(space), evaluator_(evaluator), options_(options) {
    decision_.chosen = space.default_index;
    for (const SpaceEntry& e : space.entries) decision_.outcomes.push_back({e.status, e.reason, false});
  }

  const SpaceEntry& entry(size_t i) const { return space_.entries[i]; }
  bool open(size_t i) const { return decision_.outcomes[i].status == MeasurementStatus::kOk; }

  // Checks each entry once; what fails leaves with its reason.
  bool runs(size_t i) {
    if (!open(i)) return false;
    if (std::find(checked_.begin(), checked_.end(), i) != checked_.end()) return true;
    const CheckResult r = evaluator_.check(entry(i).candidate);
    if (r.status != MeasurementStatus::kOk) {
      decision_.outcomes[i].status = r.status;
      decision_.outcomes[i].reason = r.reason;
      return false;
    }
    checked_.push_back(i);
    return true;
  }

  // Races these entries. The lanes that are left are in survivors(). False: out of time.
  Result<bool> race(const std::vector<size_t>& entries, const RaceRules& rules) {
    previous_ = std::move(lanes_);
    lanes_.clear();
    for (const size_t i : entries) {
      if (out_of_time(evaluator_, options_)) return false;
      if (runs(i)) lanes_.push_back({i, {}, true, ""});
    }
    if (lanes_.empty()) return true;
    SMEPILOT_ASSIGN(const RaceEnd end, run_race(space_, evaluator_, options_, rules, lanes_));
    for (const Lane& lane : lanes_) {
      Outcome& o = decision_.outcomes[lane.entry];
      o.sampled = o.sampled || !lane.rounds.empty() || !lane.dropped.empty();
      if (!lane.dropped.empty()) o.reason = lane.dropped;
    }
    return end == RaceEnd::kDone;
  }

  bool sampled(size_t i) const { return decision_.outcomes[i].sampled; }
  // Of the last race, 0: it was not in it.
  double median_ns(size_t i) const {
    const Lane* lane = lane_of(i);
    return lane != nullptr && !lane->rounds.empty() ? lane->median_ns() : 0;
  }

  // Entries of the running lanes that tie with the leader of the last race, the leader first.
  std::vector<size_t> ties() const {
    std::vector<size_t> out;
    const size_t first = leader(lanes_);
    if (first == lanes_.size()) return out;
    out.push_back(lanes_[first].entry);
    for (size_t i = 0; i < lanes_.size(); ++i) {
      if (i == first || !lanes_[i].running) continue;
      if (paired_ratio(lanes_[i].rounds, lanes_[first].rounds).estimate <= 1 + options_.tie)
        out.push_back(lanes_[i].entry);
    }
    return out;
  }

  // The simplest of the ties; where that is a split, the fastest of those that differ in nothing else.
  size_t simplest(const std::vector<size_t>& entries) const {
    const size_t pick =
        *std::min_element(entries.begin(), entries.end(), [&](size_t a, size_t b) { return simpler(space_, a, b); });
    Candidate rest = entry(pick).candidate;
    if (rest.mode != ExecutionMode::kCoop || rest.coop.split == 0) return pick;
    size_t fastest = pick;
    for (const size_t i : entries) {
      rest.coop.split = entry(i).candidate.coop.split;
      if (entry(i).candidate == rest && median_ns(i) < median_ns(fastest)) fastest = i;
    }
    return fastest;
  }

  // Compares the pick with the default on samples that had no part in picking it: the fastest of many noisy medians
  // flatters itself. It ends at the first of a few looks that settles it.
  Result<bool> duel(size_t pick) {
    const size_t def = space_.default_index;
    std::vector<Lane> pair = {{def, {}, true, ""}, {pick, {}, true, ""}};
    bool in_time = true;
    PairedRatio r;
    const bool is_simpler = entry(pick).candidate.mode < entry(def).candidate.mode ||
                            (entry(pick).candidate.mode == entry(def).candidate.mode &&
                             entry(pick).candidate.workers < entry(def).candidate.workers);
    const std::vector<unsigned> rounds = duel_looks();
    for (const unsigned n : rounds) {
      const auto more = n - static_cast<unsigned>(pair[0].rounds.size());
      SMEPILOT_ASSIGN(const RaceEnd end, run_race(space_, evaluator_, options_, {more, more, Drop::kNobody}, pair));
      in_time = end == RaceEnd::kDone;
      r = looks_after(rounds).ratio(pair[1].rounds, pair[0].rounds);
      if (r.interval.high < 1 && r.estimate < 1 - options_.tie) {
        settle(pick, Verdict::kFaster, pair, r);
        return in_time;
      }
      if (is_simpler && r.interval.high < 1 + options_.tie) {
        settle(pick, Verdict::kSimpler, pair, r);
        return in_time;
      }
      if (!in_time || r.interval.low > (is_simpler ? 1 : 1 - options_.tie)) break;
    }
    if (!in_time) {
      take_lead({&pair, &lanes_, &previous_});
      return false;
    }
    settle(def, Verdict::kDefault, pair, r);
    const std::string ratio =
        fmt::format("{:.3f}x its time (interval {:.3f} to {:.3f})", r.estimate, r.interval.low, r.interval.high);
    decision_.why = fmt::format("{} won its race, but head to head with the default took {}",
                                describe(entry(pick).candidate), ratio);
    decision_.outcomes[pick].reason = "not faster than the default: " + ratio;
    return true;
  }

  // From the last race to the decision. `in_time` false: with what there is.
  Result<Decision> finish(bool in_time) {
    const std::vector<size_t> tied = ties();
    const size_t def = space_.default_index;
    if (!in_time || tied.empty()) return unfinished();
    const size_t pick = simplest(tied);
    if (!open(def)) {
      decision_.chosen = pick;
      decision_.verdict = Verdict::kFaster;
      if (const Lane* lane = lane_of(pick)) decision_.chosen_ns = lane->median_ns();
      decision_.why = fmt::format("the default does not run here ({})", decision_.outcomes[def].reason);
      decision_.finished = true;
      return std::move(decision_);
    }
    if (pick == def) {
      decision_.verdict = Verdict::kDefault;
      if (const Lane* lane = lane_of(def)) decision_.chosen_ns = decision_.default_ns = lane->median_ns();
      const auto others = sampled_count() - 1;
      decision_.why = others == 0 ? "the default is the only candidate that can be measured"
                      : tied.size() > 1
                          ? fmt::format("the default ties with the fastest of {} measured candidates", others + 1)
                          : fmt::format("the default is the fastest of {} measured candidates", others + 1);
      decision_.finished = true;
      return std::move(decision_);
    }
    SMEPILOT_ASSIGN(decision_.finished, duel(pick));
    return std::move(decision_);
  }

 private:
  static const Lane* find_lane(const std::vector<Lane>& lanes, size_t entry) {
    for (const Lane& l : lanes)
      if (l.entry == entry) return &l;
    return nullptr;
  }
  const Lane* lane_of(size_t entry) const { return find_lane(lanes_, entry); }

  size_t sampled_count() const {
    return static_cast<size_t>(std::count_if(decision_.outcomes.begin(), decision_.outcomes.end(),
                                             [](const Outcome& o) { return o.sampled; }));
  }

  void settle(size_t chosen, Verdict verdict, const std::vector<Lane>& pair, const PairedRatio& r) {
    decision_.chosen = chosen;
    decision_.verdict = verdict;
    decision_.default_ns = pair[0].median_ns();
    decision_.chosen_ns = chosen == space_.default_index ? decision_.default_ns : pair[1].median_ns();
    if (chosen == space_.default_index) return;
    decision_.ratio = r.interval;
    decision_.outcomes[chosen].sampled = decision_.outcomes[space_.default_index].sampled = true;
    decision_.why =
        verdict == Verdict::kFaster
            ? fmt::format(
                  "takes {:.1f} % less time than the default (interval {:.1f} to {:.1f} %), the best of {} measured",
                  percent_less(r.estimate), percent_less(r.interval.high), percent_less(r.interval.low),
                  sampled_count())
            : fmt::format("as fast as the default ({:.3f}x, interval {:.3f} to {:.3f}) and simpler", r.estimate,
                          r.interval.low, r.interval.high);
  }

  // The numbers of rounds after which a duel is looked at.
  std::vector<unsigned> duel_looks() const {
    std::vector<unsigned> rounds;
    for (const unsigned n : {options_.duel_rounds / 3, options_.duel_rounds / 2, options_.duel_rounds * 2 / 3,
                             std::max(options_.duel_rounds, 1u)})
      if (n > (rounds.empty() ? 0 : rounds.back())) rounds.push_back(n);
    return rounds;
  }

  Result<Decision> unfinished() {
    if (!open(space_.default_index)) return replace_default();
    take_lead({&lanes_, &previous_});
    return std::move(decision_);
  }

  // Time ran out: the leader of the first of these races that says anything, or the default. A leader was picked by the
  // very samples that praise it, so only a lead counts that is as rare as one of all lanes of all races may be.
  void take_lead(const std::vector<const std::vector<Lane>*>& races) {
    constexpr size_t kFewRounds = 3;
    constexpr double kClearLead = 0.7;  // of the default's time, in every one of a few rounds
    decision_.why = "no time was left to measure it: the default";
    for (const std::vector<Lane>* lanes : races) {
      const Lane* def = find_lane(*lanes, space_.default_index);
      const size_t first = leader(*lanes);
      if (def == nullptr || def->rounds.empty() || first == lanes->size()) continue;
      const Lane& ahead = (*lanes)[first];
      const std::vector<double> ratios = paired_ratios(ahead.rounds, def->rounds);
      const PairedRatio r =
          paired_ratio(ahead.rounds, def->rounds, kIntervalError / static_cast<double>(lanes->size() * races.size()));
      const bool few = ratios.size() >= kFewRounds && *std::max_element(ratios.begin(), ratios.end()) < kClearLead;
      const bool many = r.interval.high < 1 - 2 * options_.tie;
      if (decision_.default_ns == 0 || few || many) {
        decision_.verdict = Verdict::kDefault;
        decision_.chosen_ns = decision_.default_ns = def->median_ns();
        decision_.why = "time ran out in the middle of the race: the default";
      }
      if (!few && !many) continue;
      decision_.chosen = ahead.entry;
      decision_.verdict = Verdict::kFaster;
      decision_.chosen_ns = ahead.median_ns();
      decision_.ratio = r.interval;
      decision_.why =
          fmt::format("took {:.1f} % less time than the default in {} rounds of a race that ran out of time",
                      percent_less(r.estimate), ratios.size());
      return;
    }
  }

  // The default failed its check, and so has everything else so far.
  Result<Decision> replace_default() {
    for (size_t i = 0; i < space_.entries.size(); ++i) {
      if (!runs(i)) continue;
      decision_.chosen = i;
      decision_.why = fmt::format("the default does not run here ({}); not measured",
                                  decision_.outcomes[space_.default_index].reason);
      return std::move(decision_);
    }
    return error("{}: no candidate computes it correctly; the default: {}", describe(space_.shape),
                 decision_.outcomes[space_.default_index].reason);
  }

  const SearchSpace& space_;
  Evaluator& evaluator_;
  const StrategyOptions& options_;
  Decision decision_;
  std::vector<size_t> checked_;
  std::vector<Lane> lanes_, previous_;  // of the last race and the one before

 public:
  Decision& decision() { return decision_; }
};

bool same_kernel(const Candidate& a, const Candidate& b) noexcept {
  return a.variant == b.variant && a.mode == b.mode && a.workers == b.workers && a.coop.variant == b.coop.variant &&
         a.coop.workers == b.coop.workers && a.coop.dim == b.coop.dim;
}

bool is_split(const Candidate& c) noexcept {
  return c.mode == ExecutionMode::kCoop && c.coop.split_of != 0;
}

class RaceStrategy final : public Strategy {
 public:
  std::string_view name() const noexcept override { return "race"; }

  Result<Decision> decide(const SearchSpace& space, Evaluator& evaluator,
                          const StrategyOptions& options) const override {
    Measured run(space, evaluator, options);
    const RaceRules rules{options.min_rounds, options.max_rounds, Drop::kSlower};
    const std::vector<size_t> heat = first_heat(space, run);
    SMEPILOT_ASSIGN(bool in_time, run.race(heat, rules));
    const std::vector<size_t> best = run.ties();
    if (in_time && !best.empty()) {
      const std::vector<size_t> blockings = second_heat(space, run, heat, best);
      if (blockings.size() > best.size()) {
        SMEPILOT_ASSIGN(in_time, run.race(blockings, rules));
      }
      SMEPILOT_ASSIGN(in_time, climb(space, run, rules, in_time));
    }
    return run.finish(in_time);
  }

 private:
  // One candidate per kernel, mode and worker count, with the default blocking or the best predicted one; of a pair
  // that shares the work a dynamic split, which mends a wrong prediction.
  static std::vector<size_t> first_heat(const SearchSpace& space, const Measured& run) {
    const Candidate& def = space.entries[space.default_index].candidate;
    std::vector<size_t> heat;
    for (size_t i = 0; i < space.entries.size(); ++i) {
      if (!run.open(i)) continue;
      const SpaceEntry& e = space.entries[i];
      const auto it = std::find_if(heat.begin(), heat.end(),
                                   [&](size_t j) { return same_kernel(space.entries[j].candidate, e.candidate); });
      if (it == heat.end()) {
        heat.push_back(i);
        continue;
      }
      const SpaceEntry& held = space.entries[*it];
      const bool held_default = same_blocking(held.candidate, def), is_default = same_blocking(e.candidate, def);
      if (e.candidate.coop.dynamic != held.candidate.coop.dynamic) {
        if (e.candidate.coop.dynamic) *it = i;
        continue;
      }
      if (is_default ? !held_default : !held_default && e.predicted_ns < held.predicted_ns) *it = i;
    }
    return heat;
  }

  // All blockings of the fastest kernels, and the splits near its balance of a pair that could be faster than they are:
  // a poor split hides what the pair can do.
  static std::vector<size_t> second_heat(const SearchSpace& space, Measured& run, const std::vector<size_t>& heat,
                                         const std::vector<size_t>& best) {
    constexpr size_t kBlockedKernels = 2;
    constexpr double kPromising = 0.98;  // of the leader's time, if both sides lost nothing
    constexpr double kPipelineBehind = 1.25;
    std::vector<size_t> kernels(best.begin(),
                                best.begin() + static_cast<std::ptrdiff_t>(std::min(best.size(), kBlockedKernels)));
    size_t pair = space.entries.size();
    double promised_ns = kPromising * run.median_ns(best.front());
    for (const size_t i : heat) {
      if (!is_split(space.entries[i].candidate)) continue;
      const Sides sides = sides_of(space, run, space.entries[i].candidate);
      const double ns = sides.known() ? sides.matrix_ns * sides.cpu_ns / (sides.matrix_ns + sides.cpu_ns)
                                      : kPromising * run.median_ns(i);
      if (ns <= 0 || ns >= promised_ns) continue;
      pair = i;
      promised_ns = ns;
    }
    if (pair != space.entries.size() && std::find(kernels.begin(), kernels.end(), pair) == kernels.end())
      kernels.push_back(pair);
    // A pipeline's tiles decide as much as a split does.
    for (const size_t i : heat) {
      const Candidate& c = space.entries[i].candidate;
      const double ns = run.median_ns(i);
      if (c.mode != ExecutionMode::kCoop || is_split(c) || ns <= 0 ||
          ns > kPipelineBehind * run.median_ns(best.front()))
        continue;
      if (std::find(kernels.begin(), kernels.end(), i) == kernels.end()) kernels.push_back(i);
    }
    std::vector<size_t> chosen;
    for (const size_t k : kernels)
      if (is_split(space.entries[k].candidate)) add_splits(space, run, k, chosen);
    for (size_t i = 0; i < space.entries.size(); ++i) {
      if (!run.open(i)) continue;
      const Candidate& c = space.entries[i].candidate;
      const bool blocked = std::any_of(kernels.begin(), kernels.end(), [&](size_t j) {
        return !is_split(c) && same_kernel(c, space.entries[j].candidate);
      });
      const bool wanted = blocked || std::find(best.begin(), best.end(), i) != best.end();
      if (wanted && std::find(chosen.begin(), chosen.end(), i) == chosen.end()) chosen.push_back(i);
    }
    for (size_t i = 0; i < space.entries.size(); ++i) {
      const bool belongs = std::any_of(kernels.begin(), kernels.end(), [&](size_t j) {
        return same_kernel(space.entries[i].candidate, space.entries[j].candidate);
      });
      if (!run.open(i) || belongs || std::find(chosen.begin(), chosen.end(), i) != chosen.end() ||
          std::find(heat.begin(), heat.end(), i) != heat.end())
        continue;
      Outcome& o = run.decision().outcomes[i];
      o.status = MeasurementStatus::kPruned;
      o.reason = is_split(space.entries[i].candidate) ? "this pair of kernels did not come out first with another split"
                                                      : "this kernel did not come out first with another blocking";
    }
    return chosen;
  }

  // What each side of a pair takes for the whole call alone, in the last race; 0: it was not in it.
  struct Sides {
    double matrix_ns = 0, cpu_ns = 0;
    bool known() const noexcept { return matrix_ns > 0 && cpu_ns > 0; }
  };
  static Sides sides_of(const SearchSpace& space, const Measured& run, const Candidate& pair) {
    Sides sides;
    for (size_t i = 0; i < space.entries.size(); ++i) {
      const Candidate& c = space.entries[i].candidate;
      if (!is_side_of(c, pair)) continue;
      const double ns = run.median_ns(i);
      double& held = c.mode == ExecutionMode::kMatrix ? sides.matrix_ns : sides.cpu_ns;
      if (ns > 0 && (held == 0 || ns < held)) held = ns;
    }
    return sides;
  }

  // The static splits of the pair in ascending order.
  static std::vector<size_t> static_splits(const SearchSpace& space, const Measured& run, size_t pair) {
    std::vector<size_t> out;
    for (size_t i = 0; i < space.entries.size(); ++i) {
      const Candidate& c = space.entries[i].candidate;
      if (run.open(i) && !c.coop.dynamic && same_kernel(c, space.entries[pair].candidate)) out.push_back(i);
    }
    std::sort(out.begin(), out.end(), [&](size_t a, size_t b) {
      return space.entries[a].candidate.coop.split < space.entries[b].candidate.coop.split;
    });
    return out;
  }

  // Of the pair's splits: the dynamic ones, and the static ones at and about where its two sides, as they were measured
  // alone, would end together; where they were not, where the best prediction is.
  static void add_splits(const SearchSpace& space, const Measured& run, size_t pair, std::vector<size_t>& out) {
    constexpr ptrdiff_t kCoarse[] = {0, -4, 4};
    const Candidate& of = space.entries[pair].candidate;
    for (size_t i = 0; i < space.entries.size(); ++i)
      if (run.open(i) && space.entries[i].candidate.coop.dynamic && same_kernel(space.entries[i].candidate, of))
        out.push_back(i);
    const Sides sides = sides_of(space, run, of);
    const std::vector<size_t> splits = static_splits(space, run, pair);
    if (splits.empty()) return;
    const auto nearest = [&](double split) {
      size_t best = 0;
      for (size_t i = 0; i < splits.size(); ++i)
        if (std::abs(space.entries[splits[i]].candidate.coop.split - split) <
            std::abs(space.entries[splits[best]].candidate.coop.split - split))
          best = i;
      return best;
    };
    size_t centre = 0;
    if (sides.known()) {
      centre = nearest(of.coop.split_of * sides.cpu_ns / (sides.matrix_ns + sides.cpu_ns));
    } else {
      for (size_t i = 0; i < splits.size(); ++i)
        if (space.entries[splits[i]].predicted_ns < space.entries[splits[centre]].predicted_ns) centre = i;
    }
    for (const ptrdiff_t away : kCoarse) {
      const ptrdiff_t at =
          std::clamp<ptrdiff_t>(static_cast<ptrdiff_t>(centre) + away, 0, static_cast<ptrdiff_t>(splits.size()) - 1);
      const size_t i = splits[static_cast<size_t>(at)];
      if (std::find(out.begin(), out.end(), i) == out.end()) out.push_back(i);
    }
  }

  // From the fastest static split to its neighbours on the grid, until none of them is faster.
  static Result<bool> climb(const SearchSpace& space, Measured& run, const RaceRules& rules, bool in_time) {
    constexpr unsigned kSteps = 8;
    constexpr size_t kNeighbours = 2;  // to either side
    for (unsigned step = 0; in_time && step < kSteps; ++step) {
      std::vector<size_t> tied = run.ties();
      const auto is_static = [&](size_t i) {
        return is_split(space.entries[i].candidate) && !space.entries[i].candidate.coop.dynamic;
      };
      const auto at = std::find_if(tied.begin(), tied.end(), is_static);
      if (at == tied.end()) break;
      const std::vector<size_t> splits = static_splits(space, run, *at);
      const auto here = static_cast<size_t>(std::find(splits.begin(), splits.end(), *at) - splits.begin());
      bool found = false;
      for (size_t i = here - std::min(here, kNeighbours); i < std::min(here + kNeighbours + 1, splits.size()); ++i) {
        if (run.sampled(splits[i])) continue;
        tied.push_back(splits[i]);
        found = true;
      }
      if (!found) break;
      SMEPILOT_ASSIGN(in_time, run.race(tied, rules));
    }
    return in_time;
  }
};

class ExhaustiveStrategy final : public Strategy {
 public:
  std::string_view name() const noexcept override { return "exhaustive"; }

  Result<Decision> decide(const SearchSpace& space, Evaluator& evaluator,
                          const StrategyOptions& options) const override {
    Measured run(space, evaluator, options);
    std::vector<size_t> all;
    for (size_t i = 0; i < space.entries.size(); ++i) {
      Outcome& o = run.decision().outcomes[i];
      if (o.status == MeasurementStatus::kPruned) o = {};
      if (run.open(i)) all.push_back(i);
    }
    SMEPILOT_ASSIGN(const bool in_time, run.race(all, {options.max_rounds, options.max_rounds, Drop::kHopeless}));
    return run.finish(in_time);
  }
};

class RooflineStrategy final : public Strategy {
 public:
  std::string_view name() const noexcept override { return "roofline"; }
  bool measures() const noexcept override { return false; }

  Result<Decision> decide(const SearchSpace& space, Evaluator&, const StrategyOptions&) const override {
    constexpr double kEqual = 1e-3;  // relative: predictions are no finer
    Decision d;
    d.chosen = space.default_index;
    d.verdict = Verdict::kPredicted;
    d.finished = true;
    for (const SpaceEntry& e : space.entries) d.outcomes.push_back({e.status, e.reason, false});
    double best = 0;
    for (const SpaceEntry& e : space.entries)
      if (e.status == MeasurementStatus::kOk && e.predicted_ns > 0 && (best == 0 || e.predicted_ns < best))
        best = e.predicted_ns;
    if (best == 0) {
      d.why = "no candidate has a price (no calibration covers it): the default";
      return d;
    }
    std::vector<size_t> equal;
    for (size_t i = 0; i < space.entries.size(); ++i) {
      const SpaceEntry& e = space.entries[i];
      if (e.status == MeasurementStatus::kOk && e.predicted_ns > 0 && e.predicted_ns <= best * (1 + kEqual))
        equal.push_back(i);
    }
    d.chosen = *std::min_element(equal.begin(), equal.end(), [&](size_t a, size_t b) { return simpler(space, a, b); });
    for (size_t i = 0; i < space.entries.size(); ++i)
      if (i != d.chosen && d.outcomes[i].status == MeasurementStatus::kOk)
        d.outcomes[i] = {MeasurementStatus::kPruned,
                         space.entries[i].predicted_ns > best * (1 + kEqual)
                             ? fmt::format("predicted {}, the best prediction is {}",
                                           format_ns(space.entries[i].predicted_ns), format_ns(best))
                             : "predicted to be as fast as the chosen one, which is simpler or preferred",
                         false};
    d.why = fmt::format("predicted {} by the roofline, the best of {} candidates; not measured", format_ns(best),
                        space.entries.size());
    return d;
  }
};

}  // namespace

Result<std::unique_ptr<Strategy>> make_strategy(std::string_view name) {
  std::unique_ptr<Strategy> s;
  if (name == "race") s = std::make_unique<RaceStrategy>();
  if (name == "exhaustive") s = std::make_unique<ExhaustiveStrategy>();
  if (name == "roofline") s = std::make_unique<RooflineStrategy>();
  if (s == nullptr) return error("no search strategy is called '{}'; there are race, exhaustive and roofline", name);
  return s;
}

}  // namespace smepilot
