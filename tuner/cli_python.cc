#include "tuner/cli_python.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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
  std::vector<std::string> args = {end.interpreter, "-m", module};
  args.insert(args.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& a : args) argv.push_back(a.data());
  argv.push_back(nullptr);
  const char* old = std::getenv("PYTHONPATH");
  const std::string path = old != nullptr && *old != '\0' ? folder + ":" + old : folder;

  int failed[2];  // carries errno if the interpreter cannot be executed, and is closed if it is
  if (pipe(failed) != 0) return error("cannot start {}: {}", end.interpreter, std::strerror(errno));
  fcntl(failed[1], F_SETFD, FD_CLOEXEC);
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    close(failed[0]);
    setenv("PYTHONPATH", path.c_str(), 1);
    execvp(argv[0], argv.data());
    const int code = errno;
    const ssize_t written = write(failed[1], &code, sizeof code);
    _exit(written == sizeof code ? 127 : 126);
  }
  const int fork_code = errno;
  close(failed[1]);
  int code = 0, status = 0;
  const bool no_program = child > 0 && read(failed[0], &code, sizeof code) == sizeof code;
  close(failed[0]);
  if (child < 0) return error("cannot start {}: {}", end.interpreter, std::strerror(fork_code));
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (no_program)
    return error("cannot run {}: {}; SMEPILOT_PYTHON names another interpreter", end.interpreter, std::strerror(code));
  if (WIFSIGNALED(status))
    end.signal = WTERMSIG(status);
  else
    end.code = WEXITSTATUS(status);
  return end;
}

}  // namespace smepilot
