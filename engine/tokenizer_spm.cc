#include "engine/tokenizer_spm.h"

#include <queue>
#include <string>

#include "engine/utf8.h"

namespace smepilot {
namespace {

// The byte of a text like "<0x0A>", or -1.
int byte_of(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

std::string with_marks(std::string_view text, bool add_space) {
  std::string out;
  if (add_space) out += kSpmSpace;
  for (const char c : text) {
    if (c == ' ') {
      out += kSpmSpace;
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

Result<SpmEncoder> SpmEncoder::create(const GgufFile& gguf, const Vocabulary& vocabulary, TokenId unknown) {
  if (!vocabulary.has_scores()) {
    return error("{}: metadata key \"tokenizer.ggml.scores\" is missing, tokenizer.ggml.model llama needs it",
                 gguf.path());
  }
  SpmEncoder e;
  e.unknown_ = unknown;
  for (int b = 0; b < 256; ++b)
    e.byte_token_[static_cast<size_t>(b)] = vocabulary.find_any(fmt::format("<0x{:02X}>", b));
  return e;
}

void SpmEncoder::encode(const Vocabulary& vocabulary, std::string_view text, bool add_space,
                        std::vector<TokenId>& out) const {
  const std::string marked = with_marks(text, add_space);
  struct Symbol {
    size_t begin, size, prev, next;  // size 0: merged into the one before
  };
  struct Candidate {
    float score;
    size_t left, right, size;  // size of both together when it was found
    bool operator<(const Candidate& o) const { return score != o.score ? score < o.score : left > o.left; }
  };
  constexpr size_t kEnd = ~size_t{0};
  std::vector<Symbol> symbols;
  for (size_t at = 0; at < marked.size();) {
    const Utf8Char c = utf8_decode(std::string_view(marked).substr(at));
    const size_t i = symbols.size();
    symbols.push_back({at, c.bytes, i == 0 ? kEnd : i - 1, i + 1});
    at += c.bytes;
  }
  if (symbols.empty()) return;
  symbols.back().next = kEnd;
  std::priority_queue<Candidate> queue;
  const auto consider = [&](size_t left, size_t right) {
    if (left == kEnd || right == kEnd) return;
    const size_t size = symbols[left].size + symbols[right].size;
    const TokenId id = vocabulary.find(std::string_view(marked).substr(symbols[left].begin, size));
    if (id != kNoToken) queue.push({vocabulary.score(id), left, right, size});
  };
  for (size_t i = 1; i < symbols.size(); ++i) consider(i - 1, i);
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    Symbol &left = symbols[c.left], &right = symbols[c.right];
    if (left.size == 0 || right.size == 0 || left.next != c.right || left.size + right.size != c.size) continue;
    left.size = c.size;
    left.next = right.next;
    right.size = 0;
    if (left.next != kEnd) symbols[left.next].prev = c.left;
    consider(left.prev, c.left);
    consider(c.left, left.next);
  }
  for (size_t i = 0; i != kEnd; i = symbols[i].next) {
    const std::string_view piece = std::string_view(marked).substr(symbols[i].begin, symbols[i].size);
    if (const TokenId id = vocabulary.find(piece); id != kNoToken) {
      out.push_back(id);
      continue;
    }
    for (const char ch : piece) {
      const TokenId id = byte_token_[static_cast<unsigned char>(ch)];
      if (id != kNoToken) {
        out.push_back(id);
      } else if (unknown_ != kNoToken) {
        out.push_back(unknown_);
        break;  // one for the character
      }
    }
  }
}

std::string SpmEncoder::decode(const Vocabulary& vocabulary, TokenId id) {
  std::string_view text = vocabulary.text(id);
  if (vocabulary.type(id) == TokenType::kByte) {
    const int byte = byte_of(text);
    return byte < 0 ? std::string(text) : std::string(1, static_cast<char>(static_cast<unsigned char>(byte)));
  }
  std::string out;
  for (size_t at; (at = text.find(kSpmSpace)) != std::string_view::npos; text.remove_prefix(at + kSpmSpace.size())) {
    out.append(text.substr(0, at)) += ' ';
  }
  return out.append(text);
}

}  // namespace smepilot
