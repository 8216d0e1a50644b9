// Cooperative matmul on the test bed (one AVX-512 worker plays the matrix unit, one AVX2 worker the vector cores): each
// side alone, both with static splits around the planned one, and both with a dynamic end. Repetitions of all take
// turns at random, so that a drift of the machine hits all alike; at the end, what both reach of the sum of the sides
// alone.
//
//   bench_coop                              7 repetitions, medians
//   bench_coop --benchmark_filter=q4_0
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base/os.h"
#include "kernels/driver/operators.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/pack/pack_rhs.h"
#include "kernels/reference/quantize.h"
#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

constexpr uint32_t kM = 512, kN = 3072, kK = 8192, kNc = 64;

// Operands of one weight type, and the kernels of both units.
class Problem {
 public:
  Problem(DType dtype, IsaSet isa) {
    for (const KernelVariant* v : select_variants({OpKind::kMatmul, dtype, kM, kN, kK, 0, 0}, isa).usable) {
      const KernelVariant*& slot = v->unit == ExecutionUnit::kMatrix ? matrix : vector;
      if (slot == nullptr) slot = v;
    }
    reference::Random random(1);
    const size_t row_bytes = file_bytes(dtype, kK);
    std::vector<std::byte> file(kN * row_bytes);
    for (uint32_t row = 0; row < kN; ++row) reference::random_row(dtype, random, kK, file.data() + row * row_bytes);
    weights_ = AlignedBuffer::allocate(rhs_bytes(dtype, kN, kK)).value();
    pack_rhs(dtype, file.data(), row_bytes, kN, kK, weights_.data());
    rhs_ = {dtype, kN, kK, weights_.data()};
    std::vector<float> x(size_t{kM} * kK);
    random.fill_uniform(x.data(), x.size(), -1, 1);
    const LhsForm form = lhs_form(*vector);
    packed_ = AlignedBuffer::allocate(lhs_bytes(form.layout, kM, kK)).value();
    WorkerPool one(1);
    pack_lhs(one, default_elementwise(1).value(), form, x.data(), kK, kM, kK, packed_.data());
    lhs_ = {nullptr, 0, packed_.data(), form, kM, kK};
    dst_ = AlignedBuffer::allocate(size_t{kM} * kN * sizeof(float)).value();
  }

  void run(WorkerPool& pool, const MatmulConfig& config) { matmul(pool, config, lhs_, rhs_, dst_.as<float>(), kN); }

  const KernelVariant* matrix = nullptr;
  const KernelVariant* vector = nullptr;

 private:
  AlignedBuffer weights_, packed_, dst_;
  PackedMatrix rhs_;
  LhsOperand lhs_;
};

// Keeps the medians for the summary.
class Reporter : public benchmark::ConsoleReporter {
 public:
  bool ReportContext(const Context& context) override { return ConsoleReporter::ReportContext(context); }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs)
      if (run.aggregate_name == "median") medians[run.run_name.function_name] = run.counters.at("op/s") / 1e9;
    ConsoleReporter::ReportRuns(runs);
  }
  std::map<std::string, double> medians;
};

void summary(const std::map<std::string, double>& medians, const std::string& type, uint32_t planned) {
  const auto at = [&](const std::string& what) {
    const auto it = medians.find(type + "/" + what);
    return it == medians.end() ? 0.0 : it->second;
  };
  const double alone = at("matrix") + at("vector");
  if (alone == 0) return;
  double best = 0;
  uint32_t best_split = 0;
  for (uint32_t split = kNc; split < kN; split += kNc)
    if (const double rate = at(fmt::format("split:{}", split)); rate > best) {
      best = rate;
      best_split = split;
    }
  fmt::print("test bed, {} {}x{}x{}: matrix {:.0f} + vector {:.0f} = {:.0f} GOP/s; ", type, kM, kN, kK, at("matrix"),
             at("vector"), alone);
  fmt::print("planned split {} {:.0f} ({:.1f} %), best split {} {:.0f} ({:.1f} %), dynamic {:.0f} ({:.1f} %)\n",
             planned, at(fmt::format("split:{}", planned)), 100 * at(fmt::format("split:{}", planned)) / alone,
             best_split, best, 100 * best / alone, at("dynamic"), 100 * at("dynamic") / alone);
}

int run(int argc, char** argv) {
  const Status bed = enable_testbed();
  if (!bed.ok()) {
    fmt::print("bench_coop: skipped: {}\n", bed.message());
    return 0;
  }
  const IsaSet isa = usable_isa().value();
  const std::vector<int> cpus = current_affinity();
  if (cpus.size() < 2) {
    fmt::print("bench_coop: skipped: two CPUs are needed\n");
    return 0;
  }
  WorkerPool pool(2, cpus);
  std::map<std::string, uint32_t> planned;
  std::vector<std::unique_ptr<Problem>> problems;
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0}) {
    problems.push_back(std::make_unique<Problem>(dtype, isa));
    Problem* p = problems.back().get();
    const std::string type = traits(dtype).name;
    const auto add = [&](const std::string& name, const MatmulConfig& config) {
      benchmark::RegisterBenchmark((type + "/" + name).c_str(),
                                   [&pool, p, config](benchmark::State& state) {
                                     for (auto _ : state) p->run(pool, config);
                                     state.counters["op/s"] = benchmark::Counter(
                                         2.0 * kM * kN * kK, benchmark::Counter::kIsIterationInvariantRate);
                                   })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    };
    const MatmulConfig matrix{p->matrix, ExecutionMode::kMatrix, 1, 128, kNc, {}};
    const MatmulConfig vector{p->vector, ExecutionMode::kCpu, 1, 128, kNc, {}};
    // The plan's split: in proportion to the sides' rates, measured here once.
    const auto seconds = [&](const MatmulConfig& config) {
      double best = 1e30;
      for (int i = 0; i < 5; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        p->run(pool, config);
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
      }
      return best;
    };
    const double m = 1 / seconds(matrix), v = 1 / seconds(vector);
    const uint32_t split = static_cast<uint32_t>(m / (m + v) * kN / kNc + 0.5) * kNc;
    planned[type] = split;
    add("matrix", matrix);
    add("vector", vector);
    MatmulConfig coop = vector;
    coop.mode = ExecutionMode::kCoop;
    coop.coop = {p->matrix, 1, 128, kNc, SplitDim::kN, 0, false};
    for (int step = -3; step <= 3; ++step) {
      coop.coop.split = split + static_cast<uint32_t>(step * static_cast<int>(kNc));
      add(fmt::format("split:{}", coop.coop.split), coop);
    }
    coop.coop.split = split;
    coop.coop.dynamic = true;
    add("dynamic", coop);
  }
  std::vector<char*> arguments(argv, argv + argc);
  std::string defaults[] = {"--benchmark_enable_random_interleaving=true", "--benchmark_repetitions=7",
                            "--benchmark_min_time=0.15", "--benchmark_report_aggregates_only=true"};
  for (std::string& d : defaults) arguments.insert(arguments.begin() + 1, d.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  Reporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  for (const auto& [type, split] : planned) summary(reporter.medians, type, split);
  return 0;
}

}  // namespace
}  // namespace smepilot

int main(int argc, char** argv) {
  return smepilot::run(argc, argv);
}
