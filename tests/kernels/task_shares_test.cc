// Every task is taken once, own shares before others', whoever comes when.
#include "kernels/driver/task_shares.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace smepilot {
namespace {

TEST(TaskShares, AWorkerTakesItsOwnFromTheFrontThenOthersFromTheBack) {
  TaskShares tasks(10, 3);  // 0-2, 3-5, 6-9
  std::vector<uint32_t> taken;
  for (uint32_t t = 0; tasks.take(1, t);) taken.push_back(t);
  EXPECT_EQ(taken, (std::vector<uint32_t>{3, 4, 5, 9, 8, 7, 6, 2, 1, 0}));
}

TEST(TaskShares, BoundsCutAnyNumberWithoutGaps) {
  for (const unsigned workers : {1u, 2u, 3u, 7u, 16u, 17u, 64u})
    for (const uint32_t count : {0u, 1u, 5u, 16u, 1000u, 0xfffffff0u}) {
      const TaskShares tasks(count, workers);
      EXPECT_EQ(tasks.bound(count, 0), 0u);
      EXPECT_EQ(tasks.bound(count, tasks.shares()), count);
      for (unsigned s = 0; s < tasks.shares(); ++s) EXPECT_LE(tasks.bound(count, s), tasks.bound(count, s + 1));
    }
}

TEST(TaskShares, WorkersOfOneShareAndThoseBeyondTheCountDivideIt) {
  for (const unsigned workers : {40u, 4u}) {
    TaskShares tasks(100, workers);
    std::vector<int> times(100);
    uint32_t t = 0;
    for (unsigned w = 0; tasks.take(w, t); w = (w + 1) % 50) ++times[t];
    EXPECT_EQ(times, std::vector<int>(100, 1));
  }
}

TEST(TaskShares, SharesOfSeveralCallsAreNumberedOn) {
  TaskShares tasks;
  tasks.reset(2);
  for (const uint32_t count : {4u, 3u}) tasks.add(count);
  unsigned share = 9;
  uint32_t index = 9;
  for (uint32_t i = 0; i < 3; ++i) {  // two of the first call, one of the second
    ASSERT_TRUE(tasks.take(0, share, index));
    EXPECT_EQ(share, 0u);
    EXPECT_EQ(index, i);
  }
  ASSERT_TRUE(tasks.take(0, share, index));
  EXPECT_EQ(share, 1u);
  EXPECT_EQ(index, 3u);
}

TEST(TaskShares, ThreadsTakeEachTaskOnce) {
  constexpr uint32_t kTasks = 20000;
  constexpr unsigned kThreads = 4;
  TaskShares tasks(kTasks, kThreads);
  std::vector<std::vector<uint32_t>> taken(kThreads);
  std::vector<std::thread> threads;
  for (unsigned w = 0; w < kThreads; ++w)
    threads.emplace_back([&, w] {
      for (uint32_t t; tasks.take(w, t);) taken[w].push_back(t);
    });
  for (std::thread& t : threads) t.join();
  std::vector<int> times(kTasks);
  for (const auto& of_one : taken)
    for (const uint32_t t : of_one) ++times[t];
  EXPECT_EQ(times, std::vector<int>(kTasks, 1));
}

}  // namespace
}  // namespace smepilot
