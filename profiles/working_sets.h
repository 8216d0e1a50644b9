// Which amounts of memory calibration reads and writes to measure each memory level.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "profiles/platform.h"

namespace smepilot {

struct WorkingSet {
  std::string level;       // L1 L2 LLC DRAM
  uint64_t bytes = 0;      // of all workers together, evenly divided
  bool beyond_l2 = false;  // larger than the caches of single cores
  bool cold = false;       // meant to miss every cache
};

// From L1 outwards. Every worker's share divides into two halves (for a cold set, of each window) that are multiples of
// kProbeGranule. The last level cache of a virtual machine is shared with strangers, so only a modest part of it
// is claimed. max_bytes (0: none) caps all of them. A level that this machine does not have, or that cannot be told
// from its neighbours, is left out.
std::vector<WorkingSet> working_sets(const Platform& platform, unsigned workers, bool quick, uint64_t max_bytes);

// Bytes of `level` (1, 2, 3) that each of `workers` workers may fill, 0: no such level.
uint64_t cache_share(const Platform& platform, unsigned level, unsigned workers);

// A memory probe's buffer is a multiple of this.
inline constexpr uint64_t kProbeGranule = 1024;
// A cold set is visited in this many pieces, so that one sample stays short.
inline constexpr unsigned kColdWindows = 32;

}  // namespace smepilot
