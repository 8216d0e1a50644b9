// Makes valid weights and activations for tests, benchmarks and searches: quantised from f32, or random. Simple and
// deterministic; not the best possible quantisation.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/abi/layout.h"

namespace smepilot::reference {

// SplitMix64: the same sequence on every machine and library.
class Random {
 public:
  explicit Random(uint64_t seed) noexcept : state_(seed) {}
  uint64_t bits() noexcept {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  // Uniform in [low, high).
  float uniform(float low, float high) noexcept {
    return low + (high - low) * (static_cast<float>(bits() >> 40) * 0x1p-24f);
  }
  void fill_uniform(float* out, size_t count, float low, float high) noexcept {
    for (size_t i = 0; i < count; ++i) out[i] = uniform(low, high);
  }

 private:
  uint64_t state_;
};

// x[k] (k a multiple of the block) to file_bytes(type, k) bytes as a GGUF file stores them.
void quantize_row(DType type, const float* x, size_t k, void* row);

// A row of k random weights, with every quant, scale and sign in use and values of about [-1, 1].
void random_row(DType type, Random& random, size_t k, void* row);

// x[m][k], rows x_stride floats apart, to one of the quantised layouts: lhs_q8_bytes(m, k) bytes. `group` elements
// share a scale: kQ8Block or kQ8SuperBlock.
void quantize_lhs_q8(const float* x, size_t x_stride, size_t m, size_t k, void* panels, size_t group = kQ8Block,
                     Layout layout = kLhsQ8Layout);

}  // namespace smepilot::reference
