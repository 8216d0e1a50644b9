// What running a model takes, against what there is: so that a run that cannot fit is refused with the numbers, before
// the machine swaps or the system ends the process.
#pragma once
#include <cstdint>
#include <string>

#include "kernels/abi/dtype.h"
#include "kernels/abi/layout.h"
#include "kernels/base/status.h"
#include "profiles/memory.h"
#include "profiles/model_file.h"

namespace smepilot {

struct MemoryRequest {
  uint64_t weight_bytes = 0;  // packed
  uint32_t context = 0;       // positions of a sequence
  uint32_t sequences = 1;
  uint32_t rows = 512;  // of a forward pass
  unsigned workers = 1;
  DType kv_type = DType::kF16;
  Layout packed = kLhsQ8Layout;  // the largest form in which matmuls read activations; kRowMajor: none
};

struct MemoryNeed {
  uint64_t weights = 0, kv_cache = 0, scratch = 0, logits = 0;
  uint64_t total() const noexcept { return weights + kv_cache + scratch + logits; }
};
MemoryNeed memory_need(const HyperParameters& hp, const MemoryRequest& request);

// Error: more is needed than available; names the parts, and what would make it fit. Weights count in full, whether
// they lie in memory or are mapped from the cache: a model larger than memory would be read from the disk again for
// every token.
Status check_memory(const HyperParameters& hp, const MemoryRequest& request, const AvailableMemory& available);

}  // namespace smepilot
