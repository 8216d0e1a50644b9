// The tokens of a model: their text, kind and score, as a GGUF file lists them, checked. Owns its data.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernels/base/status.h"
#include "profiles/gguf.h"

namespace smepilot {

using TokenId = int32_t;
inline constexpr TokenId kNoToken = -1;

enum class TokenType : uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

class Vocabulary {
 public:
  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  // Problems that a model can live with (a text that two tokens share) are added to `warnings`.
  static Result<Vocabulary> from_gguf(const GgufFile& gguf, std::vector<std::string>& warnings);

  size_t size() const noexcept { return texts_.size(); }
  bool contains(TokenId id) const noexcept { return id >= 0 && static_cast<size_t>(id) < texts_.size(); }
  std::string_view text(TokenId id) const { return texts_[static_cast<size_t>(id)]; }
  TokenType type(TokenId id) const { return types_[static_cast<size_t>(id)]; }
  float score(TokenId id) const { return scores_.empty() ? 0.0f : scores_[static_cast<size_t>(id)]; }
  bool has_scores() const noexcept { return !scores_.empty(); }

  // The token of ordinary text that is exactly `text` (normal, user-defined or unused), or kNoToken.
  TokenId find(std::string_view text) const;
  // A token of any type.
  TokenId find_any(std::string_view text) const;

 private:
  std::vector<char> storage_;  // all texts, one after the other; a vector, since its data stay where they are in a move
  std::vector<std::string_view> texts_;
  std::vector<TokenType> types_;
  std::vector<float> scores_;
  std::unordered_map<std::string_view, TokenId> ordinary_, special_;
};

}  // namespace smepilot
