// Chooses the next token from logits. The filters run in the order that users of llama.cpp know: repetition penalty,
// top-k, top-p, min-p, temperature, and a draw. The generator and what it
// draws from are our own, so that a seed gives the same draws on every platform (but for the last bit of exp()).
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/base/status.h"

namespace smepilot {

struct SamplerOptions {
  float temperature = 0.8f;     // 0: greedy
  uint32_t top_k = 40;          // 0: all
  float top_p = 0.95f;          // 1: all
  float min_p = 0.05f;          // 0: all; otherwise at least this share of the most probable one's probability
  float repeat_penalty = 1.0f;  // 1: none; divides positive and multiplies negative logits of recent tokens
  uint32_t repeat_window = 64;  // how many tokens are recent
  uint64_t seed = 0;
};

// xoshiro256** 1.0 (Blackman, Vigna: prng.di.unimi.it), seeded by SplitMix64.
class Random {
 public:
  explicit Random(uint64_t seed) noexcept;
  uint64_t next() noexcept;
  double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)

 private:
  uint64_t state_[4];
};

class Sampler {
 public:
  // Fails, naming the option, where one is out of range.
  static Result<Sampler> create(const SamplerOptions& options);

  // The next token; `logits` has one per token of the vocabulary, at least one, and is not changed. Logits that are not
  // numbers are never chosen; if none is, the answer is token 0. Allocates only in the first call.
  int32_t sample(std::span<const float> logits);
  // A token that is now part of the text, of the prompt or sampled: what the repetition penalty looks at.
  void accept(int32_t token);
  // Forgets the text and starts the draws over.
  void reset();

  const SamplerOptions& options() const noexcept { return options_; }

 private:
  struct Candidate {
    float logit;
    int32_t token;
  };
  explicit Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {}
  float penalised(std::span<const float> logits, size_t token) const;

  SamplerOptions options_;
  Random random_;
  std::vector<int32_t> recent_;  // ring of repeat_window tokens
  size_t recent_at_ = 0;
  std::vector<uint8_t> is_recent_;  // by token, while sample() runs
  std::vector<Candidate> candidates_;
  std::vector<double> weights_;
};

}  // namespace smepilot
