// Keys and values of one sequence, all layers, f16, in the layouts that attention kernels read (kernels/abi/layout.h).
#pragma once
#include <cstdint>

#include "kernels/base/aligned_buffer.h"
#include "kernels/driver/operators.h"

namespace smepilot {

class KvCache {
 public:
  // Room for `capacity` positions (rounded up to a panel of 16). Error if the memory cannot be had.
  static Result<KvCache> allocate(uint32_t layers, uint32_t kv_heads, uint32_t head_dim, uint32_t capacity);

  KvView layer(uint32_t index) noexcept;
  uint32_t capacity() const noexcept { return capacity_; }
  size_t bytes() const noexcept { return keys_.size() + values_.size(); }

  // Positions that hold tokens. Truncating is how a prompt prefix is reused.
  uint32_t length() const noexcept { return length_; }
  void set_length(uint32_t length) noexcept { length_ = length; }

 private:
  AlignedBuffer keys_, values_;
  uint32_t kv_heads_ = 0, head_dim_ = 0, capacity_ = 0, length_ = 0;
};

}  // namespace smepilot
