// Byte-level byte-pair encoding (the "gpt2" model of GGUF): bytes are tokens, and the pair of neighbours with the
// lowest rank is merged until none is left.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/vocabulary.h"
#include "kernels/base/status.h"
#include "profiles/gguf.h"

namespace smepilot {

class BpeEncoder {
 public:
  BpeEncoder() = default;
  static Result<BpeEncoder> create(const GgufFile& gguf, const Vocabulary& vocabulary, TokenId unknown,
                                   std::vector<std::string>& warnings);

  // A word that is a token as a whole is taken so, whatever merges would give (Llama 3's "ignore_merges").
  void set_whole_words(bool on) noexcept { whole_words_ = on; }

  // Appends the tokens of a word of any bytes. O(n log n). Bytes without a token become `unknown`, or nothing.
  void encode(const Vocabulary& vocabulary, std::string_view word, std::vector<TokenId>& out) const;

  // The bytes that a token's text stands for: each byte is written as a printable character in this scheme.
  static std::string decode(std::string_view token_text);

 private:
  struct Merge {
    uint64_t pair = kEmpty;  // left id and right id
    uint32_t rank = 0;
    TokenId merged = kNoToken;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  static uint64_t pair_of(TokenId left, TokenId right) noexcept {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  const Merge* find(TokenId left, TokenId right) const noexcept;
  size_t slot(uint64_t pair) const noexcept;

  std::vector<Merge> table_;  // open addressing, a power of two long, at most half full
  std::array<TokenId, 256> byte_token_ = {};
  TokenId unknown_ = kNoToken;
  bool whole_words_ = false;
};

}  // namespace smepilot
