#include "engine/tokenizer_bpe.h"

#include <algorithm>
#include <queue>

#include "engine/utf8.h"

namespace smepilot {
namespace {

// GPT-2's map of bytes to printable characters: printable Latin-1 stands for itself, the rest for 256, 257, ...
struct ByteMap {
  std::array<uint16_t, 256> code = {};
  std::array<int16_t, 512> byte = {};
  constexpr ByteMap() {
    for (int16_t& b : byte) b = -1;
    uint16_t next = 256;
    for (unsigned b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      code[b] = printable ? static_cast<uint16_t>(b) : next++;
      byte[code[b]] = static_cast<int16_t>(b);
    }
  }
};
constexpr ByteMap kByteMap;

std::string mapped(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) utf8_append(out, kByteMap.code[static_cast<unsigned char>(c)]);
  return out;
}

}  // namespace

std::string BpeEncoder::decode(std::string_view token_text) {
  std::string out;
  while (!token_text.empty()) {
    const Utf8Char c = utf8_decode(token_text);
    const int byte = c.valid && c.code < kByteMap.byte.size() ? kByteMap.byte[c.code] : -1;
    if (byte >= 0) {
      out += static_cast<char>(static_cast<unsigned char>(byte));
    } else {
      out += token_text.substr(0, c.bytes);  // not of this scheme: as it is
    }
    token_text.remove_prefix(c.bytes);
  }
  return out;
}

size_t BpeEncoder::slot(uint64_t pair) const noexcept {
  const size_t mask = table_.size() - 1;
  uint64_t h = pair * 0x9e3779b97f4a7c15u;
  h ^= h >> 32;
  size_t i = static_cast<size_t>(h) & mask;
  while (table_[i].pair != pair && table_[i].pair != kEmpty) i = (i + 1) & mask;
  return i;
}

const BpeEncoder::Merge* BpeEncoder::find(TokenId left, TokenId right) const noexcept {
  if (left < 0 || right < 0) return nullptr;
  const Merge& m = table_[slot(pair_of(left, right))];
  return m.pair == kEmpty ? nullptr : &m;
}

Result<BpeEncoder> BpeEncoder::create(const GgufFile& gguf, const Vocabulary& vocabulary, TokenId unknown,
                                      std::vector<std::string>& warnings) {
  BpeEncoder e;
  e.unknown_ = unknown;
  SMEPILOT_ASSIGN(const std::vector<std::string_view> merges, gguf.get_strings("tokenizer.ggml.merges"));
  size_t missing_bytes = 0;
  for (unsigned b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(static_cast<unsigned char>(b));
    e.byte_token_[b] = vocabulary.find(mapped({&byte, 1}));
    missing_bytes += e.byte_token_[b] == kNoToken;
  }
  if (missing_bytes == 256) {
    return error(
        "{}: tokenizer.ggml.tokens has no token for any single byte, expected the byte-level vocabulary of "
        "tokenizer.ggml.model gpt2",
        gguf.path());
  }
  size_t capacity = 16;
  while (capacity < 2 * merges.size() + 1) capacity *= 2;
  e.table_.resize(capacity);
  size_t unknown_merges = 0, first_unknown = 0;
  std::string joined;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string_view merge = merges[rank];
    const size_t space = merge.find(' ', 1);  // a part is never empty, and a space is written as another character
    if (space == std::string_view::npos || space + 1 >= merge.size()) {
      return error("{}: tokenizer.ggml.merges[{}] is \"{}\", expected two tokens and a space between them", gguf.path(),
                   rank, printable(merge));
    }
    const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
    joined.assign(left).append(right);
    const TokenId l = vocabulary.find(left), r = vocabulary.find(right), m = vocabulary.find(joined);
    if (l == kNoToken || r == kNoToken || m == kNoToken) {
      if (unknown_merges++ == 0) first_unknown = rank;
      continue;
    }
    Merge& entry = e.table_[e.slot(pair_of(l, r))];
    if (entry.pair == kEmpty) entry = {pair_of(l, r), static_cast<uint32_t>(rank), m};
  }
  if (unknown_merges > 0) {
    warnings.push_back(
        fmt::format("{}: {} of {} merges are ignored, since a part or the result is not a token; the first "
                    "is tokenizer.ggml.merges[{}] = \"{}\"",
                    gguf.path(), unknown_merges, merges.size(), first_unknown, printable(merges[first_unknown])));
  }
  return e;
}

void BpeEncoder::encode(const Vocabulary& vocabulary, std::string_view word, std::vector<TokenId>& out) const {
  if (whole_words_) {
    if (const TokenId id = vocabulary.find(mapped(word)); id != kNoToken) {
      out.push_back(id);
      return;
    }
  }
  struct Symbol {
    TokenId id;
    size_t prev, next;
  };
  struct Candidate {
    uint32_t rank;
    size_t left, right;
    TokenId left_id, right_id, merged;
    bool operator<(const Candidate& o) const { return std::pair(rank, left) > std::pair(o.rank, o.left); }
  };
  constexpr size_t kEnd = ~size_t{0};
  std::vector<Symbol> symbols(word.size());
  std::priority_queue<Candidate> queue;
  const auto consider = [&](size_t left, size_t right) {
    if (left == kEnd || right == kEnd) return;
    if (const Merge* m = find(symbols[left].id, symbols[right].id)) {
      queue.push({m->rank, left, right, symbols[left].id, symbols[right].id, m->merged});
    }
  };
  for (size_t i = 0; i < word.size(); ++i) {
    symbols[i] = {byte_token_[static_cast<unsigned char>(word[i])], i == 0 ? kEnd : i - 1,
                  i + 1 == word.size() ? kEnd : i + 1};
  }
  for (size_t i = 1; i < word.size(); ++i) consider(i - 1, i);
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    Symbol& left = symbols[c.left];
    // Outdated where either side has been merged meanwhile; a symbol merged away has no successor that is c.right.
    if (left.id != c.left_id || left.next != c.right || symbols[c.right].id != c.right_id) continue;
    left.id = c.merged;
    left.next = symbols[c.right].next;
    symbols[c.right].next = kEnd;
    symbols[c.right].id = kNoToken;
    if (left.next != kEnd) symbols[left.next].prev = c.left;
    consider(left.prev, c.left);
    consider(c.left, left.next);
  }
  if (word.empty()) return;
  for (size_t i = 0; i != kEnd; i = symbols[i].next) {
    if (symbols[i].id != kNoToken) {
      out.push_back(symbols[i].id);
    } else if (unknown_ != kNoToken) {
      out.push_back(unknown_);
    }
  }
}

}  // namespace smepilot
