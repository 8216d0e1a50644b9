#include "kernels/driver/operators.h"

#include <algorithm>
#include <atomic>

#include "kernels/base/check.h"
#include "kernels/base/integer.h"
#include "kernels/driver/task_shares.h"
#include "kernels/driver/trace.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

// The two kinds of workers that a group of calls may have.
enum Side : unsigned { kVector, kMatrix };
constexpr Side other(Side s) noexcept {
  return s == kVector ? kMatrix : kVector;
}

const KernelVariant& variant_of(const MatmulCall& call, Side side) noexcept {
  return call.config.mode == ExecutionMode::kCoop && side == kMatrix ? *call.config.coop.variant : *call.config.variant;
}

bool is_dynamic(const MatmulCall& call) noexcept {
  return call.config.mode == ExecutionMode::kCoop && call.config.coop.dynamic;
}

// What one side has of a call, cut into tasks: m_blocks x n_blocks, all column blocks of one row block before the next
// row block, so that the block of activations stays in cache while the weights stream by.
struct Part {
  uint32_t m_begin, m_end, n_begin, n_end;
  uint32_t mc, nc, n_blocks, count;
};

Part part_of(const MatmulCall& call, Side side) noexcept {
  const MatmulConfig& config = call.config;
  const CoopShare& coop = config.coop;
  Part p{0, call.lhs.m, 0, call.rhs->n, config.mc, config.nc, 0, 0};
  if (config.mode == ExecutionMode::kCoop) {
    uint32_t& begin = coop.dim == SplitDim::kM ? p.m_begin : p.n_begin;
    uint32_t& end = coop.dim == SplitDim::kM ? p.m_end : p.n_end;
    const uint32_t split = std::min(coop.split / kPanel * kPanel, end);
    (side == kMatrix ? end : begin) = split;
    if (side == kMatrix) p.mc = coop.mc, p.nc = coop.nc;
  } else if ((config.mode == ExecutionMode::kMatrix) != (side == kMatrix)) {
    p.m_end = p.n_end = 0;
  }
  p.mc = std::max(p.mc / kPanel * kPanel, kPanel);
  p.nc = std::max(p.nc / kPanel * kPanel, kPanel);
  p.n_blocks = ceil_div(p.n_end - p.n_begin, p.nc);
  p.count = p.n_blocks * ceil_div(p.m_end - p.m_begin, p.mc);
  return p;
}

// `count` tasks from `task` on, all of one row block. Returns their multiply-accumulates.
double matmul_tasks(const MatmulCall& call, const KernelVariant& variant, const Part& part, uint32_t task,
                    uint32_t count) noexcept {
  const TraceScope trace("matmul", variant.unit, call.config.mode, task);
  const bool packed = variant.lhs_layout != Layout::kRowMajor;
  const uint32_t m_begin = part.m_begin + task / part.n_blocks * part.mc,
                 m_end = std::min(m_begin + part.mc, part.m_end);
  const uint32_t n_begin = part.n_begin + task % part.n_blocks * part.nc;
  const uint32_t n_end = std::min(n_begin + count * part.nc, part.n_end);
  const size_t panel_bytes = call.rhs->panel_bytes();
  MatmulArgs args{};
  args.lhs_stride = call.lhs.stride * sizeof(float);
  args.rhs = call.rhs->data + n_begin / kPanel * panel_bytes;
  args.rhs_stride = panel_bytes;
  args.dst_stride = call.dst_stride;
  args.n = n_end - n_begin;
  args.k = call.lhs.k;
  args.lhs_group = call.lhs.form.group;
  for (uint32_t m = m_begin; m < m_end; m += variant.tile.mr) {
    args.m = std::min(variant.tile.mr, m_end - m);
    args.lhs = packed ? static_cast<const void*>(call.lhs.packed + lhs_bytes(variant.lhs_layout, m, call.lhs.k))
                      : static_cast<const void*>(call.lhs.f32 + m * call.lhs.stride);
    args.dst = call.dst + m * call.dst_stride + n_begin;
    variant.matmul(&args);
  }
  return static_cast<double>(m_end - m_begin) * static_cast<double>(args.n) * static_cast<double>(args.k);
}

// The tasks of one side, of all calls. Its own workers take them from the front; once the other side's have none left,
// they take them from the back, where that is allowed.
class TaskQueue {
 public:
  void reset(uint32_t tasks) noexcept {
    tasks_ = tasks;
    span_.store(uint64_t{tasks} << 32, std::memory_order_relaxed);
  }
  uint32_t tasks() const noexcept { return tasks_; }  // all that there were

  // `runs`: how many are taken at once is half of an even share of what remains among so many workers, long runs of
  // weights at first and short ones to finish together. 0: one at a time. False: none is left.
  bool take_front(uint32_t runs, uint32_t& first, uint32_t& count) noexcept {
    uint64_t now = span_.load(std::memory_order_relaxed);
    for (;;) {
      const uint32_t front = static_cast<uint32_t>(now), back = static_cast<uint32_t>(now >> 32);
      if (front >= back) return false;
      first = front;
      count = runs == 0 ? 1 : std::max((back - front) / (2 * runs), 1u);
      if (span_.compare_exchange_weak(now, now + count, std::memory_order_relaxed)) return true;
    }
  }
  // allowed(first, end): whether the last one of these may be taken.
  template <typename Allowed>
  bool take_back(Allowed allowed, uint32_t& task) noexcept {
    uint64_t now = span_.load(std::memory_order_relaxed);
    for (;;) {
      const uint32_t front = static_cast<uint32_t>(now), back = static_cast<uint32_t>(now >> 32);
      if (front >= back || !allowed(front, back)) return false;
      task = back - 1;
      if (span_.compare_exchange_weak(now, now - (uint64_t{1} << 32), std::memory_order_relaxed)) return true;
    }
  }

 private:
  uint32_t tasks_ = 0;
  alignas(64) std::atomic<uint64_t> span_{0};  // first task, and above it the end
};

class Group {
 public:
  Group(std::span<const MatmulCall> calls, unsigned available) noexcept : calls_(calls) {
    unsigned wanted[2] = {0, 0};
    bool streams[2] = {true, true}, dynamic = false;
    uint32_t total[2] = {0, 0};
    for (const MatmulCall& call : calls) {
      check(call);
      for (const Side side : {kVector, kMatrix}) {
        const Part part = part_of(call, side);
        if (part.count == 0) continue;
        const bool share = call.config.mode == ExecutionMode::kCoop && side == kMatrix;
        wanted[side] = std::max<unsigned>(wanted[side], share ? call.config.coop.workers : call.config.workers);
        // Weights are read once, whatever the call is cut into: then long runs of them are best.
        streams[side] = streams[side] && part.m_end - part.m_begin <= std::min(part.mc, variant_of(call, side).tile.mr);
        total[side] += part.count;
        work_[side] += static_cast<double>(part.m_end - part.m_begin) * (part.n_end - part.n_begin) * call.lhs.k;
        dynamic = dynamic || is_dynamic(call);
      }
    }
    for (const Side side : {kVector, kMatrix}) queues_[side].reset(total[side]);
    // A side has workers of its own, unless every worker has a matrix unit, or there is only one.
    apart_ = wanted[kVector] > 0 && wanted[kMatrix] > 0 && available > 1 && wanted[kMatrix] < available;
    if (apart_) {
      matrix_workers_ = std::min(wanted[kMatrix], total[kMatrix]);
      workers_ = matrix_workers_ + std::min({wanted[kVector], available - matrix_workers_, total[kVector]});
    } else {
      workers_ = std::min(
          {std::max(wanted[kVector], wanted[kMatrix]), available, std::max(total[kVector] + total[kMatrix], 1u)});
    }
    if (!apart_ && !dynamic)
      for (const Side side : {kVector, kMatrix})
        if (!streams[side]) share_out(side);
    for (const Side side : {kVector, kMatrix})  // what one side takes at once must not be all that the other could have
      runs_[side] = !streams[side] ? 0 : dynamic ? workers_ : own_workers(side);
  }

  unsigned workers() const noexcept { return workers_; }
  bool apart() const noexcept { return apart_; }

  void work(unsigned worker, CallTime* time) noexcept {
    WorkerTime* const mine = time != nullptr ? time->start(worker) : nullptr;
    Done done;
    const Side side =
        apart_ ? (worker < matrix_workers_ ? kMatrix : kVector) : (queues_[kVector].tasks() != 0 ? kVector : kMatrix);
    own_tasks(side, worker, done);
    if (apart_)
      left_tasks(other(side), side, done);
    else
      own_tasks(other(side), worker, done);
    if (mine == nullptr) return;
    mine->work = done.work;
    mine->tasks = done.tasks;
    mine->unit = side == kMatrix ? ExecutionUnit::kMatrix : ExecutionUnit::kCpu;
    time->finish(*mine);
  }

 private:
  struct Done {  // by one worker
    double work = 0;
    uint32_t tasks = 0;
  };

  static void check([[maybe_unused]] const MatmulCall& call) noexcept {
    for ([[maybe_unused]] const Side side : {kVector, kMatrix}) {
      [[maybe_unused]] const KernelVariant& v = variant_of(call, side);
      SMEPILOT_DCHECK(v.rhs == call.rhs->dtype && v.lhs_layout == call.config.variant->lhs_layout);
      SMEPILOT_DCHECK(v.lhs_layout == Layout::kRowMajor ||
                      (call.lhs.packed != nullptr && call.lhs.form.layout == v.lhs_layout));
    }
    SMEPILOT_DCHECK(call.lhs.k == call.rhs->k);
  }

  unsigned own_workers(Side side) const noexcept {
    return !apart_ ? workers_ : side == kMatrix ? matrix_workers_ : workers_ - matrix_workers_;
  }

  // Tasks are numbered through the calls twice: first those that their side alone may execute, then, at the back where
  // the other side takes them from, those that it may help with.
  const MatmulCall& call_at(size_t at) const noexcept { return calls_[at % calls_.size()]; }
  Part part_at(size_t at, Side side) const noexcept {
    return is_dynamic(call_at(at)) == (at >= calls_.size()) ? part_of(call_at(at), side) : Part{};
  }

  // Cuts each call into a share for each worker: the same rows of every call, where there are rows enough.
  void share_out(Side side) noexcept {
    by_share_[side] = true;
    shares_[side].reset(workers_);
    for (const MatmulCall& call : calls_) shares_[side].add(part_of(call, side).count);
  }

  void shared_tasks(Side side, unsigned worker, Done& done) noexcept {
    TaskShares& shares = shares_[side];
    size_t at = 0;  // of the task taken last: its call, the number in the share of the first task there, and the share
    uint32_t first = 0;
    unsigned last_share = 0;
    Part part = part_of(calls_[0], side);
    for (unsigned share, index; shares.take(worker, share, index); ++done.tasks) {
      if (share != last_share || index < first) {
        at = first = 0;
        last_share = share;
        part = part_of(calls_[0], side);
      }
      uint32_t begin = shares.bound(part.count, share);
      for (uint32_t end; index - first >= (end = shares.bound(part.count, share + 1)) - begin;) {
        first += end - begin;
        part = part_of(calls_[++at], side);
        begin = shares.bound(part.count, share);
      }
      done.work += matmul_tasks(calls_[at], variant_of(calls_[at], side), part, begin + (index - first), 1);
    }
  }

  void own_tasks(Side side, unsigned worker, Done& done) noexcept {
    if (by_share_[side]) return shared_tasks(side, worker, done);
    size_t at = 0;       // where the taken tasks belong: task numbers only grow
    uint32_t first = 0;  // number of the first task there
    Part part = part_at(0, side);
    for (uint32_t task, count; queues_[side].take_front(runs_[side], task, count);) {
      for (const uint32_t end = task + count; task < end;) {
        while (task - first >= part.count) {
          first += part.count;
          part = part_at(++at, side);
        }
        const uint32_t in_block = (task - first) % part.n_blocks;
        const uint32_t n = std::min(end - task, part.n_blocks - in_block);
        done.work += matmul_tasks(call_at(at), variant_of(call_at(at), side), part, task - first, n);
        done.tasks += n;
        task += n;
      }
    }
  }

  // Tasks of `owner` that its workers have not come to, by a worker of the other side with that side's kernel. Not
  // those that this worker would be longer busy with than the owner's with all that remains: both sides began at once,
  // so what each has done until now says how fast it is.
  void left_tasks(Side owner, Side by, Done& done) noexcept {
    const uint32_t tasks = queues_[owner].tasks();
    const double own = work_[by] * tasks / work_[owner];  // what this side had to do, in tasks of the owner
    const unsigned helpers = own_workers(by);
    size_t at = 2 * calls_.size();
    uint32_t first = tasks;  // at `at`: task numbers only shrink
    Part part{};
    const auto allowed = [&](uint32_t begin, uint32_t end) {
      while (at > 0 && end - 1 < first) {
        part = part_at(--at, owner);
        first -= part.count;
      }
      return at >= calls_.size() && (end - begin) * (own + (tasks - end)) >= static_cast<double>(begin) * helpers;
    };
    for (uint32_t task; queues_[owner].take_back(allowed, task); ++done.tasks)
      done.work += matmul_tasks(call_at(at), variant_of(call_at(at), by), part, task - first, 1);
  }

  std::span<const MatmulCall> calls_;
  TaskQueue queues_[2];
  TaskShares shares_[2];
  bool by_share_[2] = {false, false};  // where both sides' tasks are everyone's
  uint32_t runs_[2] = {0, 0};
  double work_[2] = {0, 0};  // multiply-accumulates
  bool apart_ = false;
  unsigned workers_ = 1, matrix_workers_ = 0;
};

}  // namespace

void matmul_group(WorkerPool& pool, std::span<const MatmulCall> calls, CallTime* time) noexcept {
  if (calls.empty()) return;
  Group group(calls, pool.size());
  if (time != nullptr) time->begin(group.workers(), group.apart());
  pool.run(group.workers(), [&](unsigned worker, unsigned) { group.work(worker, time); });
  if (time != nullptr) time->end();
}

void pack_lhs(WorkerPool& pool, const ElementwiseConfig& config, const LhsForm& form, const float* x, size_t stride,
              uint32_t rows, uint32_t k, std::byte* dst) noexcept {
  SMEPILOT_DCHECK(config.packer(form.layout) != nullptr);
  const uint32_t panels = ceil_div(rows, kPanel);
  const unsigned most = std::min<unsigned>(config.workers, panels);
  TaskShares tasks(panels, most);
  pool.run(most, [&](unsigned worker, unsigned) {
    const TraceScope trace("pack", ExecutionUnit::kCpu, ExecutionMode::kCpu, worker);
    for (uint32_t p; tasks.take(worker, p);) {
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
