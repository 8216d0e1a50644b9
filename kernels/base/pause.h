// What a thread does between two looks at something that another thread is about to change.
#pragma once
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace smepilot {

inline void pause_briefly() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");  // `yield` is a no-op on most cores; isb waits a few dozen cycles
#endif
}

}  // namespace smepilot
