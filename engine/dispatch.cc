#include "engine/dispatch.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/isa/isa_detect.h"

namespace smepilot {
namespace {

// The values of M (or KV length) at which a table may change: all up to 16, then `steps` to the octave. Plans place
// their boundaries between measured values that lie octaves apart, so being a little off one costs nothing.
std::vector<uint32_t> grid(uint32_t max, uint32_t steps) {
  std::vector<uint32_t> g;
  for (uint64_t v = 1; v < max; v += v < 16 ? 1 : v / steps) g.push_back(static_cast<uint32_t>(v));
  g.push_back(max);
  return g;
}

Result<Kernels> resolve(const Candidate& candidate, const OperatorShape& shape, IsaSet isa) {
  Result<Kernels> kernels = find_kernels(candidate, {shape.kind, shape.dtype, shape.k, shape.m}, isa);
  if (!kernels.ok())
    return error("plan entry for {} {} {}x{}: {}", kOpNames[static_cast<size_t>(shape.kind)], traits(shape.dtype).name,
                 shape.n, shape.k, kernels.message());
  return kernels;
}

// That the operands need no conversion: weights and caches are packed before a plan is known, and never again.
Status check_layouts(const KernelVariant& v, const OperatorShape& shape, const ElementwiseConfig& elementwise) {
  const bool matmul = shape.kind == OpKind::kMatmul;
  const Layout expected = matmul ? Layout::kRhsPanel16 : Layout::kKvKeyPanel16;
  const auto name = [](Layout layout) { return kLayoutNames[static_cast<size_t>(layout)]; };
  if (v.rhs_layout != expected)
    return error("plan entry for {} {}x{}: variant '{}' reads {} as {}, they are packed as {}",
                 kOpNames[static_cast<size_t>(shape.kind)], shape.n, shape.k, v.id, matmul ? "weights" : "keys",
                 name(v.rhs_layout), name(expected));
  if (matmul && v.lhs_layout != Layout::kRowMajor && elementwise.packer(v.lhs_layout) == nullptr)
    return error("plan entry for matmul {}x{}: variant '{}' reads activations as {}, which nothing here packs", shape.n,
                 shape.k, v.id, name(v.lhs_layout));
  return {};
}

}  // namespace

Result<Dispatch> Dispatch::build(const ModelShape& model, uint32_t max_m, uint32_t max_kv, unsigned workers,
                                 const Lookup& lookup, DType kv_type) {
  Dispatch d;
  d.workers_ = workers;
  d.kv_type_ = kv_type;
  SMEPILOT_ASSIGN(const IsaSet isa, usable_isa());
  SMEPILOT_ASSIGN(d.elementwise_, default_elementwise(workers));
  const std::vector<uint32_t> ms = grid(max_m, 8);
  for (const MatrixShape& matrix : model.matrices) {
    if (std::any_of(d.matrices_.begin(), d.matrices_.end(),
                    [&](const Matrix& m) { return m.dtype == matrix.dtype && m.n == matrix.n && m.k == matrix.k; }))
      continue;
    Matrix out{matrix.dtype, matrix.n, matrix.k, {}, {}};
    for (const uint32_t m : ms) {
      const OperatorShape shape{OpKind::kMatmul, matrix.dtype, m, matrix.n, matrix.k, 0, 0};
      SMEPILOT_ASSIGN(const PlanEntry entry, lookup(shape));
      Candidate candidate = candidate_of(entry);
      SMEPILOT_ASSIGN(const Kernels kernels, resolve(candidate, shape, isa));
      SMEPILOT_TRY(check_layouts(*kernels.variant, shape, d.elementwise_));
      out.forms.add(lhs_form(*kernels.variant));
      const MatmulConfig config = matmul_config(candidate, kernels, m, matrix.n, workers);
      if (out.ranges.empty() || out.ranges.back().candidate != candidate)
        out.ranges.push_back({m, std::move(candidate), kernels, config});
      out.ranges.back().m_max = m;
    }
    d.matrices_.push_back(std::move(out));
  }
  for (const uint32_t kv : grid(max_kv, 4)) {
    if (kv < 64 && kv != max_kv) continue;  // no plan tells such short contexts apart
    for (const uint32_t m : ms) {
      const OperatorShape shape{OpKind::kAttention, kv_type,       m, model.heads, model.head_dim,
                                std::max(kv, m),    model.kv_heads};
      SMEPILOT_ASSIGN(const PlanEntry entry, lookup(shape));
      Candidate candidate = candidate_of(entry);
      SMEPILOT_ASSIGN(const Kernels kernels, resolve(candidate, shape, isa));
      SMEPILOT_TRY(check_layouts(*kernels.variant, shape, d.elementwise_));
      const AttentionConfig config = attention_config(candidate, kernels, workers);
      if (d.attention_.empty() || d.attention_.back().kv_max != kv || d.attention_.back().candidate != candidate)
        d.attention_.push_back({m, kv, std::move(candidate), config});
      d.attention_.back().m_max = m;
    }
  }
  return d;
}

uint32_t Dispatch::matrix_id(DType dtype, uint32_t n, uint32_t k) const noexcept {
  for (uint32_t i = 0; i < matrices_.size(); ++i)
    if (matrices_[i].dtype == dtype && matrices_[i].n == n && matrices_[i].k == k) return i;
  SMEPILOT_DCHECK(false);
  return 0;
}

MatmulConfig Dispatch::matmul(uint32_t matrix_id, uint32_t m) const noexcept {
  const Matrix& matrix = matrices_[matrix_id];
  const MatmulRange* range = matrix.ranges.data();
  while (m > range->m_max && range != &matrix.ranges.back()) ++range;
  // A share of the rows is a share of those that there are.
  if (range->candidate.mode == ExecutionMode::kCoop && range->candidate.coop.dim == SplitDim::kM)
    return matmul_config(range->candidate, range->kernels, m, matrix.n, workers_);
  return range->config;
}

void Dispatch::set_matmul(uint32_t matrix_id, const MatmulConfig& config) {
  Matrix& matrix = matrices_[matrix_id];
  matrix.ranges = {{UINT32_MAX, {}, {}, config}};
  matrix.forms = {};
  matrix.forms.add(lhs_form(*config.variant));
}

void Dispatch::set_packer(const KernelVariant& packer) noexcept {
  elementwise_.packers[static_cast<size_t>(packer.dst_layout)] = &packer;
}

Layout Dispatch::widest_form() const noexcept {
  Layout widest = Layout::kRowMajor;
  size_t most = 0;
  for (const Matrix& m : matrices_)
    for (const LhsForm& f : m.forms.packed())
      if (const size_t bytes = lhs_bytes(f.layout, kPanel, kQ8SuperBlock); bytes > most) {
        most = bytes;
        widest = f.layout;
      }
  return widest;
}

bool Dispatch::any_coop_matmul() const noexcept {
  for (const Matrix& m : matrices_)
    for (const MatmulRange& r : m.ranges)
      if (r.config.mode == ExecutionMode::kCoop) return true;
  return false;
}

const AttentionConfig& Dispatch::attention(uint32_t m, uint32_t kv_len) const noexcept {
  for (const auto& r : attention_)
    if (kv_len <= r.kv_max && m <= r.m_max) return r.config;
  return attention_.back().config;
}

}  // namespace smepilot
