// Attention in stages: each stage of each variant on one tile, and causal prefill by a pipeline of both units beside
// what else the same two kinds of cores could do.
//
//   pipeline   Q K^T and P V on the matrix unit, softmax on the vector cores, no barrier; the cores take tiles of P V
//              when they have no softmax to do
//   divided    the same, but that the cores do nothing else than softmax
//   phases     the same kernels, each stage of all tiles before the next one
//   whole      no stages: each worker takes whole blocks of rows, one with the matrix unit's instructions, the others
//              with the cores' (best_whole: all of them with the matrix unit's)
//
// On a machine without a matrix unit's kernels, those of the highest ISA step play it (the test bed), and the cores get
// the next lower step.
//
//   bench_pipeline --benchmark_filter=^prefill --benchmark_repetitions=5 --benchmark_enable_random_interleaving=true
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/abi/attention_stages.h"
#include "kernels/base/aligned_buffer.h"
#include "kernels/base/integer.h"
#include "kernels/driver/attention.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/reference/quantize.h"
#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

constexpr uint32_t kHeads = 24, kKvHeads = 8, kHeadDim = 128;  // of Llama 3.2 3B

AlignedBuffer allocate(size_t bytes) {
  Result<AlignedBuffer> buffer = AlignedBuffer::allocate(bytes);
  if (!buffer.ok()) {
    fmt::print(stderr, "bench_pipeline: {}\n", buffer.message());
    std::exit(1);
  }
  return std::move(*buffer);
}
AlignedBuffer random_floats(size_t count) {
  AlignedBuffer buffer = allocate(count * sizeof(float));
  reference::Random random(1);
  random.fill_uniform(buffer.as<float>(), count, -1, 1);
  return buffer;
}

struct Cache {
  AlignedBuffer bytes;
  KvView view;
  Cache(DType dtype, uint32_t kv_heads, uint32_t positions) {
    view = {dtype, nullptr, nullptr, round_up(positions, kPanel), kv_heads, kHeadDim};
    const size_t half = kv_heads * view.head_bytes(), width = size_t{kv_heads} * kHeadDim;
    bytes = allocate(2 * half);
    view.k = bytes.data();
    view.v = bytes.data() + half;
    const AlignedBuffer rows = random_floats(width * positions);
    WorkerPool pool(1);
    write_kv(pool, 1, view, 0, positions, rows.as<float>(), width, rows.as<float>(), width);
  }
};

// --- one stage ---

enum class Stage { kPack, kScores, kSoftmax, kValues, kFinish };
constexpr const char* kStageNames[] = {"pack_queries", "scores", "softmax", "values", "finish"};

void bench_stage(benchmark::State& state, const KernelVariant& v, Stage stage, uint32_t rows) {
  constexpr uint32_t kPositions = 128;
  const AttentionStages& stages = *v.attention_tile;
  const Cache cache(v.rhs, 1, kPositions);
  const uint32_t stride = round_up(rows, kPanel);
  AlignedBuffer q = random_floats(size_t{rows} * kHeadDim), out = random_floats(q.size() / sizeof(float));
  AlignedBuffer scores = random_floats(size_t{kPositions} * stride), output = random_floats(size_t{rows} * kHeadDim);
  AlignedBuffer max = random_floats(stride), sum = random_floats(stride), rescale = random_floats(stride);
  AlignedBuffer queries = allocate(stages.query_bytes(rows, kHeadDim));
  std::vector<const float*> q_rows;
  std::vector<float*> out_rows;
  for (uint32_t r = 0; r < rows; ++r) {
    q_rows.push_back(q.as<float>() + size_t{r} * kHeadDim);
    out_rows.push_back(out.as<float>() + size_t{r} * kHeadDim);
  }
  const std::vector<uint32_t> limits(rows, kPositions);
  AttentionTile t{};
  t.q = q_rows.data();
  t.out = out_rows.data();
  t.limit = limits.data();
  t.k = cache.view.k;
  t.v = cache.view.v;
  t.queries = queries.data();
  t.scores = scores.as<float>();
  t.output = output.as<float>();
  t.max = max.as<float>();
  t.sum = sum.as<float>();
  t.rescale = rescale.as<float>();
  t.rows = rows;
  t.stride = stride;
  t.head_dim = kHeadDim;
  t.kv_end = kPositions;
  t.scale = 1 / std::sqrt(static_cast<float>(kHeadDim));
  t.first = true;  // so that nothing grows from one iteration to the next
  stages.pack_queries(&t);
  const auto run = stage == Stage::kPack      ? stages.pack_queries
                   : stage == Stage::kScores  ? stages.scores
                   : stage == Stage::kSoftmax ? stages.softmax
                   : stage == Stage::kValues  ? stages.values
                                              : stages.finish;
  for (auto _ : state) {
    run(&t);
    benchmark::ClobberMemory();
  }
  const double elements = double{1} * rows * kPositions;
  const bool product = stage == Stage::kScores || stage == Stage::kValues;
  const double work = product                    ? 2 * elements * kHeadDim
                      : stage == Stage::kSoftmax ? elements
                                                 : double{1} * rows * kHeadDim;
  state.counters[product ? "flop/s" : "elements/s"] =
      benchmark::Counter(work * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

// --- whole operators ---

// Blocks of rows by the kernel of whoever takes them.
const KernelVariant *whole_matrix, *whole_cores;
thread_local bool is_matrix = false;
void whole_mixed(const AttentionArgs* args) noexcept {
  (is_matrix ? whole_matrix : whole_cores)->attention(args);
}

struct Kernels {
  KernelVariant matrix;
  const KernelVariant *cores, *whole_matrix, *whole_cores;
};

void bench_prefill(benchmark::State& state, const Kernels& kernels, const std::string& how, uint32_t m, uint32_t rows,
                   uint32_t kv_tile, uint32_t depth) {
  WorkerPool pool(2);
  pool.run(2, [](unsigned worker, unsigned) { is_matrix = worker == 0; });
  const Cache cache(DType::kF16, kKvHeads, m);
  const AttentionSequence sequence{.own = cache.view, .shared = {}, .shared_length = 0, .length = 0, .m = m};
  const size_t width = size_t{kHeads} * kHeadDim;
  AlignedBuffer q = random_floats(m * width), out = random_floats(m * width);
  KernelVariant mixed = *kernels.whole_cores;
  mixed.attention = whole_mixed;
  whole_matrix = kernels.whole_matrix;
  whole_cores = kernels.whole_cores;
  AttentionConfig config;
  config.kv_tile = kv_tile;
  const bool whole = how == "whole" || how == "best_whole";
  if (whole) {
    config.variant = how == "whole" ? &mixed : kernels.whole_matrix;
    config.workers = 2;
  } else {
    config.mode = ExecutionMode::kCoop;
    config.variant = kernels.cores;
    config.pipeline.variant = &kernels.matrix;
    config.pipeline.rows = rows;
    config.pipeline.depth = depth;
    config.pipeline.cores_multiply = how == "pipeline";
    config.pipeline.phases = how == "phases";
  }
  const size_t bytes = how == "phases" ? attention_phases_scratch_bytes(config, {&sequence, 1}, kHeads)
                                       : attention_scratch_bytes(pool.size(), m, kHeads, cache.view.capacity, kHeadDim);
  AlignedBuffer scratch = allocate(bytes);
  const float scale = 1 / std::sqrt(static_cast<float>(kHeadDim));
  const auto run = [&] {
    attention(pool, config, {&sequence, 1}, kHeads, q.as<float>(), width, out.as<float>(), width, scale,
              scratch.data());
  };
  run();  // touches all of the scratch
  double fastest_s = 1e30;
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    run();
    fastest_s = std::min(fastest_s, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  const double flops = 4.0 * m * static_cast<double>(width) * (m + 1) / 2;
  state.counters["flop/s"] =
      benchmark::Counter(flops * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
  state.counters["best_flop/s"] = flops / fastest_s;
}

int register_all() {
  const Result<IsaSet> isa = usable_isa();
  if (!isa.ok()) {
    fmt::print(stderr, "bench_pipeline: {}\n", isa.message());
    return 1;
  }
  std::vector<const KernelVariant*> tiles;  // of f16 caches, the preferred ones first
  for (const KernelVariant* v : all_variants()) {
    if (v->op != OpKind::kAttentionTile) continue;
    if ((v->isa & ~*isa) != 0) {
      fmt::print(stderr, "not measured here: {} needs {}\n", v->id, isa_to_string(v->isa & ~*isa));
      continue;
    }
    if (v->rhs == DType::kF16) tiles.push_back(v);
    for (const Stage stage : {Stage::kPack, Stage::kScores, Stage::kSoftmax, Stage::kValues, Stage::kFinish}) {
      if (stage == Stage::kSoftmax && v->attention_tile->softmax == nullptr) continue;
      if (stage == Stage::kFinish && v->attention_tile->finish == nullptr) continue;
      benchmark::RegisterBenchmark(fmt::format("{}/{}/64x128", v->id, kStageNames[static_cast<size_t>(stage)]).c_str(),
                                   [v, stage](benchmark::State& s) { bench_stage(s, *v, stage, 64); });
    }
  }

  static Kernels kernels;
  const auto unit = std::find_if(tiles.begin(), tiles.end(),
                                 [](const KernelVariant* v) { return v->unit == ExecutionUnit::kMatrix; });
  const KernelVariant* const matrix = unit != tiles.end() ? *unit : tiles.front();
  kernels.matrix = *matrix;
  kernels.matrix.unit = ExecutionUnit::kMatrix;
  kernels.cores = tiles.back();
  for (const KernelVariant* v : tiles)
    if (v->isa != matrix->isa && v->unit == ExecutionUnit::kCpu && v->attention_tile->softmax != nullptr) {
      kernels.cores = v;
      break;
    }
  for (const KernelVariant* v : all_variants()) {
    if (v->op != OpKind::kAttention || v->rhs != DType::kF16 || v->lhs != DType::kF32) continue;
    if (v->isa == matrix->isa && kernels.whole_matrix == nullptr) kernels.whole_matrix = v;
    if (v->isa == kernels.cores->isa && kernels.whole_cores == nullptr) kernels.whole_cores = v;
  }
  if (kernels.whole_cores == nullptr) kernels.whole_cores = kernels.whole_matrix;
  if (kernels.whole_matrix == nullptr) kernels.whole_matrix = kernels.whole_cores;
  benchmark::AddCustomContext("matrix unit", fmt::format("{}{}", matrix->id, unit != tiles.end() ? "" : " (test bed)"));
  benchmark::AddCustomContext("vector cores", kernels.cores->id);
  const auto add = [&](const char* how, uint32_t m, uint32_t rows, uint32_t kv_tile, uint32_t depth) {
    benchmark::RegisterBenchmark(
        fmt::format("prefill/m={}/rows={}/tile={}/depth={}/{}", m, rows, kv_tile, depth, how).c_str(),
        [=](benchmark::State& s) { bench_prefill(s, kernels, how, m, rows, kv_tile, depth); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  };
  for (const uint32_t m : {1024u, 2048u, 4096u})
    for (const char* how : {"pipeline", "divided", "phases", "whole", "best_whole"}) add(how, m, 64, 128, 8);
  for (const uint32_t rows : {32u, 128u, 256u})
    for (const uint32_t kv_tile : {64u, 128u, 256u}) add("pipeline", 2048, rows, kv_tile, 8);
  for (const uint32_t depth : {1u, 2u, 4u, 16u}) add("pipeline", 2048, 64, 128, depth);
  return 0;
}

}  // namespace
}  // namespace smepilot

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (const int rc = smepilot::register_all(); rc != 0) return rc;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
