#include "kernels/registry/version.h"

#include "kernels/base/build_info.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"

namespace smepilot {

std::string version_text(const std::string& program) {
  const BuildInfo& b = build_info();
  std::string s = fmt::format("{} {} ({})\n  built by {}, {}, flags: {}\n", program, b.version, b.revision, b.compiler,
                              b.type, b.flags);
  s += fmt::format("  this machine can run: {}\n", isa_to_string(detect_isa()));
  const Result<IsaSet> usable = usable_isa();
  if (!usable.ok())
    s += fmt::format("  SMEPILOT_FORCE_ISA: {}\n", usable.message());
  else if (*usable != detect_isa())
    s += fmt::format("  restricted by SMEPILOT_FORCE_ISA to: {}\n", isa_to_string(*usable));
  std::string unbuilt;
  for (const char* isa : unbuilt_isas()) unbuilt += (unbuilt.empty() ? "" : ", ") + std::string(isa);
  s += fmt::format("  steps this compiler could not build: {}\n", unbuilt.empty() ? "none" : unbuilt);
  s += fmt::format("  {} kernel variants", all_variants().size());
  return s;
}

}  // namespace smepilot
