#include "engine/jinja_interpreter.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "profiles/gguf.h"

namespace smepilot::jinja {
namespace {

constexpr uint64_t kWorkUnits = 4'000'000;  // a chat of a thousand turns takes some 100'000
constexpr uint64_t kMaxBytes = 8u << 20;    // of one text
constexpr unsigned kMaxEvaluationDepth = 400;

class Interpreter {
 public:
  Interpreter(const Dict& globals, std::chrono::system_clock::time_point now) : context_{Budget(kWorkUnits), "", now} {
    scopes_.emplace_back();  // globals
    for (const auto& [name, value] : globals.items) scopes_.back().set(name, value);
    const std::pair<const char*, Function> functions[] = {{"range", Function::kRange},
                                                          {"namespace", Function::kNamespace},
                                                          {"dict", Function::kDict},
                                                          {"raise_exception", Function::kRaise},
                                                          {"strftime_now", Function::kStrftimeNow}};
    for (const auto& [name, function] : functions) {
      if (scopes_.back().find(name) == nullptr) scopes_.back().set(name, function);
    }
    scopes_.emplace_back();  // the template's own top level
  }

  Result<std::string> run(const Node& root) {
    execute(root);
    if (context_.error.empty() && context_.budget.exhausted())
      fail("the template takes too much work or makes too much text");
    if (!context_.error.empty()) return error("line {}: {}", line_, context_.error);
    return std::move(out_);
  }

 private:
  enum class Flow { kNext, kBreak, kContinue };

  struct Level {
    explicit Level(Interpreter& i) : interpreter(i) {
      if (++interpreter.depth_ > kMaxEvaluationDepth) interpreter.fail("calls are nested too deep");
    }
    ~Level() { --interpreter.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    Interpreter& interpreter;
  };

  bool stopped() const { return !context_.error.empty() || context_.budget.exhausted(); }
  Value fail(std::string message) { return context_.fail(std::move(message)); }
  // The line of the innermost node at the time of the first error.
  void at(const Node& node) {
    if (context_.error.empty()) line_ = node.line;
  }

  Dict& scope() { return scopes_.back(); }
  Value lookup(const std::string& name) {
    for (size_t i = scopes_.size(); i-- > base_;) {
      if (const Value* v = scopes_[i].find(name)) return *v;
    }
    for (size_t i = std::min<size_t>(base_, 2); i-- > 0;) {  // a macro sees the top level and the globals
      if (const Value* v = scopes_[i].find(name)) return *v;
    }
    return {};
  }

  void emit(const Value& value) {
    const std::string text = to_string(value, context_.budget);
    if (context_.reserve(text.size())) out_ += text;
  }

  // --- Statements ---

  Flow execute(const Node& node) {
    const Level level(*this);
    at(node);
    if (!context_.budget.spend(1) || stopped()) return Flow::kBreak;
    switch (node.kind) {
      case NodeKind::kData:
        if (context_.reserve(node.text.size())) out_ += node.text;
        return Flow::kNext;
      case NodeKind::kOutput: emit(evaluate(*node.children[0])); return Flow::kNext;
      case NodeKind::kBlock:
        for (const NodePtr& child : node.children) {
          if (const Flow flow = execute(*child); flow != Flow::kNext) return flow;
          if (stopped()) return Flow::kBreak;
        }
        return Flow::kNext;
      case NodeKind::kIf: return execute_if(node);
      case NodeKind::kFor: return execute_for(node);
      case NodeKind::kSet: execute_set(node); return Flow::kNext;
      case NodeKind::kSetBlock: scope().set(node.names[0], capture(*node.children[0])); return Flow::kNext;
      case NodeKind::kMacro: scope().set(node.text, Value::Macro{&node}); return Flow::kNext;
      case NodeKind::kBreak: return Flow::kBreak;
      case NodeKind::kContinue: return Flow::kContinue;
      default: fail("an expression where a statement belongs"); return Flow::kBreak;
    }
  }

  Flow execute_if(const Node& node) {
    const size_t n = node.children.size();
    for (size_t i = 0; i + 1 < n; i += 2) {
      const bool yes = evaluate(*node.children[i]).truth();
      if (stopped()) return Flow::kBreak;
      if (yes) return execute(*node.children[i + 1]);
    }
    return n % 2 == 1 ? execute(*node.children[n - 1]) : Flow::kNext;
  }

  void bind(const std::vector<std::string>& names, const Value& value) {
    if (names.size() == 1) {
      scope().set(names[0], value);
      return;
    }
    if (!value.is_list() || value.list().size() != names.size()) {
      fail(fmt::format("cannot unpack {} into {} names", value.type_name(), names.size()));
      return;
    }
    for (size_t i = 0; i < names.size(); ++i) scope().set(names[i], value.list()[i]);
  }

  Flow execute_for(const Node& node) {
    List items = iterate(context_, evaluate(*node.children[0]));
    if (stopped()) return Flow::kBreak;
    if (const Node* condition = node.children[2].get()) {
      List kept;
      for (Value& item : items) {
        scopes_.emplace_back();
        bind(node.names, item);
        if (evaluate(*condition).truth()) kept.push_back(item);
        scopes_.pop_back();
        if (stopped()) return Flow::kBreak;
      }
      items = std::move(kept);
    }
    if (items.empty()) return node.children[3] ? execute(*node.children[3]) : Flow::kNext;
    ++loop_depth_;
    for (size_t i = 0; i < items.size() && !stopped(); ++i) {
      scopes_.emplace_back();
      const auto number = [](size_t v) { return Value(static_cast<int64_t>(v)); };
      Dict loop;
      loop.items = {{"index", number(i + 1)},
                    {"index0", number(i)},
                    {"revindex", number(items.size() - i)},
                    {"revindex0", number(items.size() - i - 1)},
                    {"first", i == 0},
                    {"last", i + 1 == items.size()},
                    {"length", number(items.size())},
                    {"depth", number(loop_depth_)},
                    {"depth0", number(loop_depth_ - 1)}};
      if (i > 0) loop.set("previtem", items[i - 1]);
      if (i + 1 < items.size()) loop.set("nextitem", items[i + 1]);
      scope().set("loop", std::move(loop));
      bind(node.names, items[i]);
      const Flow flow = stopped() ? Flow::kBreak : execute(*node.children[1]);
      scopes_.pop_back();
      if (flow == Flow::kBreak) break;
    }
    --loop_depth_;
    return stopped() ? Flow::kBreak : Flow::kNext;
  }

  void execute_set(const Node& node) {
    const Value value = evaluate(*node.children[0]);
    if (stopped()) return;
    if (node.text.empty()) {
      bind(node.names, value);
      return;
    }
    const Value target = lookup(node.names[0]);
    if (!target.is_namespace()) {
      fail(fmt::format("\"{}\" is {}, only attributes of a namespace can be set", node.names[0], target.type_name()));
    } else if (value.is_namespace()) {
      fail("a namespace cannot be stored in a namespace");  // it could come to hold itself
    } else {
      target.name_space().attributes.set(node.text, value);
    }
  }

  // What the statement would print.
  Value capture(const Node& body) {
    std::string outer = std::exchange(out_, {});
    execute(body);
    return Value(std::exchange(out_, std::move(outer)));
  }

  // --- Expressions ---

  Value evaluate(const Node& node) {
    const Level level(*this);
    at(node);
    if (!context_.budget.spend(1) || stopped()) return {};
    switch (node.kind) {
      case NodeKind::kLiteral: return node.value;
      case NodeKind::kName: return lookup(node.text);
      case NodeKind::kList: return evaluate_list(node);
      case NodeKind::kDict: return evaluate_dict(node);
      case NodeKind::kUnary: return evaluate_unary(node);
      case NodeKind::kBinary: return evaluate_binary(node);
      case NodeKind::kCompare: return evaluate_compare(node);
      case NodeKind::kTernary: {
        const bool yes = evaluate(*node.children[0]).truth();
        const Node* chosen = yes ? node.children[1].get() : node.children[2].get();
        return chosen != nullptr ? evaluate(*chosen) : Value();
      }
      case NodeKind::kAttribute: {
        const Value object = evaluate(*node.children[0]);
        return stopped() ? Value() : get_attribute(context_, object, node.text);
      }
      case NodeKind::kIndex: {
        const Value object = evaluate(*node.children[0]), key = evaluate(*node.children[1]);
        return stopped() ? Value() : get_item(context_, object, key);
      }
      case NodeKind::kSlice: {
        const auto part = [&](size_t i) { return node.children[i] ? evaluate(*node.children[i]) : Value::none(); };
        const Value object = part(0), start = part(1), stop = part(2), step = part(3);
        return stopped() ? Value() : slice(context_, object, start, stop, step);
      }
      case NodeKind::kCall: return evaluate_call(node);
      case NodeKind::kFilter: {
        const Value input = evaluate(*node.children[0]);
        const Arguments arguments = evaluate_arguments(node);
        at(node);
        return stopped() ? Value() : call_filter(context_, node.text, input, arguments);
      }
      case NodeKind::kTest: {
        const Value input = evaluate(*node.children[0]);
        const Arguments arguments = evaluate_arguments(node);
        at(node);
        return stopped() ? Value() : Value(call_test(context_, node.text, input, arguments) != node.negated);
      }
      default: return fail("a statement where an expression belongs");
    }
  }

  // Refuses what a list or dict must not hold.
  bool may_hold(const Value& value) {
    if (value.is_namespace()) fail("a namespace cannot be part of a list or dict");
    if (value.depth() >= kMaxValueDepth) fail("lists are nested too deep");
    return !stopped();
  }

  Value evaluate_list(const Node& node) {
    List list;
    for (const NodePtr& child : node.children) {
      list.push_back(evaluate(*child));
      if (!may_hold(list.back())) return {};
    }
    return Value(std::move(list));
  }

  Value evaluate_dict(const Node& node) {
    Dict dict;
    for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
      const Value key = evaluate(*node.children[i]), value = evaluate(*node.children[i + 1]);
      if (!may_hold(value)) return {};
      if (!key.is_string()) return fail(fmt::format("a dict key is {}, only str is supported", key.type_name()));
      context_.budget.spend(dict.items.size() / 16);
      dict.set(key.string(), value);
    }
    return Value(std::move(dict));
  }

  Value evaluate_unary(const Node& node) {
    const Value v = evaluate(*node.children[0]);
    if (node.text == "not") return Value(!v.truth());
    if (!v.is_number()) return fail(fmt::format("unary \"{}\" of {}", node.text, v.type_name()));
    if (v.is_float()) return Value(node.text == "-" ? -v.number() : v.number());
    if (node.text == "+") return Value(v.integer());
    if (v.integer() == std::numeric_limits<int64_t>::min()) return fail("integer overflow");
    return Value(-v.integer());
  }

  Value evaluate_binary(const Node& node) {
    const std::string& op = node.text;
    const Value left = evaluate(*node.children[0]);
    if (op == "and" || op == "or") return left.truth() == (op == "or") ? left : evaluate(*node.children[1]);
    const Value right = evaluate(*node.children[1]);
    at(node);
    if (stopped()) return {};
    if (op == "~") return concatenate(to_string(left, context_.budget), to_string(right, context_.budget));
    if (op == "+" && left.is_string() && right.is_string()) return concatenate(left.string(), right.string());
    if (op == "+" && left.is_list() && right.is_list()) {
      if (!context_.reserve(16 * (left.list().size() + right.list().size()))) return {};
      List sum = left.list();
      sum.insert(sum.end(), right.list().begin(), right.list().end());
      return Value(std::move(sum));
    }
    if (op == "%" && left.is_string()) return fail("the % of strings is not supported");
    if (!left.is_number() || !right.is_number()) {
      return fail(fmt::format("\"{}\" of {} and {}", op, left.type_name(), right.type_name()));
    }
    return arithmetic(op, left, right);
  }

  Value concatenate(std::string left, const std::string& right) {
    if (!context_.reserve(left.size() + right.size())) return {};
    left += right;
    return Value(std::move(left));
  }

  Value arithmetic(const std::string& op, const Value& left, const Value& right) {
    if (op == "/" || op == "**" || left.is_float() || right.is_float()) {
      const double a = left.number(), b = right.number();
      if ((op == "/" || op == "//" || op == "%") && b == 0) return fail("division by zero");
      if (op == "+") return Value(a + b);
      if (op == "-") return Value(a - b);
      if (op == "*") return Value(a * b);
      if (op == "/") return Value(a / b);
      if (op == "//") return Value(std::floor(a / b));
      if (op == "%") return Value(a - b * std::floor(a / b));
      const double power = std::pow(a, b);
      const bool whole = !left.is_float() && !right.is_float() && b >= 0;
      if (!whole) return Value(power);
      if (!(std::fabs(power) < 9007199254740992.0)) return fail("integer overflow");  // 2^53: exact in a double
      return Value(static_cast<int64_t>(power));
    }
    const int64_t a = left.integer(), b = right.integer();
    int64_t r = 0;
    if (op == "+"   ? __builtin_add_overflow(a, b, &r)
        : op == "-" ? __builtin_sub_overflow(a, b, &r)
        : op == "*" ? __builtin_mul_overflow(a, b, &r)
                    : false) {
      return fail("integer overflow");
    }
    if (op == "//" || op == "%") {
      if (b == 0) return fail("division by zero");
      if (b == -1 && a == std::numeric_limits<int64_t>::min()) return fail("integer overflow");
      const bool down = a % b != 0 && (a < 0) != (b < 0);  // Python rounds down
      r = op == "//" ? a / b - (down ? 1 : 0) : a % b + (down ? b : 0);
    }
    return Value(r);
  }

  bool less(const Value& a, const Value& b) {
    if (a.is_number() && b.is_number()) {
      return a.is_float() || b.is_float() ? a.number() < b.number() : a.integer() < b.integer();
    }
    if (a.is_string() && b.is_string()) return a.string() < b.string();
    fail(fmt::format("{} and {} cannot be ordered", a.type_name(), b.type_name()));
    return false;
  }

  Value evaluate_compare(const Node& node) {
    Value left = evaluate(*node.children[0]);
    for (size_t i = 0; i < node.names.size(); ++i) {
      Value right = evaluate(*node.children[i + 1]);
      at(node);
      if (stopped()) return {};
      const std::string& op = node.names[i];
      bool yes = false;
      if (op == "==" || op == "!=") {
        yes = equal(left, right, context_.budget) == (op == "==");
      } else if (op == "in" || op == "not in") {
        yes = contains(context_, right, left) == (op == "in");
      } else if (op == "<" || op == ">=") {
        yes = less(left, right) == (op == "<");
      } else {
        yes = less(right, left) == (op == ">");
      }
      if (!yes) return Value(false);
      left = std::move(right);
    }
    return Value(true);
  }

  Arguments evaluate_arguments(const Node& node) {
    Arguments out;
    for (size_t i = 0; i < node.names.size(); ++i) {
      Value value = evaluate(*node.children[i + 1]);
      if (node.names[i].empty()) {
        out.positional.push_back(std::move(value));
      } else {
        out.keywords.emplace_back(node.names[i], std::move(value));
      }
    }
    return out;
  }

  Value evaluate_call(const Node& node) {
    const Node& callee = *node.children[0];
    if (callee.kind == NodeKind::kAttribute) {
      const Value object = evaluate(*callee.children[0]);
      const Arguments arguments = evaluate_arguments(node);
      at(callee);
      return stopped() ? Value() : call_method(context_, object, callee.text, arguments);
    }
    const Value function = evaluate(callee);
    const Arguments arguments = evaluate_arguments(node);
    at(node);
    if (stopped()) return {};
    if (const Function* f = function.function()) return call_function(context_, *f, arguments);
    if (const Value::Macro* macro = function.macro()) return call_macro(*macro->node, arguments);
    if (callee.kind == NodeKind::kName && function.is_undefined()) {
      return fail(fmt::format("the function \"{}\" is not supported", printable(callee.text)));
    }
    return fail(fmt::format("{} cannot be called", function.type_name()));
  }

  Value call_macro(const Node& macro, const Arguments& arguments) {
    if (arguments.positional.size() > macro.names.size()) {
      return fail(fmt::format("macro \"{}\" takes {} arguments, found {}", macro.text, macro.names.size(),
                              arguments.positional.size()));
    }
    for (const auto& [name, value] : arguments.keywords) {
      if (std::find(macro.names.begin(), macro.names.end(), name) == macro.names.end()) {
        return fail(fmt::format("macro \"{}\" has no argument \"{}\"", macro.text, printable(name)));
      }
    }
    const size_t outer_base = std::exchange(base_, scopes_.size());
    const size_t outer_loops = std::exchange(loop_depth_, 0);
    scopes_.emplace_back();
    for (size_t i = 0; i < macro.names.size(); ++i) {
      if (const Value* given = arguments.find(i, macro.names[i])) {
        scope().set(macro.names[i], *given);
      } else {
        scope().set(macro.names[i], macro.children[i + 1] ? evaluate(*macro.children[i + 1]) : Value());
      }
    }
    Value result = capture(*macro.children[0]);
    scopes_.pop_back();
    base_ = outer_base;
    loop_depth_ = outer_loops;
    return result;
  }

  Context context_;
  std::vector<Dict> scopes_;  // 0: globals, 1: top level, then loops and macros
  size_t base_ = 0;           // the scopes below belong to the caller of a macro
  size_t loop_depth_ = 0;
  unsigned depth_ = 0;
  uint32_t line_ = 0;
  std::string out_;
};

}  // namespace

const Value* Arguments::find(size_t position, std::string_view keyword) const {
  if (position < positional.size()) return &positional[position];
  for (const auto& [name, value] : keywords) {
    if (name == keyword) return &value;
  }
  return nullptr;
}

bool Context::reserve(uint64_t bytes_or_items) {
  if (bytes_or_items > kMaxBytes)
    fail(fmt::format("a text of {} bytes, expected at most {}", bytes_or_items, kMaxBytes));
  return budget.spend(1 + bytes_or_items / 16) && error.empty();
}

Result<std::string> render(const Node& root, const Dict& globals, std::chrono::system_clock::time_point now) {
  return Interpreter(globals, now).run(root);
}

}  // namespace smepilot::jinja
