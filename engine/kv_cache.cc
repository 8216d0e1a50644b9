#include "engine/kv_cache.h"

#include "kernels/base/integer.h"

namespace smepilot {

Result<KvCache> KvCache::allocate(uint32_t layers, uint32_t kv_heads, uint32_t head_dim, uint32_t capacity) {
  KvCache cache;
  cache.kv_heads_ = kv_heads;
  cache.head_dim_ = head_dim;
  cache.capacity_ = round_up(capacity, kPanel);
  const size_t bytes = size_t{layers} * kv_heads * head_dim * cache.capacity_ * sizeof(uint16_t);
  SMEPILOT_ASSIGN(cache.keys_, AlignedBuffer::allocate(bytes));
  SMEPILOT_ASSIGN(cache.values_, AlignedBuffer::allocate(bytes));
  return cache;
}

KvView KvCache::layer(uint32_t index) noexcept {
  const size_t at = size_t{index} * kv_heads_ * head_dim_ * capacity_;
  return {keys_.as<uint16_t>() + at, values_.as<uint16_t>() + at, capacity_, kv_heads_, head_dim_};
}

}  // namespace smepilot
