// Templates as a tree. The subset of Jinja that chat templates of the model families use; anything else is an error
// that names the construct and its line.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/jinja_value.h"
#include "kernels/base/status.h"

namespace smepilot::jinja {

enum class NodeKind : uint8_t {
  // Expressions
  kLiteral,    // value
  kName,       // text
  kList,       // children: items; also tuples
  kDict,       // children: key, value, key, value …
  kUnary,      // text: - + not
  kBinary,     // text: + - * / // % ** ~ and or
  kCompare,    // children: operands; names: operators between them (== != < <= > >= in, not in)
  kTernary,    // children: condition, value if true, value if false or null
  kAttribute,  // children: object; text: name
  kIndex,      // children: object, index
  kSlice,      // children: object, start, stop, step; the latter three may be null
  kCall,       // children: callee, arguments; names: "" or the keyword of each argument
  kFilter,     // text: name; children: input, arguments; names as for kCall
  kTest,       // text: name; negated; children: input, arguments; names as for kCall
  // Statements
  kData,      // text
  kOutput,    // children: expression
  kBlock,     // children: statements
  kIf,        // children: condition, block, condition, block …, and a block for else if their number is odd
  kFor,       // children: iterable, body, condition or null, else block or null; names: loop variables
  kSet,       // children: value; names: targets, one or several; text: attribute of a namespace, or ""
  kSetBlock,  // children: body; names: target
  kMacro,     // text: name; names: parameters; children: body, then a default or null for each parameter
  kBreak,
  kContinue,
};

struct Node {
  NodeKind kind = NodeKind::kData;
  uint32_t line = 0;
  uint32_t depth = 1;  // levels of the tree below, this one included
  bool negated = false;
  std::string text;
  Value value;
  std::vector<std::string> names;
  std::vector<std::unique_ptr<Node>> children;
};
using NodePtr = std::unique_ptr<Node>;

// Whitespace control as chat templates expect it: trim_blocks and lstrip_blocks on, one final newline dropped.
Result<NodePtr> parse(std::string_view source);

// Names that the interpreter knows; the parser refuses the others.
bool is_known_filter(std::string_view name);
bool is_known_test(std::string_view name);

}  // namespace smepilot::jinja
