// Keys and values of one sequence, all layers, in the layouts that attention kernels read (kernels/abi/layout.h). A
// cache may continue a prefix that other sequences share: the prefix's positions come first and are only read.
#pragma once
#include <cstdint>
#include <memory>

#include "kernels/base/aligned_buffer.h"
#include "kernels/base/status.h"
#include "kernels/driver/attention.h"

namespace smepilot {

class KvCache {
 public:
  // Room for `capacity` positions (rounded up to a panel of 16). dtype: kF16 or kQ8_0. Error if the memory cannot be
  // had, or the type cannot hold heads of this size (Q8_0 wants a multiple of 32).
  static Result<KvCache> allocate(uint32_t layers, uint32_t kv_heads, uint32_t head_dim, uint32_t capacity,
                                  DType dtype = DType::kF16);

  // A sequence that continues `prefix`, as it is now, with room for `capacity` further positions. The prefix must not
  // change any more, and must not continue another one itself (an error).
  static Result<KvCache> fork(std::shared_ptr<const KvCache> prefix, uint32_t capacity);

  // What attention() of one layer is given for m new positions behind length().
  AttentionSequence sequence(uint32_t layer, uint32_t m) noexcept;

  DType dtype() const noexcept { return dtype_; }
  size_t bytes() const noexcept { return keys_.size() + values_.size(); }  // without the prefix

  // Positions, the prefix's included: how many there is room for, how many hold tokens.
  uint32_t capacity() const noexcept { return prefix_length_ + capacity_; }
  uint32_t length() const noexcept { return length_; }
  uint32_t prefix_length() const noexcept { return prefix_length_; }
  // Truncating is how a prompt prefix is reused; not into a shared prefix.
  void set_length(uint32_t length) noexcept;

 private:
  KvView layer(uint32_t index) const noexcept;

  AlignedBuffer keys_, values_;
  std::shared_ptr<const KvCache> prefix_;
  DType dtype_ = DType::kF16;
  uint32_t layers_ = 0, kv_heads_ = 0, head_dim_ = 0;
  uint32_t capacity_ = 0;  // of this cache alone
  uint32_t prefix_length_ = 0, length_ = 0;
};

}  // namespace smepilot
