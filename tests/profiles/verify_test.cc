// Whether a stored calibration still holds, decided on two made-up ones.
#include "profiles/verify.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace smepilot {
namespace {

Calibration sample() {
  Calibration c;
  for (const unsigned w : {1u, 2u, 4u}) {
    c.peaks.push_back({ExecutionUnit::kCpu, "int8", "avx2", w, 100.0 * w, {}});
    for (const char* level : {"L1", "LLC", "DRAM"}) c.bandwidths.push_back({level, "read", w, 1 << 20, 10.0 * w, {}});
    c.bandwidths.push_back({"DRAM", "write", w, 1 << 20, 10.0 * w, {}});
    c.fork_join.push_back({w, 1000, {}, 100});
  }
  c.noise_floor = 0.01;
  return c;
}

// As calibrate() with `verify` leaves it: two worker counts.
Calibration shorter() {
  Calibration c = sample();
  std::erase_if(c.peaks, [](const auto& p) { return p.workers == 2; });
  std::erase_if(c.bandwidths, [](const auto& b) { return b.workers == 2 || b.level == "L1" || b.op == "write"; });
  std::erase_if(c.fork_join, [](const auto& f) { return f.workers == 2; });
  return c;
}

std::string moved(const Calibration& now) {
  const auto rows = compare_calibrations(sample(), now);
  if (!rows.ok()) return rows.message();
  std::string out;
  for (const VerifyRow& r : *rows)
    if (!r.holds) out += r.name + ";";
  return out;
}

TEST(Verify, SameNumbersHold) {
  const auto rows = compare_calibrations(sample(), shorter());
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(rows->size(), 2u + 4u + 2u + 1u);  // peaks, LLC and DRAM reads, fork/join, noise
  EXPECT_EQ(moved(shorter()), "");
}

TEST(Verify, WhatMovedBeyondNoiseAndToleranceIsNamed) {
  Calibration now = shorter();
  now.peaks[1].gflops *= 0.96;
  EXPECT_EQ(moved(now), "");
  now.peaks[1].gflops = 400 * 0.9;
  EXPECT_EQ(moved(now), "peak cpu int8 avx2 x4, GFLOP/s;");
  now.noise_floor = 0.029;  // noise allows a little more, but not that much
  EXPECT_EQ(moved(now), "peak cpu int8 avx2 x4, GFLOP/s;");
  now.peaks[1].gflops = 400 * 1.2;  // faster is no better: the stored one was of a busy machine
  EXPECT_EQ(moved(now), "peak cpu int8 avx2 x4, GFLOP/s;");
  now = shorter();
  now.bandwidths.back().gbps *= 0.8;
  EXPECT_EQ(moved(now), "read DRAM x4, GB/s;");
  now = shorter();
  now.fork_join[0].ns = 1400;
  EXPECT_EQ(moved(now), "");
  now.fork_join[0].ns = 1600;
  EXPECT_EQ(moved(now), "fork and join x1, ns;");
}

TEST(Verify, ANoisyMachineAndMissingNumbersDoNotHold) {
  Calibration now = shorter();
  now.noise_floor = 0.2;
  EXPECT_EQ(moved(now), "noise floor, %;");
  Calibration noisy = sample();  // so noisy that anything would be within it
  noisy.noise_floor = 1.7;
  const auto rows = compare_calibrations(noisy, shorter());
  ASSERT_TRUE(rows.ok());
  EXPECT_FALSE(rows->back().holds);
  now = shorter();
  now.peaks.pop_back();
  EXPECT_EQ(moved(now), "peak cpu int8 avx2 x4, GFLOP/s;");
  EXPECT_FALSE(compare_calibrations(sample(), Calibration{}).ok());
}

}  // namespace
}  // namespace smepilot
