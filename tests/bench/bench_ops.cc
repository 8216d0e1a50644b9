// Speed of every attention, norm, rope, SwiGLU and softmax variant that this machine can run. Operands hold non-zero
// data; "cached" ones are used again and again, "memory" ones are larger than the caches and visited in turn.
//
//   bench_ops --benchmark_filter=attention.*avx512
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/aligned_buffer.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/pack/pack_kv.h"
#include "kernels/registry/registry.h"
#include "roof.h"

namespace smepilot {
namespace {

constexpr size_t kBeyondCaches = size_t{256} << 20;  // bytes; more than a core keeps of any last-level cache slice

// Uninitialised memory would be one zero page; benchmarks on that measure nothing.
AlignedBuffer allocate(size_t bytes) {
  Result<AlignedBuffer> buffer = AlignedBuffer::allocate(bytes);
  if (!buffer.ok()) {
    fmt::print(stderr, "bench_ops: {}\n", buffer.message());
    std::exit(1);
  }
  return std::move(*buffer);
}

AlignedBuffer random_floats(size_t count) {
  AlignedBuffer buffer = allocate(count * sizeof(float));
  std::minstd_rand random(1);
  std::uniform_real_distribution<float> value(-1, 1);
  for (size_t i = 0; i < count; ++i) buffer.as<float>()[i] = value(random);
  return buffer;
}

struct AttentionCase {
  uint32_t rows, head_dim, kv_len, kv_tile;
  bool memory;  // cycle through so many heads' caches that none is found in a cache
};

// K or V of one head, by the packer of the variant's cache.
void fill_cache(DType dtype, bool keys, const AttentionCase& c, std::byte* to) {
  AlignedBuffer rows = random_floats(size_t{c.kv_len} * c.head_dim);
  (keys ? pack_key_rows : pack_value_rows)(dtype, rows.as<float>(), c.head_dim, c.kv_len, c.head_dim, 0, to);
}

void bench_attention(benchmark::State& state, const KernelVariant& v, const AttentionCase& c) {
  const size_t head = kv_bytes(v.rhs, c.kv_len, c.head_dim);
  const size_t heads = c.memory ? kBeyondCaches / (2 * head) : 1;
  AlignedBuffer k = allocate(head * heads), values = allocate(head * heads);
  fill_cache(v.rhs, true, c, k.data());
  fill_cache(v.rhs, false, c, values.data());
  for (size_t i = 1; i < heads; ++i) {
    std::memcpy(k.data() + i * head, k.data(), head);
    std::memcpy(values.data() + i * head, values.data(), head);
  }
  AlignedBuffer q = random_floats(size_t{c.rows} * c.head_dim), out = random_floats(size_t{c.rows} * c.head_dim);
  AlignedBuffer scratch = random_floats(attention_scratch_floats(c.rows, c.head_dim, c.kv_len, c.kv_tile));
  std::vector<const float*> q_rows;
  std::vector<float*> out_rows;
  const std::vector<uint32_t> limits(c.rows, c.kv_len);
  for (size_t r = 0; r < c.rows; ++r) {
    q_rows.push_back(q.as<float>() + r * c.head_dim);
    out_rows.push_back(out.as<float>() + r * c.head_dim);
  }
  AttentionArgs args{};
  args.q = q_rows.data();
  args.out = out_rows.data();
  args.limit = limits.data();
  args.scratch = scratch.as<float>();
  args.rows = c.rows;
  args.head_dim = c.head_dim;
  args.kv_end = c.kv_len;
  args.kv_tile = c.kv_tile;
  args.scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
  size_t at = 0;
  for (auto _ : state) {
    args.k = k.data() + at * head;
    args.v = values.data() + at * head;
    v.attention(&args);
    at = at + 1 == heads ? 0 : at + 1;
  }
  bench::set_rates(state, v, 4.0 * c.kv_len * c.head_dim * c.rows, 2.0 * static_cast<double>(head), c.memory);
}

void register_attention(const KernelVariant& v) {
  for (uint32_t head_dim : {64u, 128u}) {
    std::vector<AttentionCase> cases;
    for (uint32_t rows : {16u, 32u, 64u, v.tile.mr})
      if (rows <= v.tile.mr && (cases.empty() || cases.back().rows != rows))
        cases.push_back({rows, head_dim, 2048, 128, false});
    for (uint32_t tile : {32u, 64u, 256u, 512u}) cases.push_back({v.tile.mr, head_dim, 2048, tile, false});
    for (uint32_t rows : {1u, 2u, 3u, 4u, 8u})
      for (bool memory : {false, true}) cases.push_back({rows, head_dim, 2048, 128, memory});
    for (const AttentionCase& c : cases) {
      const std::string name = fmt::format("{}/rows={}/head_dim={}/kv={}/tile={}/{}", v.id, c.rows, c.head_dim,
                                           c.kv_len, c.kv_tile, c.memory ? "memory" : "cached");
      benchmark::RegisterBenchmark(name.c_str(), [&v, c](benchmark::State& s) { bench_attention(s, v, c); });
    }
  }
}

// One decode row and one prefill block of a model 2048 wide; the block is larger than a first-level cache.
constexpr uint32_t kCols = 2048;
constexpr uint32_t kRowCounts[] = {1, 64};

void bench_rows(benchmark::State& state, const KernelVariant& v, uint32_t rows, bool interleaved) {
  const size_t count = size_t{rows} * kCols;
  AlignedBuffer x = random_floats(count), y = random_floats(count), dst = random_floats(count);
  constexpr uint32_t kHeadDim = 128, kHalf = kHeadDim / 2;
  AlignedBuffer angles = random_floats(size_t{rows} * kHeadDim);
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < kHalf; ++j) {
      float* row = angles.as<float>() + i * kHeadDim;
      const float angle = row[j];
      row[j] = std::cos(angle);
      row[kHalf + j] = std::sin(angle);
    }
  }
  const auto run = [&] {
    switch (v.op) {
      case OpKind::kNorm: {
        const NormArgs a{x.as<float>(), y.as<float>(), dst.as<float>(), kCols, kCols, rows, kCols, 1e-5f};
        return v.norm(&a);
      }
      case OpKind::kSwiglu: {
        const SwigluArgs a{x.as<float>(), y.as<float>(), dst.as<float>(), kCols, kCols, kCols, rows, kCols};
        return v.swiglu(&a);
      }
      case OpKind::kSoftmax: {  // in place: of its own result from the second time on, which takes the same time
        const SoftmaxArgs a{x.as<float>(), kCols, rows, kCols};
        return v.softmax(&a);
      }
      case OpKind::kRope: {
        const RopeArgs a{x.as<float>(),    angles.as<float>(), kCols, rows,
                         kCols / kHeadDim, kHeadDim,           kHalf, interleaved};
        return v.rope(&a);
      }
      default: return;
    }
  };
  for (auto _ : state) {
    run();
    benchmark::ClobberMemory();
  }
  bench::set_rates(state, v, 0, static_cast<double>(count) * sizeof(float) * (v.op == OpKind::kSwiglu ? 3 : 2), false);
  state.SetItemsProcessed(static_cast<int64_t>(count) * static_cast<int64_t>(state.iterations()));
}

void register_rows(const KernelVariant& v) {
  for (uint32_t rows : kRowCounts) {
    for (bool interleaved : {false, true}) {
      if (interleaved && v.op != OpKind::kRope) continue;
      const std::string name =
          fmt::format("{}/rows={}/cols={}{}", v.id, rows, kCols, interleaved ? "/interleaved" : "");
      benchmark::RegisterBenchmark(
          name.c_str(), [&v, rows, interleaved](benchmark::State& s) { bench_rows(s, v, rows, interleaved); });
    }
  }
}

int register_all() {
  const Result<IsaSet> isa = usable_isa();
  if (!isa.ok()) {
    fmt::print(stderr, "bench_ops: {}\n", isa.message());
    return 1;
  }
  for (const KernelVariant* v : all_variants()) {
    const bool attention = v->op == OpKind::kAttention;
    if (!attention && v->op != OpKind::kNorm && v->op != OpKind::kRope && v->op != OpKind::kSwiglu &&
        v->op != OpKind::kSoftmax)
      continue;
    if ((v->isa & ~*isa) != 0)
      fmt::print(stderr, "not measured here: {} needs {}\n", v->id, isa_to_string(v->isa & ~*isa));
    else if (attention)
      register_attention(*v);
    else
      register_rows(*v);
  }
  return 0;
}

}  // namespace
}  // namespace smepilot

int main(int argc, char** argv) {
  smepilot::bench::start_roof(&argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (const int rc = smepilot::register_all(); rc != 0) return rc;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
