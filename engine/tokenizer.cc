#include "engine/tokenizer.h"

#include <algorithm>

namespace smepilot {
namespace {

// Control tokens that end a turn in the families of chat models; files often name only one of them as the end.
constexpr std::string_view kEndTexts[] = {"<|eot_id|>",      "<|eom_id|>",    "<|im_end|>",    "<|end|>",
                                          "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>", "</s>"};

}  // namespace

void Tokenizer::SpecialTokens::add(std::string_view text, TokenId id) {
  if (text.empty() || !ids.emplace(text, id).second) return;
  lengths[static_cast<unsigned char>(text[0])].push_back(text.size());
}

void Tokenizer::SpecialTokens::seal() {
  for (std::vector<size_t>& l : lengths) {
    std::sort(l.begin(), l.end(), std::greater<>());
    l.erase(std::unique(l.begin(), l.end()), l.end());
  }
}

TokenId Tokenizer::SpecialTokens::match(std::string_view text) const {
  for (const size_t length : lengths[static_cast<unsigned char>(text[0])]) {
    if (length > text.size()) continue;
    if (const auto it = ids.find(text.substr(0, length)); it != ids.end()) return it->second;
  }
  return kNoToken;
}

Result<Tokenizer> Tokenizer::from_gguf(const GgufFile& gguf) {
  Tokenizer t;
  SMEPILOT_TRY(t.load(gguf));
  gguf.release(gguf.head());  // texts and merges were copied
  return t;
}

Status Tokenizer::load(const GgufFile& gguf) {
  SMEPILOT_ASSIGN(const std::string_view model, gguf.get_string("tokenizer.ggml.model"));
  if (model != "gpt2" && model != "llama") {
    return error(
        "{}: tokenizer.ggml.model is \"{}\", which is not supported; supported are gpt2 (byte-level BPE) and "
        "llama (SentencePiece)",
        gguf.path(), printable(model));
  }
  model_ = model;
  SMEPILOT_ASSIGN(vocabulary_, Vocabulary::from_gguf(gguf, warnings_));
  SMEPILOT_TRY(load_special(gguf));
  if (model == "llama") {
    SMEPILOT_ASSIGN(spm_, SpmEncoder::create(gguf, vocabulary_, unknown_));
    SMEPILOT_ASSIGN(add_space_, gguf.get_bool_or("tokenizer.ggml.add_space_prefix", true));
    return {};
  }
  if (gguf.has("tokenizer.ggml.pre")) {
    SMEPILOT_ASSIGN(const std::string_view pre, gguf.get_string("tokenizer.ggml.pre"));
    pre_name_ = pre;
  } else {
    pre_name_ = "default";
    warnings_.push_back(
        fmt::format("{}: metadata key \"tokenizer.ggml.pre\" is missing; words are cut by \"default\", "
                    "which may not be how the model was trained",
                    gguf.path()));
  }
  auto pre = PreTokenizer::create(pre_name_);
  if (!pre.ok()) return error("{}: {}", gguf.path(), pre.message());
  pre_ = std::move(pre).value();
  SMEPILOT_ASSIGN(bpe_, BpeEncoder::create(gguf, vocabulary_, unknown_, warnings_));
  const bool llama3 = pre_name_ == "llama-bpe" || pre_name_ == "llama3" || pre_name_ == "llama-v3";
  bpe_.set_whole_words(llama3);
  return {};
}

Status Tokenizer::load_special(const GgufFile& gguf) {
  // `required`: a number out of range is an error. Padding and unknown tokens out of range exist in published files.
  const auto id = [&](TokenId& out, const char* name, TokenId fallback, bool required) -> Status {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
    out = vocabulary_.contains(fallback) ? fallback : kNoToken;
    if (!gguf.has(key)) return {};
    auto value = gguf.get_u32(key);
    if (value.ok() && *value < vocabulary_.size()) {
      out = static_cast<TokenId>(*value);
      return {};
    }
    Status status = value.ok() ? error("{}: {} is {}, expected less than {}, the size of the vocabulary", gguf.path(),
                                       key, *value, vocabulary_.size())
                               : value.status();
    if (required) return status;
    warnings_.push_back(status.message() + "; it is ignored");
    out = kNoToken;
    return {};
  };
  const bool spm = model_ == "llama";
  TokenId eot = kNoToken, eom = kNoToken;
  SMEPILOT_TRY(id(bos_, "bos", spm ? 1 : kNoToken, true));
  SMEPILOT_TRY(id(eos_, "eos", spm ? 2 : kNoToken, true));
  SMEPILOT_TRY(id(eot, "eot", kNoToken, true));
  SMEPILOT_TRY(id(eom, "eom", kNoToken, true));
  SMEPILOT_TRY(id(unknown_, "unknown", spm ? 0 : kNoToken, false));
  // Llama 3 files leave the flag out and mean true.
  SMEPILOT_ASSIGN(const std::string_view pre, gguf.get_string_or("tokenizer.ggml.pre", ""));
  const bool llama3 = !spm && (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3");
  SMEPILOT_ASSIGN(add_bos_, gguf.get_bool_or("tokenizer.ggml.add_bos_token", spm || llama3));
  SMEPILOT_ASSIGN(add_eos_, gguf.get_bool_or("tokenizer.ggml.add_eos_token", false));
  add_bos_ = add_bos_ && bos_ != kNoToken;
  add_eos_ = add_eos_ && eos_ != kNoToken;

  for (const TokenId end : {eos_, eot, eom}) {
    if (end != kNoToken) ends_.push_back(end);
  }
  for (size_t i = 0; i < vocabulary_.size(); ++i) {
    const auto token = static_cast<TokenId>(i);
    const TokenType type = vocabulary_.type(token);
    const std::string_view text = vocabulary_.text(token);
    if (type == TokenType::kUserDefined) {
      user_tokens_.add(text, token);
      special_tokens_.add(text, token);
    } else if (type == TokenType::kControl || type == TokenType::kUnknown) {
      special_tokens_.add(text, token);
      if (std::find(std::begin(kEndTexts), std::end(kEndTexts), text) != std::end(kEndTexts)) ends_.push_back(token);
    }
  }
  user_tokens_.seal();
  special_tokens_.seal();
  std::sort(ends_.begin(), ends_.end());
  ends_.erase(std::unique(ends_.begin(), ends_.end()), ends_.end());
  return {};
}

Status Tokenizer::encode_text(std::string_view text, bool after_special, std::vector<TokenId>& out) const {
  if (model_ == "llama") {
    spm_.encode(vocabulary_, text, add_space_ && after_special, out);
    return {};
  }
  std::vector<std::string_view> words;
  SMEPILOT_TRY(pre_.split(text, words));
  for (const std::string_view word : words) bpe_.encode(vocabulary_, word, out);
  return {};
}

Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text, bool add_special, bool parse_special) const {
  std::vector<TokenId> out;
  if (add_special && add_bos_) out.push_back(bos_);
  const SpecialTokens& special = parse_special ? special_tokens_ : user_tokens_;
  size_t begin = 0;
  bool after_special = true;  // the start of the text counts
  for (size_t at = 0; at < text.size();) {
    const TokenId id = special.match(text.substr(at));
    if (id == kNoToken) {
      ++at;
      continue;
    }
    if (at > begin) SMEPILOT_TRY(encode_text(text.substr(begin, at - begin), after_special, out));
    out.push_back(id);
    after_special = true;
    at += vocabulary_.text(id).size();
    begin = at;
  }
  if (begin < text.size()) SMEPILOT_TRY(encode_text(text.substr(begin), after_special, out));
  if (add_special && add_eos_) out.push_back(eos_);
  return out;
}

Result<std::vector<TokenId>> Tokenizer::encode_prompt(std::string_view rendered) const {
  SMEPILOT_ASSIGN(std::vector<TokenId> out, encode(rendered, false, true));
  if (add_bos_ && (out.empty() || out.front() != bos_)) out.insert(out.begin(), bos_);
  return out;
}

std::string Tokenizer::piece(TokenId id, bool special) const {
  if (!vocabulary_.contains(id)) return {};
  switch (vocabulary_.type(id)) {
    case TokenType::kControl:
    case TokenType::kUnknown: return special ? std::string(vocabulary_.text(id)) : std::string();
    case TokenType::kUnused: return {};
    case TokenType::kUserDefined:
      if (model_ == "gpt2") return std::string(vocabulary_.text(id));
      break;
    default: break;
  }
  return model_ == "gpt2" ? BpeEncoder::decode(vocabulary_.text(id)) : SpmEncoder::decode(vocabulary_, id);
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool special) const {
  std::string out;
  bool first = true;
  for (const TokenId id : ids) {
    std::string text = piece(id, special);
    const bool control = vocabulary_.contains(id) && vocabulary_.type(id) == TokenType::kControl;
    if (first && !control && add_space_ && text.starts_with(' ')) text.erase(0, 1);
    first = first && control;
    out += text;
  }
  return out;
}

bool Tokenizer::is_end(TokenId id) const {
  return std::binary_search(ends_.begin(), ends_.end(), id);
}

}  // namespace smepilot
