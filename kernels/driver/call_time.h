// How long each worker of one operator call was busy: what runtime adaptation watches. A call that is given a CallTime
// pays one reading of the clock per worker (a pipeline two per stage), no allocation and no shared cache line; a call
// that is not pays a predictable branch.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/abi/execution_mode.h"
#include "kernels/driver/trace.h"

namespace smepilot {

// Stages of the attention pipeline.
enum class PipelineStage : uint8_t { kScores, kSoftmax, kValues, kCount };

struct alignas(64) WorkerTime {
  int64_t end_ns = 0;    // when it found nothing left to do
  double work = 0;       // matmul: multiply-accumulates that it did
  uint32_t tasks = 0;    // how many tasks those were; of a pipeline, stages of tiles
  ExecutionUnit unit{};  // whose work it began with
  int64_t stage_ns[static_cast<size_t>(PipelineStage::kCount)] = {};  // pipeline only
};

class CallTime {
 public:
  struct Side {
    unsigned workers = 0;
    double work = 0;
    uint32_t tasks = 0;
    int64_t ns = 0;  // from the beginning of the call until its last worker was done
  };

  explicit CallTime(unsigned workers) : each_(workers) {}

  // The driver's: a call of so many workers begins; each of them says what it did; all have come back.
  void begin(unsigned workers, bool apart) noexcept {
    workers_ = std::min(workers, static_cast<unsigned>(each_.size()));
    apart_ = apart;
    for (unsigned i = 0; i < workers_; ++i) each_[i] = {};
    begin_ns_ = trace_detail::now_ns();
  }
  WorkerTime* worker(unsigned index) noexcept { return index < workers_ ? &each_[index] : nullptr; }
  void end() noexcept { end_ns_ = trace_detail::now_ns(); }
  void forget() noexcept { workers_ = 0; }  // nothing was measured

  bool measured() const noexcept { return workers_ != 0; }
  bool apart() const noexcept { return apart_; }  // each side had workers of its own
  unsigned workers() const noexcept { return workers_; }
  int64_t ns() const noexcept { return end_ns_ - begin_ns_; }
  const WorkerTime& operator[](unsigned worker) const noexcept { return each_[worker]; }

  Side side(ExecutionUnit unit) const noexcept {
    Side s;
    for (unsigned i = 0; i < workers_; ++i) {
      if (each_[i].unit != unit) continue;
      ++s.workers;
      s.work += each_[i].work;
      s.tasks += each_[i].tasks;
      s.ns = std::max(s.ns, each_[i].end_ns - begin_ns_);
    }
    return s;
  }
  // Of the workers' time, the share in which they only waited for the last one (0 .. 1).
  double waiting() const noexcept {
    if (workers_ == 0 || ns() <= 0) return 0;
    double waited = 0;
    for (unsigned i = 0; i < workers_; ++i)
      waited += static_cast<double>(std::max<int64_t>(end_ns_ - each_[i].end_ns, 0));
    return waited / (static_cast<double>(ns()) * workers_);
  }

 private:
  std::vector<WorkerTime> each_;
  unsigned workers_ = 0;
  bool apart_ = false;
  int64_t begin_ns_ = 0, end_ns_ = 0;
};

}  // namespace smepilot
