// Fitting what kernels keep of the ceilings, and judging it, on a made-up machine whose kernels keep known fractions.
#include "tuner/held_out.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "kernels/registry/registry.h"
#include "profiles/calibrate.h"
#include "profiles/kernel_efficiency.h"
#include "profiles/roofline.h"

namespace smepilot {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20, kCold = 256 * kMiB;

Platform machine() {
  Platform p;
  p.cores = p.cpus = 2;
  p.caches = {{1, 32 << 10, 2}, {2, 1 * kMiB, 2}, {3, 32 * kMiB, 1}};
  p.memory_bytes = 64ull << 30;
  return p;
}

Calibration ceilings() {
  Calibration c;
  for (const IsaName& isa : kIsaNames)
    for (const char* dtype : {"f32", "f16", "bf16", "int8"})
      for (const unsigned w : {1u, 2u})
        for (const ExecutionUnit unit : {ExecutionUnit::kCpu, ExecutionUnit::kMatrix})
          c.peaks.push_back({unit, dtype, isa.name, w, 400.0 * w, {}});
  for (const char* level : {"L1", "L2", "LLC", "DRAM"})
    for (const unsigned w : {1u, 2u})
      c.bandwidths.push_back({level, "read", w, level == std::string("DRAM") ? 512 * kMiB : 16 * kMiB, 20.0 * w, {}});
  c.fork_join = {{1, 10, {}, 0}, {2, 500, {}, 0}};
  return c;
}

// A machine on which every kernel keeps the same fractions of the ceilings.
class TrueMachine final : public Evaluator {
 public:
  double compute = 0.43, memory = 0.8, exposed = 0, held_out_factor = 1;
  const std::atomic<bool>* done = nullptr;
  size_t samples = 0;
  std::function<void()> on_sample;

  Status prepare(const OperatorTask& task) override {
    task_ = task;
    return {};
  }
  CheckResult check(const Candidate&) override { return {}; }
  std::optional<double> sample(const Candidate& c) override {
    ++samples;
    clock_ += 1e-3;
    if (on_sample) on_sample();
    const KernelVariant* v = find_variant(c.variant);
    if (v == nullptr) return std::nullopt;
    const uint64_t set = task_.pass_bytes == 0 ? kCold : static_cast<uint64_t>(op_bytes(task_.shape));
    const Price p = Roofline(ceilings(), machine(), {set}).price(task_.shape, *v, c.workers);
    const double noise = samples % 5 == 0 ? 3 : 1;  // an interruption now and then, which a median ignores
    const double computed = p.compute_ns / compute, read = p.memory_ns / memory;
    return (std::max(computed, read) + exposed * std::min(computed, read) + p.overhead_ns) * noise * held_out_factor;
  }
  double now_s() override { return clock_; }

 private:
  OperatorTask task_;
  double clock_ = 0;
};

HeldOutOptions options() {
  HeldOutOptions o;
  o.workers = 2;
  o.quick = true;
  o.cold_bytes = kCold;
  return o;
}

TEST(HeldOut, ModelThatLearnsPredictsWhatItHasNotSeen) {
  TrueMachine machine_under_test;
  Calibration plain = ceilings(), taught = ceilings();
  ASSERT_TRUE(judge_model(machine(), machine_under_test, options(), plain).ok());
  ASSERT_TRUE(fit_kernels(machine(), machine_under_test, options(), taught).ok());
  ASSERT_TRUE(judge_model(machine(), machine_under_test, options(), taught).ok());
  ASSERT_TRUE(median_error(plain) && median_error(taught));
  EXPECT_GT(*median_error(plain), 0.15);  // ceilings alone promise too much
  EXPECT_LT(*median_error(taught), 0.05);
  ASSERT_FALSE(taught.kernels.empty());
  bool compute = false, memory = false;
  for (const KernelEfficiency& k : taught.kernels) {
    if (k.kind != OpKind::kMatmul) continue;
    if (k.compute > 0) {
      EXPECT_NEAR(k.compute, 0.43, 0.25) << k.variant;  // a call of few rows may also read
    }
    if (k.memory > 0) {
      EXPECT_LE(k.memory, 0.8 * 1.01) << k.variant;
    }
    compute = compute || std::abs(k.compute - 0.43) < 0.01;
    memory = memory || std::abs(k.memory - 0.8) < 0.02;
  }
  EXPECT_TRUE(compute && memory);
}

// Where neither arithmetic nor memory hides the other one whole, few rows say by how much.
TEST(HeldOut, WhatIsNotHiddenIsLearnt) {
  TrueMachine m;
  m.compute = 0.6;
  m.exposed = 0.4;
  Calibration taught = ceilings();
  ASSERT_TRUE(fit_kernels(machine(), m, options(), taught).ok());
  Calibration without = taught;
  std::erase_if(without.operators, [](const TimedOperator& t) { return t.shape.m == kMixedRows; });
  EXPECT_LT(without.operators.size(), taught.operators.size());
  ASSERT_TRUE(judge_model(machine(), m, options(), taught).ok());
  ASSERT_TRUE(judge_model(machine(), m, options(), without).ok());
  size_t matmuls = 0;
  const auto worst = [&](const Calibration& c) {
    double error = 0;
    for (const TimedOperator& t : c.operators) {
      if (!t.held_out || t.shape.kind != OpKind::kMatmul) continue;
      EXPECT_NE(t.shape.m, kMixedRows) << "what teaches does not judge";
      ++matmuls;
      error = std::max(error, std::abs(t.error()));
    }
    return error;
  };
  EXPECT_LT(worst(taught), 0.03);
  EXPECT_GT(worst(without), 0.1);
  EXPECT_GE(matmuls, 18u);
}

TEST(HeldOut, NothingJudgesThatTaught) {
  TrueMachine m;
  Calibration c = ceilings();
  ASSERT_TRUE(fit_kernels(machine(), m, options(), c).ok());
  EXPECT_FALSE(median_error(c)) << "what teaches does not judge";
  ASSERT_TRUE(judge_model(machine(), m, options(), c).ok());
  std::set<std::string> taught, judged;
  for (const TimedOperator& t : c.operators) {
    (t.held_out ? judged : taught).insert(describe(t.shape));
    EXPECT_GE(t.samples.size(), 5u);
    EXPECT_GT(t.predicted_ns, 0);
  }
  EXPECT_GE(judged.size(), 10u);
  EXPECT_GE(taught.size(), 8u);
  for (const std::string& s : judged) EXPECT_FALSE(taught.contains(s)) << s;
}

TEST(HeldOut, AMachineThatChangedIsJudgedWrong) {
  TrueMachine m;
  Calibration c = ceilings();
  ASSERT_TRUE(fit_kernels(machine(), m, options(), c).ok());
  m.held_out_factor = 2;
  ASSERT_TRUE(judge_model(machine(), m, options(), c).ok());
  EXPECT_NEAR(*median_error(c), 0.5, 0.05);
  const std::string table = held_out_table(c, machine());
  EXPECT_NE(table.find("median error of the model on them"), std::string::npos) << table;
  EXPECT_NE(table.find("matmul q4_0 m=8 n=2048 k=4096"), std::string::npos) << table;
  size_t begin = 0;
  for (size_t end; (end = table.find('\n', begin)) != std::string::npos; begin = end + 1)
    EXPECT_LE(end - begin, 80u) << table.substr(begin, end - begin);
  EXPECT_EQ(held_out_table(ceilings(), machine()), "");
}

TEST(HeldOut, AMemoryThatMovesMeanwhileIsTaughtAgain) {
  TrueMachine m;
  Calibration c = ceilings();
  ASSERT_TRUE(fit_kernels(machine(), m, options(), c).ok());
  EXPECT_NEAR(*memory_drift(machine(), m, options(), c), 1, 1e-9);
  const size_t fitting = m.samples;
  m.held_out_factor = 1.6;
  EXPECT_NEAR(*memory_drift(machine(), m, options(), c), 1.6, 1e-9);
  EXPECT_EQ(*memory_drift(machine(), m, options(), ceilings()), 1) << "nothing taught";

  TrueMachine moves;  // between fitting and judging, once
  moves.on_sample = [&] { moves.held_out_factor = moves.samples > fitting ? 1.6 : 1; };
  unsigned teachings = 0;
  ASSERT_TRUE(teach_and_judge(machine(), moves, options(), c, &teachings).ok());
  EXPECT_EQ(teachings, 2u);
  EXPECT_LT(*median_error(c), 0.05);
  const auto judged = std::count_if(c.operators.begin(), c.operators.end(), [](const auto& t) { return t.held_out; });
  EXPECT_EQ(judged, 11) << "once";

  TrueMachine restless;
  restless.on_sample = [&] { restless.held_out_factor = 1 + static_cast<double>(restless.samples) * 1e-3; };
  ASSERT_TRUE(teach_and_judge(machine(), restless, options(), c, &teachings).ok());
  EXPECT_EQ(teachings, kTeachings) << "and then it is left at that";
}

TEST(HeldOut, StopsWhenAskedTo) {
  TrueMachine m;
  std::atomic<bool> cancel{false};
  m.on_sample = [&] { cancel = m.samples > 20; };
  HeldOutOptions o = options();
  o.cancel = &cancel;
  Calibration c = ceilings();
  const Status s = fit_kernels(machine(), m, o, c);
  ASSERT_FALSE(s.ok());
  EXPECT_EQ(s.message(), kCalibrationCancelled);
  EXPECT_LE(m.samples, 22u);
}

TEST(KernelEfficiency, FitsWhatThreeCallsTell) {
  const auto call = [](double compute_ns, double memory_ns, double compute, double memory, double exposed) {
    const double c = compute_ns / compute, m = memory_ns / memory;
    return LessonTime{compute_ns, memory_ns, 3, std::max(c, m) + exposed * std::min(c, m) + 3};
  };
  for (const double exposed : {0.0, 0.25, 1.0}) {
    const FittedKernel k = fit_kernel(call(1000, 90, 0.7, 0.9, exposed), call(80, 1000, 0.7, 0.9, exposed),
                                      call(500, 550, 0.7, 0.9, exposed));
    EXPECT_NEAR(k.compute, 0.7, 1e-3) << exposed;
    EXPECT_NEAR(k.memory, 0.9, 1e-3) << exposed;
    EXPECT_NEAR(k.exposed, exposed, 5e-3);
  }
  const FittedKernel alone = fit_kernel(call(1000, 90, 0.7, 1, 0), {}, {});
  EXPECT_NEAR(alone.compute, 0.7, 1e-9);
  EXPECT_EQ(alone.memory, 0);
  EXPECT_EQ(alone.exposed, 0);
  EXPECT_EQ(fitted_exposure({100, 100, 0, 50}, 1, 1), 0) << "faster than the ceilings";
  EXPECT_EQ(fitted_exposure({100, 100, 0, 500}, 1, 1), 1) << "slower than one after the other";
  EXPECT_EQ(fitted_exposure({100, 100, 0, 150}, 0, 1), 0) << "nothing is known of it";
}

TEST(KernelEfficiency, FittedFraction) {
  EXPECT_DOUBLE_EQ(fitted_efficiency(40, 10, 110), 0.4);
  EXPECT_EQ(fitted_efficiency(40, 60, 110), 0);   // mostly fixed costs
  EXPECT_EQ(fitted_efficiency(40, 120, 110), 0);  // nothing but them
  EXPECT_EQ(fitted_efficiency(0, 0, 0), 0);
  EXPECT_EQ(fitted_efficiency(std::numeric_limits<double>::infinity(), 0, 100), 0);
  Calibration c;
  EXPECT_FALSE(median_error(c));
  for (const double predicted : {50.0, 110.0, 300.0}) {
    TimedOperator t;
    t.predicted_ns = predicted;
    t.measured_ns = 100;
    t.held_out = true;
    c.operators.push_back(t);
  }
  TimedOperator fitted_on;  // of no account
  fitted_on.predicted_ns = 1e6;
  fitted_on.measured_ns = 1;
  c.operators.push_back(fitted_on);
  EXPECT_DOUBLE_EQ(*median_error(c), 0.5);
}

}  // namespace
}  // namespace smepilot
