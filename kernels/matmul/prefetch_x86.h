// What matmul kernels for x86 ask for before they need it. Internal linkage: each translation unit gets its own copy,
// compiled with its flags.
#pragma once
#include <immintrin.h>

#include "kernels/abi/compiler.h"

namespace smepilot {
namespace {

SMEPILOT_INLINE void fetch_later(const uint8_t* p) noexcept {  // into the second-level cache
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
}

// Where rows of sums will go, to be asked for a row with each block: stores need not wait for it then, and weights not
// for all of it at once. (Measured on Zen 4, 8192 columns, VNNI: q4_0 at 76 instead of 70 % of the peak, q6_k with all
// at once 68 instead of 71.) Into the second level, as rows that are a multiple of 4 KiB apart share one set of the
// first.
class RowsAhead {
 public:
  RowsAhead(const float* dst, size_t stride, uint32_t rows) noexcept
      : to_(dst), stride_(stride), last_(dst + (rows - 1) * stride) {}
  SMEPILOT_INLINE void fetch_row() noexcept {
    fetch_later(reinterpret_cast<const uint8_t*>(to_));
    to_ = to_ < last_ ? to_ + stride_ : last_;
  }

 private:
  const float* to_;
  size_t stride_;
  const float* last_;
};

}  // namespace
}  // namespace smepilot
