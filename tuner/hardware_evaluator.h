// Measures candidates on this machine, by the same driver functions that the engine runs.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/abi/probe.h"
#include "kernels/driver/worker_pool.h"
#include "profiles/platform.h"
#include "profiles/quiet_watch.h"
#include "tuner/evaluator.h"
#include "tuner/operands.h"

namespace smepilot {

struct HardwareOptions {
  uint64_t cold_bytes = uint64_t{256} << 20;  // upper bound of the copies of weights that calls rotate through
  double check_timeout_s = 30;
};

class HardwareEvaluator final : public Evaluator {
 public:
  // Threads are pinned to cores of the platform's core classes, in their order. `workers`: the most any candidate uses.
  HardwareEvaluator(const Platform& platform, unsigned workers, const HardwareOptions& options = {});
  ~HardwareEvaluator() override;

  Status prepare(const OperatorTask& task) override;
  CheckResult check(const Candidate& candidate) override;
  void begin_round() override;
  std::optional<double> sample(const Candidate& candidate) override;
  double now_s() override;
  Disturbance disturbance() const override;

  // Share of the time of all samples in which the calling worker, which never waits, was not running: what other
  // programs took of its core.
  double busy_fraction() const noexcept { return wall_ns_ > 0 ? 1 - cpu_ns_ / wall_ns_ : 0; }
  size_t repeated() const noexcept { return watch_ ? watch_->repeated() : 0; }

 private:
  struct Known {
    Kernels kernels;
    unsigned repeats = 0;  // calls per sample; 0: not warmed up yet
  };
  Known& known(const Candidate& candidate);
  double time_calls(const Candidate& candidate, const Kernels& kernels, unsigned calls);
  Status start();
  double reference_ns();

  Platform platform_;
  HardwareOptions options_;
  unsigned workers_;
  std::unique_ptr<WorkerPool> pool_;
  std::optional<QuietWatch> watch_;
  const Probe* reference_ = nullptr;
  uint64_t reference_repeat_ = 1;
  double wall_ns_ = 0, cpu_ns_ = 0;
  OperatorTask task_;
  std::unique_ptr<Operands> operands_;
  std::vector<float> expected_;  // full-size result of the first candidate that passed its check
  bool expected_quantised_ = false;
  std::map<std::string, Known> known_;           // of this operator
  std::map<std::string, CheckResult> verified_;  // by variant and checked piece, over all operators
};

}  // namespace smepilot
