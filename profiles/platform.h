// What this machine is: the identity that measurements and plans are keyed by, and the facts stored with them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/abi/isa.h"
#include "kernels/base/status.h"

namespace smepilot {

struct CacheLevel {
  unsigned level = 0;  // 1, 2, 3
  uint64_t bytes = 0;  // of one instance
  unsigned instances = 0;
};

struct CoreClass {        // cores that are alike (P cores, E cores)
  std::string name;       // "P", "E", or "cpu" where all are alike
  std::vector<int> cpus;  // logical CPU numbers, one per physical core first
  unsigned cores = 0;     // physical ones: as many of `cpus` are first threads
};

struct Platform {
  std::string cpu_model;   // brand string
  std::string cpu_family;  // "GenuineIntel 6/167/1", or the MIDR on Arm
  std::string isa;         // isa_to_string() of what is usable
  unsigned cores = 0;      // physical cores this process may use
  unsigned cpus = 0;       // logical CPUs this process may use
  std::vector<CoreClass> core_classes;
  std::vector<CacheLevel> caches;
  uint64_t memory_bytes = 0;
  std::string matrix_unit;  // "amx", "sme", "testbed" (kernels/registry/registry.h), or "" for none
  unsigned matrix_units = 0;
  std::vector<std::vector<int>> unit_cpus;       // cores that each unit serves, by their first CPUs; empty: unknown
  std::string os, kernel, governor, hypervisor;  // provenance only, "" where unknown

  // The fields that make a plan transferable or not, as (name, value): cpu_family, cpu_model, isa, cores, cpus, caches,
  // matrix_unit. fingerprint() is 16 hex digits over them.
  std::vector<std::pair<std::string, std::string>> identity() const;
  std::string fingerprint() const;

  // Where worker 0, 1, … run: one on every physical core, the fastest class first, before any core has a second one.
  // Of cores that share a matrix unit, all but one come later, so that workers 0 .. matrix_units-1 have one each.
  std::vector<int> worker_cpus() const;
};

// By hwloc, CPUID/MIDR and /sys. Honours SMEPILOT_FORCE_ISA (whose bad value is the only error).
Result<Platform> detect_platform();

}  // namespace smepilot
