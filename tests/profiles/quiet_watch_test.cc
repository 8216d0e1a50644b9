// When a sample is taken again because something else had the machine, on times that are made up.
#include "profiles/quiet_watch.h"

#include <gtest/gtest.h>

namespace smepilot {
namespace {

// The reference takes 10 us, and `slow` times that while something else has a core; a sample takes a millisecond.
struct FakeMachine {
  std::function<bool(double)> disturbed = [](double) { return false; };
  double slow = 2, now = 0;
  size_t looks = 0, samples = 0, of_disturbed = 0;

  QuietWatch watch(const QuietRules& rules = {}) {
    return QuietWatch({[this] {
                         ++looks;
                         const double ns = 10e3 * (disturbed(now) ? slow : 1 + 0.01 * static_cast<double>(looks % 15));
                         now += ns * 1e-9;
                         return ns;
                       },
                       [this] { return now; }},
                      rules);
  }
  double sample() {
    ++samples;
    of_disturbed += disturbed(now) ? 1 : 0;
    now += 1e-3;
    return 1e6;
  }
};

TEST(QuietWatch, AQuietMachineRepeatsNothing) {
  FakeMachine m;
  QuietWatch watch = m.watch();
  for (int i = 0; i < 500; ++i) EXPECT_EQ(watch.measure([&] { return m.sample(); }), 1e6);
  EXPECT_EQ(m.samples, 500u);
  EXPECT_EQ(watch.measured(), 500u);
  EXPECT_EQ(watch.repeated(), 0u);
  EXPECT_EQ(watch.disturbed(), 0u);
  EXPECT_LT(m.looks, 550u) << "one look a sample, and a few to begin with";
}

TEST(QuietWatch, ADisturbanceIsWaitedOutAndItsSampleThrownAway) {
  FakeMachine m;
  m.disturbed = [](double now) { return now > 0.1005 && now < 0.4; };
  QuietWatch watch = m.watch();
  std::vector<size_t> counted;
  for (int i = 0; i < 300; ++i)
    watch.measure([&] {
      const size_t before = m.of_disturbed;
      const double ns = m.sample();
      counted.push_back(m.of_disturbed - before);
      return ns;
    });
  EXPECT_EQ(watch.measured(), 300u);
  EXPECT_EQ(watch.disturbed(), 0u);
  EXPECT_GE(watch.repeated(), 1u) << "the one that it began in";
  EXPECT_LE(watch.repeated(), 2u) << "then it is waited, not measured";
  EXPECT_EQ(m.of_disturbed, 0u) << "none began in it";
  EXPECT_EQ(counted.size(), 300 + watch.repeated());
}

TEST(QuietWatch, PatienceEnds) {
  FakeMachine m;
  m.disturbed = [](double now) { return now > 0.1; };
  QuietRules rules;
  rules.window_s = 1000;  // it never gets used to it
  QuietWatch watch = m.watch(rules);
  while (m.now < 10) watch.measure([&] { return m.sample(); });
  EXPECT_GT(watch.disturbed(), 5000u) << "three quarters of the time are measured in";
  EXPECT_LT(watch.disturbed(), 9000u);
  EXPECT_GT(watch.measured(), watch.disturbed());
}

TEST(QuietWatch, WhatLastsIsNoDisturbance) {
  FakeMachine m;
  m.disturbed = [](double now) { return now > 5; };
  QuietWatch watch = m.watch();
  while (m.now < 20) watch.measure([&] { return m.sample(); });
  const size_t disturbed = watch.disturbed(), repeated = watch.repeated();
  while (m.now < 30) watch.measure([&] { return m.sample(); });
  EXPECT_GT(disturbed, 0u);
  EXPECT_EQ(watch.disturbed(), disturbed);
  EXPECT_EQ(watch.repeated(), repeated);
}

TEST(QuietWatch, ItsOwnScatterIsNone) {
  FakeMachine m;
  m.slow = 1.2;
  m.disturbed = [](double now) { return static_cast<int>(now * 100) % 2 == 0; };
  QuietWatch watch = m.watch();
  for (int i = 0; i < 500; ++i) watch.measure([&] { return m.sample(); });
  EXPECT_EQ(watch.repeated(), 0u);
}

}  // namespace
}  // namespace smepilot
