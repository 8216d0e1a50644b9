#include "kernels/driver/operators.h"

#include <algorithm>
#include <atomic>

#include "kernels/base/check.h"
#include "kernels/base/integer.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

// How a call is cut into tasks: m_blocks x n_blocks, all column blocks of one row block before the next row block, so
// that the block of activations stays in cache while the weights stream by.
struct Tasks {
  uint32_t mc, nc, n_blocks, count;
};

Tasks cut(const MatmulCall& call) noexcept {
  Tasks t{};
  t.mc = std::max(call.config.mc / kPanel * kPanel, kPanel);
  t.nc = std::max(call.config.nc / kPanel * kPanel, kPanel);
  t.n_blocks = ceil_div(call.rhs->n, t.nc);
  t.count = t.n_blocks * ceil_div(call.lhs.m, t.mc);
  return t;
}

// `count` tasks from `task` on, all of one row block.
void matmul_tasks(const MatmulCall& call, const Tasks& tasks, uint32_t task, uint32_t count) noexcept {
  const KernelVariant& variant = *call.config.variant;
  const bool packed = variant.lhs_layout != Layout::kRowMajor;
  const uint32_t m_begin = task / tasks.n_blocks * tasks.mc, m_end = std::min(m_begin + tasks.mc, call.lhs.m);
  const uint32_t n_begin = task % tasks.n_blocks * tasks.nc;
  const uint32_t n_end = std::min(n_begin + count * tasks.nc, call.rhs->n);
  const size_t panel_bytes = call.rhs->panel_bytes();
  MatmulArgs args{};
  args.lhs_stride = call.lhs.stride * sizeof(float);
  args.rhs = call.rhs->data + n_begin / kPanel * panel_bytes;
  args.rhs_stride = panel_bytes;
  args.dst_stride = call.dst_stride;
  args.n = n_end - n_begin;
  args.k = call.lhs.k;
  for (uint32_t m = m_begin; m < m_end; m += variant.tile.mr) {
    args.m = std::min(variant.tile.mr, m_end - m);
    args.lhs = packed ? static_cast<const void*>(call.lhs.packed + lhs_bytes(variant.lhs_layout, m, call.lhs.k))
                      : static_cast<const void*>(call.lhs.f32 + m * call.lhs.stride);
    args.dst = call.dst + m * call.dst_stride + n_begin;
    variant.matmul(&args);
  }
}

// Whether a call reads its weights once, whatever it is cut into: then long runs of them are best.
bool streams(const MatmulCall& call) noexcept {
  return call.lhs.m <= std::min(call.config.mc, call.config.variant->tile.mr);
}

}  // namespace

void matmul_group(WorkerPool& pool, std::span<const MatmulCall> calls) noexcept {
  unsigned workers = 1;
  uint32_t total = 0;
  bool long_runs = true;
  for (const MatmulCall& call : calls) {
    SMEPILOT_DCHECK(call.config.variant != nullptr && call.config.variant->rhs == call.rhs->dtype);
    SMEPILOT_DCHECK(call.lhs.k == call.rhs->k);
    SMEPILOT_DCHECK(call.config.variant->lhs_layout == Layout::kRowMajor ||
                    (call.lhs.packed != nullptr && call.lhs.layout == call.config.variant->lhs_layout));
    workers = std::max<unsigned>(workers, call.config.workers);
    total += cut(call).count;
    long_runs = long_runs && streams(call);
  }
  workers = std::min(workers, std::max(total, 1u));
  std::atomic<uint32_t> next{0};
  pool.run(workers, [&](unsigned, unsigned) {
    size_t at = 0;       // the call that the drawn tasks belong to: task numbers only grow
    uint32_t first = 0;  // number of that call's first task
    Tasks tasks = cut(calls[0]);
    for (uint32_t task = next.load(std::memory_order_relaxed); task < total;) {
      // Half of an even share of what remains: long runs of weights at first, short ones to finish together.
      const uint32_t drawn = long_runs ? std::max((total - task) / (2 * workers), 1u) : 1;
      if (!next.compare_exchange_weak(task, task + drawn, std::memory_order_relaxed)) continue;
      for (const uint32_t end = task + drawn; task < end;) {
        while (task - first >= tasks.count) {
          first += tasks.count;
          tasks = cut(calls[++at]);
        }
        const uint32_t in_block = (task - first) % tasks.n_blocks;
        const uint32_t count = std::min(end - task, tasks.n_blocks - in_block);
        matmul_tasks(calls[at], tasks, task - first, count);
        task += count;
      }
      task = next.load(std::memory_order_relaxed);
    }
  });
}

void pack_lhs(WorkerPool& pool, const ElementwiseConfig& config, const LhsForm& form, const float* x, size_t stride,
              uint32_t rows, uint32_t k, std::byte* dst) noexcept {
  SMEPILOT_DCHECK(config.packer(form.layout) != nullptr);
  const uint32_t panels = ceil_div(rows, kPanel);
  pool.run(std::min<unsigned>(config.workers, panels), [&](unsigned worker, unsigned workers) {
    for (uint32_t p = worker; p < panels; p += workers) {
      const uint32_t m = p * kPanel;
      pack_lhs_panel(config, form, x + m * stride, stride, std::min(kPanel, rows - m), k,
                     dst + lhs_bytes(form.layout, m, k));
    }
  });
}

Result<ElementwiseConfig> default_elementwise(unsigned workers) {
  SMEPILOT_ASSIGN(const IsaSet isa, usable_isa());
  const auto first = [&](OpKind kind, DType dtype) -> const KernelVariant* {
    const Selection s = select_variants({kind, dtype, 1, kQ8Block, kQ8Block, 0, 0}, isa);
    return s.usable.empty() ? nullptr : s.usable.front();
  };
  ElementwiseConfig c;
  c.norm = first(OpKind::kNorm, DType::kF32);
  c.rope = first(OpKind::kRope, DType::kF32);
  c.swiglu = first(OpKind::kSwiglu, DType::kF32);
  c.softmax = first(OpKind::kSoftmax, DType::kF32);
  bool packs = false;
  for (const KernelVariant* v :
       select_variants({OpKind::kQuantize, DType::kF32, 1, kQ8Block, kQ8Block, 0, 0}, isa).usable) {
    const KernelVariant*& packer = c.packers[static_cast<size_t>(v->dst_layout)];
    if (packer == nullptr) packer = v;
    packs = packs || is_q8(v->dst_layout);
  }
  c.workers = static_cast<uint16_t>(workers);
  for (const auto& [variant, name] :
       {std::pair{c.norm, "norm"}, {c.rope, "rope"}, {c.swiglu, "swiglu"}, {c.softmax, "softmax"}})
    if (variant == nullptr) return error("this build has no {} kernel for ISA {}", name, isa_to_string(isa));
  if (!packs) return error("this build has no quantize kernel for ISA {}", isa_to_string(isa));
  return c;
}

}  // namespace smepilot
