#include "profiles/roofline_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>
#include <vector>

#include "profiles/matrix_units.h"
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

// What each unit reaches while the other one works too, and how much of the sum of both alone that is.
std::string both_units(const Calibration& c, const Platform& platform) {
  std::string out;
  if (c.coop_peaks.empty() && c.coop_bandwidths.empty()) return out;
  out += fmt::format("\n{:<{}}{:>{}}{:>{}}{:>{}}{:>11}\n", "Both units at once", 2 * kLabel - 8,
                     unit_name(ExecutionUnit::kMatrix, platform), kCell, "cpu", kCell, "sum", kCell, "of alone");
  const auto row = [&](const std::string& label, double matrix, double cpu, double alone) {
    out += fmt::format("  {:<{}}{}{}{}{:>11}\n", label.substr(0, 2 * kLabel - 11), 2 * kLabel - 10, cell(matrix),
                       cell(cpu), cell(matrix + cpu),
                       alone > 0 ? fmt::format("{:.0f} %", 100 * (matrix + cpu) / alone) : "-");
  };
  const auto peak = [&](ExecutionUnit unit, const std::string& dtype, const std::string& isa, unsigned workers) {
    for (const Peak& p : c.peaks)
      if (p.unit == unit && p.dtype == dtype && p.isa == isa && p.workers == workers) return p.gflops;
    return 0.0;
  };
  for (const CoopPeak& p : c.coop_peaks) {
    const double matrix = peak(ExecutionUnit::kMatrix, p.matrix_dtype, p.matrix_isa, p.matrix_workers);
    const double cpu = peak(ExecutionUnit::kCpu, p.cpu_dtype, p.cpu_isa, p.cpu_workers);
    row(fmt::format("{} {} x{} + {} x{}", p.matrix_dtype, p.matrix_isa, p.matrix_workers,
                    p.cpu_dtype == p.matrix_dtype ? p.cpu_isa : p.cpu_dtype + " " + p.cpu_isa, p.cpu_workers),
        p.matrix_gflops, p.cpu_gflops, matrix > 0 && cpu > 0 ? matrix + cpu : 0);
  }
  for (const CoopBandwidth& b : c.coop_bandwidths)
    row(fmt::format("{} read, GB/s, x{} + x{}", b.level, b.matrix_workers, b.cpu_workers), b.matrix_gbps, b.cpu_gbps,
        0);
  return out;
}

std::string clipped(std::string line) {
  if (line.size() > kWidth) line = line.substr(0, kWidth - 3) + "...";
  return line + "\n";
}

}  // namespace

std::string roofline_table(const Calibration& calibration, const Platform& platform) {
  std::string out;
  if (is_testbed(platform)) out += "Test bed: part of the vector cores plays the matrix unit.\n";
  out += clipped(platform.cpu_model.empty() ? platform.cpu_family : platform.cpu_model);
  std::string facts = fmt::format("{} core{}", platform.cores, platform.cores == 1 ? "" : "s");
  for (const auto& [name, value] : platform.identity())
    if (name == "caches" && !value.empty()) facts += ", " + value;
  if (!platform.matrix_unit.empty() && !is_testbed(platform))
    facts += fmt::format(", {} {} units", platform.matrix_units, platform.matrix_unit);
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

  if (const UnitScaling scaling = unit_scaling(calibration); scaling.units != 0) {
    out +=
        fmt::format("  {} worker{} {:.2f}x one worker's rate: {} {} unit{} (the system says {})\n", scaling.workers,
                    scaling.workers == 1 ? " reaches" : "s reach", scaling.gain, scaling.units,
                    unit_name(ExecutionUnit::kMatrix, platform), scaling.units == 1 ? "" : "s", platform.matrix_units);
  } else if (is_testbed(platform)) {
    out += fmt::format("  {} worker{} matrix unit: by definition, not by measurement\n", platform.matrix_units,
                       platform.matrix_units == 1 ? " plays the" : "s play a");
  }
  out += both_units(calibration, platform);

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

  if (calibration.streaming_ns > 0) table.row("streaming mode", {calibration.streaming_ns});
  out += fmt::format("\nexp {:.2f} G/s, packing weights {:.2f} GB/s, activations {:.2f} GB/s (one thread)\n",
                     calibration.exp_geps, calibration.pack_gbps, calibration.lhs_pack_gbps);
  out += fmt::format("noise floor {:.1f} % (A/A, 95th percentile); other load {:.0f} %; took {:.1f} s{}\n",
                     100 * calibration.noise_floor, 100 * calibration.busy_fraction, calibration.seconds,
                     calibration.quick ? ", quick" : "");
  if (const ClockRecord& c = calibration.clock; c.first_gflops > 0) {
    out += fmt::format("clock {:+.1f} % from first to last, lowest {:.1f} % below highest, {:.1f} s of cool-down\n",
                       100 * (c.last_gflops / c.first_gflops - 1), 100 * (1 - c.lowest_gflops / c.highest_gflops),
                       c.cooldown_s);
    if (c.repeated > 0)
      out += fmt::format("{} step{} measured again because the clock fell meanwhile\n", c.repeated,
                         c.repeated == 1 ? "" : "s");
    if (std::abs(c.last_gflops / c.first_gflops - 1) > std::max(c.tolerance, calibration.noise_floor))
      out += "The clock drifted: the last numbers are not of the same machine as the first.\n";
  }
  if (calibration.busy_fraction > 0.05)
    out += "This machine was busy: the numbers are what it had left, not what it can do.\n";
  return out;
}

}  // namespace smepilot
