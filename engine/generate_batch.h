// Generating several texts at once: each step takes the next token of every text that goes on through one forward pass,
// which reads the weights once for all of them. What all prompts begin with is evaluated once and its keys and values
// are shared.
#pragma once
#include <atomic>
#include <functional>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/generate.h"
#include "engine/sampler.h"
#include "engine/tokenizer.h"

namespace smepilot {

struct BatchText {
  std::vector<TokenId> prompt;
  Sampler* sampler = nullptr;  // of this text alone
};

struct BatchGenerated {
  std::vector<Generated> texts;   // in the order asked for; their times are 0
  uint32_t shared_tokens = 0;     // evaluated once for all
  uint32_t prompt_tokens = 0;     // evaluated, the shared ones once
  uint32_t generated_tokens = 0;  // of all texts
  double prompt_ns = 0, generate_ns = 0;
};

// `texts`: 1 .. engine.sequences(). max_tokens = 0 gives every text room for the whole context. `on_step` is told how
// many tokens the longest text has so far. Raised `cancel` ends all texts early, which is not an error.
Result<BatchGenerated> generate_batch(Engine& engine, const Tokenizer& tokenizer, std::span<const BatchText> texts,
                                      const GenerateOptions& options,
                                      const std::function<void(uint32_t tokens)>& on_step,
                                      const std::atomic<bool>& cancel);

}  // namespace smepilot
