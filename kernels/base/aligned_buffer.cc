#include "kernels/base/aligned_buffer.h"

#include "kernels/base/os.h"

namespace smepilot {

Result<AlignedBuffer> AlignedBuffer::allocate_uninitialized(size_t bytes) {
  constexpr size_t kHuge = size_t{2} << 20;
  const size_t alignment = bytes >= kHuge ? kHuge : kAlignment;
  if (bytes > SIZE_MAX - alignment) return error("out of memory: {} bytes asked for", bytes);
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  AlignedBuffer buffer;
  buffer.data_ = static_cast<std::byte*>(std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded));
  if (buffer.data_ == nullptr) return error("out of memory: {} bytes asked for", bytes);
  if (rounded >= kHuge) prefer_pages(buffer.data_, rounded, PageSize::kHuge);
  buffer.size_ = bytes;
  return buffer;
}

Result<AlignedBuffer> AlignedBuffer::allocate(size_t bytes) {
  Result<AlignedBuffer> buffer = allocate_uninitialized(bytes);
  if (buffer.ok()) std::memset(buffer->data(), 0, bytes);
  return buffer;
}

}  // namespace smepilot
