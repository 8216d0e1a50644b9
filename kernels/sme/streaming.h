// How a kernel variant enters an SME unit: one call into streaming mode with ZA (and ZT0) switched on, and out again.
// Included by translation units of isa steps sme and sme2 only; everything here has internal linkage.
//
// A body is a function `void f(const Args*, const Plan*) noexcept SMEPILOT_STREAMING`: streaming, with ZA as its caller
// left it (undefined), which is what the compiler assumes of a function whose caller has switched both on. So it has no
// prologue of its own for that, calls none of the compiler's support routines, and can be checked: whatever of SVE is
// in an object must be in a function whose name contains `streaming` (scripts/check_instructions.py).
#pragma once
#include <arm_sme.h>

#include "kernels/abi/compiler.h"

#if defined(__ARM_FEATURE_SME2)
#define SMEPILOT_SME2 1
#define SMEPILOT_STREAMING __arm_streaming __arm_inout("za", "zt0")
#else
#define SMEPILOT_SME2 0
#define SMEPILOT_STREAMING __arm_streaming __arm_inout("za")
#endif

namespace smepilot {
namespace {

// Runs body(a, b) in streaming mode. SMSTART and SMSTOP clear the vector registers, so the compiler is told that all of
// them are lost and saves d8 .. d15, once. The stack pointer moves because Darwin's ABI lets a function use 128 bytes
// below it without saying so. ZA needs no lazy saving: no function of ours hands live ZA state to another one.
template <typename A, typename B>
SMEPILOT_INLINE void call_streaming(void (*body)(const A*, const B*) noexcept SMEPILOT_STREAMING, const A* a,
                                    const B* b) noexcept {
  register const A* x0 __asm__("x0") = a;
  register const B* x1 __asm__("x1") = b;
  register void (*x2)(const A*, const B*) noexcept SMEPILOT_STREAMING __asm__("x2") = body;
  __asm__ volatile(
      "sub sp, sp, #128\n\t"
      "smstart\n\t"
      "blr x2\n\t"
      "smstop\n\t"
      "add sp, sp, #128"
      : "+r"(x0), "+r"(x1), "+r"(x2)
      :
      : "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x30", "v0",
        "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17",
        "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31", "cc",
        "memory");
}

}  // namespace
}  // namespace smepilot
