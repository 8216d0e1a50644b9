#include "engine/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/text.h"
#include "profiles/timer.h"

namespace smepilot {
namespace {

constexpr size_t kMostLogits = 16u << 20;  // floats held at a time

// -log softmax(logits)[token]
double negative_log_likelihood(std::span<const float> logits, TokenId token) {
  const float most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float l : logits) sum += static_cast<double>(std::exp(l - most));
  return std::log(sum) + static_cast<double>(most) - static_cast<double>(logits[static_cast<size_t>(token)]);
}

}  // namespace

double Perplexity::value() const {
  return scored == 0 ? 0 : std::exp(sum_nll / static_cast<double>(scored));
}

double Perplexity::error() const {
  if (scored < 2) return 0;
  const double n = static_cast<double>(scored), mean = sum_nll / n;
  return value() * std::sqrt(std::max(sum_nll2 / n - mean * mean, 0.0) / (n - 1));
}

Result<Perplexity> measure_perplexity(Engine& engine, std::span<const TokenId> tokens, uint32_t context, TokenId begin,
                                      const std::function<void(const Perplexity&)>& on_chunk,
                                      const std::atomic<bool>& cancel) {
  if (context < 4 || context > engine.context())
    return error("chunks of {} tokens were asked for, 4 to {} are possible", context, engine.context());
  Perplexity p;
  p.context = context;
  p.all_chunks = static_cast<uint32_t>(tokens.size() / context);
  if (p.all_chunks == 0)
    return error("the text has {} tokens, at least one chunk of {} is needed (--ctx sets its size)", tokens.size(),
                 context);
  SMEPILOT_ASSIGN(KvCache cache, engine.new_cache(context));
  const size_t vocab = engine.vocab(), first = context / 2;
  const size_t step = std::clamp<size_t>(kMostLogits / vocab, 1, engine.ubatch());
  std::vector<TokenId> chunk(context);
  std::vector<double> nll(step);
  const int64_t start = now_ns();
  for (; p.chunks < p.all_chunks && !cancel.load(std::memory_order_relaxed); ++p.chunks) {
    std::copy_n(tokens.begin() + static_cast<std::ptrdiff_t>(size_t{p.chunks} * context), context, chunk.begin());
    if (begin != kNoToken) chunk[0] = begin;
    cache.set_length(0);
    SMEPILOT_TRY(engine.evaluate(std::span(chunk).first(first), cache, Transformer::Logits::kNone).status());
    // Row i predicts token i + 1: the last one has nothing to predict.
    for (size_t at = first; at + 1 < context; at += step) {
      const size_t rows = std::min(step, context - 1 - at);
      SMEPILOT_ASSIGN(const std::span<const float> logits,
                      engine.evaluate(std::span(chunk).subspan(at, rows), cache, Transformer::Logits::kAll));
      engine.pool().run(engine.workers(), [&](unsigned worker, unsigned workers) {
        for (size_t r = worker; r < rows; r += workers)
          nll[r] = negative_log_likelihood(logits.subspan(r * vocab, vocab), chunk[at + r + 1]);
      });
      for (size_t r = 0; r < rows; ++r) {
        p.sum_nll += nll[r];
        p.sum_nll2 += nll[r] * nll[r];
      }
      p.scored += rows;
    }
    p.seconds = static_cast<double>(now_ns() - start) / 1e9;
    Perplexity so_far = p;
    ++so_far.chunks;
    if (on_chunk) on_chunk(so_far);
  }
  return p;
}

std::string perplexity_json(const Perplexity& p, const Engine& engine) {
  const char* const kv = traits(engine.kv_type()).name;
  return fmt::format(
      "{{\"perplexity\": {:.6f}, \"error\": {:.6f}, \"chunks\": {}, \"all_chunks\": {}, \"n_ctx\": {}, \"scored\": {}, "
      "\"seconds\": {:.3f}, \"model_filename\": \"{}\", \"type_k\": \"{}\", \"type_v\": \"{}\", \"n_threads\": {}, "
      "\"plan\": \"{}\", \"mode\": \"{}\", \"matrix_unit\": \"{}\"}}\n",
      p.value(), p.error(), p.chunks, p.all_chunks, p.context, p.scored, p.seconds, json_escape(engine.gguf().path()),
      kv, kv, engine.workers(), engine.plan().planner, engine.mode(), engine.platform().matrix_unit);
}

}  // namespace smepilot
