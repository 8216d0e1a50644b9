// The sources of a machine's topology: /sys trees and named values made up for the test, and the sources against each
// other on the machine that runs it.
#include "profiles/topology.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "kernels/base/os.h"

namespace smepilot {
namespace {

class SysTopology : public ::testing::Test {
 protected:
  SysTopology() : root_(std::filesystem::temp_directory_path() / ("smepilot_topology_" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(root_);
  }
  ~SysTopology() override { std::filesystem::remove_all(root_); }

  void file(const std::string& path, const std::string& text) {
    const std::filesystem::path full = root_ / path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text << "\n";
  }
  void cpu(int number, const std::string& path, const std::string& text) {
    file("sys/devices/system/cpu/cpu" + std::to_string(number) + "/" + path, text);
  }
  void cache(int number, int index, const char* level, const char* type, const char* size, const char* shared) {
    const std::string folder = "cache/index" + std::to_string(index) + "/";
    cpu(number, folder + "level", level);
    cpu(number, folder + "type", type);
    cpu(number, folder + "size", size);
    cpu(number, folder + "shared_cpu_list", shared);
  }
  Platform read(const std::vector<int>& allowed = {}) {
    Platform p;
    read_sys_topology(p, allowed, root_.string());
    return p;
  }

  std::filesystem::path root_;
};

// As in many phones: one fast core, three middle ones, four slow ones in this order of numbers: slow, middle, fast.
TEST_F(SysTopology, KindsOfCoresAreToldByCapacity) {
  file("sys/devices/system/cpu/online", "0-7");
  for (int i = 0; i < 8; ++i) {
    cpu(i, "cpu_capacity", i == 7 ? "1024" : i >= 4 ? "880" : "320");
    cpu(i, "topology/core_cpus_list", std::to_string(i));
    cache(i, 0, "1", "Data", i >= 4 ? "64K" : "32K", std::to_string(i).c_str());
    cache(i, 1, "1", "Instruction", "128K", std::to_string(i).c_str());
    cache(i, 2, "2", "Unified", i == 7 ? "1M" : "512K", i < 4 ? "0-3" : std::to_string(i).c_str());
    cache(i, 3, "3", "Unified", "8192K", "0-7");
  }
  file("proc/meminfo", "HugePages_Total:       0\nMemTotal:       1000 kB\nMemFree:  10 kB");
  const Platform p = read();
  EXPECT_EQ(p.cpus, 8u);
  EXPECT_EQ(p.cores, 8u);
  ASSERT_EQ(p.core_classes.size(), 3u);
  EXPECT_EQ(p.core_classes[0].name, "P");
  EXPECT_EQ(p.core_classes[0].cpus, std::vector<int>{7});
  EXPECT_EQ(p.core_classes[1].name, "M1");
  EXPECT_EQ(p.core_classes[1].cpus, (std::vector<int>{4, 5, 6}));
  EXPECT_EQ(p.core_classes[2].name, "E");
  EXPECT_EQ(p.core_classes[2].cpus, (std::vector<int>{0, 1, 2, 3}));
  ASSERT_EQ(p.caches.size(), 3u);
  EXPECT_EQ(p.caches[0].bytes, 64u << 10);
  EXPECT_EQ(p.caches[0].instances, 8u);
  EXPECT_EQ(p.caches[1].bytes, 1u << 20);
  EXPECT_EQ(p.caches[1].instances, 5u);
  EXPECT_EQ(p.caches[2].bytes, 8u << 20);
  EXPECT_EQ(p.caches[2].instances, 1u);
  EXPECT_EQ(p.memory_bytes, 1000u << 10);
}

// Two cores of two threads and two of one, whose capacities differ from core to core.
TEST_F(SysTopology, HybridProcessorsOfIntelNameTheirSlowCores) {
  file("sys/devices/system/cpu/online", "0-5");
  file("sys/devices/cpu_core/cpus", "0-3");
  file("sys/devices/cpu_atom/cpus", "4-5");
  for (int i = 0; i < 6; ++i) {
    cpu(i, "cpu_capacity", std::to_string(1000 + i));
    cpu(i, "topology/thread_siblings_list", i < 2 ? "0-1" : i < 4 ? "2,3" : std::to_string(i));
  }
  const Platform p = read();
  EXPECT_EQ(p.cores, 4u);
  ASSERT_EQ(p.core_classes.size(), 2u);
  EXPECT_EQ(p.core_classes[0].cpus, (std::vector<int>{0, 2, 1, 3}));
  EXPECT_EQ(p.core_classes[0].cores, 2u);
  EXPECT_EQ(p.core_classes[1].cpus, (std::vector<int>{4, 5}));

  const Platform few = read({1, 3, 5, 99});
  EXPECT_EQ(few.cpus, 3u);
  EXPECT_EQ(few.cores, 3u);
  EXPECT_EQ(few.worker_cpus(), (std::vector<int>{1, 3, 5}));
}

TEST_F(SysTopology, WhatCannotBeReadIsLeftAlone) {
  EXPECT_EQ(read().cpus, 0u);
  for (const char* bad : {"", "x", "3-1", "-1", "0-99999999", "0,,2", "0-", "0 1"}) {
    file("sys/devices/system/cpu/online", bad);
    EXPECT_EQ(read().cpus, 0u) << bad;
  }
  file("sys/devices/system/cpu/online", "0,2-3");
  cache(0, 0, "one", "Data", "48K", "0");
  cache(2, 0, "1", "Data", "48Q", "2");
  const Platform p = read();
  EXPECT_EQ(p.cpus, 3u);
  EXPECT_EQ(p.cores, 3u);
  ASSERT_EQ(p.core_classes.size(), 1u);
  EXPECT_EQ(p.core_classes[0].name, "cpu");
  EXPECT_EQ(p.core_classes[0].cpus, (std::vector<int>{0, 2, 3}));
  EXPECT_TRUE(p.caches.empty());
  EXPECT_EQ(p.memory_bytes, 0u);
}

using Units = std::vector<std::vector<int>>;

TEST_F(SysTopology, RegistersSayWhichCoresShareAnSmeUnit) {
  const auto smidr = [&](int number, const char* value) { cpu(number, "regs/identification/smidr_el1", value); };
  // Two clusters with a unit each, told apart by Affinity; priorities (bit 15) have nothing to do with it.
  for (int i = 0; i < 6; ++i) smidr(i, i % 2 == 0 ? "0x0000000041008001" : "0x0000000041008002");
  EXPECT_EQ(sys_sme_units({0, 1, 2, 3, 4, 5}, root_.string()), (Units{{0, 2, 4}, {1, 3, 5}}));
  EXPECT_EQ(sys_sme_units({5, 4, 2}, root_.string()), (Units{{5}, {4, 2}})) << "in the order of the cores";
  // Neither SH nor Affinity: every core has its own, as where SH says so whatever Affinity is.
  smidr(0, "0x0000000041000000");
  smidr(1, "0x0000000041000000");
  smidr(2, "0x0000000041004007");
  smidr(3, "0x0000000041004007");
  EXPECT_EQ(sys_sme_units({0, 1, 2, 3}, root_.string()), (Units{{0}, {1}, {2}, {3}}));
  // SH says shared: zero is a name like others, and Affinity2 belongs to the name.
  smidr(0, "0x0000000041006000");
  smidr(1, "0x0000000041006000");
  smidr(2, "0x0000000141006000");
  smidr(3, "0x0000000141006000");
  EXPECT_EQ(sys_sme_units({0, 1, 2, 3}, root_.string()), (Units{{0, 1}, {2, 3}}));
  // Two units (NSMC 1) for three cores, and for one.
  for (const int i : {0, 1, 2}) smidr(i, "0x0100000041006005");
  EXPECT_EQ(sys_sme_units({0, 1, 2}, root_.string()), (Units{{0, 2}, {1}}));
  EXPECT_EQ(sys_sme_units({1}, root_.string()), (Units{{1}}));
}

TEST_F(SysTopology, WithoutRegistersClustersShareAnSmeUnit) {
  EXPECT_EQ(sys_sme_units({0, 1}, root_.string()), Units{}) << "unknown";
  for (int i = 0; i < 4; ++i) {
    cache(i, 0, "1", "Data", "64K", std::to_string(i).c_str());
    cache(i, 1, "2", "Unified", "4M", i < 2 ? "0-1" : "2-3");
    cpu(i, "regs/identification/smidr_el1", i == 0 ? "" : "what");
  }
  EXPECT_EQ(sys_sme_units({3, 0, 1, 2}, root_.string()), (Units{{3, 2}, {0, 1}}));
  EXPECT_EQ(sys_sme_units({0, 4}, root_.string()), Units{}) << "unknown for one of them";
}

TEST(NamedTopology, EveryClusterOfAMacHasAnSmeUnit) {
  std::map<std::string, uint64_t> values = {{"hw.perflevel0.cpusperl2", 5}, {"hw.perflevel1.cpusperl2", 4}};
  const auto value = [&](const char* name) -> std::optional<uint64_t> {
    const auto it = values.find(name);
    return it == values.end() ? std::nullopt : std::optional(it->second);
  };
  const std::vector<CoreClass> classes = {{"P", {4, 5, 6, 7, 8, 9, 10, 11, 12, 13}, 10}, {"E", {0, 1, 2, 3}, 4}};
  EXPECT_EQ(named_sme_units(classes, value), (Units{{4, 5, 6, 7, 8}, {9, 10, 11, 12, 13}, {0, 1, 2, 3}}));
  values.erase("hw.perflevel1.cpusperl2");
  EXPECT_EQ(named_sme_units(classes, value), Units{}) << "unknown";
}

// Eight fast cores in two clusters, four slow ones in one.
TEST(NamedTopology, IsThatOfAMac) {
  const std::map<std::string, uint64_t> values = {{"hw.logicalcpu", 12},
                                                  {"hw.physicalcpu", 12},
                                                  {"hw.memsize", uint64_t{16} << 30},
                                                  {"hw.nperflevels", 2},
                                                  {"hw.perflevel0.logicalcpu", 8},
                                                  {"hw.perflevel0.physicalcpu", 8},
                                                  {"hw.perflevel0.l1dcachesize", 128 << 10},
                                                  {"hw.perflevel0.l2cachesize", 16 << 20},
                                                  {"hw.perflevel0.cpusperl2", 4},
                                                  {"hw.perflevel1.logicalcpu", 4},
                                                  {"hw.perflevel1.physicalcpu", 4},
                                                  {"hw.perflevel1.l1dcachesize", 64 << 10},
                                                  {"hw.perflevel1.l2cachesize", 4 << 20},
                                                  {"hw.perflevel1.cpusperl2", 4}};
  Platform p;
  read_named_topology(p, [&](const char* name) -> std::optional<uint64_t> {
    const auto it = values.find(name);
    return it == values.end() ? std::nullopt : std::optional(it->second);
  });
  EXPECT_EQ(p.cpus, 12u);
  EXPECT_EQ(p.cores, 12u);
  EXPECT_EQ(p.memory_bytes, uint64_t{16} << 30);
  ASSERT_EQ(p.core_classes.size(), 2u);
  EXPECT_EQ(p.core_classes[0].name, "P");
  EXPECT_EQ(p.core_classes[0].cpus, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(p.core_classes[1].name, "E");
  EXPECT_EQ(p.core_classes[1].cpus, (std::vector<int>{8, 9, 10, 11}));
  ASSERT_EQ(p.caches.size(), 2u);
  EXPECT_EQ(p.caches[0].bytes, 128u << 10);
  EXPECT_EQ(p.caches[0].instances, 12u);
  EXPECT_EQ(p.caches[1].bytes, 16u << 20);
  EXPECT_EQ(p.caches[1].instances, 3u);

  Platform nothing;
  read_named_topology(nothing, [](const char*) { return std::nullopt; });
  EXPECT_EQ(nothing.cpus, 0u);
  EXPECT_TRUE(nothing.core_classes.empty());
}

// What a plan is keyed by must not depend on the library a build had.
TEST(Topology, SourcesAgreeAboutThisMachine) {
  Platform hwloc, sys;
  read_hwloc_topology(hwloc);
  read_sys_topology(sys, current_affinity());
  if (hwloc.cpus == 0 || sys.cpus == 0) GTEST_SKIP() << "a build without hwloc, or a system without /sys";
  EXPECT_EQ(sys.cpus, hwloc.cpus);
  EXPECT_EQ(sys.cores, hwloc.cores);
  EXPECT_GT(sys.memory_bytes, 0u);
  EXPECT_EQ(sys.worker_cpus(), hwloc.worker_cpus());
  EXPECT_EQ(sys.fingerprint(), hwloc.fingerprint());  // caches included
}

}  // namespace
}  // namespace smepilot
