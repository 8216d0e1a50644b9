#include "engine/adaptation.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "db/execution.h"
#include "kernels/base/text.h"
#include "kernels/driver/trace.h"
#include "profiles/matrix_units.h"

namespace smepilot {
namespace {

constexpr size_t kMostRecords = 1000;
constexpr uint64_t kWatchCoresEvery = 4;  // calls

double work_of(const MatmulCall& call) noexcept {
  return static_cast<double>(call.lhs.m) * call.rhs->n * call.rhs->k;
}
uint32_t divided_size(const MatmulCall& call) noexcept {
  return call.config.coop.dim == SplitDim::kM ? call.lhs.m : call.rhs->n;
}
bool is_coop(const MatmulCall& call) noexcept {
  return call.config.mode == ExecutionMode::kCoop;
}
uint32_t octave_of(uint32_t rows) noexcept {
  return static_cast<uint32_t>(std::bit_width(std::max(rows, 1u) - 1));
}

// What the plan says of an operator, and how far it may be moved.
struct Home {
  AdaptSetting setting;
  AdaptLimits limits;
};

Home home_of(std::span<const MatmulCall> calls, unsigned workers) {
  Home home;
  double work = 0, given = 0;
  uint32_t together = 1, apart = 1;
  home.limits.alone = true;
  home.limits.cpu_workers = workers;
  for (const MatmulCall& call : calls) {
    together = std::max<uint32_t>(together, call.config.workers);
    if (!is_coop(call)) {
      home.limits.alone = false;
      continue;
    }
    const CoopShare& coop = call.config.coop;
    const double size = divided_size(call), panel = kPanel / size;
    home.setting.mode = ExecutionMode::kCoop;
    home.setting.dynamic = home.setting.dynamic || coop.dynamic;
    home.limits.dynamic = true;
    home.limits.min_share = std::max(home.limits.min_share, std::min(panel, 0.5));
    home.limits.matrix_workers = coop.workers;
    apart = std::max<uint32_t>(apart, coop.workers + call.config.workers);
    work += work_of(call);
    given += work_of(call) * coop.split / size;
  }
  home.limits.max_share = 1 - home.limits.min_share;
  if (home.setting.mode == ExecutionMode::kCoop) {
    home.setting.share = work > 0 ? given / work : 0;
    home.setting.workers = apart;
  } else {
    home.setting.mode = calls[0].config.mode;
    home.setting.workers = std::min<uint32_t>(together, workers);
  }
  return home;
}

// A call of the plan's configuration, executed as `setting` says.
void apply(const AdaptSetting& setting, MatmulCall& call) noexcept {
  MatmulConfig& c = call.config;
  if (!is_coop(call)) {
    if (setting.mode != ExecutionMode::kCoop)
      c.workers = static_cast<uint16_t>(std::min<uint32_t>(c.workers, setting.workers));
    return;
  }
  switch (setting.mode) {
    case ExecutionMode::kCoop:
      c.coop.split = round_split(setting.share, divided_size(call));
      c.coop.dynamic = setting.dynamic;
      return;
    case ExecutionMode::kMatrix:
      c.variant = c.coop.variant;
      c.mc = c.coop.mc;
      c.nc = c.coop.nc;
      break;
    case ExecutionMode::kCpu: break;
  }
  c.mode = setting.mode;
  c.workers = static_cast<uint16_t>(setting.workers);
}

std::string setting_json(const AdaptSetting& s) {
  return fmt::format(R"({{"mode": "{}", "share": {:.4f}, "workers": {}, "dynamic": {}}})",
                     kModeNames[static_cast<size_t>(s.mode)], s.share, s.workers, s.dynamic);
}
std::string rates_json(const AdaptRates& r) {
  return fmt::format(R"({{"matrix": {:.3f}, "vector": {:.3f}, "whole": {:.3f}}})", 2 * r.matrix, 2 * r.vector,
                     2 * r.whole);
}
std::string rates_text(const AdaptRates& r) {
  std::string text = fmt::format("{:.1f}", 2 * r.whole);
  if (r.matrix > 0) text += fmt::format(" (matrix unit {:.1f}, cores {:.1f})", 2 * r.matrix, 2 * r.vector);
  return text;
}

}  // namespace

std::string describe(const AdaptRecord& r) {
  const AdaptEvent& e = r.event;
  if (r.place) {
    const AdaptedPlace& p = *r.place;
    return fmt::format(
        "step {}: worker {} goes to CPU {}, worker {} to CPU {}: they had {:.0f} and {:.0f} % of their cores", r.step,
        p.swap.a, p.cpu_b, p.swap.b, p.cpu_a, 100 * p.swap.share_a, 100 * p.swap.share_b);
  }
  const std::string rates =
      r.elementwise ? "" : fmt::format("GOP/s {} -> {}; ", rates_text(e.before), rates_text(e.after));
  return fmt::format("step {}, {} m={}: {} -> {}{}: {}; {}{:.1f} ± {:.1f} % less time in {} pairs of calls", r.step,
                     r.role, r.m, describe(e.from), describe(e.to), e.changed ? "" : " tried, not taken",
                     adapt_reason_name(e.reason), rates, 100 * e.saved, 100 * e.error, e.pairs);
}

std::string to_json(const AdaptRecord& r) {
  const AdaptEvent& e = r.event;
  if (r.place) {
    const AdaptedPlace& p = *r.place;
    return fmt::format(
        R"({{"step": {}, "change": {}, "workers": [{}, {}], "from_cpus": [{}, {}], "to_cpus": [{}, {}], )"
        R"("core_shares": [{:.4f}, {:.4f}]}})",
        r.step, r.number, p.swap.a, p.swap.b, p.cpu_a, p.cpu_b, p.cpu_b, p.cpu_a, p.swap.share_a, p.swap.share_b);
  }
  return fmt::format(
      R"({{"step": {}, "change": {}, "operator": "{}", "m": {}, "changed": {}, "from": {}, "to": {}, "reason": "{}", )"
      R"("gops_before": {}, "gops_after": {}, "saved": {:.5f}, "error": {:.5f}, "pairs": {}}})",
      r.step, r.number, json_escape(r.role), r.m, e.changed, setting_json(e.from), setting_json(e.to),
      adapt_reason_name(e.reason), r.elementwise ? "null" : rates_json(e.before),
      r.elementwise ? "null" : rates_json(e.after), e.saved, e.error, e.pairs);
}

bool exchangeable(const Platform& platform, int cpu_a, int cpu_b) {
  const auto together = [&](const std::vector<int>& cpus) {
    return std::find(cpus.begin(), cpus.end(), cpu_a) != cpus.end() &&
           std::find(cpus.begin(), cpus.end(), cpu_b) != cpus.end();
  };
  const auto alike = [&](const CoreClass& c) { return together(c.cpus); };
  if (std::none_of(platform.core_classes.begin(), platform.core_classes.end(), alike)) return false;
  if (is_testbed(platform) || platform.matrix_units == 0 || platform.matrix_units >= platform.cores) return true;
  return std::any_of(platform.unit_cpus.begin(), platform.unit_cpus.end(), together);
}

Adaptation::Adaptation(WorkerPool& pool, Log log, const Platform* platform, const AdaptPolicy& policy)
    : pool_(&pool),
      workers_(pool.size()),
      log_(std::move(log)),
      platform_(pool.cpus().size() == pool.size() && pool.size() > 1 ? platform : nullptr),
      policy_(policy),
      placement_(pool.size(), policy),
      time_(pool.size()) {}

AdaptedOperator& Adaptation::find(const char* role, std::span<const MatmulCall> calls, uint32_t rows) {
  const auto shape = [](const MatmulCall& c) { return AdaptedShape{c.rhs->dtype, c.rhs->n, c.rhs->k}; };
  const uint32_t octave = octave_of(rows);
  const Home home = home_of(calls, workers_);
  // By the first and the last: experts are alike, and layers differ in the types of whole matrices at most.
  for (const auto& o : operators_)
    if (!o->attention && !o->shapes.empty() && o->octave == octave && o->mode == home.setting.mode && o->role == role &&
        o->shapes.front() == shape(calls.front()) && o->shapes.back() == shape(calls.back()))
      return *o;
  auto made = std::make_unique<AdaptedOperator>(AdaptedOperator{role,
                                                                false,
                                                                home.setting.mode,
                                                                octave,
                                                                {},
                                                                UINT32_MAX,
                                                                0,
                                                                0,
                                                                0,
                                                                0,
                                                                0,
                                                                0,
                                                                {},
                                                                AdaptController(home.setting, home.limits, policy_),
                                                                {}});
  for (const MatmulCall& call : calls)
    if (std::find(made->shapes.begin(), made->shapes.end(), shape(call)) == made->shapes.end() ||
        &call == &calls.back())
      made->shapes.push_back(shape(call));
  operators_.push_back(std::move(made));
  return *operators_.back();
}

void Adaptation::begin(AdaptedOperator& o, uint32_t rows) noexcept {
  under_way_ = &o;
  m_ = rows;
  o.m_min = std::min(o.m_min, rows);
  o.m_max = std::max(o.m_max, rows);
  time_.forget();
}

unsigned Adaptation::configure(const char* role, unsigned workers, uint32_t rows) {
  const uint32_t octave = octave_of(rows);
  auto found = std::find_if(operators_.begin(), operators_.end(), [&](const auto& o) {
    return !o->attention && o->shapes.empty() && o->octave == octave && o->role == role;
  });
  if (found == operators_.end()) {
    const AdaptSetting home{ExecutionMode::kCpu, 0, workers};
    found =
        operators_.insert(found, std::make_unique<AdaptedOperator>(AdaptedOperator{role,
                                                                                   false,
                                                                                   ExecutionMode::kCpu,
                                                                                   octave,
                                                                                   {},
                                                                                   UINT32_MAX,
                                                                                   0,
                                                                                   0,
                                                                                   0,
                                                                                   0,
                                                                                   0,
                                                                                   0,
                                                                                   {},
                                                                                   AdaptController(home, {}, policy_),
                                                                                   {}}));
  }
  begin(**found, rows);
  work_ = rows;
  return std::min<unsigned>(workers, (*found)->controller.next().workers);
}

std::span<const MatmulCall> Adaptation::configure(const char* role, std::span<const MatmulCall> calls) {
  uint32_t rows = 0;
  work_ = 0;
  for (const MatmulCall& call : calls) {
    rows = calls.size() > 3 ? rows + call.lhs.m : call.lhs.m;
    work_ += work_of(call);
  }
  AdaptedOperator& o = find(role, calls, rows);
  begin(o, rows);
  const AdaptSetting& setting = o.controller.next();
  if (setting == o.controller.home()) return calls;
  calls_.assign(calls.begin(), calls.end());
  for (MatmulCall& call : calls_) apply(setting, call);
  return calls_;
}

AttentionConfig Adaptation::configure(const AttentionConfig& config, std::span<const AttentionSequence> sequences,
                                      uint32_t heads) {
  uint32_t rows = 0, longest = 0;
  work_ = 0;
  for (const AttentionSequence& s : sequences) {
    const uint32_t seen = s.shared_length + s.length + s.m;
    rows += s.m;
    longest = std::max(longest, seen);
    work_ += 2.0 * s.m * (seen - (s.m - 1) / 2.0) * heads * s.own.head_dim;
  }
  const uint32_t octave = octave_of(rows);
  const auto found = std::find_if(operators_.begin(), operators_.end(), [&](const auto& o) {
    return o->attention && o->octave == octave && o->mode == config.mode;
  });
  if (found != operators_.end()) {
    under_way_ = found->get();
  } else {
    // A pipeline's stages are taken by who has time: there is no division to move.
    const AdaptSetting home{config.mode, 0,
                            config.mode == ExecutionMode::kCoop ? uint32_t{config.workers} + config.pipeline.workers
                                                                : std::min<uint32_t>(config.workers, workers_)};
    const KvView& kv = sequences[0].own;
    operators_.push_back(std::make_unique<AdaptedOperator>(AdaptedOperator{"attention",
                                                                           true,
                                                                           config.mode,
                                                                           octave,
                                                                           {{kv.dtype, heads, kv.head_dim}},
                                                                           UINT32_MAX,
                                                                           0,
                                                                           kv.kv_heads,
                                                                           kv.head_dim,
                                                                           0,
                                                                           0,
                                                                           0,
                                                                           {},
                                                                           AdaptController(home, {}, policy_),
                                                                           {}}));
    under_way_ = operators_.back().get();
  }
  AdaptedOperator& o = *under_way_;
  begin(o, rows);
  o.kv_len = std::max(o.kv_len, longest);
  AttentionConfig out = config;
  const AdaptSetting& setting = o.controller.next();
  if (config.mode != ExecutionMode::kCoop)
    out.workers = static_cast<uint16_t>(std::min<uint32_t>(config.workers, setting.workers));
  return out;
}

void Adaptation::executed() {
  if (under_way_ == nullptr || !time_.measured()) return;
  AdaptedOperator& o = *std::exchange(under_way_, nullptr);
  AdaptObservation seen;
  seen.work = work_;
  seen.ns = static_cast<double>(time_.ns());
  seen.waiting = time_.waiting();
  seen.apart = time_.apart() && !o.attention;
  if (seen.apart) {
    const CallTime::Side matrix = time_.side(ExecutionUnit::kMatrix), vector = time_.side(ExecutionUnit::kCpu);
    seen.matrix = {matrix.work, static_cast<double>(matrix.ns)};
    seen.vector = {vector.work, static_cast<double>(vector.ns)};
  }
  o.ns += seen.ns;
  o.work += seen.work;
  if (o.attention && o.mode == ExecutionMode::kCoop)
    for (unsigned w = 0; w < time_.workers(); ++w)
      for (size_t s = 0; s < std::size(o.stage_ns); ++s) o.stage_ns[s] += static_cast<double>(time_[w].stage_ns[s]);
  if (const std::optional<AdaptEvent> event = o.controller.observe(seen)) {
    if (event->changed) {
      o.last_change = *event;
      trace_instant("adapt", o.role.c_str(), event->to.mode, ++changes_);
    }
    note({step_, event->changed ? changes_ : 0, o.role, m_, o.shapes.empty(), *event, {}});
  }
  if (platform_ != nullptr) watch_places();
}

void Adaptation::watch_places() {
  for (unsigned w = 0; w < time_.workers(); ++w)
    if (time_[w].core_share >= 0) placement_.observe(w, time_[w].core_share);
  time_.watch_cores(++measured_ % kWatchCoresEvery == 0);
  const std::span<const int> cpus = pool_->cpus();
  const auto swap =
      placement_.decide([&](unsigned a, unsigned b) { return exchangeable(*platform_, cpus[a], cpus[b]); });
  if (!swap) return;
  const AdaptedPlace place{*swap, cpus[swap->a], cpus[swap->b]};
  if (!pool_->swap_cpus(swap->a, swap->b)) return;
  for (const auto& o : operators_) o->controller.start_over();
  trace_instant("adapt", "workers", ExecutionMode::kCpu, ++changes_);
  note({step_, changes_, "workers", 0, false, {}, place});
}

void Adaptation::note(AdaptRecord record) {
  if (log_) log_(record);
  if (records_.size() == kMostRecords) records_.erase(records_.begin());
  records_.push_back(std::move(record));
}

std::string Adaptation::table() const {
  std::string out = fmt::format("adaptation: {} step{}, {} change{}\n", step_, step_ == 1 ? "" : "s", changes_,
                                changes_ == 1 ? "" : "s");
  for (const auto& o : operators_) {
    const AdaptController& c = o->controller;
    if (c.current() == c.home()) continue;
    out += fmt::format("  {:<14} M {:<9} plan: {}; now: {}, for {} calls\n", o->role, format_range(o->m_min, o->m_max),
                       describe(c.home()), describe(c.current()), c.calls_of_current());
  }
  return out;
}

std::string Adaptation::json() const {
  std::string out = fmt::format("{{\"steps\": {}, \"changes\": {}, \"operators\": [", step_, changes_);
  const char* separator = "\n";
  for (const auto& o : operators_) {
    const AdaptController& c = o->controller;
    out += fmt::format(
        R"({}  {{"operator": "{}", "m_min": {}, "m_max": {}, "calls": {}, "tried_calls": {}, "ns": {:.0f}, "plan": {}, )"
        R"("now": {}, "scores_ns": {:.0f}, "softmax_ns": {:.0f}, "values_ns": {:.0f}}})",
        separator, json_escape(o->role), o->m_min, o->m_max, c.calls(), c.tried_calls(), o->ns, setting_json(c.home()),
        setting_json(c.current()), o->stage_ns[0], o->stage_ns[1], o->stage_ns[2]);
    separator = ",\n";
  }
  out += "\n], \"trials\": [";
  separator = "\n  ";
  for (const AdaptRecord& r : records_) {
    out += separator + to_json(r);
    separator = ",\n  ";
  }
  return out + "\n]}";
}

}  // namespace smepilot
