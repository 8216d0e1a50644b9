// Turns a conversation into the prompt that a chat model was trained on, by the template in its own metadata
// (tokenizer.chat_template). Where a file has no template, or one that needs more than the supported part of Jinja, a
// built-in form of the ChatML and Llama 3 families takes its place, and note() says so.
#pragma once
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/jinja_parser.h"
#include "engine/tokenizer.h"
#include "kernels/base/status.h"
#include "profiles/gguf.h"

namespace smepilot {

struct ChatMessage {
  std::string role;  // system, user, assistant
  std::string content;
};

struct ChatOptions {
  bool add_generation_prompt = true;       // end with the beginning of the assistant's turn
  std::optional<bool> enable_thinking;     // Qwen3's switch; left undefined for the template if not set
  std::optional<std::string> date_string;  // Llama 3's "Today Date"; the template's own default if not set
  std::chrono::system_clock::time_point now = std::chrono::system_clock::now();  // for strftime_now
};

class ChatTemplate {
 public:
  enum class Family { kUnknown, kChatMl, kLlama3 };

  // Fails if there is neither a usable template nor a family to fall back on. The message names the construct that is
  // not supported and its line.
  static Result<ChatTemplate> from_gguf(const GgufFile& gguf, const Tokenizer& tokenizer);
  // `bos` and `eos`: texts of these tokens, "" where there are none. `name` stands for the file in messages.
  static Result<ChatTemplate> from_source(const std::string& source, std::string bos, std::string eos,
                                          std::string name);

  // The prompt, for Tokenizer::encode_prompt(). Fails where the template does (raise_exception among them).
  Result<std::string> render(std::span<const ChatMessage> messages, const ChatOptions& options = {}) const;

  // What the user should know: that a built-in form is used, and why. "" if the model's own template is.
  const std::string& note() const noexcept { return note_; }
  Family family() const noexcept { return family_; }  // by the markers in the template or vocabulary

 private:
  std::string name_, bos_, eos_, note_;
  Family family_ = Family::kUnknown;
  std::shared_ptr<const jinja::Node> root_;  // null: the built-in form
};

}  // namespace smepilot
