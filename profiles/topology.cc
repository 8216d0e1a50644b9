#include "profiles/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>
#include <set>

#include "profiles/platform_facts.h"

namespace smepilot {
namespace {

constexpr int kMostCpus = 1 << 16;  // a bound for what a file may say, not for machines

// "0-3,8,10-11"
std::vector<int> cpu_list(const std::string& text) {
  std::vector<int> cpus;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    int first = 0;
    auto r = std::from_chars(at, end, first);
    int last = first;
    if (r.ec == std::errc() && r.ptr != end && *r.ptr == '-') r = std::from_chars(r.ptr + 1, end, last);
    if (r.ec != std::errc() || first < 0 || last < first || last >= kMostCpus) return {};
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    at = r.ptr != end && *r.ptr == ',' ? r.ptr + 1 : r.ptr;
    if (at == r.ptr && at != end) return {};
  }
  return cpus;
}

// "48K", "2048K", "8M"; 0 for anything else.
uint64_t size_of(const std::string& text) {
  uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto r = std::from_chars(text.data(), end, value);
  if (r.ec != std::errc() || value > (uint64_t{1} << 40)) return 0;
  if (r.ptr == end) return value;
  return r.ptr + 1 != end ? 0 : *r.ptr == 'K' ? value << 10 : *r.ptr == 'M' ? value << 20 : 0;
}

// "0x0000000000000001"
std::optional<uint64_t> hexadecimal(const std::string& text) {
  uint64_t value = 0;
  const char* const end = text.data() + text.size();
  if (!text.starts_with("0x")) return {};
  const auto r = std::from_chars(text.data() + 2, end, value, 16);
  return r.ec == std::errc() && r.ptr == end ? std::optional(value) : std::nullopt;
}

// "MemTotal:       16316412 kB"
uint64_t memory_total(const std::string& path) {
  std::ifstream in(path);
  std::string key;
  uint64_t kib = 0;
  for (std::string line; in >> key >> kib; std::getline(in, line))
    if (key == "MemTotal:") return kib << 10;
  return 0;
}

// Faster kinds have greater numbers. On Intel's hybrid processors only the lists of their two kinds tell: capacities,
// where there are any, differ by a bin from core to core.
std::map<int, uint64_t> kinds_of(const std::vector<int>& cpus, const std::string& devices) {
  std::map<int, uint64_t> kinds;
  const std::vector<int> slow = cpu_list(first_line(devices + "/cpu_atom/cpus"));
  for (const int cpu : cpus)
    kinds[cpu] = !slow.empty() ? std::find(slow.begin(), slow.end(), cpu) == slow.end()
                               : size_of(first_line(fmt::format("{}/system/cpu/cpu{}/cpu_capacity", devices, cpu)));
  return kinds;
}

// Levels 1, 2, … of the caches for data that these CPUs use.
std::vector<CacheLevel> caches_of(const std::vector<int>& cpus, const std::string& cpu_folder) {
  std::map<unsigned, CacheLevel> levels;
  std::map<unsigned, std::set<std::string>> instances;  // by the CPUs that share one
  for (const int cpu : cpus)
    for (int index = 0;; ++index) {
      const std::string folder = fmt::format("{}/cpu{}/cache/index{}/", cpu_folder, cpu, index);
      const std::string type = first_line(folder + "type");
      if (type.empty()) break;
      const auto level = static_cast<unsigned>(size_of(first_line(folder + "level")));
      const uint64_t bytes = size_of(first_line(folder + "size"));
      if (type == "Instruction" || level == 0 || bytes == 0) continue;
      CacheLevel& c = levels[level];
      c.level = level;
      c.bytes = std::max(c.bytes, bytes);
      instances[level].insert(first_line(folder + "shared_cpu_list"));
      c.instances = static_cast<unsigned>(instances[level].size());
    }
  std::vector<CacheLevel> out;
  for (const auto& [level, c] : levels) out.push_back(c);
  return out;
}

// The CPUs that share this one's L2 cache, as Linux lists them; "" if unknown.
std::string l2_cpus(int cpu, const std::string& cpu_folder) {
  for (int index = 0;; ++index) {
    const std::string folder = fmt::format("{}/cpu{}/cache/index{}/", cpu_folder, cpu, index);
    const std::string level = first_line(folder + "level");
    if (level.empty()) return "";
    if (level == "2") return first_line(folder + "shared_cpu_list");
  }
}

// Cores that have the same streaming mode compute units, and how many of these there are.
struct UnitPool {
  std::string name;
  size_t units = 1;
  std::vector<int> cores;
};

// Arm ARM, SMIDR_EL1: SH (bits 14:13) says whether a core shares its units; where it says nothing, an Affinity (bits
// 11:0) other than zero does. Cores that share have the same Affinity2 (bits 51:32) and Affinity, and NSMC (bits 59:56)
// units more than one.
UnitPool unit_pool(int cpu, uint64_t smidr) {
  const uint64_t sharing = smidr >> 13 & 3, affinity = smidr & 0xfff, affinity2 = smidr >> 32 & 0xfffff;
  const bool shared = sharing == 3 || (sharing == 0 && affinity != 0);
  if (!shared) return {fmt::format("cpu{}", cpu), 1, {}};
  return {fmt::format("{:x}", affinity2 << 12 | affinity), static_cast<size_t>(smidr >> 56 & 15) + 1, {}};
}

}  // namespace

CoreClass core_class(std::string name, const std::vector<std::vector<int>>& cores) {
  CoreClass c{std::move(name), {}, static_cast<unsigned>(cores.size())};
  for (size_t thread = 0, before = SIZE_MAX; before != c.cpus.size(); ++thread) {
    before = c.cpus.size();
    for (const std::vector<int>& core : cores)
      if (thread < core.size()) c.cpus.push_back(core[thread]);
  }
  return c;
}

std::string core_class_name(size_t rank, size_t count) {
  if (count < 2) return "cpu";
  return rank == 0 ? "P" : rank + 1 == count ? "E" : fmt::format("M{}", count - 1 - rank);
}

void read_sys_topology(Platform& p, const std::vector<int>& allowed, const std::string& root) {
  const std::string devices = root + "/sys/devices", cpu_folder = devices + "/system/cpu";
  std::vector<int> cpus;
  for (const int cpu : cpu_list(first_line(cpu_folder + "/online")))
    if (allowed.empty() || std::find(allowed.begin(), allowed.end(), cpu) != allowed.end()) cpus.push_back(cpu);
  if (cpus.empty()) return;

  // Kind, then core (by its first CPU, allowed or not), then CPUs.
  std::map<uint64_t, std::map<int, std::vector<int>>, std::greater<>> kinds;
  const std::map<int, uint64_t> kind_of = kinds_of(cpus, devices);
  for (const int cpu : cpus) {
    std::string siblings = first_line(fmt::format("{}/cpu{}/topology/core_cpus_list", cpu_folder, cpu));
    if (siblings.empty())  // before Linux 5.3
      siblings = first_line(fmt::format("{}/cpu{}/topology/thread_siblings_list", cpu_folder, cpu));
    const std::vector<int> core = cpu_list(siblings);
    kinds[kind_of.at(cpu)][core.empty() ? cpu : core[0]].push_back(cpu);
  }
  p.cpus = static_cast<unsigned>(cpus.size());
  p.cores = 0;
  p.core_classes.clear();
  for (const auto& [kind, by_first] : kinds) {
    std::vector<std::vector<int>> cores;
    for (const auto& [first, threads] : by_first) cores.push_back(threads);
    p.core_classes.push_back(core_class(core_class_name(p.core_classes.size(), kinds.size()), cores));
    p.cores += p.core_classes.back().cores;
  }
  p.caches = caches_of(cpus, cpu_folder);
  p.memory_bytes = memory_total(root + "/proc/meminfo");
}

std::vector<std::vector<int>> sys_sme_units(const std::vector<int>& cores, const std::string& root) {
  const std::string cpu_folder = root + "/sys/devices/system/cpu";
  std::vector<UnitPool> pools;
  for (const int cpu : cores) {
    const std::string text = first_line(fmt::format("{}/cpu{}/regs/identification/smidr_el1", cpu_folder, cpu));
    const std::optional<uint64_t> smidr = hexadecimal(text);
    const std::string l2 = smidr ? "" : l2_cpus(cpu, cpu_folder);
    if (!smidr && l2.empty()) return {};
    UnitPool pool = smidr ? unit_pool(cpu, *smidr) : UnitPool{"L2 of " + l2, 1, {}};
    auto at = std::find_if(pools.begin(), pools.end(), [&](const UnitPool& p) { return p.name == pool.name; });
    if (at == pools.end()) at = pools.insert(at, std::move(pool));
    at->cores.push_back(cpu);
  }
  std::vector<std::vector<int>> units;
  for (const UnitPool& pool : pools) {  // cores that share several: any of them may be the one that serves a unit
    const size_t first = units.size(), count = std::min(pool.units, pool.cores.size());
    units.resize(first + count);
    for (size_t i = 0; i < pool.cores.size(); ++i) units[first + i % count].push_back(pool.cores[i]);
  }
  return units;
}

std::vector<std::vector<int>> named_sme_units(const std::vector<CoreClass>& classes,
                                              const std::function<std::optional<uint64_t>(const char*)>& value) {
  std::vector<std::vector<int>> units;
  for (size_t i = 0; i < classes.size(); ++i) {
    const uint64_t each = value(fmt::format("hw.perflevel{}.cpusperl2", i).c_str()).value_or(0);
    if (each == 0) return {};
    const size_t cores = std::min<size_t>(classes[i].cores, classes[i].cpus.size());
    for (size_t core = 0; core < cores; ++core) {
      if (core % each == 0) units.emplace_back();
      units.back().push_back(classes[i].cpus[core]);
    }
  }
  return units;
}

void read_named_topology(Platform& p, const std::function<std::optional<uint64_t>(const char*)>& value) {
  const auto number = [&](const std::string& name) {
    return static_cast<unsigned>(std::min<uint64_t>(value(name.c_str()).value_or(0), kMostCpus));
  };
  p.cpus = number("hw.logicalcpu");
  p.cores = number("hw.physicalcpu");
  p.memory_bytes = value("hw.memsize").value_or(0);
  p.core_classes.clear();
  p.caches.clear();
  const unsigned levels = std::min(number("hw.nperflevels"), 8u);
  int cpu = 0;
  std::map<unsigned, CacheLevel> caches;
  const auto add_cache = [&](unsigned level, uint64_t bytes, unsigned instances) {
    if (bytes == 0 || instances == 0) return;
    CacheLevel& c = caches[level];
    c = {level, std::max(c.bytes, bytes), c.instances + instances};
  };
  for (unsigned i = 0; i < levels; ++i) {
    const std::string level = fmt::format("hw.perflevel{}.", i);
    const unsigned logical = number(level + "logicalcpu"), physical = number(level + "physicalcpu");
    if (logical == 0 || physical == 0 || logical % physical != 0) continue;
    std::vector<std::vector<int>> cores(physical);
    for (std::vector<int>& core : cores)
      for (unsigned thread = 0; thread < logical / physical; ++thread) core.push_back(cpu++);
    p.core_classes.push_back(core_class(core_class_name(i, levels), cores));
    add_cache(1, value((level + "l1dcachesize").c_str()).value_or(0), physical);
    for (unsigned shared = 2; shared <= 3; ++shared)
      if (const unsigned each = number(level + fmt::format("cpusperl{}", shared)); each != 0)
        add_cache(shared, value(fmt::format("{}l{}cachesize", level, shared).c_str()).value_or(0),
                  (logical + each - 1) / each);
  }
  for (const auto& [level, c] : caches) p.caches.push_back(c);
}

}  // namespace smepilot
