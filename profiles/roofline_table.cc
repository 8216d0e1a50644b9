#include "profiles/roofline_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <vector>

#include "profiles/roofline.h"

namespace smepilot {
namespace {

constexpr size_t kWidth = 80, kLabel = 22, kCell = 9;
constexpr size_t kMaxColumns = (kWidth - kLabel) / kCell;

// The worker counts that get a column: all if they fit, else spread evenly with the first and the last.
std::vector<unsigned> columns(const Calibration& c) {
  std::set<unsigned> all;
  for (const Peak& p : c.peaks) all.insert(p.workers);
  for (const Bandwidth& b : c.bandwidths) all.insert(b.workers);
  std::vector<unsigned> counts(all.begin(), all.end()), chosen;
  if (counts.size() <= kMaxColumns) return counts;
  for (size_t i = 0; i < kMaxColumns; ++i) chosen.push_back(counts[i * (counts.size() - 1) / (kMaxColumns - 1)]);
  return chosen;
}

// Four significant digits, as wide as a cell; a dash for nothing.
std::string cell(double value) {
  if (!(value > 0)) return fmt::format("{:>{}}", "-", kCell);
  const int decimals = value >= 1000 ? 0 : value >= 100 ? 1 : value >= 10 ? 2 : 3;
  return fmt::format("{:>{}.{}f}", value, kCell, decimals);
}

class Table {
 public:
  explicit Table(std::string& out) : out_(out) {}
  void row(const std::string& label, const std::vector<double>& values) {
    std::string line = fmt::format("  {:<{}}", label.substr(0, kLabel - 2), kLabel - 2);
    for (const double v : values) line += cell(v);
    out_ += line + "\n";
  }
  void header(const std::string& title, const std::vector<unsigned>& counts) {
    std::string line = fmt::format("{:<{}}", title, kLabel);
    for (const unsigned n : counts) line += fmt::format("{:>{}}", fmt::format("{} thr", n), kCell);
    out_ += "\n" + line + "\n";
  }

 private:
  std::string& out_;
};

std::string unit_name(ExecutionUnit unit, const Platform& platform) {
  return unit == ExecutionUnit::kCpu ? "cpu" : platform.matrix_unit.empty() ? "matrix" : platform.matrix_unit;
}

std::string clipped(std::string line) {
  if (line.size() > kWidth) line = line.substr(0, kWidth - 3) + "...";
  return line + "\n";
}

}  // namespace

std::string roofline_table(const Calibration& calibration, const Platform& platform) {
  std::string out = clipped(platform.cpu_model.empty() ? platform.cpu_family : platform.cpu_model);
  std::string facts = fmt::format("{} core{}", platform.cores, platform.cores == 1 ? "" : "s");
  for (const auto& [name, value] : platform.identity())
    if (name == "caches" && !value.empty()) facts += ", " + value;
  if (!platform.matrix_unit.empty()) facts += fmt::format(", {} {} units", platform.matrix_units, platform.matrix_unit);
  out += clipped(facts);

  const Roofline roofline(calibration, platform);
  const std::vector<unsigned> counts = columns(calibration);
  Table table(out);

  // (unit, dtype, isa) in the order of the calibration, which is fastest first.
  std::vector<std::tuple<ExecutionUnit, std::string, std::string>> rows;
  for (const Peak& p : calibration.peaks) {
    const std::tuple row{p.unit, p.dtype, p.isa};
    if (std::find(rows.begin(), rows.end(), row) == rows.end()) rows.push_back(row);
  }
  table.header("Peak, GFLOP/s", counts);
  for (const auto& [unit, dtype, isa] : rows) {
    std::vector<double> values;
    for (const unsigned n : counts) {
      double value = 0;
      for (const Peak& p : calibration.peaks)
        if (p.unit == unit && p.dtype == dtype && p.isa == isa && p.workers == n) value = p.gflops;
      values.push_back(value);
    }
    table.row(fmt::format("{} {} {}", unit_name(unit, platform), dtype, isa), values);
  }

  table.header("Memory, GB/s", counts);
  for (const char* level : {"L1", "L2", "LLC", "DRAM"}) {
    for (const char* op : {"read", "write", "copy"}) {
      std::vector<double> values;
      for (const unsigned n : counts) {
        double value = 0;
        for (const Bandwidth& b : calibration.bandwidths)
          if (b.level == level && b.op == op && b.workers == n) value = b.gbps;
        values.push_back(value);
      }
      if (std::any_of(values.begin(), values.end(), [](double v) { return v > 0; }))
        table.row(fmt::format("{} {}", level, op), values);
    }
  }

  table.header("Ridge, FLOP/byte", counts);
  for (const char* level : {"DRAM", "LLC", "L2"}) {
    if (std::none_of(calibration.bandwidths.begin(), calibration.bandwidths.end(),
                     [&](const Bandwidth& b) { return b.level == level; }))
      continue;
    for (const ExecutionUnit unit : {ExecutionUnit::kCpu, ExecutionUnit::kMatrix}) {
      for (const char* dtype : {"f32", "f16", "bf16", "int8"}) {
        std::vector<double> values;
        for (const unsigned n : counts) values.push_back(roofline.ridge(dtype, n, level, unit));
        if (std::any_of(values.begin(), values.end(), [](double v) { return v > 0; }))
          table.row(fmt::format("{} {} {}", level, unit_name(unit, platform), dtype), values);
      }
    }
  }

  table.header("Cost, ns", counts);
  std::vector<double> fork_join;
  for (const unsigned n : counts) fork_join.push_back(roofline.fork_join_ns(n));
  table.row("fork and join", fork_join);
  std::vector<double> barrier;
  for (const ForkJoin& f : calibration.fork_join)
    if (std::find(counts.begin(), counts.end(), f.workers) != counts.end()) barrier.push_back(f.barrier_ns);
  if (barrier.size() == counts.size() && std::any_of(barrier.begin(), barrier.end(), [](double v) { return v > 0; }))
    table.row("barrier", barrier);

  out +=
      fmt::format("\nexp {:.2f} G/s, packing {:.2f} GB/s (one thread)\n", calibration.exp_geps, calibration.pack_gbps);
  out += fmt::format("noise floor {:.1f} % (A/A, 95th percentile); other load {:.0f} %; took {:.1f} s{}\n",
                     100 * calibration.noise_floor, 100 * calibration.busy_fraction, calibration.seconds,
                     calibration.quick ? ", quick" : "");
  if (calibration.busy_fraction > 0.05)
    out += "This machine was busy: the numbers are what it had left, not what it can do.\n";
  return out;
}

}  // namespace smepilot
