// The memory loops of the probes, over a `Memory` vocabulary (zero, load, store, stream, fence, combine) of one ISA
// step. Internal linkage only. `bytes` is a multiple of kProbeGranule.
#pragma once
#include "kernels/abi/compiler.h"
#include "kernels/probe/probe_loop.h"

namespace smepilot {
namespace {

// Four streams, a quarter of the buffer each: one sequential stream leaves a modern core's miss buffers half idle, and
// it is the machine's limit that is wanted here.
constexpr size_t kStreams = 4;

template <typename Memory>
uint64_t read_memory(const ProbeArgs* a) noexcept {
  using Vec = typename Memory::Vec;
  const size_t quarter = a->bytes / kStreams;
  const char* p = static_cast<const char*>(a->src);
  Vec acc[2 * kStreams];
  SMEPILOT_UNROLL
  for (size_t s = 0; s < 2 * kStreams; ++s) acc[s] = Memory::zero();
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (size_t i = 0; i < quarter; i += 4 * sizeof(Vec)) {
      SMEPILOT_UNROLL
      for (size_t s = 0; s < kStreams; ++s) {
        const char* at = p + s * quarter + i;
        acc[2 * s] = Memory::combine(acc[2 * s], Memory::load(at));
        acc[2 * s + 1] = Memory::combine(acc[2 * s + 1], Memory::load(at + sizeof(Vec)));
        acc[2 * s] = Memory::combine(acc[2 * s], Memory::load(at + 2 * sizeof(Vec)));
        acc[2 * s + 1] = Memory::combine(acc[2 * s + 1], Memory::load(at + 3 * sizeof(Vec)));
      }
    }
    SMEPILOT_MEMORY_BARRIER();
  }
  SMEPILOT_UNROLL
  for (size_t s = 1; s < 2 * kStreams; ++s) acc[0] = Memory::combine(acc[0], acc[s]);
  uint64_t words[sizeof(Vec) / sizeof(uint64_t)], all = 0;
  __builtin_memcpy(words, &acc[0], sizeof(words));
  for (const uint64_t w : words) all ^= w;
  return all;
}

template <typename Memory, bool kStream>
SMEPILOT_INLINE void write_pass(char* p, size_t quarter, typename Memory::Vec v) noexcept {
  using Vec = typename Memory::Vec;
  for (size_t i = 0; i < quarter; i += 4 * sizeof(Vec)) {
    SMEPILOT_UNROLL
    for (size_t s = 0; s < kStreams; ++s) {
      SMEPILOT_UNROLL
      for (size_t j = 0; j < 4; ++j) {
        char* at = p + s * quarter + i + j * sizeof(Vec);
        if (kStream)
          Memory::stream(at, v);
        else
          Memory::store(at, v);
      }
    }
  }
}

template <typename Memory>
uint64_t write_memory(const ProbeArgs* a) noexcept {
  typename Memory::Vec v = Memory::zero();
  for (uint64_t r = 0; r < a->repeat; ++r) {
    SMEPILOT_KEEP(v);
    if (a->stream)
      write_pass<Memory, true>(static_cast<char*>(a->dst), a->bytes / kStreams, v);
    else
      write_pass<Memory, false>(static_cast<char*>(a->dst), a->bytes / kStreams, v);
    SMEPILOT_MEMORY_BARRIER();
  }
  Memory::fence();
  return *static_cast<const uint64_t*>(a->dst);
}

template <typename Memory, bool kStream>
SMEPILOT_INLINE void copy_pass(char* d, const char* p, size_t bytes) noexcept {
  using Vec = typename Memory::Vec;
  for (size_t i = 0; i < bytes; i += 4 * sizeof(Vec)) {
    Vec v[4];
    SMEPILOT_UNROLL
    for (size_t j = 0; j < 4; ++j) v[j] = Memory::load(p + i + j * sizeof(Vec));
    SMEPILOT_UNROLL
    for (size_t j = 0; j < 4; ++j) {
      if (kStream)
        Memory::stream(d + i + j * sizeof(Vec), v[j]);
      else
        Memory::store(d + i + j * sizeof(Vec), v[j]);
    }
  }
}

template <typename Memory>
uint64_t copy_memory(const ProbeArgs* a) noexcept {
  for (uint64_t r = 0; r < a->repeat; ++r) {
    if (a->stream)
      copy_pass<Memory, true>(static_cast<char*>(a->dst), static_cast<const char*>(a->src), a->bytes);
    else
      copy_pass<Memory, false>(static_cast<char*>(a->dst), static_cast<const char*>(a->src), a->bytes);
    SMEPILOT_MEMORY_BARRIER();
  }
  Memory::fence();
  return static_cast<const uint64_t*>(a->dst)[a->bytes / sizeof(uint64_t) - 1];
}

#if defined(SMEPILOT_PROBE_EXP)
// dst = exp(src), elementwise: the exponential that softmax, SwiGLU and attention of this ISA step use.
template <typename S>
uint64_t exp_memory(const ProbeArgs* a) noexcept {
  const float* x = static_cast<const float*>(a->src);
  float* y = static_cast<float*>(a->dst);
  const size_t count = a->bytes / sizeof(float);
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (size_t i = 0; i < count; i += 4 * S::kWidth) {
      typename S::Vec v[4];
      SMEPILOT_UNROLL
      for (size_t j = 0; j < 4; ++j) v[j] = vector_exp(S::load(x + i + j * S::kWidth));
      SMEPILOT_UNROLL
      for (size_t j = 0; j < 4; ++j) S::store(y + i + j * S::kWidth, v[j]);
    }
    SMEPILOT_MEMORY_BARRIER();
  }
  return static_cast<uint64_t>(y[count - 1]);
}
#endif

}  // namespace
}  // namespace smepilot
