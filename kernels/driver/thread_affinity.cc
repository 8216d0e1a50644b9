#include "kernels/driver/thread_affinity.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace smepilot {

#if defined(__linux__)
std::vector<int> current_affinity() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

bool set_affinity(const std::vector<int>& cpus) noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus)
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  return CPU_COUNT(&set) > 0 && sched_setaffinity(0, sizeof set, &set) == 0;
}
#else
std::vector<int> current_affinity() {
  return {};
}
bool set_affinity(const std::vector<int>&) noexcept {
  return false;
}
#endif

}  // namespace smepilot
