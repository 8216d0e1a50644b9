#include "engine/stats.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

constexpr const char* kPhaseNames[] = {"prefill", "decode"};

const char* phase_name(StatsPhase phase) {
  return kPhaseNames[static_cast<size_t>(phase)];
}

// The unit's own name, by a kernel of it.
const char* unit_text(const KernelVariant& v) {
  if (v.unit == ExecutionUnit::kCpu) return "cpu";
  if ((v.isa & (kIsaAmxInt8 | kIsaAmxBf16)) != 0) return "amx";
  return (v.isa & (kIsaSme | kIsaSme2)) != 0 ? "sme" : "testbed";
}

const char* mode_text(const Execution& e) {
  if (e.variant == nullptr || e.mode == ExecutionMode::kCpu) return "cpu";
  return e.mode == ExecutionMode::kCoop ? "coop" : unit_text(*e.variant);
}

// "2", or of both units "1+1".
std::string workers_text(const Execution& e) {
  return e.matrix == nullptr ? fmt::format("{}", e.workers) : fmt::format("{}+{}", e.matrix_workers, e.workers);
}

std::string variant_text(const Execution& e) {
  if (e.variant == nullptr) return "-";
  return e.matrix == nullptr ? std::string(e.variant->id) : fmt::format("{} with {}", e.matrix->id, e.variant->id);
}

bool same(const Execution& a, const Execution& b) {
  return a.variant == b.variant && a.mode == b.mode && a.workers == b.workers && a.matrix == b.matrix &&
         a.matrix_workers == b.matrix_workers;
}

bool is_attention(const KernelVariant& v) {
  return v.op == OpKind::kAttention || v.op == OpKind::kAttentionTile;
}

std::vector<OperatorStats> by_time(std::vector<OperatorStats> rows) {
  std::stable_sort(rows.begin(), rows.end(),
                   [](const OperatorStats& a, const OperatorStats& b) { return a.ns > b.ns; });
  return rows;
}

std::string m_range(uint32_t min, uint32_t max) {
  return min == max ? fmt::format("{}", min) : fmt::format("{}-{}", min, max);
}

bool priced(double ns) {
  return ns > 0 && std::isfinite(ns);
}

double per(double amount, double ns) {
  return ns > 0 ? amount / ns : 0;
}

std::string phase_line(StatsPhase phase, const PhaseSummary& s) {
  if (s.passes == 0) return "";
  std::string out = fmt::format("{}: {} tokens in {} pass{}, {:.1f} ms in operators\n", phase_name(phase), s.tokens,
                                s.passes, s.passes == 1 ? "" : "es", s.ns / 1e6);
  if (s.matmul_ns > 0) {
    out += fmt::format("  quantised matmuls: {:.1f} ms, {:.1f} GOP/s", s.matmul_ns / 1e6,
                       per(s.matmul_flops, s.matmul_ns));
    if (s.int8_peak_gops > 0)
      out += fmt::format(" = {:.1f} % of the int8 peak ({:.0f} GOP/s)", 100 * s.int8_peak_fraction, s.int8_peak_gops);
    const double gbps = per(s.matmul_bytes, s.matmul_ns);
    out += fmt::format("; {:.1f} GB/s", gbps);
    if (s.read_gbps > 0) out += fmt::format(" = {:.1f} % of read bandwidth", 100 * gbps / s.read_gbps);
    out += "\n";
  }
  const double gbps = per(s.bytes, s.ns);
  out += fmt::format("  weights and cache over all operators: {:.1f} GB/s", gbps);
  if (s.read_gbps > 0)
    out += fmt::format(" = {:.1f} % of read bandwidth ({:.1f} GB/s)", 100 * gbps / s.read_gbps, s.read_gbps);
  const Conversions& c = s.conversions;
  out += fmt::format("\n  conversions: {} of activations", c.activations);
  if (c.activations != 0) out += fmt::format(" ({:.2f} ms)", c.ns / 1e6);
  out += fmt::format(", {} priced by the plan", c.priced);
  if (c.priced_ns > 0) out += fmt::format(" ({:.2f} ms)", c.priced_ns / 1e6);
  out += fmt::format("; {} avoided by sharing", c.avoided);
  if (c.avoided_ns > 0) out += fmt::format(" (predicted {:.2f} ms)", c.avoided_ns / 1e6);
  return out + fmt::format("; {} of weights\n", c.weights);
}

std::string json_number(double value, int decimals) {
  return priced(value) ? fmt::format("{:.{}f}", value, decimals) : "null";
}

std::string phase_json(const PhaseSummary& s) {
  const double matmul_gbps = per(s.matmul_bytes, s.matmul_ns), gbps = per(s.bytes, s.ns);
  const auto share = [&](double of) { return s.read_gbps > 0 ? of / s.read_gbps : 0; };
  return fmt::format(
      "{{\"passes\": {}, \"tokens\": {}, \"ns\": {:.0f}, \"matmul_ns\": {:.0f}, \"matmul_gops\": {:.3f}, "
      "\"int8_peak_gops\": {}, \"int8_peak_fraction\": {}, \"matmul_gbps\": {:.3f}, \"matmul_read_fraction\": {}, "
      "\"gbps\": {:.3f}, \"read_fraction\": {}, \"read_gbps\": {}, \"conversions\": {}}}",
      s.passes, s.tokens, s.ns, s.matmul_ns, per(s.matmul_flops, s.matmul_ns), json_number(s.int8_peak_gops, 3),
      json_number(s.int8_peak_fraction, 4), matmul_gbps, json_number(share(matmul_gbps), 4), gbps,
      json_number(share(gbps), 4), json_number(s.read_gbps, 3), conversions_json(s.conversions));
}

// Members of a JSON object that say how something was executed.
std::string execution_json(const Execution& e) {
  const auto id = [](const KernelVariant* v) { return v == nullptr ? "null" : fmt::format("\"{}\"", v->id); };
  return fmt::format(
      "\"mode\": \"{}\", \"workers\": {}, \"variant\": {}, \"matrix_workers\": {}, \"matrix_variant\": {}",
      mode_text(e), e.workers, id(e.variant), e.matrix_workers, id(e.matrix));
}

}  // namespace

std::string conversions_json(const Conversions& c) {
  return fmt::format(
      "{{\"count\": {}, \"ns\": {:.0f}, \"priced\": {}, \"priced_ns\": {}, \"avoided\": {}, \"avoided_ns\": {}, "
      "\"weights\": {}}}",
      c.activations, c.ns, c.priced, json_number(c.priced_ns, 0), c.avoided, json_number(c.avoided_ns, 0), c.weights);
}

void Stats::begin_pass(StatsPhase phase, uint32_t tokens, const Conversions& priced) noexcept {
  phase_ = phase;
  Passes& passes = passes_[static_cast<size_t>(phase)];
  ++passes.count;
  passes.tokens += tokens;
  passes.conversions.priced += priced.activations;
  passes.conversions.priced_ns += priced.ns;
  passes.conversions.avoided += priced.avoided;
  passes.conversions.avoided_ns += priced.avoided_ns;
}

void Stats::record_conversion(double ns) noexcept {
  Conversions& c = passes_[static_cast<size_t>(phase_)].conversions;
  ++c.activations;
  c.ns += ns;
}

void Stats::record_weight_conversion() noexcept {
  ++passes_[static_cast<size_t>(phase_)].conversions.weights;
}

void Stats::clear() noexcept {
  rows_.clear();
  for (Passes& p : passes_) p = {};
}

// The row of what was executed so; of a mixed group, that of the mixed groups of its role.
OperatorStats& Stats::row(const Execution& e, bool mixed, uint32_t m) {
  for (OperatorStats& r : rows_)
    if (r.phase == phase_ && std::strcmp(r.execution.role, e.role) == 0 && mixed == !r.parts.empty() &&
        (mixed || same(r.execution, e)))
      return r;
  OperatorStats& r = rows_.emplace_back();
  r.execution = e;
  r.phase = phase_;
  r.m_min = r.m_max = m;
  return r;
}

// Work and traffic of one operator, and what its roof would allow.
void Stats::add(OperatorStats& row, const Execution& e, const OperatorShape& shape) const {
  row.m_min = std::min(row.m_min, shape.m);
  row.m_max = std::max(row.m_max, shape.m);
  const double flops = op_flops(shape);
  row.flops += flops;
  row.bytes += op_bytes(shape);
  if (roofline_ == nullptr || e.variant == nullptr) return;
  if (e.variant->op == OpKind::kMatmul && compute_dtype(shape, *e.variant) == "int8") {
    double peak = roofline_->peak_gflops(e.variant->unit, "int8", e.workers);
    if (e.matrix != nullptr) peak += roofline_->peak_gflops(ExecutionUnit::kMatrix, "int8", e.matrix_workers);
    if (peak > 0) row.peak_ns += flops / peak;
  }
  const CoopSides sides{e.matrix, e.matrix_workers, e.variant, e.workers};
  const Price price = e.matrix == nullptr             ? roofline_->price(shape, *e.variant, e.workers)
                      : shape.kind == OpKind::kMatmul ? roofline_->coop_price(shape, sides, {.dynamic = true})
                                                      : roofline_->pipeline_price(shape, sides);
  if (price.roof_gflops > 0) row.roofline_ns += flops / price.roof_gflops;
}

void Stats::record(const Execution& e, std::span<const OperatorShape> shapes, double ns) {
  OperatorStats& r = row(e, false, shapes.empty() ? 0 : shapes[0].m);
  ++r.calls;
  r.ns += ns;
  for (const OperatorShape& shape : shapes) add(r, e, shape);
}

void Stats::record(std::span<const Execution> executions, std::span<const OperatorShape> shapes, double ns) {
  if (std::all_of(executions.begin(), executions.end(), [&](const Execution& e) { return same(e, executions[0]); })) {
    if (!executions.empty()) record(executions[0], shapes, ns);
    return;
  }
  OperatorStats& r = row(executions[0], true, shapes[0].m);
  ++r.calls;
  r.ns += ns;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const OperatorShape& shape = shapes[i];
    add(r, executions[i], shape);
    auto part = std::find_if(r.parts.begin(), r.parts.end(),
                             [&](const OperatorPart& p) { return same(p.execution, executions[i]); });
    if (part == r.parts.end()) part = r.parts.insert(part, {executions[i], shape.m, shape.m, 0, 0});
    part->m_min = std::min(part->m_min, shape.m);
    part->m_max = std::max(part->m_max, shape.m);
    ++part->operators;
    part->flops += op_flops(shape);
  }
}

PhaseSummary Stats::summary(StatsPhase phase) const {
  PhaseSummary s;
  s.passes = passes_[static_cast<size_t>(phase)].count;
  s.tokens = passes_[static_cast<size_t>(phase)].tokens;
  s.conversions = passes_[static_cast<size_t>(phase)].conversions;
  double peak_ns = 0, most = 0;
  unsigned workers = 1;
  for (const OperatorStats& r : rows_) {
    if (r.phase != phase) continue;
    s.ns += r.ns;
    const KernelVariant* const v = r.execution.variant;
    if (v == nullptr || (v->op != OpKind::kMatmul && !is_attention(*v))) continue;
    s.bytes += r.bytes;
    if (r.ns > most) {
      most = r.ns;
      workers = r.execution.all_workers();
      if (r.peak_ns > 0) s.int8_peak_gops = r.flops / r.peak_ns;
    }
    if (v->op != OpKind::kMatmul || v->lhs != DType::kQ8) continue;
    s.matmul_ns += r.ns;
    s.matmul_flops += r.flops;
    s.matmul_bytes += r.bytes;
    peak_ns += r.peak_ns;
  }
  if (s.matmul_ns > 0) s.int8_peak_fraction = peak_ns / s.matmul_ns;
  if (roofline_ != nullptr && most > 0) s.read_gbps = roofline_->bandwidth_gbps("DRAM", "read", workers);
  return s;
}

std::string Stats::table() const {
  double total = 0;
  bool any_priced = false;
  for (const OperatorStats& r : rows_) {
    total += r.ns;
    any_priced = any_priced || r.roofline_ns > 0;
  }
  std::string out = fmt::format("{:<14} {:<7} {:>7} {:<7} {:>3} {:>6} {:>9} {:>5} {:>7} {:>7} {:>5}  {}\n", "operator",
                                "phase", "M", "mode", "w", "calls", "ms", "%", "GFLOP/s", "GB/s", "%roof", "variant");
  for (const OperatorStats& r : by_time(rows_)) {
    const Execution& e = r.execution;
    const bool mixed = !r.parts.empty();
    out += fmt::format("{:<14} {:<7} {:>7} {:<7} {:>3} {:>6} {:>9.2f} {:>5.1f} {:>7.1f} {:>7.1f} {:>5}  {}\n", e.role,
                       phase_name(r.phase), m_range(r.m_min, r.m_max), mixed ? "mixed" : mode_text(e),
                       mixed ? "" : workers_text(e), r.calls, r.ns / 1e6, total > 0 ? 100 * r.ns / total : 0,
                       per(r.flops, r.ns), per(r.bytes, r.ns),
                       priced(r.roofline_ns) ? fmt::format("{:.0f}", 100 * r.roofline_ns / r.ns) : "-",
                       mixed ? "each operator by its own rows:" : variant_text(e));
    for (const OperatorPart& p : r.parts)
      out += fmt::format("{:<22} {:>7} {:<7} {:>3} {:>6} {:>39}{}\n", "", m_range(p.m_min, p.m_max),
                         mode_text(p.execution), workers_text(p.execution), p.operators, "", variant_text(p.execution));
  }
  out += fmt::format("{:<14} {:<7} {:>7} {:<7} {:>3} {:>6} {:>9.2f}   (all measured", "total", "", "", "", "", "",
                     total / 1e6);
  out += any_priced ? "; %roof against the stored calibration)\n"
                    : "; no calibration of this machine: run `smetune calibrate` for %roof)\n";
  for (const StatsPhase phase : {StatsPhase::kPrefill, StatsPhase::kDecode}) out += phase_line(phase, summary(phase));
  if (testbed_enabled())
    out += "on the test bed: AVX-512 kernels play the matrix unit, those up to AVX2 the vector cores\n";
  return out;
}

std::string Stats::json(const std::string& more) const {
  std::string out =
      fmt::format("{{\n\"test_bed\": {},\n\"prefill\": {},\n\"decode\": {},\n\"operators\": [", testbed_enabled(),
                  phase_json(summary(StatsPhase::kPrefill)), phase_json(summary(StatsPhase::kDecode)));
  const char* separator = "\n";
  for (const OperatorStats& r : by_time(rows_)) {
    out += fmt::format(
        "{}  {{\"operator\": \"{}\", \"phase\": \"{}\", \"m_min\": {}, \"m_max\": {}, {}, \"calls\": {}, \"ns\": "
        "{:.0f}, "
        "\"gflops\": {:.3f}, \"gbps\": {:.3f}, \"roofline_ns\": {}, \"mixed\": {}",
        separator, r.execution.role, phase_name(r.phase), r.m_min, r.m_max, execution_json(r.execution), r.calls, r.ns,
        per(r.flops, r.ns), per(r.bytes, r.ns), json_number(r.roofline_ns, 0), !r.parts.empty());
    if (!r.parts.empty()) {
      out += ", \"parts\": [";
      for (const OperatorPart& p : r.parts)
        out +=
            fmt::format("{}{{\"m_min\": {}, \"m_max\": {}, {}, \"operators\": {}}}", &p == r.parts.data() ? "" : ", ",
                        p.m_min, p.m_max, execution_json(p.execution), p.operators);
      out += "]";
    }
    out += "}";
    separator = ",\n";
  }
  out += "\n]";
  if (!more.empty()) out += ",\n" + more;
  return out + "\n}\n";
}

}  // namespace smepilot
