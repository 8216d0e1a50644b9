#include "profiles/clock_watch.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "profiles/statistics.h"

namespace smepilot {
namespace {

constexpr size_t kStartSamples = 12;
constexpr double kWait_s = 0.005;

}  // namespace

ClockWatch::ClockWatch(ClockSource source, const ClockRules& rules) : source_(std::move(source)), rules_(rules) {}

void ClockWatch::start() {
  std::vector<double> rates(kStartSamples);
  for (double& r : rates) r = source_.gflops();
  const double rate = median(rates);
  if (!(rate > 0)) return;
  for (double& r : rates) r = std::abs(r / rate - 1);
  record_.tolerance = std::max(percentile(rates, 95), rules_.least_drift);
  record_.first_gflops = record_.last_gflops = record_.lowest_gflops = record_.highest_gflops = rate;
}

bool ClockWatch::measure_again(unsigned repeats) {
  if (record_.first_gflops <= 0) return false;
  double rate = source_.gflops();
  // A second look: something else may just have had the core, which is no matter of the clock.
  if (fell(rate)) rate = std::max(rate, source_.gflops());
  record_.lowest_gflops = std::min(record_.lowest_gflops, rate);
  const bool drifted = fell(rate);
  while (fell(rate) && record_.cooldown_s < rules_.cooldown_s && !source_.cancelled()) {
    const double begin = source_.now_s();
    source_.wait_s(kWait_s);
    rate = source_.gflops();
    record_.cooldown_s += source_.now_s() - begin;
  }
  const bool recovered = !fell(rate);
  record_.highest_gflops = std::max(record_.highest_gflops, rate);
  record_.last_gflops = rate;
  if (!drifted || !recovered || repeats >= rules_.per_step || record_.repeated >= rules_.in_all) return false;
  ++record_.repeated;
  return true;
}

}  // namespace smepilot
