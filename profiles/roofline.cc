#include "profiles/roofline.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/base/integer.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "profiles/kernel_efficiency.h"
#include "profiles/matrix_units.h"
#include "profiles/working_sets.h"

namespace smepilot {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr const char* kLevels[] = {"L1", "L2", "LLC", "DRAM"};

// With everything that its steps imply.
IsaSet closure(IsaSet set) noexcept {
  IsaSet all = set;
  for (const IsaName& n : kIsaNames)
    if ((set & n.isa) != 0) all |= n.implies;
  return all;
}

// The value at `workers` of points (workers, value): linear in between, flat outside. 0 without points.
class Curve {
 public:
  explicit Curve(unsigned workers) noexcept : at_(workers) {}
  void add(unsigned workers, double value) noexcept {
    if (workers <= at_ && (below_ == 0 || workers > below_)) {
      below_ = workers;
      low_ = value;
    }
    if (workers >= at_ && (above_ == 0 || workers < above_)) {
      above_ = workers;
      high_ = value;
    }
  }
  double value() const noexcept {
    if (below_ == 0) return above_ == 0 ? 0 : high_;
    if (above_ == 0 || above_ == below_) return low_;
    return low_ + (high_ - low_) * static_cast<double>(at_ - below_) / static_cast<double>(above_ - below_);
  }

 private:
  unsigned at_, below_ = 0, above_ = 0;
  double low_ = 0, high_ = 0;
};

// `ideal_ns`: what the ceilings alone would take. `exposed`: the share of the shorter time that is not hidden.
void finish(Price& p, double flops, double ideal_ns, double exposed) noexcept {
  if (exposed > 0) p.exposed_ns = exposed * std::min(p.compute_ns, p.memory_ns);
  const double work_ns = std::max(p.compute_ns, p.memory_ns) + p.exposed_ns;
  p.ns = work_ns + p.overhead_ns;
  p.roof_gflops = ideal_ns > 0 ? flops / ideal_ns : 0;
  p.bound = p.overhead_ns > work_ns ? "overhead" : p.compute_ns >= p.memory_ns ? "compute" : "memory";
}

}  // namespace

std::string_view compute_dtype(const OperatorShape& shape, const KernelVariant& variant) noexcept {
  constexpr IsaSet kTiles = kIsaAmxInt8 | kIsaAmxBf16 | kIsaSme | kIsaSme2;
  const bool matrix = variant.unit == ExecutionUnit::kMatrix && (variant.isa & kTiles) != 0;
  if (shape.kind == OpKind::kAttention && matrix) return variant.lhs == DType::kF32 ? "f32" : "bf16";
  if (shape.kind != OpKind::kMatmul) return "f32";
  if (variant.lhs == DType::kQ8) return "int8";
  if (variant.lhs_layout == Layout::kLhsF32Panel16) return "f32";
  const bool f16 = variant.rhs == DType::kF16, bf16 = variant.rhs == DType::kBF16;
  if (matrix && (f16 || bf16)) return f16 && (variant.isa & (kIsaSme | kIsaSme2)) != 0 ? "f16" : "bf16";
  if (variant.lhs == DType::kBF16 && (variant.isa & kIsaAvx512Bf16) != 0) return "bf16";
  if (f16 && (variant.isa & kIsaFp16) != 0) return "f16";
  return "f32";
}

Roofline::Roofline(const Calibration& calibration, const Platform& platform, const RooflineOptions& options)
    : platform_(platform), calibration_(calibration), options_(options) {
  for (const Peak& p : calibration_.peaks) {
    const Result<IsaSet> isa = isa_from_string(p.isa);
    // A step of a newer version is one that no variant of this build has.
    peak_isa_.push_back(isa.ok() ? closure(*isa) : ~IsaSet{0});
  }
  for (const Bandwidth& b : calibration_.bandwidths) {
    if (b.level == "LLC") llc_bytes_ = std::max(llc_bytes_, b.working_set_bytes);
    if (b.level == "DRAM")
      dram_bytes_ = dram_bytes_ == 0 ? b.working_set_bytes : std::min(dram_bytes_, b.working_set_bytes);
  }
  find_exposures();
}

void Roofline::find_exposures() {
  for (const TimedOperator& t : calibration_.operators) {
    if (t.held_out || t.shape.kind != OpKind::kMatmul || t.shape.m != kMixedRows) continue;
    const KernelVariant* const v = find_variant(t.variant);
    if (v == nullptr) continue;  // of another build
    const double peak = variant_peak(t.shape, *v, t.workers), gbps = bandwidth_gbps("DRAM", "read", t.workers);
    if (peak <= 0 || gbps <= 0) continue;
    const LessonTime mixed{op_flops(t.shape) / peak, op_bytes(t.shape) / gbps, fork_join_ns(t.workers) + entry_ns(*v),
                           t.measured_ns};
    const Efficiency kept = efficiency(t.shape, *v, t.workers);
    exposures_.push_back({t.shape.dtype, t.variant, t.workers, fitted_exposure(mixed, kept.compute, kept.memory)});
  }
}

double Roofline::peak_gflops(ExecutionUnit unit, std::string_view dtype, IsaSet isa, unsigned workers) const {
  const IsaSet have = closure(isa);
  double best = 0;
  for (const IsaName& step : kIsaNames) {
    Curve curve(std::max(workers, 1u));
    for (size_t i = 0; i < calibration_.peaks.size(); ++i) {
      const Peak& p = calibration_.peaks[i];
      if (p.unit == unit && p.dtype == dtype && p.isa == step.name && (peak_isa_[i] & ~have) == 0)
        curve.add(p.workers, p.gflops);
    }
    best = std::max(best, curve.value());
  }
  return best;
}

double Roofline::peak_gflops(ExecutionUnit unit, std::string_view dtype, unsigned workers) const {
  IsaSet all = 0;
  for (const IsaName& n : kIsaNames) all |= n.isa;
  return peak_gflops(unit, dtype, all, workers);
}

double Roofline::bandwidth_gbps(std::string_view level, std::string_view op, unsigned workers) const {
  bool reached = false;
  for (const char* l : kLevels) {
    reached = reached || level == l;
    if (!reached) continue;
    Curve curve(std::max(workers, 1u));
    for (const Bandwidth& b : calibration_.bandwidths)
      if (b.level == l && b.op == op) curve.add(b.workers, b.gbps);
    if (const double value = curve.value(); value > 0) return value;
  }
  return 0;
}

double Roofline::fork_join_ns(unsigned workers) const {
  Curve curve(std::max(workers, 1u));
  for (const ForkJoin& f : calibration_.fork_join) curve.add(f.workers, f.ns);
  return curve.value();
}

double Roofline::packing_ns(Layout to, uint32_t m, uint32_t k, unsigned workers) const {
  if (to == Layout::kRowMajor || m == 0) return 0;
  const unsigned packing = std::clamp(workers, 1u, ceil_div(m, kPanel));  // a panel is one worker's
  const size_t bytes = size_t{m} * k * sizeof(float) + lhs_bytes(to, m, k);
  double gbps = bandwidth_gbps(level_for(bytes, packing), "copy", packing);
  if (const double rate = calibration_.lhs_pack_gbps * packing; rate > 0 && (gbps <= 0 || rate < gbps)) gbps = rate;
  return gbps > 0 ? static_cast<double>(bytes) / gbps : 0;
}

double Roofline::ridge(std::string_view dtype, unsigned workers, std::string_view level, ExecutionUnit unit) const {
  const double gbps = bandwidth_gbps(level, "read", workers);
  return gbps > 0 ? peak_gflops(unit, dtype, workers) / gbps : 0;
}

std::string Roofline::level_for(uint64_t bytes, unsigned workers) const {
  workers = std::max(workers, 1u);
  const uint64_t each = bytes / workers + (bytes % workers != 0 ? 1 : 0);
  if (each <= cache_share(platform_, 1, workers)) return "L1";
  if (each <= cache_share(platform_, 2, workers)) return "L2";
  return bytes <= llc_bytes_ ? "LLC" : "DRAM";
}

double Roofline::read_gbps(uint64_t resident_bytes, unsigned workers, std::string* level) const {
  *level = resident_bytes == 0 ? "DRAM" : level_for(resident_bytes, workers);
  const double far = bandwidth_gbps(*level, "read", workers);
  if (*level != "DRAM" || resident_bytes == 0 || llc_bytes_ == 0 || resident_bytes >= dram_bytes_ || far <= 0)
    return far;
  // Neither here nor there: time per byte, linear in the logarithm of the bytes between the two measured sets.
  const double near = bandwidth_gbps("LLC", "read", workers);
  const double at = std::log(static_cast<double>(resident_bytes) / static_cast<double>(llc_bytes_)) /
                    std::log(static_cast<double>(dram_bytes_) / static_cast<double>(llc_bytes_));
  return 1 / ((1 - at) / near + at / far);
}

double Roofline::entry_ns(const KernelVariant& variant) const noexcept {
  return (variant.isa & (kIsaSme | kIsaSme2)) != 0 ? calibration_.streaming_ns : 0;
}

double Roofline::variant_peak(const OperatorShape& shape, const KernelVariant& variant, unsigned workers,
                              std::string_view* dtype) const {
  const std::string_view type = compute_dtype(shape, variant);
  double peak = peak_gflops(variant.unit, type, variant.isa, workers);
  if (dtype != nullptr) *dtype = peak > 0 ? type : "f32";
  if (peak <= 0) peak = peak_gflops(variant.unit, "f32", variant.isa, workers);
  // Attention in bf16 splits its operands in two, so that three tile products make one.
  return shape.kind == OpKind::kAttention && type == "bf16" ? peak / 3 : peak;
}

Roofline::Efficiency Roofline::efficiency(const OperatorShape& shape, const KernelVariant& variant,
                                          unsigned workers) const {
  Curve compute(std::max(workers, 1u)), memory(std::max(workers, 1u));
  for (const KernelEfficiency& k : calibration_.kernels) {
    if (k.kind != shape.kind || k.dtype != shape.dtype || k.variant != variant.id) continue;
    if (k.compute > 0) compute.add(k.workers, k.compute);
    if (k.memory > 0) memory.add(k.workers, k.memory);
  }
  Efficiency e;
  if (compute.value() > 0) e.compute = compute.value();
  if (memory.value() > 0) e.memory = memory.value();
  Curve exposed(std::max(workers, 1u));
  for (const Exposure& x : exposures_)
    if (shape.kind == OpKind::kMatmul && x.dtype == shape.dtype && x.variant == variant.id)
      exposed.add(x.workers, x.share);
  e.exposed = exposed.value();
  return e;
}

Price Roofline::price(const OperatorShape& shape, const KernelVariant& variant, unsigned workers) const {
  workers = std::max(workers, 1u);
  Price out;
  const double flops = op_flops(shape), bytes = op_bytes(shape);
  const double peak = variant_peak(shape, variant, workers);
  out.compute_ns = peak > 0 ? flops / peak : kInfinity;
  if (shape.kind == OpKind::kMatmul || shape.kind == OpKind::kAttention) {
    out.roof_gbps = read_gbps(options_.resident_bytes, workers, &out.level);
  } else {
    // Elementwise operators work on what the operator before them has just written.
    out.level = level_for(static_cast<uint64_t>(bytes), workers);
    out.roof_gbps = bandwidth_gbps(out.level, "copy", workers);
    const bool exponential = shape.kind == OpKind::kSoftmax || shape.kind == OpKind::kSwiglu;
    if (exponential && calibration_.exp_geps > 0)
      out.compute_ns = std::max(out.compute_ns, double{1} * shape.m * shape.k / (calibration_.exp_geps * workers));
  }
  out.memory_ns = out.roof_gbps > 0 ? bytes / out.roof_gbps : kInfinity;
  out.overhead_ns = fork_join_ns(workers) + entry_ns(variant);
  const double ideal_ns = std::max(out.compute_ns, out.memory_ns);
  const Efficiency kept = efficiency(shape, variant, workers);
  out.compute_ns /= kept.compute;
  out.memory_ns /= kept.memory;
  finish(out, flops, ideal_ns, kept.exposed);
  return out;
}

const char* regime_name(Regime regime) noexcept {
  constexpr const char* kNames[] = {"memory-bound", "ridge-crossing", "compute-bound"};
  return kNames[static_cast<size_t>(regime)];
}

std::vector<Ceiling> Roofline::ceilings(const OperatorShape& shape, unsigned workers) const {
  workers = std::max(workers, 1u);
  // What a unit multiplies such an operator in: the fastest of the types that its kernels take for it.
  std::vector<const char*> dtypes = {"f32"};
  if (shape.kind == OpKind::kMatmul) {
    if (traits(shape.dtype).block_elems > 1) dtypes = {"int8", "f32"};
    if (shape.dtype == DType::kF16) dtypes = {"f16", "bf16", "f32"};
    if (shape.dtype == DType::kBF16) dtypes = {"bf16", "f32"};
  } else if (shape.kind == OpKind::kAttention) {
    dtypes = {"bf16", "f32"};
  }
  const auto peak = [&](ExecutionUnit unit, unsigned count, std::string_view* dtype) {
    double best = 0;
    for (const char* d : dtypes) {
      if (unit == ExecutionUnit::kCpu && shape.kind == OpKind::kAttention && std::string_view(d) != "f32") continue;
      const double parts = shape.kind == OpKind::kAttention && std::string_view(d) == "bf16" ? 3 : 1;
      const double gflops = peak_gflops(unit, d, count) / parts;
      if (gflops <= best) continue;
      best = gflops;
      *dtype = d;
    }
    return best;
  };
  std::vector<Ceiling> out;
  const auto add = [&](ExecutionMode mode, double gflops, double gbps) {
    if (gflops > 0 && gbps > 0) out.push_back({mode, gflops, gbps});
  };
  std::string level;
  std::string_view cpu_dtype, matrix_dtype;
  add(ExecutionMode::kCpu, peak(ExecutionUnit::kCpu, workers, &cpu_dtype),
      read_gbps(options_.resident_bytes, workers, &level));
  const unsigned units = std::min(workers, platform_.matrix_units);
  if (units == 0 || (shape.kind != OpKind::kMatmul && shape.kind != OpKind::kAttention)) return out;
  const double matrix = peak(ExecutionUnit::kMatrix, units, &matrix_dtype);
  add(ExecutionMode::kMatrix, matrix, read_gbps(options_.resident_bytes, units, &level));
  const std::vector<CoopWorkers> divisions = coop_workers(workers, platform_.matrix_units);
  if (divisions.empty() || matrix <= 0) return out;
  const CoopWorkers& w = divisions.front();
  double both = peak(ExecutionUnit::kMatrix, w.matrix, &matrix_dtype) + peak(ExecutionUnit::kCpu, w.cpu, &cpu_dtype);
  for (const CoopPeak& p : calibration_.coop_peaks)
    if (shape.kind == OpKind::kMatmul && p.matrix_dtype == matrix_dtype && p.cpu_dtype == cpu_dtype &&
        p.matrix_workers == w.matrix && p.cpu_workers == w.cpu)
      both = p.matrix_gflops + p.cpu_gflops;
  double gbps = read_gbps(options_.resident_bytes, w.matrix + w.cpu, &level);
  for (const CoopBandwidth& b : calibration_.coop_bandwidths)
    if (b.level == level && b.matrix_workers == w.matrix && b.cpu_workers == w.cpu) gbps = b.matrix_gbps + b.cpu_gbps;
  add(ExecutionMode::kCoop, both, gbps);
  return out;
}

Regime Roofline::regime(const OperatorShape& shape, unsigned workers) const {
  const double intensity = op_flops(shape) / std::max(op_bytes(shape), 1.0);
  bool below = true, above = true;
  for (const Ceiling& c : ceilings(shape, workers)) {
    below = below && intensity < c.ridge();
    above = above && intensity >= c.ridge();
  }
  return below ? Regime::kMemoryBound : above ? Regime::kComputeBound : Regime::kRidgeCrossing;
}

Roofline::CoopRates Roofline::coop_rates(const OperatorShape& shape, const CoopSides& sides) const {
  CoopRates r;
  // The calibrated division of workers that is nearest.
  const auto nearest = [&](const auto& rows, const auto& wanted) {
    const auto apart = [](unsigned a, unsigned b) { return a > b ? a - b : b - a; };
    const auto distance = [&](const auto& row) {
      return apart(row.matrix_workers, sides.matrix_workers) + apart(row.cpu_workers, sides.cpu_workers);
    };
    auto best = rows.end();
    for (auto row = rows.begin(); row != rows.end(); ++row)
      if (wanted(*row) && (best == rows.end() || distance(*row) < distance(*best))) best = row;
    return best;
  };
  std::string_view matrix_dtype, cpu_dtype;
  r.matrix_gflops = variant_peak(shape, *sides.matrix, sides.matrix_workers, &matrix_dtype);
  r.cpu_gflops = variant_peak(shape, *sides.cpu, sides.cpu_workers, &cpu_dtype);
  // What each side keeps of its peak, as a fraction: so it holds for kernels of other ISA steps too.
  const auto row = nearest(calibration_.coop_peaks, [&](const CoopPeak& p) { return p.matrix_dtype == matrix_dtype; });
  if (row != calibration_.coop_peaks.end()) {
    const auto kept = [&](ExecutionUnit unit, const std::string& dtype, const std::string& isa, unsigned workers,
                          double together) {
      for (const Peak& p : calibration_.peaks)
        if (p.unit == unit && p.dtype == dtype && p.isa == isa && p.workers == workers && p.gflops > 0)
          return std::min(together / p.gflops, 1.0);
      return 1.0;
    };
    r.matrix_gflops *=
        kept(ExecutionUnit::kMatrix, row->matrix_dtype, row->matrix_isa, row->matrix_workers, row->matrix_gflops);
    r.cpu_gflops *= kept(ExecutionUnit::kCpu, row->cpu_dtype, row->cpu_isa, row->cpu_workers, row->cpu_gflops);
  }
  const double together = read_gbps(options_.resident_bytes, sides.matrix_workers + sides.cpu_workers, &r.level);
  std::string level;
  r.matrix_alone_gbps = read_gbps(options_.resident_bytes, sides.matrix_workers, &level);
  r.cpu_alone_gbps = read_gbps(options_.resident_bytes, sides.cpu_workers, &level);
  const auto memory = nearest(calibration_.coop_bandwidths, [&](const CoopBandwidth& b) { return b.level == r.level; });
  if (memory != calibration_.coop_bandwidths.end()) {
    r.matrix_gbps = memory->matrix_gbps;
    r.cpu_gbps = memory->cpu_gbps;
  } else if (const double alone = r.matrix_alone_gbps + r.cpu_alone_gbps; alone > 0) {
    r.matrix_gbps = together * r.matrix_alone_gbps / alone;
    r.cpu_gbps = together * r.cpu_alone_gbps / alone;
  }
  return r;
}

Roofline::CoopRates Roofline::kept_rates(CoopRates ceilings, const OperatorShape& shape, const CoopSides& sides) const {
  const Efficiency matrix = efficiency(shape, *sides.matrix, sides.matrix_workers);
  const Efficiency cpu = efficiency(shape, *sides.cpu, sides.cpu_workers);
  ceilings.matrix_gflops *= matrix.compute;
  ceilings.matrix_gbps *= matrix.memory;
  ceilings.matrix_alone_gbps *= matrix.memory;
  ceilings.cpu_gflops *= cpu.compute;
  ceilings.cpu_gbps *= cpu.memory;
  ceilings.cpu_alone_gbps *= cpu.memory;
  return ceilings;
}

double Roofline::coop_share(const OperatorShape& shape, const CoopSides& sides) const {
  const CoopRates r = kept_rates(coop_rates(shape, sides), shape, sides);
  // Calls per nanosecond, if a side did whole calls while the other one does too.
  const auto rate = [&](double gflops, double gbps) {
    return 1 / std::max(op_flops(shape) / gflops, op_bytes(shape) / gbps);
  };
  const double matrix = rate(r.matrix_gflops, r.matrix_gbps), cpu = rate(r.cpu_gflops, r.cpu_gbps);
  return matrix / (matrix + cpu);
}

Price Roofline::coop_price(const OperatorShape& shape, const CoopSides& sides, const CoopDivision& division) const {
  const CoopRates ceilings = coop_rates(shape, sides);
  const double flops = op_flops(shape), bytes = op_bytes(shape), share = std::clamp(division.share, 0.0, 1.0);
  Price out;
  out.level = ceilings.level;
  out.roof_gbps = ceilings.matrix_gbps + ceilings.cpu_gbps;
  const auto over = [](double work, double rate) { return rate > 0 ? work / rate : kInfinity; };
  const auto take = [&](const CoopRates& r) {
    const double both_gbps = r.matrix_gbps + r.cpu_gbps;
    if (division.dynamic) {
      out.compute_ns = over(flops, r.matrix_gflops + r.cpu_gflops);
      out.memory_ns = over(bytes, both_gbps);
    } else {
      out.compute_ns = std::max(over(share * flops, r.matrix_gflops), over((1 - share) * flops, r.cpu_gflops));
      // Who ends first leaves the memory to the other, which then reads as fast as it can alone.
      out.memory_ns =
          std::max({over(bytes, both_gbps), over(share * bytes, std::max(r.matrix_alone_gbps, r.matrix_gbps)),
                    over((1 - share) * bytes, std::max(r.cpu_alone_gbps, r.cpu_gbps))});
    }
    return std::max(out.compute_ns, out.memory_ns);
  };
  const double ideal_ns = take(ceilings);
  take(kept_rates(ceilings, shape, sides));
  const double exposed = std::max(efficiency(shape, *sides.matrix, sides.matrix_workers).exposed,
                                  efficiency(shape, *sides.cpu, sides.cpu_workers).exposed);
  out.overhead_ns = fork_join_ns(sides.matrix_workers + sides.cpu_workers) + entry_ns(*sides.matrix);
  finish(out, flops, ideal_ns, exposed);
  return out;
}

Price Roofline::pipeline_price(const OperatorShape& shape, const CoopSides& sides) const {
  const CoopRates r = coop_rates(shape, sides);
  const double flops = op_flops(shape), bytes = op_bytes(shape);
  // One exponential for each product of a query and a key: 4 * head_dim operations.
  const double exponentials = flops / (4.0 * shape.k);
  const double exp_ns =
      calibration_.exp_geps > 0 ? exponentials / (calibration_.exp_geps * sides.cpu_workers) : kInfinity;
  Price out;
  out.level = r.level;
  out.roof_gbps = r.matrix_gbps;  // only the matrix unit reads K and V
  out.compute_ns = std::max(r.matrix_gflops > 0 ? flops / r.matrix_gflops : kInfinity, exp_ns);
  out.memory_ns = out.roof_gbps > 0 ? bytes / out.roof_gbps : kInfinity;
  out.overhead_ns = fork_join_ns(sides.matrix_workers + sides.cpu_workers) + entry_ns(*sides.matrix);
  finish(out, flops, std::max(out.compute_ns, out.memory_ns), 0);
  return out;
}

}  // namespace smepilot
