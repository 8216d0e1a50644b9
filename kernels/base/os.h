// What operating systems do differently, so that nothing else asks which one it runs on. What POSIX gives to all of
// them is used directly. One implementation for each: os_linux.cc (Android too) and os_macos.cc; a system that lacks a
// service has the harmless answer given here, not an error.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

struct stat;

namespace smepilot {

enum class PageSize : uint8_t { kSmall, kHuge };

// Wishes for the pages behind `bytes` bytes at `address`, the start of a page. macOS has one size and ignores it.
void prefer_pages(void* address, size_t bytes, PageSize size) noexcept;

// Bytes that can be taken without swapping. Nothing on Linux: there /proc/meminfo says it (profiles/memory.h).
std::optional<uint64_t> free_memory() noexcept;

// The most memory that this process has had in RAM, in bytes, mapped files included; 0: unknown.
uint64_t peak_resident_bytes() noexcept;

// The logical CPUs the calling thread may run on; empty where that cannot be asked (macOS).
std::vector<int> current_affinity();

// Restricts the calling thread to these CPUs. False where the system will not. macOS cannot: there the thread gets the
// quality of service of interactive work, which its scheduler runs on the fast cores first, and the answer is false.
bool set_affinity(const std::vector<int>& cpus) noexcept;

// AT_HWCAP and AT_HWCAP2, the kernel's bits for what an Arm CPU has; 0 elsewhere.
uint64_t hwcap() noexcept;
uint64_t hwcap2() noexcept;

// The values that macOS keeps by name ("hw.memsize"). Nothing, or "", for a name that is unknown, and on Linux for all.
std::optional<uint64_t> sysctl_number(const char* name) noexcept;
std::string sysctl_text(const char* name);

// Asks for the 8 KiB of AMX tile data of each thread, which Linux hands out on request only. False elsewhere.
bool request_amx_tiles() noexcept;

// When a file was last written to, and when anything of it last changed.
int64_t modified_ns(const struct stat& info) noexcept;
int64_t changed_ns(const struct stat& info) noexcept;

// Makes an empty file that long and takes the disk space now, if the file system can: 0 or an errno.
int reserve_file(int fd, uint64_t bytes) noexcept;

// Where the running program lies; "" if unknown.
std::string program_path();

}  // namespace smepilot
