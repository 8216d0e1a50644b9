#include "engine/jinja_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace smepilot::jinja {
namespace {

std::string float_text(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  std::string s = fmt::format("{}", v);
  if (s.find_first_of(".e") == std::string::npos) s += ".0";
  return s;
}

void append_quoted(std::string& out, std::string_view text, char quote, bool json) {
  out += quote;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      (out += '\\') += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (json && c == '\b') {
      out += "\\b";
    } else if (json && c == '\f') {
      out += "\\f";
    } else if (u < 0x20 || (!json && u == 0x7f)) {
      out += json ? fmt::format("\\u{:04x}", u) : fmt::format("\\x{:02x}", u);
    } else {
      out += c;
    }
  }
  out += quote;
}

unsigned depth_of(const Value& v) {
  return v.depth();
}
unsigned depth_of(const std::pair<std::string, Value>& v) {
  return v.second.depth();
}

template <typename Items>
unsigned depth_over(const Items& items) {
  unsigned depth = 0;
  for (const auto& item : items) depth = std::max(depth, depth_of(item));
  return depth + 1;
}

}  // namespace

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : items) {
    if (name == key) return &value;
  }
  return nullptr;
}

void Dict::set(std::string_view key, Value value) {
  for (auto& [name, old] : items) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  items.emplace_back(key, std::move(value));
}

Value::Value(List v) : depth_(depth_over(v)) {
  data_ = std::make_shared<const List>(std::move(v));
}
Value::Value(Dict v) : depth_(depth_over(v.items)) {
  data_ = std::make_shared<const Dict>(std::move(v));
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_bool()) return boolean();
  if (is_int()) return integer() != 0;
  if (is_float()) return number() != 0;
  if (is_string()) return !string().empty();
  if (is_list()) return !list().empty();
  if (is_dict()) return !dict().items.empty();
  return true;
}

const char* Value::type_name() const {
  constexpr const char* kNames[] = {"undefined", "none", "bool", "int",  "float",    "function",
                                    "macro",     "str",  "list", "dict", "namespace"};
  return kNames[data_.index()];
}

std::string to_string(const Value& value, Budget& budget) {
  if (value.is_undefined()) return "";
  if (value.is_string()) return value.string();
  std::string out;
  append_repr(out, value, budget);
  return out;
}

void append_repr(std::string& out, const Value& v, Budget& budget) {
  if (!budget.spend(1)) return;
  if (v.is_undefined()) {
    out += "Undefined";
  } else if (v.is_none()) {
    out += "None";
  } else if (v.is_bool()) {
    out += v.boolean() ? "True" : "False";
  } else if (v.is_int()) {
    out += std::to_string(v.integer());
  } else if (v.is_float()) {
    out += float_text(v.number());
  } else if (v.is_string()) {
    budget.spend(v.string().size() / 16);
    const std::string& s = v.string();
    const bool double_quotes = s.find('\'') != std::string::npos && s.find('"') == std::string::npos;
    append_quoted(out, s, double_quotes ? '"' : '\'', false);
  } else if (v.is_list()) {
    out += '[';
    for (const Value& item : v.list()) {
      if (&item != &v.list().front()) out += ", ";
      append_repr(out, item, budget);
      if (budget.exhausted()) return;
    }
    out += ']';
  } else if (v.is_dict()) {
    out += '{';
    bool first = true;
    for (const auto& [key, item] : v.dict().items) {
      if (!first) out += ", ";
      first = false;
      append_quoted(out, key, '\'', false);
      out += ": ";
      append_repr(out, item, budget);
      if (budget.exhausted()) return;
    }
    out += '}';
  } else {
    out += fmt::format("<{}>", v.type_name());
  }
}

bool append_json(std::string& out, const Value& v, int indent, int level, Budget& budget) {
  if (!budget.spend(1)) return true;
  const auto new_line = [&](int at) {
    if (indent >= 0) out.append("\n").append(static_cast<size_t>(indent) * static_cast<size_t>(at), ' ');
  };
  const char* between = indent >= 0 ? "," : ", ";
  if (v.is_none()) {
    out += "null";
  } else if (v.is_bool()) {
    out += v.boolean() ? "true" : "false";
  } else if (v.is_int()) {
    out += std::to_string(v.integer());
  } else if (v.is_float()) {
    out += float_text(v.number());
  } else if (v.is_string()) {
    budget.spend(v.string().size() / 16);
    append_quoted(out, v.string(), '"', true);
  } else if (v.is_list()) {
    out += '[';
    bool first = true;
    for (const Value& item : v.list()) {
      if (!first) out += between;
      first = false;
      new_line(level + 1);
      if (!append_json(out, item, indent, level + 1, budget)) return false;
      if (budget.exhausted()) return true;
    }
    if (!first) new_line(level);
    out += ']';
  } else if (v.is_dict()) {
    out += '{';
    bool first = true;
    for (const auto& [key, item] : v.dict().items) {
      if (!first) out += between;
      first = false;
      new_line(level + 1);
      append_quoted(out, key, '"', true);
      out += ": ";
      if (!append_json(out, item, indent, level + 1, budget)) return false;
      if (budget.exhausted()) return true;
    }
    if (!first) new_line(level);
    out += '}';
  } else {
    return false;
  }
  return true;
}

bool equal(const Value& a, const Value& b, Budget& budget) {
  if (!budget.spend(1)) return false;
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? a.number() == b.number() : a.integer() == b.integer();
  }
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_list() && b.is_list()) {
    return std::equal(a.list().begin(), a.list().end(), b.list().begin(), b.list().end(),
                      [&](const Value& x, const Value& y) { return equal(x, y, budget); });
  }
  if (a.is_dict() && b.is_dict()) {
    if (a.dict().items.size() != b.dict().items.size()) return false;
    for (const auto& [key, value] : a.dict().items) {
      const Value* other = b.dict().find(key);
      budget.spend(b.dict().items.size());
      if (other == nullptr || !equal(value, *other, budget)) return false;
    }
    return true;
  }
  if (a.is_namespace() && b.is_namespace()) return &a.name_space() == &b.name_space();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

}  // namespace smepilot::jinja
