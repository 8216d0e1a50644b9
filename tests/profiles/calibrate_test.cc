#include "profiles/calibrate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>

#include "kernels/isa/isa_detect.h"
#include "profiles/roofline_table.h"
#include "profiles/statistics.h"
#include "profiles/working_sets.h"

namespace smepilot {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

CalibrateOptions tiny(unsigned workers) {
  CalibrateOptions o;
  o.quick = true;
  o.workers = workers;
  o.seconds = 0.05;
  o.max_set_bytes = 8 * kMiB;
  return o;
}

// What holds for any calibration of any machine; no number is judged.
void expect_complete(const Calibration& c, const std::vector<unsigned>& counts) {
  std::map<std::string, std::set<unsigned>> workers;
  for (const Peak& p : c.peaks) {
    EXPECT_TRUE(std::isfinite(p.gflops) && p.gflops > 0) << p.dtype << " " << p.isa;
    EXPECT_GE(p.samples.size(), 12u);
    EXPECT_EQ(p.gflops, percentile(p.samples, 90));
    EXPECT_TRUE(isa_from_string(p.isa).ok()) << p.isa;
    workers[p.dtype + " " + p.isa].insert(p.workers);
  }
  for (const Bandwidth& b : c.bandwidths) {
    EXPECT_TRUE(std::isfinite(b.gbps) && b.gbps > 0) << b.level << " " << b.op;
    EXPECT_GE(b.samples.size(), 12u);
    EXPECT_EQ(b.gbps, percentile(b.samples, 90));
    EXPECT_GT(b.working_set_bytes, 0u);
    if (b.level == "L1" || b.level == "DRAM") workers[b.level + " " + b.op].insert(b.workers);
  }
  for (const ForkJoin& f : c.fork_join) {
    EXPECT_TRUE(std::isfinite(f.ns) && f.ns > 0);
    EXPECT_EQ(f.ns, median(f.samples));
    EXPECT_TRUE(std::isfinite(f.barrier_ns) && f.barrier_ns > 0);
    workers["fork"].insert(f.workers);
  }
  for (const char* key : {"f32 portable", "int8 portable", "L1 read", "L1 write", "L1 copy", "DRAM read", "DRAM write",
                          "DRAM copy", "fork"})
    EXPECT_TRUE(workers.contains(key)) << key;
  for (const auto& [key, found] : workers) EXPECT_EQ(found, std::set<unsigned>(counts.begin(), counts.end())) << key;
  EXPECT_GT(c.exp_geps, 0);
  EXPECT_GT(c.pack_gbps, 0);
  EXPECT_GT(c.lhs_pack_gbps, 0);
  EXPECT_GE(c.noise_floor, 0);
  EXPECT_GT(c.clock.first_gflops, 0);
  EXPECT_GT(c.clock.last_gflops, 0);
  EXPECT_LE(c.clock.lowest_gflops, c.clock.last_gflops);
  EXPECT_GE(c.clock.highest_gflops, c.clock.first_gflops);
  EXPECT_GT(c.clock.tolerance, 0);
  EXPECT_GE(c.busy_fraction, 0);
  EXPECT_LE(c.busy_fraction, 1);
  EXPECT_GT(c.seconds, 0);
  EXPECT_EQ(c.created.size(), 20u) << c.created;
  EXPECT_EQ(c.created.back(), 'Z');
}

TEST(Calibrate, MeasuresEverythingAndReportsProgress) {
  const Platform platform = *detect_platform();
  CalibrateOptions options = tiny(2);
  std::vector<double> fractions;
  std::set<std::string> labels;
  options.progress = [&](double fraction, std::string_view label) {
    fractions.push_back(fraction);
    labels.insert(std::string(label));
  };
  const Result<Calibration> c = calibrate(platform, options);
  ASSERT_TRUE(c.ok()) << c.message();
  expect_complete(*c, {1, 2});
  EXPECT_TRUE(c->quick);
  ASSERT_FALSE(fractions.empty());
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_GE(fractions.front(), 0);
  EXPECT_EQ(fractions.back(), 1);
  EXPECT_TRUE(labels.contains("read DRAM, 2 workers"));
  // Every dtype and ISA step that this machine has a probe for is there.
  std::set<std::string> isas;
  for (const Peak& p : c->peaks) isas.insert(p.isa);
  for (const IsaName& n : kIsaNames) {
    const bool expected =
        (n.isa & detect_isa() & (kIsaAvx2 | kIsaAvx512 | kIsaAvx512Vnni | kIsaAmxInt8 | kIsaNeon | kIsaDotprod)) != 0;
    EXPECT_TRUE(!expected || isas.contains(n.name)) << n.name;
  }
}

// A machine whose matrix unit is played by the wider vectors, whatever this one has.
TEST(Calibrate, BothUnitsAtOnce) {
  Platform platform = *detect_platform();
  platform.matrix_unit = "testbed";
  platform.matrix_units = 1;
  const Result<Calibration> c = calibrate(platform, tiny(2));
  ASSERT_TRUE(c.ok()) << c.message();
  const bool wide = (*usable_isa() & kIsaAvx512) != 0;
  size_t matrix = 0;
  for (const Peak& p : c->peaks) {
    EXPECT_EQ(p.unit == ExecutionUnit::kMatrix, p.isa.starts_with("avx512")) << p.isa;
    EXPECT_FALSE(p.isa.starts_with("amx"));
    matrix += p.unit == ExecutionUnit::kMatrix;
    if (p.unit == ExecutionUnit::kMatrix) {
      EXPECT_EQ(p.workers, 1u) << "there is one unit";
    }
  }
  EXPECT_EQ(matrix > 0, wide);
  if (!wide) {
    EXPECT_TRUE(c->coop_peaks.empty());
    EXPECT_TRUE(c->coop_bandwidths.empty());
    GTEST_SKIP() << "SKIPPED: no AVX-512 here to play the matrix unit";
  }
  ASSERT_GE(c->coop_peaks.size(), 2u);
  bool int8 = false;
  for (const CoopPeak& p : c->coop_peaks) {
    EXPECT_EQ(p.matrix_workers, 1u);
    EXPECT_EQ(p.cpu_workers, 1u);
    EXPECT_TRUE(p.matrix_isa.starts_with("avx512")) << p.matrix_isa;
    EXPECT_FALSE(p.cpu_isa.starts_with("avx512")) << p.cpu_isa;
    EXPECT_GE(p.matrix_samples.size(), 12u);
    EXPECT_EQ(p.matrix_samples.size(), p.cpu_samples.size());
    EXPECT_EQ(p.matrix_gflops, percentile(p.matrix_samples, 90));
    EXPECT_EQ(p.cpu_gflops, percentile(p.cpu_samples, 90));
    EXPECT_GT(p.cpu_gflops, 0);
    int8 = int8 || p.matrix_dtype == "int8";
  }
  EXPECT_TRUE(int8);
  ASSERT_EQ(c->coop_bandwidths.size(), 1u);
  EXPECT_EQ(c->coop_bandwidths[0].level, "DRAM");
  EXPECT_GT(c->coop_bandwidths[0].matrix_gbps, 0);
  EXPECT_EQ(c->coop_bandwidths[0].cpu_gbps, percentile(c->coop_bandwidths[0].cpu_samples, 90));

  platform.matrix_unit = "";
  platform.matrix_units = 0;
  const Result<Calibration> plain = calibrate(platform, tiny(2));
  ASSERT_TRUE(plain.ok()) << plain.message();
  EXPECT_TRUE(plain->coop_peaks.empty());
  EXPECT_TRUE(plain->coop_bandwidths.empty());
}

TEST(Calibrate, ForcedIsaIsAllThatIsMeasured) {
  const Platform platform = *detect_platform();
  ASSERT_EQ(setenv("SMEPILOT_FORCE_ISA", "portable", 1), 0);
  const Result<Calibration> c = calibrate(platform, tiny(1));
  ASSERT_EQ(setenv("SMEPILOT_FORCE_ISA", "nonsense", 1), 0);
  const Result<Calibration> bad = calibrate(platform, tiny(1));
  unsetenv("SMEPILOT_FORCE_ISA");
  ASSERT_TRUE(c.ok()) << c.message();
  expect_complete(*c, {1});
  for (const Peak& p : c->peaks) EXPECT_EQ(p.isa, "portable");
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.message().find("nonsense"), std::string::npos);
}

TEST(Calibrate, StopsWhenAskedTo) {
  const Platform platform = *detect_platform();
  std::atomic<bool> cancel{true};
  CalibrateOptions options = tiny(1);
  options.cancel = &cancel;
  const Result<Calibration> before = calibrate(platform, options);
  ASSERT_FALSE(before.ok());
  EXPECT_EQ(before.message(), kCalibrationCancelled);

  // In each phase: what was begun is given up.
  for (const char* at : {"peak", "allocating", "copy", "fork", "noise", "exp", "packing"}) {
    cancel = false;
    options.progress = [&](double, std::string_view label) {
      if (label.starts_with(at)) cancel = true;
    };
    const Result<Calibration> c = calibrate(platform, options);
    ASSERT_FALSE(c.ok()) << at;
    EXPECT_EQ(c.message(), kCalibrationCancelled) << at;
  }
}

// The clock is a made-up one, which falls after one of the steps and comes back.
TEST(Calibrate, AStepInWhichTheClockFellIsMeasuredAgain) {
  const Platform platform = *detect_platform();
  CalibrateOptions options = tiny(1);
  std::vector<std::string> labels;
  bool low = false;
  int looks = 0;
  options.progress = [&](double, std::string_view label) {
    labels.emplace_back(label);
    low = label == "read DRAM, 1 worker";
    looks = 0;
  };
  options.reference_gflops = [&] { return low && ++looks <= 2 ? 80.0 : 100.0; };
  const Result<Calibration> c = calibrate(platform, options);
  ASSERT_TRUE(c.ok()) << c.message();
  expect_complete(*c, {1});  // among others one row for the step, not two
  EXPECT_EQ(c->clock.repeated, 1u);
  EXPECT_EQ(c->clock.lowest_gflops, 80);
  EXPECT_EQ(c->clock.last_gflops, 100);
  EXPECT_GT(c->clock.cooldown_s, 0);
  EXPECT_EQ(std::count(labels.begin(), labels.end(), "read DRAM, 1 worker"), 1);
  EXPECT_EQ(std::count(labels.begin(), labels.end(), "read DRAM, 1 worker, again"), 1);
  EXPECT_EQ(std::count_if(c->bandwidths.begin(), c->bandwidths.end(),
                          [](const Bandwidth& b) { return b.level == "DRAM" && b.op == "read"; }),
            1);
  EXPECT_NE(roofline_table(*c, platform).find("1 step measured again because the clock fell"), std::string::npos);

  options.reference_gflops = [] { return 100.0; };
  const Result<Calibration> steady = calibrate(platform, options);
  ASSERT_TRUE(steady.ok()) << steady.message();
  EXPECT_EQ(steady->clock.repeated, 0u);
  EXPECT_EQ(roofline_table(*steady, platform).find("measured again"), std::string::npos);
}

TEST(Calibrate, MoreWorkersThanCores) {
  const Platform platform = *detect_platform();
  CalibrateOptions options = tiny(platform.cores + 1);
  const Result<Calibration> c = calibrate(platform, options);
  ASSERT_TRUE(c.ok()) << c.message();
  expect_complete(*c, calibrated_worker_counts(platform.cores + 1));
}

TEST(Calibrate, WorkerCounts) {
  EXPECT_EQ(calibrated_worker_counts(0), (std::vector<unsigned>{1}));
  EXPECT_EQ(calibrated_worker_counts(1), (std::vector<unsigned>{1}));
  EXPECT_EQ(calibrated_worker_counts(3), (std::vector<unsigned>{1, 2, 3}));
  EXPECT_EQ(calibrated_worker_counts(8), (std::vector<unsigned>{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(calibrated_worker_counts(14), (std::vector<unsigned>{1, 2, 3, 4, 5, 6, 7, 8, 12, 14}));
  EXPECT_EQ(calibrated_worker_counts(64), (std::vector<unsigned>{1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 64}));
}

Platform server() {
  Platform p;
  p.cores = 8;
  p.cpus = 16;
  p.caches = {{1, 48 << 10, 8}, {2, 2 * kMiB, 8}, {3, 60 * kMiB, 1}};
  p.memory_bytes = 64ull << 30;
  return p;
}

const WorkingSet* find(const std::vector<WorkingSet>& sets, const std::string& level) {
  for (const WorkingSet& s : sets)
    if (s.level == level) return &s;
  return nullptr;
}

TEST(WorkingSets, FitTheirLevelAndMissTheOneBefore) {
  const Platform p = server();
  for (const unsigned workers : {1u, 3u, 8u}) {
    const std::vector<WorkingSet> sets = working_sets(p, workers, false, 0);
    const WorkingSet *l1 = find(sets, "L1"), *l2 = find(sets, "L2"), *llc = find(sets, "LLC"),
                     *dram = find(sets, "DRAM");
    ASSERT_TRUE(l1 && l2 && llc && dram) << workers;
    EXPECT_LE(l1->bytes / workers, 48u << 10);
    EXPECT_GT(l2->bytes / workers, 48u << 10);
    EXPECT_LE(l2->bytes / workers, 2 * kMiB);
    EXPECT_GT(llc->bytes, 2 * kMiB * workers);
    EXPECT_LE(llc->bytes, 60 * kMiB);
    EXPECT_GT(dram->bytes, 120 * kMiB * 9 / 10);
    EXPECT_TRUE(dram->cold && dram->beyond_l2 && llc->beyond_l2);
    EXPECT_FALSE(llc->cold || l1->beyond_l2 || l2->beyond_l2);
    for (const WorkingSet& s : sets) {
      EXPECT_EQ(s.bytes % workers, 0u);
      EXPECT_EQ(s.bytes / workers % ((s.cold ? kColdWindows : 1) * 2 * kProbeGranule), 0u);
    }
  }
}

TEST(WorkingSets, HugeSharedCacheIsNotClaimed) {
  Platform p = server();
  p.caches[2].bytes = 480 * kMiB;
  EXPECT_LE(find(working_sets(p, 2, false, 0), "LLC")->bytes, 64 * kMiB);
  EXPECT_GE(find(working_sets(p, 2, false, 0), "DRAM")->bytes, 900 * kMiB);
}

TEST(WorkingSets, SharedL2IsDivided) {
  Platform p = server();
  p.caches = {{1, 64 << 10, 8}, {2, 16 * kMiB, 2}};  // two clusters of four
  EXPECT_EQ(cache_share(p, 2, 1), 16 * kMiB);
  EXPECT_EQ(cache_share(p, 2, 2), 16 * kMiB);
  EXPECT_EQ(cache_share(p, 2, 8), 4 * kMiB);
  EXPECT_EQ(cache_share(p, 3, 1), 0u);
  EXPECT_EQ(find(working_sets(p, 4, false, 0), "LLC"), nullptr);
}

TEST(WorkingSets, LittleMemoryAndNothingKnown) {
  Platform p = server();
  p.memory_bytes = 256 * kMiB;
  uint64_t total = 0;
  for (const WorkingSet& s : working_sets(p, 8, false, 0)) total = std::max(total, s.bytes);
  EXPECT_LE(total, 32 * kMiB);
  const std::vector<WorkingSet> unknown = working_sets(Platform{}, 4, true, 0);
  ASSERT_NE(find(unknown, "L1"), nullptr);
  ASSERT_NE(find(unknown, "DRAM"), nullptr);
  for (const uint64_t cap : {uint64_t{1}, uint64_t{4096}, 1 * kMiB, 3 * kMiB}) {
    const std::vector<WorkingSet> sets = working_sets(server(), 2, true, cap);
    ASSERT_FALSE(sets.empty());
    EXPECT_EQ(sets.back().level, "DRAM");
  }
}

}  // namespace
}  // namespace smepilot
