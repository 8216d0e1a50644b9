// Other programs: what they print, how they end, and how they are ended.
#include "tuner/subprocess.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <thread>

#include "profiles/timer.h"
#include "tests/db/support.h"

namespace smepilot {
namespace {

class Subprocess : public ::testing::Test {
 protected:
  Result<ProcessOutput> shell(const std::string& script, const ProcessLimits& limits = {}) {
    return run_process({"/bin/sh", "-c", script}, cancel_, limits);
  }
  test::TempFolder folder_;
  std::atomic<bool> cancel_ = false;
};

TEST_F(Subprocess, OutputAndExitCodes) {
  const auto good = shell("echo out; echo err >&2");
  ASSERT_OK(good);
  EXPECT_EQ(good->out, "out\n");
  EXPECT_EQ(good->err, "err\n");
  EXPECT_EQ(good->code, 0);
  EXPECT_EQ(good->signal, 0);
  const auto bad = shell("exit 37");
  ASSERT_OK(bad);
  EXPECT_EQ(bad->code, 37);
  const auto not_found = shell("exit 127");  // its own code, not ours for a program that cannot be started
  ASSERT_OK(not_found);
  EXPECT_EQ(not_found->code, 127);
}

TEST_F(Subprocess, ArgumentsArriveAsTheyAre) {
  const auto p = run_process({"/bin/sh", "-c", "printf '%s|' \"$@\"", "sh", "a b", "", "$x;`y`", "*"}, cancel_);
  ASSERT_OK(p);
  EXPECT_EQ(p->out, "a b||$x;`y`|*|");
  const auto input = shell("cat");  // nothing to read: it does not wait for the terminal
  ASSERT_OK(input);
  EXPECT_EQ(input->out, "");
}

TEST_F(Subprocess, SignalsAreTold) {
  const auto p = shell("kill -SEGV $$");
  ASSERT_OK(p);
  EXPECT_EQ(p->signal, SIGSEGV);
  EXPECT_EQ(p->code, -1);
}

TEST_F(Subprocess, LongOutputs) {
  const auto p = shell(
      "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; "
      "echo 'an error' >&2; i=$((i+1)); done; echo last >&2");
  ASSERT_OK(p);
  EXPECT_EQ(p->out.size(), 3000u * 41);
  EXPECT_LE(p->err.size(), 8192u);  // the end of it
  EXPECT_TRUE(p->err.ends_with("an error\nlast\n"));
  ProcessLimits limits;
  limits.max_output = 10'000;
  EXPECT_ERROR(shell("while :; do echo 0123456789; done", limits), "prints more than 10000 bytes");
}

TEST_F(Subprocess, WhatCannotBeStarted) {
  EXPECT_ERROR(run_process({folder_ / "none"}, cancel_), "none: No such file");
  test::write_file(folder_ / "text", "text");
  EXPECT_ERROR(run_process({folder_ / "text"}, cancel_), "text: Permission denied");
  EXPECT_ERROR(run_process({}, cancel_), "without a name");
  EXPECT_ERROR(find_program(folder_ / "none"), "no such file");
  EXPECT_ERROR(find_program(folder_ / "text"), "not a program");
  EXPECT_ERROR(find_program(folder_.path()), "not a program");
  EXPECT_ERROR(find_program("no-such-program-anywhere"), "no such program in PATH");
  EXPECT_ERROR(find_program(""), "no such program in PATH");
  const auto sh = find_program("sh");
  ASSERT_OK(sh);
  EXPECT_TRUE(sh->ends_with("/sh"));
}

TEST_F(Subprocess, TimeIsOver) {
  ProcessLimits limits;
  limits.timeout_s = 0.2;
  const int64_t start = now_ns();
  const auto p = shell("echo begun; sleep 60", limits);
  ASSERT_OK(p);
  EXPECT_TRUE(p->timed_out);
  EXPECT_FALSE(p->cancelled);
  EXPECT_EQ(p->signal, SIGTERM);
  EXPECT_EQ(p->out, "begun\n");
  EXPECT_LT(now_ns() - start, 30'000'000'000);
  const auto quick = shell("exit 0", limits);
  ASSERT_OK(quick);
  EXPECT_FALSE(quick->timed_out);
}

TEST_F(Subprocess, WhoDoesNotListenIsKilled) {
  ProcessLimits limits;
  limits.timeout_s = 0.2;
  limits.grace_s = 0.2;
  const int64_t start = now_ns();
  const auto p = shell("trap '' TERM; while :; do sleep 1; done", limits);
  ASSERT_OK(p);
  EXPECT_TRUE(p->timed_out);
  EXPECT_EQ(p->signal, SIGKILL);
  EXPECT_LT(now_ns() - start, 30'000'000'000);
}

TEST_F(Subprocess, CancellingEndsItAndWhatItStarted) {
  const std::string ended = folder_ / "ended";
  std::thread later([this] {
    while (!std::filesystem::exists(folder_ / "begun")) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    cancel_ = true;
  });
  const auto p = shell("(trap \"echo yes > '" + ended + "'; exit\" TERM; touch '" + (folder_ / "begun") +
                       "'; while :; do sleep 0.05; done) & wait");
  later.join();
  ASSERT_OK(p);
  EXPECT_TRUE(p->cancelled);
  EXPECT_FALSE(p->timed_out);
  EXPECT_EQ(test::read_file(ended), "yes\n");  // its pipe was held until then
}

}  // namespace
}  // namespace smepilot
