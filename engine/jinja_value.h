// The values that chat templates compute with: Python's none, bool, int, float, str, list and dict as far as templates
// see them. Copying is cheap; strings, lists and dicts are shared and never change, except a namespace's attributes.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace smepilot::jinja {

struct Node;
class Value;
using List = std::vector<Value>;

// Keeps the order of insertion, as Python does. Chat messages have a handful of keys, so lookup is linear.
struct Dict {
  std::vector<std::pair<std::string, Value>> items;
  const Value* find(std::string_view key) const;
  void set(std::string_view key, Value value);
};

enum class Function { kRange, kNamespace, kDict, kRaise, kStrftimeNow };

class Value {
 public:
  struct Undefined {};
  struct None {};
  struct Namespace {  // shared and changeable: {% set ns.x = … %}
    Dict attributes;
  };
  struct Macro {
    const Node* node = nullptr;
  };

  Value() : data_(Undefined{}) {}
  Value(bool v) : data_(v) {}      // NOLINT(google-explicit-constructor)
  Value(int64_t v) : data_(v) {}   // NOLINT(google-explicit-constructor)
  Value(double v) : data_(v) {}    // NOLINT(google-explicit-constructor)
  Value(Function v) : data_(v) {}  // NOLINT(google-explicit-constructor)
  Value(Macro v) : data_(v) {}     // NOLINT(google-explicit-constructor)
  Value(std::string v)
      : data_(std::make_shared<const std::string>(std::move(v))) {}  // NOLINT(google-explicit-constructor)
  Value(std::string_view v) : Value(std::string(v)) {}               // NOLINT(google-explicit-constructor)
  Value(const char* v) : Value(std::string(v)) {}                    // NOLINT(google-explicit-constructor)
  Value(List v);                                                     // NOLINT(google-explicit-constructor)
  Value(Dict v);                                                     // NOLINT(google-explicit-constructor)
  explicit Value(std::shared_ptr<Namespace> v) : data_(std::move(v)) {}
  static Value none() {
    Value v;
    v.data_ = None{};
    return v;
  }

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_int() const { return std::holds_alternative<int64_t>(data_); }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_bool() || is_int() || is_float(); }
  bool is_string() const { return std::holds_alternative<std::shared_ptr<const std::string>>(data_); }
  bool is_list() const { return std::holds_alternative<std::shared_ptr<const List>>(data_); }
  bool is_dict() const { return std::holds_alternative<std::shared_ptr<const Dict>>(data_); }
  bool is_namespace() const { return std::holds_alternative<std::shared_ptr<Namespace>>(data_); }
  bool is_callable() const { return std::holds_alternative<Macro>(data_) || std::holds_alternative<Function>(data_); }

  // Each only after the question above it.
  bool boolean() const { return std::get<bool>(data_); }
  int64_t integer() const { return is_bool() ? static_cast<int64_t>(boolean()) : std::get<int64_t>(data_); }
  double number() const { return is_float() ? std::get<double>(data_) : static_cast<double>(integer()); }
  const std::string& string() const { return *std::get<std::shared_ptr<const std::string>>(data_); }
  const List& list() const { return *std::get<std::shared_ptr<const List>>(data_); }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Namespace& name_space() const { return *std::get<std::shared_ptr<Namespace>>(data_); }
  const Macro* macro() const { return std::get_if<Macro>(&data_); }
  const Function* function() const { return std::get_if<Function>(&data_); }

  bool truth() const;
  const char* type_name() const;             // as Python names it
  unsigned depth() const { return depth_; }  // levels of lists and dicts in it, 0 for a scalar

 private:
  std::variant<Undefined, None, bool, int64_t, double, Function, Macro, std::shared_ptr<const std::string>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Namespace>>
      data_;
  unsigned depth_ = 0;
};

// Values of more levels are refused where they are made, so that walking one recursively is safe.
inline constexpr unsigned kMaxValueDepth = 64;

// A bound on the work and the text of one rendering, since a template is input: it counts down, and stays at zero.
class Budget {
 public:
  explicit Budget(uint64_t units) : left_(units) {}
  bool spend(uint64_t units) {
    left_ = units > left_ ? 0 : left_ - units;
    return left_ > 0;
  }
  bool exhausted() const { return left_ == 0; }

 private:
  uint64_t left_;
};

// Python's str(), repr() and json.dumps(ensure_ascii=False) of a value, and ==. They stop early when the budget does.
std::string to_string(const Value& value, Budget& budget);
void append_repr(std::string& out, const Value& value, Budget& budget);
// False where a part has no JSON form. indent < 0: on one line.
bool append_json(std::string& out, const Value& value, int indent, int level, Budget& budget);
bool equal(const Value& a, const Value& b, Budget& budget);

}  // namespace smepilot::jinja
