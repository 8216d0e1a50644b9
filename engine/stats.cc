#include "engine/stats.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace smepilot {
namespace {

constexpr const char* kPhaseNames[] = {"prefill", "decode"};

const char* phase_name(StatsPhase phase) {
  return kPhaseNames[static_cast<size_t>(phase)];
}

const char* mode_name(const Execution& e) {
  if (e.variant == nullptr || e.mode == ExecutionMode::kCpu) return "cpu";
  if (e.mode == ExecutionMode::kCoop) return "coop";
  return (e.variant->isa & (kIsaAmxInt8 | kIsaAmxBf16)) != 0 ? "amx" : "sme";
}

std::vector<OperatorStats> by_time(std::vector<OperatorStats> rows) {
  std::stable_sort(rows.begin(), rows.end(),
                   [](const OperatorStats& a, const OperatorStats& b) { return a.ns > b.ns; });
  return rows;
}

std::string m_range(const OperatorStats& row) {
  return row.m_min == row.m_max ? fmt::format("{}", row.m_min) : fmt::format("{}-{}", row.m_min, row.m_max);
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
  return out + "\n";
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
      "\"gbps\": {:.3f}, \"read_fraction\": {}, \"read_gbps\": {}}}",
      s.passes, s.tokens, s.ns, s.matmul_ns, per(s.matmul_flops, s.matmul_ns), json_number(s.int8_peak_gops, 3),
      json_number(s.int8_peak_fraction, 4), matmul_gbps, json_number(share(matmul_gbps), 4), gbps,
      json_number(share(gbps), 4), json_number(s.read_gbps, 3));
}

}  // namespace

void Stats::begin_pass(StatsPhase phase, uint32_t tokens) noexcept {
  phase_ = phase;
  Passes& passes = passes_[static_cast<size_t>(phase)];
  ++passes.count;
  passes.tokens += tokens;
}

void Stats::clear() noexcept {
  rows_.clear();
  for (Passes& p : passes_) p = {};
}

void Stats::record(const Execution& e, std::span<const OperatorShape> shapes, double ns) {
  const uint32_t m = shapes.empty() ? 0 : shapes[0].m;
  OperatorStats* row = nullptr;
  for (OperatorStats& r : rows_) {
    const Execution& o = r.execution;
    if (r.phase == phase_ && std::strcmp(o.role, e.role) == 0 && o.variant == e.variant && o.mode == e.mode &&
        o.workers == e.workers && o.mixed == e.mixed && (r.m_min == 1) == (m == 1))
      row = &r;
  }
  if (row == nullptr) {
    rows_.push_back({e, phase_, m, m, 0, 0, 0, 0, 0, 0});
    row = &rows_.back();
  }
  ++row->calls;
  row->ns += ns;
  double overhead = 0, peak = 0;
  if (roofline_ != nullptr && e.variant != nullptr && e.variant->op == OpKind::kMatmul && !shapes.empty() &&
      compute_dtype(shapes[0], *e.variant) == "int8")
    peak = roofline_->peak_gflops(e.variant->unit, "int8", e.workers);
  for (const OperatorShape& shape : shapes) {
    row->m_min = std::min(row->m_min, shape.m);
    row->m_max = std::max(row->m_max, shape.m);
    const double flops = op_flops(shape);
    row->flops += flops;
    row->bytes += op_bytes(shape);
    if (peak > 0) row->peak_ns += flops / peak;
    if (roofline_ == nullptr || e.variant == nullptr) continue;
    const Price price = roofline_->price(shape, *e.variant, e.workers);
    row->roofline_ns += price.ns - price.overhead_ns;
    overhead = price.overhead_ns;  // paid once by the group
  }
  row->roofline_ns += overhead;
}

PhaseSummary Stats::summary(StatsPhase phase) const {
  PhaseSummary s;
  s.passes = passes_[static_cast<size_t>(phase)].count;
  s.tokens = passes_[static_cast<size_t>(phase)].tokens;
  double peak_ns = 0, most = 0;
  unsigned workers = 1;
  for (const OperatorStats& r : rows_) {
    if (r.phase != phase) continue;
    s.ns += r.ns;
    const KernelVariant* const v = r.execution.variant;
    if (v == nullptr || (v->op != OpKind::kMatmul && v->op != OpKind::kAttention)) continue;
    s.bytes += r.bytes;
    if (r.ns > most) {
      most = r.ns;
      workers = r.execution.workers;
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
  std::string out = fmt::format("{:<14} {:<7} {:>7} {:<4} {:>2} {:>6} {:>9} {:>5} {:>7} {:>7} {:>5}  {}\n", "operator",
                                "phase", "M", "mode", "w", "calls", "ms", "%", "GFLOP/s", "GB/s", "%roof", "variant");
  for (const OperatorStats& r : by_time(rows_)) {
    const Execution& e = r.execution;
    out += fmt::format("{:<14} {:<7} {:>7} {:<4} {:>2} {:>6} {:>9.2f} {:>5.1f} {:>7.1f} {:>7.1f} {:>5}  {}{}\n", e.role,
                       phase_name(r.phase), m_range(r), mode_name(e), e.workers, r.calls, r.ns / 1e6,
                       total > 0 ? 100 * r.ns / total : 0, per(r.flops, r.ns), per(r.bytes, r.ns),
                       priced(r.roofline_ns) ? fmt::format("{:.0f}", 100 * r.roofline_ns / r.ns) : "-",
                       e.variant == nullptr ? "-" : e.variant->id, e.mixed ? " and others" : "");
  }
  out += fmt::format("{:<14} {:<7} {:>7} {:<4} {:>2} {:>6} {:>9.2f}   (all measured", "total", "", "", "", "", "",
                     total / 1e6);
  out += any_priced ? "; %roof against the stored calibration)\n"
                    : "; no calibration of this machine: run `smetune calibrate` for %roof)\n";
  for (const StatsPhase phase : {StatsPhase::kPrefill, StatsPhase::kDecode}) out += phase_line(phase, summary(phase));
  return out;
}

std::string Stats::json() const {
  std::string out = fmt::format("{{\n\"prefill\": {},\n\"decode\": {},\n\"operators\": [",
                                phase_json(summary(StatsPhase::kPrefill)), phase_json(summary(StatsPhase::kDecode)));
  const char* separator = "\n";
  for (const OperatorStats& r : by_time(rows_)) {
    const Execution& e = r.execution;
    out += fmt::format(
        "{}  {{\"operator\": \"{}\", \"phase\": \"{}\", \"m_min\": {}, \"m_max\": {}, \"mode\": \"{}\", "
        "\"workers\": {}, \"calls\": {}, \"ns\": {:.0f}, \"gflops\": {:.3f}, \"gbps\": {:.3f}, \"roofline_ns\": {}, "
        "\"variant\": {}, \"mixed\": {}}}",
        separator, e.role, phase_name(r.phase), r.m_min, r.m_max, mode_name(e), e.workers, r.calls, r.ns,
        per(r.flops, r.ns), per(r.bytes, r.ns), json_number(r.roofline_ns, 0),
        e.variant == nullptr ? "null" : fmt::format("\"{}\"", e.variant->id), e.mixed);
    separator = ",\n";
  }
  return out + "\n]\n}\n";
}

}  // namespace smepilot
