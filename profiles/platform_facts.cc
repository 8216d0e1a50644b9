#include "profiles/platform_facts.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>

#include "kernels/base/os.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace smepilot {
namespace {

std::string trimmed(std::string s) {
  constexpr const char* kBlank = " \t\r\n";
  s.erase(0, s.find_first_not_of(kBlank));
  s.erase(s.find_last_not_of(kBlank) + 1);
  return s;
}

#if defined(__x86_64__)
struct Cpuid {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Cpuid cpuid(uint32_t leaf) {
  Cpuid r;
  __cpuid(leaf, r.eax, r.ebx, r.ecx, r.edx);
  return r;
}

// The text that registers hold, up to its first NUL.
std::string text_of(std::initializer_list<uint32_t> registers) {
  std::string s;
  for (const uint32_t r : registers)
    for (int i = 0; i < 4; ++i) s += static_cast<char>(r >> (8 * i) & 0xff);
  return trimmed(std::string(s.c_str()));
}
#else
// The value of the first line "key : value" of /proc/cpuinfo.
std::string cpuinfo(const std::string& key) {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos && trimmed(line.substr(0, colon)) == key) return trimmed(line.substr(colon + 1));
  }
  return "";
}

std::string identification(int cpu, const char* reg) {
  return first_line(fmt::format("/sys/devices/system/cpu/cpu{}/regs/identification/{}", cpu, reg));
}
#endif

}  // namespace

std::string first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return trimmed(line.substr(0, line.find('\0')));
}

std::string cpu_brand() {
#if defined(__x86_64__)
  if (cpuid(0x80000000u).eax < 0x80000004u) return "";
  const Cpuid a = cpuid(0x80000002u), b = cpuid(0x80000003u), c = cpuid(0x80000004u);
  return text_of({a.eax, a.ebx, a.ecx, a.edx, b.eax, b.ebx, b.ecx, b.edx, c.eax, c.ebx, c.ecx, c.edx});
#else
  std::string name = trimmed(sysctl_text("machdep.cpu.brand_string"));
  if (name.empty()) name = cpuinfo("model name");
  if (name.empty()) name = cpuinfo("Model");
  if (name.empty()) name = first_line("/proc/device-tree/model");
  return name;
#endif
}

std::string cpu_family_id([[maybe_unused]] const std::vector<int>& cpus) {
#if defined(__x86_64__)
  const Cpuid l0 = cpuid(0), l1 = cpuid(1);
  // Intel SDM, CPUID leaf 1: the extended fields count only for these base families.
  uint32_t family = l1.eax >> 8 & 0xf, model = l1.eax >> 4 & 0xf;
  if (family == 6 || family == 15) model |= (l1.eax >> 16 & 0xf) << 4;
  if (family == 15) family += l1.eax >> 20 & 0xff;
  return fmt::format("{} {}/{}/{}", text_of({l0.ebx, l0.edx, l0.ecx}), family, model, l1.eax & 0xf);
#else
  if (const auto family = sysctl_number("hw.cpufamily")) return fmt::format("Apple {:#010x}", *family);
  std::set<std::string> midrs;
  for (const int cpu : cpus)
    if (const std::string m = identification(cpu, "midr_el1"); !m.empty()) midrs.insert(m);
#if defined(__aarch64__)
  if (constexpr uint64_t kHwcapCpuid = 1u << 11; midrs.empty() && (hwcap() & kHwcapCpuid) != 0) {
    uint64_t midr = 0;
    __asm__("mrs %0, midr_el1" : "=r"(midr));  // emulated by the kernel for user space where HWCAP_CPUID is set
    midrs.insert(fmt::format("{:#018x}", midr));
  }
#endif
  std::string all;
  for (const std::string& m : midrs) all += (all.empty() ? "MIDR " : " ") + m;
  return all;
#endif
}

std::string hypervisor_name() {
#if defined(__x86_64__)
  if ((cpuid(1).ecx >> 31 & 1u) == 0) return "";
  const Cpuid h = cpuid(0x40000000u);
  const std::string name = text_of({h.ebx, h.ecx, h.edx});
  return name.empty() ? "yes" : name;
#else
  if (sysctl_number("kern.hv_vmm_present").value_or(0) != 0) return "yes";
  return first_line("/sys/hypervisor/type");
#endif
}

std::string os_name() {
  std::ifstream in("/etc/os-release");
  for (std::string line; std::getline(in, line);) {
    constexpr std::string_view kKey = "PRETTY_NAME=";
    if (!line.starts_with(kKey)) continue;
    std::string value = trimmed(line.substr(kKey.size()));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    return value;
  }
  if (const std::string version = sysctl_text("kern.osproductversion"); !version.empty()) return "macOS " + version;
  utsname u = {};
  return uname(&u) == 0 ? u.sysname : "";
}

std::string kernel_release() {
  utsname u = {};
  return uname(&u) == 0 ? fmt::format("{} {}", u.sysname, u.release) : "";
}

std::string cpu_governor(const std::vector<int>& cpus) {
  std::set<std::string> found;
  for (const int cpu : cpus) {
    const std::string g = first_line(fmt::format("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", cpu));
    if (!g.empty()) found.insert(g);
  }
  if (found.empty()) return "";
  return found.size() == 1 ? *found.begin() : "mixed";
}

uint64_t memory_limit_bytes() {
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const std::string text = first_line(path);
    if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos) continue;  // absent, or "max"
    errno = 0;
    const uint64_t value = std::strtoull(text.c_str(), nullptr, 10);
    if (errno == 0 && value > 0) return value;
  }
  return 0;
}

}  // namespace smepilot
