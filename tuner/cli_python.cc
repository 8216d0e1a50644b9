#include "tuner/cli_python.h"

#include <cstdlib>
#include <filesystem>

#include "profiles/data_dir.h"

namespace smepilot {
namespace {

constexpr const char* kPackage = "smepilot_report";

// The folder that holds the package.
Result<std::string> package_folder() {
  std::vector<std::string> tried;
  const auto add = [&](const std::string& folder) {
    tried.push_back(folder);
    tried.push_back(folder + "/reports");
  };
  for (const std::string& d : data_dirs()) add(d);
  if (std::getenv("SMEPILOT_DATA_DIR") == nullptr) tried.push_back(SMEPILOT_SOURCE_REPORTS_DIR);
  std::string all;
  for (const std::string& folder : tried) {
    std::error_code ec;
    if (std::filesystem::exists(folder + "/" + kPackage + "/__main__.py", ec)) return folder;
    all += "\n  " + folder;
  }
  return error(
      "the report generator (Python package {}) is in none of these folders; SMEPILOT_DATA_DIR names another:{}",
      kPackage, all);
}

std::string interpreter() {
  const char* env = std::getenv("SMEPILOT_PYTHON");
  if (env != nullptr && *env != '\0') return env;
  std::error_code ec;
  const std::string built_in = SMEPILOT_PYTHON_EXECUTABLE;
  return !built_in.empty() && std::filesystem::exists(built_in, ec) ? built_in : "python3";
}

}  // namespace

Result<PythonEnd> run_python(const std::string& module, const std::vector<std::string>& arguments) {
  SMEPILOT_ASSIGN(const std::string folder, package_folder());
  PythonEnd end;
  end.interpreter = interpreter();
  std::vector<std::string> command = {end.interpreter, "-m", module};
  command.insert(command.end(), arguments.begin(), arguments.end());
  const char* old = std::getenv("PYTHONPATH");
  const std::string path = old != nullptr && *old != '\0' ? folder + ":" + old : folder;
  const Result<ProcessEnd> ended = run_attached(command, {{"PYTHONPATH", path}});
  if (!ended.ok()) return error("{}; SMEPILOT_PYTHON names another interpreter", ended.message());
  static_cast<ProcessEnd&>(end) = *ended;
  return end;
}

}  // namespace smepilot
