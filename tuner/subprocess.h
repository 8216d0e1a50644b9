// Runs another program and reads what it prints.
#pragma once
#include <atomic>
#include <string>
#include <vector>

#include "kernels/base/status.h"

namespace smepilot {

struct ProcessOutput {
  std::string out;         // standard output
  std::string err;         // the end of standard error
  int code = 0;            // exit code; -1: ended by a signal
  int signal = 0;          // that ended it
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

// The path of an executable file: as given, or for a name without a folder, in $PATH. Error: there is none.
Result<std::string> find_program(const std::string& name);

}  // namespace smepilot
