// Memory whose neighbouring pages cannot be touched: a kernel that reads or writes past its operand faults, and one
// that writes into the few bytes between operand and page is found by intact().
#pragma once
#include <cstddef>
#include <cstdint>

namespace smepilot::test {

// Which side of the data lies directly against an inaccessible page. Both sides have one; on the other side up to a
// page of canary bytes lies between.
enum class Edge { kEnd, kBegin };

class GuardedBuffer {
 public:
  // `bytes` bytes aligned to `alignment` (a power of two, at most a page). With Edge::kEnd and a size that is no
  // multiple of the alignment, fewer than `alignment` canary bytes lie between the data and the page. The data is
  // filled with 0xff, which is NaN in every float type.
  GuardedBuffer(size_t bytes, size_t alignment, Edge edge);
  ~GuardedBuffer();
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  template <typename T>
  T* as() noexcept {
    return reinterpret_cast<T*>(data_);
  }
  size_t size() const noexcept { return size_; }

  // Whether no canary byte has changed.
  bool intact() const noexcept;

  // Makes the data itself read-only, for operands that a kernel only reads.
  void protect_contents() noexcept;

 private:
  uint8_t* mapping_ = nullptr;
  size_t mapping_bytes_ = 0, page_ = 0;
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace smepilot::test
