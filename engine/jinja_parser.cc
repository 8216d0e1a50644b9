#include "engine/jinja_parser.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "engine/jinja_lexer.h"
#include "kernels/base/text.h"
#include "profiles/gguf.h"

namespace smepilot::jinja {
namespace {

constexpr uint32_t kMaxTreeDepth = 200;
constexpr uint32_t kMaxNesting = 100;  // of the parser's own recursion

// Recursive descent. After the first error every token reads as the end, so all of it unwinds by itself.
class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Result<NodePtr> run() {
    NodePtr root = block({});
    if (status_.ok() && peek().kind != TokenKind::kEnd) fail("unexpected {}", describe());
    if (!status_.ok()) return status_;
    return root;
  }

 private:
  // Counts the nesting of the functions that call themselves.
  struct Level {
    explicit Level(Parser& p) : parser(p) {
      if (++parser.level_ > kMaxNesting) parser.fail("it is nested deeper than {} levels", kMaxNesting);
    }
    ~Level() { --parser.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    Parser& parser;
  };

  template <typename... Args>
  void fail(fmt::format_string<Args...> format, Args&&... args) {
    if (status_.ok()) {
      status_ = error("line {}: {}", tokens_[at_].line, fmt::format(format, std::forward<Args>(args)...));
    }
    at_ = tokens_.size() - 1;  // the end
  }

  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token next() {
    const Token& t = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return t;
  }
  bool is_op(std::string_view op, size_t ahead = 0) const {
    return peek(ahead).kind == TokenKind::kOperator && peek(ahead).text == op;
  }
  bool is_name(std::string_view name, size_t ahead = 0) const {
    return peek(ahead).kind == TokenKind::kName && peek(ahead).text == name;
  }
  bool take_op(std::string_view op) { return is_op(op) ? (next(), true) : false; }
  bool take_name(std::string_view name) { return is_name(name) ? (next(), true) : false; }
  std::string describe() const {
    switch (peek().kind) {
      case TokenKind::kEnd: return "end of the template";
      case TokenKind::kClose: return "end of the tag";
      case TokenKind::kData: return "text";
      case TokenKind::kOpenOutput: return "{{";
      case TokenKind::kOpenTag: return "{% " + printable(peek(1).text);
      default: return fmt::format("\"{}\"", printable(peek().text));
    }
  }
  void expect_op(std::string_view op) {
    if (!take_op(op)) fail("expected \"{}\", found {}", op, describe());
  }
  void expect_name(std::string_view name) {
    if (!take_name(name)) fail("expected \"{}\", found {}", name, describe());
  }
  void expect_close() {
    if (peek().kind == TokenKind::kClose) {
      next();
    } else {
      fail("expected the end of the tag, found {}", describe());
    }
  }
  std::string identifier() {
    if (peek().kind != TokenKind::kName) {
      fail("expected a name, found {}", describe());
      return {};
    }
    return next().text;
  }

  NodePtr make(NodeKind kind, std::string text = {}) const {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->line = peek().line;
    node->text = std::move(text);
    return node;
  }
  void adopt(Node& parent, NodePtr child) {
    if (child) {
      parent.depth = std::max(parent.depth, child->depth + 1);
      if (parent.depth > kMaxTreeDepth) {
        fail("an expression is deeper than {} levels", kMaxTreeDepth);
        return;  // `child` is dropped here, while it can still be destroyed without deep recursion
      }
    }
    parent.children.push_back(std::move(child));
  }
  NodePtr literal(Value value) const {
    NodePtr node = make(NodeKind::kLiteral);
    node->value = std::move(value);
    return node;
  }
  NodePtr binary(std::string op, NodePtr left, NodePtr right) {
    NodePtr node = make(NodeKind::kBinary, std::move(op));
    adopt(*node, std::move(left));
    adopt(*node, std::move(right));
    return node;
  }

  // --- Statements ---

  // Up to a tag that begins with one of `ends`, which is left to the caller (its open token and name are consumed
  // by end_of()); without `ends` up to the end of the template.
  NodePtr block(std::initializer_list<std::string_view> ends) {
    const Level level(*this);
    NodePtr node = make(NodeKind::kBlock);
    while (status_.ok() && peek().kind != TokenKind::kEnd) {
      if (peek().kind == TokenKind::kData) {
        NodePtr data = make(NodeKind::kData);
        data->text = next().text;
        adopt(*node, std::move(data));
      } else if (peek().kind == TokenKind::kOpenOutput) {
        next();
        NodePtr out = make(NodeKind::kOutput);
        adopt(*out, tuple());
        expect_close();
        adopt(*node, std::move(out));
      } else if (peek().kind == TokenKind::kOpenTag) {
        const Token& name = peek(1);
        if (name.kind == TokenKind::kName && std::find(ends.begin(), ends.end(), name.text) != ends.end()) return node;
        next();
        adopt(*node, statement());
      } else {
        fail("unexpected {}", describe());
      }
    }
    if (ends.size() > 0) fail("the template ends before \"{}\"", *(ends.end() - 1));
    return node;
  }
  std::string end_of() {
    next();
    return identifier();
  }

  NodePtr statement() {
    const std::string name = identifier();
    if (name == "if") return if_statement();
    if (name == "for") return for_statement();
    if (name == "set") return set_statement();
    if (name == "macro") return macro_statement();
    if (name == "break" || name == "continue") {
      if (loops_ == 0) fail("\"{}\" outside a loop", name);
      NodePtr node = make(name == "break" ? NodeKind::kBreak : NodeKind::kContinue);
      expect_close();
      return node;
    }
    if (name == "generation") {  // marks what training learns from; it changes nothing
      expect_close();
      NodePtr body = block({"endgeneration"});
      end_of();
      expect_close();
      return body;
    }
    fail("the statement \"{}\" is not supported", printable(name));
    return nullptr;
  }

  NodePtr if_statement() {
    NodePtr node = make(NodeKind::kIf);
    while (status_.ok()) {
      adopt(*node, tuple());
      expect_close();
      adopt(*node, block({"elif", "else", "endif"}));
      const std::string end = end_of();
      if (end == "elif") continue;
      if (end == "else") {
        expect_close();
        adopt(*node, block({"endif"}));
        end_of();
      }
      expect_close();
      break;
    }
    return node;
  }

  NodePtr for_statement() {
    NodePtr node = make(NodeKind::kFor);
    const bool bracket = take_op("(");
    do {
      node->names.push_back(identifier());
    } while (take_op(",") && !is_op(")"));
    if (bracket) expect_op(")");
    expect_name("in");
    NodePtr iterable = tuple(false);
    NodePtr condition = take_name("if") ? expression() : nullptr;
    if (is_name("recursive")) fail("\"recursive\" loops are not supported");
    expect_close();
    ++loops_;
    NodePtr body = block({"else", "endfor"});
    --loops_;
    NodePtr otherwise;
    if (end_of() == "else") {
      expect_close();
      otherwise = block({"endfor"});
      end_of();
    }
    expect_close();
    adopt(*node, std::move(iterable));
    adopt(*node, std::move(body));
    adopt(*node, std::move(condition));
    adopt(*node, std::move(otherwise));
    return node;
  }

  NodePtr set_statement() {
    NodePtr node = make(NodeKind::kSet);
    do {
      node->names.push_back(identifier());
    } while (take_op(","));
    if (node->names.size() == 1 && take_op(".")) node->text = identifier();
    if (take_op("=")) {
      adopt(*node, tuple());
      expect_close();
      return node;
    }
    if (is_op("|")) fail("a filter on a block \"set\" is not supported");
    if (node->names.size() != 1 || !node->text.empty()) fail("expected \"=\", found {}", describe());
    node->kind = NodeKind::kSetBlock;
    expect_close();
    adopt(*node, block({"endset"}));
    end_of();
    expect_close();
    return node;
  }

  NodePtr macro_statement() {
    NodePtr node = make(NodeKind::kMacro, identifier());
    std::vector<NodePtr> defaults;
    expect_op("(");
    while (status_.ok() && !is_op(")")) {
      node->names.push_back(identifier());
      defaults.push_back(take_op("=") ? expression() : nullptr);
      if (!take_op(",")) break;
    }
    expect_op(")");
    expect_close();
    const uint32_t loops = std::exchange(loops_, 0);
    NodePtr body = block({"endmacro"});
    loops_ = loops;
    end_of();
    if (is_name(node->text)) next();
    expect_close();
    adopt(*node, std::move(body));
    for (NodePtr& d : defaults) adopt(*node, std::move(d));
    return node;
  }

  // --- Expressions, loosest binding first ---

  // One expression, or several with commas between them, which make a tuple.
  NodePtr tuple(bool ternary_allowed = true) {
    NodePtr first = ternary_allowed ? expression() : or_expression();
    if (!is_op(",")) return first;
    NodePtr node = make(NodeKind::kList);
    adopt(*node, std::move(first));
    while (take_op(",")) {
      if (peek().kind == TokenKind::kClose) break;
      adopt(*node, ternary_allowed ? expression() : or_expression());
    }
    return node;
  }

  NodePtr expression() {
    const Level level(*this);
    NodePtr value = or_expression();
    while (take_name("if")) {
      NodePtr node = make(NodeKind::kTernary);
      NodePtr condition = or_expression();
      NodePtr otherwise = take_name("else") ? expression() : nullptr;
      adopt(*node, std::move(condition));
      adopt(*node, std::move(value));
      adopt(*node, std::move(otherwise));
      value = std::move(node);
    }
    return value;
  }

  NodePtr or_expression() {
    NodePtr left = and_expression();
    while (take_name("or")) {
      NodePtr right = and_expression();
      left = binary("or", std::move(left), std::move(right));
    }
    return left;
  }

  NodePtr and_expression() {
    NodePtr left = not_expression();
    while (take_name("and")) {
      NodePtr right = not_expression();
      left = binary("and", std::move(left), std::move(right));
    }
    return left;
  }

  NodePtr not_expression() {
    if (!is_name("not")) return compare_expression();
    const Level level(*this);
    next();
    NodePtr node = make(NodeKind::kUnary, "not");
    adopt(*node, not_expression());
    return node;
  }

  NodePtr compare_expression() {
    NodePtr left = sum_expression();
    NodePtr node;
    while (status_.ok()) {
      std::string op;
      if (is_name("in")) {
        op = "in";
      } else if (is_name("not") && is_name("in", 1)) {
        next();
        op = "not in";
      } else {
        for (const char* o : {"==", "!=", "<=", ">=", "<", ">"}) {
          if (is_op(o)) op = o;
        }
      }
      if (op.empty()) break;
      next();
      if (!node) {
        node = make(NodeKind::kCompare);
        adopt(*node, std::move(left));
      }
      node->names.push_back(op);
      adopt(*node, sum_expression());
    }
    return node ? std::move(node) : std::move(left);
  }

  NodePtr binary_chain(std::initializer_list<const char*> ops, NodePtr (Parser::*operand)()) {
    NodePtr left = (this->*operand)();
    while (status_.ok()) {
      const auto* op = std::find_if(ops.begin(), ops.end(), [&](const char* o) { return is_op(o); });
      if (op == ops.end()) break;
      next();
      NodePtr right = (this->*operand)();
      left = binary(*op, std::move(left), std::move(right));
    }
    return left;
  }
  NodePtr sum_expression() { return binary_chain({"+", "-"}, &Parser::concat_expression); }
  NodePtr concat_expression() { return binary_chain({"~"}, &Parser::product_expression); }
  NodePtr product_expression() { return binary_chain({"*", "/", "//", "%"}, &Parser::filtered_unary); }
  NodePtr filtered_unary() { return filters(unary_expression()); }

  NodePtr unary_expression() {
    const Level level(*this);
    if (is_op("-") || is_op("+")) {
      NodePtr node = make(NodeKind::kUnary, next().text);
      adopt(*node, unary_expression());
      return node;
    }
    NodePtr base = postfix(primary());
    if (!take_op("**")) return base;
    NodePtr exponent = unary_expression();
    return binary("**", std::move(base), std::move(exponent));
  }

  NodePtr primary() {
    const Token token = peek();
    switch (token.kind) {
      case TokenKind::kName:
        next();
        if (token.text == "true" || token.text == "True") return literal(true);
        if (token.text == "false" || token.text == "False") return literal(false);
        if (token.text == "none" || token.text == "None") return literal(Value::none());
        return make(NodeKind::kName, token.text);
      case TokenKind::kString: {
        std::string text;
        while (peek().kind == TokenKind::kString) text += next().text;  // neighbours are one string
        return literal(std::move(text));
      }
      case TokenKind::kInteger: {
        int64_t number = 0;
        const auto r = std::from_chars(token.text.data(), token.text.data() + token.text.size(), number);
        if (r.ec != std::errc()) fail("the integer {} is too large", printable(token.text));
        next();
        return literal(number);
      }
      case TokenKind::kFloat: {
        const std::optional<double> number = parse_double(token.text);
        if (!number) fail("the number {} is out of range", printable(token.text));
        next();
        return literal(number.value_or(0));
      }
      default: break;
    }
    if (take_op("(")) return bracketed();
    if (take_op("[")) {
      NodePtr node = make(NodeKind::kList);
      while (status_.ok() && !is_op("]")) {
        adopt(*node, expression());
        if (!take_op(",")) break;
      }
      expect_op("]");
      return node;
    }
    if (take_op("{")) {
      NodePtr node = make(NodeKind::kDict);
      while (status_.ok() && !is_op("}")) {
        adopt(*node, expression());
        expect_op(":");
        adopt(*node, expression());
        if (!take_op(",")) break;
      }
      expect_op("}");
      return node;
    }
    fail("expected an expression, found {}", describe());
    return make(NodeKind::kLiteral);
  }

  NodePtr bracketed() {
    NodePtr node = make(NodeKind::kList);
    bool is_tuple = is_op(")");
    while (status_.ok() && !is_op(")")) {
      adopt(*node, expression());
      if (!take_op(",")) break;
      is_tuple = true;
    }
    expect_op(")");
    if (!is_tuple && node->children.size() == 1) return std::move(node->children[0]);
    return node;
  }

  void arguments(Node& node) {
    expect_op("(");
    while (status_.ok() && !is_op(")")) {
      if (is_op("*") || is_op("**")) fail("\"*\" arguments are not supported");
      std::string keyword;
      if (peek().kind == TokenKind::kName && is_op("=", 1)) {
        keyword = next().text;
        next();
      }
      node.names.push_back(keyword);
      adopt(node, expression());
      if (!take_op(",")) break;
    }
    expect_op(")");
  }

  NodePtr postfix(NodePtr node) {
    while (status_.ok()) {
      if (take_op(".")) {
        NodePtr outer;
        if (peek().kind == TokenKind::kInteger) {
          outer = make(NodeKind::kIndex);
          adopt(*outer, std::move(node));
          adopt(*outer, primary());
        } else {
          outer = make(NodeKind::kAttribute, identifier());
          adopt(*outer, std::move(node));
        }
        node = std::move(outer);
      } else if (take_op("[")) {
        node = subscript(std::move(node));
      } else if (is_op("(")) {
        NodePtr outer = make(NodeKind::kCall);
        adopt(*outer, std::move(node));
        arguments(*outer);
        node = std::move(outer);
      } else {
        break;
      }
    }
    return node;
  }

  NodePtr subscript(NodePtr object) {
    NodePtr parts[3];
    size_t colons = 0;
    while (status_.ok() && !is_op("]")) {
      if (take_op(":")) {
        if (++colons > 2) fail("expected \"]\", found \":\"");
      } else {
        if (parts[std::min<size_t>(colons, 2)]) fail("expected \"]\", found {}", describe());
        if (!status_.ok()) break;
        parts[std::min<size_t>(colons, 2)] = expression();
      }
    }
    expect_op("]");
    if (colons == 0 && !parts[0]) fail("expected an index, found \"]\"");
    NodePtr node = make(colons == 0 ? NodeKind::kIndex : NodeKind::kSlice);
    adopt(*node, std::move(object));
    adopt(*node, std::move(parts[0]));
    if (colons > 0) {
      adopt(*node, std::move(parts[1]));
      adopt(*node, std::move(parts[2]));
    }
    return node;
  }

  NodePtr filters(NodePtr node) {
    while (status_.ok()) {
      if (take_op("|")) {
        NodePtr outer = make(NodeKind::kFilter, identifier());
        if (status_.ok() && !is_known_filter(outer->text))
          fail("the filter \"{}\" is not supported", printable(outer->text));
        adopt(*outer, std::move(node));
        if (is_op("(")) arguments(*outer);
        node = std::move(outer);
      } else if (take_name("is")) {
        node = test(std::move(node));
      } else if (is_op("(")) {
        NodePtr outer = make(NodeKind::kCall);
        adopt(*outer, std::move(node));
        arguments(*outer);
        node = std::move(outer);
      } else {
        break;
      }
    }
    return node;
  }

  NodePtr test(NodePtr input) {
    NodePtr node = make(NodeKind::kTest);
    node->negated = take_name("not");
    node->text = identifier();
    if (status_.ok() && !is_known_test(node->text)) fail("the test \"{}\" is not supported", printable(node->text));
    adopt(*node, std::move(input));
    if (is_op("(")) {
      arguments(*node);
      return node;
    }
    // "is divisibleby 3": one argument without brackets.
    const Token& t = peek();
    const bool word = t.kind == TokenKind::kName && t.text != "else" && t.text != "or" && t.text != "and" &&
                      t.text != "if" && t.text != "is" && t.text != "in" && t.text != "not" && t.text != "recursive";
    if (word || t.kind == TokenKind::kString || t.kind == TokenKind::kInteger || t.kind == TokenKind::kFloat ||
        is_op("[") || is_op("{")) {
      node->names.emplace_back();
      adopt(*node, postfix(primary()));
    }
    return node;
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  uint32_t level_ = 0, loops_ = 0;
  Status status_;
};

}  // namespace

Result<NodePtr> parse(std::string_view source) {
  SMEPILOT_ASSIGN(std::vector<Token> tokens, tokenize(source));
  return Parser(std::move(tokens)).run();
}

}  // namespace smepilot::jinja
