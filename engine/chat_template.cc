#include "engine/chat_template.h"

#include <utility>

#include "engine/jinja_interpreter.h"

namespace smepilot {
namespace {

using Family = ChatTemplate::Family;

Family family_of(std::string_view text) {
  if (text.find("<|im_start|>") != std::string_view::npos) return Family::kChatMl;
  if (text.find("<|start_header_id|>") != std::string_view::npos) return Family::kLlama3;
  return Family::kUnknown;
}

const char* family_name(Family family) {
  return family == Family::kChatMl ? "ChatML" : "Llama 3";
}

// The families' formats, as their model cards describe them.
std::string built_in(Family family, std::span<const ChatMessage> messages, bool generate, const std::string& bos) {
  std::string out;
  if (family == Family::kLlama3) {
    out += bos;
    const auto header = [&out](std::string_view role) {
      out.append("<|start_header_id|>").append(role).append("<|end_header_id|>\n\n");
    };
    for (const ChatMessage& m : messages) {
      header(m.role);
      out.append(m.content).append("<|eot_id|>");
    }
    if (generate) header("assistant");
    return out;
  }
  for (const ChatMessage& m : messages) {
    out.append("<|im_start|>").append(m.role).append("\n").append(m.content).append("<|im_end|>\n");
  }
  if (generate) out += "<|im_start|>assistant\n";
  return out;
}

}  // namespace

Result<ChatTemplate> ChatTemplate::from_source(const std::string& source, std::string bos, std::string eos,
                                               std::string name) {
  ChatTemplate t;
  t.name_ = std::move(name);
  t.bos_ = std::move(bos);
  t.eos_ = std::move(eos);
  t.family_ = family_of(source);
  auto root = jinja::parse(source);
  if (root.ok()) {
    t.root_ = std::move(root).value();
    return t;
  }
  const std::string reason = fmt::format("{}: tokenizer.chat_template, {}", t.name_, root.message());
  if (t.family_ == Family::kUnknown) return Status::error(reason);
  t.note_ = fmt::format("{}; the built-in {} form is used instead", reason, family_name(t.family_));
  return t;
}

Result<ChatTemplate> ChatTemplate::from_gguf(const GgufFile& gguf, const Tokenizer& tokenizer) {
  const auto text = [&](TokenId id) {
    return id == kNoToken ? std::string() : std::string(tokenizer.vocabulary().text(id));
  };
  if (gguf.has("tokenizer.chat_template")) {
    SMEPILOT_ASSIGN(const std::string_view source, gguf.get_string("tokenizer.chat_template"));
    return from_source(std::string(source), text(tokenizer.bos()), text(tokenizer.eos()), gguf.path());
  }
  ChatTemplate t;
  t.name_ = gguf.path();
  t.bos_ = text(tokenizer.bos());
  t.eos_ = text(tokenizer.eos());
  for (const std::string_view marker : {"<|im_start|>", "<|start_header_id|>"}) {
    if (t.family_ == Family::kUnknown && tokenizer.vocabulary().find_any(marker) != kNoToken)
      t.family_ = family_of(marker);
  }
  if (t.family_ == Family::kUnknown) {
    return error(
        "{}: metadata key \"tokenizer.chat_template\" is missing, and no token tells the chat format (<|im_start|> "
        "or <|start_header_id|>): this model is not made for chats",
        gguf.path());
  }
  t.note_ = fmt::format("{}: metadata key \"tokenizer.chat_template\" is missing; the built-in {} form is used",
                        gguf.path(), family_name(t.family_));
  return t;
}

Result<std::string> ChatTemplate::render(std::span<const ChatMessage> messages, const ChatOptions& options) const {
  if (root_ == nullptr) return built_in(family_, messages, options.add_generation_prompt, bos_);
  jinja::List list;
  for (const ChatMessage& m : messages) {
    jinja::Dict message;
    message.set("role", m.role);
    message.set("content", m.content);
    list.emplace_back(std::move(message));
  }
  jinja::Dict globals;
  globals.set("messages", std::move(list));
  globals.set("add_generation_prompt", options.add_generation_prompt);
  globals.set("bos_token", bos_);
  globals.set("eos_token", eos_);
  globals.set("tools", jinja::Value::none());
  globals.set("documents", jinja::Value::none());
  if (options.enable_thinking) globals.set("enable_thinking", *options.enable_thinking);
  if (options.date_string) globals.set("date_string", *options.date_string);
  auto text = jinja::render(*root_, globals, options.now);
  if (!text.ok()) return error("{}: tokenizer.chat_template, {}", name_, text.message());
  return text;
}

}  // namespace smepilot
