#include "profiles/platform.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "kernels/base/os.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "profiles/fnv.h"
#include "profiles/platform_facts.h"
#include "profiles/topology.h"

namespace smepilot {
namespace {

std::string size_text(uint64_t bytes) {
  if (bytes % (uint64_t{1} << 20) == 0) return fmt::format("{}M", bytes >> 20);
  return bytes % 1024 == 0 ? fmt::format("{}K", bytes >> 10) : fmt::format("{}B", bytes);
}

// How many CPUs of a class are the first of a core.
size_t first_threads(const CoreClass& c) {
  return std::min<size_t>(c.cores, c.cpus.size());
}

void add_topology(Platform& p) {
  read_hwloc_topology(p);
  if (p.cpus == 0) read_sys_topology(p, current_affinity());
  if (p.cpus == 0) read_named_topology(p, sysctl_number);
  if (p.cpus == 0) p.cpus = std::max(1u, std::thread::hardware_concurrency());
  if (p.cores == 0) p.cores = p.cpus;  // without /sys nobody knows which CPUs share a core
  if (p.core_classes.empty()) {
    p.core_classes.push_back({"cpu", {}, p.cores});
    for (unsigned i = 0; i < p.cpus; ++i) p.core_classes[0].cpus.push_back(static_cast<int>(i));
  }
}

void add_matrix_unit(Platform& p, IsaSet isa) {
  std::vector<int> cores;
  for (const CoreClass& c : p.core_classes)
    cores.insert(cores.end(), c.cpus.begin(), c.cpus.begin() + static_cast<std::ptrdiff_t>(first_threads(c)));
  if (testbed_enabled()) {
    p.matrix_unit = "testbed";
    p.matrix_units = 1;
    p.unit_cpus = {{cores[0]}};
  } else if ((isa & (kIsaAmxInt8 | kIsaAmxBf16)) != 0) {
    p.matrix_unit = "amx";
    p.matrix_units = p.cores;
    for (const int core : cores) p.unit_cpus.push_back({core});
  } else if ((isa & kIsaSme) != 0) {
    p.matrix_unit = "sme";
    p.unit_cpus = sys_sme_units(cores);
    if (p.unit_cpus.empty()) p.unit_cpus = named_sme_units(p.core_classes, sysctl_number);
    // Where nothing is known, every core has its own.
    p.matrix_units = p.unit_cpus.empty() ? p.cores : static_cast<unsigned>(p.unit_cpus.size());
  }
}

}  // namespace

std::vector<std::pair<std::string, std::string>> Platform::identity() const {
  std::string cache_text;
  for (const CacheLevel& c : caches)
    cache_text += fmt::format("{}L{} {} x{}", cache_text.empty() ? "" : ", ", c.level, size_text(c.bytes), c.instances);
  const std::string matrix = matrix_unit.empty() ? "none" : fmt::format("{} x{}", matrix_unit, matrix_units);
  return {{"cpu_family", cpu_family},
          {"cpu_model", cpu_model},
          {"isa", isa},
          {"cores", fmt::format("{}", cores)},
          {"cpus", fmt::format("{}", cpus)},
          {"caches", cache_text},
          {"matrix_unit", matrix}};
}

std::vector<int> Platform::worker_cpus() const {
  std::vector<int> order;
  for (const bool first : {true, false})
    for (const CoreClass& c : core_classes) {
      const auto middle = c.cpus.begin() + static_cast<std::ptrdiff_t>(first_threads(c));
      order.insert(order.end(), first ? c.cpus.begin() : middle, first ? middle : c.cpus.end());
    }
  std::vector<int> of_units, others;
  std::vector<bool> taken(unit_cpus.size());
  for (const int cpu : order) {
    const auto unit = std::find_if(unit_cpus.begin(), unit_cpus.end(), [&](const std::vector<int>& served) {
      return std::find(served.begin(), served.end(), cpu) != served.end();
    });
    const auto index = static_cast<size_t>(unit - unit_cpus.begin());
    const bool first = unit != unit_cpus.end() && !taken[index];
    if (first) taken[index] = true;
    (first ? of_units : others).push_back(cpu);
  }
  of_units.insert(of_units.end(), others.begin(), others.end());
  return of_units;
}

std::string Platform::fingerprint() const {
  Fnv h;
  for (const auto& [name, value] : identity()) {
    h.add(name);
    h.add(value);
  }
  return h.hex();
}

Result<Platform> detect_platform() {
  SMEPILOT_ASSIGN(const IsaSet isa, usable_isa());
  Platform p;
  add_topology(p);
  std::vector<int> cpus;
  for (const CoreClass& c : p.core_classes) cpus.insert(cpus.end(), c.cpus.begin(), c.cpus.end());
  p.cpu_model = cpu_brand();
  p.cpu_family = cpu_family_id(cpus);
  p.isa = isa_to_string(isa);
  add_matrix_unit(p, isa);
  if (const uint64_t limit = memory_limit_bytes(); limit != 0 && (p.memory_bytes == 0 || limit < p.memory_bytes))
    p.memory_bytes = limit;
  p.os = os_name();
  p.kernel = kernel_release();
  p.governor = cpu_governor(cpus);
  p.hypervisor = hypervisor_name();
  return p;
}

}  // namespace smepilot
