#include "tuner/search.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "db/calibration_store.h"
#include "db/session_store.h"
#include "kernels/base/build_info.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "profiles/statistics.h"
#include "profiles/timer.h"
#include "tuner/race.h"
#include "tuner/recorded_evaluator.h"

namespace smepilot {
namespace {

constexpr double kDisturbed = 0.1;  // OperatorResult::disturbed beyond which a decision rests on such samples

double wall_s() noexcept {
  return static_cast<double>(now_ns()) * 1e-9;
}

// The order in which operators are searched, so that a short budget is spent where it counts: single-token decode, then
// the largest prompt batch, then what lies between.
void order_tasks(std::vector<OperatorTask>& tasks) {
  uint32_t largest = 1;
  for (const OperatorTask& t : tasks) largest = std::max(largest, t.shape.m);
  const auto rank = [&](const OperatorTask& t) { return t.shape.m == 1 ? 0 : t.shape.m == largest ? 1 : 2; };
  std::stable_sort(tasks.begin(), tasks.end(),
                   [&](const OperatorTask& a, const OperatorTask& b) { return rank(a) < rank(b); });
}

class SearchRun {
 public:
  SearchRun(Database& db, int64_t session_id, const Platform& platform, const Calibration& calibration,
            const ModelShape& model, Evaluator* evaluator, const SearchOptions& options)
      : db_(db),
        store_(db),
        session_id_(session_id),
        platform_(platform),
        calibration_(calibration),
        model_(model),
        evaluator_(evaluator),
        options_(options) {}

  Result<SearchResult> run() {
    SMEPILOT_ASSIGN(isa_, usable_isa());
    SMEPILOT_ASSIGN(strategy_, make_strategy(options_.strategy));
    if (strategy_->measures() && evaluator_ == nullptr && options_.replay == nullptr)
      return error("strategy {} has nothing to measure with", options_.strategy);
    hash_ = variant_set_hash(isa_);
    std::vector<OperatorTask> tasks = operator_tasks(model_, options_.ms, options_.contexts);
    order_tasks(tasks);
    SMEPILOT_TRY(keep_roles(tasks));
    if (options_.replay != nullptr) SMEPILOT_TRY(keep_recorded(tasks));
    if (tasks.empty()) return error("model {} has no operators to search", model_.name);
    SMEPILOT_TRY(begin(tasks));
    SMEPILOT_TRY(look_beside());
    SMEPILOT_TRY(load_known(tasks));

    const Roofline roofline = make_roofline();
    const std::vector<uint32_t> workers = worker_counts(platform_);
    start_s_ = wall_s();
    for (size_t i = 0; i < tasks.size(); ++i) {
      if (is_set(options_.cancel)) {
        result_.cancelled = true;
        break;
      }
      report_progress(i, tasks.size(), describe(tasks[i].shape));
      OperatorResult r;
      r.task = tasks[i];
      SMEPILOT_ASSIGN(r.space, make_search_space(tasks[i].shape, isa_, workers, platform_.cores,
                                                 {platform_.matrix_units, &roofline}));
      price_space(r.space, roofline);
      prune_space(r.space, options_.prune);
      if (options_.replay != nullptr && strategy_->measures()) close_unrecorded(r.space);
      SMEPILOT_TRY(decide(r, share_of_budget(tasks.size() - i)));
      if (is_set(options_.cancel) && !r.decision.finished) result_.cancelled = true;
      result_.measured += r.measured;
      result_.reused += r.reused;
      result_.repeated += r.repeated;
      result_.operators.push_back(std::move(r));
    }
    if (options_.replay == nullptr) {
      SMEPILOT_TRY(continue_races(tasks.size()));
      SMEPILOT_TRY(decide_again(tasks.size()));
    }
    if (strategy_->measures()) SMEPILOT_TRY(meet_again(tasks.size()));
    result_.unfinished = unfinished();
    for (const OperatorResult& r : result_.operators) result_.disturbed += r.disturbed > kDisturbed ? 1 : 0;
    SMEPILOT_TRY(look_beside());
    report_progress(result_.operators.size(), tasks.size(), "");
    result_.seconds = wall_s() - start_s_;
    const bool whole = result_.unfinished == 0 && result_.operators.size() == tasks.size() && !result_.cancelled;
    SMEPILOT_TRY(store_.finish_search(result_.search.id, whole ? SearchState::kDone : SearchState::kStopped));
    result_.search.state = whole ? SearchState::kDone : SearchState::kStopped;
    return std::move(result_);
  }

 private:
  Status keep_roles(std::vector<OperatorTask>& tasks) const {
    for (const std::string& role : options_.roles) {
      const auto has = [&](const OperatorTask& t) {
        return std::any_of(t.uses.begin(), t.uses.end(), [&](const OperatorTask::Use& u) { return u.role == role; });
      };
      if (std::any_of(tasks.begin(), tasks.end(), has)) continue;
      std::set<std::string> known;
      for (const OperatorTask& t : tasks)
        for (const OperatorTask::Use& u : t.uses) known.insert(u.role);
      return error("model {} has no operator '{}' here; it has {}", model_.name, role, fmt::join(known, ", "));
    }
    if (options_.roles.empty()) return {};
    std::erase_if(tasks, [&](const OperatorTask& t) {
      return std::none_of(t.uses.begin(), t.uses.end(), [&](const OperatorTask::Use& u) {
        return std::find(options_.roles.begin(), options_.roles.end(), u.role) != options_.roles.end();
      });
    });
    return {};
  }

  static bool has_samples(const Measurement& m, const OperatorShape& shape) {
    return !m.samples_ns.empty() && describe(m.shape) == describe(shape);
  }

  Status keep_recorded(std::vector<OperatorTask>& tasks) const {
    std::erase_if(tasks, [&](const OperatorTask& t) {
      return std::none_of(options_.replay->begin(), options_.replay->end(),
                          [&](const Measurement& m) { return has_samples(m, t.shape); });
    });
    if (tasks.empty())
      return error("the recording has no samples of any operator of model {} at these M and contexts", model_.name);
    return {};
  }

  // What was never run cannot be replayed; the default stays, for it is what a decision falls back to.
  void close_unrecorded(SearchSpace& space) const {
    for (SpaceEntry& e : space.entries) {
      const bool open = e.status == MeasurementStatus::kOk || e.status == MeasurementStatus::kPruned;
      if (!open || e.is_default) continue;
      const bool recorded = std::any_of(known_.begin(), known_.end(), [&](const Measurement& m) {
        return m.candidate == e.candidate && describe(m.shape) == describe(space.shape);
      });
      if (recorded) continue;
      e.status = MeasurementStatus::kRefused;
      e.reason = "not in the recording";
    }
  }

  // Continues an interrupted search of the same kind by the same build, with the calibration it began with (so that it
  // decides as it would have), or begins one.
  Status begin(const std::vector<OperatorTask>& tasks) {
    std::vector<SearchOperator> operators;
    for (const OperatorTask& t : tasks)
      for (const OperatorTask::Use& u : t.uses) operators.push_back({u.role, t.shape, u.calls, 0});
    const std::string wanted = options_.to_json();
    SMEPILOT_ASSIGN(SearchClaims claims, SearchClaims::open(db_.path()));
    result_.claims = std::make_shared<SearchClaims>(std::move(claims));
    SMEPILOT_TRY(result_.claims->take_turn());
    if (!options_.fresh && options_.replay == nullptr) {
      SMEPILOT_ASSIGN(const std::vector<Search> searches,
                      store_.find_searches(platform_.fingerprint(), model_.hash(), hash_));
      SessionStore sessions(db_);
      CalibrationStore calibrations(db_);
      for (const Search& s : searches) {
        if (s.state == SearchState::kDone || s.planner != options_.strategy || s.options_json != wanted) continue;
        SMEPILOT_ASSIGN(const std::optional<SessionRow> session, sessions.get(s.session_id));
        if (!session || session->revision != build_info().revision) continue;
        if (s.calibration_id != calibration_.id) {
          SMEPILOT_ASSIGN(std::optional<Calibration> old, calibrations.get(s.calibration_id));
          if (!old) continue;
          calibration_ = std::move(*old);
        }
        SMEPILOT_TRY(claim(s.id));
        SMEPILOT_TRY(store_.resume_search(s.id, operators));
        result_.claims->end_turn();
        result_.search = s;
        result_.search.state = SearchState::kRunning;
        result_.resumed = true;
        return {};
      }
    }
    SMEPILOT_ASSIGN(const int64_t model_id, store_.model_id(model_));
    Search s;
    s.session_id = session_id_;
    s.model_id = model_id;
    s.calibration_id = calibration_.id;
    s.planner = options_.strategy;
    s.variant_set_hash = hash_;
    s.budget_s = options_.budget_s;
    s.options_json = wanted;
    SMEPILOT_ASSIGN(result_.search, store_.begin_search(s, operators));
    SMEPILOT_TRY(claim(result_.search.id));
    result_.claims->end_turn();
    return {};
  }

  // Of a search that is to be continued, or was just begun.
  Status claim(int64_t id) {
    SMEPILOT_ASSIGN(const std::optional<int64_t> holder, result_.claims->claim(id));
    if (!holder) return {};
    return error(
        "{}: search {} of model {} is being run by {}: wait until it has ended, or give --fresh for a search of its "
        "own",
        db_.path(), id, model_.name, process_name(*holder));
  }

  // Whether another process measures for the same database now.
  Status look_beside() {
    SMEPILOT_ASSIGN(const std::optional<int64_t> other, result_.claims->other());
    if (!result_.beside) result_.beside = other;
    return {};
  }

  // Measurements by this very build: another one's kernels may have other speeds under the same names.
  Status load_known(const std::vector<OperatorTask>& tasks) {
    if (options_.replay != nullptr) {
      known_ = *options_.replay;
      std::erase_if(known_, [](const Measurement& m) { return !was_run(m.status); });
      return {};
    }
    if (options_.fresh) return {};
    std::vector<OperatorShape> shapes;
    for (const OperatorTask& t : tasks) shapes.push_back(t.shape);
    SMEPILOT_ASSIGN(known_, store_.known(platform_.fingerprint(), hash_, shapes));
    std::erase_if(known_,
                  [](const Measurement& m) { return m.revision != build_info().revision || !was_run(m.status); });
    return {};
  }

  Roofline make_roofline() const {
    RooflineOptions o;
    for (const MatrixShape& m : model_.matrices)
      o.resident_bytes += uint64_t{m.count} * file_bytes(m.dtype, size_t{m.n} * m.k);
    return Roofline(calibration_, platform_, o);
  }

  double left_of_budget() const { return options_.budget_s - (wall_s() - start_s_); }

  // Most operators need less than an even share of what is left: one may take more.
  double share_of_budget(size_t operators) const {
    constexpr double kShare = 2.5;
    const double left = left_of_budget();
    return std::max(std::min(left, kShare * left / static_cast<double>(operators)), 0.0);
  }

  size_t unfinished() const {
    return static_cast<size_t>(std::count_if(result_.operators.begin(), result_.operators.end(),
                                             [](const OperatorResult& r) { return !r.decision.finished; }));
  }

  // Races that their share cut short go on, from the samples they have, with what the others have left of the budget.
  Status continue_races(size_t tasks) {
    constexpr double kLeast_s = 0.2;
    constexpr int kPasses = 3;
    for (int pass = 0; pass < kPasses && result_.operators.size() == tasks; ++pass) {
      size_t open = unfinished();
      if (open == 0 || left_of_budget() < kLeast_s) return {};
      for (OperatorResult& r : result_.operators) {
        if (r.decision.finished) continue;
        if (is_set(options_.cancel)) {
          result_.cancelled = true;
          return {};
        }
        report_progress(tasks - open, tasks, describe(r.task.shape) + ", again");
        const size_t measured = r.measured, reused = r.reused;
        SMEPILOT_TRY(decide(r, share_of_budget(open--)));
        result_.measured += r.measured;
        r.measured += measured;
        r.reused = reused;
        if (is_set(options_.cancel) && !r.decision.finished) result_.cancelled = true;
      }
    }
    return {};
  }

  // Decides, with the samples of earlier searches and of an earlier time in this one.
  Status decide(OperatorResult& r, double share_s) {
    const std::vector<Measurement> known = known_of(r.task.shape);
    const bool live = strategy_->measures() && options_.replay == nullptr;
    StrategyOptions rules = options_.rules;
    const bool raced = std::any_of(known.begin(), known.end(), [&](const Measurement& m) {
      return m.samples_ns.size() >= 2 * size_t{rules.min_rounds};  // two a round
    });
    RecordedEvaluator log(live ? evaluator_ : nullptr, r.task, known, options_.replay != nullptr && raced);
    rules.cancel = options_.cancel;
    rules.tie = decision_noise(calibration_, options_.rules.tie);
    rules.deadline_s = log.now_s() + share_s;
    rules.checkpoint = [&] { return save_changed(r, log); };
    const Evaluator::Disturbance before = log.disturbance();
    SMEPILOT_ASSIGN(r.decision, strategy_->decide(r.space, log, rules));
    const Evaluator::Disturbance after = log.disturbance();
    const size_t samples = after.samples - before.samples, disturbed = after.disturbed - before.disturbed;
    r.disturbed = samples == 0 ? r.disturbed : static_cast<double>(disturbed) / static_cast<double>(samples);
    if (!log.live_error().ok()) {  // cannot be run at all, today or later
      r.decision.why = log.live_error().message();
      r.decision.finished = true;
    }
    SMEPILOT_TRY(save_changed(r, log));
    r.measured = log.measured();
    r.reused = log.reused();
    r.repeated = log.repeated();
    r.entry_ns.clear();
    for (const SpaceEntry& e : r.space.entries) {
      const RecordedEvaluator::Record* record = log.find(e.candidate);
      const bool timed = record != nullptr && record->status == MeasurementStatus::kOk && !record->samples_ns.empty();
      r.entry_ns.push_back(timed ? median(record->samples_ns) : 0);
    }
    const auto given = [&](size_t entry) {
      const RecordedEvaluator::Record* record = log.find(r.space.entries[entry].candidate);
      return record == nullptr ? 0 : record->given;
    };
    r.given_chosen = given(r.decision.chosen);
    r.given_default = given(r.space.default_index);
    keep_known(r, log);
    return r.decision.finished ? save_outcomes(r, log) : Status();
  }

  // Decisions that rest on samples taken while something else used the machine are taken again, from new samples alone,
  // now that it may be over. A search that ran in a quiet hour would have had those.
  Status decide_again(size_t tasks) {
    const auto again = [](const OperatorResult& r) { return r.decision.finished && r.disturbed > kDisturbed; };
    auto left = static_cast<size_t>(std::count_if(result_.operators.begin(), result_.operators.end(), again));
    for (OperatorResult& r : result_.operators) {
      if (!again(r)) continue;
      if (is_set(options_.cancel) || left_of_budget() <= 0) break;
      report_progress(tasks, tasks, describe(r.task.shape) + ", again undisturbed");
      const auto of_shape = [&](const Measurement& m) { return describe(m.shape) == describe(r.task.shape); };
      std::vector<Measurement> before = known_of(r.task.shape);
      std::erase_if(known_, of_shape);
      OperatorResult fresh;
      fresh.task = r.task;
      fresh.space = r.space;
      fresh.again = true;
      SMEPILOT_TRY(decide(fresh, share_of_budget(left--)));
      result_.measured += fresh.measured;
      if (fresh.decision.finished) {
        fresh.measured += r.measured;
        fresh.reused += r.reused;
        r = std::move(fresh);
        ++result_.decided_again;
      } else {  // there was no time for it
        r.measured += fresh.measured;
        std::erase_if(known_, of_shape);
        known_.insert(known_.end(), std::make_move_iterator(before.begin()), std::make_move_iterator(before.end()));
      }
    }
    result_.cancelled = result_.cancelled || is_set(options_.cancel);
    return {};
  }

  // What was chosen in place of a default meets it once more, now that all else is decided: whatever disturbed the
  // machine for the seconds of that decision (another program on one of the cores, the host of a virtual machine) made
  // two worker counts look alike, for instance, and is likely to be over.
  Status meet_again(size_t tasks) {
    constexpr unsigned kRounds = 8;
    for (OperatorResult& r : result_.operators) {
      const size_t def = r.space.default_index, chosen = r.decision.chosen;
      if (!r.decision.finished || chosen == def || r.decision.outcomes[def].status != MeasurementStatus::kOk) continue;
      if (is_set(options_.cancel) || left_of_budget() <= 0) break;
      report_progress(tasks, tasks, describe(r.task.shape) + ", once more");
      RecordedEvaluator log(options_.replay == nullptr ? evaluator_ : nullptr, r.task, known_of(r.space.shape));
      log.skip(r.chosen().candidate, r.given_chosen);
      log.skip(r.space.entries[def].candidate, r.given_default);
      StrategyOptions rules = options_.rules;
      rules.cancel = options_.cancel;
      rules.deadline_s = log.now_s() + left_of_budget();
      std::vector<Lane> pair = {{def, {}, true, ""}, {chosen, {}, true, ""}};
      SMEPILOT_ASSIGN(const RaceEnd end, run_race(r.space, log, rules, {kRounds, kRounds, Drop::kNobody}, pair));
      SMEPILOT_TRY(save_changed(r, log));
      r.measured += log.measured();
      r.reused += log.reused();
      result_.measured += log.measured();
      result_.reused += log.reused();
      if (end != RaceEnd::kDone) continue;
      const PairedRatio now = paired_ratio(pair[1].rounds, pair[0].rounds);
      if (!(now.interval.low > 1 && now.estimate > 1 + decision_noise(calibration_, options_.rules.tie))) continue;
      r.decision.why = fmt::format(
          "{} was chosen, but took {:.3f}x the time of the default when they met again later (interval {:.3f} to "
          "{:.3f}): the default",
          describe(r.chosen().candidate), now.estimate, now.interval.low, now.interval.high);
      r.decision.outcomes[chosen].reason = r.decision.why;
      r.decision.chosen = def;
      r.decision.verdict = Verdict::kDefault;
      r.decision.chosen_ns = r.decision.default_ns = pair[0].median_ns();
      r.decision.ratio = {1, 1};
    }
    result_.cancelled = result_.cancelled || is_set(options_.cancel);
    return {};
  }

  std::vector<Measurement> known_of(const OperatorShape& shape) const {
    std::vector<Measurement> known;
    for (const Measurement& m : known_)
      if (describe(m.shape) == describe(shape)) known.push_back(m);
    return known;
  }

  // What was sampled for an operator takes the place of what was known of it.
  void keep_known(const OperatorResult& r, const RecordedEvaluator& log) {
    for (const SpaceEntry& e : r.space.entries) {
      const RecordedEvaluator::Record* record = log.find(e.candidate);
      if (record == nullptr || !was_run(record->status)) continue;
      std::erase_if(known_, [&](const Measurement& m) {
        return m.candidate == e.candidate && describe(m.shape) == describe(r.space.shape);
      });
      known_.push_back(row(r, e));
      fill(known_.back(), *record);
    }
  }

  Measurement row(const OperatorResult& r, const SpaceEntry& e) const {
    Measurement m;
    m.search_id = result_.search.id;
    m.shape = r.space.shape;
    m.candidate = e.candidate;
    m.predicted_ns = e.predicted_ns;
    m.is_default = e.is_default;
    return m;
  }

  static void fill(Measurement& m, const RecordedEvaluator::Record& record) {
    m.status = record.status;
    m.reason = record.reason;
    m.samples_ns = record.samples_ns;
    if (m.status != MeasurementStatus::kOk || m.samples_ns.empty()) return;
    m.median_ns = median(m.samples_ns);
    const Interval ci = sign_interval(m.samples_ns);
    m.ci_low_ns = ci.low;
    m.ci_high_ns = ci.high;
  }

  static const SpaceEntry* entry_of(const SearchSpace& space, const Candidate& c) {
    const auto it =
        std::find_if(space.entries.begin(), space.entries.end(), [&](const SpaceEntry& e) { return e.candidate == c; });
    return it == space.entries.end() ? nullptr : &*it;
  }

  // What was sampled since the last call: nothing is lost from here on.
  Status save_changed(const OperatorResult& r, RecordedEvaluator& log) {
    std::vector<Measurement> rows;
    for (const RecordedEvaluator::Record* record : log.take_changed()) {
      const SpaceEntry* e = entry_of(r.space, record->candidate);
      if (e == nullptr || (record->status == MeasurementStatus::kOk && record->samples_ns.empty())) continue;
      Measurement m = row(r, *e);
      fill(m, *record);
      rows.push_back(std::move(m));
    }
    return rows.empty() ? Status() : store_.record_all(rows);
  }

  // Everything else about the candidates: why those that ran were dropped, and why the others never ran.
  Status save_outcomes(const OperatorResult& r, const RecordedEvaluator& log) {
    std::vector<Measurement> rows;
    for (size_t i = 0; i < r.space.entries.size(); ++i) {
      const SpaceEntry& e = r.space.entries[i];
      const Outcome& o = r.decision.outcomes[i];
      const RecordedEvaluator::Record* record = log.find(e.candidate);
      const bool ran = record != nullptr && (record->status != MeasurementStatus::kOk || !record->samples_ns.empty());
      if (ran && !record->fresh) continue;  // stored already, by this search or an older one
      Measurement m = row(r, e);
      if (ran) {
        fill(m, *record);
        if (m.status == MeasurementStatus::kOk) m.reason = o.reason;
      } else {
        m.status = o.status == MeasurementStatus::kOk ? MeasurementStatus::kPruned : o.status;
        m.reason = o.reason.empty() ? "not needed for the decision" : o.reason;
      }
      rows.push_back(std::move(m));
    }
    if (r.again) return store_.replace_all(result_.search.id, r.space.shape, rows);
    return rows.empty() ? Status() : store_.record_all(rows);
  }

  void report_progress(size_t done, size_t total, std::string label) {
    if (!options_.progress) return;
    options_.progress(
        {done, total, std::move(label), wall_s() - start_s_, options_.budget_s, result_.measured, result_.reused});
  }

  Database& db_;
  MeasurementStore store_;
  int64_t session_id_;
  const Platform& platform_;
  Calibration calibration_;
  const ModelShape& model_;
  Evaluator* evaluator_;
  const SearchOptions& options_;
  IsaSet isa_ = 0;
  std::string hash_;
  std::unique_ptr<Strategy> strategy_;
  std::vector<Measurement> known_;
  SearchResult result_;
  double start_s_ = 0;
};

}  // namespace

std::string SearchOptions::to_json() const {
  std::vector<std::string> quoted;
  for (const std::string& role : roles) quoted.push_back('"' + role + '"');
  return fmt::format(
      R"({{"contexts":[{}],"duel_rounds":{},"max_rounds":{},"min_rounds":{},"ms":[{}],"prune_factor":{},"roles":[{}],"tie":{},"variant_factor":{}}})",
      fmt::join(contexts, ","), rules.duel_rounds, rules.max_rounds, rules.min_rounds, fmt::join(ms, ","), prune.factor,
      fmt::join(quoted, ","), rules.tie, prune.variant_factor);
}

double decision_noise(const Calibration& calibration, double tie) noexcept {
  return std::clamp(calibration.noise_floor, tie, 2 * tie);
}

Result<SearchResult> run_search(Database& db, int64_t session_id, const Platform& platform,
                                const Calibration& calibration, const ModelShape& model, Evaluator* evaluator,
                                const SearchOptions& options) {
  return SearchRun(db, session_id, platform, calibration, model, evaluator, options).run();
}

}  // namespace smepilot
