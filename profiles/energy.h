// Energy that the machine has used, from the counters that the operating system offers: RAPL through powercap, else
// hwmon's energy counters of sockets. They count whole packages, whoever else runs there. macOS has such numbers for
// root only (powermetrics); there, and in most containers and virtual machines, there are none, and a meter says why.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace smepilot {

// What was used between two readings. DRAM stands beside the packages, where it is counted at all: on client parts the
// package counter does not hold it.
struct Energy {
  double joules = 0;                  // of all packages, or of all counters of hwmon
  std::optional<double> dram_joules;  // nothing: not counted
};

class EnergyMeter {
 public:
  // Finds the counters below `root`, which stands for /sys in tests. Never fails: see available().
  explicit EnergyMeter(const std::string& root = "/sys");

  bool available() const noexcept { return !counters_.empty(); }
  const std::string& source() const noexcept { return source_; }    // "RAPL, 2 packages"; "" without counters
  const std::string& why_not() const noexcept { return why_not_; }  // "no powercap here"; "" with counters

  void start();
  // Since start(), which may be asked repeatedly. A counter that has passed its end since is taken to have done so once
  // (at 200 W RAPL's do in about 20 minutes): call sample() at least as often in longer measurements. Nothing if a
  // counter cannot be read any more.
  std::optional<Energy> stop();
  void sample();

 private:
  struct Counter {
    std::string path;    // of the file with microjoules
    uint64_t range = 0;  // max_energy_range_uj; 0: 64 bits
    bool is_dram = false;
    uint64_t last = 0;
    double microjoules = 0;  // since start()
  };
  bool find_powercap(const std::string& root);
  bool find_hwmon(const std::string& root);

  std::vector<Counter> counters_;
  std::string source_, why_not_;
  bool broken_ = false;
};

}  // namespace smepilot
