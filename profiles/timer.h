// Clocks: wall time for measuring, CPU time for noticing that somebody else ran on our cores.
#pragma once
#include <chrono>
#include <cstdint>
#include <ctime>

namespace smepilot {

// Monotonic wall clock, nanoseconds since an arbitrary moment.
inline int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// CPU time that all threads of this process have used; resolution as the system gives it.
inline int64_t process_cpu_ns() noexcept {
  timespec t = {};
  if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0) return 0;
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

// CPU time that the calling thread has used.
inline int64_t thread_cpu_ns() noexcept {
  timespec t = {};
  if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) != 0) return 0;
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

}  // namespace smepilot
