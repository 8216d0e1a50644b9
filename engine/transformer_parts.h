// What the files of the forward pass share: time measured for the statistics.
#pragma once
#include <cstdint>
#include <span>

#include "engine/stats.h"
#include "profiles/timer.h"

namespace smepilot {

// Measures a piece of the pass for the statistics, if there are any.
class Timing {
 public:
  explicit Timing(Stats* stats) : stats_(stats), begin_(stats != nullptr ? now_ns() : 0) {}
  bool wanted() const noexcept { return stats_ != nullptr; }
  void done(const Execution& execution, std::span<const OperatorShape> shapes) const {
    if (stats_ != nullptr) stats_->record(execution, shapes, static_cast<double>(now_ns() - begin_));
  }
  void done(std::span<const Execution> executions, std::span<const OperatorShape> shapes) const {
    if (stats_ != nullptr) stats_->record(executions, shapes, static_cast<double>(now_ns() - begin_));
  }
  void converted() const {
    if (stats_ != nullptr) stats_->record_conversion(static_cast<double>(now_ns() - begin_));
  }
  // Element-wise work on m rows of k elements.
  void done(const char* role, unsigned workers, OpKind kind, uint32_t m, uint32_t k) const {
    const OperatorShape shape{kind, DType::kF32, m, k, k, 0, 0};
    done({role, nullptr, ExecutionMode::kCpu, workers}, {&shape, 1});
  }

 private:
  Stats* stats_;
  int64_t begin_;
};

}  // namespace smepilot
