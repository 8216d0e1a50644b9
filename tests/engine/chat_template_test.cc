#include "engine/chat_template.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "engine/jinja_interpreter.h"
#include "gguf_writer.h"

namespace smepilot {
namespace {

constexpr auto kNow = 1700000000;  // as in data/make_expected.py, which wrote what these tests expect with Jinja itself

std::string read(const std::string& name) {
  std::ifstream file(std::filesystem::path(SMEPILOT_SOURCE_DIR) / "tests/engine/data" / name, std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> records(const std::string& name) {
  std::string text = read(name);
  if (!text.empty()) text.pop_back();  // the file's final newline
  constexpr std::string_view kSeparator = "\n%%%%\n";
  std::vector<std::string> out;
  size_t at = 0;
  for (size_t end; (end = text.find(kSeparator, at)) != std::string::npos; at = end + kSeparator.size()) {
    out.push_back(text.substr(at, end - at));
  }
  out.push_back(text.substr(at));
  return out;
}

std::string render(const std::string& source, std::span<const ChatMessage> messages, ChatOptions options) {
  options.now = std::chrono::system_clock::from_time_t(kNow);
  const auto t = ChatTemplate::from_source(source, "<s>", "</s>", "test");
  if (!t.ok() || !t->note().empty()) return "ERROR";
  const auto text = t->render(messages, options);
  return text.ok() ? *text : "ERROR";
}

std::string message_of(const std::string& source) {
  const auto t = ChatTemplate::from_source(source, "", "", "test.gguf");
  if (!t.ok()) return t.message();
  const auto text = t->render({});
  return text.ok() ? "rendered: " + text->substr(0, 100) : text.message();
}

class ChatTemplateTest : public testing::Test {
 protected:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    tzset();
  }
};

TEST_F(ChatTemplateTest, ExpressionsAndWhitespaceAreAsInJinja) {
  const std::vector<std::string> snippets = records("snippets.txt"), expected = records("snippets.expected.txt");
  ASSERT_EQ(snippets.size(), expected.size());
  ASSERT_GT(snippets.size(), 40u);
  ChatOptions options;
  options.add_generation_prompt = false;
  for (size_t i = 0; i < snippets.size(); ++i) EXPECT_EQ(render(snippets[i], {}, options), expected[i]) << snippets[i];
}

TEST_F(ChatTemplateTest, ConversationsAreAsInJinja) {
  const std::vector<std::vector<ChatMessage>> conversations = {
      {{"user", "Hello"}},
      {{"system", " You are kind. \n"}, {"user", "  Hi \u00e9 \U0001f44d "}},
      {{"user", "a"}, {"assistant", "b"}, {"user", "c"}},
      {{"system", "s"},
       {"user", "a"},
       {"assistant", "<think>\nhmm\n</think>\n\nb"},
       {"user", "c"},
       {"assistant", "<think>\nx\n</think>\n\nlast"}},
      {{"user", "q"}, {"assistant", "one"}, {"assistant", "two"}},
      {{"user", "{{ x }} {% if %} \"quotes\" \\ <|im_end|>\n\n"}},
      {{"wizard", "hm"}},
      {},
  };
  for (const std::string name : {"thinking_style", "header_style"}) {
    const std::string source = read(name + ".jinja");
    const std::vector<std::string> expected = records(name + ".expected.txt");
    ASSERT_EQ(expected.size(), conversations.size() * 4);
    size_t i = 0;
    for (const auto& messages : conversations) {
      for (const bool generate : {false, true}) {
        for (const bool more : {false, true}) {
          ChatOptions options;
          options.add_generation_prompt = generate;
          if (more) {
            options.enable_thinking = false;
            options.date_string = "26 Jul 2024";
          }
          EXPECT_EQ(render(source, messages, options), expected[i]) << name << " " << i;
          ++i;
        }
      }
    }
  }
}

TEST_F(ChatTemplateTest, ErrorsNameTheConstructAndItsLine) {
  EXPECT_EQ(message_of("a\n{{ x | frobnicate }}"),
            "test.gguf: tokenizer.chat_template, line 2: the filter \"frobnicate\" is not supported");
  EXPECT_EQ(message_of("\n\n{% include 'x' %}"),
            "test.gguf: tokenizer.chat_template, line 3: the statement \"include\" is not supported");
  EXPECT_EQ(message_of("{{ 1 is weird }}"),
            "test.gguf: tokenizer.chat_template, line 1: the test \"weird\" is not supported");
  EXPECT_EQ(message_of("x\n{{ cycler(1) }}"),
            "test.gguf: tokenizer.chat_template, line 2: the function \"cycler\" is not supported");
  EXPECT_EQ(
      message_of("{{ 'a'.zfill(3) }}"),
      "test.gguf: tokenizer.chat_template, line 1: the method \"zfill\" of str is not supported with these arguments");
  EXPECT_EQ(
      message_of("{{ raise_exception('two system\nmessages') }}"),
      "test.gguf: tokenizer.chat_template, line 1: the template refuses this conversation: two system\\x0amessages");
  EXPECT_EQ(message_of("{% if a %}\n"),
            "test.gguf: tokenizer.chat_template, line 1: the template ends before \"endif\"");
  for (const char* broken : {"{{ 1 + }}",
                             "{{ 'a }}",
                             "{{ (1 }}",
                             "{% for %}",
                             "{# x",
                             "{% raw %}x",
                             "{{ a[ }}",
                             "{{ [1 }}",
                             "{% endif %}",
                             "{% if 1 %}{% endfor %}",
                             "{{ 99999999999999999999 }}",
                             "{{ a b }}",
                             "{{ \"\\x1\" }}",
                             "{% set %}",
                             "{{",
                             "{%",
                             "{{ ? }}",
                             "{% break %}",
                             "{% macro m( %}",
                             "{{ f(*a) }}"}) {
    const std::string message = message_of(broken);
    EXPECT_NE(message.find("line "), std::string::npos) << broken << ": " << message;
    EXPECT_EQ(message.find("rendered"), std::string::npos) << broken;
  }
}

TEST_F(ChatTemplateTest, FallsBackOnlyForAKnownFamilyAndSaysSo) {
  const ChatMessage messages[] = {{"system", "S"}, {"user", "U"}};
  const auto chatml = ChatTemplate::from_source("{% include 'x' %}<|im_start|>", "<s>", "", "m.gguf");
  ASSERT_TRUE(chatml.ok()) << chatml.message();
  EXPECT_NE(chatml->note().find("\"include\""), std::string::npos);
  EXPECT_NE(chatml->note().find("built-in ChatML form"), std::string::npos);
  EXPECT_EQ(*chatml->render(messages),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n");
  const auto llama = ChatTemplate::from_source("{% include 'x' %}<|start_header_id|>", "<s>", "", "m.gguf");
  ASSERT_TRUE(llama.ok());
  EXPECT_EQ(*llama->render(messages),
            "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU<"
            "|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_FALSE(ChatTemplate::from_source("{% include 'x' %}", "", "", "m.gguf").ok());
}

// None of these may crash, hang or take the machine's memory.
TEST_F(ChatTemplateTest, HostileTemplatesEndInAMessage) {
  const auto repeat = [](const std::string& s, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += s;
    return out;
  };
  const std::string hostile[] = {
      "{{ " + repeat("(", 100000) + " }}",
      "{{ " + repeat("[", 5000) + repeat("]", 5000) + " }}",
      "{{ 1" + repeat(" + 1", 50000) + " }}",
      "{{ " + repeat("not ", 50000) + "1 }}",
      "{{ " + repeat("-", 50000) + "1 }}",
      "{{ a" + repeat(".b", 50000) + " }}",
      "{{ a" + repeat("|trim", 50000) + " }}",
      "{{ " + repeat("1 if 1 else ", 50000) + "1 }}",
      repeat("{% if 1 %}", 20000),
      repeat("{% for x in [1] %}", 20000),
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m(n) %}{{ m(n) ~ m(n) }}{% endmacro %}{{ m(1) }}",
      "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s "
      "}}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(1000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | "
      "tojson }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l == ns.l "
      "}}",
      "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
      "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}",
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
      "{{ range(9223372036854775807)|length }}",
      "{{ 9223372036854775807 + 1 }}",
      "{{ (0 - 9223372036854775807 - 1) // -1 }}",
      "{{ 1 // 0 }}{{ 1 % 0 }}",
      "{{ 10 ** 400 }}",
      "{{ [1][::0] }}",
      std::string((1 << 20) + 1, 'x'),
  };
  for (const std::string& source : hostile) {
    const std::string message = message_of(source);
    EXPECT_NE(message.find("test.gguf"), std::string::npos) << source.substr(0, 80) << " -> " << message;
  }
  // Odd, but with a meaning.
  EXPECT_EQ(message_of("{{ [1,2][-9223372036854775807:9223372036854775807:9223372036854775807] }}"), "rendered: [1]");
  EXPECT_EQ(message_of("{{ 'ab'|replace('', 'x') }}"), "rendered: ab");
}

TEST_F(ChatTemplateTest, SurvivesDamagedTemplates) {
  const std::string whole = read("header_style.jinja") + read("thinking_style.jinja");
  std::mt19937 random(7);
  const ChatMessage messages[] = {{"system", "S"}, {"user", "U"}, {"assistant", "A"}};
  int rendered = 0, refused = 0;
  for (int i = 0; i < 1500; ++i) {
    std::string source = whole;
    for (int f = 0; f < 3; ++f) {
      const size_t at = random() % source.size();
      switch (random() % 3) {
        case 0: source[at] = static_cast<char>(random()); break;
        case 1: source.erase(at, random() % 20); break;
        default: source.insert(at, whole, random() % whole.size(), random() % 20); break;
      }
    }
    const auto t = ChatTemplate::from_source(source, "", "", "damaged");
    if (t.ok() && t->note().empty() && t->render(messages).ok()) {
      ++rendered;
    } else {
      ++refused;
    }
  }
  EXPECT_GT(rendered, 50);
  EXPECT_GT(refused, 50);
}

TEST_F(ChatTemplateTest, ComesFromTheFile) {
  test::GgufWriter w;
  w.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "gpt-2").strings("tokenizer.ggml.merges", {});
  w.strings("tokenizer.ggml.tokens", {"a", "b", "<|im_start|>", "<|im_end|>", "<s>"});
  w.numbers<int32_t>("tokenizer.ggml.token_type", GgufType::kI32, {1, 1, 3, 3, 3})
      .u32("tokenizer.ggml.bos_token_id", 4);
  const auto load = [](const test::GgufWriter& writer) -> Result<ChatTemplate> {
    const auto file = writer.open();
    if (!file.ok()) return file.status();
    const auto tokenizer = Tokenizer::from_gguf(*file);
    if (!tokenizer.ok()) return tokenizer.status();
    return ChatTemplate::from_gguf(*file, *tokenizer);
  };
  const auto without = load(w);
  ASSERT_TRUE(without.ok()) << without.message();
  EXPECT_EQ(without->family(), ChatTemplate::Family::kChatMl);
  EXPECT_NE(without->note().find("chat_template\" is missing"), std::string::npos);
  const auto with = load(w.string("tokenizer.chat_template", "{{ bos_token }}{{ messages[0].content }}"));
  ASSERT_TRUE(with.ok()) << with.message();
  EXPECT_EQ(with->note(), "");
  const ChatMessage messages[] = {{"user", "U"}};
  EXPECT_EQ(*with->render(messages), "<s>U");
}

}  // namespace
}  // namespace smepilot
