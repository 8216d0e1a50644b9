#include "tuner/search_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "db/plan.h"
#include "kernels/base/integer.h"
#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

// The grids that are tried. Cache sizes do not enter: measuring is cheap, and blocking decides less than the variant.
constexpr uint32_t kMcGrid[] = {64, 128, 256, 512};
constexpr uint32_t kNcGrid[] = {16, 32, 64, 128, 256, 512};
constexpr uint32_t kKvTileGrid[] = {64, 128, 256, 512};
constexpr uint32_t kKvSplitGrid[] = {0, 1, 2, 4, 8, 16};
constexpr uint32_t kFineGrainN = 2048;  // above it, 16 columns per task only add dispatches

ExecutionMode mode_of(const KernelVariant& v) noexcept {
  return v.unit == ExecutionUnit::kMatrix ? ExecutionMode::kMatrix : ExecutionMode::kCpu;
}

uint32_t matmul_tasks(const OperatorShape& s, const Candidate& c) noexcept {
  return ceil_div(s.m, std::max(c.mc, kPanel)) * ceil_div(s.n, std::max(c.nc, kPanel));
}

struct Grid {
  std::vector<uint32_t> mc, nc, kv_tile;
};

// The values of each grid that differ in effect for this shape; the default's own value is always among them.
Grid grid_for(const OperatorShape& s, const Candidate& def) {
  Grid g;
  const auto add = [](std::vector<uint32_t>& to, uint32_t v) {
    if (std::find(to.begin(), to.end(), v) == to.end()) to.push_back(v);
  };
  if (s.kind == OpKind::kMatmul) {
    for (const uint32_t v : kMcGrid)
      if (v < s.m) add(g.mc, v);
    if (def.mc >= s.m)
      add(g.mc, def.mc);
    else
      add(g.mc, round_up(s.m, kPanel));  // one row block
    for (const uint32_t v : kNcGrid)
      if (v <= round_up(s.n, kPanel) && (v > kPanel || s.n <= kFineGrainN)) add(g.nc, v);
    add(g.nc, def.nc);
  } else {
    for (const uint32_t v : kKvTileGrid)
      if (v < s.kv_len) add(g.kv_tile, v);
    add(g.kv_tile, def.kv_tile);
  }
  return g;
}

// Why these parameters do not fit the shape, or "".
std::string constraint(const OperatorShape& s, const Candidate& c) {
  if (s.kind == OpKind::kMatmul) {
    const uint32_t tasks = matmul_tasks(s, c);
    if (tasks < c.workers)
      return fmt::format("{} task{} cannot feed {} workers", tasks, tasks == 1 ? "" : "s", c.workers);
  } else if (c.kv_splits > 1) {
    if (c.workers == 1) return "one worker gains nothing from a divided KV range";
    if (s.kv_len / c.kv_splits < 128)
      return fmt::format("{} pieces of {} positions are shorter than 128", c.kv_splits, s.kv_len);
    if (uint64_t{s.m} * s.n > 1024)
      return fmt::format("{} query rows give enough tasks undivided", uint64_t{s.m} * s.n);
  }
  return "";
}

// 1 where the tasks divide evenly among the workers, more where some wait for the last one.
double imbalance(const OperatorShape& s, const Candidate& c) noexcept {
  if (s.kind != OpKind::kMatmul || c.workers <= 1) return 1;
  const uint32_t tasks = matmul_tasks(s, c);
  return double{1} * ceil_div(tasks, c.workers) * c.workers / tasks;
}

}  // namespace

bool is_decode_batch(uint32_t m) noexcept {
  return m <= 16;
}

uint32_t OperatorTask::calls() const noexcept {
  uint32_t n = 0;
  for (const Use& u : uses) n += u.calls;
  return n;
}

std::string OperatorTask::roles() const {
  std::string s;
  for (const Use& u : uses) s += (s.empty() ? "" : ", ") + u.role;
  return s;
}

std::vector<OperatorTask> operator_tasks(const ModelShape& model, std::span<const uint32_t> ms,
                                         std::span<const uint32_t> contexts) {
  uint64_t weight_bytes = 0;
  for (const MatrixShape& m : model.matrices)
    weight_bytes += uint64_t{m.count} * file_bytes(m.dtype, size_t{m.n} * m.k);
  std::vector<uint32_t> sorted(ms.begin(), ms.end());
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());

  std::vector<OperatorTask> tasks;
  const auto add = [&](const ModelOperator& op, uint64_t bytes) {
    const auto same = [&](const OperatorTask& t) {
      const OperatorShape &a = t.shape, &b = op.shape;
      return a.kind == b.kind && a.dtype == b.dtype && a.m == b.m && a.n == b.n && a.k == b.k && a.kv_len == b.kv_len &&
             a.kv_heads == b.kv_heads;
    };
    auto it = std::find_if(tasks.begin(), tasks.end(), same);
    if (it == tasks.end()) it = tasks.insert(tasks.end(), {op.shape, {}, bytes});
    const auto use = std::find_if(it->uses.begin(), it->uses.end(), [&](const auto& u) { return u.role == op.role; });
    if (use == it->uses.end()) it->uses.push_back({op.role, op.calls});
  };
  for (const uint32_t m : sorted) {
    for (const Pass pass : {Pass::kDecode, Pass::kPrefill}) {
      if (pass == Pass::kDecode ? !is_decode_batch(m) : m == 1) continue;
      for (const uint32_t kv : contexts) {
        for (const ModelOperator& op : model_operators(model, m, std::max(kv, m), pass)) {
          if (op.shape.kind == OpKind::kMatmul) add(op, weight_bytes);
          if (op.shape.kind == OpKind::kAttention) {
            const uint64_t cache =
                uint64_t{2} * op.shape.kv_heads * kv_bytes(op.shape.dtype, op.shape.kv_len, op.shape.k);
            add(op, cache * model.layers + weight_bytes);
          }
        }
      }
    }
  }
  return tasks;
}

std::vector<uint32_t> worker_counts(const Platform& platform) {
  std::vector<uint32_t> out;
  const uint32_t cores = std::max(1u, platform.cores);
  for (uint32_t w = 1; w < cores; w *= 2) out.push_back(w);
  out.push_back(cores);
  if (platform.cpus > cores) out.push_back(platform.cpus);
  return out;
}

Result<SearchSpace> make_search_space(const OperatorShape& shape, IsaSet isa, std::span<const uint32_t> workers,
                                      uint32_t default_workers) {
  SMEPILOT_ASSIGN(const PlanEntry def, default_entry(shape, default_workers));
  const Candidate default_candidate{def.variant, def.mode, def.workers, def.mc, def.nc, def.kv_tile, def.kv_splits};
  const Selection selection = select_variants(shape, isa);
  const Grid grid = grid_for(shape, default_candidate);
  SearchSpace space;
  space.shape = shape;

  bool have_default = false;
  const auto add = [&](const Candidate& c) {
    SpaceEntry e;
    e.candidate = c;
    e.is_default = c == default_candidate;
    if (!e.is_default) e.reason = constraint(shape, c);
    if (!e.reason.empty()) e.status = MeasurementStatus::kConstraint;
    if (e.is_default) {
      have_default = true;
      space.default_index = space.entries.size();
    }
    space.entries.push_back(std::move(e));
  };
  for (const KernelVariant* v : selection.usable) {
    for (const uint32_t w : workers) {
      Candidate c;
      c.variant = v->id;
      c.mode = mode_of(*v);
      c.workers = w;
      if (shape.kind == OpKind::kMatmul) {
        for (const uint32_t mc : grid.mc)
          for (const uint32_t nc : grid.nc) {
            c.mc = mc;
            c.nc = nc;
            add(c);
          }
      } else {
        // A three-phase kernel has the scores of the whole range at once: it has no tile to choose.
        const bool tiled = !std::string_view(v->id).ends_with(".threephase");
        for (const uint32_t tile : tiled ? grid.kv_tile : std::vector<uint32_t>{default_candidate.kv_tile})
          for (const uint32_t splits : kKvSplitGrid) {
            if (w == 1 && splits == 1) continue;  // what 0 means anyway
            c.kv_tile = tile;
            c.kv_splits = splits;
            add(c);
          }
      }
    }
  }
  if (!have_default) add(default_candidate);
  for (const Refusal& r : selection.refused) {
    SpaceEntry e;
    e.candidate = default_candidate;
    e.candidate.variant = r.variant->id;
    e.candidate.mode = mode_of(*r.variant);
    e.status = (r.variant->isa & ~isa) != 0 ? MeasurementStatus::kUnsupported : MeasurementStatus::kRefused;
    e.reason = r.reason;
    space.entries.push_back(std::move(e));
  }
  return space;
}

void price_space(SearchSpace& space, const Roofline& roofline) {
  for (SpaceEntry& e : space.entries) {
    if (e.status != MeasurementStatus::kOk) continue;
    const KernelVariant* v = find_variant(e.candidate.variant);
    if (v == nullptr) continue;
    const Price p = roofline.price(space.shape, *v, e.candidate.workers);
    const double ns = std::max(p.compute_ns, p.memory_ns) * imbalance(space.shape, e.candidate) + p.overhead_ns;
    e.predicted_ns = std::isfinite(ns) && ns > 0 ? ns : 0;
  }
}

void prune_space(SearchSpace& space, const PruneRule& rule) {
  const auto open = [](const SpaceEntry& e) { return e.status == MeasurementStatus::kOk && e.predicted_ns > 0; };
  double best = std::numeric_limits<double>::infinity();
  for (const SpaceEntry& e : space.entries)
    if (open(e)) best = std::min(best, e.predicted_ns);
  if (!std::isfinite(best)) return;
  // The best candidate of each variant, so that a wrong prediction cannot remove a variant unseen.
  std::vector<const SpaceEntry*> spared;
  for (const SpaceEntry& e : space.entries) {
    if (!open(e)) continue;
    const auto it = std::find_if(spared.begin(), spared.end(),
                                 [&](const SpaceEntry* s) { return s->candidate.variant == e.candidate.variant; });
    if (it == spared.end())
      spared.push_back(&e);
    else if (e.predicted_ns < (*it)->predicted_ns)
      *it = &e;
  }
  for (SpaceEntry& e : space.entries) {
    if (!open(e) || e.is_default || e.predicted_ns <= best * rule.factor) continue;
    const bool best_of_variant = std::find(spared.begin(), spared.end(), &e) != spared.end();
    if (best_of_variant && e.predicted_ns <= best * rule.variant_factor) continue;
    e.status = MeasurementStatus::kPruned;
    e.reason = fmt::format("predicted {}, {:.1f}x the best prediction of {}", format_ns(e.predicted_ns),
                           e.predicted_ns / best, format_ns(best));
  }
}

std::string describe_kernel(const Candidate& c) {
  std::string s = fmt::format("{} x{}", c.variant, c.workers);
  if (c.mode == ExecutionMode::kCoop) s += fmt::format(" + {} x{}", c.coop.variant, c.coop.workers);
  return s;
}

std::string describe(const Candidate& c) {
  std::string s = fmt::format("{} x{}", c.variant, c.workers);
  if (c.mc != 0) s += fmt::format(" mc{}", c.mc);
  if (c.nc != 0) s += fmt::format(" nc{}", c.nc);
  if (c.kv_tile != 0) s += fmt::format(" tile{}", c.kv_tile);
  if (c.kv_splits != 0) s += fmt::format(" splits{}", c.kv_splits);
  if (c.mode != ExecutionMode::kCoop) return s;
  s += fmt::format(" + {} x{}", c.coop.variant, c.coop.workers);
  if (c.coop.mc != 0) s += fmt::format(" mc{} nc{}, {}", c.coop.mc, c.coop.nc, describe_split(c.coop));
  if (c.coop.rows != 0) s += fmt::format(" rows{} depth{}", c.coop.rows, c.coop.depth);
  return s;
}

std::string describe(const OperatorShape& s) {
  if (s.kind == OpKind::kAttention)
    return fmt::format("attention {} m={} kv={} heads={}/{} d={}", traits(s.dtype).name, s.m, s.kv_len, s.n, s.kv_heads,
                       s.k);
  return fmt::format("{} {} m={} n={} k={}", kOpNames[static_cast<size_t>(s.kind)], traits(s.dtype).name, s.m, s.n,
                     s.k);
}

std::string format_ns(double ns) {
  static constexpr const char* kUnits[] = {"ns", "us", "ms", "s"};
  size_t unit = 0;
  while (unit < 3 && ns >= 999.5) {
    ns /= 1000;
    ++unit;
  }
  const int decimals = ns >= 99.95 ? 0 : ns >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f} {}", ns, decimals, kUnits[unit]);
}

std::string mode_name(ExecutionMode mode, const Platform& platform) {
  switch (mode) {
    case ExecutionMode::kCpu: return "cpu";
    case ExecutionMode::kMatrix: return platform.matrix_unit.empty() ? "matrix" : platform.matrix_unit;
    case ExecutionMode::kCoop: return "coop";
  }
  return "?";
}

bool same_blocking(const Candidate& a, const Candidate& b) noexcept {
  return a.mc == b.mc && a.nc == b.nc && a.kv_tile == b.kv_tile && a.kv_splits == b.kv_splits && a.coop == b.coop;
}

bool simpler(const SearchSpace& space, size_t a, size_t b) noexcept {
  const SpaceEntry &x = space.entries[a], &y = space.entries[b];
  if (x.candidate.mode != y.candidate.mode) return x.candidate.mode < y.candidate.mode;
  if (x.candidate.all_workers() != y.candidate.all_workers())
    return x.candidate.all_workers() < y.candidate.all_workers();
  if (x.candidate.coop.dynamic != y.candidate.coop.dynamic) return y.candidate.coop.dynamic;
  if (x.is_default != y.is_default) return x.is_default;
  const Candidate& def = space.entries[space.default_index].candidate;
  const bool x_same = same_blocking(x.candidate, def), y_same = same_blocking(y.candidate, def);
  if (x_same != y_same) return x_same;
  return a < b;
}

}  // namespace smepilot
