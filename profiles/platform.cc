#include "profiles/platform.h"

#include <fmt/format.h>
#include <hwloc.h>

#include <algorithm>
#include <map>
#include <memory>
#include <thread>

#include "kernels/isa/isa_detect.h"
#include "profiles/fnv.h"
#include "profiles/platform_facts.h"

namespace smepilot {
namespace {

struct TopologyDelete {
  void operator()(hwloc_topology_t t) const noexcept { hwloc_topology_destroy(t); }
};
using Topology = std::unique_ptr<hwloc_topology, TopologyDelete>;

struct BitmapDelete {
  void operator()(hwloc_bitmap_t b) const noexcept { hwloc_bitmap_free(b); }
};
using Bitmap = std::unique_ptr<hwloc_bitmap_s, BitmapDelete>;

// The machine as far as this process may use it; null where hwloc fails.
Topology load_topology() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return nullptr;
  Topology topology(raw);
  if (hwloc_topology_load(raw) != 0) return nullptr;
  // hwloc honours the control group by itself, but not the affinity mask that taskset or a batch system set.
  const Bitmap allowed(hwloc_bitmap_alloc());
  if (allowed != nullptr && hwloc_get_cpubind(raw, allowed.get(), HWLOC_CPUBIND_PROCESS) == 0 &&
      hwloc_bitmap_weight(allowed.get()) > 0)
    hwloc_topology_restrict(raw, allowed.get(), 0);  // on failure the topology is unchanged, and merely too large
  return topology;
}

std::vector<int> cpus_of(hwloc_const_cpuset_t set) {
  std::vector<int> cpus;
  for (int cpu = hwloc_bitmap_first(set); cpu >= 0; cpu = hwloc_bitmap_next(set, cpu)) cpus.push_back(cpu);
  return cpus;
}

// Of the logical CPUs in `set`, the first of every physical core before the second of any.
CoreClass core_class(std::string name, hwloc_topology_t t, hwloc_const_cpuset_t set) {
  std::vector<std::vector<int>> cores;
  const int count = hwloc_get_nbobjs_inside_cpuset_by_type(t, set, HWLOC_OBJ_CORE);
  for (int i = 0; i < count; ++i) {
    hwloc_obj_t core = hwloc_get_obj_inside_cpuset_by_type(t, set, HWLOC_OBJ_CORE, static_cast<unsigned>(i));
    if (core != nullptr) cores.push_back(cpus_of(core->cpuset));
  }
  if (cores.empty()) {
    std::vector<int> all = cpus_of(set);
    const auto number = static_cast<unsigned>(all.size());
    return {std::move(name), std::move(all), number};
  }
  std::vector<int> cpus;
  for (size_t thread = 0, before = SIZE_MAX; before != cpus.size(); ++thread) {
    before = cpus.size();
    for (const std::vector<int>& core : cores)
      if (thread < core.size()) cpus.push_back(core[thread]);
  }
  return {std::move(name), std::move(cpus), static_cast<unsigned>(cores.size())};
}

// What tells kinds of cores apart. Frequencies do not: chips of one kind differ by a bin from core to core.
std::string kind_key(const hwloc_info_s* infos, unsigned count) {
  std::string key;
  for (unsigned i = 0; i < count; ++i)
    for (const char* name : {"CoreType", "LinuxCapacity", "DarwinCompatible"})
      if (std::string(infos[i].name) == name) key += std::string(infos[i].value) + ";";
  return key;
}

std::vector<CoreClass> core_classes(hwloc_topology_t t) {
  hwloc_const_cpuset_t all = hwloc_topology_get_topology_cpuset(t);
  std::vector<std::pair<std::string, Bitmap>> kinds;  // in hwloc's order: least efficient per watt last
  const int count = hwloc_cpukinds_get_nr(t, 0);
  for (int i = 0; i < count; ++i) {
    Bitmap set(hwloc_bitmap_alloc());
    int efficiency = 0;
    unsigned info_count = 0;
    hwloc_info_s* infos = nullptr;
    if (set == nullptr ||
        hwloc_cpukinds_get_info(t, static_cast<unsigned>(i), set.get(), &efficiency, &info_count, &infos, 0) != 0)
      continue;
    hwloc_bitmap_and(set.get(), set.get(), all);
    if (hwloc_bitmap_iszero(set.get())) continue;
    const std::string key = kind_key(infos, info_count);
    const auto same = std::find_if(kinds.begin(), kinds.end(), [&](const auto& k) { return k.first == key; });
    if (same == kinds.end())
      kinds.emplace_back(key, std::move(set));
    else
      hwloc_bitmap_or(same->second.get(), same->second.get(), set.get());
  }
  if (kinds.size() < 2) return {core_class("cpu", t, all)};
  // hwloc ranks kinds by efficiency value, where greater is faster and hungrier.
  std::vector<CoreClass> classes;
  for (size_t i = kinds.size(); i-- > 0;) {
    const std::string name = i + 1 == kinds.size() ? "P" : i == 0 ? "E" : fmt::format("M{}", i);
    classes.push_back(core_class(name, t, kinds[i].second.get()));
  }
  return classes;
}

std::vector<CacheLevel> caches(hwloc_topology_t t) {
  std::vector<CacheLevel> levels;
  for (const auto& [level, type] :
       {std::pair{1u, HWLOC_OBJ_L1CACHE}, {2u, HWLOC_OBJ_L2CACHE}, {3u, HWLOC_OBJ_L3CACHE}, {4u, HWLOC_OBJ_L4CACHE}}) {
    const int count = hwloc_get_nbobjs_by_type(t, type);
    if (count <= 0) continue;
    CacheLevel c{level, 0, static_cast<unsigned>(count)};
    for (int i = 0; i < count; ++i)
      c.bytes = std::max<uint64_t>(c.bytes, hwloc_get_obj_by_type(t, type, static_cast<unsigned>(i))->attr->cache.size);
    if (c.bytes != 0) levels.push_back(c);
  }
  return levels;
}

std::string size_text(uint64_t bytes) {
  if (bytes % (uint64_t{1} << 20) == 0) return fmt::format("{}M", bytes >> 20);
  return bytes % 1024 == 0 ? fmt::format("{}K", bytes >> 10) : fmt::format("{}B", bytes);
}

void add_topology(Platform& p) {
  const Topology topology = load_topology();
  if (topology != nullptr) {
    hwloc_topology_t t = topology.get();
    p.cpus = static_cast<unsigned>(std::max(hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_PU), 0));
    p.cores = static_cast<unsigned>(std::max(hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_CORE), 0));
    p.core_classes = core_classes(t);
    p.caches = caches(t);
    p.memory_bytes = hwloc_get_root_obj(t)->total_memory;
  }
  if (p.cpus == 0) p.cpus = std::max(1u, std::thread::hardware_concurrency());
  if (p.cores == 0) p.cores = p.cpus;  // without /sys nobody knows which CPUs share a core
  if (p.core_classes.empty()) {
    p.core_classes.push_back({"cpu", {}, p.cores});
    for (unsigned i = 0; i < p.cpus; ++i) p.core_classes[0].cpus.push_back(static_cast<int>(i));
  }
}

void add_matrix_unit(Platform& p, IsaSet isa, const std::vector<int>& cpus) {
  if ((isa & (kIsaAmxInt8 | kIsaAmxBf16)) != 0) {
    p.matrix_unit = "amx";
    p.matrix_units = p.cores;  // each core has its own
  } else if ((isa & kIsaSme) != 0) {
    p.matrix_unit = "sme";
    p.matrix_units = sme_units(cpus);
    if (p.matrix_units == 0) {  // a cluster shares its unit as it shares its L2; what is not shared is a core's own
      const auto l2 = std::find_if(p.caches.begin(), p.caches.end(), [](const CacheLevel& c) { return c.level == 2; });
      p.matrix_units = l2 != p.caches.end() ? std::min(l2->instances, p.cores) : p.cores;
    }
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
      const auto middle = c.cpus.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(c.cores, c.cpus.size()));
      order.insert(order.end(), first ? c.cpus.begin() : middle, first ? middle : c.cpus.end());
    }
  return order;
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
  add_matrix_unit(p, isa, cpus);
  if (const uint64_t limit = memory_limit_bytes(); limit != 0 && (p.memory_bytes == 0 || limit < p.memory_bytes))
    p.memory_bytes = limit;
  p.os = os_name();
  p.kernel = kernel_release();
  p.governor = cpu_governor(cpus);
  p.hypervisor = hypervisor_name();
  return p;
}

}  // namespace smepilot
