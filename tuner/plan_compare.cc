#include "tuner/plan_compare.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/base/text.h"
#include "tuner/chain_choice.h"
#include "tuner/plan_text.h"

namespace smepilot {
namespace {

Result<Candidate> decision(const Plan* plan, const OperatorShape& shape, unsigned workers) {
  if (plan != nullptr)
    if (const PlanEntry* e = plan->find(shape)) return candidate_of(*e);
  SMEPILOT_ASSIGN(const PlanEntry e, default_entry(shape, workers));
  return candidate_of(e);
}

// Both candidates on the same operands, in turns.
Status time_difference(const OperatorTask& task, Evaluator& evaluator, const LayerRules& rules, PlanDifference& d) {
  SMEPILOT_TRY(evaluator.prepare(task));
  for (const Candidate* c : {&d.first, &d.second}) {
    const CheckResult r = evaluator.check(*c);
    if (r.status == MeasurementStatus::kOk) continue;
    d.failed = fmt::format("{}: {}", describe(*c), r.reason);
    return {};
  }
  bool ended = false;
  const auto run = [&](bool chosen) {
    const std::optional<double> ns = evaluator.sample(chosen ? d.second : d.first);
    ended = ended || !ns;
    return ns.value_or(1);
  };
  LayerRules moving = rules;
  moving.begin_round = [&] { evaluator.begin_round(); };
  Alternation times = alternate(run, moving, describe(d.shape));
  if (!ended) d.times = std::move(times);
  return {};
}

std::string ratio_text(const Alternation& t) {
  return fmt::format("{:.3f}x the time (interval {:.3f} to {:.3f})", t.ratio.estimate, t.ratio.interval.low,
                     t.ratio.interval.high);
}

}  // namespace

ComparedSizes compared_sizes(const Plan& first, const Plan* second, const ModelShape& model) {
  ComparedSizes sizes;
  for (const Plan* plan : {&first, second}) {
    if (plan == nullptr) continue;
    for (const PlanEntry& e : plan->entries) {
      if (e.measured_m != 0) sizes.ms.push_back(e.measured_m);
      if (e.measured_kv != 0) sizes.contexts.push_back(e.measured_kv);
    }
  }
  const SearchOptions usual;
  if (sizes.ms.empty()) sizes.ms = usual.ms;
  if (sizes.contexts.empty()) sizes.contexts = usual.contexts;
  if (model.context > 0)
    for (uint32_t& c : sizes.contexts) c = std::min(c, model.context);
  for (auto* v : {&sizes.ms, &sizes.contexts}) {
    std::sort(v->begin(), v->end());
    v->erase(std::unique(v->begin(), v->end()), v->end());
  }
  return sizes;
}

Result<PlanComparison> compare_plans(const Plan& first, const Plan* second, const ModelShape& model, unsigned workers,
                                     const ComparedSizes& sizes, Evaluator* evaluator, const TimeLayer& time_layer,
                                     const LayerRules& rules) {
  PlanComparison out;
  const std::vector<OperatorTask> tasks = operator_tasks(model, sizes.ms, sizes.contexts);
  std::vector<const OperatorTask*> differing;
  for (const OperatorTask& t : tasks) {
    PlanDifference d;
    d.roles = t.roles();
    d.shape = t.shape;
    SMEPILOT_ASSIGN(d.first, decision(&first, t.shape, workers));
    SMEPILOT_ASSIGN(d.second, decision(second, t.shape, workers));
    ++out.decisions;
    if (d.first == d.second) continue;
    out.differences.push_back(std::move(d));
    differing.push_back(&t);
  }
  for (size_t i = 0; evaluator != nullptr && i < differing.size(); ++i) {
    if (is_set(rules.cancel)) break;
    LayerRules one = rules;
    if (rules.progress)
      one.progress = [&](double fraction, std::string_view label) {
        rules.progress((static_cast<double>(i) + fraction) / static_cast<double>(differing.size() + 1), label);
      };
    SMEPILOT_TRY(time_difference(*differing[i], *evaluator, one, out.differences[i]));
  }
  for (const LayerPass& p : confirmed_passes(sizes.ms, sizes.contexts)) {
    if (!time_layer || is_set(rules.cancel)) break;
    LayerTime t = layer_time_of(p);
    std::vector<LayerOperator> operators = layer_operators(model, p.pass, p.m, p.kv_len);
    for (LayerOperator& o : operators) {
      SMEPILOT_ASSIGN(o.other, decision(&first, o.shape, workers));
      SMEPILOT_ASSIGN(o.chosen, decision(second, o.shape, workers));
      t.same = t.same && o.chosen == o.other;
      const auto task = std::find_if(tasks.begin(), tasks.end(),
                                     [&](const OperatorTask& k) { return describe(k.shape) == describe(o.shape); });
      o.pass_bytes = task == tasks.end() ? 0 : task->pass_bytes;
    }
    if (operators.empty()) continue;
    if (!t.same) {
      std::optional<Alternation> times = time_layer(p, operators);
      if (!times) continue;
      t.times = std::move(*times);
    }
    out.layers.push_back(std::move(t));
  }
  out.cancelled = is_set(rules.cancel);
  return out;
}

std::string comparison_text(const PlanComparison& c, const std::string& first, const std::string& second,
                            double noise) {
  size_t within = 0, beyond = 0, untimed = 0;
  std::string list;
  for (const PlanDifference& d : c.differences) {
    const bool timed = d.times.rounds() > 0, worth = d.beyond_noise(noise);
    (!timed ? untimed : worth ? beyond : within) += 1;
    list += "  " +
            wrap(fmt::format("{} {}, {}{}", worth ? "*" : " ", shorten(d.roles, 30), describe(d.shape),
                             timed              ? ": " + ratio_text(d.times)
                             : d.failed.empty() ? ""
                                                : ": not timed, " + d.failed),
                 78, 6) +
            "\n";
    for (const auto& [name, candidate] : {std::pair(&first, &d.first), {&second, &d.second}})
      list += "      " + wrap(fmt::format("{}: {}", *name, short_choice(*candidate)), 74, 8) + "\n";
  }
  std::string out = fmt::format("{} decisions, {} alike", c.decisions, c.decisions - c.differences.size());
  if (within + beyond > 0)
    out += fmt::format(", {} differ within the noise of {:.1f} %, {} by more (*)", within, 100 * noise, beyond);
  if (untimed > 0) out += fmt::format(", {} differ and {} not timed", untimed, untimed == 1 ? "was" : "were");
  out += "\n";
  if (!list.empty()) out += fmt::format("\nTimes of {} by those of {}, measured in turns:\n{}", second, first, list);
  if (!c.layers.empty()) out += "\nOne layer, timed operator after operator with packing between them:\n";
  for (const LayerTime& t : c.layers)
    out += "  " +
           wrap(t.same ? fmt::format("{}: every operator alike", t.name)
                       : fmt::format("{}: {} {}, {} {}, {}", t.name, first, format_ns(t.times.other_ns), second,
                                     format_ns(t.times.chosen_ns), ratio_text(t.times)),
                78, 4) +
           "\n";
  return out;
}

}  // namespace smepilot
