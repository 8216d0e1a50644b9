// Which build this is: printed by --version and stored with every database row.
#pragma once

namespace smepilot {

struct BuildInfo {
  const char* version;   // "0.1.0"
  const char* revision;  // git revision, "-dirty" appended where the tree differed
  const char* compiler;  // "GNU 12.2.0"
  const char* flags;     // "-O3 -DNDEBUG"
  const char* type;      // "Release"
};

const BuildInfo& build_info() noexcept;

}  // namespace smepilot
