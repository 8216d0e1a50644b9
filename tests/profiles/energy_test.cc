// The energy meter on trees of files that stand for /sys.
#include "profiles/energy.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace smepilot {
namespace {

class EnergyTree : public testing::Test {
 protected:
  EnergyTree() {
    std::string pattern = (std::filesystem::temp_directory_path() / "smepilot_energy_XXXXXX").string();
    if (mkdtemp(pattern.data()) != nullptr) root_ = pattern;
    EXPECT_FALSE(root_.empty());
  }
  ~EnergyTree() override {
    std::error_code ec;
    std::filesystem::remove_all(root_, ec);
  }
  void put(const std::string& file, const std::string& text) {
    const std::filesystem::path path = root_ + "/class/" + file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text << "\n";
  }
  void zone(const std::string& folder, const std::string& name, uint64_t uj, uint64_t range = 262143328850) {
    put("powercap/" + folder + "/name", name);
    put("powercap/" + folder + "/energy_uj", std::to_string(uj));
    put("powercap/" + folder + "/max_energy_range_uj", std::to_string(range));
  }
  std::string root_;
};

TEST_F(EnergyTree, SumsPackagesAndKeepsDramApart) {
  zone("intel-rapl:0", "package-0", 1'000'000);
  zone("intel-rapl:0:0", "core", 1);
  zone("intel-rapl:0:1", "dram", 500'000);
  zone("intel-rapl:1", "package-1", 7'000'000);
  zone("intel-rapl:1:1", "dram", 100'000);
  zone("intel-rapl:2", "psys", 5);
  zone("intel-rapl-mmio:0", "package-0", 5);
  EnergyMeter meter(root_);
  ASSERT_TRUE(meter.available()) << meter.why_not();
  EXPECT_EQ(meter.source(), "RAPL, 2 packages");
  EXPECT_EQ(meter.why_not(), "");
  meter.start();
  zone("intel-rapl:0", "package-0", 3'000'000);
  zone("intel-rapl:0:0", "core", 900'000'000);
  zone("intel-rapl:0:1", "dram", 750'000);
  zone("intel-rapl:1", "package-1", 7'500'000);
  zone("intel-rapl:2", "psys", 900'000'000);
  zone("intel-rapl-mmio:0", "package-0", 900'000'000);
  const auto used = meter.stop();
  ASSERT_TRUE(used);
  EXPECT_DOUBLE_EQ(used->joules, 2.5);
  ASSERT_TRUE(used->dram_joules);
  EXPECT_DOUBLE_EQ(*used->dram_joules, 0.25);
  meter.start();  // anew
  EXPECT_DOUBLE_EQ(meter.stop()->joules, 0);
}

TEST_F(EnergyTree, ACounterThatPassesItsEndGoesOn) {
  zone("intel-rapl:0", "package-0", 9'000'000, 10'000'000);
  EnergyMeter meter(root_);
  meter.start();
  zone("intel-rapl:0", "package-0", 500'000, 10'000'000);
  meter.sample();
  zone("intel-rapl:0", "package-0", 9'500'000, 10'000'000);
  meter.sample();
  zone("intel-rapl:0", "package-0", 1'000'000, 10'000'000);
  const auto used = meter.stop();
  ASSERT_TRUE(used);
  EXPECT_DOUBLE_EQ(used->joules, 1.5 + 9 + 1.5);
  EXPECT_FALSE(used->dram_joules);
}

TEST_F(EnergyTree, SaysWhyThereIsNone) {
  {
    EnergyMeter meter(root_);
    EXPECT_FALSE(meter.available());
    EXPECT_NE(meter.why_not().find("no powercap"), std::string::npos) << meter.why_not();
    EXPECT_NE(meter.why_not().find(root_), std::string::npos) << meter.why_not();
    meter.start();
    EXPECT_FALSE(meter.stop());
  }
  zone("intel-rapl:0", "package-0", 1);
  put("powercap/intel-rapl:0/energy_uj", "many");
  EXPECT_NE(EnergyMeter(root_).why_not().find("energy_uj: Invalid argument"), std::string::npos);
}

TEST_F(EnergyTree, WithoutPermissionItSaysSo) {
  zone("intel-rapl:0", "package-0", 1);
  zone("intel-rapl:1", "package-1", 1);
  const std::string file = root_ + "/class/powercap/intel-rapl:1/energy_uj";
  ASSERT_EQ(chmod(file.c_str(), 0), 0);
  if (access(file.c_str(), R_OK) == 0) {  // as root every mode can be read: a link that leads nowhere else cannot
    std::filesystem::remove(file);
    std::filesystem::create_symlink(file, file);
  }
  EnergyMeter meter(root_);
  EXPECT_FALSE(meter.available()) << "one package of two would pass for both";
  EXPECT_NE(meter.why_not().find("intel-rapl:1/energy_uj"), std::string::npos) << meter.why_not();
  EXPECT_NE(meter.why_not().find("root may read it"), std::string::npos) << meter.why_not();
}

TEST_F(EnergyTree, ACounterThatDisappearsLeavesNoNumber) {
  zone("intel-rapl:0", "package-0", 1);
  EnergyMeter meter(root_);
  meter.start();
  std::filesystem::remove(root_ + "/class/powercap/intel-rapl:0/energy_uj");
  EXPECT_FALSE(meter.stop());
}

TEST_F(EnergyTree, SocketsOfHwmon) {
  put("hwmon/hwmon0/name", "nvme");
  put("hwmon/hwmon0/energy1_input", "5");
  put("hwmon/hwmon1/name", "amd_energy");
  put("hwmon/hwmon1/energy1_label", "Ecore000");
  put("hwmon/hwmon1/energy1_input", "100");
  put("hwmon/hwmon1/energy9_label", "Esocket0");
  put("hwmon/hwmon1/energy9_input", "1000000");
  EnergyMeter meter(root_);
  ASSERT_TRUE(meter.available()) << meter.why_not();
  EXPECT_EQ(meter.source(), "hwmon, 1 counter");
  meter.start();
  put("hwmon/hwmon1/energy1_input", "10000000");
  put("hwmon/hwmon1/energy9_input", "3000000");
  EXPECT_DOUBLE_EQ(meter.stop()->joules, 2);
}

}  // namespace
}  // namespace smepilot
