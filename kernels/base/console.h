// What every command-line program of the project does alike: exit codes, Ctrl-C, checked output.
#pragma once
#include <atomic>
#include <string>

#include "kernels/base/status.h"

namespace smepilot {

inline constexpr int kExitOk = 0, kExitFailed = 1, kExitUsage = 2, kExitInterrupted = 130;

// From the first call on, Ctrl-C and SIGTERM set the flag instead of ending the program; a second one while the flag is
// set ends it.
std::atomic<bool>& catch_interrupts();

// Standard output, checked: a full disk or a closed pipe is an error.
Status print_out(const std::string& text);

// "PROGRAM: MESSAGE" on standard error after what standard output still holds; returns kExitFailed.
int print_error(const char* program, const Status& status);

}  // namespace smepilot
