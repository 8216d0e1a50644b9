// Generating text: one completion, or a conversation whose tokens stay in the cache from turn to turn.
#pragma once
#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "engine/chat_template.h"
#include "engine/engine.h"
#include "engine/sampler.h"
#include "engine/tokenizer.h"

namespace smepilot {

struct GenerateOptions {
  uint32_t max_tokens = 0;  // 0: until the model ends, or the context is full
  bool ignore_end = false;  // go on after an end-of-text token
};

enum class StopReason : uint8_t { kEnd, kLength, kContextFull, kCancelled };

struct Generated {
  std::string text;
  std::vector<TokenId> tokens;  // without the end token
  StopReason reason = StopReason::kEnd;
  uint32_t prompt_tokens = 0;  // evaluated for this answer
  uint32_t reused_tokens = 0;  // found in the cache
  double prompt_ns = 0, generate_ns = 0;
};

class Generator {
 public:
  using OnText = std::function<void(const std::string& piece)>;

  // All three must outlive the Generator.
  static Result<Generator> create(Engine& engine, const Tokenizer& tokenizer, Sampler& sampler);

  // Continues `prompt` (all tokens of the text so far): what the cache holds of it is not evaluated again. `on_text`
  // gets whole UTF-8 characters as they come. Raised `cancel` ends the answer early, which is not an error.
  Result<Generated> generate(const std::vector<TokenId>& prompt, const GenerateOptions& options, const OnText& on_text,
                             const std::atomic<bool>& cancel);

 private:
  Generator(Engine& engine, const Tokenizer& tokenizer, Sampler& sampler, KvCache cache)
      : engine_(&engine), tokenizer_(&tokenizer), sampler_(&sampler), cache_(std::move(cache)) {}

  Engine* engine_;
  const Tokenizer* tokenizer_;
  Sampler* sampler_;
  KvCache cache_;
  std::vector<TokenId> cached_;  // the tokens whose keys and values the cache holds
};

// A conversation: renders the whole history through the model's template for every turn.
class Chat {
 public:
  Chat(Generator& generator, const ChatTemplate& chat_template, const Tokenizer& tokenizer, std::string system);

  // The answer is appended to the history. On error, or when nothing was said, the history is as before.
  Result<Generated> say(const std::string& text, const GenerateOptions& options, const Generator::OnText& on_text,
                        const std::atomic<bool>& cancel);
  void clear();  // forgets all but the system message
  const std::vector<ChatMessage>& messages() const noexcept { return messages_; }

 private:
  Generator* generator_;
  const ChatTemplate* template_;
  const Tokenizer* tokenizer_;
  std::vector<ChatMessage> messages_;
};

}  // namespace smepilot
