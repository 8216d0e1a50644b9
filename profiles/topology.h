// Where detect_platform() has a machine's cores, caches and memory from. Each source fills cpus, cores, core_classes,
// caches and memory_bytes of a Platform and leaves what it cannot find. Only CPUs that this process may use count.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "profiles/platform.h"

namespace smepilot {

// hwloc. Nothing where this was built without it, or where it fails.
void read_hwloc_topology(Platform& p);

// Linux's /sys and /proc, looked for under `root`. `allowed`: the CPUs that count; if empty, all that are online.
void read_sys_topology(Platform& p, const std::vector<int>& allowed, const std::string& root = "");

// The values that macOS keeps by name (sysctl_number). Its CPUs have no numbers to pin to: here they are counted from
// the fastest class on.
void read_named_topology(Platform& p, const std::function<std::optional<uint64_t>(const char*)>& value);

// The matrix units of these cores, each core given by its first CPU: which of them every unit serves. By SMIDR_EL1,
// which Linux shows for every CPU; else cores that share an L2 cache, as the clusters do that share a unit. Empty:
// unknown.
std::vector<std::vector<int>> sys_sme_units(const std::vector<int>& cores, const std::string& root = "");

// The same for the core classes of a Mac, where every cluster has a unit and an L2 cache.
std::vector<std::vector<int>> named_sme_units(const std::vector<CoreClass>& classes,
                                              const std::function<std::optional<uint64_t>(const char*)>& value);

// Cores of one kind, each with its logical CPUs: the first of every core comes before the second of any.
CoreClass core_class(std::string name, const std::vector<std::vector<int>>& cores);

// The name of the kind with that rank, the fastest being 0, among `count` kinds: "P", "M1", "E"; "cpu" for the only
// one.
std::string core_class_name(size_t rank, size_t count);

}  // namespace smepilot
