#include "tuner/hardware_evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/isa/isa_detect.h"
#include "kernels/probe/probe.h"
#include "kernels/registry/registry.h"
#include "profiles/timer.h"
#include "tuner/guard.h"

namespace smepilot {
namespace {

constexpr double kSample_ns = 20e3;  // a sample takes at least about this long, so that the clock is fine enough
constexpr unsigned kMaxRepeats = 512;
constexpr unsigned kWarmCalls = 6;  // at most, until two calls agree within kWarm
constexpr double kWarm = 0.1;
constexpr double kWarmBudget_ns = 50e6;
constexpr double kReference_ns = 8e3;  // at least, of the reference kernel beside the samples

std::vector<int> pinning(const Platform& platform) {
  return platform.worker_cpus();
}

// Do two full-size results agree, as far as results of different kernels can? `exact`: both read the same activations.
CheckResult compare_results(std::span<const float> found, std::span<const float> expected, bool exact) {
  double error2 = 0, norm2 = 0, worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double d = std::abs(double{found[i]} - double{expected[i]});
    error2 += d * d;
    norm2 += double{expected[i]} * double{expected[i]};
    if (!(d <= worst)) {
      worst = d;
      at = i;
    }
  }
  const double rms = std::sqrt(norm2 / static_cast<double>(std::max<size_t>(expected.size(), 1)));
  const double relative = std::sqrt(error2 / std::max(norm2, 1e-300));
  // Activations rounded to 8 bits differ from exact ones by about half a percent in the result, products of numbers
  // that are both rounded to bf16 by a fifth.
  const double limit = exact ? 4e-3 : 3e-2, worst_limit = (exact ? 2e-2 : 2e-1) * rms;
  if (relative <= limit && worst <= worst_limit) return {};
  return {
      MeasurementStatus::kIncorrect,
      fmt::format("full-size result differs from the default's: relative error {:.2g} (allowed {:.2g}), element {} is "
                  "{:.6g} instead of {:.6g}",
                  relative, limit, at, found[at], expected[at])};
}

}  // namespace

HardwareEvaluator::HardwareEvaluator(const Platform& platform, unsigned workers, const HardwareOptions& options)
    : platform_(platform), options_(options), workers_(std::max(workers, 1u)) {}

HardwareEvaluator::~HardwareEvaluator() = default;

Status HardwareEvaluator::start() {
  pool_ = std::make_unique<WorkerPool>(workers_, pinning(platform_));
  SMEPILOT_ASSIGN(const IsaSet isa, usable_isa());
  for (const Probe* p : all_probes()) {  // the best of a kind is the first
    const bool runs = (p->isa & ~isa) == 0 && p->unit == ExecutionUnit::kCpu && p->kind == ProbeKind::kFlopsF32;
    if (runs && reference_ == nullptr) reference_ = p;
  }
  if (reference_ == nullptr) return {};
  constexpr int kTries = 3;
  for (double ns = 0;; reference_repeat_ *= 2) {  // until it takes long enough, by the best of a few tries
    ns = reference_ns();
    for (int i = 1; i < kTries; ++i) ns = std::min(ns, reference_ns());
    if (ns >= kReference_ns) break;
  }
  watch_.emplace(QuietSource{[this] { return reference_ns(); }, [this] { return now_s(); }});
  return {};
}

double HardwareEvaluator::reference_ns() {
  pool_->run(workers_, [](unsigned, unsigned) {});
  const int64_t begin = now_ns();
  pool_->run(workers_, [&](unsigned, unsigned) noexcept {
    const ProbeArgs args = {nullptr, nullptr, 0, reference_repeat_, false};
    reference_->run(&args);
  });
  return static_cast<double>(now_ns() - begin);
}

Evaluator::Disturbance HardwareEvaluator::disturbance() const {
  if (!watch_) return {};
  return {watch_->measured(), watch_->disturbed()};
}

Status HardwareEvaluator::prepare(const OperatorTask& task) {
  if (pool_ == nullptr) SMEPILOT_TRY(start());
  operands_.reset();
  known_.clear();
  expected_.clear();
  task_ = task;
  const uint64_t cold = task.pass_bytes == 0 ? options_.cold_bytes : std::min(task.pass_bytes, options_.cold_bytes);
  SMEPILOT_ASSIGN(operands_, make_operands(task.shape, cold, workers_, platform_.memory_bytes, *pool_));
  return {};
}

HardwareEvaluator::Known& HardwareEvaluator::known(const Candidate& candidate) {
  Known& k = known_[describe(candidate)];
  if (k.kernels.variant == nullptr) {
    k.kernels.variant = find_variant(candidate.variant);
    if (candidate.mode == ExecutionMode::kCoop) k.kernels.matrix = find_variant(candidate.coop.variant);
  }
  return k;
}

double HardwareEvaluator::time_calls(const Candidate& candidate, const Kernels& kernels, unsigned calls) {
  pool_->run(workers_, [](unsigned, unsigned) {});  // wakes whoever fell asleep since the last call
  const int64_t cpu = thread_cpu_ns(), start = now_ns();
  for (unsigned i = 0; i < calls; ++i) operands_->call(*pool_, candidate, kernels);
  const int64_t ns = std::max<int64_t>(now_ns() - start, 1);
  wall_ns_ += static_cast<double>(ns);
  cpu_ns_ += static_cast<double>(std::min(thread_cpu_ns() - cpu, ns));
  return static_cast<double>(ns) / calls;
}

CheckResult HardwareEvaluator::check(const Candidate& candidate) {
  const Kernels kernels = known(candidate).kernels;
  const bool coop = candidate.mode == ExecutionMode::kCoop;
  if (kernels.variant == nullptr || (coop && kernels.matrix == nullptr))
    return {MeasurementStatus::kUnsupported,
            fmt::format("this build has no variant {}",
                        kernels.variant == nullptr ? candidate.variant : candidate.coop.variant)};
  const KernelVariant& variant = *kernels.variant;
  const OperatorShape& s = task_.shape;
  // The piece that is checked depends on these only.
  const uint32_t m = std::min(s.m, 17u), n = std::min(s.n, 83u);
  std::string piece =
      fmt::format("{} {} {} {} {} {}", candidate.variant, m, n, s.k, std::min(s.kv_len, 151u), s.kv_heads);
  if (coop) {
    const CoopShare share = matmul_config(candidate, kernels, m, n, 2).coop;
    piece += fmt::format(" {} {} {} {} {} {}", candidate.coop.variant, kSplitDimNames[static_cast<size_t>(share.dim)],
                         share.split, share.dynamic, candidate.coop.rows, candidate.coop.depth);
  }
  auto it = verified_.find(piece);
  if (it == verified_.end()) {
    const CheckResult r =
        run_guarded([&] { return check_against_oracle(s, candidate, kernels); }, options_.check_timeout_s);
    it = verified_.emplace(piece, r).first;
  }
  if (it->second.status != MeasurementStatus::kOk) return it->second;

  operands_->call(*pool_, candidate, kernels);
  const bool quantised = is_q8(variant.lhs_layout);
  const std::span<const float> result = operands_->result();
  if (expected_.empty()) {
    expected_.assign(result.begin(), result.end());
    expected_quantised_ = quantised;
    return {};
  }
  const bool exact = quantised == expected_quantised_ && (quantised || (variant.unit == ExecutionUnit::kCpu && !coop));
  return compare_results(result, expected_, exact);
}

void HardwareEvaluator::begin_round() {
  if (operands_ != nullptr) operands_->move_on();
}

std::optional<double> HardwareEvaluator::sample(const Candidate& candidate) {
  Known& k = known(candidate);
  if (k.kernels.variant == nullptr) return std::nullopt;
  if (k.repeats == 0) {
    double last = time_calls(candidate, k.kernels, 1), spent = last;
    for (unsigned i = 1; i < kWarmCalls && spent < kWarmBudget_ns; ++i) {
      const double now = time_calls(candidate, k.kernels, 1);
      spent += now;
      const bool stable = std::abs(now - last) < kWarm * last;
      last = now;
      if (stable) break;
    }
    k.repeats = static_cast<unsigned>(std::clamp(std::ceil(kSample_ns / last), 1.0, double{kMaxRepeats}));
  }
  const auto timed = [&] { return time_calls(candidate, k.kernels, k.repeats); };
  return watch_ ? watch_->measure(timed) : timed();
}

double HardwareEvaluator::now_s() {
  return static_cast<double>(now_ns()) * 1e-9;
}

}  // namespace smepilot
