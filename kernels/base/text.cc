#include "kernels/base/text.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

namespace smepilot {
namespace {

// Characters, not bytes: continuation bytes of UTF-8 do not count.
size_t columns_of(std::string_view s) noexcept {
  return static_cast<size_t>(
      std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

std::string json_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out;
}

std::string shorten(std::string_view text, size_t width) {
  if (columns_of(text) <= width) return std::string(text);
  std::string out;
  size_t seen = 0;
  for (const char c : text) {
    const bool starts = (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    if (starts && ++seen >= std::max<size_t>(width, 1)) break;
    out += c;
  }
  return out + "…";
}

std::string Table::text(size_t width) const {
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t w = columns_of(columns_[c].title);
    for (const auto& row : rows_)
      if (c < row.size()) w = std::max(w, columns_of(row[c]));
    widths.push_back(w);
  }
  size_t before = 0;
  for (size_t c = 0; c + 1 < widths.size(); ++c) before += widths[c] + 1;
  if (!widths.empty() && before + widths.back() > width) widths.back() = width > before + 8 ? width - before : 8;

  std::string out;
  const auto line = [&](const auto& cell_of) {
    std::string l;
    for (size_t c = 0; c < columns_.size(); ++c) {
      const std::string cell = shorten(cell_of(c), widths[c]);
      const std::string padding(widths[c] - std::min(widths[c], columns_of(cell)), ' ');
      if (c > 0) l += ' ';
      l += columns_[c].align == Align::kRight ? padding + cell : cell + padding;
    }
    while (!l.empty() && l.back() == ' ') l.pop_back();
    out += l + '\n';
  };
  line([&](size_t c) { return columns_[c].title; });
  line([&](size_t c) { return std::string(widths[c], '-'); });
  for (const auto& row : rows_) line([&](size_t c) { return c < row.size() ? row[c] : std::string(); });
  return out;
}

std::string wrap(std::string_view text, size_t width, size_t indent) {
  const size_t blanks = std::min(text.find_first_not_of(' '), text.size());
  std::string out(blanks == text.size() ? 0 : blanks, ' ');
  size_t column = blanks;
  for (bool first = true; !text.empty();) {
    const size_t space = text.find(' ');
    const std::string_view word = text.substr(0, space);
    text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
    if (word.empty()) continue;
    const size_t w = columns_of(word);
    if (!first && column + 1 + w > width) {
      out += '\n' + std::string(indent, ' ');
      column = indent;
    } else if (!first) {
      out += ' ';
      ++column;
    }
    first = false;
    out += word;
    column += w;
  }
  return out;
}

std::string narrow_help(std::string_view help, size_t columns) {
  std::string out;
  while (!help.empty()) {
    const size_t end = std::min(help.find('\n'), help.size());
    const std::string_view line = help.substr(0, end);
    help.remove_prefix(std::min(end + 1, help.size()));
    const size_t indent = std::min(line.find_first_not_of(' '), line.size());
    const size_t gap = line.find("  ", indent);
    const size_t text =
        gap == std::string_view::npos ? indent : std::min(line.find_first_not_of(' ', gap), line.size());
    if (columns_of(line) > columns && text + 20 < columns &&
        (gap != std::string_view::npos || indent == 0 || indent > 8)) {
      // The words count from their own column; the lines after the first are moved there.
      out += line.substr(0, text);
      const std::string words = wrap(line.substr(text), columns - text, 0);
      for (const char c : words) {
        out += c;
        if (c == '\n') out.append(text, ' ');
      }
    } else if (const size_t comma = line.rfind(',', columns - 1);
               columns_of(line) > columns && comma != std::string_view::npos && line.find('{') < comma) {
      // A name with many values to choose from.
      out += std::string(line.substr(0, comma + 1)) + '\n' + std::string(indent + 4, ' ');
      out += line.substr(comma + 1);
    } else {
      out += line;
    }
    out += '\n';
  }
  return out;
}

namespace {

// How many characters have to be changed, left out or put in.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::vector<std::string> closest_names(std::string_view name, const std::vector<std::string>& known, size_t most) {
  std::vector<std::pair<size_t, std::string>> found;
  for (const std::string& candidate : known) {
    // The beginning or another part of a name is as good as a slip.
    const size_t distance =
        name.size() > 2 && candidate.find(name) != std::string::npos ? 1 : edit_distance(name, candidate);
    if (distance <= std::max<size_t>(2, name.size() / 3)) found.emplace_back(distance, candidate);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> out;
  for (size_t i = 0; i < std::min(most, found.size()); ++i) out.push_back(std::move(found[i].second));
  return out;
}

std::string suggest_names(std::string_view name, const std::vector<std::string>& known) {
  const std::vector<std::string> close = closest_names(name, known);
  std::string list;
  for (size_t i = 0; i < close.size(); ++i) list += (i == 0 ? "" : i + 1 == close.size() ? " or " : ", ") + close[i];
  if (!list.empty()) return "did you mean " + list + "?";
  for (const std::string& k : known) list += (list.empty() ? "" : ", ") + k;
  return "known are " + (list.empty() ? "none" : list);
}

std::string format_range(uint32_t low, uint32_t high) {
  if (low == high) return fmt::format("{}", low);
  if (high == std::numeric_limits<uint32_t>::max()) return fmt::format("{}-", low);
  return fmt::format("{}-{}", low, high);
}

std::string format_duration(double seconds) {
  const auto s = int64_t{std::llround(seconds)};
  if (s < 100) return fmt::format("{} s", s);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

std::optional<double> parse_double(std::string_view text) {
  const size_t sign = text.starts_with('-') ? 1 : 0;
  // What strtod takes beyond that: blanks, '+', hexadecimal digits, words.
  if (text.size() == sign || text.find_first_not_of("0123456789.eE+-") != std::string_view::npos || text[sign] == '+' ||
      text[sign] == '-')
    return {};
  const std::string copy(text);
  char* end = nullptr;
  const double value = std::strtod(copy.c_str(), &end);  // no program of ours leaves the locale "C"
  if (end != copy.c_str() + copy.size() || !std::isfinite(value)) return {};
  return value;
}

ProgressLine::ProgressLine(double quiet_s)
    : terminal_(isatty(STDERR_FILENO) != 0), start_ns_(now_ns()), quiet_ns_(static_cast<int64_t>(quiet_s * 1e9)) {}

void ProgressLine::update(double fraction, std::string_view label) {
  constexpr double kTooEarly = 0.02;  // to tell a pace
  const double elapsed_s = static_cast<double>(now_ns() - start_ns_) * 1e-9;
  update(fraction, label, fraction > kTooEarly ? elapsed_s * (1 - fraction) / fraction : -1);
}

void ProgressLine::update(double fraction, std::string_view label, double eta_s) {
  if (!terminal_) return;
  const int64_t now = now_ns();
  if (now - start_ns_ < quiet_ns_) return;
  if (drawn_ && now - last_ns_ < 100'000'000 && fraction < 1) return;
  last_ns_ = now;
  drawn_ = true;
  const std::string eta = eta_s < 0 ? "" : fmt::format("  {} left", format_duration(eta_s));
  const std::string head = fmt::format("{:3.0f} %{}  ", 100 * std::clamp(fraction, 0.0, 1.0), eta);
  fmt::print(stderr, "\r\033[K{}{}", head, shorten(label, 79 - std::min<size_t>(head.size(), 60)));
  std::fflush(stderr);
}

void ProgressLine::clear() {
  if (!drawn_) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace smepilot
