#include "profiles/memory.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string_view>

#include "kernels/base/os.h"
#include "profiles/platform_facts.h"

namespace smepilot {
namespace {

std::optional<uint64_t> number(const std::string& text) {
  if (text.empty() || std::isdigit(static_cast<unsigned char>(text[0])) == 0) return {};  // "max", or no such file
  errno = 0;
  const uint64_t value = std::strtoull(text.c_str(), nullptr, 10);
  if (errno != 0) return {};
  return value;
}

// The number after `key` at the start of a line, in /proc/meminfo, /proc/self/status and memory.stat.
std::optional<uint64_t> field(const std::string& path, std::string_view key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    const size_t at = line.find_first_not_of(" \t", key.size());
    return at == std::string::npos ? std::nullopt : number(line.substr(at));
  }
  return {};
}

void at_most(AvailableMemory& memory, uint64_t bytes, std::string by) {
  if (bytes < memory.bytes) memory = {bytes, std::move(by)};
}

struct GroupFiles {
  const char *limit, *usage, *file_a, *file_b;
};
constexpr GroupFiles kVersion2 = {"memory.max", "memory.current", "active_file ", "inactive_file "};
constexpr GroupFiles kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_active_file ",
                                  "total_inactive_file "};

// A control group and those around it.
void limit_by_groups(AvailableMemory& memory, const std::string& mount, std::string group, const GroupFiles& files) {
  for (;;) {
    const std::string folder = mount + (group == "/" ? "" : group) + "/";
    const std::optional<uint64_t> limit = number(first_line(folder + files.limit));
    const std::optional<uint64_t> usage = number(first_line(folder + files.usage));
    if (limit && usage) {
      const uint64_t droppable = field(folder + "memory.stat", files.file_a).value_or(0) +
                                 field(folder + "memory.stat", files.file_b).value_or(0);
      const uint64_t used = *usage > droppable ? *usage - droppable : 0;
      at_most(memory, *limit > used ? *limit - used : 0,
              fmt::format("memory limit of the control group {}", group.empty() ? "/" : group));
    }
    const size_t slash = group.find_last_of('/');
    if (group.empty() || group == "/" || slash == std::string::npos) return;
    group.resize(slash);
  }
}

}  // namespace

AvailableMemory available_memory(const std::string& root) {
  AvailableMemory memory;
  if (const auto kib = field(root + "/proc/meminfo", "MemAvailable:"))
    at_most(memory, *kib * 1024, "free memory of the machine");
  else if (const auto bytes = free_memory(); bytes && root.empty())
    at_most(memory, *bytes, "free memory of the machine");

  // Lines "number:controllers:path"; version 2 has the number 0 and no controllers. In a container the path may not be
  // visible; then its own root is, at the mount.
  std::ifstream groups(root + "/proc/self/cgroup");
  const std::string mount = root + "/sys/fs/cgroup";
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string group = line.substr(second + 1);
    if (controllers == ",,")
      limit_by_groups(memory, mount, group, kVersion2);
    else if (controllers.find(",memory,") != std::string::npos)
      limit_by_groups(memory, mount + "/memory", group, kVersion1);
  }

  rlimit limit = {};
  if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    const uint64_t used = field(root + "/proc/self/status", "VmSize:").value_or(0) * 1024;
    const uint64_t most = limit.rlim_cur;
    at_most(memory, most > used ? most - used : 0, "limit of the address space (ulimit -v)");
  }
  return memory;
}

}  // namespace smepilot
