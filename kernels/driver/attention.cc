// Division of causal attention among workers: (segment, KV head, block of query rows, piece of its positions) is a
// task, a segment being query rows that see the same cache: those of one sequence and its own positions, or those of
// several sequences and the prefix they share.
#include "kernels/driver/attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "kernels/base/check.h"
#include "kernels/base/integer.h"
#include "kernels/driver/attention_pipeline.h"
#include "kernels/driver/trace.h"
#include "kernels/pack/pack_kv.h"

namespace smepilot {
namespace {

constexpr uint32_t kMaxRows = kMostBlockRows;  // query rows of one task
constexpr uint32_t kUsualRows = 64;            // below, sharing K and V among rows suffers
constexpr uint32_t kMaxTile = 1024;            // positions of an online-softmax step
constexpr uint32_t kMaxSplits = 16;            // pieces of a segment's positions
constexpr uint32_t kPartialSlots = 1 << 14;    // partial results (row x piece) that there is always room for
constexpr uint32_t kMaxPartialRows = 1024;     // query rows (tokens x heads) up to which positions are cut in pieces
constexpr uint32_t kMinSplit = 128;            // positions in a piece worth a task of its own
constexpr uint32_t kTasksPerWorker = 4;        // below this, tasks that do not come out even are cut
constexpr size_t kMaxSequences = 32;           // of one fork and join; more are done in several

constexpr float kLowest = -std::numeric_limits<float>::infinity();

size_t worker_scratch_floats(uint32_t capacity, uint32_t head_dim) noexcept {
  return attention_scratch_floats(kMaxRows, head_dim, capacity, kMaxTile);
}

// Results of pieces, unnormalised, until they are merged.
struct Partials {
  float* out;  // [slots][stride]
  float* max;  // [slots]
  float* sum;  // [slots]
  size_t stride;
};

struct Segment {
  const KvView* kv = nullptr;
  uint32_t token = 0, tokens = 0;   // query rows of q and out
  uint32_t visible = 0;             // positions that the first token sees
  bool causal = false;              // each further token sees one more
  uint32_t positions = 0;           // that the last token sees
  uint32_t sequence = 0;            // the first one
  uint32_t block = 1, blocks = 0;   // rows of a task, blocks per KV head
  uint32_t pieces = 1, length = 0;  // of the positions; length: of a piece, a multiple of 16
  uint32_t tasks = 0;
  size_t slot = 0;  // first of its partial results

  uint32_t rows(uint32_t group) const noexcept { return tokens * group; }  // of one KV head
  double task_cost() const noexcept { return double{1} * block * length; }
  // Partial results of one block and piece are contiguous.
  size_t slot_of(uint32_t h, uint32_t first, uint32_t count, uint32_t piece, uint32_t group) const noexcept {
    return slot + (size_t{h} * rows(group) + first) * pieces + size_t{piece} * count;
  }
};

class Division {
 public:
  Division(const AttentionConfig& config, std::span<const AttentionSequence> sequences, uint32_t heads) noexcept
      : kv_heads_(sequences[0].own.kv_heads), group_(heads / kv_heads_) {
    uint32_t token = 0;
    for (uint32_t s = 0; s < sequences.size(); ++s) {
      const AttentionSequence& q = sequences[s];
      if (has_prefix(q)) {
        // One segment for all that follow and name the same prefix.
        if (s == 0 || !same_prefix(sequences[s - 1], q))
          add({.kv = &q.shared,
               .token = token,
               .tokens = 0,
               .visible = q.shared_length,
               .causal = false,
               .positions = q.shared_length,
               .sequence = s});
        shared_[s] = s == 0 || !same_prefix(sequences[s - 1], q) ? count_ - 1 : shared_[s - 1];
        segments_[shared_[s]].tokens += q.m;
      } else {
        shared_[s] = kNone;
      }
      own_[s] = count_;
      add({.kv = &q.own,
           .token = token,
           .tokens = q.m,
           .visible = q.length + 1,
           .causal = true,
           .positions = q.length + q.m,
           .sequence = s});
      token += q.m;
    }
    cut(config, token * heads);
  }

  uint32_t group() const noexcept { return group_; }
  uint32_t kv_heads() const noexcept { return kv_heads_; }
  uint32_t tasks() const noexcept { return tasks_; }

  // A sequence whose rows have more than one partial result.
  bool merged(uint32_t sequence) const noexcept {
    return shared_[sequence] != kNone || segments_[own_[sequence]].pieces > 1;
  }
  const Segment& own(uint32_t sequence) const noexcept { return segments_[own_[sequence]]; }
  const Segment* shared(uint32_t sequence) const noexcept {
    return shared_[sequence] == kNone ? nullptr : &segments_[shared_[sequence]];
  }
  // The costliest tasks first. `task` becomes the number within the segment.
  const Segment& of_task(uint32_t& task) const noexcept {
    uint32_t i = 0;
    for (; task >= segments_[order_[i]].tasks; ++i) task -= segments_[order_[i]].tasks;
    return segments_[order_[i]];
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  static bool has_prefix(const AttentionSequence& s) noexcept { return s.shared_length != 0; }
  static bool same_prefix(const AttentionSequence& a, const AttentionSequence& b) noexcept {
    return a.shared_length == b.shared_length && a.shared.k == b.shared.k;
  }
  void add(const Segment& s) noexcept { segments_[count_++] = s; }

  void cut(const AttentionConfig& config, uint32_t total_rows) noexcept {
    if (config.mode == ExecutionMode::kCoop) return cut_for_pipeline(config);
    // Blocks of rows: as many as the kernel takes, but enough of them for every worker.
    const uint32_t most = std::min(config.variant->tile.mr, kMaxRows);
    double work = 0;
    bool even = true;
    tasks_ = 0;
    for (uint32_t i = 0; i < count_; ++i) {
      Segment& s = segments_[i];
      const uint32_t rows = s.rows(group_);
      const uint32_t wanted = ceil_div(rows * kv_heads_ * count_, 2 * kTasksPerWorker * config.workers);
      s.block = std::min(most, std::max(round_up(wanted, kPanel), std::min(most, kUsualRows)));
      s.blocks = ceil_div(rows, s.block);
      s.pieces = 1;
      s.length = s.positions;
      tasks_ += s.blocks * kv_heads_;
      work += double{1} * rows * kv_heads_ * s.positions;
      even = even && s.positions == segments_[0].positions && s.blocks == 1 && rows == segments_[0].rows(group_);
    }
    // Pieces of the positions: if asked for, or if without them the workers would not finish together.
    const uint32_t room = std::min(kMaxSplits, total_rows > kMaxPartialRows ? 1 : kPartialSlots / (2 * total_rows));
    const bool uneven_end = tasks_ < kTasksPerWorker * config.workers && tasks_ % config.workers != 0;
    const uint32_t same = !uneven_end               ? 1
                          : tasks_ < config.workers ? ceil_div(uint32_t{config.workers}, tasks_)
                                                    : config.workers;
    tasks_ = 0;
    size_t slots = 0;
    for (uint32_t i = 0; i < count_; ++i) {
      Segment& s = segments_[i];
      uint32_t pieces = config.kv_splits;
      if (pieces == 0 && even) pieces = same;
      if (pieces == 0 && config.workers > 1) {
        const double share = work / (kTasksPerWorker * config.workers);
        pieces = static_cast<uint32_t>(std::min(s.task_cost() / share + 0.5, double{kMaxSplits}));
      }
      pieces = std::clamp(std::min(pieces, s.positions / kMinSplit), 1u, room);
      s.length = round_up(ceil_div(s.positions, pieces), kPanel);
      s.pieces = ceil_div(s.positions, s.length);
      s.slot = slots;
      s.tasks = s.blocks * kv_heads_ * s.pieces;
      tasks_ += s.tasks;
      slots += size_t{s.pieces} * s.rows(group_) * kv_heads_;
      order_[i] = i;
    }
    sort_by_cost();
  }

  // A pipeline cuts positions into tiles, and its workers share those of all blocks: whole blocks will do.
  void cut_for_pipeline(const AttentionConfig& config) noexcept {
    size_t slots = 0;
    tasks_ = 0;
    for (uint32_t i = 0; i < count_; ++i) {
      Segment& s = segments_[i];
      s.block = pipeline_rows(config);
      s.blocks = ceil_div(s.rows(group_), s.block);
      s.length = s.positions;
      s.slot = slots;
      s.tasks = s.blocks * kv_heads_;
      tasks_ += s.tasks;
      slots += size_t{s.rows(group_)} * kv_heads_;
      order_[i] = i;
    }
    sort_by_cost();
  }

  void sort_by_cost() noexcept {
    std::sort(order_, order_ + count_,
              [&](uint32_t a, uint32_t b) { return segments_[a].task_cost() > segments_[b].task_cost(); });
  }

  uint32_t kv_heads_, group_, count_ = 0, tasks_ = 0;
  Segment segments_[2 * kMaxSequences];
  uint32_t order_[2 * kMaxSequences];
  uint32_t own_[kMaxSequences], shared_[kMaxSequences];  // indices of segments
};

// One call, of at most kMaxSequences sequences.
struct Call {
  const AttentionConfig& config;
  std::span<const AttentionSequence> sequences;
  const Division& division;
  uint32_t heads, head_dim;
  const float* q;
  size_t q_stride;
  float* out;
  size_t out_stride;
  float scale;
  float* worker_scratch;
  size_t worker_floats;
  Partials partials;

  // Where task `number` lies: its query rows, and its piece of their positions.
  struct Place {
    const Segment& segment;
    uint32_t head, first, count, piece;  // head: of K and V; first: of the segment's rows of that head
    size_t slot;                         // of its partial results
    bool partial;
  };
  Place place(uint32_t number) const noexcept {
    const Segment& s = division.of_task(number);
    const uint32_t group = division.group(), kv_heads = division.kv_heads();
    // The last query rows, which see most, first: so no worker ends up alone with a long task.
    const uint32_t piece = number % s.pieces, h = number / s.pieces % kv_heads;
    const uint32_t first = (s.blocks - 1 - number / s.pieces / kv_heads) * s.block;
    const uint32_t count = std::min(s.block, s.rows(group) - first);
    return {s, h, first, count, piece, s.slot_of(h, first, count, piece, group), division.merged(s.sequence)};
  }
  // Its rows of q and out, of which row r sees positions below limit[r].
  void rows(const Place& p, const float** q_rows, float** out_rows, uint32_t* limits) const noexcept {
    const Segment& s = p.segment;
    const uint32_t group = division.group();
    for (uint32_t r = 0; r < p.count; ++r) {
      const uint32_t token = (p.first + r) / group, head = p.head * group + (p.first + r) % group;
      const size_t row = size_t{s.token} + token, at = size_t{head} * head_dim;
      q_rows[r] = q + row * q_stride + at;
      out_rows[r] = p.partial ? partials.out + (p.slot + r) * partials.stride : out + row * out_stride + at;
      limits[r] = s.visible + (s.causal ? token : 0);
    }
  }

  void task(uint32_t number, unsigned worker) const noexcept {
    const TraceScope trace("attention", config.variant->unit, config.mode, number);
    const Place p = place(number);
    const Segment& s = p.segment;
    const float* q_rows[kMaxRows];
    float* out_rows[kMaxRows];
    uint32_t limits[kMaxRows];
    rows(p, q_rows, out_rows, limits);
    AttentionArgs a{};
    a.q = q_rows;
    a.out = out_rows;
    a.limit = limits;
    a.k = s.kv->k + p.head * s.kv->head_bytes();
    a.v = s.kv->v + p.head * s.kv->head_bytes();
    a.scratch = worker_scratch + worker * worker_floats;
    a.max = p.partial ? partials.max + p.slot : nullptr;
    a.sum = p.partial ? partials.sum + p.slot : nullptr;
    a.rows = p.count;
    a.head_dim = head_dim;
    a.kv_begin = p.piece * s.length;
    a.kv_end = std::min(a.kv_begin + s.length, limits[p.count - 1]);
    a.kv_tile = round_up(std::clamp(config.kv_tile, kPanel, kMaxTile), kPanel);
    a.scale = scale;
    a.partial = p.partial;
    if (a.kv_end > a.kv_begin) {
      config.variant->attention(&a);
    } else {  // this piece lies beyond every row of the block
      std::fill_n(a.max, p.count, kLowest);
      std::fill_n(a.sum, p.count, 0.0f);
    }
  }

  // The same for a pipeline, whose tasks are blocks with all their positions.
  AttentionBlocks blocks() const noexcept {
    return {.count = division.tasks(),
            .head_dim = head_dim,
            .scale = scale,
            .context = this,
            .get = [](const void* call, uint32_t number,
                      AttentionBlock& block) noexcept { static_cast<const Call*>(call)->block(number, block); },
            .kv_end =
                [](const void* call, uint32_t number) noexcept {
                  const Call& c = *static_cast<const Call*>(call);
                  return c.seen(c.place(number));
                }};
  }
  uint32_t seen(const Place& p) const noexcept {  // by the last of its rows
    const Segment& s = p.segment;
    return s.visible + (s.causal ? (p.first + p.count - 1) / division.group() : 0);
  }
  void block(uint32_t number, AttentionBlock& b) const noexcept {
    const Place p = place(number);
    rows(p, b.q, b.out, b.limit);
    b.k = p.segment.kv->k + p.head * p.segment.kv->head_bytes();
    b.v = p.segment.kv->v + p.head * p.segment.kv->head_bytes();
    b.rows = p.count;
    b.kv_end = seen(p);
    b.partial = p.partial ? b.out[0] : nullptr;
    b.max = p.partial ? partials.max + p.slot : nullptr;
    b.sum = p.partial ? partials.sum + p.slot : nullptr;
  }

  // One row of one sequence: out = sum_i exp(max_i - max) out_i / sum_i exp(max_i - max) sum_i
  void merge(uint32_t sequence, uint32_t token, uint32_t head) const noexcept {
    const uint32_t group = division.group(), h = head / group;
    size_t slots[2 * kMaxSplits];
    uint32_t count = 0;
    for (const Segment* s : {division.shared(sequence), &division.own(sequence)}) {
      if (s == nullptr) continue;
      const uint32_t r = (token - s->token) * group + head % group, first = r / s->block * s->block;
      const uint32_t block_rows = std::min(s->block, s->rows(group) - first);
      for (uint32_t i = 0; i < s->pieces; ++i)
        slots[count++] = s->slot_of(h, first, block_rows, i, group) + (r - first);
    }
    float max = kLowest, sum = 0, weight[2 * kMaxSplits];
    for (uint32_t i = 0; i < count; ++i) max = std::max(max, partials.max[slots[i]]);
    for (uint32_t i = 0; i < count; ++i) {
      weight[i] = partials.sum[slots[i]] > 0 ? std::exp(partials.max[slots[i]] - max) : 0.0f;
      sum += weight[i] * partials.sum[slots[i]];
    }
    float* const dst = out + token * out_stride + size_t{head} * head_dim;
    std::fill_n(dst, head_dim, 0.0f);
    for (uint32_t i = 0; i < count; ++i) {
      if (weight[i] == 0) continue;
      const float* src = partials.out + slots[i] * partials.stride;
      const float w = weight[i] / sum;
      for (uint32_t d = 0; d < head_dim; ++d) dst[d] += w * src[d];
    }
  }
};

size_t partial_slots(uint32_t rows, uint32_t heads) noexcept {
  return std::max<size_t>(kPartialSlots, 2 * size_t{rows} * heads);
}
size_t partial_bytes(uint32_t rows, uint32_t heads, uint32_t head_dim) noexcept {
  return partial_slots(rows, heads) * (round_up(head_dim, kPanel) + 2) * sizeof(float);
}

}  // namespace

void write_kv(WorkerPool& pool, unsigned workers, std::span<const AttentionSequence> sequences, const float* k,
              size_t k_stride, const float* v, size_t v_stride) noexcept {
  if (sequences.empty()) return;
  uint32_t rows = 0;
  for (const AttentionSequence& s : sequences) rows += s.m;
  if (rows < kPanel) workers = 1;
  pool.run(std::min<unsigned>(workers, sequences[0].own.kv_heads), [&](unsigned worker, unsigned count) {
    size_t row = 0;
    for (const AttentionSequence& s : sequences) {
      const KvView& cache = s.own;
      SMEPILOT_DCHECK(s.length + s.m <= cache.capacity);
      for (uint32_t h = worker; h < cache.kv_heads; h += count) {
        const size_t at = size_t{h} * cache.head_dim, bytes = h * cache.head_bytes();
        pack_key_rows(cache.dtype, k + row * k_stride + at, k_stride, s.m, cache.head_dim, s.length, cache.k + bytes);
        pack_value_rows(cache.dtype, v + row * v_stride + at, v_stride, s.m, cache.head_dim, s.length, cache.v + bytes);
      }
      row += s.m;
    }
  });
}

void write_kv(WorkerPool& pool, unsigned workers, const KvView& cache, uint32_t pos, uint32_t m, const float* k,
              size_t k_stride, const float* v, size_t v_stride) noexcept {
  const AttentionSequence sequence{.own = cache, .shared = {}, .shared_length = 0, .length = pos, .m = m};
  write_kv(pool, workers, {&sequence, 1}, k, k_stride, v, v_stride);
}

size_t attention_scratch_bytes(unsigned workers, uint32_t rows, uint32_t heads, uint32_t capacity, uint32_t head_dim) {
  const size_t own = std::max(workers * worker_scratch_floats(capacity, head_dim) * sizeof(float),
                              attention_pipeline_bytes(workers, head_dim));
  return own + partial_bytes(rows, heads, head_dim);
}

size_t attention_phases_scratch_bytes(const AttentionConfig& config, std::span<const AttentionSequence> sequences,
                                      uint32_t heads) noexcept {
  const Division division(config, sequences, heads);
  uint32_t rows = 0;
  for (const AttentionSequence& s : sequences) rows += s.m;
  const uint32_t head_dim = sequences[0].own.head_dim;
  const Call call{config, sequences, division, heads, head_dim, nullptr, 0, nullptr, 0, 1, {}, {}, {}};
  return attention_phases_bytes(config, call.blocks()) + partial_bytes(rows, heads, head_dim);
}

void attention(WorkerPool& pool, const AttentionConfig& config, std::span<const AttentionSequence> sequences,
               uint32_t heads, const float* q, size_t q_stride, float* out, size_t out_stride, float scale,
               std::byte* scratch, CallTime* time) noexcept {
  if (time != nullptr) time->forget();
  if (sequences.empty()) return;
  if (sequences.size() > kMaxSequences) {
    size_t row = 0;
    for (size_t at = 0; at < sequences.size(); at += kMaxSequences) {
      const auto some = sequences.subspan(at, std::min(kMaxSequences, sequences.size() - at));
      attention(pool, config, some, heads, q + row * q_stride, q_stride, out + row * out_stride, out_stride, scale,
                scratch);
      for (const AttentionSequence& s : some) row += s.m;
    }
    return;
  }
  uint32_t capacity = 0, rows = 0;
  for (const AttentionSequence& s : sequences) {
    SMEPILOT_DCHECK(s.m > 0 && s.own.dtype == config.variant->rhs && s.length + s.m <= s.own.capacity);
    SMEPILOT_DCHECK(s.shared_length <= s.shared.capacity && (s.shared_length == 0 || s.shared.dtype == s.own.dtype));
    capacity = std::max({capacity, s.own.capacity, s.shared_length == 0 ? 0 : s.shared.capacity});
    rows += s.m;
  }
  const Division division(config, sequences, heads);
  const uint32_t head_dim = sequences[0].own.head_dim;
  const size_t slots = partial_slots(rows, heads);
  Call call{config, sequences, division, heads, head_dim, q, q_stride, out, out_stride, scale, {}, {}, {}};
  call.worker_scratch = reinterpret_cast<float*>(scratch);
  call.worker_floats = worker_scratch_floats(capacity, head_dim);
  const bool coop = config.mode == ExecutionMode::kCoop, phases = coop && config.pipeline.phases;
  call.partials.stride = round_up(head_dim, kPanel);
  const size_t pipeline_bytes = !coop    ? 0
                                : phases ? attention_phases_bytes(config, call.blocks())
                                         : attention_pipeline_bytes(pool.size(), head_dim);
  call.partials.out =
      call.worker_scratch + (coop ? pipeline_bytes / sizeof(float) : config.workers * call.worker_floats);
  call.partials.max = call.partials.out + slots * call.partials.stride;
  call.partials.sum = call.partials.max + slots;

  if (coop) {
    if (phases)
      run_attention_phases(pool, config, call.blocks(), scratch);
    else
      run_attention_pipeline(pool, config, call.blocks(), scratch, time);
  } else {
    std::atomic<uint32_t> next{0};
    const uint32_t tasks = division.tasks();
    const unsigned workers = std::min<unsigned>(config.workers, tasks);
    if (time != nullptr) time->begin(workers, false);
    pool.run(workers, [&](unsigned worker, unsigned) {
      WorkerTime* const mine = time != nullptr ? time->start(worker) : nullptr;
      uint32_t done = 0;
      for (uint32_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks; ++done)
        call.task(task, worker);
      if (mine == nullptr) return;
      mine->tasks = done;
      mine->unit = config.variant->unit;
      time->finish(*mine);
    });
    if (time != nullptr) time->end();
  }

  uint32_t to_merge = 0;
  for (uint32_t s = 0; s < sequences.size(); ++s) to_merge += division.merged(s) ? sequences[s].m * heads : 0;
  if (to_merge == 0) return;
  pool.run(to_merge >= 64 ? config.workers : 1, [&](unsigned worker, unsigned count) {
    for (uint32_t s = 0; s < sequences.size(); ++s) {
      if (!division.merged(s)) continue;
      const uint32_t first = division.own(s).token;
      for (uint32_t i = worker; i < sequences[s].m * heads; i += count) call.merge(s, first + i / heads, i % heads);
    }
  });
}

}  // namespace smepilot
