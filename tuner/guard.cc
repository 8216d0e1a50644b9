#include "tuner/guard.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "profiles/timer.h"

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

int wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
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
    wait_for(child);
    return {MeasurementStatus::kTimeout, fmt::format("did not end within {:.0f} s", timeout_s)};
  }
  int status = wait_for(child);  // not const: macOS takes its address in the macros
  if (WIFSIGNALED(status))
    return {MeasurementStatus::kCrashed,
            fmt::format("ended by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)))};
  if (said.empty() || WEXITSTATUS(status) != 0)
    return {MeasurementStatus::kCrashed, fmt::format("its process ended with exit code {}", WEXITSTATUS(status))};
  return {static_cast<MeasurementStatus>(said[0]), said.substr(1)};
}

}  // namespace smepilot
