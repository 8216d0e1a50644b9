// Text for the terminal: tables, progress lines.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace smepilot {

// Columns as wide as their widest cell, one space apart; the last one is cut at `width` columns. Header underlined
// by dashes.
class Table {
 public:
  enum class Align : uint8_t { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const noexcept { return rows_.empty(); }
  std::string text(size_t width = 80) const;  // ends with a newline

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Breaks at spaces so that no line is longer than `width`, each after the first indented; blanks before the
// first word stay. Ends without a newline.
std::string wrap(std::string_view text, size_t width, size_t indent);

// The help of a program within `columns`: what is wider is broken and goes on below its own beginning, or below the
// column of the descriptions. Command lines, which begin with two blanks and a word, stay as they are. Ends with a
// newline.
std::string narrow_help(std::string_view help, size_t columns = 80);
// The names that are most like one that was mistyped, best first, at most `most`; none where nothing is alike.
std::vector<std::string> closest_names(std::string_view name, const std::vector<std::string>& known, size_t most = 3);
// What a message about an unknown name goes on with: "did you mean a or b?", or "known are a, b, c".
std::string suggest_names(std::string_view name, const std::vector<std::string>& known);

// "1-15", "512-", "1": a range whose upper end may be UINT32_MAX.
std::string format_range(uint32_t low, uint32_t high);
// "1:05", "43 s"
std::string format_duration(double seconds);

// The decimal number that is the whole text, as std::from_chars reads it (no blanks, no '+'); that is missing for
// floating point in the C++ libraries of Android and of macOS before 26. Nothing for other texts and beyond the range.
std::optional<double> parse_double(std::string_view text);
// What stands between the quotes of a JSON string.
std::string json_escape(std::string_view text);
// Cut to `width` characters, the last one "…" counted as one.
std::string shorten(std::string_view text, size_t width);

// A line on standard error that is redrawn in place; silent where that is not a terminal, and for the first `quiet_s`
// seconds, so that what is done by then leaves no trace.
class ProgressLine {
 public:
  explicit ProgressLine(double quiet_s = 0);
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  // eta_s < 0: unknown. Redraws at most ten times a second.
  void update(double fraction, std::string_view label, double eta_s);
  // The time left, had everything since the construction gone at the same pace.
  void update(double fraction, std::string_view label);
  void clear();
  bool terminal() const noexcept { return terminal_; }  // is anything drawn?

 private:
  bool terminal_;
  bool drawn_ = false;
  int64_t start_ns_, quiet_ns_, last_ns_ = 0;
};

}  // namespace smepilot
