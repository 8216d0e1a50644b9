// From a plan to what the graph calls: for every weight matrix shape and for attention, a table over M of resolved
// kernel configurations. Built once per model, so that the hot path looks up and never decides.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "db/plan.h"
#include "engine/left_operand.h"
#include "kernels/driver/operators.h"
#include "profiles/roofline.h"

namespace smepilot {

// What lookups may use.
struct Machine {
  IsaSet isa = 0;
  unsigned workers = 1;
  unsigned matrix_units = 0;
};

class Dispatch {
 public:
  // What answers for a call. Must succeed for every shape of the model and every m in 1 .. max_m.
  using Lookup = std::function<Result<PlanEntry>(const OperatorShape&)>;

  // Resolves `lookup` for every matrix of the model and for attention. `max_kv` is the KV cache's capacity, `kv_type`
  // what it holds. Error: an entry names a variant that this build lacks, this machine cannot run, or that does not fit
  // the operator.
  static Result<Dispatch> build(const ModelShape& model, uint32_t max_m, uint32_t max_kv, unsigned workers,
                                const Lookup& lookup, DType kv_type = DType::kF16);

  // Lookups (dispatch_lookup.cc). by_plan() answers with `fallback` where the plan has no entry and counts those shapes
  // in `*uncovered`.
  static Lookup by_plan(const Plan& plan, Lookup fallback, unsigned* uncovered = nullptr);
  static Lookup untuned(unsigned workers);
  // The variant (or, executed together, two), mode and worker counts with the lowest roofline price, default blocking.
  // Together, each side's share is that of its peak: rho = P_matrix / (P_matrix + P_cpu), rounded to panels.
  static Lookup by_roofline(const Roofline& roofline, const Machine& machine);
  // `inner`'s answer where it is of this mode, else the most preferred kernel (or pair) that can execute the call so,
  // with default blocking, and on the cores what cannot be. roofline: for the shares of a pair; may be nullptr.
  static Lookup forced(ExecutionMode mode, Lookup inner, const Machine& machine, const Roofline* roofline);

  // Index for matmul(), of a matrix shape that build() has seen.
  uint32_t matrix_id(DType dtype, uint32_t n, uint32_t k) const noexcept;
  MatmulConfig matmul(uint32_t matrix_id, uint32_t m) const noexcept;
  const AttentionConfig& attention(uint32_t m, uint32_t kv_len) const noexcept;
  const ElementwiseConfig& elementwise() const noexcept { return elementwise_; }
  // Instead of what build() has chosen: a configuration for every m, and what packs the form that it reads.
  void set_matmul(uint32_t matrix_id, const MatmulConfig& config);
  void set_packer(const KernelVariant& packer) noexcept;
  // Every form of its left operand that any configuration of this matrix reads.
  const FormSet& forms(uint32_t matrix_id) const noexcept { return matrices_[matrix_id].forms; }
  // Of all forms that any matmul reads, the one with the most bytes; kRowMajor: none is packed.
  Layout widest_form() const noexcept;
  DType kv_type() const noexcept { return kv_type_; }
  unsigned workers() const noexcept { return workers_; }
  bool any_coop_matmul() const noexcept;

 private:
  struct MatmulRange {
    uint32_t m_max;
    Candidate candidate;
    Kernels kernels;
    MatmulConfig config;  // of m_max rows
  };
  struct AttentionRange {
    uint32_t m_max, kv_max;
    Candidate candidate;
    AttentionConfig config;
  };
  struct Matrix {
    DType dtype;
    uint32_t n, k;
    FormSet forms;
    std::vector<MatmulRange> ranges;  // ascending m_max
  };

  std::vector<Matrix> matrices_;
  std::vector<AttentionRange> attention_;  // ascending (kv_max, m_max)
  ElementwiseConfig elementwise_;
  DType kv_type_ = DType::kF16;
  unsigned workers_ = 1;
};

}  // namespace smepilot
