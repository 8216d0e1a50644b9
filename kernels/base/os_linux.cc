#include <fcntl.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "kernels/base/os.h"

namespace smepilot {
namespace {

int64_t nanoseconds(const timespec& t) noexcept {
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

void prefer_pages(void* address, size_t bytes, PageSize size) noexcept {
  ::madvise(address, bytes, size == PageSize::kHuge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

std::optional<uint64_t> free_memory() noexcept {
  return {};
}

uint64_t peak_resident_bytes() noexcept {
  rusage usage = {};
  return ::getrusage(RUSAGE_SELF, &usage) == 0 ? static_cast<uint64_t>(usage.ru_maxrss) * 1024 : 0;  // in KiB
}

std::vector<int> current_affinity() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

bool set_affinity(const std::vector<int>& cpus) noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus)
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  return CPU_COUNT(&set) > 0 && sched_setaffinity(0, sizeof set, &set) == 0;
}

uint64_t hwcap() noexcept {
  return getauxval(AT_HWCAP);
}

uint64_t hwcap2() noexcept {
  return getauxval(AT_HWCAP2);
}

std::optional<uint64_t> sysctl_number(const char*) noexcept {
  return {};
}

std::string sysctl_text(const char*) {
  return {};
}

bool request_amx_tiles() noexcept {
#if defined(__x86_64__)  // Documentation/arch/x86/xstate.rst
  constexpr long kArchReqXcompPerm = 0x1023, kXfeatureXtiledata = 18;
  return ::syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
#else
  return false;
#endif
}

int64_t modified_ns(const struct stat& info) noexcept {
  return nanoseconds(info.st_mtim);
}

int64_t changed_ns(const struct stat& info) noexcept {
  return nanoseconds(info.st_ctim);
}

int reserve_file(int fd, uint64_t bytes) noexcept {
  const auto size = static_cast<off_t>(bytes);
  if (::fallocate(fd, 0, 0, size) == 0) return 0;
  if (errno != EOPNOTSUPP && errno != ENOSYS) return errno;
  return ::ftruncate(fd, size) == 0 ? 0 : errno;
}

std::string program_path() {
  std::error_code unknown;
  return std::filesystem::read_symlink("/proc/self/exe", unknown).string();
}

}  // namespace smepilot
