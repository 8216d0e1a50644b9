// How long each worker of one operator call was busy: what runtime adaptation watches. A call that is given a CallTime
// pays one reading of the clock per worker (a pipeline two per stage), no allocation and no shared cache line; a call
// that is not pays a predictable branch.
#pragma once
#include <algorithm>
#include <cstdint>
#include <ctime>
#include <vector>

#include "kernels/abi/execution_mode.h"
#include "kernels/driver/trace.h"

namespace smepilot {

// Stages of the attention pipeline.
enum class PipelineStage : uint8_t { kScores, kSoftmax, kValues, kCount };

struct alignas(64) WorkerTime {
  int64_t end_ns = 0;      // when it found nothing left to do
  double core_share = -1;  // of the time until then, what it had of its core; -1: not asked for
  double work = 0;         // matmul: multiply-accumulates that it did
  uint32_t tasks = 0;      // how many tasks those were; of a pipeline, stages of tiles
  ExecutionUnit unit{};    // whose work it began with
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
  // Asks the calls from here on for what each worker has of its core, which costs two system calls per worker.
  void watch_cores(bool watch) noexcept { watch_cores_ = watch; }
  // A worker begins; what it is to be filled with at its end, by finish(), or nullptr.
  WorkerTime* start(unsigned index) noexcept {
    if (index >= workers_) return nullptr;
    if (watch_cores_) each_[index].core_share = static_cast<double>(thread_ns());  // until finish()
    return &each_[index];
  }
  void finish(WorkerTime& time) const noexcept {
    time.end_ns = trace_detail::now_ns();
    if (!watch_cores_) return;
    const double passed = static_cast<double>(time.end_ns - begin_ns_);
    const double used = static_cast<double>(thread_ns()) - time.core_share;
    time.core_share = passed > 0 ? std::clamp(used / passed, 0.0, 1.0) : -1;
  }
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
  static int64_t thread_ns() noexcept {
    timespec t = {};
    return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0 ? int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec : 0;
  }

  std::vector<WorkerTime> each_;
  unsigned workers_ = 0;
  bool apart_ = false, watch_cores_ = false;
  int64_t begin_ns_ = 0, end_ns_ = 0;
};

}  // namespace smepilot
