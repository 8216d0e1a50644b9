#include "profiles/matrix_units.h"

#include <algorithm>
#include <cmath>

namespace smepilot {

std::vector<CoopWorkers> coop_workers(uint32_t workers, uint32_t units) {
  std::vector<CoopWorkers> out;
  if (workers < 2 || units == 0) return out;
  const uint32_t matrix = units < workers ? units : workers / 2;  // where every core has a unit, cores are divided
  out.push_back({matrix, workers - matrix});
  if (workers - matrix > 2) out.push_back({matrix, (workers - matrix + 1) / 2});
  if (matrix > 1) out.push_back({1, workers - 1});
  return out;
}

UnitScaling unit_scaling(const Calibration& calibration) {
  constexpr double kReached = 0.95;
  UnitScaling best;
  for (const Peak& one : calibration.peaks) {
    if (one.unit != ExecutionUnit::kMatrix || one.workers != 1 || one.gflops <= 0) continue;
    const auto same = [&](const Peak& p) {
      return p.unit == one.unit && p.dtype == one.dtype && p.isa == one.isa && p.workers > 1;
    };
    double most = one.gflops;
    bool scaled = false;
    for (const Peak& p : calibration.peaks)
      if (same(p)) {
        most = std::max(most, p.gflops);
        scaled = true;
      }
    if (!scaled || most / one.gflops <= best.gain) continue;
    best.gain = most / one.gflops;
    best.units = std::max(1u, static_cast<unsigned>(std::lround(best.gain)));
    best.workers = one.gflops >= kReached * most ? 1 : 0;
    for (const Peak& p : calibration.peaks)
      if (same(p) && p.gflops >= kReached * most && (best.workers == 0 || p.workers < best.workers))
        best.workers = p.workers;
  }
  return best;
}

}  // namespace smepilot
