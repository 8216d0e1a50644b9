// When a step is measured again because the clock fell, on rates and a time that are made up.
#include "profiles/clock_watch.h"

#include <gtest/gtest.h>

namespace smepilot {
namespace {

// A clock whose rate is a function of the fake time; looking at it takes no time, waiting does.
struct FakeClock {
  std::function<double(double)> rate = [](double) { return 100.0; };
  double now = 0, waited = 0;
  bool cancel = false;
  ClockWatch watch(const ClockRules& rules = {}) {
    return {{[this] { return rate(now); }, [this] { return now; },
             [this](double s) {
               now += s;
               waited += s;
             },
             [this] { return cancel; }},
            rules};
  }
};

TEST(ClockWatch, ASteadyClockRepeatsNothing) {
  FakeClock clock;
  ClockWatch watch = clock.watch();
  watch.start();
  for (int step = 0; step < 50; ++step) {
    clock.now += 1;
    EXPECT_FALSE(watch.measure_again(0));
  }
  EXPECT_EQ(watch.record().repeated, 0u);
  EXPECT_EQ(watch.record().cooldown_s, 0);
  EXPECT_EQ(watch.record().first_gflops, 100);
  EXPECT_EQ(watch.record().last_gflops, 100);
  EXPECT_EQ(watch.record().tolerance, 0.02);
}

TEST(ClockWatch, AFallIsWaitedOutAndItsStepMeasuredAgain) {
  FakeClock clock;
  clock.rate = [](double now) { return now > 1.5 && now < 2.1 ? 80 : 100; };
  ClockWatch watch = clock.watch();
  watch.start();
  clock.now = 1;
  EXPECT_FALSE(watch.measure_again(0));
  clock.now = 2;
  EXPECT_TRUE(watch.measure_again(0));
  EXPECT_NEAR(clock.waited, 0.1, 0.006) << "until it had come back, and no longer";
  EXPECT_NEAR(watch.record().cooldown_s, clock.waited, 1e-9);
  clock.now = 3;
  EXPECT_FALSE(watch.measure_again(1)) << "it held this time";
  EXPECT_EQ(watch.record().repeated, 1u);
  EXPECT_EQ(watch.record().lowest_gflops, 80);
  EXPECT_EQ(watch.record().last_gflops, 100);
}

TEST(ClockWatch, AFallWithinTheKernelsOwnNoiseIsNone) {
  FakeClock clock;
  int looks = 0;
  clock.rate = [&](double) { return ++looks % 2 == 0 ? 100.0 : 94.0; };  // before the first step, too
  ClockWatch watch = clock.watch();
  watch.start();
  EXPECT_GT(watch.record().tolerance, 0.02);
  for (int step = 0; step < 20; ++step) EXPECT_FALSE(watch.measure_again(0));
  EXPECT_EQ(watch.record().repeated, 0u);
}

TEST(ClockWatch, OneSlowLookIsNoFall) {
  FakeClock clock;
  int looks = 0;
  clock.rate = [&](double) { return ++looks == 14 ? 50.0 : 100.0; };
  ClockWatch watch = clock.watch();
  watch.start();
  for (int step = 0; step < 5; ++step) EXPECT_FALSE(watch.measure_again(0));
  EXPECT_GE(looks, 14);
  EXPECT_EQ(watch.record().lowest_gflops, 100);
  EXPECT_EQ(clock.waited, 0);
}

TEST(ClockWatch, AClockThatStaysLowRepeatsNothingAndCostsTheCooldownOnce) {
  FakeClock clock;
  clock.rate = [](double now) { return now > 1.5 ? 80 : 100; };
  ClockRules rules;
  rules.cooldown_s = 0.5;
  ClockWatch watch = clock.watch(rules);
  watch.start();
  for (int step = 0; step < 20; ++step) {
    clock.now += 2;
    EXPECT_FALSE(watch.measure_again(0));
  }
  EXPECT_NEAR(clock.waited, 0.5, 0.006);
  EXPECT_EQ(watch.record().repeated, 0u);
  EXPECT_EQ(watch.record().last_gflops, 80);
}

// A clock that falls in every step, and comes back after each.
TEST(ClockWatch, RepeatsAreBoundedPerStepAndInAll) {
  FakeClock clock;
  clock.rate = [&](double now) { return now - static_cast<int>(now) < 0.001 && now > 0.5 ? 80 : 100; };
  ClockRules rules;
  rules.per_step = 2;
  rules.in_all = 5;
  rules.cooldown_s = 100;
  ClockWatch watch = clock.watch(rules);
  watch.start();
  unsigned measured = 0;
  for (int step = 0; step < 10; ++step) {
    for (unsigned repeats = 0;; ++repeats) {
      clock.now = ++measured;
      ASSERT_LE(repeats, 2u);
      if (!watch.measure_again(repeats)) break;
    }
  }
  EXPECT_EQ(watch.record().repeated, 5u);
  EXPECT_EQ(measured, 15u);
}

TEST(ClockWatch, CancellingEndsTheWait) {
  FakeClock clock;
  clock.rate = [](double now) { return now > 1 ? 80 : 100; };
  ClockWatch watch = clock.watch();
  watch.start();
  clock.now = 2;
  clock.cancel = true;
  EXPECT_FALSE(watch.measure_again(0));
  EXPECT_EQ(clock.waited, 0);
}

TEST(ClockWatch, WithoutAReferenceThereIsNoRecord) {
  FakeClock clock;
  clock.rate = [](double) { return 0.0; };
  ClockWatch watch = clock.watch();
  watch.start();
  EXPECT_FALSE(watch.measure_again(0));
  EXPECT_EQ(watch.record().first_gflops, 0);
  EXPECT_EQ(watch.record().highest_gflops, 0);
}

}  // namespace
}  // namespace smepilot
