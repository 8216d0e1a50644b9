#include "engine/jinja_lexer.h"

#include <algorithm>

#include "engine/utf8.h"
#include "profiles/gguf.h"

namespace smepilot::jinja {
namespace {

constexpr size_t kMaxSource = 1u << 20;

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  Status run(std::vector<Token>& out) {
    out_ = &out;
    while (at_ < source_.size()) SMEPILOT_TRY(text_and_tag());
    add(TokenKind::kEnd, "");
    return {};
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  void add(TokenKind kind, std::string text) { out_->push_back({kind, line_, std::move(text)}); }
  void advance(size_t n) {
    line_ += static_cast<uint32_t>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                              source_.begin() + static_cast<ptrdiff_t>(at_ + n), '\n'));
    at_ += n;
  }
  void skip_spaces() {
    size_t n = 0;
    while (at_ + n < source_.size() && is_space(source_[at_ + n])) ++n;
    advance(n);
  }
  void after_tag(char sign, bool trim_newline) {
    if (sign == '-') {
      skip_spaces();
    } else if (sign != '+' && trim_newline && rest().starts_with('\n')) {
      advance(1);
    }
    line_start_ = at_ > 0 && source_[at_ - 1] == '\n';
  }

  // Text up to the next tag, with the whitespace that the tag's sign takes away removed, and the tag.
  Status text_and_tag() {
    size_t open = at_;
    while ((open = source_.find('{', open)) != std::string::npos) {
      const char kind = open + 1 < source_.size() ? source_[open + 1] : ' ';
      if (kind == '{' || kind == '%' || kind == '#') break;
      ++open;
    }
    if (open == std::string::npos) {
      add(TokenKind::kData, std::string(rest()));
      at_ = source_.size();
      return {};
    }
    const char kind = source_[open + 1];
    const char sign =
        open + 2 < source_.size() && (source_[open + 2] == '-' || source_[open + 2] == '+') ? source_[open + 2] : ' ';
    std::string_view text = rest().substr(0, open - at_);
    if (sign == '-') {
      while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    } else if (sign != '+' && kind != '{') {
      const size_t line = text.rfind('\n') + 1;  // 0 if there is no newline
      const std::string_view indent = text.substr(line);
      if ((line > 0 || line_start_) && indent.find_first_not_of(" \t") == std::string_view::npos)
        text = text.substr(0, line);
    }
    if (!text.empty()) add(TokenKind::kData, std::string(text));
    advance(open - at_);
    if (kind == '#') return comment();
    const uint32_t opened = line_;
    advance(sign == ' ' ? 2 : 3);
    add(kind == '{' ? TokenKind::kOpenOutput : TokenKind::kOpenTag, "");
    if (kind == '%' && raw()) return raw_text();
    return tag(kind == '{' ? "}}" : "%}", opened);
  }

  Status comment() {
    const size_t end = source_.find("#}", at_ + 2);
    if (end == std::string::npos) return error("line {}: a comment {{# is not closed", line_);
    const char sign = end > at_ + 2 ? source_[end - 1] : ' ';
    advance(end + 2 - at_);
    after_tag(sign, true);
    return {};
  }

  // Past "raw %}" if that is what the tag says.
  bool raw() {
    size_t i = at_;
    const auto spaces = [&] {
      while (i < source_.size() && is_space(source_[i])) ++i;
    };
    spaces();
    if (source_.compare(i, 3, "raw") != 0) return false;
    i += 3;
    spaces();
    const char sign = i < source_.size() ? source_[i] : ' ';
    if (sign == '-' || sign == '+') ++i;
    if (source_.compare(i, 2, "%}") != 0) return false;
    advance(i + 2 - at_);
    after_tag(sign, true);
    return true;
  }

  Status raw_text() {
    out_->pop_back();
    const uint32_t opened = line_;
    for (size_t open = at_; (open = source_.find("{%", open)) != std::string::npos; ++open) {
      size_t i = open + 2;
      const char sign = i < source_.size() ? source_[i] : ' ';
      if (sign == '-' || sign == '+') ++i;
      while (i < source_.size() && is_space(source_[i])) ++i;
      if (source_.compare(i, 6, "endraw") != 0) continue;
      i += 6;
      while (i < source_.size() && is_space(source_[i])) ++i;
      const char end_sign = i < source_.size() ? source_[i] : ' ';
      if (end_sign == '-' || end_sign == '+') ++i;
      if (source_.compare(i, 2, "%}") != 0) continue;
      std::string_view text = rest().substr(0, open - at_);
      while (sign == '-' && !text.empty() && is_space(text.back())) text.remove_suffix(1);
      if (!text.empty()) add(TokenKind::kData, std::string(text));
      advance(i + 2 - at_);
      after_tag(end_sign, true);
      return {};
    }
    return error("line {}: raw is not closed by endraw", opened);
  }

  Status tag(std::string_view close, uint32_t opened) {
    unsigned brackets = 0;  // "}}" may also close two dicts
    while (true) {
      skip_spaces();
      if (at_ >= source_.size()) return error("line {}: a tag is not closed by {}", opened, close);
      const std::string_view r = rest();
      if (brackets == 0) {
        const bool signed_close = (r[0] == '-' || r[0] == '+') && r.substr(1).starts_with(close);
        if (signed_close || r.starts_with(close)) {
          const char sign = signed_close ? r[0] : ' ';
          add(TokenKind::kClose, "");
          advance(signed_close ? 3 : 2);
          after_tag(sign, close == "%}");
          return {};
        }
      }
      if (r[0] == '\'' || r[0] == '"') {
        SMEPILOT_TRY(string_literal());
      } else if (is_digit(r[0])) {
        number();
      } else if (is_name_start(r[0])) {
        size_t n = 1;
        while (n < r.size() && (is_name_start(r[n]) || is_digit(r[n]))) ++n;
        add(TokenKind::kName, std::string(r.substr(0, n)));
        advance(n);
      } else {
        constexpr std::string_view kOperators[] = {"==", "!=", "<=", ">=", "//", "**", "+", "-", "*",
                                                   "/",  "%",  "~",  "|",  "(",  ")",  "[", "]", "{",
                                                   "}",  ".",  ",",  ":",  "=",  "<",  ">"};
        const auto* op =
            std::find_if(std::begin(kOperators), std::end(kOperators), [&](auto o) { return r.starts_with(o); });
        if (op == std::end(kOperators)) {
          return error("line {}: unexpected \"{}\" in a tag", line_, printable(r.substr(0, utf8_decode(r).bytes)));
        }
        if (*op == "(" || *op == "[" || *op == "{") ++brackets;
        if ((*op == ")" || *op == "]" || *op == "}") && brackets > 0) --brackets;
        add(TokenKind::kOperator, std::string(*op));
        advance(op->size());
      }
    }
  }

  void number() {
    const std::string_view r = rest();
    size_t n = 0;
    while (n < r.size() && (is_digit(r[n]) || r[n] == '_')) ++n;
    bool real = false;
    if (n + 1 < r.size() && r[n] == '.' && is_digit(r[n + 1])) {
      real = true;
      for (++n; n < r.size() && is_digit(r[n]);) ++n;
    }
    if (n < r.size() && (r[n] == 'e' || r[n] == 'E')) {
      size_t e = n + 1;
      if (e < r.size() && (r[e] == '+' || r[e] == '-')) ++e;
      if (e < r.size() && is_digit(r[e])) {
        real = true;
        for (n = e; n < r.size() && is_digit(r[n]);) ++n;
      }
    }
    std::string text(r.substr(0, n));
    std::erase(text, '_');
    add(real ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
    advance(n);
  }

  // Python's escapes; an unknown one stays as it is.
  Status string_literal() {
    const char quote = source_[at_];
    const uint32_t opened = line_;
    std::string text;
    size_t i = at_ + 1;
    for (; i < source_.size() && source_[i] != quote; ++i) {
      if (source_[i] != '\\' || i + 1 >= source_.size()) {
        text += source_[i];
        continue;
      }
      const char c = source_[++i];
      constexpr std::string_view kFrom = "ntrabfv0\\'\"", kTo = {"\n\t\r\a\b\f\v\0\\'\"", 11};
      if (c == 'x' || c == 'u' || c == 'U') {
        const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        uint32_t code = 0;
        for (size_t d = 1; d <= digits; ++d) {
          const char h = i + d < source_.size() ? source_[i + d] : ' ';
          const int v = is_digit(h)            ? h - '0'
                        : h >= 'a' && h <= 'f' ? h - 'a' + 10
                        : h >= 'A' && h <= 'F' ? h - 'A' + 10
                                               : -1;
          if (v < 0)
            return error("line {}: a string has the escape \\{}, expected {} hex digits after it", line_, c, digits);
          code = code * 16 + static_cast<uint32_t>(v);
        }
        const bool valid = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
        utf8_append(text, valid ? code : kReplacement);
        i += digits;
      } else if (const size_t k = kFrom.find(c); k != std::string_view::npos) {
        text += kTo[k];
      } else if (c != '\n') {  // a backslash before a newline joins lines
        (text += '\\') += c;
      }
    }
    if (i >= source_.size()) return error("line {}: a string is not closed by {}", opened, quote);
    add(TokenKind::kString, std::move(text));
    advance(i + 1 - at_);
    return {};
  }

  std::string source_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  bool line_start_ = true;  // the text at at_ begins a line
  std::vector<Token>* out_ = nullptr;
};

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view source) {
  if (source.size() > kMaxSource)
    return error("the template has {} bytes, expected at most {}", source.size(), kMaxSource);
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  std::vector<Token> tokens;
  SMEPILOT_TRY(Lexer(std::move(text)).run(tokens));
  return tokens;
}

}  // namespace smepilot::jinja
