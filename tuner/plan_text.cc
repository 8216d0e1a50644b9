#include "tuner/plan_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>

#include "kernels/base/text.h"

namespace smepilot {
namespace {

using Align = Table::Align;

// The end of a variant id, which tells those of one operator apart: "matmul.f32.q8.q4_0.16x16.avx512vnni.vpdpbusd" is
// "avx512vnni.vpdpbusd".
std::string short_id(const std::string& id) {
  const size_t last = id.rfind('.');
  if (last == std::string::npos || last == 0) return id;
  const size_t before = id.rfind('.', last - 1);
  return before == std::string::npos ? id : id.substr(before + 1);
}

// The ISA step alone: "avx512vnni".
std::string isa_of(const std::string& id) {
  const std::string end = short_id(id);
  return end.substr(0, end.find('.'));
}

std::string time_or_dash(double ns) {
  return ns > 0 ? format_ns(ns) : "-";
}

const char* status_heading(MeasurementStatus s) noexcept {
  switch (s) {
    case MeasurementStatus::kIncorrect: return "Incorrect";
    case MeasurementStatus::kTimeout: return "Timed out";
    case MeasurementStatus::kCrashed: return "Crashed";
    case MeasurementStatus::kPruned: return "Pruned";
    case MeasurementStatus::kRefused: return "Refused";
    case MeasurementStatus::kUnsupported: return "Unsupported";
    case MeasurementStatus::kConstraint: return "Does not fit the shape";
    case MeasurementStatus::kOk: break;
  }
  return "Measured";
}

std::string measured_part(const Explanation& e, const Candidate* chosen) {
  std::vector<const Measurement*> rows;
  for (const Measurement& m : e.known)
    if (m.status == MeasurementStatus::kOk) rows.push_back(&m);
  if (rows.empty()) return "Nothing was measured for this shape.\n";
  std::stable_sort(rows.begin(), rows.end(), [](const auto* a, const auto* b) { return a->median_ns < b->median_ns; });
  Table t({{""},
           {"predicted", Align::kRight},
           {"measured", Align::kRight},
           {"95 % interval", Align::kRight},
           {"n", Align::kRight},
           {"candidate"}});
  std::string reasons;
  for (const Measurement* m : rows) {
    const bool is_chosen = chosen != nullptr && m->candidate == *chosen;
    std::string mark = is_chosen ? "*" : "";
    if (m->is_default) mark += "d";
    t.add({mark, time_or_dash(m->predicted_ns), format_ns(m->median_ns),
           fmt::format("{} .. {}", format_ns(m->ci_low_ns), format_ns(m->ci_high_ns)),
           fmt::format("{}", m->samples_ns.size()), short_choice(m->candidate)});
    if (!m->reason.empty() && (e.all || is_chosen))
      reasons += "  " + wrap(describe(m->candidate) + ": " + m->reason, 78, 4) + "\n";
  }
  std::string out = fmt::format("Measured ({} candidates; * chosen, d untuned default):\n{}", rows.size(), t.text());
  return reasons.empty() ? out : out + reasons;
}

// What was not timed, by status; candidates of a kernel that share their reason take one line.
std::string other_part(const Explanation& e) {
  std::map<MeasurementStatus, std::vector<const Measurement*>> groups;
  for (const Measurement& m : e.known)
    if (m.status != MeasurementStatus::kOk) groups[m.status].push_back(&m);
  std::string out;
  for (const auto& [status, rows] : groups) {
    out += fmt::format("\n{} ({}):\n", status_heading(status), rows.size());
    struct Line {
      std::string name, reason;
      double predicted_ns = 0;
      size_t count = 0;
      bool coop = false;
    };
    std::vector<Line> lines;
    for (const Measurement* m : rows) {
      // Pruned ones: one line for a kernel, with the reason of its best prediction.
      const bool by_kernel = !e.all && status == MeasurementStatus::kPruned;
      const std::string name = e.all ? describe(m->candidate) : describe_kernel(m->candidate);
      const auto it = std::find_if(lines.begin(), lines.end(), [&](const Line& l) {
        return l.name == name && (by_kernel || l.reason == m->reason);
      });
      if (it == lines.end()) {
        lines.push_back({name, m->reason, m->predicted_ns, 1, m->candidate.mode == ExecutionMode::kCoop});
        continue;
      }
      ++it->count;
      if (m->predicted_ns < it->predicted_ns) {
        it->predicted_ns = m->predicted_ns;
        it->reason = m->reason;
      }
    }
    for (const Line& l : lines) {
      const std::string count = l.count > 1 ? fmt::format(" ({} {})", l.count, l.coop ? "splits" : "blockings") : "";
      out += "  " + wrap(fmt::format("{}{}: {}", l.name, count, l.reason), 78, 4) + "\n";
    }
  }
  return out;
}

}  // namespace

std::string short_choice(const Candidate& c) {
  if (c.mode == ExecutionMode::kCoop) {
    const CoopPart& p = c.coop;
    std::string s = fmt::format("{} x{}+{} x{}", isa_of(c.variant), c.workers, isa_of(p.variant), p.workers);
    if (p.rows != 0) return s + fmt::format(" {}x{}/{}", c.kv_tile, p.rows, p.depth);
    return s + fmt::format(" {}{}/{}{}", kSplitDimNames[static_cast<size_t>(p.dim)], p.split, p.split_of,
                           p.dynamic ? " dyn" : "");
  }
  std::string s = fmt::format("{} x{}", short_id(c.variant), c.workers);
  if (c.nc != 0) s += fmt::format(" {}/{}", c.mc, c.nc);
  if (c.kv_tile != 0) s += fmt::format(" {}/{}", c.kv_tile, c.kv_splits);
  return s;
}

std::string format_gain(double default_ns, double chosen_ns) {
  if (default_ns <= 0 || chosen_ns <= 0) return "-";
  const double gain = default_ns / chosen_ns;
  return gain == 1 ? "=" : fmt::format("{:.2f}x", gain);
}

std::string entry_label(const PlanEntry& e, const ModelShape* model) {
  if (e.kind == OpKind::kAttention) {
    return e.kv_max == std::numeric_limits<uint32_t>::max() || e.kv_max == 0
               ? "attention"
               : fmt::format("attention kv<={}", e.kv_max);
  }
  std::string roles;
  if (model != nullptr)
    for (const MatrixShape& m : model->matrices)
      if (m.dtype == e.dtype && m.n == e.n && m.k == e.k && roles.find(m.role) == std::string::npos)
        roles += (roles.empty() ? "" : ",") + m.role;
  if (!roles.empty()) return roles;
  return fmt::format("{} {} {}x{}", kOpNames[static_cast<size_t>(e.kind)], traits(e.dtype).name, e.n, e.k);
}

std::string plan_table(const Plan& plan, const ModelShape* model) {
  Table t({{"operator"},
           {"M"},
           {"measured", Align::kRight},
           {"default", Align::kRight},
           {"gain", Align::kRight},
           {"choice"}});
  for (const PlanEntry& e : plan.entries)
    t.add({shorten(entry_label(e, model), 20), format_range(e.m_min, e.m_max), time_or_dash(e.measured_ns),
           time_or_dash(e.default_ns), format_gain(e.default_ns, e.measured_ns), short_choice(candidate_of(e))});
  return t.text();
}

std::string gain_table(std::span<const PassGain> gains) {
  Table t({{"pass"},
           {"predicted", Align::kRight},
           {"measured", Align::kRight},
           {"default", Align::kRight},
           {"gain", Align::kRight},
           {"operators"}});
  for (const PassGain& g : gains) {
    const bool whole = g.measured == g.operators;  // a sum with gaps is no time of a pass
    t.add({g.name, time_or_dash(g.predicted_ns), time_or_dash(whole ? g.chosen_ns : 0),
           time_or_dash(whole ? g.default_ns : 0), whole ? format_gain(g.default_ns, g.chosen_ns) : "-",
           fmt::format("{} of {}", g.measured, g.operators)});
  }
  return t.text();
}

std::string chain_table(std::span<const PassChain> chains) {
  Table t({{"operators of a pass"},
           {"untuned", Align::kRight},
           {"best of each", Align::kRight},
           {"together", Align::kRight},
           {"packings", Align::kRight},
           {"changed", Align::kRight}});
  bool predicted = false;
  for (const PassChain& c : chains) {
    predicted = predicted || c.predicted;
    const std::string packings = c.greedy.packings == c.cost.packings
                                     ? fmt::format("{:g}", c.cost.packings)
                                     : fmt::format("{:g} > {:g}", c.greedy.packings, c.cost.packings);
    t.add({c.name, time_or_dash(c.untuned.ns), time_or_dash(c.greedy.ns), time_or_dash(c.cost.ns), packings,
           fmt::format("{}", c.overrides.size())});
  }
  return fmt::format("Chosen together, with packing of activations at its predicted price{}:\n{}",
                     predicted ? " (and operators at theirs)" : "", t.text());
}

std::string layer_chain_text(std::span<const ChainRow> pass, std::span<const LayerTimeRow> times) {
  if (pass.empty()) return {};
  Table t({{""},
           {"operator"},
           {"reads"},
           {"time", Align::kRight},
           {"packing", Align::kRight},
           {"best reads"},
           {"time", Align::kRight},
           {"packing", Align::kRight}});
  double chosen_ns = 0, best_ns = 0, chosen_packing_ns = 0, best_packing_ns = 0;
  bool predicted = false;
  std::string changed;
  const auto packing = [](const ChainSide& s) -> std::string {
    if (s.packings > 0) return s.packing_ns > 0 ? format_ns(s.packing_ns) : "?";
    return s.layout == kLayoutNames[static_cast<size_t>(Layout::kRowMajor)] ? "-" : "shared";
  };
  for (const ChainRow& r : pass) {
    const bool differs = r.chosen.candidate != r.best.candidate;
    t.add({differs ? "*" : "", shorten(r.role, 14), r.chosen.layout, format_ns(r.chosen.ns), packing(r.chosen),
           r.best.layout, format_ns(r.best.ns), packing(r.best)});
    chosen_ns += r.chosen.pass_ns(r.calls);
    best_ns += r.best.pass_ns(r.calls);
    chosen_packing_ns += r.chosen.packings * r.chosen.packing_ns;
    best_packing_ns += r.best.packings * r.best.packing_ns;
    predicted = predicted || r.predicted;
    if (differs)
      changed += "  " +
                 wrap(fmt::format("* {}: {} instead of {}", r.role, r.chosen.candidate, r.best.candidate), 78, 4) +
                 "\n";
  }
  const ChainRow& first = pass.front();
  std::string out =
      fmt::format("Layer chain, {}\n({}, packing predicted):\n{}", pass_name(first.pass, first.m, first.kv_len),
                  predicted ? "operators predicted" : "operators measured", t.text());
  out += changed;
  out +=
      wrap(fmt::format("All layers: as chosen {} (packing {}), best of each {} (packing {}). {}", format_ns(chosen_ns),
                       format_ns(chosen_packing_ns), format_ns(best_ns), format_ns(best_packing_ns),
                       changed.empty() ? std::string("The best of each is also the cheapest chain.")
                                       : fmt::format("The chain decided: it takes {} less than the best of each.",
                                                     format_ns(std::max(best_ns - chosen_ns, 0.0)))),
           80, 2) +
      "\n";
  for (const LayerTimeRow& l : times) {
    if (l.pass != first.pass || l.m != first.m || l.kv_len != first.kv_len) continue;
    out += wrap(fmt::format("One layer, timed: untuned {}, chosen {} (interval of the ratio {:.3f} to {:.3f}){}",
                            format_ns(l.untuned_ns), format_ns(l.chosen_ns), l.ratio.low, l.ratio.high,
                            l.reverted ? ": slower, so that pass runs untuned" : ""),
                80, 2) +
           "\n";
    break;
  }
  return out;
}

std::string layer_text(std::span<const LayerTime> layers) {
  std::string out;
  for (const LayerTime& t : layers) {
    if (t.same) {
      out += fmt::format("  {}: every operator as untuned\n", t.name);
      continue;
    }
    out += "  " +
           wrap(fmt::format("{}: untuned {}, chosen {}, {:.3f}x the time (interval {:.3f} to {:.3f}, {} "
                            "rounds){}",
                            t.name, format_ns(t.times.other_ns), format_ns(t.times.chosen_ns), t.times.ratio.estimate,
                            t.times.ratio.interval.low, t.times.ratio.interval.high, t.times.rounds(),
                            t.reverted ? ": slower, so that pass stays untuned" : ""),
                78, 4) +
           "\n";
  }
  return out.empty() ? "" : "One layer, timed operator after operator with packing between them:\n" + out;
}

std::string explain_text(const Explanation& e, const Plan& plan, const Platform& platform) {
  std::string out = fmt::format("{}: {}\n", e.role, describe(e.asked));
  out += fmt::format("plan {} of {} ({}), for {}\n\n", plan.id, plan.created, plan.planner, plan.model_name);
  const PlanEntry& p = *e.entry;
  const Candidate chosen = candidate_of(p);
  out += fmt::format("Chosen for M {}{}:\n", format_range(p.m_min, p.m_max),
                     p.kv_max != 0 && p.kv_max != std::numeric_limits<uint32_t>::max()
                         ? fmt::format(", context up to {}", p.kv_max)
                         : "");
  out += "  " + wrap(fmt::format("{} ({})", describe(chosen), mode_name(p.mode, platform)), 78, 4) + "\n";
  out += "  " + wrap(p.why, 78, 2) + "\n";
  if (p.predicted_ns > 0) out += fmt::format("  predicted {}", format_ns(p.predicted_ns));
  if (p.measured_ns > 0)
    out += fmt::format("{}measured {}, default {}, gain {}", p.predicted_ns > 0 ? ", " : "  ", format_ns(p.measured_ns),
                       time_or_dash(p.default_ns), format_gain(p.default_ns, p.measured_ns));
  if (p.predicted_ns > 0 || p.measured_ns > 0) out += "\n";
  if (describe(e.asked) != describe(e.decided)) out += fmt::format("  decided at {}\n", describe(e.decided));
  out += "\n" + measured_part(e, &chosen) + other_part(e);
  return out;
}

}  // namespace smepilot
