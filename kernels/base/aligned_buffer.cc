#include "kernels/base/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdlib>

#include "kernels/base/integer.h"
#include "kernels/base/os.h"

namespace smepilot {
namespace {

constexpr size_t kHuge = AlignedBuffer::kHugePage;

bool is_mapped(size_t bytes) noexcept {
  return bytes >= kHuge;
}

// `bytes`, a multiple of kHuge, of zeroed pages that begin at one. nullptr: there are none.
std::byte* map_pages(size_t bytes) noexcept {
  const size_t reserved = bytes + kHuge;
  void* const mapping = ::mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  auto* const begin = static_cast<std::byte*>(mapping);
  const size_t skip = (kHuge - reinterpret_cast<uintptr_t>(begin) % kHuge) % kHuge;
  if (skip > 0) ::munmap(begin, skip);
  ::munmap(begin + skip + bytes, reserved - skip - bytes);
  prefer_pages(begin + skip, bytes, PageSize::kHuge);
  return begin + skip;
}

}  // namespace

AlignedBuffer::~AlignedBuffer() {
  if (data_ == nullptr) return;
  if (is_mapped(size_))
    ::munmap(data_, round_up(size_, kHuge));
  else
    std::free(data_);
}

Result<AlignedBuffer> AlignedBuffer::allocate_uninitialized(size_t bytes) {
  if (bytes > SIZE_MAX - 2 * kHuge) return error("out of memory: {} bytes asked for", bytes);
  AlignedBuffer buffer;
  if (is_mapped(bytes))
    buffer.data_ = map_pages(round_up(bytes, kHuge));
  else
    buffer.data_ =
        static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes == 0 ? kAlignment : round_up(bytes, kAlignment)));
  if (buffer.data_ == nullptr) return error("out of memory: {} bytes asked for", bytes);
  buffer.size_ = bytes;
  return buffer;
}

Result<AlignedBuffer> AlignedBuffer::allocate(size_t bytes) {
  Result<AlignedBuffer> buffer = allocate_uninitialized(bytes);
  if (buffer.ok()) std::memset(buffer->data(), 0, bytes);
  return buffer;
}

}  // namespace smepilot
