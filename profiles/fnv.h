// FNV-1a, 64 bit: the hash that fingerprints are made of. Not for anything that must resist an attacker.
#pragma once
#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace smepilot {

class Fnv {
 public:
  // Adds a field; fields are separated, so ("ab", "c") and ("a", "bc") differ.
  void add(std::string_view field) noexcept {
    for (const char c : field) mix(static_cast<unsigned char>(c));
    mix('\n');
  }
  void add(uint64_t value) noexcept {
    for (int i = 0; i < 8; ++i) mix(static_cast<unsigned char>(value >> (8 * i)));
  }
  std::string hex() const { return fmt::format("{:016x}", h_); }

 private:
  void mix(unsigned char byte) noexcept { h_ = (h_ ^ byte) * 0x100000001b3ull; }
  uint64_t h_ = 0xcbf29ce484222325ull;
};

}  // namespace smepilot
