#include "kernels/base/checksum.h"

#include <bit>
#include <cstring>

namespace smepilot {
namespace {

constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio

// Each step is a bijection of the state, so one changed word cannot be lost; the rotation brings the high bits down to
// where the multiplication spreads them again.
inline uint64_t mix(uint64_t state, uint64_t word) noexcept {
  return std::rotl(state ^ word, 29) * kOdd;
}

inline uint64_t finish(uint64_t h) noexcept {
  h = (h ^ (h >> 32)) * kOdd;
  h = (h ^ (h >> 29)) * kOdd;
  return h ^ (h >> 32);
}

}  // namespace

uint64_t checksum(std::span<const std::byte> bytes, uint64_t seed) noexcept {
  constexpr size_t kLanes = 8;  // as many independent multiplications as a core keeps in flight
  uint64_t lane[kLanes];
  for (size_t i = 0; i < kLanes; ++i) lane[i] = finish(seed + (i + 1) * kOdd);
  const std::byte* at = bytes.data();
  size_t left = bytes.size();
  constexpr size_t kStripe = kLanes * sizeof(uint64_t);
  for (; left >= kStripe; at += kStripe, left -= kStripe) {
    uint64_t word[kLanes];
    std::memcpy(word, at, sizeof word);
    for (size_t i = 0; i < kLanes; ++i) lane[i] = mix(lane[i], word[i]);
  }
  uint64_t tail[kLanes] = {};
  if (left != 0) std::memcpy(tail, at, left);
  uint64_t h = finish(bytes.size());
  for (size_t i = 0; i < kLanes; ++i) h = mix(h, finish(mix(lane[i], tail[i])));
  return finish(h);
}

}  // namespace smepilot
