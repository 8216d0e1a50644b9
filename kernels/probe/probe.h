// All probes of this build; what each is for is in kernels/abi/probe.h.
#pragma once
#include <span>

#include "kernels/abi/probe.h"

namespace smepilot {

// Every probe compiled into this build, whether or not this CPU can run it.
std::span<const Probe* const> all_probes() noexcept;

}  // namespace smepilot
