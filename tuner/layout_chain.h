// The operators of a layer as a chain that activations pass through: each reads them in one form and writes them in
// one, and a form that nobody wrote has to be made first. Configurations that are best one by one need not be best
// together; this finds the assignment that is, by dynamic programming over the forms between the steps. Pure: it knows
// costs and numbers of forms, and neither kernels nor machines.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace smepilot {

inline constexpr uint8_t kMaxForms = 32;

// One way to execute an operator.
struct ChainAlternative {
  double ns = 0;                  // of one call
  uint8_t reads = 0, writes = 0;  // forms, below kMaxForms
};

// What is chosen once: operators of equal shape are one entry of a plan, wherever in the layer they are.
struct ChainChoice {
  std::vector<ChainAlternative> alternatives;  // at least one
  size_t greedy = 0;                           // the one that is best alone
  // A different one has to be cheaper by more than this: what measuring it may have been wrong by, ns of one call.
  double hurdle_ns = 0;
};

// Operators that read what the step before wrote (q, k and v; gate and up). Every form that one of them reads is made
// once and shared by all that read it.
struct ChainStep {
  struct Member {
    size_t choice = 0;
    double calls = 1;  // per pass
  };
  std::vector<Member> members;
  double calls = 1;  // how often the input is made per pass; a form that fewer calls read is made for those only
  std::function<double(uint8_t from, uint8_t to)> convert_ns;  // of one input; not asked where both are the same
};

struct LayoutChain {
  std::vector<ChainChoice> choices;
  std::vector<ChainStep> steps;
  uint8_t first = 0;  // the form that enters the first step
};

struct ChainCost {
  double ns = 0;           // operators and what is made between them
  double packing_ns = 0;   // the second part alone
  double packings = 0;     // forms made per pass
  double conversions = 0;  // of these, such as a step needs beyond its first: what the engine counts as conversions
};

struct ChainResult {
  std::vector<size_t> chosen;  // alternative of each choice
  ChainCost cost, greedy;
};

ChainCost chain_cost(const LayoutChain& chain, const std::vector<size_t>& chosen);

// What making a form costs a member of a step: nothing where it reads what is there already.
struct ChainPacking {
  double times = 0;  // per pass
  double ns = 0;     // one of them
};

// By step and by its members. A form that several of them read is made for the first.
std::vector<std::vector<ChainPacking>> chain_packings(const LayoutChain& chain, const std::vector<size_t>& chosen);

// The cheapest assignment, hurdles counted; of equally cheap ones that which differs from the greedy one in fewest
// choices.
ChainResult cheapest_chain(const LayoutChain& chain);

}  // namespace smepilot
