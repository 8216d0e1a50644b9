#include "kernels/base/os.h"

#include <fcntl.h>
#include <mach-o/dyld.h>
#include <mach/mach.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace smepilot {
namespace {

int64_t nanoseconds(const timespec& t) noexcept {
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

void prefer_pages(void*, size_t, PageSize) noexcept {}

std::optional<uint64_t> free_memory() noexcept {
  vm_statistics64_data_t pages = {};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  const mach_port_t host = mach_host_self();
  const kern_return_t rc = host_statistics64(host, HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&pages), &count);
  mach_port_deallocate(mach_task_self(), host);
  if (rc != KERN_SUCCESS) return {};
  // Inactive pages are written out or dropped when they are asked for, as MemAvailable counts them on Linux.
  return (uint64_t{pages.free_count} + pages.inactive_count) * vm_kernel_page_size;
}

uint64_t peak_resident_bytes() noexcept {
  rusage usage = {};
  return ::getrusage(RUSAGE_SELF, &usage) == 0 ? static_cast<uint64_t>(usage.ru_maxrss) : 0;  // in bytes
}

std::vector<int> current_affinity() {
  return {};
}

bool set_affinity(const std::vector<int>&) noexcept {
  pthread_set_qos_class_self_np(QOS_CLASS_USER_INTERACTIVE, 0);
  return false;
}

uint64_t hwcap() noexcept {
  return 0;
}

uint64_t hwcap2() noexcept {
  return 0;
}

std::optional<uint64_t> sysctl_number(const char* name) noexcept {
  uint64_t value = 0;  // of 4 or 8 bytes, and Macs are little-endian
  size_t size = sizeof value;
  if (sysctlbyname(name, &value, &size, nullptr, 0) != 0 || (size != 4 && size != 8)) return {};
  return value;
}

std::string sysctl_text(const char* name) {
  char text[256] = {};
  size_t size = sizeof text - 1;
  if (sysctlbyname(name, text, &size, nullptr, 0) != 0) return {};
  return text;
}

bool request_amx_tiles() noexcept {
  return false;
}

int64_t modified_ns(const struct stat& info) noexcept {
  return nanoseconds(info.st_mtimespec);
}

int64_t changed_ns(const struct stat& info) noexcept {
  return nanoseconds(info.st_ctimespec);
}

int reserve_file(int fd, uint64_t bytes) noexcept {
  const auto size = static_cast<off_t>(bytes);
  fstore_t store = {};
  store.fst_flags = F_ALLOCATEALL;
  store.fst_posmode = F_PEOFPOSMODE;
  store.fst_length = size;
  if (::fcntl(fd, F_PREALLOCATE, &store) != 0 && errno != ENOTSUP && errno != EINVAL) return errno;
  return ::ftruncate(fd, size) == 0 ? 0 : errno;
}

std::string program_path() {
  uint32_t size = 0;
  _NSGetExecutablePath(nullptr, &size);  // fails, and tells the size
  std::string path(size, '\0');
  if (_NSGetExecutablePath(path.data(), &size) != 0) return {};
  path.resize(std::strlen(path.c_str()));
  std::error_code unknown;
  return std::filesystem::canonical(path, unknown).string();
}

}  // namespace smepilot
