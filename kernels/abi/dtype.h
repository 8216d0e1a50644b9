// Element types of tensors: their names, and how many elements a block holds in how many bytes as a GGUF file
// stores them. Plain data, included by every ISA translation unit.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace smepilot {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kIQ4_NL,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kQ8,  // activations quantised at run time, Layout::kLhsQ8Panel16 or K4; never in a file
  kCount
};

struct DTypeTraits {
  const char* name;      // as in variant ids and in the database
  uint32_t block_elems;  // elements per block, along K
  uint32_t block_bytes;  // bytes per block in a GGUF file
  int32_t gguf_type;     // ggml_type number in a GGUF file, -1: never in a file
};

inline constexpr DTypeTraits kDTypeTraits[] = {
    {"f32", 1, 4, 0},       {"f16", 1, 2, 1},       {"bf16", 1, 2, 30},     {"q8_0", 32, 34, 8},
    {"q4_0", 32, 18, 2},    {"q4_1", 32, 20, 3},    {"q5_0", 32, 22, 6},    {"q5_1", 32, 24, 7},
    {"iq4_nl", 32, 18, 20}, {"q2_k", 256, 84, 10},  {"q3_k", 256, 110, 11}, {"q4_k", 256, 144, 12},
    {"q5_k", 256, 176, 13}, {"q6_k", 256, 210, 14}, {"q8", 32, 56, -1},
};
static_assert(sizeof(kDTypeTraits) / sizeof(kDTypeTraits[0]) == static_cast<size_t>(DType::kCount));

static constexpr const DTypeTraits& traits(DType t) noexcept {
  return kDTypeTraits[static_cast<size_t>(t)];
}

// What the nibbles of iq4_nl stand for: kvalues_iq4nl of ggml (ggml-common.h).
static constexpr int8_t kIq4NlValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// Bytes of `elems` consecutive elements (a multiple of the block) as a file stores them.
static constexpr size_t file_bytes(DType t, size_t elems) noexcept {
  return elems / traits(t).block_elems * traits(t).block_bytes;
}

}  // namespace smepilot
