// What g++ and clang++ spell differently and a kernel's translation unit needs.
#pragma once

#if defined(__clang__)
#define SMEPILOT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SMEPILOT_UNROLL _Pragma("GCC unroll 32")
#endif

// For helpers that take register arrays: out of line they would go through memory.
#define SMEPILOT_INLINE inline __attribute__((always_inline))
