#include "tests/kernels/support/guarded_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace smepilot::test {
namespace {
constexpr uint8_t kCanary = 0xa5;

void require(bool ok, const char* what) {
  if (ok) return;
  std::perror(what);
  std::abort();
}
}  // namespace

GuardedBuffer::GuardedBuffer(size_t bytes, size_t alignment, Edge edge)
    : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))), size_(bytes) {
  const size_t inner = std::max<size_t>(1, (bytes + alignment - 1 + page_ - 1) / page_) * page_;
  mapping_bytes_ = inner + 2 * page_;
  void* mapping = mmap(nullptr, mapping_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(mapping != MAP_FAILED, "mmap");
  mapping_ = static_cast<uint8_t*>(mapping);
  uint8_t* const begin = mapping_ + page_;
  require(mprotect(begin, inner, PROT_READ | PROT_WRITE) == 0, "mprotect");
  data_ = edge == Edge::kBegin ? begin : begin + (inner - bytes) / alignment * alignment;
  std::memset(begin, kCanary, inner);
  std::memset(data_, 0xff, bytes);
}

GuardedBuffer::~GuardedBuffer() {
  munmap(mapping_, mapping_bytes_);
}

bool GuardedBuffer::intact() const noexcept {
  const auto untouched = [](const uint8_t* from, const uint8_t* to) {
    return std::all_of(from, to, [](uint8_t b) { return b == kCanary; });
  };
  return untouched(mapping_ + page_, data_) && untouched(data_ + size_, mapping_ + mapping_bytes_ - page_);
}

void GuardedBuffer::protect_contents() noexcept {
  require(mprotect(mapping_ + page_, mapping_bytes_ - 2 * page_, PROT_READ) == 0, "mprotect");
}

}  // namespace smepilot::test
