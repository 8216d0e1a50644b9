#include "engine/generate.h"

#include <algorithm>

#include "profiles/timer.h"

namespace smepilot {

Result<Generator> Generator::create(Engine& engine, const Tokenizer& tokenizer, Sampler& sampler) {
  if (tokenizer.size() > engine.vocab())
    return error("{}: the tokenizer has {} tokens, the output matrix {}", engine.gguf().path(), tokenizer.size(),
                 engine.vocab());
  SMEPILOT_ASSIGN(KvCache cache, engine.new_cache());
  return Generator(engine, tokenizer, sampler, std::move(cache));
}

Result<Generated> Generator::generate(const std::vector<TokenId>& prompt, const GenerateOptions& options,
                                      const OnText& on_text, const std::atomic<bool>& cancel) {
  if (prompt.empty()) return error("the prompt is empty");
  Generated out;
  // At least the last token is evaluated, for its logits.
  const auto limit = static_cast<std::ptrdiff_t>(std::min(cached_.size(), prompt.size() - 1));
  const auto same = std::mismatch(cached_.begin(), cached_.begin() + limit, prompt.begin()).first - cached_.begin();
  cached_.resize(static_cast<size_t>(same));
  cache_.set_length(static_cast<uint32_t>(same));
  out.reused_tokens = static_cast<uint32_t>(same);
  out.prompt_tokens = static_cast<uint32_t>(prompt.size() - cached_.size());
  sampler_->reset();
  for (const TokenId t : prompt) sampler_->accept(t);

  int64_t begin = now_ns();
  Result<std::span<const float>> logits =
      engine_->evaluate(std::span(prompt).subspan(cached_.size()), cache_, Transformer::Logits::kLast, &cancel);
  if (!logits.ok()) {
    cache_.set_length(static_cast<uint32_t>(cached_.size()));
    if (!cancel.load()) return logits.status();
    out.reason = StopReason::kCancelled;
    return out;
  }
  cached_ = prompt;
  out.prompt_ns = static_cast<double>(now_ns() - begin);

  StreamDecoder decoder(*tokenizer_);
  const auto emit = [&](const std::string& piece) {
    if (piece.empty()) return;
    out.text += piece;
    if (on_text) on_text(piece);
  };
  begin = now_ns();
  for (;;) {
    if (cancel.load(std::memory_order_relaxed)) {
      out.reason = StopReason::kCancelled;
      break;
    }
    if (options.max_tokens != 0 && out.tokens.size() == options.max_tokens) {
      out.reason = StopReason::kLength;
      break;
    }
    const TokenId token = sampler_->sample(*logits);
    if (tokenizer_->is_end(token) && !options.ignore_end) break;
    sampler_->accept(token);
    out.tokens.push_back(token);
    emit(decoder.push(token));
    if (cache_.length() >= engine_->context()) {
      out.reason = StopReason::kContextFull;
      break;
    }
    logits = engine_->evaluate({&token, 1}, cache_);
    if (!logits.ok()) return logits.status();
    cached_.push_back(token);
  }
  emit(decoder.finish());
  out.generate_ns = static_cast<double>(now_ns() - begin);
  return out;
}

Chat::Chat(Generator& generator, const ChatTemplate& chat_template, const Tokenizer& tokenizer, std::string system)
    : generator_(&generator), template_(&chat_template), tokenizer_(&tokenizer) {
  if (!system.empty()) messages_.push_back({"system", std::move(system)});
}

Result<Generated> Chat::say(const std::string& text, const GenerateOptions& options, const Generator::OnText& on_text,
                            const std::atomic<bool>& cancel) {
  std::vector<ChatMessage> messages = messages_;
  messages.push_back({"user", text});
  SMEPILOT_ASSIGN(const std::string prompt, template_->render(messages));
  SMEPILOT_ASSIGN(const std::vector<TokenId> tokens, tokenizer_->encode_prompt(prompt));
  SMEPILOT_ASSIGN(Generated answer, generator_->generate(tokens, options, on_text, cancel));
  if (answer.tokens.empty() && answer.reason == StopReason::kCancelled) return answer;
  messages.push_back({"assistant", answer.text});
  messages_ = std::move(messages);
  return answer;
}

void Chat::clear() {
  const bool system = !messages_.empty() && messages_.front().role == "system";
  messages_.resize(system ? 1 : 0);
}

}  // namespace smepilot
