// What every step of a calibration needs, whatever it measures: workers that start together, samples until the step's
// share of the time is spent, and a step that is measured again where the clock fell meanwhile.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/status.h"
#include "kernels/driver/worker_pool.h"
#include "profiles/calibrate.h"
#include "profiles/clock_watch.h"
#include "profiles/timer.h"

namespace smepilot {

class SampledRun {
 public:
  // `cpus`: where workers are pinned, fewer leave the last ones free. `reference`: the rate of the clock's reference
  // kernel, GFLOP/s.
  SampledRun(unsigned workers, const std::vector<int>& cpus, double budget_ns, const CalibrateOptions& options,
             const std::function<double()>& reference);

 protected:
  struct alignas(64) WorkerTime {
    int64_t begin = 0, end = 0, cpu = 0;
    uint64_t pieces = 0;  // of work done in that time
  };

  void start();
  bool cancelled() const noexcept;
  double elapsed_ns() const noexcept { return static_cast<double>(now_ns() - started_); }
  // Of the time during which workers wanted a core, the part in which they had none.
  double busy_fraction() const noexcept;
  const ClockRecord& clock_record() const noexcept { return clock_.record(); }

  // Announces step `step` of `steps` of the phase that takes [begin, end) of the whole, stops if that was asked for,
  // and gives the step an even share of the time that the phase has left: what a busy machine cost the steps before
  // is saved in those that follow.
  Status next_step(double begin, double end, size_t step, size_t steps, const std::string& label);

  // A step that `measure` measures: once, and again where the clock fell meanwhile.
  template <typename Measure>
  Status measure_step(double begin, double end, size_t step, size_t steps, const std::string& label,
                      const Measure& measure) {
    for (unsigned repeats = 0;; ++repeats) {
      SMEPILOT_TRY(next_step(begin, end, step, steps, repeats == 0 ? label : label + ", again"));
      SMEPILOT_TRY(measure());
      if (!clock_.measure_again(repeats)) return {};
    }
  }

  // Runs fn(worker) on all workers at once, from a common start; the time from the first start to the last end.
  template <typename Fn>
  double timed(unsigned workers, const Fn& fn) {
    pool_.run(workers, [&](unsigned w, unsigned n) noexcept {
      pool_.barrier(n);
      const int64_t cpu = thread_cpu_ns();
      times_[w].begin = now_ns();
      fn(w);
      times_[w].end = now_ns();
      times_[w].cpu = thread_cpu_ns() - cpu;
    });
    int64_t begin = times_[0].begin, end = times_[0].end;
    for (unsigned w = 0; w < workers; ++w) {
      begin = std::min(begin, times_[w].begin);
      end = std::max(end, times_[w].end);
      got_ns_ += static_cast<double>(times_[w].cpu);
      wanted_ns_ += static_cast<double>(times_[w].end - times_[w].begin);
    }
    return static_cast<double>(std::max<int64_t>(end - begin, 1));
  }

  // The `repeat` with which once(repeat), which returns nanoseconds, takes about sample_ns. Warms up on the way.
  template <typename Once>
  uint64_t choose_repeat(const Once& once, double sample_ns = kSampleNs) {
    uint64_t repeat = 1;
    double ns = once(repeat);
    while (ns < sample_ns / 4 && repeat < (uint64_t{1} << 40) && !cancelled()) ns = once(repeat *= 2);
    for (int i = 0; i < 2; ++i) ns = std::min(ns, once(repeat));  // the first may have been interrupted
    return std::max<uint64_t>(1, static_cast<uint64_t>(std::llround(static_cast<double>(repeat) * sample_ns / ns)));
  }

  // Samples rate() until the time until `end_ns` is spent, never fewer than kMinSamples.
  template <typename Rate>
  Result<std::vector<double>> sample(int64_t end_ns, const Rate& rate) {
    std::vector<double> samples;
    while (samples.size() < kMinSamples || (now_ns() < end_ns && samples.size() < kMaxSamples)) {
      if (cancelled()) return error("{}", kCalibrationCancelled);
      samples.push_back(rate());
    }
    return samples;
  }

  static constexpr double kSampleNs = 1e6;  // long against a fork and join, short against a scheduler's time slice

  WorkerPool pool_;
  std::vector<WorkerTime> times_;
  int64_t step_end_ns_ = 0;

 private:
  static constexpr size_t kMinSamples = 12, kMaxSamples = 400;

  ClockSource clock_source(const CalibrateOptions& options, const std::function<double()>& reference);

  const std::function<void(double, std::string_view)>& progress_;
  const std::atomic<bool>* const cancel_;
  const double budget_ns_;
  ClockWatch clock_;
  int64_t started_ = 0;
  double got_ns_ = 0, wanted_ns_ = 0;  // CPU time that workers had, and wall time during which they wanted it
};

}  // namespace smepilot
