// What --version prints.
#pragma once
#include <string>

namespace smepilot {

// Program, version and revision; compiler and flags; the ISA steps of this machine and of this build; how many kernel
// variants there are. Lines, the last without a newline.
std::string version_text(const std::string& program);

}  // namespace smepilot
