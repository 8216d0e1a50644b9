#include "kernels/driver/worker_pool.h"

#include <algorithm>
#include <chrono>

#include "kernels/base/check.h"
#include "kernels/base/os.h"
#include "kernels/base/pause.h"
#include "kernels/driver/trace.h"

namespace smepilot {
namespace {

using Clock = std::chrono::steady_clock;

// How long to look without giving the core away: longer than the workers of one operator are apart when each has a core
// of its own. After that every look is followed by a yield, which costs nothing on an idle machine and lets the awaited
// thread run on a crowded one.
constexpr auto kSpinTime = std::chrono::microseconds(20);
// How long a worker without work stays awake: long enough to bridge the serial pieces of a forward pass (sampling
// included), short enough not to burn a core that waits for a user.
constexpr auto kAwakeTime = std::chrono::microseconds(300);

// Looks until done(), for `most` at most. True if done() held.
template <typename Done>
bool wait_awake(Done done, Clock::duration most) noexcept {
  for (int i = 0; i < 256; ++i) {
    if (done()) return true;
    pause_briefly();
  }
  const auto begin = Clock::now();
  for (Clock::duration passed{}; passed < most; passed = Clock::now() - begin) {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause_briefly();
    }
    if (passed > kSpinTime) std::this_thread::yield();
  }
  return false;
}

// Waits for something a running thread is about to do; never parks.
template <typename Done>
void wait_running(Done done) noexcept {
  while (!wait_awake(done, kAwakeTime)) {
  }
}

// epoch_ holds the job number above the number of active workers, so that a worker reads both at once: one that is not
// active must not touch fn_ and context_, which the caller may already be changing.
constexpr unsigned kActiveBits = 16;
constexpr uint64_t kActiveMask = (uint64_t{1} << kActiveBits) - 1;
constexpr uint64_t kStop = kActiveMask;

}  // namespace

WorkerPool::WorkerPool(unsigned workers, std::span<const int> cpus) {
  workers = std::clamp(workers, 1u, 1024u);
  if (!cpus.empty()) {
    cpus_.assign(cpus.begin(), cpus.end());
    saved_cpus_ = current_affinity();
    set_affinity({cpus[0]});
  }
  threads_.reserve(workers - 1);
  for (unsigned i = 1; i < workers; ++i)
    threads_.emplace_back([this, i, cpu = i < cpus.size() ? cpus[i] : -1] { worker_main(i, cpu); });
}

WorkerPool::~WorkerPool() {
  epoch_.value.store(((epoch_.value.load() >> kActiveBits) + 1) << kActiveBits | kStop);
  epoch_.value.notify_all();
  for (std::thread& t : threads_) t.join();
  if (!saved_cpus_.empty()) set_affinity(saved_cpus_);
}

void WorkerPool::worker_main(unsigned index, int cpu) noexcept {
  trace_detail::worker = index;
  if (cpu >= 0) set_affinity({cpu});
  uint64_t seen = 0;
  for (;;) {
    uint64_t now = seen;
    const auto changed = [&] { return (now = epoch_.value.load(std::memory_order_acquire)) != seen; };
    if (!wait_awake(changed, kAwakeTime)) {
      parked_.value.fetch_add(1);
      epoch_.value.wait(seen);  // returns at once if the epoch moved after the last look
      parked_.value.fetch_sub(1);
      if (!changed()) continue;
    }
    seen = now;
    const uint64_t active = now & kActiveMask;
    if (active == kStop) return;
    if (index >= active) continue;
    fn_(context_, index, static_cast<unsigned>(active));
    remaining_.value.fetch_sub(1, std::memory_order_release);
  }
}

void WorkerPool::run_erased(unsigned workers, Erased fn, void* context) noexcept {
  workers = std::clamp(workers, 1u, size());
  if (workers == 1) {
    fn(context, 0, 1);
    return;
  }
  fn_ = fn;
  context_ = context;
  barrier_.value.store(0, std::memory_order_relaxed);
  remaining_.value.store(workers - 1, std::memory_order_relaxed);
  const uint64_t job = (epoch_.value.load(std::memory_order_relaxed) >> kActiveBits) + 1;
  epoch_.value.store(job << kActiveBits | workers);  // sequentially consistent: ordered before the look at parked_
  if (parked_.value.load() != 0) epoch_.value.notify_all();
  fn(context, 0, workers);
  wait_running([&] { return remaining_.value.load(std::memory_order_acquire) == 0; });
}

bool WorkerPool::swap_cpus(unsigned a, unsigned b) {
  if (std::max(a, b) >= std::min<size_t>(size(), cpus_.size())) return false;
  std::swap(cpus_[a], cpus_[b]);
  run(size(), [&](unsigned worker, unsigned) {
    if (worker == a || worker == b) set_affinity({cpus_[worker]});
  });
  return true;
}

void WorkerPool::barrier(unsigned workers) noexcept {
  if (workers <= 1) return;
  const uint64_t arrival = barrier_.value.fetch_add(1, std::memory_order_acq_rel) + 1;
  const uint64_t target = (arrival + workers - 1) / workers * workers;
  wait_running([&] { return barrier_.value.load(std::memory_order_acquire) >= target; });
}

}  // namespace smepilot
