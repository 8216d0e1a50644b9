// Renders a parsed template. Work, text and recursion are bounded, whatever the template does.
#pragma once
#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/jinja_parser.h"
#include "engine/jinja_value.h"
#include "kernels/base/status.h"

namespace smepilot::jinja {

// `globals`: the variables that the template sees. `now`: what strftime_now() formats, as local time.
// Errors: "line N: …".
Result<std::string> render(const Node& root, const Dict& globals, std::chrono::system_clock::time_point now);

// Arguments of a call, filter or test.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keywords;

  // The argument by position or keyword, or null.
  const Value* find(size_t position, std::string_view keyword) const;
};

// What filters, tests and methods work with: a place for their error, and the budget.
struct Context {
  Budget budget;
  std::string error;  // "" for none; the first one stays
  std::chrono::system_clock::time_point now;

  Value fail(std::string message) {
    if (error.empty()) error = std::move(message);
    return {};
  }
  // A string or list of this size is about to be made.
  bool reserve(uint64_t bytes_or_items);
};

// jinja_builtins.cc
Value call_filter(Context& context, std::string_view name, const Value& input, const Arguments& arguments);
bool call_test(Context& context, std::string_view name, const Value& input, const Arguments& arguments);
Value call_method(Context& context, const Value& object, std::string_view name, const Arguments& arguments);
Value call_function(Context& context, Function function, const Arguments& arguments);
Value get_item(Context& context, const Value& object, const Value& key);  // undefined where there is none
Value get_attribute(Context& context, const Value& object, std::string_view name);
Value slice(Context& context, const Value& object, const Value& start, const Value& stop, const Value& step);
bool contains(Context& context, const Value& container, const Value& item);
// The items that a loop over the value sees. Keys of a dict, characters of a string.
List iterate(Context& context, const Value& value);

}  // namespace smepilot::jinja
