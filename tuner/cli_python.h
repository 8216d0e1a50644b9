// Starts the Python package of reports/, which writes what is easier there: reports, Parquet.
#pragma once
#include <string>
#include <vector>

#include "kernels/base/status.h"

namespace smepilot {

struct PythonEnd {
  std::string interpreter;
  int code = 0;    // exit code
  int signal = 0;  // that ended it
};

// `python -m module arguments…`, whose standard streams are ours. $SMEPILOT_PYTHON names another interpreter. Error:
// the package or the interpreter is missing.
Result<PythonEnd> run_python(const std::string& module, const std::vector<std::string>& arguments);

}  // namespace smepilot
