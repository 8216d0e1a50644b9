// Runs another program and reads what it prints.
#pragma once
#include <sys/types.h>

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "kernels/base/status.h"

namespace smepilot {

// How a program ended.
struct ProcessEnd {
  int code = 0;    // exit code; -1: ended by a signal
  int signal = 0;  // that ended it
};

struct ProcessOutput : ProcessEnd {
  std::string out;         // standard output
  std::string err;         // the end of standard error
  bool cancelled = false;  // it was asked to end because `cancel` was set
  bool timed_out = false;  // … because its time was over
};

struct ProcessLimits {
  double timeout_s = 0;  // 0: none
  double grace_s = 3;    // between SIGTERM and SIGKILL
  size_t max_output = size_t{16} << 20;
};

// Waits for the program, whose path is `command[0]`. Once `cancel` is set or its time is over, the program and those
// that it started get SIGTERM, and SIGKILL if that does not end them. Error: it cannot be started, or prints more than
// `max_output` bytes.
Result<ProcessOutput> run_process(const std::vector<std::string>& command, const std::atomic<bool>& cancel,
                                  const ProcessLimits& limits = {});

// Waits for the program, a path or a name in $PATH, whose standard streams, terminal and signals are ours; `variables`
// join its environment. Error: it cannot be started.
Result<ProcessEnd> run_attached(const std::vector<std::string>& command,
                                const std::vector<std::pair<std::string, std::string>>& variables = {});

// Waits for a process that this one made.
ProcessEnd wait_for_child(pid_t child);

// The path of an executable file: as given, or for a name without a folder, in $PATH. Error: there is none.
Result<std::string> find_program(const std::string& name);

}  // namespace smepilot
