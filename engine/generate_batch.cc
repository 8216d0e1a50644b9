#include "engine/generate_batch.h"

#include <algorithm>

#include "profiles/timer.h"

namespace smepilot {
namespace {

// Leading tokens that all prompts have. Where they are not the same to the end, each keeps a token of its own, whose
// logits its first new token is drawn from.
uint32_t shared_tokens(std::span<const BatchText> texts) {
  const std::vector<TokenId>& first = texts[0].prompt;
  size_t shared = first.size();
  bool same = true;
  for (const BatchText& t : texts.subspan(1)) {
    const size_t most = std::min(shared, t.prompt.size());
    const auto end = first.begin() + static_cast<std::ptrdiff_t>(most);
    shared = static_cast<size_t>(std::mismatch(first.begin(), end, t.prompt.begin()).first - first.begin());
    same = same && t.prompt == first;
  }
  if (!same)
    for (const BatchText& t : texts) shared = std::min(shared, t.prompt.size() - 1);
  return static_cast<uint32_t>(shared);
}

class BatchRun {
 public:
  BatchRun(Engine& engine, const Tokenizer& tokenizer, std::span<const BatchText> texts, const GenerateOptions& options,
           const std::atomic<bool>& cancel)
      : engine_(engine), tokenizer_(tokenizer), texts_(texts), options_(options), cancel_(cancel) {}

  Result<BatchGenerated> run(const std::function<void(uint32_t)>& on_step) {
    SMEPILOT_TRY(check());
    for (const BatchText& t : texts_) {
      t.sampler->reset();
      for (const TokenId token : t.prompt) t.sampler->accept(token);
      out_.texts.emplace_back();
      decoders_.emplace_back(tokenizer_);
    }
    int64_t begin = now_ns();
    if (Status read = read_prompts(); !read.ok()) {
      if (!cancel_.load()) return read;
      for (Generated& g : out_.texts) g.reason = StopReason::kCancelled;
      return std::move(out_);
    }
    out_.prompt_ns = static_cast<double>(now_ns() - begin);
    begin = now_ns();
    for (size_t i = 0; i < texts_.size(); ++i) active_.push_back(i);
    for (uint32_t step = 0;; ++step) {
      choose_tokens(step);
      if (active_.empty()) break;
      step_.clear();
      for (const size_t i : active_) step_.push_back({&caches_[i], {&out_.texts[i].tokens.back(), 1}});
      SMEPILOT_ASSIGN(logits_, engine_.evaluate(step_));
      if (on_step) on_step(step + 1);
    }
    out_.generate_ns = static_cast<double>(now_ns() - begin);
    for (size_t i = 0; i < texts_.size(); ++i) {
      out_.texts[i].text += decoders_[i].finish();
      out_.generated_tokens += static_cast<uint32_t>(out_.texts[i].tokens.size());
    }
    return std::move(out_);
  }

 private:
  Status check() const {
    if (texts_.empty()) return error("there is no prompt");
    if (texts_.size() > engine_.sequences())
      return error("{} texts were asked for, this engine generates up to {} together", texts_.size(),
                   engine_.sequences());
    if (tokenizer_.size() > engine_.vocab())
      return error("{}: the tokenizer has {} tokens, the output matrix {}", engine_.gguf().path(), tokenizer_.size(),
                   engine_.vocab());
    for (const BatchText& t : texts_) {
      if (t.prompt.empty()) return error("the prompt is empty");
      if (t.prompt.size() > engine_.context())
        return error("the prompt has {} tokens, the context is {} (--ctx sets it)", t.prompt.size(), engine_.context());
    }
    return {};
  }

  // The shared tokens, then the rest of each prompt. Leaves in logits_ a row for each text, or one row for all.
  Status read_prompts() {
    const uint32_t shared = shared_tokens(texts_);
    out_.shared_tokens = out_.prompt_tokens = shared;
    std::shared_ptr<KvCache> prefix;
    if (shared != 0) {
      SMEPILOT_ASSIGN(KvCache cache, engine_.new_cache(shared));
      prefix = std::make_shared<KvCache>(std::move(cache));
      SMEPILOT_ASSIGN(logits_, engine_.evaluate(std::span(texts_[0].prompt).first(shared), *prefix,
                                                Transformer::Logits::kLast, &cancel_));
    }
    for (const BatchText& t : texts_) {
      const auto own = static_cast<uint32_t>(t.prompt.size()) - shared;
      uint32_t room = engine_.context() - shared;
      if (options_.max_tokens != 0)
        room = static_cast<uint32_t>(std::min<uint64_t>(room, uint64_t{own} + options_.max_tokens));
      room = std::max(room, 1u);
      Result<KvCache> cache = prefix != nullptr ? KvCache::fork(prefix, room) : engine_.new_cache(room);
      if (!cache.ok()) return cache.status();
      caches_.push_back(std::move(cache).value());
      if (own != 0) step_.push_back({nullptr, std::span(t.prompt).subspan(shared)});
      out_.prompt_tokens += own;
    }
    common_row_ = step_.empty();
    if (common_row_) return {};
    for (size_t i = 0; i < step_.size(); ++i) step_[i].cache = &caches_[i];
    SMEPILOT_ASSIGN(logits_, engine_.evaluate(step_, &cancel_));
    return {};
  }

  // Draws the next token of each active text from its row of logits_ and keeps in active_ those that go on.
  void choose_tokens(uint32_t step) {
    const size_t vocab = engine_.vocab();
    size_t kept = 0;
    for (size_t row = 0; row < active_.size(); ++row) {
      const size_t i = active_[row];
      Generated& g = out_.texts[i];
      if (cancel_.load(std::memory_order_relaxed)) {
        g.reason = StopReason::kCancelled;
      } else {
        Sampler& sampler = *texts_[i].sampler;
        const TokenId token = sampler.sample(logits_.subspan(common_row_ && step == 0 ? 0 : row * vocab, vocab));
        if (tokenizer_.is_end(token) && !options_.ignore_end) continue;
        sampler.accept(token);
        g.tokens.push_back(token);
        g.text += decoders_[i].push(token);
        if (options_.max_tokens != 0 && g.tokens.size() == options_.max_tokens)
          g.reason = StopReason::kLength;
        else if (caches_[i].length() >= engine_.context())
          g.reason = StopReason::kContextFull;
        else
          active_[kept++] = i;
      }
    }
    active_.resize(kept);
  }

  Engine& engine_;
  const Tokenizer& tokenizer_;
  std::span<const BatchText> texts_;
  const GenerateOptions& options_;
  const std::atomic<bool>& cancel_;
  BatchGenerated out_;
  std::vector<StreamDecoder> decoders_;
  std::vector<KvCache> caches_;
  std::vector<size_t> active_;  // texts that go on
  std::vector<SequenceTokens> step_;
  std::span<const float> logits_;
  bool common_row_ = false;
};

}  // namespace

Result<BatchGenerated> generate_batch(Engine& engine, const Tokenizer& tokenizer, std::span<const BatchText> texts,
                                      const GenerateOptions& options,
                                      const std::function<void(uint32_t tokens)>& on_step,
                                      const std::atomic<bool>& cancel) {
  return BatchRun(engine, tokenizer, texts, options, cancel).run(on_step);
}

}  // namespace smepilot
