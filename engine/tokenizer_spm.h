// SentencePiece-type encoding (the "llama" model of GGUF): characters are merged to the token of the best score; what
// is no token falls apart into byte tokens.
#pragma once
#include <array>
#include <string_view>
#include <vector>

#include "engine/vocabulary.h"
#include "kernels/base/status.h"
#include "profiles/gguf.h"

namespace smepilot {

inline constexpr std::string_view kSpmSpace = "\xe2\x96\x81";  // U+2581, how these vocabularies write a space

class SpmEncoder {
 public:
  SpmEncoder() = default;
  static Result<SpmEncoder> create(const GgufFile& gguf, const Vocabulary& vocabulary, TokenId unknown);

  // Appends the tokens of `text`, any bytes, with spaces still as spaces. O(n log n).
  void encode(const Vocabulary& vocabulary, std::string_view text, bool add_space, std::vector<TokenId>& out) const;

  // The bytes of an ordinary or byte token.
  static std::string decode(const Vocabulary& vocabulary, TokenId id);

 private:
  std::array<TokenId, 256> byte_token_ = {};
  TokenId unknown_ = kNoToken;
};

}  // namespace smepilot
