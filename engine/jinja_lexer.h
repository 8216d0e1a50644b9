// Cuts a template into text and the tokens of its tags.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/status.h"

namespace smepilot::jinja {

enum class TokenKind : uint8_t {
  kData,
  kOpenOutput,
  kOpenTag,
  kClose,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  uint32_t line = 0;
  std::string text;  // decoded for strings
};

Result<std::vector<Token>> tokenize(std::string_view source);

}  // namespace smepilot::jinja
