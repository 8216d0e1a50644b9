// What this CPU and this operating system let us execute. Built with baseline flags only: it runs before anything
// else is known.
#pragma once
#include <string>

#include "kernels/abi/isa.h"
#include "kernels/base/status.h"

namespace smepilot {

// The steps this machine can run, found by CPUID/XGETBV or HWCAP. Asks the kernel for AMX permission once.
IsaSet detect_isa() noexcept;

// detect_isa() restricted by the environment variable SMEPILOT_FORCE_ISA: a comma-separated list of step names, each
// with the steps it implies ("avx2", "portable", "avx512vnni"). An unknown name, or a step that this machine lacks, is
// an error. Read at each call.
Result<IsaSet> usable_isa();

// "avx2+avx512+avx512vnni", "portable" for none.
std::string isa_to_string(IsaSet set);

// The steps named in a comma- or plus-separated list, with what they imply.
Result<IsaSet> isa_from_string(const std::string& names);

}  // namespace smepilot
