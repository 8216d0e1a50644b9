#include "engine/vocabulary.h"

#include <cmath>

namespace smepilot {
namespace {
constexpr size_t kMaxTokens = 1u << 24;
}

Result<Vocabulary> Vocabulary::from_gguf(const GgufFile& gguf, std::vector<std::string>& warnings) {
  const std::string& path = gguf.path();
  Vocabulary v;
  SMEPILOT_ASSIGN(const std::vector<std::string_view> texts, gguf.get_strings("tokenizer.ggml.tokens"));
  if (texts.empty() || texts.size() > kMaxTokens) {
    return error("{}: tokenizer.ggml.tokens has {} tokens, expected 1 to {}", path, texts.size(), kMaxTokens);
  }
  if (gguf.has("tokenizer.ggml.scores")) {
    SMEPILOT_ASSIGN(v.scores_, gguf.get_f32s("tokenizer.ggml.scores"));
    if (v.scores_.size() != texts.size()) {
      return error("{}: tokenizer.ggml.scores has {} numbers, expected {}, one per token", path, v.scores_.size(),
                   texts.size());
    }
    for (size_t i = 0; i < texts.size(); ++i) {
      if (std::isnan(v.scores_[i])) return error("{}: tokenizer.ggml.scores[{}] is not a number", path, i);
    }
  }
  v.types_.assign(texts.size(), TokenType::kNormal);
  if (gguf.has("tokenizer.ggml.token_type")) {
    SMEPILOT_ASSIGN(const std::vector<int32_t> types, gguf.get_i32s("tokenizer.ggml.token_type"));
    if (types.size() != texts.size()) {
      return error("{}: tokenizer.ggml.token_type has {} numbers, expected {}, one per token", path, types.size(),
                   texts.size());
    }
    for (size_t i = 0; i < types.size(); ++i) {
      if (types[i] < 0 || types[i] > 6) {
        return error("{}: tokenizer.ggml.token_type[{}] is {}, expected 1 to 6", path, i, types[i]);
      }
      if (types[i] != 0) v.types_[i] = static_cast<TokenType>(types[i]);  // 0 is "undefined"
    }
  }
  size_t bytes = 0;
  for (const std::string_view t : texts) bytes += t.size();  // a sum of parts of the file
  v.storage_.reserve(bytes);
  size_t shared = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string_view t(v.storage_.data() + v.storage_.size(), texts[i].size());
    v.storage_.insert(v.storage_.end(), texts[i].begin(), texts[i].end());  // never beyond what is reserved
    v.texts_.push_back(t);
    const TokenType type = v.types_[i];
    const bool ordinary = type == TokenType::kNormal || type == TokenType::kUserDefined || type == TokenType::kUnused;
    if (!(ordinary ? v.ordinary_ : v.special_).emplace(t, static_cast<TokenId>(i)).second) {
      if (++shared == 1) {
        warnings.push_back(
            fmt::format("{}: token {} has the text \"{}\" of an earlier token; text is encoded as the "
                        "earlier one",
                        path, i, printable(t)));
      }
    }
  }
  if (shared > 1) warnings.push_back(fmt::format("{}: {} tokens in all repeat an earlier one", path, shared));
  return v;
}

TokenId Vocabulary::find(std::string_view text) const {
  const auto it = ordinary_.find(text);
  return it == ordinary_.end() ? kNoToken : it->second;
}

TokenId Vocabulary::find_any(std::string_view text) const {
  const auto it = special_.find(text);
  return it == special_.end() ? find(text) : it->second;
}

}  // namespace smepilot
