#include "tuner/search_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "db/plan.h"
#include "kernels/base/integer.h"
#include "kernels/registry/registry.h"
#include "profiles/matrix_units.h"

namespace smepilot {
namespace {

// The grids that are tried. Cache sizes do not enter: measuring is cheap, and blocking decides less than the variant.
constexpr uint32_t kMcGrid[] = {64, 128, 256, 512};
constexpr uint32_t kNcGrid[] = {16, 32, 64, 128, 256, 512};
constexpr uint32_t kKvTileGrid[] = {64, 128, 256, 512};
constexpr uint32_t kKvSplitGrid[] = {0, 1, 2, 4, 8, 16};
constexpr uint32_t kTileRowsGrid[] = {32, 64, 128};
constexpr uint32_t kDepthGrid[] = {2, 4, 8};
constexpr uint32_t kSplitSteps = 64;    // of the grid of splits, over the whole dimension
constexpr uint32_t kSplitReach = 16;    // of them to either side of where the roofline balances the units
constexpr uint32_t kDynamicStride = 4;  // a dynamic split mends itself: fewer are tried
constexpr uint32_t kSplitRows = 128;    // from so many rows on, rows are divided too
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

// Why a coop candidate does not fit, or "".
std::string coop_constraint(const OperatorShape& s, const Candidate& c) {
  if (s.kind == OpKind::kAttention) {
    const uint64_t rows = uint64_t{s.m} * s.n / std::max(s.kv_heads, 1u);
    if (rows < c.coop.rows && c.coop.rows != kTileRowsGrid[0])
      return fmt::format("{} query rows share a KV head: fewer than a tile has", rows);
    if (rows < kPanel) return fmt::format("{} query rows share a KV head: they do not fill a panel", rows);
    return "";
  }
  const bool rows = c.coop.dim == SplitDim::kM;
  const uint32_t size = rows ? s.m : s.n;
  const auto tasks = [&](uint32_t part, uint32_t mc, uint32_t nc) {
    return ceil_div(rows ? part : s.m, mc) * ceil_div(rows ? s.n : part, nc);
  };
  const uint32_t matrix = tasks(c.coop.split, c.coop.mc, c.coop.nc), cpu = tasks(size - c.coop.split, c.mc, c.nc);
  if (matrix < c.coop.workers || cpu < c.workers)
    return fmt::format("{} + {} tasks cannot feed {} + {} workers", matrix, cpu, c.coop.workers, c.workers);
  return "";
}

// Why these parameters do not fit the shape, or "".
std::string constraint(const OperatorShape& s, const Candidate& c, uint32_t units) {
  if (c.mode == ExecutionMode::kCoop) return coop_constraint(s, c);
  if (c.mode == ExecutionMode::kMatrix && units != 0 && c.workers > units)
    return fmt::format("{} workers would share {} matrix unit{}", c.workers, units, units == 1 ? "" : "s");
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
  if (s.kind != OpKind::kMatmul || c.workers <= 1 || c.mode == ExecutionMode::kCoop) return 1;
  const uint32_t tasks = matmul_tasks(s, c);
  return double{1} * ceil_div(tasks, c.workers) * c.workers / tasks;
}

CoopSides sides_of(const Kernels& kernels, const Candidate& c) noexcept {
  return {kernels.matrix, c.coop.workers, kernels.variant, c.workers};
}

// For every kernel of the matrix unit the one of the cores that is to work beside it: the cheapest, else the most
// preferred.
std::vector<Kernels> best_pairs(const OperatorShape& shape, IsaSet isa, const Roofline* roofline) {
  std::vector<Kernels> best;
  std::vector<double> price;
  for (const Kernels& pair : coop_pairs(shape, isa)) {
    double ns = roofline != nullptr ? roofline->price(shape, *pair.variant, 1).ns : 0;
    if (!std::isfinite(ns)) ns = 0;
    const auto it = std::find_if(best.begin(), best.end(), [&](const Kernels& k) { return k.matrix == pair.matrix; });
    if (it == best.end()) {
      best.push_back(pair);
      price.push_back(ns);
    } else if (double& held = price[static_cast<size_t>(it - best.begin())]; ns < held) {
      *it = pair;
      held = ns;
    }
  }
  return best;
}

// The splits of one dimension, from the balanced one outwards: static ones on the whole grid, dynamic ones on a
// coarser.
void add_splits(const OperatorShape& shape, const Kernels& pair, const Roofline* roofline, SplitDim dim, Candidate c,
                std::vector<Candidate>& out) {
  const uint32_t size = dim == SplitDim::kM ? shape.m : shape.n, step = split_step(size);
  const double balanced = roofline != nullptr ? roofline->coop_share(shape, sides_of(pair, c)) : 0.5;
  const uint32_t centre = round_split(std::isfinite(balanced) ? balanced : 0.5, size, step);
  if (centre == 0) return;
  c.coop.dim = dim;
  c.coop.split_of = size;
  for (uint32_t away = 0; away <= kSplitReach; ++away)
    for (const int64_t sign : {-1, 1}) {
      if (away == 0 && sign > 0) continue;
      const int64_t split = int64_t{centre} + sign * away * step;
      if (split < kPanel || split >= size) continue;
      c.coop.split = static_cast<uint32_t>(split);
      for (const bool dynamic : {false, true}) {
        if (dynamic && (away % kDynamicStride != 0 || away > 2 * kDynamicStride)) continue;
        c.coop.dynamic = dynamic;
        out.push_back(c);
      }
    }
}

// Everything that both units can do with the shape together.
std::vector<Candidate> coop_candidates(const OperatorShape& shape, IsaSet isa, uint32_t workers,
                                       const MatrixUnits& matrix, const Candidate& blocking, const Grid& grid) {
  std::vector<Candidate> out;
  for (const Kernels& pair : best_pairs(shape, isa, matrix.roofline))
    for (const CoopWorkers& w : coop_workers(workers, matrix.units)) {
      Candidate c;
      c.variant = pair.variant->id;
      c.mode = ExecutionMode::kCoop;
      c.workers = w.cpu;
      c.coop.variant = pair.matrix->id;
      c.coop.workers = w.matrix;
      if (shape.kind == OpKind::kMatmul) {
        const CoopShare defaults;
        c.mc = blocking.mc;
        c.nc = blocking.nc;
        c.coop.mc = defaults.mc;
        c.coop.nc = defaults.nc;
        add_splits(shape, pair, matrix.roofline, SplitDim::kN, c, out);
        if (shape.m >= kSplitRows) add_splits(shape, pair, matrix.roofline, SplitDim::kM, c, out);
        continue;
      }
      // The driver's own values first: the roofline does not tell the others apart.
      const uint32_t most = std::min(pair.matrix->tile.mr, pair.variant->tile.mr);
      const auto add = [&](uint32_t tile, uint32_t rows, uint32_t depth) {
        c.kv_tile = tile;
        c.coop.rows = rows;
        c.coop.depth = depth;
        if (rows <= most && std::find(out.begin(), out.end(), c) == out.end()) out.push_back(c);
      };
      add(blocking.kv_tile, AttentionPipeline{}.rows, AttentionPipeline{}.depth);
      for (const uint32_t tile : grid.kv_tile)
        for (const uint32_t rows : kTileRowsGrid)
          for (const uint32_t depth : kDepthGrid) add(tile, rows, depth);
    }
  return out;
}

// The counts to try for kernels of one unit: those given, and what the unit has beside the other one.
std::vector<uint32_t> counts_with(std::span<const uint32_t> workers, std::span<const CoopWorkers> divisions,
                                  uint32_t CoopWorkers::* side) {
  std::vector<uint32_t> out(workers.begin(), workers.end());
  for (const CoopWorkers& w : divisions)
    if (std::find(out.begin(), out.end(), w.*side) == out.end()) out.push_back(w.*side);
  return out;
}

}  // namespace

uint32_t split_step(uint32_t size) noexcept {
  return std::max(round_up(size / kSplitSteps, kPanel), kPanel);
}

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
                                      uint32_t default_workers, const MatrixUnits& matrix) {
  SMEPILOT_ASSIGN(const PlanEntry def, default_entry(shape, default_workers));
  const Candidate default_candidate = candidate_of(def);
  const Selection selection = select_variants(shape, isa);
  const Grid grid = grid_for(shape, default_candidate);
  SearchSpace space;
  space.shape = shape;

  bool have_default = false;
  const auto add = [&](const Candidate& c) {
    SpaceEntry e;
    e.candidate = c;
    e.is_default = c == default_candidate;
    if (!e.is_default) e.reason = constraint(shape, c, matrix.units);
    if (!e.reason.empty()) e.status = MeasurementStatus::kConstraint;
    if (e.is_default) {
      have_default = true;
      space.default_index = space.entries.size();
    }
    space.entries.push_back(std::move(e));
  };
  const std::vector<Candidate> both = coop_candidates(shape, isa, default_workers, matrix, default_candidate, grid);
  std::vector<CoopWorkers> divisions;
  if (!both.empty()) divisions = coop_workers(default_workers, matrix.units);
  for (const KernelVariant* v : selection.usable) {
    const bool cpu = v->unit == ExecutionUnit::kCpu;
    for (const uint32_t w : counts_with(workers, divisions, cpu ? &CoopWorkers::cpu : &CoopWorkers::matrix)) {
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
  for (const Candidate& c : both) add(c);
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
    const Kernels kernels{find_variant(e.candidate.variant), find_variant(e.candidate.coop.variant)};
    if (kernels.variant == nullptr) continue;
    Price p;
    if (e.candidate.mode != ExecutionMode::kCoop) {
      p = roofline.price(space.shape, *kernels.variant, e.candidate.workers);
    } else if (kernels.matrix == nullptr) {
      continue;
    } else if (space.shape.kind == OpKind::kAttention) {
      p = roofline.pipeline_price(space.shape, sides_of(kernels, e.candidate));
    } else {
      const CoopPart& part = e.candidate.coop;
      p = roofline.coop_price(space.shape, sides_of(kernels, e.candidate),
                              {static_cast<double>(part.split) / part.split_of, part.dynamic});
    }
    const double work_ns = std::max(p.compute_ns, p.memory_ns) + p.exposed_ns;
    const double ns = work_ns * imbalance(space.shape, e.candidate) + p.overhead_ns;
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
    const auto it = std::find_if(spared.begin(), spared.end(), [&](const SpaceEntry* s) {
      return s->candidate.variant == e.candidate.variant && s->candidate.coop.variant == e.candidate.coop.variant;
    });
    if (it == spared.end())
      spared.push_back(&e);
    else if (e.predicted_ns < (*it)->predicted_ns)
      *it = &e;
  }
  // What each side of a coop candidate does alone says where to split: it is measured, however slow.
  std::vector<const Candidate*> coop;
  for (const SpaceEntry& e : space.entries)
    if (open(e) && e.candidate.mode == ExecutionMode::kCoop && e.predicted_ns <= best * rule.factor)
      if (coop.empty() || describe_kernel(*coop.back()) != describe_kernel(e.candidate)) coop.push_back(&e.candidate);
  const Candidate& def = space.entries[space.default_index].candidate;
  const auto is_side = [&](const Candidate& c) {
    return c.mc == def.mc && c.nc == def.nc &&
           std::any_of(coop.begin(), coop.end(), [&](const Candidate* x) { return is_side_of(c, *x); });
  };
  for (SpaceEntry& e : space.entries) {
    if (!open(e) || e.is_default || e.predicted_ns <= best * rule.factor || is_side(e.candidate)) continue;
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

bool is_side_of(const Candidate& c, const Candidate& coop) noexcept {
  if (coop.mode != ExecutionMode::kCoop) return false;
  if (c.mode == ExecutionMode::kCpu) return c.variant == coop.variant && c.workers == coop.workers;
  return c.mode == ExecutionMode::kMatrix && c.variant == coop.coop.variant && c.workers == coop.coop.workers;
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
