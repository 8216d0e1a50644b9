// What probes share: ways to make the compiler keep work whose result nobody needs. Internal linkage only.
#pragma once
#include "kernels/abi/compiler.h"
#include "kernels/abi/probe.h"

// Pretends to change a vector register, so that nothing computed into it can be dropped, hoisted or merged.
#if defined(__x86_64__)
#if defined(__AVX512F__)
#define SMEPILOT_KEEP(x) __asm__ volatile("" : "+v"(x))
#else
#define SMEPILOT_KEEP(x) __asm__ volatile("" : "+x"(x))
#endif
#elif defined(__aarch64__)
#define SMEPILOT_KEEP(x) __asm__ volatile("" : "+w"(x))
#else
#define SMEPILOT_KEEP(x) __asm__ volatile("" : "+m"(x))
#endif

// Pretends to read and write all memory: a buffer must be read, or written, anew after it.
#define SMEPILOT_MEMORY_BARRIER() __asm__ volatile("" ::: "memory")
