#include "engine/kv_cache.h"

#include "kernels/base/check.h"
#include "kernels/base/integer.h"
#include "kernels/pack/pack_kv.h"

namespace smepilot {

Result<KvCache> KvCache::allocate(uint32_t layers, uint32_t kv_heads, uint32_t head_dim, uint32_t capacity,
                                  DType dtype) {
  if (!kv_dtype_fits(dtype, head_dim))
    return error("a {} KV cache cannot hold heads of {} elements: {}", traits(dtype).name, head_dim,
                 dtype == DType::kQ8_0  ? "q8_0 needs a multiple of 32 up to 512, use f16"
                 : dtype == DType::kF16 ? "f16 needs a multiple of 4"
                                        : "f16 and q8_0 are possible");
  KvCache cache;
  cache.dtype_ = dtype;
  cache.layers_ = layers;
  cache.kv_heads_ = kv_heads;
  cache.head_dim_ = head_dim;
  cache.capacity_ = round_up(capacity, kPanel);
  const size_t bytes = size_t{layers} * kv_heads * kv_bytes(dtype, cache.capacity_, head_dim);
  SMEPILOT_ASSIGN(cache.keys_, AlignedBuffer::allocate(bytes));
  SMEPILOT_ASSIGN(cache.values_, AlignedBuffer::allocate(bytes));
  return cache;
}

Result<KvCache> KvCache::fork(std::shared_ptr<const KvCache> prefix, uint32_t capacity) {
  if (prefix->prefix_ != nullptr) return error("a KV cache that continues a shared prefix cannot be a prefix itself");
  SMEPILOT_ASSIGN(KvCache cache,
                  allocate(prefix->layers_, prefix->kv_heads_, prefix->head_dim_, capacity, prefix->dtype_));
  cache.prefix_length_ = cache.length_ = prefix->length_;
  cache.prefix_ = std::move(prefix);
  return cache;
}

KvView KvCache::layer(uint32_t index) const noexcept {
  KvView view;
  view.dtype = dtype_;
  view.capacity = capacity_;
  view.kv_heads = kv_heads_;
  view.head_dim = head_dim_;
  const size_t at = size_t{index} * kv_heads_ * view.head_bytes();
  // Of a shared prefix too, which attention() only reads.
  view.k = const_cast<std::byte*>(keys_.data()) + at;
  view.v = const_cast<std::byte*>(values_.data()) + at;
  return view;
}

AttentionSequence KvCache::sequence(uint32_t layer_index, uint32_t m) noexcept {
  AttentionSequence s;
  s.own = layer(layer_index);
  if (prefix_length_ != 0) s.shared = prefix_->layer(layer_index);
  s.shared_length = prefix_length_;
  s.length = length_ - prefix_length_;
  s.m = m;
  return s;
}

void KvCache::set_length(uint32_t length) noexcept {
  SMEPILOT_DCHECK(length >= prefix_length_ && length <= capacity());
  length_ = length;
}

}  // namespace smepilot
