// What the processor and the operating system say about themselves, each fact "" or 0 where it is not to be had (in a
// container, under an emulator, on another system). Used by detect_platform().
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace smepilot {

std::string cpu_brand();                                  // "AMD EPYC 9654 96-Core Processor"
std::string cpu_family_id(const std::vector<int>& cpus);  // "GenuineIntel 6/143/8", or the MIDRs of these CPUs
std::string hypervisor_name();                            // "KVMKVMKVM", "yes" where it does not say which
std::string os_name();                                    // "Debian GNU/Linux 12 (bookworm)"
std::string kernel_release();                             // "Linux 6.1.0"
std::string cpu_governor(const std::vector<int>& cpus);   // "performance"; "mixed" where CPUs differ
uint64_t memory_limit_bytes();                            // of the control group, 0: none known

// The first line of a small file without the line end, "" if it cannot be read.
std::string first_line(const std::string& path);

}  // namespace smepilot
