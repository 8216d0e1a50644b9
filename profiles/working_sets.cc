#include "profiles/working_sets.h"

#include <algorithm>

namespace smepilot {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kDefaultL1 = 32 << 10;  // where the system does not tell; no core that runs this has less

}  // namespace

uint64_t cache_share(const Platform& platform, unsigned level, unsigned workers) {
  for (const CacheLevel& c : platform.caches) {
    if (c.level != level || c.bytes == 0) continue;
    // Workers spread over the instances first; then they share.
    const unsigned instances = std::clamp(c.instances, 1u, std::max(platform.cores, 1u));
    const unsigned sharing = (std::max(workers, 1u) + instances - 1) / instances;
    return c.bytes / sharing;
  }
  return level == 1 ? kDefaultL1 : 0;
}

std::vector<WorkingSet> working_sets(const Platform& platform, unsigned workers, bool quick, uint64_t max_bytes) {
  workers = std::max(workers, 1u);
  uint64_t limit = platform.memory_bytes != 0 ? platform.memory_bytes / 8 : 512 * kMiB;
  if (max_bytes != 0) limit = std::min(limit, max_bytes);
  std::vector<WorkingSet> sets;
  const auto add = [&](const char* level, uint64_t bytes, bool beyond_l2, bool cold) {
    const uint64_t unit = (cold ? kColdWindows : 1) * 2 * kProbeGranule;
    const uint64_t share = std::max(std::min(bytes, limit) / workers / unit, uint64_t{1}) * unit;
    if (!sets.empty() && share * workers <= sets.back().bytes) return false;  // the cap has eaten the difference
    sets.push_back({level, share * workers, beyond_l2, cold});
    return true;
  };
  const uint64_t l1 = cache_share(platform, 1, workers), l2 = cache_share(platform, 2, workers);
  add("L1", l1 / 2 * workers, false, false);
  if (l2 != 0) add("L2", l2 / 2 * workers, false, false);
  uint64_t llc = 0;
  for (const CacheLevel& c : platform.caches)
    if (c.level >= 3) llc = std::max(llc, c.bytes * std::max(c.instances, 1u));
  if (llc != 0) {
    // Enough not to sit in the private caches, little enough to be ours.
    const uint64_t wanted = std::max(std::min(llc / 4, 64 * kMiB), 2 * l2 * workers);
    if (wanted <= llc * 3 / 4) add("LLC", wanted, true, false);
  }
  const uint64_t cold = std::clamp(2 * llc, 512 * kMiB, (quick ? 768 : 1024) * kMiB);
  if (!add("DRAM", cold, true, true)) {
    // So little memory that the caches cannot be exceeded: what is measured farthest out stands for DRAM.
    sets.back().level = "DRAM";
  }
  return sets;
}

}  // namespace smepilot
