// Text to tokens and back, as the model's GGUF file describes it: byte-level BPE ("gpt2") and SentencePiece-type
// ("llama") vocabularies, special tokens, and which tokens begin and end a text. Immutable after loading, so it may be
// used by several threads. Independent of the file once loaded.
#pragma once
#include <array>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/pre_tokenizer.h"
#include "engine/tokenizer_bpe.h"
#include "engine/tokenizer_spm.h"
#include "engine/utf8.h"
#include "engine/vocabulary.h"
#include "kernels/base/status.h"
#include "profiles/gguf.h"

namespace smepilot {

class Tokenizer {
 public:
  Tokenizer() = default;
  static Result<Tokenizer> from_gguf(const GgufFile& gguf);

  // The tokens of any bytes; what is not UTF-8 goes byte by byte and comes back the same from decode().
  // add_special: begin and end tokens are added where the model wants them. parse_special: texts of control tokens
  // ("<|im_end|>") become those tokens; user-defined tokens always do. Fails only if PCRE2 does (memory).
  // No Unicode normalisation is done: callers who want NFC, as Qwen's own tokenizer does, normalise before.
  Result<std::vector<TokenId>> encode(std::string_view text, bool add_special, bool parse_special) const;
  // Of a rendered chat template: special tokens are parsed, and the begin token is added where the model wants one and
  // the template has not written it.
  Result<std::vector<TokenId>> encode_prompt(std::string_view rendered) const;

  // The bytes of one token: empty for one out of range or, unless `special`, for a control token.
  std::string piece(TokenId id, bool special = false) const;
  // The text of tokens. Not necessarily UTF-8. A leading space that encode() added is taken off.
  std::string decode(std::span<const TokenId> ids, bool special = false) const;

  bool is_end(TokenId id) const;  // generation stops here: end of text, of turn, of message
  std::span<const TokenId> end_tokens() const noexcept { return ends_; }
  TokenId bos() const noexcept { return bos_; }  // kNoToken where the model has none
  TokenId eos() const noexcept { return eos_; }
  bool adds_bos() const noexcept { return add_bos_; }
  bool adds_eos() const noexcept { return add_eos_; }
  size_t size() const noexcept { return vocabulary_.size(); }
  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }
  const std::string& model() const noexcept { return model_; }                     // gpt2 or llama
  const std::string& pre_tokenizer() const noexcept { return pre_name_; }          // "" for llama
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }  // for the user

 private:
  // Finds the tokens that are matched in the text before anything else, the longest first.
  struct SpecialTokens {
    std::unordered_map<std::string_view, TokenId> ids;
    std::array<std::vector<size_t>, 256> lengths;  // of those that begin with a byte, longest first
    void add(std::string_view text, TokenId id);
    void seal();
    TokenId match(std::string_view text) const;  // at the start of the text
  };

  Status load(const GgufFile& gguf);
  Status load_special(const GgufFile& gguf);
  Status encode_text(std::string_view text, bool after_special, std::vector<TokenId>& out) const;

  std::string model_, pre_name_;
  Vocabulary vocabulary_;
  PreTokenizer pre_;
  BpeEncoder bpe_;
  SpmEncoder spm_;
  SpecialTokens user_tokens_, special_tokens_;  // user-defined only; with control and unknown ones
  TokenId bos_ = kNoToken, eos_ = kNoToken, unknown_ = kNoToken;
  bool add_bos_ = false, add_eos_ = false, add_space_ = false;
  std::vector<TokenId> ends_;
  std::vector<std::string> warnings_;
};

// Tokens in, text out as soon as it is whole: what a streaming answer prints.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool special = false) : tokenizer_(tokenizer), special_(special) {}
  std::string push(TokenId id) { return utf8_.push(tokenizer_.piece(id, special_)); }
  std::string finish() { return utf8_.finish(); }

 private:
  const Tokenizer& tokenizer_;
  bool special_;
  Utf8Stream utf8_;
};

}  // namespace smepilot
