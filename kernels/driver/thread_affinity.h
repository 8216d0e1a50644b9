// Pinning of threads to logical CPUs, where the operating system allows it (Linux; macOS does not).
#pragma once
#include <vector>

namespace smepilot {

// The logical CPUs the calling thread may run on; empty where that cannot be asked.
std::vector<int> current_affinity();

// Restricts the calling thread to these CPUs. False where the system cannot or will not.
bool set_affinity(const std::vector<int>& cpus) noexcept;

}  // namespace smepilot
