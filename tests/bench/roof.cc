#include "roof.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "profiles/calibrate.h"
#include "profiles/platform.h"

namespace smepilot::bench {
namespace {

std::unique_ptr<Roofline> roof;

}  // namespace

void start_roof(int* argc, char** argv) {
  bool wanted = true;
  int kept = 1;
  for (int i = 1; i < *argc; ++i) {
    const std::string_view a = argv[i];
    if (a == "--no-roof" || a.starts_with("--benchmark_list_tests") || a == "--help") wanted = false;
    if (a != "--no-roof") argv[kept++] = argv[i];
  }
  *argc = kept;
  if (!wanted) return;
  const Result<Platform> platform = detect_platform();
  if (!platform.ok()) return;
  CalibrateOptions options;
  options.quick = true;
  options.workers = 1;
  options.seconds = 2;
  const Result<Calibration> calibration = calibrate(*platform, options);
  if (!calibration.ok()) {
    fmt::print(stderr, "no roof: {}\n", calibration.message());
    return;
  }
  roof = std::make_unique<Roofline>(*calibration, *platform);
  fmt::print(stderr,
             "roof of one worker, measured: int8 {:.0f}, f32 {:.0f} GFLOP/s; read L2 {:.1f}, DRAM {:.1f} GB/s\n",
             roof->peak_gflops(ExecutionUnit::kCpu, "int8", 1), roof->peak_gflops(ExecutionUnit::kCpu, "f32", 1),
             roof->bandwidth_gbps("L2", "read", 1), roof->bandwidth_gbps("DRAM", "read", 1));
}

void set_rates(benchmark::State& state, const KernelVariant& variant, double flops, double bytes, bool memory) {
  const double n = static_cast<double>(state.iterations());
  const auto rate = [&](const char* name, double value) {
    state.counters[name] = benchmark::Counter(value * n, benchmark::Counter::kIsRate);
  };
  if (flops > 0) rate("flop/s", flops);
  rate("B/s", bytes);
  if (roof == nullptr) return;
  const OperatorShape shape{variant.op, variant.rhs, 1, 1, 1, 1, 1};
  const double peak = roof->peak_gflops(variant.unit, compute_dtype(shape, variant), 1);
  const std::string level = memory ? "DRAM" : roof->level_for(static_cast<uint64_t>(bytes), 1);
  const double read = roof->bandwidth_gbps(level, "read", 1);
  if (flops > 0 && peak > 0) rate("%peak", 100 * flops / (peak * 1e9));
  if (read > 0) rate("%read", 100 * bytes / (read * 1e9));
}

}  // namespace smepilot::bench
