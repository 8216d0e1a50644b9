// How much memory this process can still take without the machine swapping or the system ending it.
#pragma once
#include <cstdint>
#include <string>

namespace smepilot {

struct AvailableMemory {
  uint64_t bytes = UINT64_MAX;  // the least of what is known; UINT64_MAX: nothing is
  std::string by;               // what sets it, for the user: "free memory of the machine", "ulimit -v", …
};

// The system's estimate (MemAvailable on Linux, free and inactive pages on macOS: with those of files that can be
// dropped), what the control groups of this process leave (version 1 or 2, all levels; the page cache counted as free,
// as it can be dropped), and RLIMIT_AS. `root`: where /proc and /sys are looked for, for tests.
AvailableMemory available_memory(const std::string& root = "");

}  // namespace smepilot
