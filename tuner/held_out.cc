#include "tuner/held_out.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "db/plan.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "profiles/calibrate.h"
#include "profiles/kernel_efficiency.h"
#include "profiles/roofline.h"
#include "profiles/statistics.h"

namespace smepilot {
namespace {

constexpr size_t kMinSamples = 5, kMaxSamples = 40;
constexpr double kSampling_s = 0.03, kQuickSampling_s = 0.012;  // for one kernel on one operator, once it has warmed up
constexpr uint64_t kWarm = 1;  // OperatorTask::pass_bytes: a single copy of the weights

constexpr DType kJudgedTypes[] = {DType::kQ4_0, DType::kQ8_0, DType::kF16};
constexpr DType kCacheTypes[] = {DType::kF32, DType::kF16, DType::kQ8_0};

OperatorShape matmul_of(DType type, uint32_t m, uint32_t n, uint32_t k) {
  return {OpKind::kMatmul, type, m, n, k, 0, 0};
}
OperatorShape attention_of(DType type, uint32_t m, uint32_t heads, uint32_t head_dim, uint32_t kv_len,
                           uint32_t kv_heads) {
  return {OpKind::kAttention, type, m, heads, head_dim, kv_len, kv_heads};
}

// An operator to teach with, and what it tells about.
enum class About : uint8_t { kCompute, kMemory, kBoth };
struct Lesson {
  OperatorShape shape;
  About about = About::kCompute;
};

// For each type a call that reads much and computes little, and one that does the opposite; of a matmul also one of few
// rows, for kernels that take no more, and one that does both.
std::vector<Lesson> lessons(bool quick, unsigned workers) {
  std::vector<Lesson> out;
  const uint32_t columns = 256 * std::clamp(workers, 2u, 32u);
  for (size_t t = 0; t < static_cast<size_t>(DType::kQ8); ++t) {
    const auto type = static_cast<DType>(t);
    if (quick && std::find(std::begin(kJudgedTypes), std::end(kJudgedTypes), type) == std::end(kJudgedTypes)) continue;
    out.push_back({matmul_of(type, 64, columns, 2048), About::kCompute});
    out.push_back({matmul_of(type, 4, columns, 2048), About::kCompute});
    out.push_back({matmul_of(type, 1, 4096, 2048), About::kMemory});
    out.push_back({matmul_of(type, kMixedRows, 3072, 2048), About::kBoth});
  }
  for (const DType type : kCacheTypes) {
    if (quick && type != DType::kF16) continue;
    out.push_back({attention_of(type, 64, 32, 128, 256, 8), About::kCompute});
    out.push_back({attention_of(type, 1, 32, 128, 1024, 8), About::kMemory});
  }
  return out;
}

// What the model has not seen: other sizes, of decode, batched decode and prefill.
std::vector<OperatorShape> exam() {
  std::vector<OperatorShape> out;
  for (const DType type : kJudgedTypes) {
    out.push_back(matmul_of(type, 1, 3072, 3072));
    out.push_back(matmul_of(type, 8, 2048, 4096));
    out.push_back(matmul_of(type, 96, 1536, 3072));
  }
  out.push_back(attention_of(DType::kF16, 1, 24, 128, 2048, 8));
  out.push_back(attention_of(DType::kF16, 128, 24, 128, 384, 8));
  return out;
}

unsigned workers_of(const KernelVariant& variant, unsigned workers, const Platform& platform) {
  if (variant.unit != ExecutionUnit::kMatrix) return workers;
  return std::min(workers, std::max(platform.matrix_units, 1u));
}

// The untuned blocking, with this kernel.
Result<Candidate> candidate_with(const OperatorShape& shape, const KernelVariant& variant, unsigned workers) {
  SMEPILOT_ASSIGN(PlanEntry entry, default_entry(shape, workers));
  entry.variant = variant.id;
  entry.mode = variant.unit == ExecutionUnit::kMatrix ? ExecutionMode::kMatrix : ExecutionMode::kCpu;
  return candidate_of(entry);
}

class Timing {
 public:
  Timing(Evaluator& evaluator, const HeldOutOptions& options) : evaluator_(evaluator), options_(options) {}

  Status prepare(const OperatorShape& shape, bool cold) {
    OperatorTask task;
    task.shape = shape;
    task.pass_bytes = cold ? 0 : kWarm;
    return evaluator_.prepare(task);
  }

  Status step(size_t at, size_t of, const std::string& label) {
    if (cancelled()) return error("{}", kCalibrationCancelled);
    if (options_.progress) options_.progress(static_cast<double>(at) / static_cast<double>(of), label);
    return {};
  }

  // What the roofline says beforehand is `predicted_ns`. No samples: there are none.
  Result<TimedOperator> time(const OperatorShape& shape, const KernelVariant& variant, unsigned workers,
                             double predicted_ns) {
    TimedOperator out;
    out.shape = shape;
    out.variant = variant.id;
    out.workers = workers;
    out.predicted_ns = predicted_ns;
    SMEPILOT_ASSIGN(const Candidate candidate, candidate_with(shape, variant, workers));
    const double end = evaluator_.now_s() + (options_.quick ? kQuickSampling_s : kSampling_s);
    while (out.samples.size() < kMinSamples || (evaluator_.now_s() < end && out.samples.size() < kMaxSamples)) {
      if (cancelled()) return error("{}", kCalibrationCancelled);
      const std::optional<double> ns = evaluator_.sample(candidate);
      if (!ns) break;
      out.samples.push_back(*ns);
    }
    out.measured_ns = median(out.samples);
    return out;
  }

 private:
  bool cancelled() const noexcept {
    return options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed);
  }
  Evaluator& evaluator_;
  const HeldOutOptions& options_;
};

// What a kernel was timed on, by what that tells about.
struct Taught {
  LessonTime lessons[3] = {};
  // Fixed costs may be most of a call, which then says nothing.
  bool says(About about) const {
    const LessonTime& l = lessons[static_cast<size_t>(about)];
    return fitted_efficiency(about == About::kMemory ? l.memory_ns : l.compute_ns, l.overhead_ns, l.measured_ns) > 0;
  }
};

RooflineOptions resident(const HeldOutOptions& options, bool cold, const OperatorShape& shape) {
  return {cold ? options.cold_bytes : static_cast<uint64_t>(op_bytes(shape))};
}

}  // namespace

Status fit_kernels(const Platform& platform, Evaluator& evaluator, const HeldOutOptions& options,
                   Calibration& calibration) {
  SMEPILOT_ASSIGN(const IsaSet isa, usable_isa());
  calibration.kernels.clear();
  calibration.operators.clear();
  Timing timing(evaluator, options);
  const std::vector<Lesson> all = lessons(options.quick, options.workers);
  const std::set<unsigned> counts = {1, std::max(options.workers, 1u)};
  std::map<std::tuple<OpKind, DType, std::string, unsigned>, Taught> kernels;
  std::vector<TimedOperator> taught;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto& [shape, about] = all[i];
    SMEPILOT_TRY(timing.step(i, all.size(), fmt::format("kernels: {}", describe(shape))));
    const std::vector<const KernelVariant*> variants = select_variants(shape, isa).usable;
    if (variants.empty()) continue;
    const bool cold = about != About::kCompute;
    const Roofline ceilings(calibration, platform, resident(options, cold, shape));  // no kernel is known to it yet
    bool prepared = false;
    std::map<std::pair<ExecutionUnit, unsigned>, double> best;
    for (const KernelVariant* v : variants) {
      std::set<unsigned> tried;
      for (const unsigned count : counts) {
        const unsigned workers = workers_of(*v, count, platform);
        if (!tried.insert(workers).second) continue;
        const std::tuple key{shape.kind, shape.dtype, std::string(v->id), workers};
        const auto known = kernels.find(key);
        if (known != kernels.end() && known->second.says(about)) continue;
        // What it does not hide can only be told apart from what it keeps where that is known.
        if (about == About::kBoth &&
            (known == kernels.end() || !known->second.says(About::kCompute) || !known->second.says(About::kMemory)))
          continue;
        const Price price = ceilings.price(shape, *v, workers);
        // A kernel whose ceiling is below what another one does loses without being timed.
        double& fastest = best[{v->unit, workers}];
        if (!std::isfinite(price.ns) || (fastest > 0 && price.ns > fastest)) continue;
        if (!prepared) SMEPILOT_TRY(timing.prepare(shape, cold));
        prepared = true;
        SMEPILOT_ASSIGN(TimedOperator timed, timing.time(shape, *v, workers, price.ns));
        if (timed.samples.empty()) continue;
        if (fastest <= 0 || timed.measured_ns < fastest) fastest = timed.measured_ns;
        kernels[key].lessons[static_cast<size_t>(about)] = {price.compute_ns, price.memory_ns, price.overhead_ns,
                                                            timed.measured_ns};
        taught.push_back(std::move(timed));
      }
    }
  }
  for (const auto& [key, t] : kernels) {
    const auto& [kind, dtype, variant, workers] = key;
    const FittedKernel k = fit_kernel(t.lessons[0], t.lessons[1], t.lessons[2]);
    if (k.compute > 0 || k.memory > 0)
      calibration.kernels.push_back({kind, dtype, variant, workers, k.compute, k.memory});
  }
  calibration.operators = std::move(taught);
  return {};
}

Status judge_model(const Platform& platform, Evaluator& evaluator, const HeldOutOptions& options,
                   Calibration& calibration) {
  Timing timing(evaluator, options);
  const Roofline roofline(calibration, platform, {options.cold_bytes});
  const std::vector<OperatorShape> shapes = exam();
  for (size_t i = 0; i < shapes.size(); ++i) {
    const OperatorShape& shape = shapes[i];
    SMEPILOT_TRY(timing.step(i, shapes.size(), fmt::format("judging: {}", describe(shape))));
    bool prepared = false;
    std::set<std::string> done;
    for (const ExecutionUnit unit : {ExecutionUnit::kCpu, ExecutionUnit::kMatrix}) {
      const Result<PlanEntry> entry = default_entry(shape, options.workers, unit);
      if (!entry.ok()) continue;  // this unit has no kernel for it
      const KernelVariant* v = find_variant(entry->variant);
      if (v == nullptr || !done.insert(v->id).second) continue;
      const unsigned workers = workers_of(*v, options.workers, platform);
      const double predicted = roofline.price(shape, *v, workers).ns;
      if (!std::isfinite(predicted)) continue;
      if (!prepared) SMEPILOT_TRY(timing.prepare(shape, true));
      prepared = true;
      SMEPILOT_ASSIGN(TimedOperator timed, timing.time(shape, *v, workers, predicted));
      if (timed.samples.empty()) continue;
      timed.held_out = true;
      calibration.operators.push_back(std::move(timed));
    }
  }
  if (options.progress) options.progress(1, "done");
  return {};
}

Result<double> memory_drift(const Platform& platform, Evaluator& evaluator, const HeldOutOptions& options,
                            const Calibration& calibration) {
  const TimedOperator* then = nullptr;  // that which reads fastest
  for (const TimedOperator& t : calibration.operators)
    if (!t.held_out && t.shape.kind == OpKind::kMatmul && t.shape.m == 1 && t.workers == options.workers &&
        (then == nullptr || op_bytes(t.shape) / t.measured_ns > op_bytes(then->shape) / then->measured_ns))
      then = &t;
  const KernelVariant* const v = then == nullptr ? nullptr : find_variant(then->variant);
  if (v == nullptr) return 1.0;
  Timing timing(evaluator, options);
  SMEPILOT_TRY(timing.prepare(then->shape, true));
  SMEPILOT_ASSIGN(const TimedOperator now,
                  timing.time(then->shape, *v, workers_of(*v, then->workers, platform), then->predicted_ns));
  return now.samples.empty() ? 1.0 : now.measured_ns / then->measured_ns;
}

Status teach_and_judge(const Platform& platform, Evaluator& evaluator, const HeldOutOptions& options,
                       Calibration& calibration, unsigned* teachings) {
  constexpr double kSame = 0.12;  // relative: what such a call differs by from itself
  constexpr double kTaught = 0.75;
  for (unsigned n = 1;; ++n) {
    if (teachings != nullptr) *teachings = n;
    const auto part = [&](double begin, double end) {
      HeldOutOptions o = options;
      if (options.progress)
        o.progress = [&options, begin, end, n](double fraction, std::string_view label) {
          options.progress(begin + (end - begin) * fraction,
                           n == 1 ? std::string(label) : fmt::format("{}, again", label));
        };
      return o;
    };
    SMEPILOT_TRY(fit_kernels(platform, evaluator, part(0, kTaught), calibration));
    SMEPILOT_TRY(judge_model(platform, evaluator, part(kTaught, 1), calibration));
    SMEPILOT_ASSIGN(const double drift, memory_drift(platform, evaluator, options, calibration));
    if (n == kTeachings || (drift <= 1 + kSame && drift >= 1 / (1 + kSame))) return {};
  }
}

std::string held_out_table(const Calibration& calibration, const Platform& platform) {
  const std::optional<double> error = median_error(calibration);
  if (!error) return {};
  std::string out =
      fmt::format("\n{:<44}{:>6}{:>10}{:>10}{:>9}\n", "Held-out operators", "unit", "predicted", "measured", "error");
  for (const TimedOperator& t : calibration.operators) {
    if (!t.held_out) continue;
    const KernelVariant* v = find_variant(t.variant);
    const bool matrix = v != nullptr && v->unit == ExecutionUnit::kMatrix;
    out += fmt::format("  {:<42}{:>6}{:>10}{:>10}{:>+7.0f} %\n", describe(t.shape).substr(0, 42),
                       mode_name(matrix ? ExecutionMode::kMatrix : ExecutionMode::kCpu, platform).substr(0, 5),
                       format_ns(t.predicted_ns), format_ns(t.measured_ns), 100 * t.error());
  }
  out += fmt::format("median error of the model on them {:.1f} %\n", 100 * *error);
  return out;
}

}  // namespace smepilot
