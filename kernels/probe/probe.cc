#include "kernels/probe/probe.h"

namespace smepilot {

#define SMEPILOT_PROBE(symbol) extern const Probe symbol;
#include "kernels/probe/probes.inc"
#undef SMEPILOT_PROBE

std::span<const Probe* const> all_probes() noexcept {
  static const Probe* const kProbes[] = {
#define SMEPILOT_PROBE(symbol) &symbol,
#include "kernels/probe/probes.inc"
#undef SMEPILOT_PROBE
  };
  return kProbes;
}

}  // namespace smepilot
