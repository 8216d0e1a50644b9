// Micro-kernels become operators here: blocking loops and the division of work among workers. The tuner times exactly
// these functions and the engine runs exactly these functions.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/abi/kernel_variant.h"
#include "kernels/base/aligned_buffer.h"
#include "kernels/base/status.h"
#include "kernels/driver/attention.h"
#include "kernels/driver/call_time.h"
#include "kernels/driver/worker_pool.h"

namespace smepilot {

// Weights [n][k] in Layout::kRhsPanel16. Owns its memory, or (data() of a cache file) points into somebody else's.
struct PackedMatrix {
  DType dtype = DType::kF32;
  uint32_t n = 0, k = 0;
  const std::byte* data = nullptr;  // rhs_bytes(dtype, n, k), 64-byte aligned
  size_t panel_bytes() const noexcept { return rhs_planes(dtype, k).panel_bytes; }
};

// A form of the left operand: what a consumer reads, and so what its producer writes.
struct LhsForm {
  Layout layout = Layout::kRowMajor;
  uint32_t group = 0;  // of quantised activations, how many share a scale: see lhs_q8_group()
  friend bool operator==(const LhsForm&, const LhsForm&) = default;
};

// The left operand [m][k]: f32 rows, and where any consumer wants it, the same rows packed. Packed once by the
// producer, read by every consumer.
struct LhsOperand {
  const float* f32 = nullptr;
  size_t stride = 0;                  // floats between rows of f32
  const std::byte* packed = nullptr;  // lhs_bytes(form.layout, m, k), 64-byte aligned, or nullptr
  LhsForm form;                       // of `packed`
  uint32_t m = 0, k = 0;
};

// The matrix unit's part of a matmul that both units execute.
struct CoopShare {
  const KernelVariant* variant = nullptr;  // of ExecutionUnit::kMatrix, with the lhs and rhs layout of the other side's
  uint16_t workers = 1;                    // one per unit
  uint32_t mc = 128, nc = 64;              // as in MatmulConfig
  SplitDim dim = SplitDim::kN;
  uint32_t split = 0;    // rows or columns, from 0 on, that are the matrix unit's: a multiple of 16
  bool dynamic = false;  // the side that finishes first takes what remains of the other's part
};

// How one matmul is to be executed: what a plan decides.
struct MatmulConfig {
  const KernelVariant* variant = nullptr;  // kCoop: the vector cores'
  ExecutionMode mode = ExecutionMode::kCpu;
  uint16_t workers = 1;  // kCoop: the vector cores', beside those of the matrix unit
  uint32_t mc = 128;     // rows per cache block, a multiple of the panel height (16)
  uint32_t nc = 64;      // columns per task, a multiple of 16
  CoopShare coop = {};   // kCoop only
};

// Element-wise operators: which variants the machine runs. They have no blocking to tune.
struct ElementwiseConfig {
  const KernelVariant* norm = nullptr;
  const KernelVariant* rope = nullptr;
  const KernelVariant* swiglu = nullptr;
  const KernelVariant* softmax = nullptr;
  const KernelVariant* packers[static_cast<size_t>(Layout::kCount)] = {};  // by the layout that they write
  uint16_t workers = 1;
  // What packs f32 rows into that layout; nullptr: nothing does.
  const KernelVariant* packer(Layout layout) const noexcept { return packers[static_cast<size_t>(layout)]; }
};

// The preferred usable variant of each element-wise operator.
Result<ElementwiseConfig> default_elementwise(unsigned workers);

// One matmul: dst[m][n] = lhs * rhs^T, dst rows dst_stride floats apart. lhs.packed must be there in the layout
// that the variant reads, unless that is kRowMajor.
struct MatmulCall {
  MatmulConfig config;
  const PackedMatrix* rhs = nullptr;
  LhsOperand lhs;
  float* dst = nullptr;
  size_t dst_stride = 0;
};

// Executes independent calls (q, k and v; gate and up; the experts of a layer), of any modes, in one fork and join.
// Work is cut into tasks of mc x nc outputs. Each worker has a share of them (TaskShares) and helps others when it is
// done; those of few rows, and of two units at once, are taken as workers come to them. Uneven workers so finish
// together. Where both units have work, the first workers of the pool are the matrix unit's and the following ones the
// vector cores', unless every worker has a matrix unit of its own. time: what each worker did, of a CallTime for the
// pool's workers; may be nullptr.
void matmul_group(WorkerPool& pool, std::span<const MatmulCall> calls, CallTime* time = nullptr) noexcept;

inline void matmul(WorkerPool& pool, const MatmulConfig& config, const LhsOperand& lhs, const PackedMatrix& rhs,
                   float* dst, size_t dst_stride) noexcept {
  const MatmulCall call{config, &rhs, lhs, dst, dst_stride};
  matmul_group(pool, {&call, 1});
}

// The form that a matmul variant reads.
constexpr LhsForm lhs_form(const KernelVariant& variant) noexcept {
  return {variant.lhs_layout, is_q8(variant.lhs_layout) ? lhs_q8_group(variant.rhs) : 0};
}

// x[rows][k], stride floats apart, packed. dst: lhs_bytes(form.layout, rows, k). There must be a packer of that layout.
void pack_lhs(WorkerPool& pool, const ElementwiseConfig& config, const LhsForm& form, const float* x, size_t stride,
              uint32_t rows, uint32_t k, std::byte* dst) noexcept;

// One panel of it, up to 16 rows, by the calling worker: for producers that pack what they have just computed.
inline void pack_lhs_panel(const ElementwiseConfig& config, const LhsForm& form, const float* x, size_t stride,
                           uint32_t rows, uint32_t k, std::byte* dst) noexcept {
  const QuantizeArgs args{x, stride, dst, rows, k, form.group};
  config.packer(form.layout)->quantize(&args);
}

}  // namespace smepilot
