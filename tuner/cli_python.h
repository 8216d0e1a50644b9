// Starts the Python package of reports/, which writes what is easier there: reports, Parquet.
#pragma once
#include <string>
#include <vector>

#include "kernels/base/status.h"
#include "tuner/subprocess.h"

namespace smepilot {

struct PythonEnd : ProcessEnd {
  std::string interpreter;
};

// `python -m module arguments…`, whose standard streams are ours. $SMEPILOT_PYTHON names another interpreter. Error:
// the package or the interpreter is missing.
Result<PythonEnd> run_python(const std::string& module, const std::vector<std::string>& arguments);

}  // namespace smepilot
