#include "profiles/data_dir.h"

#include <cstdlib>
#include <filesystem>

#include "kernels/base/os.h"

namespace smepilot {

std::vector<std::string> data_dirs() {
  if (const char* dir = std::getenv("SMEPILOT_DATA_DIR"); dir != nullptr && *dir != '\0') return {dir};
  std::vector<std::string> dirs;
  const std::filesystem::path self = program_path();
  if (!self.empty()) dirs.push_back((self.parent_path().parent_path() / "share" / "smepilot").string());
  dirs.emplace_back(SMEPILOT_INSTALL_DATA_DIR);
  dirs.emplace_back(SMEPILOT_SOURCE_DATA_DIR);
  return dirs;
}

}  // namespace smepilot
