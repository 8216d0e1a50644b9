// The threads that execute operators. Fork and join are spinning hand-overs (well under a microsecond when the workers
// are awake); a worker that has spun for a while without work parks in the kernel, so an idle engine costs nothing.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <type_traits>
#include <vector>

namespace smepilot {

class WorkerPool {
 public:
  // `workers` threads including the caller of run(). Worker i is pinned to cpus[i] if given (Linux; the caller's
  // thread is pinned too, and gets its old mask back at destruction).
  explicit WorkerPool(unsigned workers, std::span<const int> cpus = {});
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Where the workers are pinned to; empty if they are not.
  std::span<const int> cpus() const noexcept { return cpus_; }
  // Two workers change places. False: they are not pinned. Not to be called while operators run.
  bool swap_cpus(unsigned a, unsigned b);

  unsigned size() const noexcept { return static_cast<unsigned>(threads_.size()) + 1; }

  // Calls fn(worker, workers) once on each of workers 0 .. workers-1 (the caller is 0) and returns when all have
  // returned. `workers` is clamped to 1 .. size(). Not reentrant. fn must not throw.
  template <typename Fn>
  void run(unsigned workers, Fn&& fn) noexcept {
    using F = std::remove_reference_t<Fn>;
    run_erased(
        workers, [](void* f, unsigned w, unsigned n) noexcept { (*static_cast<F*>(f))(w, n); },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }

  // A barrier among the workers of the current run(): usable only inside fn, by all of its `workers` alike.
  void barrier(unsigned workers) noexcept;

 private:
  using Erased = void (*)(void*, unsigned, unsigned) noexcept;
  struct alignas(64) Padded {
    std::atomic<uint64_t> value{0};
  };

  void run_erased(unsigned workers, Erased fn, void* context) noexcept;
  void worker_main(unsigned index, int cpu) noexcept;

  Padded epoch_;      // job number and active workers; bumped to publish fn_ and context_
  Padded remaining_;  // workers that have not finished the current job
  Padded parked_;     // workers asleep on epoch_
  Padded barrier_;    // arrivals, ever
  Erased fn_ = nullptr;
  void* context_ = nullptr;
  std::vector<std::thread> threads_;
  std::vector<int> cpus_, saved_cpus_;
};

}  // namespace smepilot
