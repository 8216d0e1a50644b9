// Speed of every matmul and quantise variant that this machine can run, called as the driver calls it. Weights and
// activations are random; "cached" weights are used again and again, "memory" ones are larger than the caches and
// visited in turn.
//
//   bench_matmul --benchmark_filter='q4_0.*amxint8.*/m=64/.*cached'
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/base/aligned_buffer.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/pack/pack_rhs.h"
#include "kernels/reference/pack_lhs.h"
#include "kernels/reference/quantize.h"
#include "kernels/registry/registry.h"
#include "roof.h"

namespace smepilot {
namespace {

constexpr size_t kBeyondCaches = size_t{256} << 20;  // bytes; more than a core keeps of any last-level cache slice

AlignedBuffer allocate(size_t bytes) {
  Result<AlignedBuffer> buffer = AlignedBuffer::allocate(bytes);
  if (!buffer.ok()) {
    fmt::print(stderr, "bench_matmul: {}\n", buffer.message());
    std::exit(1);
  }
  return std::move(*buffer);
}

struct Shape {
  uint32_t m, n, k;
  bool memory;
};

// `copies` packed copies of one random matrix.
AlignedBuffer packed_weights(DType type, uint32_t n, uint32_t k, size_t copies) {
  const size_t row_bytes = file_bytes(type, k), bytes = rhs_bytes(type, n, k);
  std::vector<std::byte> rows(n * row_bytes);
  reference::Random random(1);
  for (uint32_t i = 0; i < n; ++i) reference::random_row(type, random, k, rows.data() + i * row_bytes);
  AlignedBuffer packed = allocate(bytes * copies);
  pack_rhs(type, rows.data(), row_bytes, n, k, packed.data());
  for (size_t c = 1; c < copies; ++c) std::memcpy(packed.data() + c * bytes, packed.data(), bytes);
  return packed;
}

void bench_matmul(benchmark::State& state, const KernelVariant& v, const Shape& s) {
  const size_t bytes = rhs_bytes(v.rhs, s.n, s.k), panel_bytes = rhs_planes(v.rhs, s.k).panel_bytes;
  const size_t copies = s.memory ? (kBeyondCaches + bytes - 1) / bytes : 1;
  const AlignedBuffer weights = packed_weights(v.rhs, s.n, s.k, copies);
  const bool quantised = is_q8(v.lhs_layout), rows = v.lhs_layout == Layout::kRowMajor;
  std::vector<float> x(size_t{s.m} * s.k);
  reference::Random random(2);
  random.fill_uniform(x.data(), x.size(), -1, 1);
  AlignedBuffer packed = allocate(lhs_bytes(v.lhs_layout, s.m, s.k));
  if (quantised)
    reference::quantize_lhs_q8(x.data(), s.k, s.m, s.k, packed.data(), lhs_q8_group(v.rhs), v.lhs_layout);
  else if (!rows)
    reference::pack_lhs_float(v.lhs_layout, x.data(), s.k, s.m, s.k, packed.data());
  AlignedBuffer dst = allocate(size_t{s.m} * s.n * sizeof(float));

  // The driver's defaults: all column blocks of one row block before the next row block.
  constexpr uint32_t kMc = 128, kNc = 64;
  MatmulArgs args{};
  args.lhs_stride = s.k * sizeof(float);
  args.rhs_stride = panel_bytes;
  args.dst_stride = s.n;
  args.k = s.k;
  args.lhs_group = quantised ? lhs_q8_group(v.rhs) : 0;
  size_t at = 0;
  for (auto _ : state) {
    const std::byte* rhs = weights.data() + at * bytes;
    for (uint32_t mc = 0; mc < s.m; mc += kMc) {
      const uint32_t m_end = std::min(mc + kMc, s.m);
      for (uint32_t n = 0; n < s.n; n += kNc) {
        args.rhs = rhs + n / kPanel * panel_bytes;
        args.n = std::min(kNc, s.n - n);
        for (uint32_t m = mc; m < m_end; m += v.tile.mr) {
          args.m = std::min(v.tile.mr, m_end - m);
          args.lhs =
              rows ? static_cast<const void*>(x.data() + m * s.k) : packed.data() + lhs_bytes(v.lhs_layout, m, s.k);
          args.dst = dst.as<float>() + size_t{m} * s.n + n;
          v.matmul(&args);
        }
      }
    }
    benchmark::ClobberMemory();
    at = at + 1 == copies ? 0 : at + 1;
  }
  bench::set_rates(state, v, 2.0 * s.m * s.n * s.k, static_cast<double>(bytes), s.memory);
}

void register_matmul(const KernelVariant& v) {
  std::vector<Shape> shapes;
  shapes.push_back({3, 40, 256, false});  // too small to say anything: for the smoke test
  for (uint32_t m : {1u, 4u, 16u, 32u, 64u}) shapes.push_back({m, 256, 2048, false});
  shapes.push_back({64, 128, 8192, false});
  for (uint32_t m : {1u, 16u, 64u, 512u}) shapes.push_back({m, 2048, 2048, true});
  for (const Shape& s : shapes) {
    if (v.max_m != 0 && s.m > v.max_m) continue;
    const std::string name = fmt::format("{}/m={}/n={}/k={}/{}", v.id, s.m, s.n, s.k, s.memory ? "memory" : "cached");
    benchmark::RegisterBenchmark(name.c_str(), [&v, s](benchmark::State& state) { bench_matmul(state, v, s); });
  }
}

void bench_quantize(benchmark::State& state, const KernelVariant& v, uint32_t rows, uint32_t group) {
  constexpr uint32_t kCols = 2048;
  std::vector<float> x(size_t{rows} * kCols);
  reference::Random random(3);
  random.fill_uniform(x.data(), x.size(), -1, 1);
  const size_t bytes = lhs_bytes(v.dst_layout, rows, kCols);
  AlignedBuffer dst = allocate(bytes);
  const QuantizeArgs args{x.data(), kCols, dst.data(), rows, kCols, group};
  for (auto _ : state) {
    v.quantize(&args);
    benchmark::ClobberMemory();
  }
  bench::set_rates(state, v, 0, static_cast<double>(x.size() * sizeof(float) + bytes), false);
}

void register_quantize(const KernelVariant& v) {
  for (uint32_t rows : {1u, 16u})
    for (uint32_t group : {kQ8Block, kQ8SuperBlock}) {
      if (!is_q8(v.dst_layout) && group != kQ8Block) continue;  // floats have no groups
      benchmark::RegisterBenchmark(
          fmt::format("{}/rows={}/group={}", v.id, rows, group).c_str(),
          [&v, rows, group](benchmark::State& state) { bench_quantize(state, v, rows, group); });
    }
}

int register_all() {
  const Result<IsaSet> isa = usable_isa();
  if (!isa.ok()) {
    fmt::print(stderr, "bench_matmul: {}\n", isa.message());
    return 1;
  }
  for (const KernelVariant* v : all_variants()) {
    if (v->op != OpKind::kMatmul && v->op != OpKind::kQuantize) continue;
    if ((v->isa & ~*isa) != 0)
      fmt::print(stderr, "not measured here: {} needs {}\n", v->id, isa_to_string(v->isa & ~*isa));
    else if (v->op == OpKind::kMatmul)
      register_matmul(*v);
    else
      register_quantize(*v);
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
  const size_t ran = benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return ran == 0 ? 1 : 0;  // a filter that matches nothing has measured nothing
}
