// smepilot-run --perplexity: how well a model predicts a text. The text's tokens are cut into chunks of the context's
// length, each evaluated on its own; the tokens of its second half are scored by the logits before them, so that each
// has at least half a context behind it. With a model that begins texts with a token, that token replaces a chunk's
// first. The same rules as llama-perplexity's (tools/perplexity/README.md of github.com/ggml-org/llama.cpp), so that
// the numbers can be compared.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "engine/engine.h"
#include "engine/tokenizer.h"

namespace smepilot {

struct Perplexity {
  uint32_t chunks = 0, all_chunks = 0, context = 0;
  uint64_t scored = 0;               // tokens
  double sum_nll = 0, sum_nll2 = 0;  // of their negative log-likelihoods and the squares
  double seconds = 0;

  double value() const;  // exp of the mean
  double error() const;  // standard error of value(), from the spread of the tokens' log-likelihoods
};

// `context`: tokens of a chunk, 4 .. engine.context(). `begin`: the token that begins each chunk, kNoToken: the text's
// own. `on_chunk` is told the estimate so far. Raised `cancel` ends it early: chunks < all_chunks. Error: the text has
// not the tokens for one chunk.
Result<Perplexity> measure_perplexity(Engine& engine, std::span<const TokenId> tokens, uint32_t context, TokenId begin,
                                      const std::function<void(const Perplexity&)>& on_chunk,
                                      const std::atomic<bool>& cancel);

std::string perplexity_json(const Perplexity& p, const Engine& engine);

}  // namespace smepilot
