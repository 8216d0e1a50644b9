#include "engine/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "gguf_writer.h"

namespace smepilot {
namespace {

using test::GgufWriter;
using Ids = std::vector<TokenId>;

std::string byte_text(unsigned b) {  // GPT-2's printable form of a byte
  unsigned next = 256;
  for (unsigned i = 0; i <= b; ++i) {
    const bool printable = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
    const unsigned code = printable ? i : next++;
    if (i == b) {
      std::string out;
      utf8_append(out, code);
      return out;
    }
  }
  return {};
}

// Bytes are tokens 0..255; then `more` merges as "left right" and their results; then special tokens.
GgufWriter bpe_file(const std::vector<std::string>& merges, const std::string& pre = "gpt-2", bool with_bytes = true) {
  std::vector<std::string> tokens;
  for (unsigned b = 0; b < 256; ++b) tokens.push_back(with_bytes ? byte_text(b) : "x" + std::to_string(b));
  for (const std::string& m : merges) {
    const size_t space = m.find(' ');
    tokens.push_back(m.substr(0, space) + m.substr(space + 1));
  }
  std::vector<int32_t> types(tokens.size(), 1);
  for (const char* special : {"<s>", "</s>", "<|im_end|>"}) {
    tokens.emplace_back(special);
    types.push_back(3);
  }
  tokens.emplace_back("<tool>");
  tokens.emplace_back("<tool>>");
  types.insert(types.end(), 2, 4);
  const auto first_special = static_cast<uint32_t>(256 + merges.size());
  GgufWriter w;
  w.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", pre).strings("tokenizer.ggml.tokens", tokens);
  w.numbers("tokenizer.ggml.token_type", GgufType::kI32, types).strings("tokenizer.ggml.merges", merges);
  w.u32("tokenizer.ggml.bos_token_id", first_special).u32("tokenizer.ggml.eos_token_id", first_special + 1);
  w.boolean("tokenizer.ggml.add_bos_token", true);
  return w;
}

Result<Tokenizer> load(const GgufWriter& w) {
  const auto file = w.open();  // gone when the tokenizer is used: it owns what it needs
  if (!file.ok()) return file.status();
  return Tokenizer::from_gguf(*file);
}

Ids encode(const Result<Tokenizer>& t, std::string_view text, bool add_special, bool parse_special) {
  auto ids = t->encode(text, add_special, parse_special);
  EXPECT_TRUE(ids.ok()) << ids.message();
  return std::move(ids).value();
}

std::vector<std::string> words(const char* pre, std::string_view text) {
  const auto p = PreTokenizer::create(pre);
  EXPECT_TRUE(p.ok()) << p.message();
  std::vector<std::string_view> out;
  const Status status = p->split(text, out);
  EXPECT_TRUE(status.ok()) << status.message();
  std::string joined;
  for (const auto w : out) joined += w;
  EXPECT_EQ(joined, text);  // no gap, nothing twice
  return {out.begin(), out.end()};
}

TEST(PreTokenizer, CutsAsTheModelsDo) {
  using W = std::vector<std::string>;
  EXPECT_EQ(words("gpt-2", "Don't  stop 12345!\n\n x"), (W{"Don", "'t", " ", " stop", " 12345", "!", "\n\n", " x"}));
  EXPECT_EQ(words("llama-bpe", "DON'T 12345 \xc3\xa9t\xc3\xa9!!\r\n\n  x"),
            (W{"DON", "'T", " ", "123", "45", " \xc3\xa9t\xc3\xa9", "!!\r\n\n", " ", " x"}));
  EXPECT_EQ(words("qwen2", "a12 (b)\n\n  \n c"), (W{"a", "1", "2", " (", "b", ")\n\n", "  \n", " c"}));
  EXPECT_EQ(words("smollm", "a  12"), (W{"a", "  ", "1", "2"}));  // the cut at digits comes first
  EXPECT_EQ(words("default", "a+b 1234"), (W{"a", "+", "b", " ", "123", "4"}));
  EXPECT_EQ(words("gpt-2",
                  "a\xff\xfe\xe2\x96"
                  "b"),
            (W{"a", "\xff\xfe\xe2\x96", "b"}));
  // U+180E is no white space (any more), U+0085 and U+3000 are.
  EXPECT_EQ(words("gpt-2", "a\xe1\xa0\x8e"), (W{"a", "\xe1\xa0\x8e"}));
  EXPECT_EQ(words("gpt-2", "!\xc2\x85\xe3\x80\x80"), (W{"!", "\xc2\x85\xe3\x80\x80"}));
  EXPECT_TRUE(words("qwen2", "").empty());
  const auto unknown = PreTokenizer::create("future-bpe");
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.message().find("\"future-bpe\""), std::string::npos);
  EXPECT_NE(unknown.message().find("llama-bpe"), std::string::npos);
}

TEST(Bpe, MergesByRankNotByPosition) {
  // "abcb": "b c" has the lowest rank, then "a bc".
  const auto t = load(bpe_file({"b c", "a b", "a bc", "abc b"}));
  ASSERT_TRUE(t.ok()) << t.message();
  EXPECT_TRUE(t->warnings().empty());
  EXPECT_EQ(encode(t, "abc", false, false), (Ids{258}));
  EXPECT_EQ(encode(t, "abcb", false, false), (Ids{259}));
  EXPECT_EQ(encode(t, "abab", false, false), (Ids{257, 257}));
  EXPECT_EQ(encode(t, "", true, true), (Ids{260}));
  // The lower rank wins wherever it is; among equal ones the leftmost.
  const auto u = load(bpe_file({"a a", "aa aa"}));
  EXPECT_EQ(encode(u, "aaaaa", false, false), (Ids{257, 'a'}));
  EXPECT_EQ(encode(u, "aaa", false, false), (Ids{256, 'a'}));
}

// The heap gives what the definition gives: merge the leftmost pair of lowest rank until there is none.
TEST(Bpe, AgreesWithThePlainAlgorithm) {
  std::vector<std::string> merges;
  for (const char* m :
       {"a b", "b a", "ab a", "ba b", "a a", "aba b", "aa ab", "b b", "bb aa", "ab ab", "aab a", "abab a"})
    merges.emplace_back(m);
  const auto t = load(bpe_file(merges));
  ASSERT_TRUE(t.ok());
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    std::string text(1 + random() % 40, 'a');
    for (char& c : text) c = random() % 2 == 0 ? 'a' : 'b';
    std::vector<std::string> symbols;
    for (const char c : text) symbols.emplace_back(1, c);
    while (true) {
      size_t best = merges.size(), at = 0;
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        for (size_t r = 0; r < best; ++r) {
          if (merges[r] == symbols[i] + " " + symbols[i + 1]) {
            best = r;
            at = i;
          }
        }
      }
      if (best == merges.size()) break;
      symbols[at] += symbols[at + 1];
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
    std::vector<std::string> found;
    for (const TokenId id : encode(t, text, false, false)) found.push_back(t->piece(id));
    ASSERT_EQ(found, symbols) << text;
  }
}

TEST(Bpe, WholeWordsOnlyForLlama3) {
  // "abc" is a token that merges never reach: "ab" is none.
  const std::vector<std::string> merges = {"b c", "ab c"};
  const auto llama = load(bpe_file(merges, "llama-bpe")), qwen = load(bpe_file(merges, "qwen2"));
  ASSERT_TRUE(llama.ok() && qwen.ok());
  EXPECT_EQ(encode(llama, "abc", false, false), (Ids{257}));
  EXPECT_EQ(encode(qwen, "abc", false, false), (Ids{'a', 256}));
  EXPECT_EQ(llama->pre_tokenizer(), "llama-bpe");
}

TEST(Tokenizer, SpecialTokensComeFirst) {
  const auto t = load(bpe_file({"a b"}));
  ASSERT_TRUE(t.ok());
  const TokenId bos = 257, eos = 258, end = 259, tool = 260, tool2 = 261;
  EXPECT_EQ(encode(t, "ab<|im_end|>ab", true, true), (Ids{bos, 256, end, 256}));
  EXPECT_EQ(encode(t, "<|im_end|>", false, false).size(), 10u);                   // just text
  EXPECT_EQ(encode(t, "<tool>>a<tool>", false, false), (Ids{tool2, 'a', tool}));  // always, the longest first
  EXPECT_EQ(encode(t, "<tool", false, true), (Ids{'<', 't', 'o', 'o', 'l'}));
  EXPECT_EQ(*t->encode_prompt("<s>ab"), (Ids{bos, 256}));
  EXPECT_EQ(*t->encode_prompt("ab"), (Ids{bos, 256}));
  EXPECT_TRUE(t->is_end(eos));
  EXPECT_TRUE(t->is_end(end));
  EXPECT_FALSE(t->is_end(bos));
  EXPECT_FALSE(t->is_end(-1));
  EXPECT_EQ(t->piece(end), "");
  EXPECT_EQ(t->piece(end, true), "<|im_end|>");
  EXPECT_EQ(t->piece(tool), "<tool>");
  EXPECT_EQ(t->piece(99999), "");
  EXPECT_EQ(t->piece(-1), "");
  EXPECT_EQ(t->decode(Ids{bos, 256, end}), "ab");
}

TEST(Tokenizer, AnyBytesComeBack) {
  const auto bpe = load(bpe_file({"a b", byte_text(0xc3) + " " + byte_text(0xa9)}, "qwen2"));
  ASSERT_TRUE(bpe.ok()) << bpe.message();
  std::mt19937 random(11);
  for (int i = 0; i < 300; ++i) {
    std::string text(random() % 200, ' ');
    for (char& c : text) c = static_cast<char>(random() % 3 == 0 ? random() % 256 : 'a' + random() % 3);
    const auto ids = bpe->encode(text, false, true);
    ASSERT_TRUE(ids.ok());
    ASSERT_EQ(bpe->decode(*ids), text);
  }
  const std::string spaces(200000, ' '), letters(200000, 'a');
  EXPECT_EQ(bpe->decode(encode(bpe, spaces, false, false)), spaces);
  EXPECT_EQ(bpe->decode(encode(bpe, letters, false, false)), letters);
}

GgufWriter spm_file(bool bytes = true) {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  std::vector<float> scores = {0, 0, 0};
  for (int b = 0; bytes && b < 256; ++b) {
    tokens.push_back(fmt::format("<0x{:02X}>", b));
    types.push_back(6);
    scores.push_back(0);
  }
  float score = -1;
  for (const char* piece :
       {"\xe2\x96\x81t", "he", "\xe2\x96\x81the", "\xe2\x96\x81", "t", "h", "e", "l", "lo", "hel"}) {
    tokens.emplace_back(piece);
    types.push_back(1);
    scores.push_back(score--);
  }
  GgufWriter w;
  w.string("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", tokens);
  w.numbers("tokenizer.ggml.token_type", GgufType::kI32, types)
      .numbers("tokenizer.ggml.scores", GgufType::kF32, scores);
  return w;
}

TEST(Spm, MergesByScore) {
  const auto t = load(spm_file());
  ASSERT_TRUE(t.ok()) << t.message();
  const auto pieces = [&](const char* text) {
    std::vector<std::string> out;
    for (const TokenId id : encode(t, text, false, true)) out.emplace_back(t->vocabulary().text(id));
    return out;
  };
  using W = std::vector<std::string>;
  const std::string space(kSpmSpace);
  EXPECT_EQ(pieces("the"), (W{space + "the"}));
  EXPECT_EQ(pieces("hello"), (W{space, "hel", "lo"}));  // "he", then "lo", which is better than "hel"
  EXPECT_EQ(pieces("the the"), (W{space + "the", space + "the"}));
  EXPECT_EQ(pieces("\xe2\x82\xac"), (W{space, "<0xE2>", "<0x82>", "<0xAC>"}));
  EXPECT_EQ(pieces("\xff"), (W{space, "<0xFF>"}));
  EXPECT_EQ(pieces(""), W{});
  EXPECT_EQ(pieces("</s>the"), (W{"</s>", space + "the"}));  // the space also follows a special token
  EXPECT_EQ(encode(t, "the", true, false)[0], 1);
  EXPECT_EQ(t->bos(), 1);
  EXPECT_TRUE(t->is_end(2));
  for (const char* text : {"the hello", " the", "\xe2\x82\xac \xff", "  ", ""})
    EXPECT_EQ(t->decode(encode(t, text, true, true)), text);
  const auto without = load(spm_file(false));
  ASSERT_TRUE(without.ok());
  EXPECT_EQ(encode(without, "\xe2\x82\xac", false, false).back(), 0);  // one unknown token for the character
}

TEST(Utf8, StreamHoldsBackPartialCharacters) {
  Utf8Stream s;
  EXPECT_EQ(s.push("a\xe2\x82"), "a");
  EXPECT_EQ(s.push("\xac"
                   "b"),
            "\xe2\x82\xac"
            "b");
  EXPECT_EQ(s.push("\xf0\x9f"), "");
  EXPECT_EQ(s.push("x"), "\xef\xbf\xbdx");  // it can never become a character
  EXPECT_EQ(s.push("\xff\xc0"), "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(s.push("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // a surrogate
  EXPECT_EQ(s.push("\xf0\x9f\x91"), "");
  EXPECT_EQ(s.finish(), "\xef\xbf\xbd");
  EXPECT_EQ(s.finish(), "");
  // Every code point, byte by byte.
  for (uint32_t code = 0; code <= 0x10ffff; code += code < 0x3000 ? 1 : 97) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    std::string text, out;
    utf8_append(text, code);
    for (size_t i = 0; i < text.size(); ++i) {
      const std::string got = s.push(std::string_view(text).substr(i, 1));
      ASSERT_EQ(got.empty(), i + 1 < text.size());
      out += got;
    }
    ASSERT_EQ(out, text);
    const Utf8Char c = utf8_decode(text);
    ASSERT_TRUE(c.valid && c.code == code && c.bytes == text.size());
  }
}

void expect_refused(const GgufWriter& w, std::initializer_list<const char*> parts) {
  const auto t = load(w);
  ASSERT_FALSE(t.ok());
  for (const char* part : parts) EXPECT_NE(t.message().find(part), std::string::npos) << t.message();
}

GgufWriter without_ids(const std::vector<std::string>& tokens) {
  GgufWriter w;
  w.string("tokenizer.ggml.model", "gpt2")
      .string("tokenizer.ggml.pre", "gpt-2")
      .strings("tokenizer.ggml.tokens", tokens);
  return w;
}

TEST(Tokenizer, RefusesDamagedVocabularies) {
  expect_refused(GgufWriter().u32("x", 1).u32("y", 1), {"tokenizer.ggml.model", "missing"});
  expect_refused(GgufWriter().string("tokenizer.ggml.model", "bert"), {"\"bert\"", "gpt2", "llama"});
  expect_refused(GgufWriter().string("tokenizer.ggml.model", "gpt2"), {"tokenizer.ggml.tokens", "missing"});
  expect_refused(without_ids({}), {"tokenizer.ggml.tokens has 0 tokens"});
  expect_refused(without_ids({"a"}), {"tokenizer.ggml.merges", "missing"});
  expect_refused(without_ids({"aa"}).strings("tokenizer.ggml.merges", {}), {"no token for any single byte"});
  expect_refused(without_ids({"a"}).strings("tokenizer.ggml.merges", {"ab"}), {"tokenizer.ggml.merges[0]", "\"ab\""});
  expect_refused(without_ids({"a"}).strings("tokenizer.ggml.merges", {"a "}), {"tokenizer.ggml.merges[0]"});
  expect_refused(without_ids({"a"}).strings("tokenizer.ggml.merges", {""}), {"tokenizer.ggml.merges[0]"});
  expect_refused(without_ids({"a"}).u32("tokenizer.ggml.bos_token_id", 1), {"bos_token_id is 1", "less than 1"});
  expect_refused(without_ids({"a"}).string("tokenizer.ggml.eos_token_id", "x"), {"eos_token_id", "string"});
  expect_refused(without_ids({"a"}).numbers<int32_t>("tokenizer.ggml.token_type", GgufType::kI32, {1, 1}),
                 {"token_type has 2", "1"});
  expect_refused(without_ids({"a"}).numbers<int32_t>("tokenizer.ggml.token_type", GgufType::kI32, {9}),
                 {"token_type[0] is 9"});
  expect_refused(without_ids({"a"}).numbers<float>("tokenizer.ggml.scores", GgufType::kF32, {NAN}), {"scores[0]"});
  expect_refused(bpe_file({}, "unheard-of"), {"test.gguf", "\"unheard-of\"", "llama-bpe"});
  GgufWriter spm;
  spm.string("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", {"a"});
  expect_refused(spm, {"tokenizer.ggml.scores", "missing"});
}

TEST(Tokenizer, WarnsOfWhatItCanLiveWith) {
  GgufWriter w;
  w.string("tokenizer.ggml.model", "gpt2").strings("tokenizer.ggml.tokens", {"a", "b", "a", "a"});
  w.strings("tokenizer.ggml.merges", {"a b", "x y"}).u32("tokenizer.ggml.unknown_token_id", 77);
  const auto t = load(w);
  ASSERT_TRUE(t.ok()) << t.message();
  std::string all;
  for (const std::string& s : t->warnings()) all += s + "\n";
  for (const char* part : {"token 2 has the text \"a\"", "2 tokens in all", "unknown_token_id is 77",
                           "tokenizer.ggml.pre\" is missing", "2 of 2 merges are ignored"}) {
    EXPECT_NE(all.find(part), std::string::npos) << all;
  }
  EXPECT_EQ(encode(t, "ab!a", false, false), (Ids{0, 1, 0}));
}

TEST(Tokenizer, SurvivesBitFlips) {
  std::mt19937_64 random(5);
  for (const auto& whole : {bpe_file({"a b", "ab c"}).build(), spm_file().build()}) {
    int loaded = 0;
    for (int i = 0; i < 3000; ++i) {
      auto bytes = whole;
      bytes[random() % bytes.size()] ^= static_cast<std::byte>(1u << (random() % 8));
      const auto file = GgufFile::from_memory(std::move(bytes), "flipped.gguf");
      if (!file.ok()) continue;
      const auto t = Tokenizer::from_gguf(*file);
      if (!t.ok()) {
        ASSERT_FALSE(t.message().empty());
        continue;
      }
      ++loaded;
      const auto ids = t->encode("the abc hello <|im_end|> \xff", true, true);
      ASSERT_TRUE(ids.ok());
      (void)t->decode(*ids, true);
    }
    EXPECT_GT(loaded, 100);
  }
}

// Reference results of another implementation: line 1 holds the tokens of a prompt and of the answer, then its text as
// bytes.
TEST(Tokenizer, AgreesWithReferenceResults) {
  const std::filesystem::path folder = std::filesystem::path(SMEPILOT_SHARED_DIR) / "models";
  int compared = 0;
  for (const auto& [model, result, prompt] :
       {std::tuple("stories260K-f32", "stories260K-f32-p1", "Once upon a time"),
        std::tuple("stories260K-q8_0", "stories260K-q8_0-p1", "Once upon a time"),
        std::tuple("tiny-llama-q4_0", "tiny-llama-q4_0", "the rain in the land"),
        std::tuple("tiny-llama-q4_k_m", "tiny-llama-q4_k_m", "the rain in the land"),
        std::tuple("tiny-qwen3-q8_0", "tiny-qwen3-q8_0", "the rain in the land"),
        std::tuple("tiny-qwen3moe-q4_0", "tiny-qwen3moe-q4_0", "the rain in the land")}) {
    const auto path = folder / (std::string(model) + ".gguf"),
               expected_path = folder / (std::string(result) + ".greedy.txt");
    if (!std::filesystem::exists(path) || !std::filesystem::exists(expected_path)) continue;
    const auto file = GgufFile::open(path.string());
    ASSERT_TRUE(file.ok()) << file.message();
    const auto t = Tokenizer::from_gguf(*file);
    ASSERT_TRUE(t.ok()) << t.message();
    std::ifstream in(expected_path, std::ios::binary);
    std::string line;
    std::getline(in, line);
    std::istringstream numbers(line);
    Ids ids;
    for (TokenId id; numbers >> id;) ids.push_back(id);
    std::string text((std::istreambuf_iterator<char>(in)), {});
    if (text.ends_with('\n')) text.pop_back();

    const auto encoded = t->encode(prompt, true, true);
    ASSERT_TRUE(encoded.ok());
    ASSERT_GT(ids.size(), encoded->size());
    EXPECT_TRUE(std::equal(encoded->begin(), encoded->end(), ids.begin())) << model;
    std::string answer;  // the text leaves out the last token
    for (size_t i = encoded->size(); i + 1 < ids.size(); ++i) answer += t->piece(ids[i], true);
    EXPECT_EQ(answer, text) << model;
    ++compared;
  }
  if (compared == 0)
    GTEST_SKIP() << "no reference results in " << folder << ": the tokenizers were NOT compared with another one";
  EXPECT_EQ(compared, 6);
}

}  // namespace
}  // namespace smepilot
