#include "profiles/platform.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <set>

#include "kernels/base/os.h"
#include "kernels/isa/isa_detect.h"
#include "profiles/topology.h"

namespace smepilot {
namespace {

Platform detected() {
  Result<Platform> p = detect_platform();
  EXPECT_TRUE(p.ok()) << p.message();
  return p.ok() ? *p : Platform{};
}

TEST(Platform, CountsAreConsistent) {
  const Platform p = detected();
  EXPECT_GE(p.cores, 1u);
  EXPECT_GE(p.cpus, p.cores);
  ASSERT_FALSE(p.core_classes.empty());
  std::multiset<int> cpus;
  for (const CoreClass& c : p.core_classes) {
    EXPECT_FALSE(c.name.empty());
    EXPECT_FALSE(c.cpus.empty());
    cpus.insert(c.cpus.begin(), c.cpus.end());
  }
  EXPECT_EQ(cpus.size(), p.cpus);
  EXPECT_EQ(std::set<int>(cpus.begin(), cpus.end()).size(), p.cpus) << "a CPU is in one class only";
  unsigned previous = 0;
  for (const CacheLevel& c : p.caches) {
    EXPECT_GT(c.level, previous);
    EXPECT_GT(c.bytes, 0u);
    EXPECT_GE(c.instances, 1u);
    EXPECT_LE(c.instances, p.cpus);
    previous = c.level;
  }
  EXPECT_EQ(p.matrix_unit.empty(), p.matrix_units == 0);
  EXPECT_EQ(p.unit_cpus.empty() ? p.matrix_units : p.unit_cpus.size(), p.matrix_units);
  std::multiset<int> served;
  for (const std::vector<int>& unit : p.unit_cpus) {
    EXPECT_FALSE(unit.empty());
    served.insert(unit.begin(), unit.end());
  }
  for (const int cpu : served) EXPECT_EQ(served.count(cpu), 1u) << "a core has one unit";
  const std::vector<int> workers = p.worker_cpus();
  EXPECT_EQ(std::multiset<int>(workers.begin(), workers.end()), cpus);
  EXPECT_FALSE(p.kernel.empty());
  EXPECT_FALSE(p.os.empty());
}

// A machine as a file or a line of hwloc's describes it.
Platform described(const char* variable, const std::string& value) {
  EXPECT_EQ(::setenv(variable, value.c_str(), 1), 0);
  const Platform p = detected();
  EXPECT_EQ(::unsetenv(variable), 0);
  return p;
}

bool has_hwloc() {
  Platform p;
  read_hwloc_topology(p);
  return p.cpus != 0;
}

// Four P cores of two threads each, CPUs 0-7, and eight E cores of one, CPUs 8, 10, … 22.
TEST(Platform, HybridMachinesHaveAWorkerPerCoreFastOnesFirst) {
  if (!has_hwloc()) GTEST_SKIP() << "a build without hwloc";
  const Platform p = described("HWLOC_XMLFILE", SMEPILOT_SOURCE_DIR "/tests/profiles/data/hybrid_topology.xml");
  EXPECT_EQ(p.cores, 12u);
  EXPECT_EQ(p.cpus, 16u);
  ASSERT_EQ(p.core_classes.size(), 2u);
  EXPECT_EQ(p.core_classes[0].name, "P");
  EXPECT_EQ(p.core_classes[0].cores, 4u);
  EXPECT_EQ(p.core_classes[0].cpus, (std::vector<int>{0, 2, 4, 6, 1, 3, 5, 7}));
  EXPECT_EQ(p.core_classes[1].name, "E");
  EXPECT_EQ(p.core_classes[1].cores, 8u);
  EXPECT_EQ(p.core_classes[1].cpus, (std::vector<int>{8, 10, 12, 14, 16, 18, 20, 22}));
  EXPECT_EQ(p.worker_cpus(), (std::vector<int>{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 1, 3, 5, 7}));
}

TEST(Platform, UniformMachinesHaveOneClass) {
  if (!has_hwloc()) GTEST_SKIP() << "a build without hwloc";
  const Platform p = described("HWLOC_SYNTHETIC", "pack:2 core:3 pu:2");
  EXPECT_EQ(p.cores, 6u);
  ASSERT_EQ(p.core_classes.size(), 1u);
  EXPECT_EQ(p.core_classes[0].name, "cpu");
  EXPECT_EQ(p.core_classes[0].cores, 6u);
  EXPECT_EQ(p.worker_cpus(), (std::vector<int>{0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11}));
}

TEST(Platform, OnlyTheCpusOfThisProcess) {
  const std::vector<int> before = current_affinity();
  if (before.size() < 2) GTEST_SKIP() << "one CPU, or a system without affinity";
  std::error_code none;  // an emulator has threads of its own in this process, which keep all CPUs
  std::filesystem::directory_iterator tasks("/proc/self/task", none), end;
  if (!none && std::distance(tasks, end) > 1) GTEST_SKIP() << "this process has threads that are not the test's";
  ASSERT_TRUE(set_affinity({before.back()}));
  const Platform p = detected();
  ASSERT_TRUE(set_affinity(before));
  EXPECT_EQ(p.cpus, 1u);
  EXPECT_EQ(p.cores, 1u);
  ASSERT_EQ(p.core_classes.size(), 1u);
  EXPECT_EQ(p.core_classes[0].cpus, std::vector<int>{before.back()});
  EXPECT_EQ(detected().cpus, before.size());
  EXPECT_NE(detected().fingerprint(), p.fingerprint());
}

TEST(Platform, FirstWorkersHaveAMatrixUnitEach) {
  Platform p;
  p.core_classes = {{"P", {4, 5, 6, 7}, 4}, {"E", {0, 1, 2, 3, 8, 9}, 4}};  // two of the slow cores have two threads
  const std::vector<int> plain = {4, 5, 6, 7, 0, 1, 2, 3, 8, 9};
  EXPECT_EQ(p.worker_cpus(), plain);
  p.unit_cpus = {{4, 5}, {6, 7}, {0, 1, 2, 3}};
  EXPECT_EQ(p.worker_cpus(), (std::vector<int>{4, 6, 0, 5, 7, 1, 2, 3, 8, 9}));
  p.unit_cpus = {{0, 1, 2, 3, 4, 5, 6, 7}};
  EXPECT_EQ(p.worker_cpus(), plain) << "one for all";
  p.unit_cpus = {{4}, {5}, {6}, {7}, {0}, {1}, {2}, {3}};
  EXPECT_EQ(p.worker_cpus(), plain) << "one in every core";
}

TEST(Platform, FingerprintCoversIdentityAndNothingElse) {
  Platform p;
  p.cpu_model = "Some CPU";
  p.cpu_family = "GenuineIntel 6/143/8";
  p.isa = "avx2";
  p.cores = p.cpus = 4;
  p.caches = {{1, 48 << 10, 4}, {2, 2 << 20, 4}};
  const std::string base = p.fingerprint();
  EXPECT_EQ(base.size(), 16u);
  EXPECT_EQ(base.find_first_not_of("0123456789abcdef"), std::string::npos);

  Platform same = p;
  same.governor = "powersave";
  same.kernel = "Linux 99";
  same.os = "other";
  same.hypervisor = "KVMKVMKVM";
  same.memory_bytes = 1;
  EXPECT_EQ(same.fingerprint(), base) << "provenance is not identity";

  std::set<std::string> all = {base};
  const auto changed = [&](auto change) {
    Platform other = p;
    change(other);
    EXPECT_TRUE(all.insert(other.fingerprint()).second);
  };
  changed([](Platform& o) { o.cpu_model += "X"; });
  changed([](Platform& o) { o.cpu_family += "X"; });
  changed([](Platform& o) { o.isa = "avx2+avx512"; });
  changed([](Platform& o) { o.cores = 2; });
  changed([](Platform& o) { o.cpus = 8; });
  changed([](Platform& o) { o.caches[1].bytes *= 2; });
  changed([](Platform& o) { o.caches[1].instances = 1; });
  changed([](Platform& o) { o.matrix_unit = "amx", o.matrix_units = 4; });

  std::set<std::string> names;
  for (const auto& [name, value] : p.identity()) names.insert(name);
  EXPECT_EQ(names, (std::set<std::string>{"caches", "cores", "cpu_family", "cpu_model", "cpus", "isa", "matrix_unit"}));
}

TEST(Platform, ForcedIsaIsHonoured) {
  ASSERT_EQ(setenv("SMEPILOT_FORCE_ISA", "portable", 1), 0);
  const Platform p = detected();
  EXPECT_EQ(p.isa, "portable");
  EXPECT_EQ(p.matrix_unit, "");
  ASSERT_EQ(setenv("SMEPILOT_FORCE_ISA", "avx9000", 1), 0);
  const Result<Platform> bad = detect_platform();
  unsetenv("SMEPILOT_FORCE_ISA");
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.message().find("avx9000"), std::string::npos);
  EXPECT_EQ(detected().isa, isa_to_string(detect_isa()));
}

}  // namespace
}  // namespace smepilot
