// Runs something that may crash or hang (a kernel that this machine turns out not to support) in a child process.
#pragma once
#include <functional>

#include "tuner/evaluator.h"

namespace smepilot {

// What fn returns in a forked child; kCrashed with the signal's name if the child ended otherwise, kTimeout if it took
// longer than timeout_s. fn may allocate and compute, but must neither touch the database nor rely on threads of this
// process.
CheckResult run_guarded(const std::function<CheckResult()>& fn, double timeout_s);

}  // namespace smepilot
