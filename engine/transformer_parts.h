// What the files of the forward pass share: memory handed out in pieces, and time measured for the statistics.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/stats.h"
#include "profiles/timer.h"

namespace smepilot {

// Hands out 64-byte aligned pieces of a buffer, or only adds up what is wanted while there is no buffer yet.
class Carver {
 public:
  explicit Carver(std::byte* base) : base_(base) {}
  template <typename T>
  void take(T** out, size_t count) {
    if (base_ != nullptr) *out = reinterpret_cast<T*>(base_ + used_);
    used_ += (count * sizeof(T) + 127) / 64 * 64;
  }
  size_t used() const noexcept { return used_; }

  // The same memory for pieces that are never in use at the same time: each call takes its own, from the same place on.
  template <typename... Take>
  void take_one_of(const Take&... take) {
    const size_t begin = used_;
    size_t end = begin;
    const auto one = [&](const auto& call) {
      used_ = begin;
      call();
      end = std::max(end, used_);
    };
    (one(take), ...);
    used_ = end;
  }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

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
