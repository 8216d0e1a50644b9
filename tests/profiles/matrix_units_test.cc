// Dividing workers between units, and counting units by how their peak scales.
#include "profiles/matrix_units.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

namespace smepilot {
namespace {

TEST(CoopWorkersOf, UnitsFirstAndTheCoresThatAreLeft) {
  const auto text = [](uint32_t workers, uint32_t units) {
    std::string s;
    for (const CoopWorkers& w : coop_workers(workers, units)) s += fmt::format("{}+{} ", w.matrix, w.cpu);
    return s;
  };
  EXPECT_EQ(text(1, 1), "");
  EXPECT_EQ(text(8, 0), "");
  EXPECT_EQ(text(2, 1), "1+1 ");
  EXPECT_EQ(text(10, 2), "2+8 2+4 1+9 ");
  EXPECT_EQ(text(4, 4), "2+2 1+3 ") << "a unit in every core: the cores are divided";
  EXPECT_EQ(text(2, 2), "1+1 ");
}

Calibration scaling(const std::vector<std::pair<unsigned, double>>& gflops) {
  Calibration c;
  for (const auto& [workers, rate] : gflops) {
    c.peaks.push_back({ExecutionUnit::kMatrix, "int8", "sme2", workers, rate, {}});
    c.peaks.push_back({ExecutionUnit::kCpu, "int8", "dotprod", workers, 10.0 * workers, {}});
  }
  return c;
}

TEST(UnitScaling, MoreWorkersThanUnitsGainNothing) {
  const UnitScaling two = unit_scaling(scaling({{1, 1000}, {2, 1980}, {4, 1960}, {8, 1900}}));
  EXPECT_EQ(two.units, 2u);
  EXPECT_EQ(two.workers, 2u);
  EXPECT_NEAR(two.gain, 1.98, 1e-9);
  const UnitScaling one = unit_scaling(scaling({{1, 1000}, {2, 1010}, {4, 990}}));
  EXPECT_EQ(one.units, 1u);
  EXPECT_EQ(one.workers, 1u);
  // Workers that are placed two to a cluster: the second one adds nothing, the third does.
  const UnitScaling clusters = unit_scaling(scaling({{1, 1000}, {2, 1000}, {3, 2000}, {4, 2000}}));
  EXPECT_EQ(clusters.units, 2u);
  EXPECT_EQ(clusters.workers, 3u);
}

TEST(UnitScaling, IsUnknownWithoutMatrixUnitOrASecondWorker) {
  EXPECT_EQ(unit_scaling(Calibration{}).units, 0u);
  EXPECT_EQ(unit_scaling(scaling({{1, 1000}})).units, 0u);
  Calibration cpu = scaling({{1, 1}, {2, 2}});
  std::erase_if(cpu.peaks, [](const Peak& p) { return p.unit == ExecutionUnit::kMatrix; });
  EXPECT_EQ(unit_scaling(cpu).units, 0u);
}

}  // namespace
}  // namespace smepilot
