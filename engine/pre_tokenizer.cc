#include "engine/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <span>

#include "engine/utf8.h"
#include "profiles/gguf.h"

namespace smepilot {
namespace {

// Unicode's White_Space, spelled out: PCRE2's \s also has U+180E, which the tokenizers of the models do not.
#define WS R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})"
#define CONTRACTIONS "'s|'t|'re|'ve|'m|'ll|'d"

// The patterns that the models publish in their tokenizer.json, \s replaced.
constexpr const char* kGpt2 =
    CONTRACTIONS R"(| ?\p{L}+| ?\p{N}+| ?[^)" WS R"(\p{L}\p{N}]+|[)" WS "]+(?![^" WS "])|[" WS "]+";
constexpr const char* kLlama3 = "(?i:" CONTRACTIONS R"()|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^)" WS
                                R"(\p{L}\p{N}]+[\r\n]*|[)" WS R"(]*[\r\n]+|[)" WS "]+(?![^" WS "])|[" WS "]+";
constexpr const char* kQwen2 = "(?i:" CONTRACTIONS R"()|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^)" WS
                               R"(\p{L}\p{N}]+[\r\n]*|[)" WS R"(]*[\r\n]+|[)" WS "]+(?![^" WS "])|[" WS "]+";
constexpr const char* kDigit = R"(\p{N})";
// What llama.cpp does for files without a name for their cut (src/llama-vocab.cpp, pre type default).
constexpr const char* kPunctuation = R"([\p{P}$+<=>^~|]+)";
constexpr const char* kGpt2NoRest =
    CONTRACTIONS R"(| ?\p{L}+| ?\p{N}+| ?[^)" WS R"(\p{L}\p{N}]+|[)" WS "]+(?![^" WS "])";
constexpr const char* kDigits = R"(\p{N}+)";
constexpr const char* kThreeDigits = "[0-9][0-9][0-9]";

constexpr const char* kGpt2List[] = {kGpt2};
constexpr const char* kLlama3List[] = {kLlama3};
constexpr const char* kQwen2List[] = {kQwen2};
constexpr const char* kSmollmList[] = {kDigit, kGpt2};
constexpr const char* kDefaultList[] = {kPunctuation, kGpt2NoRest, kDigits, kThreeDigits};

struct Cut {
  const char* name;
  std::span<const char* const> patterns;
};
constexpr Cut kCuts[] = {{"llama-bpe", kLlama3List}, {"llama3", kLlama3List}, {"llama-v3", kLlama3List},
                         {"qwen2", kQwen2List},      {"qwen3", kQwen2List},   {"smollm", kSmollmList},
                         {"gpt-2", kGpt2List},       {"gpt2", kGpt2List},     {"default", kDefaultList}};

std::string pcre_message(int code) {
  PCRE2_UCHAR8 text[128];
  pcre2_get_error_message_8(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct PreTokenizer::Pattern {
  pcre2_code_8* code = nullptr;
  Pattern() = default;
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;
  ~Pattern() { pcre2_code_free_8(code); }
};

PreTokenizer::PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

Result<PreTokenizer> PreTokenizer::create(std::string_view name) {
  PreTokenizer out;
  std::string known;
  for (const Cut& cut : kCuts) {
    known += fmt::format("{}{}", known.empty() ? "" : ", ", cut.name);
    if (name != cut.name) continue;
    for (const char* text : cut.patterns) {
      auto pattern = std::make_unique<Pattern>();
      int code = 0;
      PCRE2_SIZE at = 0;
      pattern->code = pcre2_compile_8(reinterpret_cast<PCRE2_SPTR8>(text), PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                                      &code, &at, nullptr);
      if (pattern->code == nullptr) return error("pre-tokenizer {}: {} at {}", name, pcre_message(code), at);
      pcre2_jit_compile_8(pattern->code, PCRE2_JIT_COMPLETE);  // where it cannot, matching is slower, not different
      out.patterns_.push_back(std::move(pattern));
    }
    return out;
  }
  return error("tokenizer.ggml.pre is \"{}\", which is not supported; supported are {}", printable(name), known);
}

Status PreTokenizer::split(std::string_view text, std::vector<std::string_view>& words) const {
  size_t begin = 0, at = 0;
  while (at < text.size()) {
    Utf8Char c = utf8_decode(text.substr(at));
    if (c.valid) {
      at += c.bytes;
      continue;
    }
    if (at > begin) SMEPILOT_TRY(split_valid(0, text.substr(begin, at - begin), words));
    begin = at;
    while (at < text.size() && !(c = utf8_decode(text.substr(at))).valid) at += c.bytes;
    words.push_back(text.substr(begin, at - begin));
    begin = at;
  }
  return at > begin ? split_valid(0, text.substr(begin), words) : Status();
}

Status PreTokenizer::split_valid(size_t pattern, std::string_view text, std::vector<std::string_view>& words) const {
  if (pattern == patterns_.size()) {
    words.push_back(text);
    return {};
  }
  const std::unique_ptr<pcre2_match_data_8, decltype(&pcre2_match_data_free_8)> match(
      pcre2_match_data_create_8(1, nullptr), pcre2_match_data_free_8);
  if (!match) return error("pre-tokenizer: out of memory");
  size_t at = 0;
  while (at < text.size()) {
    const int rc = pcre2_match_8(patterns_[pattern]->code, reinterpret_cast<PCRE2_SPTR8>(text.data()), text.size(), at,
                                 PCRE2_NO_UTF_CHECK, match.get(), nullptr);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) return error("pre-tokenizer: {} at byte {} of a text of {}", pcre_message(rc), at, text.size());
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer_8(match.get());
    if (range[1] <= range[0]) break;  // no pattern here matches nothing
    if (range[0] > at) SMEPILOT_TRY(split_valid(pattern + 1, text.substr(at, range[0] - at), words));
    SMEPILOT_TRY(split_valid(pattern + 1, text.substr(range[0], range[1] - range[0]), words));
    at = range[1];
  }
  return at < text.size() ? split_valid(pattern + 1, text.substr(at), words) : Status();
}

}  // namespace smepilot
