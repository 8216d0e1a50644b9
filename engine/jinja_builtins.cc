// Filters, tests, methods and functions that templates may use. They behave as Python's and Jinja's do, except that
// changes of case only concern ASCII letters.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <ctime>
#include <span>

#include "engine/jinja_interpreter.h"
#include "engine/utf8.h"
#include "kernels/base/text.h"
#include "profiles/gguf.h"

namespace smepilot::jinja {
namespace {

constexpr std::string_view kFilters[] = {
    "abs",  "capitalize", "count",      "d",      "default", "dictsort", "first",  "float",      "int",     "items",
    "join", "last",       "length",     "list",   "lower",   "map",      "reject", "rejectattr", "replace", "reverse",
    "safe", "select",     "selectattr", "string", "title",   "tojson",   "trim",   "upper",      "unique",  "indent"};
constexpr std::string_view kTests[] = {
    "boolean", "callable", "defined",  "divisibleby", "eq",   "equalto",   "even",  "false",   "float", "ge",
    "gt",      "in",       "integer",  "iterable",    "le",   "lower",     "lt",    "mapping", "ne",    "none",
    "number",  "odd",      "sequence", "string",      "true", "undefined", "upper", "sameas"};

bool listed(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool python_space(uint32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

// Offsets of the code points of a text, and its end.
std::vector<size_t> offsets(std::string_view text) {
  std::vector<size_t> out;
  size_t at = 0;
  while (at < text.size()) {
    out.push_back(at);
    at += utf8_decode(text.substr(at)).bytes;
  }
  out.push_back(at);
  return out;
}

std::string strip(std::string_view text, const std::string* chars, bool left, bool right) {
  const std::vector<size_t> at = offsets(text);
  size_t begin = 0, end = at.size() - 1;
  const auto removable = [&](size_t i) {
    const std::string_view c = text.substr(at[i], at[i + 1] - at[i]);
    if (chars == nullptr) return python_space(utf8_decode(c).code);
    for (size_t found = chars->find(c); found != std::string::npos; found = chars->find(c, found + 1)) {
      if ((static_cast<unsigned char>((*chars)[found]) & 0xc0) != 0x80) return true;
    }
    return false;
  };
  while (left && begin < end && removable(begin)) ++begin;
  while (right && end > begin && removable(end - 1)) --end;
  return std::string(text.substr(at[begin], at[end] - at[begin]));
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}
bool is_letter(char c) {
  return lower(c) >= 'a' && lower(c) <= 'z';
}

std::string change_case(std::string text, std::string_view how) {
  bool start = true;
  for (char& c : text) {
    const bool up = how == "upper" || (start && how != "lower");
    const bool letter = is_letter(c) || (static_cast<unsigned char>(c) & 0x80) != 0;
    c = up ? upper(c) : lower(c);
    start = how == "title" ? !letter : false;
  }
  return text;
}

std::string replace_all(Context& context, std::string_view text, std::string_view from, std::string_view to,
                        int64_t count) {
  std::string out;
  size_t at = 0;
  if (from.empty()) return std::string(text);
  for (size_t found; count != 0 && (found = text.find(from, at)) != std::string_view::npos;
       at = found + from.size(), --count) {
    if (!context.reserve(found - at + to.size())) return {};
    out.append(text.substr(at, found - at)).append(to);
  }
  return out.append(text.substr(at));
}

// A list for a result, whose items are already safe to hold.
Value split(Context& context, std::string_view text, const Value* separator, int64_t limit) {
  List out;
  if (separator == nullptr || separator->is_none()) {
    while (true) {
      std::string rest = strip(text, nullptr, true, false);
      text.remove_prefix(text.size() - rest.size());
      if (text.empty()) break;
      size_t end = 0;
      while (end < text.size()) {
        const Utf8Char c = utf8_decode(text.substr(end));
        if (python_space(c.code)) break;
        end += c.bytes;
      }
      if (limit == 0) end = text.size();
      if (!context.reserve(16 + text.size())) return {};
      out.emplace_back(limit == 0 ? strip(text, nullptr, false, true) : std::string(text.substr(0, end)));
      text.remove_prefix(end);
      --limit;
    }
    return Value(std::move(out));
  }
  if (!separator->is_string() || separator->string().empty())
    return context.fail("split: expected a separator of text");
  for (size_t found; limit != 0 && (found = text.find(separator->string())) != std::string_view::npos; --limit) {
    if (!context.reserve(16 + found)) return {};
    out.emplace_back(text.substr(0, found));
    text.remove_prefix(found + separator->string().size());
  }
  out.emplace_back(text);
  return Value(std::move(out));
}

std::string join(Context& context, const List& items, const std::string& separator) {
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string text = to_string(items[i], context.budget);
    if (!context.reserve(text.size() + separator.size())) return {};
    if (i > 0) out += separator;
    out += text;
  }
  return out;
}

int64_t integer_or(const Value* v, int64_t fallback) {
  return v != nullptr && (v->is_int() || v->is_bool()) ? v->integer() : fallback;
}

// "user.name": attributes one after the other.
Value attribute_path(Context& context, Value value, std::string_view path) {
  while (!path.empty() && context.error.empty()) {
    const size_t dot = path.find('.');
    value = get_attribute(context, value, path.substr(0, dot));
    path = dot == std::string_view::npos ? "" : path.substr(dot + 1);
  }
  return value;
}

Arguments rest_of(const Arguments& a, size_t from) {
  Arguments out;
  for (size_t i = from; i < a.positional.size(); ++i) out.positional.push_back(a.positional[i]);
  out.keywords = a.keywords;
  return out;
}

Value select(Context& context, std::string_view filter, const Value& input, const Arguments& a) {
  const bool by_attribute = filter.ends_with("attr"), keep = filter.starts_with("select");
  const size_t test_at = by_attribute ? 1 : 0;
  const Value* attribute = by_attribute ? a.find(0, "") : nullptr;
  const Value* test = a.find(test_at, "");
  if (by_attribute && (attribute == nullptr || !attribute->is_string())) {
    return context.fail(fmt::format("{}: expected the name of an attribute", filter));
  }
  if (test != nullptr && (!test->is_string() || !is_known_test(test->string()))) {
    return context.fail(fmt::format("{}: the test is not supported", filter));
  }
  List out;
  for (const Value& item : iterate(context, input)) {
    const Value value = by_attribute ? attribute_path(context, item, attribute->string()) : item;
    const bool yes =
        test == nullptr ? value.truth() : call_test(context, test->string(), value, rest_of(a, test_at + 1));
    if (!context.error.empty() || !context.budget.spend(1)) return {};
    if (yes == keep) out.push_back(item);
  }
  return Value(std::move(out));
}

Value map(Context& context, const Value& input, const Arguments& a) {
  List out;
  const Value* attribute = nullptr;
  for (const auto& [name, value] : a.keywords) {
    if (name == "attribute") attribute = &value;
  }
  const Value* filter = a.find(0, "");
  if (attribute == nullptr &&
      (filter == nullptr || !filter->is_string() || !is_known_filter(filter->string()) || filter->string() == "map")) {
    return context.fail("map: expected an attribute or the name of a supported filter");
  }
  for (const Value& item : iterate(context, input)) {
    out.push_back(attribute != nullptr ? attribute_path(context, item, to_string(*attribute, context.budget))
                                       : call_filter(context, filter->string(), item, rest_of(a, 1)));
    if (!context.error.empty() || !context.budget.spend(1)) return {};
    if (out.back().depth() >= kMaxValueDepth) return context.fail("lists are nested too deep");
  }
  return Value(std::move(out));
}

Value items_of(Context& context, const Value& v) {
  if (!v.is_dict()) return v.is_undefined() ? Value(List()) : context.fail(fmt::format("items of {}", v.type_name()));
  if (v.depth() + 1 >= kMaxValueDepth) return context.fail("lists are nested too deep");
  List out;
  for (const auto& [key, value] : v.dict().items) {
    if (!context.budget.spend(2)) return {};
    out.emplace_back(List{Value(key), value});
  }
  return Value(std::move(out));
}

Value length_of(Context& context, const Value& v) {
  if (v.is_undefined()) return Value(int64_t{0});
  if (v.is_list()) return Value(static_cast<int64_t>(v.list().size()));
  if (v.is_dict()) return Value(static_cast<int64_t>(v.dict().items.size()));
  if (v.is_string()) {
    context.budget.spend(v.string().size() / 16);
    return Value(static_cast<int64_t>(offsets(v.string()).size() - 1));
  }
  return context.fail(fmt::format("length of {}", v.type_name()));
}

Value to_number(const Value& v, const Value* fallback, bool whole) {
  Value otherwise = fallback != nullptr ? *fallback : whole ? Value(int64_t{0}) : Value(0.0);
  double number = 0;
  if (v.is_number()) {
    if (whole && !v.is_float()) return Value(v.integer());
    number = v.number();
  } else if (v.is_string()) {
    const std::string text = strip(v.string(), nullptr, true, true);
    const char* end = text.data() + text.size();
    int64_t integer = 0;
    if (const auto r = std::from_chars(text.data(), end, integer); whole && r.ec == std::errc() && r.ptr == end)
      return Value(integer);
    const std::optional<double> real = parse_double(text);
    if (!real) return otherwise;
    number = *real;
  } else {
    return otherwise;
  }
  if (!whole) return Value(number);
  return std::fabs(number) < 9e18 ? Value(static_cast<int64_t>(number)) : otherwise;
}

}  // namespace

bool is_known_filter(std::string_view name) {
  return listed(kFilters, name);
}
bool is_known_test(std::string_view name) {
  return listed(kTests, name);
}

List iterate(Context& context, const Value& v) {
  if (v.is_undefined()) return {};
  if (v.is_list()) {
    context.budget.spend(v.list().size());
    return v.list();
  }
  List out;
  if (v.is_dict()) {
    for (const auto& [key, value] : v.dict().items) {
      if (!context.budget.spend(1)) return out;
      out.emplace_back(key);
    }
  } else if (v.is_string()) {
    const std::vector<size_t> at = offsets(v.string());
    for (size_t i = 0; i + 1 < at.size(); ++i) {
      if (!context.budget.spend(1)) return out;
      out.emplace_back(std::string_view(v.string()).substr(at[i], at[i + 1] - at[i]));
    }
  } else {
    context.fail(fmt::format("{} cannot be looped over", v.type_name()));
  }
  return out;
}

Value call_filter(Context& context, std::string_view name, const Value& in, const Arguments& a) {
  const auto text = [&] { return to_string(in, context.budget); };
  if (!context.reserve(in.is_string() ? in.string().size() : in.is_list() ? in.list().size() : 0)) return {};
  if (name == "default" || name == "d") {
    const Value* fallback = a.find(0, "default_value");
    const Value* any_false = a.find(1, "boolean");
    const bool replace = in.is_undefined() || (any_false != nullptr && any_false->truth() && !in.truth());
    return !replace ? in : fallback != nullptr ? *fallback : Value("");
  }
  if (name == "trim") {
    const Value* chars = a.find(0, "chars");
    return Value(strip(text(), chars != nullptr && chars->is_string() ? &chars->string() : nullptr, true, true));
  }
  if (name == "length" || name == "count") return length_of(context, in);
  if (name == "tojson") {
    std::string out;
    const auto indent = std::clamp<int64_t>(integer_or(a.find(0, "indent"), -1), -1, 16);
    if (!append_json(out, in, static_cast<int>(indent), 0, context.budget)) {
      return context.fail(fmt::format("tojson: {} has no JSON form", in.type_name()));
    }
    return Value(std::move(out));
  }
  if (name == "lower" || name == "upper" || name == "title" || name == "capitalize")
    return Value(change_case(text(), name));
  if (name == "string" || name == "safe") return Value(text());
  if (name == "replace") {
    const Value *from = a.find(0, "old"), *to = a.find(1, "new");
    if (from == nullptr || to == nullptr) return context.fail("replace: expected two arguments");
    return Value(replace_all(context, text(), to_string(*from, context.budget), to_string(*to, context.budget),
                             integer_or(a.find(2, "count"), -1)));
  }
  if (name == "join") {
    List items = iterate(context, in);
    if (const Value* attribute = a.find(1, "attribute")) {
      for (Value& item : items) item = attribute_path(context, item, to_string(*attribute, context.budget));
    }
    const Value* separator = a.find(0, "d");
    return Value(join(context, items, separator != nullptr ? to_string(*separator, context.budget) : ""));
  }
  if (name == "first" || name == "last") {
    const List items = iterate(context, in);
    return items.empty() ? Value() : name == "first" ? items.front() : items.back();
  }
  if (name == "list") return Value(iterate(context, in));
  if (name == "reverse") {
    List items = iterate(context, in);
    std::reverse(items.begin(), items.end());
    return in.is_string() ? Value(join(context, items, "")) : Value(std::move(items));
  }
  if (name == "unique") {
    List out;
    for (const Value& item : iterate(context, in)) {
      const bool seen =
          std::any_of(out.begin(), out.end(), [&](const Value& o) { return equal(o, item, context.budget); });
      if (!seen) out.push_back(item);
      if (context.budget.exhausted()) return {};
    }
    return Value(std::move(out));
  }
  if (name == "items") return items_of(context, in);
  if (name == "dictsort") {
    if (!in.is_dict()) return context.fail(fmt::format("dictsort of {}", in.type_name()));
    Dict sorted = in.dict();
    std::sort(sorted.items.begin(), sorted.items.end(), [](const auto& x, const auto& y) {
      const std::string low_x = change_case(x.first, "lower"), low_y = change_case(y.first, "lower");
      return low_x != low_y ? low_x < low_y : x.first < y.first;
    });
    return items_of(context, Value(std::move(sorted)));
  }
  if (name == "map") return map(context, in, a);
  if (name == "int" || name == "float") return to_number(in, a.find(0, "default"), name == "int");
  if (name == "abs") {
    if (in.is_float()) return Value(std::fabs(in.number()));
    if (!in.is_number() || in.integer() == INT64_MIN) return context.fail(fmt::format("abs of {}", in.type_name()));
    return Value(in.integer() < 0 ? -in.integer() : in.integer());
  }
  if (name == "indent") {
    const Value* width = a.find(0, "width");
    const std::string space =
        width != nullptr && width->is_string()
            ? width->string()
            : std::string(static_cast<size_t>(std::clamp<int64_t>(integer_or(width, 4), 0, 64)), ' ');
    const Value* first = a.find(1, "first");
    const Value* blank = a.find(2, "blank");
    std::string out;
    const std::string all = text();
    for (size_t at = 0; at <= all.size();) {
      const size_t end = std::min(all.find('\n', at), all.size());
      const bool wanted =
          at == 0 ? first != nullptr && first->truth() : end > at || (blank != nullptr && blank->truth());
      if (!context.reserve(end - at + space.size())) return {};
      if (wanted) out += space;
      out.append(all, at, end - at);
      if (end < all.size()) out += '\n';
      at = end + 1;
    }
    return Value(std::move(out));
  }
  return select(context, name, in, a);  // select, reject, selectattr, rejectattr
}

bool call_test(Context& context, std::string_view name, const Value& in, const Arguments& a) {
  if (name == "defined") return !in.is_undefined();
  if (name == "undefined") return in.is_undefined();
  if (name == "none") return in.is_none();
  if (name == "string") return in.is_string();
  if (name == "mapping") return in.is_dict() || in.is_namespace();
  if (name == "sequence") return in.is_list() || in.is_string() || in.is_dict();
  if (name == "iterable") return in.is_list() || in.is_string() || in.is_dict() || in.is_undefined();
  if (name == "number") return in.is_number();
  if (name == "integer") return in.is_int();
  if (name == "float") return in.is_float();
  if (name == "boolean") return in.is_bool();
  if (name == "true") return in.is_bool() && in.boolean();
  if (name == "false") return in.is_bool() && !in.boolean();
  if (name == "callable") return in.is_callable();
  if (name == "lower" || name == "upper") {
    const std::string text = to_string(in, context.budget);
    return std::any_of(text.begin(), text.end(), is_letter) && change_case(text, name) == text;
  }
  const Value* other = a.find(0, "");
  if (name == "odd" || name == "even" || name == "divisibleby") {
    const int64_t divisor = name == "divisibleby" ? integer_or(other, 0) : 2;
    if (!(in.is_int() || in.is_bool()) || divisor == 0) {
      context.fail(fmt::format("the test \"{}\" of {}", name, in.type_name()));
      return false;
    }
    return (divisor == -1 || in.integer() % divisor == 0) == (name != "odd");
  }
  if (other == nullptr) {
    context.fail(fmt::format("the test \"{}\" needs something to compare with", name));
    return false;
  }
  if (name == "eq" || name == "equalto" || name == "sameas") return equal(in, *other, context.budget);
  if (name == "ne") return !equal(in, *other, context.budget);
  if (name == "in") return contains(context, *other, in);
  if (in.is_number() && other->is_number()) {
    const double x = in.number(), y = other->number();
    return name == "lt" ? x < y : name == "le" ? x <= y : name == "gt" ? x > y : x >= y;
  }
  if (in.is_string() && other->is_string()) {
    const int order = in.string().compare(other->string());
    return name == "lt" ? order < 0 : name == "le" ? order <= 0 : name == "gt" ? order > 0 : order >= 0;
  }
  context.fail(fmt::format("the test \"{}\" of {} and {}", name, in.type_name(), other->type_name()));
  return false;
}

bool contains(Context& context, const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      context.fail(fmt::format("\"in\" of {} and a str", item.type_name()));
      return false;
    }
    context.budget.spend(container.string().size() / 16);
    return container.string().find(item.string()) != std::string::npos;
  }
  if (container.is_list()) {
    return std::any_of(container.list().begin(), container.list().end(),
                       [&](const Value& v) { return equal(v, item, context.budget); });
  }
  if (container.is_dict()) return item.is_string() && container.dict().find(item.string()) != nullptr;
  if (!container.is_undefined()) context.fail(fmt::format("\"in\" of {}", container.type_name()));
  return false;
}

Value get_attribute(Context& context, const Value& object, std::string_view name) {
  const Value* found = object.is_dict()        ? object.dict().find(name)
                       : object.is_namespace() ? object.name_space().attributes.find(name)
                                               : nullptr;
  if (found != nullptr) return *found;
  if (object.is_undefined())
    return context.fail(fmt::format("attribute \"{}\" of something undefined", printable(name)));
  return {};
}

Value get_item(Context& context, const Value& object, const Value& key) {
  if (key.is_string()) return get_attribute(context, object, key.string());
  if (object.is_undefined()) return context.fail("an item of something undefined");
  if (!(key.is_int() || key.is_bool()) || !(object.is_list() || object.is_string())) return {};
  const std::vector<size_t> at = object.is_string() ? offsets(object.string()) : std::vector<size_t>();
  if (object.is_string()) context.budget.spend(object.string().size() / 16);
  const auto size = static_cast<int64_t>(object.is_list() ? object.list().size() : at.size() - 1);
  const int64_t index = key.integer() < 0 ? key.integer() + size : key.integer();
  if (index < 0 || index >= size) return {};
  const auto i = static_cast<size_t>(index);
  if (object.is_list()) return object.list()[i];
  return Value(object.string().substr(at[i], at[i + 1] - at[i]));
}

Value slice(Context& context, const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (!object.is_list() && !object.is_string()) return context.fail(fmt::format("a slice of {}", object.type_name()));
  for (const Value* v : {&start, &stop, &step}) {
    if (!v->is_none() && !v->is_int()) return context.fail(fmt::format("a slice by {}, expected int", v->type_name()));
  }
  const int64_t by = step.is_none() ? 1 : step.integer();
  if (by == 0) return context.fail("the step of a slice is 0");
  const List items = iterate(context, object);
  const auto size = static_cast<int64_t>(items.size());
  // As Python: negative positions count from the end, then all are clipped to the range that the direction allows.
  const auto clip = [&](const Value& v, int64_t fallback) {
    if (v.is_none()) return fallback;
    const int64_t at = v.integer() < 0 ? v.integer() + size : v.integer();
    return by > 0 ? std::clamp<int64_t>(at, 0, size) : std::clamp<int64_t>(at, -1, size - 1);
  };
  const int64_t from = clip(start, by > 0 ? 0 : size - 1), to = clip(stop, by > 0 ? size : -1);
  List out;
  for (int64_t i = from; by > 0 ? i < to : i > to;) {
    out.push_back(items[static_cast<size_t>(i)]);
    if (by > size || by < -size) break;
    i += by;
  }
  return object.is_list() ? Value(std::move(out)) : Value(join(context, out, ""));
}

Value call_method(Context& context, const Value& object, std::string_view name, const Arguments& a) {
  const Value* first = a.find(0, "");
  if (object.is_dict()) {
    if (name == "items") return items_of(context, object);
    if (name == "keys") return Value(iterate(context, object));
    if (name == "values") {
      List out;
      for (const auto& [key, value] : object.dict().items) out.push_back(value);
      return context.reserve(16 * out.size()) ? Value(std::move(out)) : Value();
    }
    if (name == "get" && first != nullptr) {
      const Value* found = first->is_string() ? object.dict().find(first->string()) : nullptr;
      const Value* fallback = a.find(1, "");
      return found != nullptr ? *found : fallback != nullptr ? *fallback : Value::none();
    }
  }
  if (object.is_string()) {
    const std::string& text = object.string();
    if (!context.reserve(text.size())) return {};
    const std::string* chars = first != nullptr && first->is_string() ? &first->string() : nullptr;
    if (name == "strip") return Value(strip(text, chars, true, true));
    if (name == "lstrip") return Value(strip(text, chars, true, false));
    if (name == "rstrip") return Value(strip(text, chars, false, true));
    if (name == "lower" || name == "upper" || name == "title" || name == "capitalize")
      return Value(change_case(text, name));
    if (name == "split") return split(context, text, a.find(0, "sep"), integer_or(a.find(1, "maxsplit"), -1));
    if (name == "splitlines") {
      List lines;
      for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        lines.emplace_back(std::string_view(text).substr(at, end - at));
        at = end + 1;
      }
      return Value(std::move(lines));
    }
    if ((name == "startswith" || name == "endswith") && first != nullptr) {
      const auto fits = [&](const Value& v) {
        return v.is_string() && (name == "startswith" ? text.starts_with(v.string()) : text.ends_with(v.string()));
      };
      return Value(first->is_list() ? std::any_of(first->list().begin(), first->list().end(), fits) : fits(*first));
    }
    if (name == "replace" && chars != nullptr && a.positional.size() >= 2 && a.positional[1].is_string()) {
      return Value(replace_all(context, text, *chars, a.positional[1].string(), integer_or(a.find(2, "count"), -1)));
    }
    if (name == "join" && first != nullptr) return Value(join(context, iterate(context, *first), text));
    if ((name == "find" || name == "count") && chars != nullptr && !chars->empty()) {
      const size_t at = text.find(*chars);
      if (name == "find") {
        return Value(at == std::string::npos ? int64_t{-1}
                                             : static_cast<int64_t>(offsets(text.substr(0, at)).size()) - 1);
      }
      int64_t n = 0;
      for (size_t i = at; i != std::string::npos; i = text.find(*chars, i + chars->size())) ++n;
      return Value(n);
    }
    if (name == "isdigit") return Value(!text.empty() && text.find_first_not_of("0123456789") == std::string::npos);
  }
  return context.fail(fmt::format("the method \"{}\" of {} is not supported with these arguments", printable(name),
                                  object.type_name()));
}

Value call_function(Context& context, Function function, const Arguments& a) {
  switch (function) {
    case Function::kRange: {
      const size_t n = a.positional.size();
      if (n < 1 || n > 3 ||
          !std::all_of(a.positional.begin(), a.positional.end(), [](const Value& v) { return v.is_int(); })) {
        return context.fail("range: expected one to three integers");
      }
      const int64_t from = n == 1 ? 0 : a.positional[0].integer(), to = a.positional[n == 1 ? 0 : 1].integer();
      const int64_t step = n == 3 ? a.positional[2].integer() : 1;
      if (step == 0) return context.fail("range: the step is 0");
      List out;
      for (int64_t i = from; step > 0 ? i < to : i > to;) {
        out.emplace_back(i);
        if (!context.budget.spend(1)) return {};
        if (__builtin_add_overflow(i, step, &i)) break;
      }
      return Value(std::move(out));
    }
    case Function::kNamespace:
    case Function::kDict: {
      Dict dict;
      if (!a.positional.empty()) {
        if (!a.positional[0].is_dict()) return context.fail("expected a dict or keywords");
        dict = a.positional[0].dict();
      }
      for (const auto& [name, value] : a.keywords) {
        if (value.is_namespace() || value.depth() >= kMaxValueDepth) return context.fail("a value is nested too deep");
        dict.set(name, value);
      }
      if (function == Function::kDict) return Value(std::move(dict));
      auto out = std::make_shared<Value::Namespace>();
      out->attributes = std::move(dict);
      return Value(std::move(out));
    }
    case Function::kRaise: {
      const Value* message = a.find(0, "message");
      return context.fail(
          "the template refuses this conversation: " +
          (message != nullptr ? printable(to_string(*message, context.budget)) : std::string("no reason given")));
    }
    case Function::kStrftimeNow: {
      const Value* format = a.find(0, "format");
      if (format == nullptr || !format->is_string() || format->string().size() > 64) {
        return context.fail("strftime_now: expected a format of at most 64 bytes");
      }
      const std::time_t seconds = std::chrono::system_clock::to_time_t(context.now);
      std::tm time = {};
      if (localtime_r(&seconds, &time) == nullptr) return context.fail("strftime_now: the time has no local form");
      char text[1024];
      return Value(std::string(text, std::strftime(text, sizeof(text), format->string().c_str(), &time)));
    }
  }
  return {};
}

}  // namespace smepilot::jinja
