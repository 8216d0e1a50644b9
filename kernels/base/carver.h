// Hands out 64-byte aligned pieces of a buffer, or only adds up what is wanted while there is no buffer yet: the
// activations of a forward pass, and those of an operator that is timed alone, lie in one buffer that huge pages back.
// So where they lie to one another, which decides what they displace in a cache, is the same in every process.
#pragma once
#include <algorithm>
#include <cstddef>

namespace smepilot {

class Carver {
 public:
  explicit Carver(std::byte* base) : base_(base) {}
  template <typename T>
  void take(T** out, size_t count) {
    if (base_ != nullptr) *out = reinterpret_cast<T*>(base_ + used_);
    used_ += (count * sizeof(T) + 127) / 64 * 64;
  }
  size_t used() const noexcept { return used_; }

  // The same memory for pieces that are never in use at the same time: each call takes its own, from the same place on.
  template <typename... Take>
  void take_one_of(const Take&... take) {
    const size_t begin = used_;
    size_t end = begin;
    const auto one = [&](const auto& call) {
      used_ = begin;
      call();
      end = std::max(end, used_);
    };
    (one(take), ...);
    used_ = end;
  }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

}  // namespace smepilot
