// Owned, 64-byte aligned memory that can fail politely: weights, caches and scratch live in it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/base/status.h"

namespace smepilot {

class AlignedBuffer {
 public:
  static constexpr size_t kAlignment = 64;
  static constexpr size_t kHugePage = size_t{2} << 20;

  AlignedBuffer() = default;
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer();

  // `bytes` zeroed bytes. Buffers of kHugePage bytes and more are pages of their own, aligned so that the system may
  // back them with huge ones, and fresh ones: what the heap has used before stays in small pages, scattered over
  // memory.
  static Result<AlignedBuffer> allocate(size_t bytes);
  // The same, unspecified bytes: for what is written before it is read, by the workers that will use it.
  static Result<AlignedBuffer> allocate_uninitialized(size_t bytes);

  std::byte* data() noexcept { return data_; }
  const std::byte* data() const noexcept { return data_; }
  size_t size() const noexcept { return size_; }
  template <typename T>
  T* as() noexcept {
    return reinterpret_cast<T*>(data_);
  }
  template <typename T>
  const T* as() const noexcept {
    return reinterpret_cast<const T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace smepilot
