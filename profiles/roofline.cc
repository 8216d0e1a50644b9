#include "profiles/roofline.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/isa/isa_detect.h"
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

}  // namespace

std::string_view compute_dtype(const OperatorShape& shape, const KernelVariant& variant) noexcept {
  const bool matrix = variant.unit == ExecutionUnit::kMatrix;
  if (shape.kind == OpKind::kAttention && matrix) return "bf16";
  if (shape.kind != OpKind::kMatmul) return "f32";
  if (variant.lhs == DType::kQ8) return "int8";
  const bool f16 = variant.rhs == DType::kF16, bf16 = variant.rhs == DType::kBF16;
  if (matrix && (f16 || bf16)) return f16 && (variant.isa & kIsaSme) != 0 ? "f16" : "bf16";
  if (bf16 && (variant.isa & kIsaAvx512Bf16) != 0) return "bf16";
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

Price Roofline::price(const OperatorShape& shape, const KernelVariant& variant, unsigned workers) const {
  workers = std::max(workers, 1u);
  Price out;
  const double flops = op_flops(shape), bytes = op_bytes(shape);
  const std::string_view dtype = compute_dtype(shape, variant);
  double peak = peak_gflops(variant.unit, dtype, variant.isa, workers);
  if (peak <= 0) peak = peak_gflops(variant.unit, "f32", variant.isa, workers);
  // Attention in bf16 splits its operands in two, so that three tile products make one.
  const double products = shape.kind == OpKind::kAttention && dtype == "bf16" ? 3 : 1;
  out.compute_ns = peak > 0 ? flops * products / peak : kInfinity;
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
  out.overhead_ns = fork_join_ns(workers);
  const double work_ns = std::max(out.compute_ns, out.memory_ns);
  out.ns = work_ns + out.overhead_ns;
  out.roof_gflops = work_ns > 0 ? flops / work_ns : 0;
  out.bound = out.overhead_ns > work_ns ? "overhead" : out.compute_ns >= out.memory_ns ? "compute" : "memory";
  return out;
}

}  // namespace smepilot
