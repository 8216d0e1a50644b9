#include "tuner/guard.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "profiles/timer.h"
#include "tuner/subprocess.h"

namespace smepilot {
namespace {

void write_all(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    data += n;
    size -= static_cast<size_t>(n);
  }
}

}  // namespace

CheckResult run_guarded(const std::function<CheckResult()>& fn, double timeout_s) {
  int fd[2];
  if (pipe(fd) != 0) return fn();
  const pid_t child = fork();
  if (child < 0) {  // no process to spare: better an unguarded answer than none
    close(fd[0]);
    close(fd[1]);
    return fn();
  }
  if (child == 0) {
    close(fd[0]);
    for (const int s : {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGABRT}) signal(s, SIG_DFL);
    const CheckResult r = fn();
    const char status = static_cast<char>(r.status);
    write_all(fd[1], &status, 1);
    write_all(fd[1], r.reason.data(), r.reason.size());
    _exit(0);
  }
  close(fd[1]);
  std::string said;
  bool ended = false;
  const int64_t end = now_ns() + static_cast<int64_t>(timeout_s * 1e9);
  while (!ended) {
    const int64_t left_ms = (end - now_ns()) / 1'000'000;
    if (left_ms <= 0) break;
    pollfd p{fd[0], POLLIN, 0};
    const int ready = poll(&p, 1, static_cast<int>(std::min<int64_t>(left_ms, 1000)));
    if (ready < 0 && errno != EINTR) break;
    if (ready <= 0) continue;
    char buffer[512];
    const ssize_t n = read(fd[0], buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      ended = true;
    else
      said.append(buffer, static_cast<size_t>(n));
  }
  close(fd[0]);
  if (!ended) {
    kill(child, SIGKILL);
    wait_for_child(child);
    return {MeasurementStatus::kTimeout, fmt::format("did not end within {:.0f} s", timeout_s)};
  }
  const ProcessEnd how = wait_for_child(child);
  if (how.signal != 0)
    return {MeasurementStatus::kCrashed, fmt::format("ended by signal {} ({})", how.signal, strsignal(how.signal))};
  if (said.empty() || how.code != 0)
    return {MeasurementStatus::kCrashed, fmt::format("its process ended with exit code {}", how.code)};
  return {static_cast<MeasurementStatus>(said[0]), said.substr(1)};
}

}  // namespace smepilot
