// The worker pool: what it takes to start workers and to wait for all of them, and a barrier among them. It tells how
// far apart the workers' cores are: those that share a cache hand a line over in a fraction of the time. On a virtual
// machine that may change from one moment to the next, which scripts/compare_engines.py watches by this.
//
//   bench_pool --benchmark_filter=fork_join --benchmark_min_time=0.01
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <vector>

#include "kernels/driver/worker_pool.h"
#include "profiles/platform.h"

namespace smepilot {
namespace {

void fork_join(benchmark::State& state, WorkerPool* pool, unsigned workers) {
  for (auto _ : state) pool->run(workers, [](unsigned, unsigned) noexcept { __asm__ volatile("" ::: "memory"); });
}

void barrier(benchmark::State& state, WorkerPool* pool, unsigned workers) {
  constexpr int kBarriers = 64;  // of a fork and join
  while (state.KeepRunningBatch(kBarriers))
    pool->run(workers, [pool](unsigned, unsigned n) noexcept {
      for (int i = 0; i < kBarriers; ++i) pool->barrier(n);
    });
}

}  // namespace
}  // namespace smepilot

int main(int argc, char** argv) {
  using namespace smepilot;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const Result<Platform> platform = detect_platform();
  if (!platform.ok()) {
    fmt::print(stderr, "bench_pool: {}\n", platform.message());
    return 1;
  }
  const std::vector<int> cpus = platform->worker_cpus();
  WorkerPool pool(static_cast<unsigned>(cpus.size()), cpus);
  for (unsigned workers = 2; workers <= pool.size(); ++workers) {
    const auto add = [&](const char* what, auto* body) {
      benchmark::RegisterBenchmark(fmt::format("{}/workers={}", what, workers).c_str(), body, &pool, workers)
          ->UseRealTime();
    };
    add("fork_join", fork_join);
    add("barrier", barrier);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
