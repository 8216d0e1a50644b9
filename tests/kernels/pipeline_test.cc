// The pipeline of attention: whatever the shapes, the tiles, the depth and the workers of each side, each tile that a
// row sees passes each stage once, no other tile passes any, stages of different tiles run at the same time, and the
// result is the oracle's. Kernels of the registry play the matrix unit, so that this runs on every machine.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>
#include <tuple>
#include <vector>

#include "kernels/abi/attention_stages.h"
#include "kernels/base/integer.h"
#include "kernels/driver/attention_pipeline.h"
#include "kernels/driver/trace.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "tests/kernels/support/attention_problem.h"

namespace smepilot::test {
namespace {

uint32_t between(reference::Random& random, uint32_t first, uint32_t last) {
  return first + static_cast<uint32_t>(random.bits() % (last - first + 1));
}

struct Pair {
  const KernelVariant *matrix, *vector;
};
std::vector<Pair> pairs(DType dtype) {
  const Result<IsaSet> isa = usable_isa();
  EXPECT_TRUE(isa.ok()) << isa.message();
  std::vector<Pair> out;
  for (const KernelVariant* a : all_variants())
    for (const KernelVariant* b : all_variants()) {
      if (a->op != OpKind::kAttentionTile || b->op != a->op || a->rhs != dtype || b->rhs != dtype) continue;
      if (((a->isa | b->isa) & ~*isa) == 0 && b->attention_tile->softmax != nullptr) out.push_back({a, b});
    }
  EXPECT_FALSE(out.empty());
  return out;
}

class Pools {
 public:
  WorkerPool& of(unsigned size) {
    if (pools_.size() < size) pools_.resize(size);
    if (pools_[size - 1] == nullptr) pools_[size - 1] = std::make_unique<WorkerPool>(size);
    return *pools_[size - 1];
  }

 private:
  std::vector<std::unique_ptr<WorkerPool>> pools_;
};

AttentionConfig coop(const Pair& pair, uint32_t matrix, uint32_t vector, uint32_t rows, uint32_t kv_tile,
                     uint32_t depth) {
  AttentionConfig config{pair.vector, ExecutionMode::kCoop, static_cast<uint16_t>(vector), kv_tile, 0, {}};
  config.pipeline.variant = pair.matrix;
  config.pipeline.workers = static_cast<uint16_t>(matrix);
  config.pipeline.rows = rows;
  config.pipeline.depth = depth;
  return config;
}

// Sequences of random lengths, some behind a prefix.
AttentionCase random_case(reference::Random& random, DType dtype) {
  AttentionCase c;
  c.kv_heads = between(random, 1, 3);
  c.heads = c.kv_heads * between(random, 1, 4);
  c.head_dim = dtype == DType::kQ8_0 ? 32 * between(random, 1, 2) : 4 * between(random, 1, 12);
  const uint32_t sequences = between(random, 1, 3);
  if (between(random, 0, 1) == 1) c.prefixes.push_back(between(random, 1, 70));
  for (uint32_t s = 0; s < sequences; ++s)
    c.sequences.push_back({c.prefixes.empty() || between(random, 0, 2) == 0 ? -1 : 0, between(random, 0, 90),
                           between(random, 0, 2) == 0 ? 1 : between(random, 1, 50)});
  return c;
}

TEST(Pipeline, ResultsAreTheOraclesWhateverTheDivision) {
  Pools pools;
  reference::Random random(11);
  size_t runs = 0;
  for (const DType dtype : {DType::kF16, DType::kQ8_0}) {
    const std::vector<Pair> all = pairs(dtype);
    for (int shape = 0; shape < 20 && !testing::Test::HasFailure(); ++shape) {
      AttentionProblem problem(pools.of(2), dtype, random_case(random, dtype));
      for (int i = 0; i < 6; ++i, ++runs) {
        AttentionConfig config = coop(all[runs % all.size()], between(random, 1, 3), between(random, 1, 3),
                                      between(random, 1, 80), between(random, 1, 90), between(random, 1, 12));
        config.pipeline.cores_multiply = between(random, 0, 1) == 1;
        config.pipeline.phases = between(random, 0, 5) == 0;
        problem.run(pools.of(between(random, 1, 5)), config);
      }
    }
  }
}

// The same small problem very often: what is left to chance is who does what when.
TEST(Pipeline, RepeatedForRaces) {
  Pools pools;
  const std::vector<Pair> all = pairs(DType::kF16);
  AttentionProblem problem(pools.of(2), DType::kF16, {{20}, {{-1, 7, 30}, {0, 0, 12}, {0, 3, 1}}, 4, 2, 8});
  for (uint32_t i = 0; i < 200 && !testing::Test::HasFailure(); ++i) {
    AttentionConfig config = coop(all[i % all.size()], 1 + i % 2, 1 + i / 2 % 3, 16, 16, 1 + i % 7);
    config.pipeline.cores_multiply = i % 3 != 0;
    problem.run(pools.of(2 + i % 3), config);
  }
}

// --- what each stage is asked for: the kernels of a pair, watched ---

struct Watch {
  std::mutex mutex;
  std::multiset<std::tuple<const void*, uint32_t>> scores, softmax, values;  // (first query row, first position)
  std::multiset<const void*> opened, finished;
  std::atomic<uint32_t> scores_begun{0}, softmax_begun{0};
  // If set, the second scores wait for the first softmax to begin, and that does not end before the third scores begin.
  bool wait = false;
  std::atomic<bool> met{false}, passed{false};
};
Watch* watch = nullptr;
const AttentionStages* watched = nullptr;

void expect_seen(const AttentionTile& t) {
  uint32_t most = 0;
  for (uint32_t r = 0; r < t.rows; ++r) most = std::max(most, t.limit[r]);
  EXPECT_LT(t.kv_begin, t.kv_end);
  EXPECT_LE(t.kv_end, most) << "a tile beyond what any row sees";
}
template <typename Set>
void note(Set& set, const AttentionTile& t) {
  expect_seen(t);
  const std::lock_guard lock(watch->mutex);
  set.insert({t.q[0], t.kv_begin});
}
size_t watched_query_bytes(uint32_t rows, uint32_t head_dim) noexcept {
  return watched->query_bytes(rows, head_dim);
}
void watched_pack(const AttentionTile* t) noexcept {
  {
    const std::lock_guard lock(watch->mutex);
    watch->opened.insert(t->q[0]);
  }
  watched->pack_queries(t);
}
// Waits for what another worker is to do; false if it does not.
template <typename Done>
bool comes(Done done) noexcept {
  const auto begin = std::chrono::steady_clock::now();
  while (!done())
    if (std::chrono::steady_clock::now() - begin > std::chrono::seconds(30))
      return false;
    else
      std::this_thread::yield();
  return true;
}
void watched_scores(const AttentionTile* t) noexcept {
  if (watch->scores_begun.fetch_add(1) == 1 && watch->wait)
    watch->met = comes([] { return watch->softmax_begun.load() > 0; });
  note(watch->scores, *t);
  watched->scores(t);
}
void watched_softmax(const AttentionTile* t) noexcept {
  if (watch->softmax_begun.fetch_add(1) == 0 && watch->wait)
    watch->passed = comes([] { return watch->scores_begun.load() > 2; });
  note(watch->softmax, *t);
  watched->softmax(t);
}
void watched_values(const AttentionTile* t) noexcept {
  {
    const std::lock_guard lock(watch->mutex);
    const std::tuple tile(static_cast<const void*>(t->q[0]), t->kv_begin);
    EXPECT_EQ(watch->softmax.count(tile), watch->values.count(tile) + 1) << "values before softmax";
  }
  note(watch->values, *t);
  watched->values(t);
}
void watched_finish(const AttentionTile* t) noexcept {
  {
    const std::lock_guard lock(watch->mutex);
    watch->finished.insert(t->q[0]);
  }
  watched->finish(t);
}
constexpr AttentionStages kWatched = {watched_query_bytes, watched_pack,   watched_scores,
                                      watched_softmax,     watched_values, watched_finish};
constexpr KernelVariant kWatchedVariant = attention_tile_variant(
    "attention_tile.f32.f32.f16.256x16.portable.watched", kIsaPortable, DType::kF32, DType::kF16, 256, &kWatched);

Pair watched_pair() {
  watched = pairs(DType::kF16).front().vector->attention_tile;
  return {&kWatchedVariant, &kWatchedVariant};
}

TEST(Pipeline, EachVisibleTileOnceAndNoOther) {
  Pools pools;
  const Pair pair = watched_pair();
  reference::Random random(5);
  for (int round = 0; round < 25; ++round) {
    const uint32_t kv_heads = between(random, 1, 2), group = between(random, 1, 3), m = between(random, 1, 90),
                   length = between(random, 0, 100);
    AttentionProblem problem(pools.of(2), DType::kF16, {{}, {{-1, length, m}}, kv_heads * group, kv_heads, 8});
    const uint32_t rows = 16 * between(random, 1, 4), kv_tile = 16 * between(random, 1, 4);
    for (const bool phases : {false, true}) {
      Watch now;
      watch = &now;
      AttentionConfig config =
          coop(pair, between(random, 1, 2), between(random, 1, 2), rows, kv_tile, between(random, 1, 6));
      config.pipeline.phases = phases;
      problem.run(pools.of(between(random, 1, 4)), config);
      size_t tiles = 0;
      const uint32_t blocks = ceil_div(m * group, rows);
      for (uint32_t b = 0; b < blocks; ++b)
        tiles += ceil_div(length + 1 + (std::min((b + 1) * rows, m * group) - 1) / group, kv_tile);
      EXPECT_EQ(now.opened.size(), blocks * kv_heads);
      EXPECT_EQ(now.scores.size(), tiles * kv_heads);
      EXPECT_EQ(now.finished.size(), blocks * kv_heads);
      for (const auto* stage : {&now.scores, &now.softmax, &now.values}) {
        EXPECT_EQ(*stage, now.scores);
        for (const auto& tile : *stage) EXPECT_EQ(stage->count(tile), 1u);
      }
    }
  }
}

// A softmax that does not end before the scores of two more tiles have begun: with a barrier between the stages it
// would wait in vain. And the timeline shows it.
TEST(Pipeline, StagesOfDifferentTilesOverlap) {
  Pools pools;
  const Pair pair = watched_pair();
  Watch now;
  now.wait = true;
  watch = &now;
  AttentionProblem problem(pools.of(2), DType::kF16, {{}, {{-1, 0, 64}}, 4, 2, 16});
  start_trace(2);
  problem.run(pools.of(2), coop(pair, 1, 1, 32, 16, 4));
  stop_trace();
  EXPECT_TRUE(now.met && now.passed);

  const nlohmann::json trace = nlohmann::json::parse(trace_json());
  EXPECT_EQ(trace["otherData"]["dropped_events"], 0);
  std::vector<std::string> threads;
  size_t softmax = 0, overlaps = 0;
  const nlohmann::json& events = trace["traceEvents"];
  for (const auto& e : events) {
    if (e["ph"] == "M") threads.push_back(e["args"]["name"]);
    if (e["ph"] != "X" || e["name"] != "softmax") continue;
    ++softmax;
    EXPECT_EQ(e["tid"], 1);
    EXPECT_EQ(e["args"]["unit"], "cpu");
    EXPECT_EQ(e["args"]["mode"], "coop");
    const double begin = e["ts"], end = begin + e["dur"].get<double>();
    for (const auto& s : events)
      if (s["ph"] == "X" && s["name"] == "scores" && s["ts"].get<double>() < end &&
          s["ts"].get<double>() + s["dur"].get<double>() > begin) {
        ++overlaps;
        EXPECT_EQ(s["tid"], 0);
        EXPECT_NE(std::tuple(s["args"]["index"], s["args"]["tile"]), std::tuple(e["args"]["index"], e["args"]["tile"]));
        EXPECT_EQ(s["args"]["unit"], "matrix");
      }
  }
  EXPECT_EQ(threads, (std::vector<std::string>{"worker 0 (matrix)", "worker 1 (cpu)"}));
  EXPECT_EQ(softmax, now.softmax.size());
  EXPECT_GE(overlaps, 1u);
}

TEST(Trace, SaysWhatItHadNoRoomFor) {
  Pools pools;
  const Pair pair = watched_pair();
  Watch now;
  watch = &now;
  AttentionProblem problem(pools.of(2), DType::kF16, {{}, {{-1, 0, 64}}, 4, 2, 16});
  const AttentionConfig config = coop(pair, 1, 1, 32, 16, 4);
  start_trace(2);
  problem.run(pools.of(2), config);
  stop_trace();
  const size_t all = trace_events(0).size() + trace_events(1).size();
  EXPECT_EQ(all, 2 * now.finished.size() + 3 * now.scores.size());
  EXPECT_EQ(trace_dropped(), 0u);
  problem.run(pools.of(2), config);  // off: nothing is added
  EXPECT_EQ(trace_events(0).size() + trace_events(1).size(), all);

  start_trace(2, 3);
  problem.run(pools.of(2), config);
  stop_trace();
  const size_t kept = trace_events(0).size() + trace_events(1).size();
  EXPECT_LE(kept, 6u);
  EXPECT_EQ(kept + trace_dropped(), all);
  EXPECT_EQ(nlohmann::json::parse(trace_json())["otherData"]["dropped_events"], all - kept);
  start_trace(1, 1000);  // no buffer for worker 1
  problem.run(pools.of(2), config);
  stop_trace();
  EXPECT_EQ(trace_events(0).size() + trace_dropped(), all);
}

}  // namespace
}  // namespace smepilot::test
