#include "engine/stats.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace smepilot {
namespace {

const char* mode_name(const OperatorStats& row) {
  if (row.variant == nullptr || row.mode == ExecutionMode::kCpu) return "cpu";
  if (row.mode == ExecutionMode::kCoop) return "coop";
  return (row.variant->isa & (kIsaAmxInt8 | kIsaAmxBf16)) != 0 ? "amx" : "sme";
}

std::vector<OperatorStats> by_time(std::vector<OperatorStats> rows) {
  std::stable_sort(rows.begin(), rows.end(),
                   [](const OperatorStats& a, const OperatorStats& b) { return a.ns > b.ns; });
  return rows;
}

std::string m_range(const OperatorStats& row) {
  return row.m_min == row.m_max ? fmt::format("{}", row.m_min) : fmt::format("{}-{}", row.m_min, row.m_max);
}

std::string percent_of_roof(const OperatorStats& row) {
  if (!(row.roofline_ns > 0) || !std::isfinite(row.roofline_ns)) return "-";
  return fmt::format("{:.0f}", 100 * row.roofline_ns / row.ns);
}

}  // namespace

void Stats::record(const char* role, const KernelVariant* variant, ExecutionMode mode, unsigned workers,
                   const OperatorShape* shapes, size_t count, double ns) {
  const uint32_t m = count == 0 ? 0 : shapes[0].m;
  OperatorStats* row = nullptr;
  for (OperatorStats& r : rows_)
    if (std::strcmp(r.role, role) == 0 && r.variant == variant && r.mode == mode && r.workers == workers &&
        (r.m_min == 1) == (m == 1))
      row = &r;
  if (row == nullptr) {
    rows_.push_back({role, variant, mode, workers, m, m, 0, 0, 0, 0, 0});
    row = &rows_.back();
  }
  row->m_min = std::min(row->m_min, m);
  row->m_max = std::max(row->m_max, m);
  ++row->calls;
  row->ns += ns;
  double overhead = 0;
  for (size_t i = 0; i < count; ++i) {
    row->flops += op_flops(shapes[i]);
    row->bytes += op_bytes(shapes[i]);
    if (roofline_ == nullptr || variant == nullptr) continue;
    const Price price = roofline_->price(shapes[i], *variant, workers);
    row->roofline_ns += price.ns - price.overhead_ns;
    overhead = price.overhead_ns;  // paid once by the group
  }
  row->roofline_ns += overhead;
}

std::string stats_table(const std::vector<OperatorStats>& rows) {
  double total = 0;
  for (const OperatorStats& r : rows) total += r.ns;
  std::string out = fmt::format("{:<14} {:>7} {:<4} {:>2} {:>6} {:>9} {:>5} {:>7} {:>7} {:>5}  {}\n", "operator", "M",
                                "mode", "w", "calls", "ms", "%", "GFLOP/s", "GB/s", "%roof", "variant");
  for (const OperatorStats& r : by_time(rows))
    out += fmt::format("{:<14} {:>7} {:<4} {:>2} {:>6} {:>9.2f} {:>5.1f} {:>7.1f} {:>7.1f} {:>5}  {}\n", r.role,
                       m_range(r), mode_name(r), r.workers, r.calls, r.ns / 1e6, total > 0 ? 100 * r.ns / total : 0,
                       r.ns > 0 ? r.flops / r.ns : 0, r.ns > 0 ? r.bytes / r.ns : 0, percent_of_roof(r),
                       r.variant == nullptr ? "-" : r.variant->id);
  out += fmt::format("{:<14} {:>7} {:<4} {:>2} {:>6} {:>9.2f}   (all measured", "total", "", "", "", "", total / 1e6);
  const bool priced = std::any_of(rows.begin(), rows.end(), [](const OperatorStats& r) { return r.roofline_ns > 0; });
  out += priced ? "; %roof against the stored calibration)\n"
                : "; no calibration of this machine: run `smetune calibrate` for %roof)\n";
  return out;
}

std::string stats_json(const std::vector<OperatorStats>& rows) {
  std::string out = "[";
  const char* separator = "\n";
  for (const OperatorStats& r : by_time(rows)) {
    out += fmt::format(
        "{}  {{\"operator\": \"{}\", \"m_min\": {}, \"m_max\": {}, \"mode\": \"{}\", \"workers\": {}, \"calls\": {}, "
        "\"ns\": {:.0f}, \"gflops\": {:.3f}, \"gbps\": {:.3f}, \"roofline_ns\": {}, \"variant\": {}}}",
        separator, r.role, r.m_min, r.m_max, mode_name(r), r.workers, r.calls, r.ns, r.ns > 0 ? r.flops / r.ns : 0,
        r.ns > 0 ? r.bytes / r.ns : 0,
        r.roofline_ns > 0 && std::isfinite(r.roofline_ns) ? fmt::format("{:.0f}", r.roofline_ns) : "null",
        r.variant == nullptr ? "null" : fmt::format("\"{}\"", r.variant->id));
    separator = ",\n";
  }
  return out + "\n]\n";
}

}  // namespace smepilot
