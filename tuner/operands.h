// Operands to time an operator on, and the operator itself: exactly the driver's functions on random, valid, non-zero
// data, in as many copies of the weights (or of the KV cache) as make them as cold as they are in a real pass.
//
// What is not weights or cache lies together in one buffer of huge pages, as the engine's activations do, and small
// ones are there several times. On some pages a kernel is 7 % faster than another and on others 10 %: what they
// displace in a cache depends on how their buffers lie to one another, and on what a virtual machine has behind its
// pages. On one page alone it would win one search and lose the next.
#pragma once
#include <cstdint>
#include <memory>
#include <span>

#include "kernels/base/aligned_buffer.h"
#include "kernels/driver/operators.h"
#include "tuner/evaluator.h"
#include "tuner/search_space.h"

namespace smepilot {

class Operands {
 public:
  virtual ~Operands() = default;
  // One call; each takes the next copy of the weights.
  virtual void call(WorkerPool& pool, const Candidate& candidate, const Kernels& kernels) noexcept = 0;
  // Makes the form of the activations that these kernels read, as their producer would. Nothing where they read rows.
  virtual void pack(WorkerPool& pool, const Kernels& kernels) noexcept = 0;
  // The calls that follow use another copy of the activations, if there is one.
  virtual void move_on() noexcept = 0;
  // The last call's result, before move_on().
  virtual std::span<const float> result() const noexcept = 0;
};

// `cold_bytes`: how much is read between two uses of the same copy, at least. Error: more than half of memory_bytes
// would be needed.
Result<std::unique_ptr<Operands>> make_operands(const OperatorShape& shape, uint64_t cold_bytes, unsigned workers,
                                                uint64_t memory_bytes, WorkerPool& pool);

// Compares the kernels with the oracle on a piece of the operator (a few rows and columns, all of k): on one worker, or
// of both units on one each.
CheckResult check_against_oracle(const OperatorShape& shape, const Candidate& candidate, const Kernels& kernels);

}  // namespace smepilot
