#include "tuner/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "profiles/timer.h"

namespace smepilot {
namespace {

constexpr int kLookMs = 100;  // how often `cancel` is looked at
constexpr size_t kKeptErr = 4096;

struct Pipe {
  int ends[2] = {-1, -1};
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  // Neither end is passed on to a program that is executed.
  bool open() noexcept {
    return pipe(ends) == 0 && fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0 && fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0;
  }
  void close_end(int end) noexcept {
    if (ends[end] >= 0) close(ends[end]);
    ends[end] = -1;
  }
};

bool is_program(const std::string& path) {
  struct stat info{};
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(path.c_str(), X_OK) == 0;
}

// Makes a process in which prepare() runs and which then becomes the program. Error: it cannot.
template <typename Prepare>
Result<pid_t> spawn(const std::vector<std::string>& command, const Prepare& prepare) {
  if (command.empty() || command[0].empty()) return error("cannot start a program without a name");
  std::vector<std::string> words = command;
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  Pipe failed;  // carries errno if the program cannot be executed, and is closed if it is
  if (!failed.open()) return error("cannot start {}: {}", words[0], std::strerror(errno));
  std::fflush(nullptr);  // or both would print what waits
  const pid_t child = fork();
  if (child < 0) return error("cannot start {}: {}", words[0], std::strerror(errno));
  if (child == 0) {
    prepare();
    execvp(argv[0], argv.data());
    const int code = errno;
    const ssize_t written = write(failed.ends[1], &code, sizeof code);
    _exit(written == sizeof code ? 127 : 126);
  }
  failed.close_end(1);
  int code = 0;
  ssize_t got = 0;
  do got = read(failed.ends[0], &code, sizeof code);
  while (got < 0 && errno == EINTR);
  if (got != sizeof code) return child;
  wait_for_child(child);
  return error("cannot run {}: {}", words[0], std::strerror(code));
}

}  // namespace

ProcessEnd wait_for_child(pid_t child) {
  int status = 0;  // not const: macOS takes its address in the macros
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) return {-1, WTERMSIG(status)};
  return {WEXITSTATUS(status), 0};
}

Result<std::string> find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    if (is_program(name)) return name;
    return error("{}: {}", name, access(name.c_str(), F_OK) == 0 ? "is not a program that can be run" : "no such file");
  }
  const char* path = std::getenv("PATH");
  const std::string all = path != nullptr ? path : "";
  for (size_t at = 0; at <= all.size();) {
    const size_t end = std::min(all.find(':', at), all.size());
    const std::string candidate = (end > at ? all.substr(at, end - at) : ".") + "/" + name;
    if (!name.empty() && is_program(candidate)) return candidate;
    at = end + 1;
  }
  return error("{}: no such program in PATH; give its path", name.empty() ? "''" : name);
}

Result<ProcessOutput> run_process(const std::vector<std::string>& command, const std::atomic<bool>& cancel,
                                  const ProcessLimits& limits) {
  Pipe out, err;
  if (!out.open() || !err.open())
    return error("cannot start {}: {}", command.empty() ? "a program" : command[0], std::strerror(errno));
  SMEPILOT_ASSIGN(const pid_t child, spawn(command, [&] {
                    setpgid(0, 0);  // Ctrl-C on the terminal is for us: it decides what becomes of the program
                    signal(SIGINT, SIG_DFL);
                    signal(SIGTERM, SIG_DFL);
                    const int null = open("/dev/null", O_RDONLY);
                    if (null >= 0) dup2(null, STDIN_FILENO);
                    dup2(out.ends[1], STDOUT_FILENO);
                    dup2(err.ends[1], STDERR_FILENO);
                  }));
  for (Pipe* p : {&out, &err}) p->close_end(1);

  ProcessOutput result;
  bool too_much = false;
  const int64_t start_ns = now_ns();
  int64_t stop_ns = 0;  // when it was first asked to end; 0: not yet
  const auto since_s = [](int64_t then_ns) { return static_cast<double>(now_ns() - then_ns) * 1e-9; };
  const auto stop = [&] {
    kill(-child, SIGTERM);
    stop_ns = now_ns();
  };
  pollfd files[2] = {{out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}};
  while (files[0].fd >= 0 || files[1].fd >= 0) {
    if (poll(files, 2, kLookMs) < 0 && errno != EINTR) break;
    if (stop_ns == 0 && cancel.load()) {
      result.cancelled = true;
      stop();
    } else if (stop_ns == 0 && limits.timeout_s > 0 && since_s(start_ns) > limits.timeout_s) {
      result.timed_out = true;
      stop();
    } else if (stop_ns != 0 && since_s(stop_ns) > limits.grace_s) {
      kill(-child, SIGKILL);
      break;  // not for what left its group and still holds a pipe
    }
    for (pollfd& f : files) {
      if (f.fd < 0 || f.revents == 0) continue;
      char buffer[4096];
      const ssize_t size = read(f.fd, buffer, sizeof buffer);
      if (size < 0 && errno == EINTR) continue;
      if (size <= 0) {
        f.fd = -1;
        continue;
      }
      std::string& text = &f == files ? result.out : result.err;
      text.append(buffer, static_cast<size_t>(size));
      if (&f == files + 1 && text.size() > 2 * kKeptErr) text.erase(0, text.size() - kKeptErr);
      if (&f == files && text.size() > limits.max_output) {
        if (stop_ns == 0) stop();
        too_much = true;
        text.clear();
      }
    }
  }
  static_cast<ProcessEnd&>(result) = wait_for_child(child);
  if (too_much) return error("{}: prints more than {} bytes", command[0], limits.max_output);
  return result;
}

Result<ProcessEnd> run_attached(const std::vector<std::string>& command,
                                const std::vector<std::pair<std::string, std::string>>& variables) {
  SMEPILOT_ASSIGN(const pid_t child, spawn(command, [&] {
                    for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
                  }));
  return wait_for_child(child);
}

}  // namespace smepilot
