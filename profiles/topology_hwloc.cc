#include "profiles/topology.h"

#if SMEPILOT_HAVE_HWLOC
#include <hwloc.h>

#include <algorithm>
#include <memory>
#endif

namespace smepilot {

#if SMEPILOT_HAVE_HWLOC
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

// The cores within `set`; one for all its CPUs apiece where hwloc knows of no cores.
std::vector<std::vector<int>> cores_of(hwloc_topology_t t, hwloc_const_cpuset_t set) {
  std::vector<std::vector<int>> cores;
  const int count = hwloc_get_nbobjs_inside_cpuset_by_type(t, set, HWLOC_OBJ_CORE);
  for (int i = 0; i < count; ++i) {
    hwloc_obj_t core = hwloc_get_obj_inside_cpuset_by_type(t, set, HWLOC_OBJ_CORE, static_cast<unsigned>(i));
    if (core != nullptr) cores.push_back(cpus_of(core->cpuset));
  }
  if (cores.empty())
    for (const int cpu : cpus_of(set)) cores.push_back({cpu});
  return cores;
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
  if (kinds.size() < 2) return {core_class(core_class_name(0, 1), cores_of(t, all))};
  // hwloc ranks kinds by efficiency value, where greater is faster and hungrier.
  std::vector<CoreClass> classes;
  for (size_t rank = 0; rank < kinds.size(); ++rank)
    classes.push_back(
        core_class(core_class_name(rank, kinds.size()), cores_of(t, kinds[kinds.size() - 1 - rank].second.get())));
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

}  // namespace

void read_hwloc_topology(Platform& p) {
  const Topology topology = load_topology();
  if (topology == nullptr) return;
  hwloc_topology_t t = topology.get();
  p.cpus = static_cast<unsigned>(std::max(hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_PU), 0));
  p.cores = static_cast<unsigned>(std::max(hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_CORE), 0));
  p.core_classes = core_classes(t);
  p.caches = caches(t);
  p.memory_bytes = hwloc_get_root_obj(t)->total_memory;
}
#else
void read_hwloc_topology(Platform&) {}
#endif

}  // namespace smepilot
