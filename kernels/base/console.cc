#include "kernels/base/console.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace smepilot {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // a signal handler may touch it

void on_signal(int number) {
  if (!interrupted.exchange(true, std::memory_order_relaxed)) return;
  std::signal(number, SIG_DFL);
  std::raise(number);
}

}  // namespace

std::atomic<bool>& catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_signal;  // no SA_RESTART: a read from the terminal ends with EINTR
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return interrupted;
}

Status print_out(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return {};
  return error("cannot write to standard output: {}", std::strerror(errno));
}

int print_error(const char* program, const Status& status) {
  std::fflush(stdout);
  fmt::print(stderr, "{}: {}\n", program, status.message());
  return kExitFailed;
}

}  // namespace smepilot
