#include "profiles/roofline.h"

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "profiles/roofline_table.h"

namespace smepilot {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

Platform machine() {
  Platform p;
  p.cpu_model = "A processor of which nobody has ever heard, with a name that goes on and on @ 3.00GHz";
  p.cores = p.cpus = 4;
  p.caches = {{1, 32 << 10, 4}, {2, 1 * kMiB, 4}, {3, 32 * kMiB, 1}};
  p.matrix_unit = "amx";
  p.matrix_units = 4;
  return p;
}

// Round numbers: P(f32) = 100 per worker, B(DRAM) = 10 then 20, fork and join 0 / 1000 / 3000 ns.
Calibration calibration() {
  Calibration c;
  const auto peak = [&](ExecutionUnit unit, const char* dtype, const char* isa, double per_worker) {
    for (const unsigned w : {1u, 2u, 4u}) c.peaks.push_back({unit, dtype, isa, w, per_worker * w, {}});
  };
  peak(ExecutionUnit::kMatrix, "int8", "amxint8", 4000);
  peak(ExecutionUnit::kMatrix, "bf16", "amxbf16", 2000);
  peak(ExecutionUnit::kCpu, "bf16", "avx512bf16", 150);
  peak(ExecutionUnit::kCpu, "int8", "avx512vnni", 800);
  peak(ExecutionUnit::kCpu, "f32", "avx512", 200);
  peak(ExecutionUnit::kCpu, "int8", "avx512", 300);
  peak(ExecutionUnit::kCpu, "f32", "avx2", 100);
  peak(ExecutionUnit::kCpu, "int8", "avx2", 150);
  peak(ExecutionUnit::kCpu, "f32", "portable", 10);
  peak(ExecutionUnit::kCpu, "int8", "portable", 5);
  const auto memory = [&](const char* level, uint64_t per_worker, double b1, double b2, double b4) {
    for (const char* op : {"read", "write", "copy"}) {
      c.bandwidths.push_back({level, op, 1, per_worker, b1, {}});
      c.bandwidths.push_back({level, op, 2, 2 * per_worker, b2, {}});
      c.bandwidths.push_back({level, op, 4, 4 * per_worker, b4, {}});
    }
  };
  memory("L1", 16 << 10, 300, 600, 1200);
  memory("L2", kMiB / 2, 100, 200, 400);
  memory("LLC", 2 * kMiB, 40, 80, 160);
  memory("DRAM", 128 * kMiB, 10, 20, 20);
  c.fork_join = {{1, 1, {}}, {2, 1000, {}}, {4, 3000, {}}};
  c.exp_geps = 1;
  return c;
}

KernelVariant variant(ExecutionUnit unit, IsaSet isa, DType lhs, DType rhs, OpKind op = OpKind::kMatmul) {
  KernelVariant v = {};
  v.id = "test";
  v.op = op;
  v.isa = isa;
  v.unit = unit;
  v.lhs = lhs;
  v.rhs = rhs;
  return v;
}

OperatorShape matmul(DType t, uint32_t m, uint32_t n, uint32_t k) {
  return {OpKind::kMatmul, t, m, n, k, 0, 0};
}

// A kernel's price is what it keeps of the ceilings; the roof stays where it is, and other kernels at theirs.
TEST(Roofline, PriceKnowsWhatAKernelKeeps) {
  Calibration c = calibration();
  const KernelVariant v = variant(ExecutionUnit::kCpu, kIsaAvx512Vnni, DType::kQ8, DType::kQ4_0);
  const OperatorShape prefill{OpKind::kMatmul, DType::kQ4_0, 512, 4096, 4096, 0, 0};
  OperatorShape decode = prefill;
  decode.m = 1;
  const Roofline before(c, machine());
  const Price computes = before.price(prefill, v, 2), reads = before.price(decode, v, 2);
  c.kernels = {{OpKind::kMatmul, DType::kQ4_0, "test", 1, 0.5, 0.9},
               {OpKind::kMatmul, DType::kQ4_0, "test", 2, 0.4, 0}};
  const Roofline after(c, machine());
  const Price kept = after.price(prefill, v, 2);
  EXPECT_NEAR(kept.compute_ns, computes.compute_ns / 0.4, 1e-6 * kept.compute_ns);
  EXPECT_NEAR(kept.ns, computes.compute_ns / 0.4 + computes.overhead_ns, 1e-6 * kept.ns);
  EXPECT_EQ(kept.roof_gflops, computes.roof_gflops);
  // Measured with one worker only: that holds for two.
  EXPECT_NEAR(after.price(decode, v, 2).memory_ns, reads.memory_ns / 0.9, 1e-6 * reads.memory_ns / 0.9);
  OperatorShape other = prefill;
  other.dtype = DType::kQ8_0;
  EXPECT_EQ(after.price(other, v, 2).ns, before.price(other, v, 2).ns);
}

// The division between two units follows what their kernels reach, not what the units could.
TEST(Roofline, CoopShareKnowsWhatBothKernelsKeep) {
  Calibration c = calibration();
  const KernelVariant vnni = variant(ExecutionUnit::kCpu, kIsaAvx512Vnni, DType::kQ8, DType::kQ4_0);
  KernelVariant amx = variant(ExecutionUnit::kMatrix, kIsaAmxInt8, DType::kQ8, DType::kQ4_0);
  amx.id = "matrix";
  const OperatorShape prefill{OpKind::kMatmul, DType::kQ4_0, 4096, 4096, 4096, 0, 0};
  const CoopSides sides{&amx, 1, &vnni, 1};
  const Price ideal = Roofline(c, machine()).coop_price(prefill, sides, {0.5, true});
  EXPECT_NEAR(Roofline(c, machine()).coop_share(prefill, sides), 4000.0 / 4800, 1e-9);
  c.kernels = {{OpKind::kMatmul, DType::kQ4_0, "matrix", 1, 0.2, 1},
               {OpKind::kMatmul, DType::kQ4_0, "test", 1, 0.5, 1}};
  const Roofline r(c, machine());
  EXPECT_NEAR(r.coop_share(prefill, sides), 800.0 / 1200, 1e-9);
  const Price p = r.coop_price(prefill, sides, {0.5, true});
  EXPECT_NEAR(p.compute_ns, ideal.compute_ns * 4800 / 1200, 1e-6 * p.compute_ns);
  EXPECT_EQ(p.roof_gflops, ideal.roof_gflops);
}

TEST(Roofline, DecodeIsMemoryBound) {
  const Roofline r(calibration(), machine());
  const OperatorShape s = matmul(DType::kQ4_0, 1, 4096, 4096);
  const Price p = r.price(s, variant(ExecutionUnit::kCpu, kIsaAvx512Vnni, DType::kQ8, DType::kQ4_0), 1);
  const double bytes = 4096.0 * 4096 / 32 * 18 + 4.0 * (4096 + 4096), flops = 2.0 * 4096 * 4096;
  EXPECT_STREQ(p.bound, "memory");
  EXPECT_EQ(p.level, "DRAM");
  EXPECT_DOUBLE_EQ(p.memory_ns, bytes / 10);
  EXPECT_DOUBLE_EQ(p.compute_ns, flops / 800);
  EXPECT_DOUBLE_EQ(p.ns, bytes / 10 + 1);
  EXPECT_DOUBLE_EQ(p.roof_gbps, 10);
  EXPECT_DOUBLE_EQ(p.roof_gflops, 10 * flops / bytes);
}

TEST(Roofline, PrefillIsComputeBoundAndTheUnitsDiffer) {
  const Roofline r(calibration(), machine());
  const OperatorShape s = matmul(DType::kQ8_0, 512, 4096, 4096);
  const double flops = 2.0 * 512 * 4096 * 4096;
  const Price cpu = r.price(s, variant(ExecutionUnit::kCpu, kIsaAvx512Vnni, DType::kQ8, DType::kQ8_0), 2);
  const Price amx = r.price(s, variant(ExecutionUnit::kMatrix, kIsaAmxInt8, DType::kQ8, DType::kQ8_0), 2);
  EXPECT_STREQ(cpu.bound, "compute");
  EXPECT_DOUBLE_EQ(cpu.ns, flops / 1600 + 1000);
  EXPECT_DOUBLE_EQ(cpu.roof_gflops, 1600);
  EXPECT_DOUBLE_EQ(amx.compute_ns, flops / 8000);
  EXPECT_LT(amx.ns, cpu.ns);
}

TEST(Roofline, SmallCallsAreOverhead) {
  const Roofline r(calibration(), machine(), {.resident_bytes = 1024});
  const Price p =
      r.price(matmul(DType::kF32, 1, 64, 64), variant(ExecutionUnit::kCpu, kIsaAvx512, DType::kF32, DType::kF32), 4);
  EXPECT_STREQ(p.bound, "overhead");
  EXPECT_DOUBLE_EQ(p.overhead_ns, 3000);
  EXPECT_GT(p.ns, 3000);
}

TEST(Roofline, PeakIsTheBestOfTheVariantsOwnIsa) {
  const Roofline r(calibration(), machine());
  const auto int8 = [&](IsaSet isa) { return r.peak_gflops(ExecutionUnit::kCpu, "int8", isa, 1); };
  EXPECT_EQ(int8(kIsaPortable), 5);
  EXPECT_EQ(int8(kIsaAvx2), 150);
  EXPECT_EQ(int8(kIsaAvx512), 300);
  EXPECT_EQ(int8(kIsaAvx512Vnni), 800);
  EXPECT_EQ(int8(kIsaAmxInt8), 800) << "the tiles are another unit";
  EXPECT_EQ(r.peak_gflops(ExecutionUnit::kMatrix, "int8", kIsaAmxInt8, 1), 4000);
  EXPECT_EQ(r.peak_gflops(ExecutionUnit::kMatrix, "int8", kIsaAvx512Vnni, 1), 0);
  EXPECT_EQ(r.peak_gflops(ExecutionUnit::kCpu, "f32", kIsaAvx512Vnni, 1), 200) << "a step implies those below";
  EXPECT_EQ(r.peak_gflops(ExecutionUnit::kCpu, "int8", 2), 1600);
}

TEST(Roofline, WorkerCountsInBetweenAndBeyond) {
  const Roofline r(calibration(), machine());
  EXPECT_DOUBLE_EQ(r.peak_gflops(ExecutionUnit::kCpu, "f32", kIsaAvx2, 3), 300);
  EXPECT_DOUBLE_EQ(r.peak_gflops(ExecutionUnit::kCpu, "f32", kIsaAvx2, 9), 400) << "flat beyond what was measured";
  EXPECT_DOUBLE_EQ(r.fork_join_ns(3), 2000);
  EXPECT_DOUBLE_EQ(r.fork_join_ns(0), 1);
  EXPECT_DOUBLE_EQ(r.bandwidth_gbps("DRAM", "read", 3), 20);
}

TEST(Roofline, ComputeDtype) {
  const auto dtype = [](ExecutionUnit unit, IsaSet isa, DType lhs, DType rhs) {
    return compute_dtype(matmul(rhs, 1, 32, 32), variant(unit, isa, lhs, rhs));
  };
  using enum ExecutionUnit;
  EXPECT_EQ(dtype(kCpu, kIsaAvx2, DType::kQ8, DType::kQ4_0), "int8");
  EXPECT_EQ(dtype(kCpu, kIsaAvx2, DType::kF32, DType::kQ4_0), "f32");
  EXPECT_EQ(dtype(kCpu, kIsaAvx2, DType::kF32, DType::kF32), "f32");
  EXPECT_EQ(dtype(kCpu, kIsaAvx2, DType::kF32, DType::kF16), "f32");
  EXPECT_EQ(dtype(kCpu, kIsaAvx512, DType::kF32, DType::kBF16), "f32");
  EXPECT_EQ(dtype(kCpu, kIsaAvx512Bf16, DType::kBF16, DType::kBF16), "bf16");
  EXPECT_EQ(dtype(kCpu, kIsaAvx512Bf16, DType::kBF16, DType::kF16), "bf16") << "weights of f16 are rounded";
  EXPECT_EQ(dtype(kMatrix, kIsaAmxBf16, DType::kF32, DType::kBF16), "bf16");
  EXPECT_EQ(dtype(kMatrix, kIsaAmxBf16, DType::kF32, DType::kF16), "bf16");
  EXPECT_EQ(dtype(kMatrix, kIsaSme2, DType::kF32, DType::kF16), "f16");
  EXPECT_EQ(dtype(kMatrix, kIsaAvx512, DType::kF32, DType::kF16), "f32") << "vectors that play a matrix unit";
  KernelVariant outer = variant(kMatrix, kIsaSme, DType::kF32, DType::kF32);
  outer.lhs_layout = Layout::kLhsF32Panel16;
  EXPECT_EQ(compute_dtype(matmul(DType::kF32, 1, 32, 32), outer), "f32");
  const OperatorShape a = {OpKind::kAttention, DType::kF16, 1, 8, 64, 128, 8};
  EXPECT_EQ(compute_dtype(a, variant(kCpu, kIsaAvx2, DType::kF32, DType::kF16, OpKind::kAttention)), "f32");
}

TEST(Roofline, TheLevelFollowsWhatGoesRound) {
  const Calibration c = calibration();
  const KernelVariant v = variant(ExecutionUnit::kCpu, kIsaAvx2, DType::kF32, DType::kF32);
  const OperatorShape s = matmul(DType::kF32, 1, 512, 512);
  const auto at = [&](uint64_t resident) {
    return Roofline(c, machine(), {.resident_bytes = resident}).price(s, v, 1);
  };
  EXPECT_EQ(at(8 << 10).level, "L1");
  EXPECT_EQ(at(512 << 10).level, "L2");
  EXPECT_EQ(at(6 * kMiB).level, "LLC");
  EXPECT_EQ(at(6 * kMiB).roof_gbps, 40);
  EXPECT_EQ(at(1024 * kMiB).level, "DRAM");
  EXPECT_EQ(at(1024 * kMiB).roof_gbps, 10);
  EXPECT_EQ(at(0).level, "DRAM");
  // Between the sets that stand for the two levels (8 and 128 MiB) the rate falls steadily from one to the other.
  double previous = 40;
  for (const uint64_t mib : {9, 16, 32, 64, 100, 127}) {
    const double rate = at(mib * kMiB).roof_gbps;
    EXPECT_LT(rate, previous) << mib;
    EXPECT_GT(rate, 10) << mib;
    previous = rate;
  }
  EXPECT_DOUBLE_EQ(at(32 * kMiB).roof_gbps, 16) << "half way in the logarithm: the mean of 1/40 and 1/10 of a second";
  const Roofline r(c, machine());
  EXPECT_EQ(r.level_for(4 * kMiB, 1), "LLC");
  EXPECT_EQ(r.level_for(4 * kMiB, 4), "L2");
}

TEST(Roofline, AttentionAndElementwise) {
  const Roofline r(calibration(), machine(), {.resident_bytes = 1024 * kMiB});
  const OperatorShape a = {OpKind::kAttention, DType::kF16, 1, 32, 64, 4096, 8};
  const Price p = r.price(a, variant(ExecutionUnit::kCpu, kIsaAvx512, DType::kF32, DType::kF16, OpKind::kAttention), 2);
  EXPECT_DOUBLE_EQ(p.memory_ns, op_bytes(a) / 20);
  EXPECT_DOUBLE_EQ(p.compute_ns, op_flops(a) / 400);
  const OperatorShape n = {OpKind::kNorm, DType::kF32, 2, 1024, 1024, 0, 0};
  const Price norm = r.price(n, variant(ExecutionUnit::kCpu, kIsaAvx512, DType::kF32, DType::kF32, OpKind::kNorm), 1);
  EXPECT_EQ(norm.level, "L1") << "its input was just written";
  EXPECT_DOUBLE_EQ(norm.memory_ns, op_bytes(n) / 300);
  const OperatorShape s = {OpKind::kSoftmax, DType::kF32, 64, 1024, 1024, 0, 0};
  const Price soft =
      r.price(s, variant(ExecutionUnit::kCpu, kIsaAvx512, DType::kF32, DType::kF32, OpKind::kSoftmax), 2);
  EXPECT_DOUBLE_EQ(soft.compute_ns, 64.0 * 1024 / 2) << "one exponential a nanosecond and worker";
}

TEST(Roofline, RegimesAreThoseOfAllModes) {
  const Roofline r(calibration(), machine());
  // One worker: 800 and 4000 operations per ns against 10 bytes per ns, so the ridges are at 80 and 400.
  const std::vector<Ceiling> modes = r.ceilings(matmul(DType::kQ8_0, 1, 4096, 4096), 1);
  ASSERT_EQ(modes.size(), 2u);
  EXPECT_EQ(modes[0].mode, ExecutionMode::kCpu);
  EXPECT_DOUBLE_EQ(modes[0].ridge(), 80);
  EXPECT_EQ(modes[1].mode, ExecutionMode::kMatrix);
  EXPECT_DOUBLE_EQ(modes[1].ridge(), 400);
  EXPECT_DOUBLE_EQ(modes[0].roof(8), 80);
  EXPECT_DOUBLE_EQ(modes[0].roof(1000), 800);
  const auto regime = [&](DType t, uint32_t m, unsigned workers) {
    return std::string(regime_name(r.regime(matmul(t, m, 4096, 4096), workers)));
  };
  EXPECT_EQ(regime(DType::kQ8_0, 1, 1), "memory-bound");
  EXPECT_EQ(regime(DType::kQ8_0, 32, 1), "memory-bound") << "I = 58.5";
  EXPECT_EQ(regime(DType::kQ8_0, 64, 1), "ridge-crossing") << "I = 107.8";
  EXPECT_EQ(regime(DType::kQ8_0, 256, 1), "ridge-crossing") << "I = 328";
  EXPECT_EQ(regime(DType::kQ8_0, 512, 1), "compute-bound") << "I = 496";
  EXPECT_EQ(regime(DType::kF32, 64, 1), "compute-bound") << "no matrix kernel for it: one ridge, at 20";

  // Both units together have a ridge of their own: on two workers a machine with one unit has three modes.
  Platform one = machine();
  one.matrix_units = 1;
  Calibration c = calibration();
  c.coop_peaks = {{"int8", "amxint8", 1, 3600, {}, "int8", "avx512vnni", 1, 400, {}}};
  c.coop_bandwidths = {{"DRAM", 1, 10, {}, 1, 6, {}}};
  const std::vector<Ceiling> three = Roofline(c, one).ceilings(matmul(DType::kQ4_0, 1, 4096, 4096), 2);
  ASSERT_EQ(three.size(), 3u);
  EXPECT_DOUBLE_EQ(three[0].gflops, 1600);
  EXPECT_EQ(three[2].mode, ExecutionMode::kCoop);
  EXPECT_DOUBLE_EQ(three[2].gflops, 4000);
  EXPECT_DOUBLE_EQ(three[2].gbps, 16);

  const Roofline nothing(Calibration{}, machine());
  EXPECT_TRUE(nothing.ceilings(matmul(DType::kQ8_0, 512, 4096, 4096), 2).empty());
  EXPECT_EQ(nothing.regime(matmul(DType::kQ8_0, 512, 4096, 4096), 2), Regime::kMemoryBound);
}

TEST(Roofline, RidgePoints) {
  const Roofline r(calibration(), machine());
  EXPECT_DOUBLE_EQ(r.ridge("f32", 1, "DRAM"), 20);
  EXPECT_DOUBLE_EQ(r.ridge("int8", 4, "DRAM"), 160);
  EXPECT_DOUBLE_EQ(r.ridge("int8", 1, "LLC", ExecutionUnit::kMatrix), 100);
  EXPECT_EQ(r.ridge("f64", 1, "DRAM"), 0);
}

// Each side keeps three quarters of its peak while the other one works, and both together read 18 of the 20 GB/s.
Calibration coop_calibration() {
  Calibration c = calibration();
  c.coop_peaks = {{"int8", "amxint8", 2, 6000, {}, "int8", "avx512vnni", 2, 1200, {}}};
  c.coop_bandwidths = {{"DRAM", 2, 12, {}, 2, 6, {}}};
  return c;
}

TEST(Coop, CeilingsAreThoseOfBothAtWork) {
  const Roofline r(coop_calibration(), machine());
  const KernelVariant amx = variant(ExecutionUnit::kMatrix, kIsaAmxInt8, DType::kQ8, DType::kQ8_0);
  const KernelVariant vnni = variant(ExecutionUnit::kCpu, kIsaAvx512Vnni, DType::kQ8, DType::kQ8_0);
  const OperatorShape s = matmul(DType::kQ8_0, 2048, 4096, 4096);
  const CoopSides sides{&amx, 2, &vnni, 2};
  const double flops = op_flops(s);
  EXPECT_DOUBLE_EQ(r.coop_share(s, sides), 6000.0 / 7200);
  EXPECT_DOUBLE_EQ(r.coop_price(s, sides, {0.25, true}).compute_ns, flops / 7200) << "whoever is first takes over";
  EXPECT_DOUBLE_EQ(r.coop_price(s, sides, {0.5, false}).compute_ns, flops / 2 / 1200) << "the cores are last";
  EXPECT_DOUBLE_EQ(r.coop_price(s, sides, {0.9, false}).compute_ns, flops * 0.9 / 6000) << "the matrix unit is last";
  const Price best = r.coop_price(s, sides, {r.coop_share(s, sides), false});
  EXPECT_NEAR(best.compute_ns, flops / 7200, 1e-6 * best.compute_ns);
  EXPECT_DOUBLE_EQ(best.overhead_ns, 3000) << "of all four workers";
  EXPECT_STREQ(best.bound, "compute");
  for (const double share : {0.7, 0.8, 0.86, 0.95})
    EXPECT_GT(r.coop_price(s, sides, {share, false}).ns, best.ns) << share;
  // Kernels of another ISA step keep the same fraction of their own peak: 3/4 of 2 x 150.
  const KernelVariant avx2 = variant(ExecutionUnit::kCpu, kIsaAvx2, DType::kQ8, DType::kQ8_0);
  EXPECT_DOUBLE_EQ(r.coop_share(s, {&amx, 2, &avx2, 2}), 6000.0 / 6225);
  // A division that was not measured answers as the nearest one that was.
  EXPECT_DOUBLE_EQ(r.coop_share(s, {&amx, 1, &vnni, 2}), 3000.0 / 4200);
}

TEST(Coop, DecodeIsSharedByWhatEachSideReads) {
  const Roofline r(coop_calibration(), machine());
  const KernelVariant amx = variant(ExecutionUnit::kMatrix, kIsaAmxInt8, DType::kQ8, DType::kQ8_0);
  const KernelVariant vnni = variant(ExecutionUnit::kCpu, kIsaAvx512Vnni, DType::kQ8, DType::kQ8_0);
  const OperatorShape s = matmul(DType::kQ8_0, 1, 4096, 4096);
  const CoopSides sides{&amx, 2, &vnni, 2};
  EXPECT_DOUBLE_EQ(r.coop_share(s, sides), 12.0 / 18);
  const Price p = r.coop_price(s, sides, {12.0 / 18, false});
  EXPECT_STREQ(p.bound, "memory");
  EXPECT_DOUBLE_EQ(p.memory_ns, op_bytes(s) / 18);
  EXPECT_DOUBLE_EQ(p.roof_gbps, 18);
  // What was not measured together is a part of what as many workers read.
  Calibration alone = coop_calibration();
  alone.coop_bandwidths.clear();
  EXPECT_DOUBLE_EQ(Roofline(alone, machine()).coop_price(s, sides, {0.5, true}).memory_ns, op_bytes(s) / 20);
}

TEST(Coop, APipelineIsAsFastAsItsSlowerStage) {
  Calibration c = coop_calibration();
  c.exp_geps = 2;
  KernelVariant tile = variant(ExecutionUnit::kMatrix, kIsaAmxBf16, DType::kF32, DType::kF16, OpKind::kAttentionTile);
  KernelVariant cpu = variant(ExecutionUnit::kCpu, kIsaAvx512, DType::kF32, DType::kF16, OpKind::kAttentionTile);
  for (const unsigned w : {1u, 2u, 4u}) c.peaks.push_back({ExecutionUnit::kMatrix, "f32", "amxbf16", w, 500.0 * w, {}});
  const OperatorShape a = {OpKind::kAttention, DType::kF16, 512, 32, 64, 512, 8};
  const double flops = op_flops(a);
  const Roofline r(c, machine());
  EXPECT_DOUBLE_EQ(r.pipeline_price(a, {&tile, 1, &cpu, 3}).compute_ns, flops / 500) << "products";
  EXPECT_DOUBLE_EQ(r.pipeline_price(a, {&tile, 4, &cpu, 1}).compute_ns, flops / 256 / 2) << "exponentials";
}

TEST(Roofline, EnteringStreamingModeIsPaidByThoseThatDo) {
  Calibration c = coop_calibration();
  c.streaming_ns = 250;
  for (const unsigned w : {1u, 2u, 4u}) c.peaks.push_back({ExecutionUnit::kMatrix, "int8", "sme", w, 4000.0 * w, {}});
  const Roofline r(c, machine());
  const OperatorShape s = matmul(DType::kQ8_0, 512, 4096, 4096);
  const KernelVariant sme = variant(ExecutionUnit::kMatrix, kIsaSme, DType::kQ8, DType::kQ8_0);
  const KernelVariant amx = variant(ExecutionUnit::kMatrix, kIsaAmxInt8, DType::kQ8, DType::kQ8_0);
  const KernelVariant vnni = variant(ExecutionUnit::kCpu, kIsaAvx512Vnni, DType::kQ8, DType::kQ8_0);
  EXPECT_DOUBLE_EQ(r.price(s, sme, 2).overhead_ns, 1250);
  EXPECT_DOUBLE_EQ(r.price(s, amx, 2).overhead_ns, 1000);
  EXPECT_DOUBLE_EQ(r.coop_price(s, {&sme, 2, &vnni, 2}, {0.5, false}).overhead_ns, 3250);
  EXPECT_DOUBLE_EQ(r.coop_price(s, {&amx, 2, &vnni, 2}, {0.5, false}).overhead_ns, 3000);
}

// A form is as dear as the slower of two: what workers pack at, and what the level copies at.
TEST(Roofline, PackingIsPricedByItsRateAndItsTraffic) {
  Calibration c = calibration();
  const double bytes = 64 * 256 * (4 + 4);  // four panels, f32 in and out
  const auto price = [&](unsigned workers, uint32_t m = 64) {
    return Roofline(c, machine()).packing_ns(Layout::kLhsF32Panel16, m, 256, workers);
  };
  EXPECT_DOUBLE_EQ(price(1), bytes / 100) << "by its traffic in L2, where no rate was measured";
  c.lhs_pack_gbps = 8;
  EXPECT_DOUBLE_EQ(price(1), bytes / 8);
  EXPECT_DOUBLE_EQ(price(2), bytes / 16);
  EXPECT_DOUBLE_EQ(price(64), bytes / 32) << "one worker for a panel";
  EXPECT_DOUBLE_EQ(price(4, 16), bytes / 4 / 8) << "so a single panel is packed by one";
  c.lhs_pack_gbps = 1e6;
  EXPECT_DOUBLE_EQ(price(1), bytes / 100) << "no faster than the memory";
  const Roofline r(c, machine());
  EXPECT_EQ(r.packing_ns(Layout::kRowMajor, 64, 256, 1), 0);
  EXPECT_LT(r.packing_ns(Layout::kLhsQ8Panel16, 64, 256, 1), price(1)) << "bytes are smaller than floats";
  EXPECT_EQ(Roofline(Calibration{}, machine()).packing_ns(Layout::kLhsF32Panel16, 64, 256, 1), 0);
}

TEST(Roofline, WithoutDataNothingIsCheap) {
  const Roofline none(Calibration{}, machine());
  const KernelVariant v = variant(ExecutionUnit::kCpu, kIsaAvx2, DType::kF32, DType::kF32);
  EXPECT_TRUE(std::isinf(none.price(matmul(DType::kF32, 1, 64, 64), v, 1).ns));
  EXPECT_EQ(none.ridge("f32", 1, "DRAM"), 0);
  const CoopSides sides{&v, 1, &v, 1};
  EXPECT_TRUE(std::isinf(none.coop_price(matmul(DType::kF32, 64, 64, 64), sides, {0.5, false}).ns));
  EXPECT_TRUE(std::isnan(none.coop_share(matmul(DType::kF32, 64, 64, 64), sides)));
  Calibration no_matrix = calibration();
  std::erase_if(no_matrix.peaks, [](const Peak& p) { return p.unit == ExecutionUnit::kMatrix; });
  const KernelVariant amx = variant(ExecutionUnit::kMatrix, kIsaAmxInt8, DType::kQ8, DType::kQ8_0);
  EXPECT_TRUE(std::isinf(Roofline(no_matrix, machine()).price(matmul(DType::kQ8_0, 64, 64, 64), amx, 1).ns));
  // A machine whose LLC was not measured answers for it with the next level out.
  Calibration no_llc = calibration();
  std::erase_if(no_llc.bandwidths, [](const Bandwidth& b) { return b.level == "LLC"; });
  EXPECT_EQ(Roofline(no_llc, machine()).bandwidth_gbps("LLC", "read", 1), 10);
}

TEST(RooflineTable, FitsATerminalAndSaysWhatWasMeasured) {
  Calibration c = calibration();
  c.noise_floor = 0.0123;
  const std::string table = roofline_table(c, machine());
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  EXPECT_EQ(table.back(), '\n');
  for (const char* expected : {"amx int8 amxint8", "cpu f32 avx2", "DRAM read", "fork and join", "1.2 %", "16000"})
    EXPECT_NE(table.find(expected), std::string::npos) << expected << "\n" << table;
  EXPECT_EQ(table.find("busy"), std::string::npos);
  c.busy_fraction = 0.5;
  EXPECT_NE(roofline_table(c, machine()).find("busy"), std::string::npos);
}

TEST(RooflineTable, SaysWhatBothUnitsReachAndHowManyUnitsThereAre) {
  const auto fits = [](const std::string& table) {
    std::istringstream lines(table);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  };
  const std::string table = roofline_table(coop_calibration(), machine());
  fits(table);
  for (const char* expected :
       {"Both units at once", "int8 amxint8 x2 + avx512vnni x2", "7200", "75 %", "DRAM read, GB/s, x2 + x2", "18.00",
        "4 workers reach 4.00x one worker's rate: 4 amx units (the system says 4)"})
    EXPECT_NE(table.find(expected), std::string::npos) << expected << "\n" << table;
  EXPECT_EQ(table.find("est bed"), std::string::npos);
  Platform bed = machine();
  bed.matrix_unit = "testbed";
  bed.matrix_units = 1;
  Calibration c = coop_calibration();
  std::erase_if(c.peaks, [](const Peak& p) { return p.unit == ExecutionUnit::kMatrix && p.workers > 1; });
  const std::string on_bed = roofline_table(c, bed);
  fits(on_bed);
  EXPECT_NE(on_bed.find("Test bed: part of the vector cores plays the matrix unit."), std::string::npos) << on_bed;
  EXPECT_NE(on_bed.find("by definition"), std::string::npos) << on_bed;
  EXPECT_EQ(roofline_table(calibration(), machine()).find("Both units"), std::string::npos);
}

TEST(RooflineTable, ManyWorkerCountsStillFit) {
  Calibration c = calibration();
  for (unsigned w = 5; w <= 64; ++w) c.peaks.push_back({ExecutionUnit::kCpu, "f32", "avx2", w, 100.0 * w, {}});
  const std::string table = roofline_table(c, machine());
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  EXPECT_NE(table.find(" 1 thr"), std::string::npos);
  EXPECT_NE(table.find("64 thr"), std::string::npos);
  EXPECT_FALSE(roofline_table(Calibration{}, Platform{}).empty());
}

}  // namespace
}  // namespace smepilot
