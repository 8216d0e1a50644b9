#include "kernels/base/build_info.h"

#include "kernels/base/build_info.inc"  // generated

namespace smepilot {

const BuildInfo& build_info() noexcept {
  static const BuildInfo kInfo = {SMEPILOT_VERSION, SMEPILOT_REVISION, SMEPILOT_COMPILER, SMEPILOT_BUILD_FLAGS,
                                  SMEPILOT_BUILD_TYPE};
  return kInfo;
}

}  // namespace smepilot
