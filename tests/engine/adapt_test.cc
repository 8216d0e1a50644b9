// The controller of runtime adaptation on made-up machines: two sides of given rates that change by step, by ramp or
// back and forth, with noise and with single calls that are far too long. No clock is read.
#include "engine/adapt.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "profiles/statistics.h"

namespace smepilot {
namespace {

constexpr double kWork = 1e6;

// A machine with a matrix unit and one core. Rates are work per nanosecond; `noise` is the relative deviation of each
// side's time from call to call.
struct Machine {
  std::function<double(uint64_t call)> matrix, vector;
  double noise = 0;
  double barrier_ns = 0;                                                 // of calls that both sides share
  double hiccup_every = 0;                                               // one call of so many takes ten times as long
  std::function<double(uint64_t call, uint32_t workers)> cpu_time = {};  // of kCpu; by default, of `vector`

  AdaptObservation call(const AdaptSetting& s, uint64_t number, Rng& rng) const {
    const auto noisy = [&](double ns) { return ns * std::exp(noise * rng.normal()); };
    AdaptObservation o;
    o.work = kWork;
    switch (s.mode) {
      case ExecutionMode::kCoop:
        o.apart = true;
        o.matrix = {kWork * s.share, noisy(kWork * s.share / matrix(number))};
        o.vector = {kWork * (1 - s.share), noisy(kWork * (1 - s.share) / vector(number))};
        if (s.dynamic) {  // both work at their rates until nothing is left
          const double fast = o.matrix.work / o.matrix.ns, slow = o.vector.work / o.vector.ns;
          o.ns = o.matrix.ns = o.vector.ns = kWork / (fast + slow);
          o.matrix.work = fast * o.ns;
          o.vector.work = slow * o.ns;
          o.ns += barrier_ns;
          break;
        }
        o.ns = std::max(o.matrix.ns, o.vector.ns) + barrier_ns;
        o.waiting = std::abs(o.matrix.ns - o.vector.ns) / (2 * o.ns);
        break;
      case ExecutionMode::kMatrix: o.ns = noisy(kWork / matrix(number)); break;
      case ExecutionMode::kCpu:
        o.ns = noisy(cpu_time ? cpu_time(number, s.workers) : kWork / vector(number));
        o.waiting = s.workers > 1 ? 0.3 : 0;
        break;
    }
    if (hiccup_every > 0 && rng.uniform() < 1 / hiccup_every) {
      const double more = 9 * o.ns;
      o.ns += more;
      (rng.uniform() < 0.5 ? o.matrix : o.vector).ns += more;
    }
    return o;
  }
};

std::function<double(uint64_t)> steady(double rate) {
  return [rate](uint64_t) { return rate; };
}
std::function<double(uint64_t)> step(double before, double after, uint64_t at) {
  return [=](uint64_t call) { return call < at ? before : after; };
}

struct Series {
  std::vector<AdaptEvent> events;
  double ns = 0, static_ns = 0;  // of all calls; and as the plan would have executed them
  unsigned changes() const {
    return static_cast<unsigned>(
        std::count_if(events.begin(), events.end(), [](const AdaptEvent& e) { return e.changed; }));
  }
};

Series run(AdaptController& controller, const Machine& machine, uint64_t calls, uint64_t seed = 1, uint64_t first = 0) {
  Rng rng(seed), other(seed);
  Series r;
  for (uint64_t i = first; i < first + calls; ++i) {
    const AdaptObservation o = machine.call(controller.next(), i, rng);
    r.ns += o.ns;
    r.static_ns += machine.call(controller.home(), i, other).ns;
    if (const auto event = controller.observe(o)) r.events.push_back(*event);
  }
  return r;
}

AdaptSetting coop(double share) {
  return {ExecutionMode::kCoop, share, 2};
}
AdaptLimits limits(bool alone = true) {
  AdaptLimits l;
  l.min_share = 0.02;
  l.max_share = 0.98;
  l.alone = alone;
  return l;
}

TEST(Adapt, FindsTheBalanceAfterAStep) {
  for (const double noise : {0.0, 0.05, 0.15}) {
    AdaptController c(coop(2.0 / 3), limits());
    const Machine machine{step(2, 1, 500), steady(1), noise};
    const Series before = run(c, machine, 500);
    EXPECT_EQ(before.changes(), 0u) << noise;
    EXPECT_EQ(c.current(), c.home()) << noise;
    const Series after = run(c, machine, 600, 2, 500);
    EXPECT_NEAR(c.current().share, 0.5, 0.04) << noise;
    EXPECT_EQ(c.current().mode, ExecutionMode::kCoop) << noise;
    EXPECT_LE(after.changes(), 3u) << noise;
    EXPECT_GE(after.changes(), 1u) << noise;
    // The plan takes 2/3 per call, the balance 1/2.
    EXPECT_LT(after.ns, 0.85 * after.static_ns) << noise;
  }
}

TEST(Adapt, ComesBackWhenTheMachineRecovers) {
  AdaptController c(coop(2.0 / 3), limits());
  const Machine machine{[](uint64_t call) { return call < 400 || call >= 1200 ? 2.0 : 1.0; }, steady(1), 0.05};
  const Series r = run(c, machine, 2400);
  EXPECT_NEAR(c.current().share, 2.0 / 3, 0.04);
  EXPECT_GE(r.changes(), 2u);
  EXPECT_LE(r.changes(), 8u);
}

TEST(Adapt, StepsAreBounded) {
  AdaptController c(coop(0.9), limits(false));
  const Machine machine{steady(0.1), steady(1), 0.02};
  const Series r = run(c, machine, 2000);
  EXPECT_NEAR(c.current().share, 0.0909, 0.03);
  for (const AdaptEvent& e : r.events) EXPECT_LE(std::abs(e.to.share - e.from.share), AdaptPolicy{}.max_step + 1e-9);
  // And so are the bounds.
  AdaptController at_bound(coop(0.5), limits(false));
  run(at_bound, {steady(1e-4), steady(1), 0.02}, 3000);
  EXPECT_DOUBLE_EQ(at_bound.current().share, 0.02);
}

TEST(Adapt, NoiseAloneChangesNothing) {
  for (const auto& [noise, most] : {std::pair{0.02, 0u}, {0.05, 1u}, {0.1, 2u}, {0.2, 4u}}) {
    unsigned changes = 0;
    uint64_t tried = 0, calls = 0;
    double ns = 0, static_ns = 0;
    for (uint64_t seed = 1; seed <= 100; ++seed) {
      AdaptController c(coop(2.0 / 3), limits());
      const Series r = run(c, {steady(2), steady(1), noise}, 1000, seed);
      changes += r.changes();
      tried += c.tried_calls();
      calls += c.calls();
      ns += r.ns;
      static_ns += r.static_ns;
    }
    EXPECT_LE(changes, most) << noise;  // in 100 runs
    EXPECT_LT(tried, calls / 20) << noise;
    EXPECT_LT(ns, 1.002 * static_ns) << noise;
  }
}

TEST(Adapt, HiccupsChangeNothing) {
  unsigned changes = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    AdaptController c(coop(2.0 / 3), limits(false));
    changes += run(c, {steady(2), steady(1), 0.03, 0, 60}, 1000, seed).changes();
  }
  EXPECT_LE(changes, 2u);  // of 100 runs
}

TEST(Adapt, FollowsARamp) {
  AdaptController c(coop(2.0 / 3), limits());
  const Machine machine{[](uint64_t call) { return 2.0 - 1.5 * std::min(1.0, static_cast<double>(call) / 3000); },
                        steady(1), 0.05};
  const Series r = run(c, machine, 4000);
  EXPECT_NEAR(c.current().share, 1.0 / 3, 0.04);
  EXPECT_LE(r.changes(), 20u);
  for (const AdaptEvent& e : r.events) EXPECT_TRUE(!e.changed || e.to.share < e.from.share);
  EXPECT_LT(r.ns, 0.9 * r.static_ns);
}

// Load that comes and goes faster than anything can follow, and slower.
TEST(Adapt, PeriodicLoadDoesNotMakeItOscillate) {
  for (const uint64_t period : {4u, 10u, 50u, 200u, 1000u}) {
    AdaptController c(coop(2.0 / 3), limits());
    const Machine machine{[=](uint64_t call) { return call / period % 2 == 0 ? 2.0 : 1.0; }, steady(1), 0.03};
    const Series r = run(c, machine, 10000);
    EXPECT_LE(r.changes(), 40u) << period;
    EXPECT_LT(r.ns, 1.02 * r.static_ns) << period;  // never much worse than the plan
  }
}

TEST(Adapt, LeavesASideOutThatCostsMoreThanItGives) {
  AdaptController c(coop(0.5), limits());
  // The core is nearly gone, and a barrier with it costs as much as half the work.
  Machine machine{steady(1), step(1, 0.05, 300), 0.05, 0.0};
  run(c, machine, 300);
  EXPECT_EQ(c.current(), coop(0.5));
  machine.barrier_ns = 0.5 * kWork;
  const Series r = run(c, machine, 1500, 2, 300);
  EXPECT_EQ(c.current().mode, ExecutionMode::kMatrix);
  EXPECT_EQ(c.current().workers, 1u);
  EXPECT_LT(r.ns, 0.5 * r.static_ns);
  // It recovers, which only a probe can show.
  const Machine well{steady(1), steady(1), 0.05};
  run(c, well, 4000, 3);
  EXPECT_EQ(c.current().mode, ExecutionMode::kCoop);
  EXPECT_NEAR(c.current().share, 0.5, 0.04);
  EXPECT_LT(static_cast<double>(c.tried_calls()), 0.1 * static_cast<double>(c.calls()));
}

// A side that is held up now and then, which no share avoids.
TEST(Adapt, SidesThatWaitByTurnsHelpEachOther) {
  const Machine machine{[](uint64_t call) { return call * 2654435761u % 97 < 48 ? 3.0 : 1.0; }, steady(1), 0.02};
  for (const bool possible : {false, true}) {
    AdaptLimits l = limits(false);
    l.dynamic = possible;
    AdaptController c(coop(2.0 / 3), l);
    const Series r = run(c, machine, 2000);
    EXPECT_EQ(c.current().dynamic, possible);
    EXPECT_EQ(r.ns < 0.85 * r.static_ns, possible);
  }
  // On a machine without such a side, sides do not.
  AdaptLimits l = limits(false);
  l.dynamic = true;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    AdaptController c(coop(2.0 / 3), l);
    run(c, {steady(2), steady(1), 0.02}, 1000, seed);
    EXPECT_EQ(c.current(), c.home()) << seed;
  }
}

TEST(Adapt, WithoutTheOtherKernelsItOnlyMovesTheShare) {
  AdaptController c(coop(0.5), limits(false));
  const Machine machine{steady(1), steady(0.01), 0.05, 0.5 * kWork};
  run(c, machine, 2000);
  EXPECT_EQ(c.current().mode, ExecutionMode::kCoop);
}

TEST(Adapt, FewerWorkersWhereTheyAreFaster) {
  const AdaptSetting home{ExecutionMode::kCpu, 0, 4};
  AdaptController c(home, {});
  bool shared = true;  // the fourth worker's core
  const Machine machine{
      steady(1), steady(1),
      0.05,      0,
      0,         [&](uint64_t, uint32_t workers) {
                          return kWork / workers * (shared && workers == 4 ? 2 : 1); }};
  run(c, machine, 1000);
  EXPECT_EQ(c.current(), (AdaptSetting{ExecutionMode::kCpu, 0, 3}));
  EXPECT_EQ(c.home(), home);
  shared = false;
  run(c, machine, 3000, 2);
  EXPECT_EQ(c.current(), home);
}

TEST(Adapt, ExplorationIsBounded) {
  AdaptController c({ExecutionMode::kCpu, 0, 2}, {});
  // Two workers take three times as long as one, for ever.
  const Machine machine{
      steady(1), steady(1), 0.02, 0, 0, [](uint64_t, uint32_t workers) { return workers == 2 ? 3 * kWork : kWork; }};
  run(c, machine, 200);
  ASSERT_EQ(c.current().workers, 1u);
  const uint64_t tried = c.tried_calls();
  const Series r = run(c, machine, 20000, 2);
  EXPECT_EQ(r.changes(), 0u);
  EXPECT_GT(c.tried_calls(), tried);  // it does look again
  EXPECT_LT(r.ns, 1.02 * 20000 * kWork);
}

TEST(Adapt, ReportsWhatItSaw) {
  AdaptController c(coop(0.5), limits());
  const Series r = run(c, {steady(3), steady(1), 0.01}, 400);
  ASSERT_GE(r.changes(), 1u);
  const AdaptEvent& e = r.events[0];
  EXPECT_TRUE(e.changed);
  EXPECT_EQ(e.from, coop(0.5));
  EXPECT_EQ(e.reason, AdaptReason::kBalance);
  EXPECT_NEAR(e.before.matrix, 3, 0.1);
  EXPECT_NEAR(e.before.vector, 1, 0.05);
  EXPECT_NEAR(e.before.whole, 2, 0.1);
  EXPECT_NEAR(e.after.whole, 1 / (1 - e.to.share), 0.2);
  EXPECT_NEAR(e.saved, 1 - (1 - e.to.share) / 0.5, 0.03);
  EXPECT_GE(e.pairs, 4u);
  EXPECT_EQ(describe(e.from), "coop, 50 % on the matrix unit");
  EXPECT_EQ(describe(AdaptSetting{ExecutionMode::kCoop, 0.5, 2, true}), "coop, 50 % on the matrix unit, dynamic");
  EXPECT_EQ(describe(AdaptSetting{ExecutionMode::kCpu, 0, 1}), "cpu, 1 worker");
}

TEST(Adapt, IgnoresWhatIsNoObservation) {
  AdaptController c(coop(0.5), limits());
  EXPECT_FALSE(c.observe({}).has_value());
  AdaptObservation o;
  o.work = 1;
  o.ns = -5;
  EXPECT_FALSE(c.observe(o).has_value());
  EXPECT_EQ(c.calls(), 0u);
}

// The core shares of two workers, call by call.
Series place(PlacementController& controller, const std::function<std::pair<double, double>(uint64_t)>& shares,
             uint64_t calls, double noise, bool may = true) {
  Rng rng(3);
  Series r;
  for (uint64_t i = 0; i < calls; ++i) {
    auto [a, b] = shares(i);
    const bool swapped = r.events.size() % 2 != 0;
    if (swapped) std::swap(a, b);
    controller.observe(0, std::clamp(a * std::exp(noise * rng.normal()), 0.0, 1.0));
    controller.observe(1, std::clamp(b * std::exp(noise * rng.normal()), 0.0, 1.0));
    if (controller.decide([&](unsigned, unsigned) { return may; })) r.events.push_back({});
  }
  return r;
}

TEST(Placement, GivesTheSharedCoreToTheLastWorker) {
  PlacementController c(2);
  EXPECT_EQ(place(c, [](uint64_t) { return std::pair{0.5, 1.0}; }, 1000, 0.1).events.size(), 1u);
  PlacementController other(2);
  EXPECT_TRUE(place(other, [](uint64_t) { return std::pair{1.0, 0.5}; }, 1000, 0.1).events.empty());
  PlacementController apart(2);
  EXPECT_TRUE(place(apart, [](uint64_t) { return std::pair{0.5, 1.0}; }, 1000, 0.1, false).events.empty());
}

TEST(Placement, NoiseMovesNobody) {
  PlacementController c(2);
  EXPECT_TRUE(place(c, [](uint64_t) { return std::pair{0.9, 0.95}; }, 20000, 0.2).events.empty());
}

TEST(Placement, ChasesALoadThatFollowsLessAndLessOften) {
  PlacementController c(2);
  Series r;
  for (uint64_t i = 0; i < 20000; ++i) {  // whoever is first has the shared core
    c.observe(0, 0.5);
    c.observe(1, 1.0);
    if (c.decide([](unsigned, unsigned) { return true; })) r.events.push_back({});
  }
  EXPECT_GE(r.events.size(), 2u);
  EXPECT_LE(r.events.size(), 12u);
}

TEST(Adapt, StartsOverOnAnotherMachine) {
  AdaptController c(coop(2.0 / 3), limits());
  run(c, {steady(1), steady(1), 0.05}, 200);
  ASSERT_NEAR(c.current().share, 0.5, 0.04);
  c.start_over();
  EXPECT_EQ(c.calls_of_current(), 0u);
  run(c, {steady(4), steady(1), 0.05}, 400);
  EXPECT_NEAR(c.current().share, 0.8, 0.04);
}

}  // namespace
}  // namespace smepilot
