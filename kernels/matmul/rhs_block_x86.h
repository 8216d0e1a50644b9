// Where a block of quantised weights lies in a panel that is cut into groups, see RhsPlanes in kernels/abi/layout.h:
// what the kernels for x86 share. Internal linkage: each translation unit gets its own copy, compiled with its flags.
#pragma once
#include "kernels/abi/compiler.h"
#include "kernels/matmul/rhs_types.h"

namespace smepilot {
namespace {

// All of a block (32 k of 16 columns), and the way to the next one. All offsets are constants.
template <DType D>
struct RhsBlock {
  static_assert(kRhsGroups && kQuantBytes<D> != 0);
  static constexpr RhsPlanes kAt = rhs_planes(D, 16 * kQ8Block);  // in a group, the same for any k
  static constexpr size_t kBlocks = kAt.group_blocks, kScales = kAt.quants - kHighBytes<D>;

  const uint8_t* group;
  const uint8_t* high;  // bits, and behind them the quants
  size_t in_group;      // which block of the group

  SMEPILOT_INLINE RhsBlock(const uint8_t* panel, size_t kb) noexcept
      : group(panel + kb / kBlocks * kAt.group_bytes),
        high(group + kScales + kb % kBlocks * kAt.quants_step),
        in_group(kb % kBlocks) {}
  SMEPILOT_INLINE const uint8_t* quants() const noexcept { return high + kHighBytes<D>; }
  SMEPILOT_INLINE const uint8_t* scale() const noexcept { return group + kAt.scale + in_group * kScaleBytes<D>; }
  SMEPILOT_INLINE const uint8_t* min() const noexcept { return group + kAt.min + in_group * kScaleBytes<D>; }
  SMEPILOT_INLINE const uint8_t* scale_high() const noexcept { return group + kAt.scale_high + in_group / 2 * 16; }
  SMEPILOT_INLINE const uint8_t* super() const noexcept { return group + kAt.super + super_block() * 32; }
  SMEPILOT_INLINE const uint8_t* super_min() const noexcept { return group + kAt.super_min + super_block() * 32; }
  SMEPILOT_INLINE RhsBlock of_panel(size_t bytes) const noexcept {  // the same block of a panel that lies further on
    RhsBlock b = *this;
    b.group += bytes;
    b.high += bytes;
    return b;
  }
  // The hardware's prefetchers follow lines that are first touched in their order: for kernels that come to quants
  // before high bits, or to the scales of a long group one by one.
  SMEPILOT_INLINE void fetch_scales() const noexcept {
    SMEPILOT_UNROLL
    for (size_t line = 0; line < kScales; line += 64) __builtin_prefetch(group + line);
  }
  SMEPILOT_INLINE void fetch_high() const noexcept {
    SMEPILOT_UNROLL
    for (size_t line = 0; line < kHighBytes<D>; line += 64) __builtin_prefetch(high + line);
  }
  SMEPILOT_INLINE void advance() noexcept {
    high += kAt.quants_step;
    if (++in_group < kBlocks) return;
    group = high;  // groups follow each other
    high += kScales;
    in_group = 0;
  }

 private:
  SMEPILOT_INLINE size_t super_block() const noexcept { return kBlocks > 8 ? in_group / 8 : 0; }
};

}  // namespace
}  // namespace smepilot
