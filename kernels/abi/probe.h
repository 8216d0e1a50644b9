// A probe: a loop whose only purpose is to run one part of the machine at its limit, so that calibration can measure
// that limit. Like a kernel variant it is one function per ISA step, described by data, and keeps AMX tile state
// inside the call.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "kernels/abi/execution_mode.h"
#include "kernels/abi/isa.h"

namespace smepilot {

enum class ProbeKind : uint8_t { kFlopsF32, kFlopsF16, kFlopsBf16, kFlopsInt8, kRead, kWrite, kCopy, kExp, kCount };
inline constexpr const char* kProbeKindNames[] = {"flops-f32", "flops-f16", "flops-bf16", "flops-int8",
                                                  "read",      "write",     "copy",       "exp"};

// What a probe works on. Compute probes use `repeat` only.
struct ProbeArgs {
  void* dst;        // kWrite, kCopy, kExp: 64-byte aligned
  const void* src;  // kRead, kCopy, kExp: 64-byte aligned
  size_t bytes;     // of each buffer, a multiple of 1024
  uint64_t repeat;  // passes over the buffers, or inner loops
  bool stream;      // kWrite, kCopy: non-temporal stores, for sets beyond the caches (where the ISA step has them)
};

// Does the work of `args` and returns a value that depends on all of it.
using ProbeFn = uint64_t (*)(const ProbeArgs* args) noexcept;

struct Probe {
  const char* id;  // "int8.avx512vnni", "read.avx2"
  ProbeKind kind;
  IsaSet isa;  // every bit must be present
  ExecutionUnit unit;
  double work;  // compute: operations per repeat (a multiply-add is two). Others: 0, the buffers say it
  ProbeFn run;
};

}  // namespace smepilot
