#include "profiles/sampled_run.h"

#include <chrono>
#include <thread>

namespace smepilot {
namespace {

constexpr double kCooldown = 0.1;  // of the time, for waiting until the clock has come back

}  // namespace

SampledRun::SampledRun(unsigned workers, const std::vector<int>& cpus, double budget_ns,
                       const CalibrateOptions& options, const std::function<double()>& reference)
    : pool_(workers, cpus),
      times_(workers),
      progress_(options.progress),
      cancel_(options.cancel),
      budget_ns_(budget_ns),
      clock_(clock_source(options, reference), {.cooldown_s = kCooldown * budget_ns * 1e-9}) {}

ClockSource SampledRun::clock_source(const CalibrateOptions& options, const std::function<double()>& reference) {
  ClockSource source;
  source.gflops = options.reference_gflops ? options.reference_gflops : reference;
  source.now_s = [] { return static_cast<double>(now_ns()) * 1e-9; };
  source.wait_s = [](double s) { std::this_thread::sleep_for(std::chrono::duration<double>(s)); };
  source.cancelled = [this] { return cancelled(); };
  return source;
}

void SampledRun::start() {
  started_ = now_ns();
  clock_.start();
}

bool SampledRun::cancelled() const noexcept {
  return cancel_ != nullptr && cancel_->load(std::memory_order_relaxed);
}

double SampledRun::busy_fraction() const noexcept {
  return wanted_ns_ > 0 ? std::clamp(1 - got_ns_ / wanted_ns_, 0.0, 1.0) : 0;
}

Status SampledRun::next_step(double begin, double end, size_t step, size_t steps, const std::string& label) {
  if (cancelled()) return error("{}", kCalibrationCancelled);
  const double done = static_cast<double>(step) / static_cast<double>(steps);
  if (progress_) progress_(begin + (end - begin) * done, label);
  const double left_ns = end * budget_ns_ - elapsed_ns();
  step_end_ns_ = now_ns() + static_cast<int64_t>(std::max(left_ns, 0.0) / static_cast<double>(steps - step));
  return {};
}

}  // namespace smepilot
