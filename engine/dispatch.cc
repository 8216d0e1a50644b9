#include "engine/dispatch.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"

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

Result<const KernelVariant*> resolve(const PlanEntry& entry, const OperatorShape& shape, IsaSet isa) {
  const KernelVariant* variant = find_variant(entry.variant);
  const char* op = kOpNames[static_cast<size_t>(shape.kind)];
  if (variant == nullptr)
    return error("plan entry for {} {}x{}: this build has no variant '{}'", op, shape.n, shape.k, entry.variant);
  if ((variant->isa & ~isa) != 0)
    return error("plan entry for {} {}x{}: variant '{}' needs {}, which is not usable here", op, shape.n, shape.k,
                 entry.variant, isa_to_string(variant->isa & ~isa));
  if (variant->op != shape.kind || variant->rhs != shape.dtype || shape.k % variant->tile.kr != 0)
    return error("plan entry for {} {} {}x{}: variant '{}' does not compute that", op, traits(shape.dtype).name,
                 shape.n, shape.k, entry.variant);
  return variant;
}

bool same(const MatmulConfig& a, const MatmulConfig& b) {
  return a.variant == b.variant && a.mode == b.mode && a.workers == b.workers && a.mc == b.mc && a.nc == b.nc;
}
bool same(const AttentionConfig& a, const AttentionConfig& b) {
  return a.variant == b.variant && a.mode == b.mode && a.workers == b.workers && a.kv_tile == b.kv_tile &&
         a.kv_splits == b.kv_splits;
}

uint16_t clamp_workers(uint16_t workers, unsigned available) {
  return static_cast<uint16_t>(std::clamp<unsigned>(workers, 1, available));
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
      SMEPILOT_ASSIGN(const KernelVariant* variant, resolve(entry, shape, isa));
      const MatmulConfig config{variant, entry.mode, clamp_workers(entry.workers, workers), entry.mc, entry.nc};
      const LhsForm form = lhs_form(*variant);
      if (form.layout != Layout::kRowMajor && d.elementwise_.packer(form.layout) == nullptr)
        return error("plan entry for matmul {}x{}: variant '{}' reads activations as {}, which nothing here packs",
                     shape.n, shape.k, entry.variant, kLayoutNames[static_cast<size_t>(form.layout)]);
      out.forms.add(form);
      if (!out.ranges.empty() && same(out.ranges.back().config, config))
        out.ranges.back().m_max = m;
      else
        out.ranges.push_back({m, 0, config});
    }
    d.matrices_.push_back(std::move(out));
  }
  for (const uint32_t kv : grid(max_kv, 4)) {
    if (kv < 64 && kv != max_kv) continue;  // no plan tells such short contexts apart
    for (const uint32_t m : ms) {
      const OperatorShape shape{OpKind::kAttention, kv_type,       m, model.heads, model.head_dim,
                                std::max(kv, m),    model.kv_heads};
      SMEPILOT_ASSIGN(const PlanEntry entry, lookup(shape));
      SMEPILOT_ASSIGN(const KernelVariant* variant, resolve(entry, shape, isa));
      const AttentionConfig config{variant, entry.mode, clamp_workers(entry.workers, workers), entry.kv_tile,
                                   entry.kv_splits};
      if (!d.attention_.empty() && d.attention_.back().kv_max == kv && same(d.attention_.back().config, config))
        d.attention_.back().m_max = m;
      else
        d.attention_.push_back({m, kv, config});
    }
  }
  return d;
}

Dispatch::Lookup Dispatch::by_plan(const Plan& plan, Lookup fallback, unsigned* uncovered) {
  return [&plan, fallback = std::move(fallback), uncovered](const OperatorShape& shape) -> Result<PlanEntry> {
    if (const PlanEntry* entry = plan.find(shape)) return *entry;
    if (uncovered != nullptr) ++*uncovered;
    return fallback(shape);
  };
}

Dispatch::Lookup Dispatch::untuned(unsigned workers) {
  return [workers](const OperatorShape& shape) { return default_entry(shape, workers); };
}

Dispatch::Lookup Dispatch::by_roofline(const Roofline& roofline, IsaSet isa, unsigned workers) {
  return [&roofline, isa, workers](const OperatorShape& shape) -> Result<PlanEntry> {
    SMEPILOT_ASSIGN(PlanEntry best, default_entry(shape, workers));
    best.predicted_ns = 0;
    for (const KernelVariant* v : select_variants(shape, isa).usable)
      for (unsigned w = 1; w <= workers; ++w) {
        const Price price = roofline.price(shape, *v, w);
        if (best.predicted_ns != 0 && !(price.ns < best.predicted_ns)) continue;
        best.variant = v->id;
        best.mode = v->unit == ExecutionUnit::kMatrix ? ExecutionMode::kMatrix : ExecutionMode::kCpu;
        best.workers = static_cast<uint16_t>(w);
        best.predicted_ns = price.ns;
      }
    best.why = "lowest roofline price";
    return best;
  };
}

uint32_t Dispatch::matrix_id(DType dtype, uint32_t n, uint32_t k) const noexcept {
  for (uint32_t i = 0; i < matrices_.size(); ++i)
    if (matrices_[i].dtype == dtype && matrices_[i].n == n && matrices_[i].k == k) return i;
  SMEPILOT_DCHECK(false);
  return 0;
}

const MatmulConfig& Dispatch::matmul(uint32_t matrix_id, uint32_t m) const noexcept {
  const auto& ranges = matrices_[matrix_id].ranges;
  for (const auto& r : ranges)
    if (m <= r.m_max) return r.config;
  return ranges.back().config;
}

const AttentionConfig& Dispatch::attention(uint32_t m, uint32_t kv_len) const noexcept {
  for (const auto& r : attention_)
    if (kv_len <= r.kv_max && m <= r.m_max) return r.config;
  return attention_.back().config;
}

}  // namespace smepilot
