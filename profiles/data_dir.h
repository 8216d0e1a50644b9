// Where the data files that belong to the program (model profiles) are at run time.
#pragma once
#include <string>
#include <vector>

namespace smepilot {

// Folders that may hold `models/`, most preferred first: $SMEPILOT_DATA_DIR alone if that is set; else
// ../share/smepilot beside the executable's folder, the configured install prefix, the source tree.
std::vector<std::string> data_dirs();

}  // namespace smepilot
