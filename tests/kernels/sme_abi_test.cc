// kernels/isa/sme_abi.cc, which few builds need: what it stores of ZA, and that it stores nothing where nothing is
// asked.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/isa/isa_detect.h"

extern "C" void __arm_tpidr2_save();

namespace smepilot {
namespace {

constexpr uint8_t kUntouched = 0xee;

uint64_t vector_bytes() {
  uint64_t bytes;
  __asm__(".arch_extension sme\n rdsvl %0, #1" : "=r"(bytes));
  return bytes;
}

// Fills ZA from `za`, calls the routine with this block (or without any), and turns ZA off.
void save(const uint8_t* za, uint64_t slices, const void* block) {
  __asm__ volatile(
      ".arch_extension sme\n"
      "smstart za\n"
      "mov x12, xzr\n"
      "mov x9, %0\n"
      "1: ldr za[w12, 0], [x9]\n"
      "add x9, x9, %1\n"
      "add x12, x12, #1\n"
      "cmp x12, %1\n"
      "b.ne 1b\n"
      "msr TPIDR2_EL0, %2\n"
      "blr %3\n"
      "msr TPIDR2_EL0, xzr\n"
      "smstop za\n"
      :
      : "r"(za), "r"(slices), "r"(block), "r"(&__arm_tpidr2_save)
      : "x9", "x12", "x14", "x15", "x16", "x17", "x30", "memory", "cc");
}

TEST(SmeAbi, SavesTheSlicesThatTheBlockNames) {
  if ((detect_isa() & kIsaSme) == 0) GTEST_SKIP() << "this machine has no SME";
  const uint64_t slices = vector_bytes(), bytes = slices * slices;
  std::vector<uint8_t> za(bytes);
  for (uint64_t i = 0; i < bytes; ++i) za[i] = static_cast<uint8_t>(i * 7 + i / slices);
  for (const uint64_t asked : {uint64_t{0}, uint64_t{1}, slices - 3, slices}) {
    std::vector<uint8_t> saved(bytes, kUntouched);
    alignas(16) uint8_t block[16] = {};
    const uint8_t* to = saved.data();
    const auto count = static_cast<uint16_t>(asked);
    std::memcpy(block, &to, sizeof to);
    std::memcpy(block + 8, &count, sizeof count);
    save(za.data(), slices, block);
    const auto end = saved.begin() + static_cast<std::ptrdiff_t>(asked * slices);
    EXPECT_TRUE(std::equal(saved.begin(), end, za.begin())) << asked;
    EXPECT_TRUE(std::all_of(end, saved.end(), [](uint8_t v) { return v == kUntouched; })) << asked;
  }
  save(za.data(), slices, nullptr);
}

}  // namespace
}  // namespace smepilot
