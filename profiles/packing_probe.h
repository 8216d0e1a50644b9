// What calibration times to learn how fast this build packs: a block of weights from the file's format, and rows of
// activations into the form that quantised matmuls read. Both fit a core's caches.
#pragma once
#include <cstdint>

#include "kernels/base/aligned_buffer.h"
#include "kernels/base/status.h"
#include "kernels/driver/operators.h"

namespace smepilot {

class PackingProbe {
 public:
  // Error: no memory, or no quantize kernel of this build runs here.
  static Result<PackingProbe> make();

  // On the calling thread, `repeat` times.
  void pack_weights(uint64_t repeat) noexcept;
  void pack_activations(uint64_t repeat) noexcept;

  double weight_bytes() const noexcept;      // of q4_0 as a file holds it, read each time
  double activation_bytes() const noexcept;  // of f32 rows read and of the form written, each time

 private:
  PackingProbe() = default;
  ElementwiseConfig elementwise_;
  AlignedBuffer file_, weights_, rows_, form_;
};

}  // namespace smepilot
