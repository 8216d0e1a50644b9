// Attention operators as the engine calls them, on all cores: prefill of 512 tokens at several context lengths, decode
// at a long context, and batched decode with and without a shared prefix. GFLOP/s count the causal half only; B/s the
// caches once per call, a shared prefix once for all its sequences. best_*: of the fastest call, for machines that do
// other things too.
//
//   bench_attention --benchmark_filter=decode.*q8_0
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "kernels/base/aligned_buffer.h"
#include "kernels/driver/attention.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/reference/quantize.h"
#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

constexpr size_t kBeyondCaches = size_t{512} << 20;  // bytes of caches that are visited in turn, as layers are

AlignedBuffer allocate(size_t bytes) {
  Result<AlignedBuffer> buffer = AlignedBuffer::allocate(bytes);
  if (!buffer.ok()) {
    fmt::print(stderr, "bench_attention: {}\n", buffer.message());
    std::exit(1);
  }
  return std::move(*buffer);
}

struct Model {
  const char* name;
  uint32_t heads, kv_heads, head_dim;
};
constexpr Model kModels[] = {{"32/8x64", 32, 8, 64}, {"24/8x128", 24, 8, 128}};

struct Work {
  uint32_t sequences, m, length, prefix;
};

// K and V of one cache of one layer.
struct Cache {
  AlignedBuffer bytes;
  KvView view;

  Cache(WorkerPool& pool, DType dtype, const Model& model, uint32_t positions) {
    view.dtype = dtype;
    view.capacity = (positions + kPanel - 1) / kPanel * kPanel;
    view.kv_heads = model.kv_heads;
    view.head_dim = model.head_dim;
    const size_t half = model.kv_heads * view.head_bytes();
    bytes = allocate(2 * half);
    view.k = bytes.data();
    view.v = bytes.data() + half;
    const size_t width = size_t{model.kv_heads} * model.head_dim;
    std::vector<float> rows(width * kPanel);
    reference::Random random(3);
    random.fill_uniform(rows.data(), rows.size(), -1, 1);
    for (uint32_t pos = 0; pos < positions; pos += kPanel)
      write_kv(pool, 1, view, pos, std::min(kPanel, positions - pos), rows.data(), width, rows.data(), width);
  }
};

void bench(benchmark::State& state, const KernelVariant& v, const Model& model, const Work& work, uint32_t tile) {
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  WorkerPool pool(cores);
  const uint32_t rows = work.sequences * work.m, own = work.length + work.m;
  const size_t set =
      (work.sequences * kv_bytes(v.rhs, own, model.head_dim) + kv_bytes(v.rhs, work.prefix, model.head_dim)) *
      model.kv_heads * 2;
  const size_t sets = work.m > 1 ? 1 : std::max<size_t>(1, kBeyondCaches / set);
  std::vector<Cache> caches;
  std::vector<std::vector<AttentionSequence>> calls(sets);
  caches.reserve(sets * (work.sequences + 1));
  for (auto& call : calls) {
    KvView prefix;
    if (work.prefix != 0) prefix = caches.emplace_back(pool, v.rhs, model, work.prefix).view;
    for (uint32_t s = 0; s < work.sequences; ++s) {
      const Cache& cache = caches.emplace_back(pool, v.rhs, model, own);
      call.push_back(
          {.own = cache.view, .shared = prefix, .shared_length = work.prefix, .length = work.length, .m = work.m});
    }
  }
  const size_t width = size_t{model.heads} * model.head_dim;
  std::vector<float> q(rows * width), out(rows * width);
  reference::Random random(5);
  random.fill_uniform(q.data(), q.size(), -1, 1);
  AlignedBuffer scratch =
      allocate(attention_scratch_bytes(cores, rows, model.heads, std::max(own, work.prefix) + kPanel, model.head_dim));
  AttentionConfig config;
  config.variant = &v;
  config.workers = static_cast<uint16_t>(cores);
  config.kv_tile = tile;
  const float scale = 1 / std::sqrt(static_cast<float>(model.head_dim));
  size_t at = 0;
  double fastest_s = 1e30;
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    attention(pool, config, calls[at], model.heads, q.data(), width, out.data(), width, scale, scratch.data());
    fastest_s = std::min(fastest_s, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    at = at + 1 == sets ? 0 : at + 1;
  }
  const double calls_made = static_cast<double>(state.iterations());
  const double seen = work.prefix + work.length + (work.m + 1) / 2.0;
  const double flops = 4.0 * rows * static_cast<double>(width) * seen, bytes = static_cast<double>(set);
  const auto rate = [&](const char* name, double per_call) {
    state.counters[name] = benchmark::Counter(per_call * calls_made, benchmark::Counter::kIsRate);
  };
  rate("flop/s", flops);
  rate("B/s", bytes);
  rate("rows/s", rows);
  state.counters["best_flop/s"] = flops / fastest_s;
  state.counters["best_B/s"] = bytes / fastest_s;
}

int register_all() {
  const Result<IsaSet> isa = usable_isa();
  if (!isa.ok()) {
    fmt::print(stderr, "bench_attention: {}\n", isa.message());
    return 1;
  }
  for (const KernelVariant* v : all_variants()) {
    if (v->op != OpKind::kAttention) continue;
    if ((v->isa & ~*isa) != 0) {
      fmt::print(stderr, "not measured here: {} needs {}\n", v->id, isa_to_string(v->isa & ~*isa));
      continue;
    }
    for (const Model& model : kModels) {
      const auto add = [&](const std::string& what, const Work& work, uint32_t tile) {
        benchmark::RegisterBenchmark(fmt::format("{}/{}/{}", what, model.name, v->id).c_str(),
                                     [v, &model, work, tile](benchmark::State& s) { bench(s, *v, model, work, tile); })
            ->UseRealTime();
      };
      for (const uint32_t kv : {512u, 4096u, 8192u}) add(fmt::format("prefill/kv={}", kv), {1, 512, kv - 512, 0}, 128);
      for (const uint32_t tile : {64u, 256u})
        add(fmt::format("prefill/kv=8192/tile={}", tile), {1, 512, 8192 - 512, 0}, tile);
      add("decode/kv=8192", {1, 1, 8191, 0}, 128);
      add("decode/sequences=16/kv=1024+63/own", {16, 1, 1024 + 63, 0}, 128);
      add("decode/sequences=16/kv=1024+63/shared", {16, 1, 63, 1024}, 128);
    }
  }
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
