// A fast 64-bit checksum: finds accidental damage and tells contents apart at the speed of memory. Not for anything
// that must resist an attacker.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace smepilot {

// Of the bytes and their number. Any change within one aligned group of eight bytes changes the result.
uint64_t checksum(std::span<const std::byte> bytes, uint64_t seed = 0) noexcept;

template <typename T>
uint64_t checksum_of(std::span<const T> values, uint64_t seed = 0) noexcept {
  return checksum(std::as_bytes(values), seed);
}

}  // namespace smepilot
