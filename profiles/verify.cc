#include "profiles/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace smepilot {

Result<std::vector<VerifyRow>> compare_calibrations(const Calibration& stored, const Calibration& now) {
  const double noise = std::max(stored.noise_floor, now.noise_floor);
  std::vector<VerifyRow> rows;
  bool any = false;
  const auto compare = [&](std::string name, double before, double after, double tolerance) {
    VerifyRow r{std::move(name), before, after, noise + tolerance, false};
    r.holds = before > 0 && after > 0 && std::max(before, after) / std::min(before, after) - 1 <= r.allowed;
    any = any || after > 0;
    rows.push_back(std::move(r));
  };
  std::set<unsigned> counts;
  for (const ForkJoin& f : now.fork_join) counts.insert(f.workers);
  for (const Peak& p : stored.peaks) {
    if (!counts.contains(p.workers)) continue;
    const auto same = std::find_if(now.peaks.begin(), now.peaks.end(), [&](const Peak& q) {
      return q.unit == p.unit && q.dtype == p.dtype && q.isa == p.isa && q.workers == p.workers;
    });
    compare(
        fmt::format("peak {} {} {} x{}, GFLOP/s", kUnitNames[static_cast<size_t>(p.unit)], p.dtype, p.isa, p.workers),
        p.gflops, same == now.peaks.end() ? 0 : same->gflops, kPeakTolerance);
  }
  for (const Bandwidth& b : stored.bandwidths) {
    if (!counts.contains(b.workers) || b.op != "read" || (b.level != "LLC" && b.level != "DRAM")) continue;
    const auto same = std::find_if(now.bandwidths.begin(), now.bandwidths.end(), [&](const Bandwidth& q) {
      return q.level == b.level && q.op == b.op && q.workers == b.workers;
    });
    compare(fmt::format("read {} x{}, GB/s", b.level, b.workers), b.gbps, same == now.bandwidths.end() ? 0 : same->gbps,
            kBandwidthTolerance);
  }
  for (const ForkJoin& f : stored.fork_join) {
    const auto same = std::find_if(now.fork_join.begin(), now.fork_join.end(),
                                   [&](const ForkJoin& q) { return q.workers == f.workers; });
    if (same != now.fork_join.end())
      compare(fmt::format("fork and join x{}, ns", f.workers), f.ns, same->ns, kForkJoinTolerance);
  }
  if (!any) return error("the stored calibration has no number that was measured again: its worker counts differ");
  rows.push_back({"noise floor, %", 100 * stored.noise_floor, 100 * now.noise_floor, kNoiseTolerance,
                  now.noise_floor <= stored.noise_floor + kNoiseTolerance && noise <= kMostNoise});
  return rows;
}

}  // namespace smepilot
