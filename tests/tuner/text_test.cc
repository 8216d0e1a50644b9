#include "kernels/base/text.h"

#include <gtest/gtest.h>

#include <limits>

namespace smepilot {
namespace {

TEST(Table, AlignsAndCutsTheLastColumn) {
  Table t({{"a"}, {"num", Table::Align::kRight}, {"text"}});
  t.add({"x", "1", std::string(100, 'y')});
  t.add({"long", "1234", "z"});
  const std::string text = t.text(30);
  EXPECT_EQ(text.substr(0, text.find('\n')), "a     num text");
  EXPECT_NE(text.find("x       1 yyyyyyyyyyyyyyyyyyy…"), std::string::npos) << text;
  EXPECT_NE(text.find("long 1234 z\n"), std::string::npos) << text;
}

TEST(Wrap, BreaksAtSpaces) {
  EXPECT_EQ(wrap("aaa bbb ccc", 7, 2), "aaa bbb\n  ccc");
  EXPECT_EQ(wrap("", 7, 2), "");
  EXPECT_EQ(wrap("   ", 7, 2), "");
  EXPECT_EQ(wrap("  aaa  bbb ccc", 9, 4), "  aaa bbb\n    ccc");
  EXPECT_EQ(wrap("overlong word", 4, 0), "overlong\nword");
}

TEST(Format, RangesDurationsAndShortening) {
  EXPECT_EQ(format_range(1, 1), "1");
  EXPECT_EQ(format_range(3, 15), "3-15");
  EXPECT_EQ(format_range(64, std::numeric_limits<uint32_t>::max()), "64-");
  EXPECT_EQ(format_duration(43.2), "43 s");
  EXPECT_EQ(format_duration(125), "2:05");
  EXPECT_EQ(shorten("grün", 4), "grün");
  EXPECT_EQ(shorten("grüner", 4), "grü…");
}

TEST(Text, HelpIsNarrowedBelowItsDescriptions) {
  EXPECT_EQ(narrow_help("short\n"), "short\n");
  EXPECT_EQ(narrow_help("  --name      one two three four five six seven eight nine", 40),
            "  --name      one two three four five\n              six seven eight nine\n");
  EXPECT_EQ(narrow_help("  tool a command that is longer than forty columns\n", 40),
            "  tool a command that is longer than forty columns\n");  // to be copied as it is
  EXPECT_EQ(narrow_help("  --type {aaaaaaaa,bbbbbbbb,cccccccc,dddddddd,eeeeeeee}", 40),
            "  --type {aaaaaaaa,bbbbbbbb,cccccccc,\n      dddddddd,eeeeeeee}\n");
}

TEST(Text, ClosestNames) {
  const std::vector<std::string> known = {"llama-3.2-1b", "llama-3.2-3b", "qwen3-4b"};
  EXPECT_EQ(closest_names("llama-3.2-3c", known, 1), std::vector<std::string>{"llama-3.2-3b"});
  EXPECT_EQ(closest_names("qwen3", known), std::vector<std::string>{"qwen3-4b"});
  EXPECT_TRUE(closest_names("mistral", known).empty());
  EXPECT_EQ(suggest_names("lama-3.2-1b", known), "did you mean llama-3.2-1b or llama-3.2-3b?");
  EXPECT_EQ(suggest_names("mistral", known), "known are llama-3.2-1b, llama-3.2-3b, qwen3-4b");
  EXPECT_EQ(suggest_names("x", {}), "known are none");
}

}  // namespace
}  // namespace smepilot
