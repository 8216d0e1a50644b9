// SMEPILOT_DCHECK: preconditions of our own code, checked in debug and sanitizer builds only. Never for input: that
// gets a Status.
#pragma once
#include <cstdio>
#include <cstdlib>

#ifdef SMEPILOT_DEBUG_CHECKS
#define SMEPILOT_DCHECK(cond)                                                              \
  do {                                                                                     \
    if (!(cond)) {                                                                         \
      std::fprintf(stderr, "%s:%d: precondition failed: %s\n", __FILE__, __LINE__, #cond); \
      std::abort();                                                                        \
    }                                                                                      \
  } while (0)
#else
#define SMEPILOT_DCHECK(cond) static_cast<void>(sizeof(!(cond)))
#endif
