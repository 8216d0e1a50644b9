#include "tuner/simulate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "kernels/abi/layout.h"
#include "tuner/simulate_published.h"

namespace smepilot {
namespace {

constexpr size_t kCpu = 0, kMatrix = 1;

SimMachine machine(unsigned matrix = 2, unsigned cpu = 4) {
  SimMachine m;
  m.workers[kCpu] = cpu;
  m.workers[kMatrix] = matrix;
  m.gflops[kCpu] = 100.0 * cpu;
  m.gflops[kMatrix] = 500.0 * matrix;
  m.both_gflops[kCpu] = 90.0 * cpu;
  m.both_gflops[kMatrix] = 450.0 * matrix;
  m.exp_geps[kCpu] = 0.5 * cpu;
  m.exp_geps[kMatrix] = 0.1 * matrix;
  for (size_t u = 0; u < 2; ++u) {
    m.read_gbps[u] = 100;
    m.write_gbps[u] = 50;
    m.worker_share[u] = 1.0 / std::max(m.workers[u], 1u);
  }
  m.both_read_gbps = 100;
  m.both_write_gbps = 50;
  return m;
}

SimMatmul matmul(ExecutionMode mode) {
  SimMatmul c;
  c.m = 512;
  c.n = 2048;
  c.k = 1024;
  c.mode = mode;
  return c;
}

SimAttention attention(SimPipeline pipeline, ExecutionMode mode = ExecutionMode::kCoop) {
  SimAttention a;
  a.heads = 8;
  a.kv_heads = 2;
  a.head_dim = 64;
  a.m = a.kv_len = 512;
  a.mode = mode;
  a.pipeline = pipeline;
  return a;
}

// Given tasks, one list for each unit.
class ListWork : public SimWork {
 public:
  ListWork(std::vector<SimTask> cpu, std::vector<SimTask> matrix) : lists_{std::move(cpu), std::move(matrix)} {}
  bool next(unsigned, ExecutionUnit unit, SimTask& task) override {
    std::vector<SimTask>& list = lists_[static_cast<size_t>(unit)];
    if (list.empty()) return false;
    task = list.back();
    list.pop_back();
    return true;
  }
  void done(unsigned, ExecutionUnit, const SimTask&) override {}

 private:
  std::vector<SimTask> lists_[2];
};

SimResult run(const SimMachine& m, std::vector<SimTask> cpu, std::vector<SimTask> matrix = {}) {
  ListWork work(std::move(cpu), std::move(matrix));
  SimResult r;
  run_events(m, work, true, r);
  return r;
}

SimTask task(double flops, double read = 0, double write = 0) {
  return {"t", 0, 0, flops, 0, read, write};
}

// --- the engine, against times worked out by hand ---

TEST(SimulateEvents, ArithmeticAloneTakesItsTime) {
  // One worker of four has 100 GFLOP/s: 1e6 operations take 10 us.
  EXPECT_NEAR(run(machine(), {task(1e6)}).ns, 1e4, 1e-6);
  EXPECT_NEAR(run(machine(), {task(1e6), task(1e6), task(1e6), task(1e6)}).ns, 1e4, 1e-6);
  EXPECT_NEAR(run(machine(), {task(1e6), task(1e6), task(1e6), task(1e6), task(1e6)}).ns, 2e4, 1e-6);
}

TEST(SimulateEvents, ReadingOverlapsAndWritingFollows) {
  SimMachine m = machine();
  m.worker_share[kCpu] = 1;
  EXPECT_NEAR(run(m, {task(1e6, 5e5)}).ns, 1e4, 1e-6);         // 5 us of memory beside 10 us of arithmetic
  EXPECT_NEAR(run(m, {task(1e6, 2e6)}).ns, 2e4, 1e-6);         // 20 us of memory
  EXPECT_NEAR(run(m, {task(1e6, 5e5, 1e5)}).ns, 1.2e4, 1e-6);  // and 2 us of writing
}

TEST(SimulateEvents, OneWorkerDrawsNoMoreThanItsShare) {
  EXPECT_NEAR(run(machine(), {task(0, 1e6)}).ns, 4e4, 1e-6);  // a quarter of 100 GB/s
}

TEST(SimulateEvents, MemoryIsDividedAmongWhatIsInFlight) {
  SimMachine m = machine();
  m.worker_share[kCpu] = 1;
  // Two streams of 1 MB at 50 GB/s each; then one at 100 GB/s.
  EXPECT_NEAR(run(m, {task(0, 1e6), task(0, 1e6)}).ns, 2e4, 1e-6);
  EXPECT_NEAR(run(m, {task(0, 1e6), task(0, 2e6)}).ns, 3e4, 1e-6);
  // A stream that wants 10 GB/s gets them, the other one what is left.
  const SimResult r = run(m, {task(1e7, 1e6), task(0, 9e6)});
  EXPECT_NEAR(r.ns, 1e5, 1e-3);
  EXPECT_LE(r.peak_memory, 1 + 1e-9);
}

TEST(SimulateEvents, UnitsThatMultiplyTogetherHaveTheRatesOfBoth) {
  // 10 us at 90 of 100 GFLOP/s while the matrix worker multiplies for longer; then nothing changes for that one.
  const SimResult r = run(machine(), {task(9e5)}, {task(9e6)});
  ASSERT_EQ(r.events.size(), 2u);
  EXPECT_NEAR(r.events[0].end_ns, 1e4, 1e-6);
  // 4.5e6 operations in the first 10 us at 450, 4.5e6 more at 500 GFLOP/s.
  EXPECT_NEAR(r.ns, 1e4 + 9e3, 1e-6);
}

// --- matmul ---

TEST(SimulateMatmul, WorkIsConservedAndNothingBeatsTheBounds) {
  for (const ExecutionMode mode : {ExecutionMode::kCpu, ExecutionMode::kMatrix, ExecutionMode::kCoop})
    for (const bool dynamic : {false, true})
      for (const uint32_t m : {1u, 16u, 500u, 512u}) {
        SimMatmul c = matmul(mode);
        c.m = m;
        c.dynamic = dynamic;
        const SimMachine has = machine();
        const SimResult r = simulate_matmul(has, c, true);
        EXPECT_NEAR(r.flops[0] + r.flops[1], 2.0 * m * 2048 * 1024, 1);
        EXPECT_NEAR(r.write_bytes, 4.0 * m * 2048, 1);
        EXPECT_GE(r.read_bytes, 2.0 * 2048 * 1024);
        EXPECT_GE(r.ns, r.bound_ns * (1 - 1e-9));
        for (size_t u = 0; u < 2; ++u) {  // each side's own arithmetic
          EXPECT_GE(r.ns, r.flops[u] / std::max(has.gflops[u], has.both_gflops[u]) * (1 - 1e-9));
          EXPECT_LE(r.busy_ns[u], r.ns * has.workers[u] * (1 + 1e-9));
        }
        EXPECT_LE(r.peak_memory, 1 + 1e-9);
        EXPECT_LE(r.memory_ns, r.ns * (1 + 1e-9));
        EXPECT_EQ(r.events.size(), r.tasks);
      }
}

TEST(SimulateMatmul, EveryWorkerDoesOneThingAtATime) {
  SimMatmul c = matmul(ExecutionMode::kCoop);
  c.dynamic = true;
  SimResult r = simulate_matmul(machine(), c, true);
  std::stable_sort(r.events.begin(), r.events.end(), [](const SimEvent& a, const SimEvent& b) {
    return std::pair(a.worker, a.begin_ns) < std::pair(b.worker, b.begin_ns);
  });
  for (size_t i = 1; i < r.events.size(); ++i)
    if (r.events[i].worker == r.events[i - 1].worker) {
      EXPECT_GE(r.events[i].begin_ns, r.events[i - 1].end_ns - 1e-9);
    }
}

TEST(SimulateMatmul, OneUnitLeavesTheOtherIdle) {
  EXPECT_EQ(simulate_matmul(machine(), matmul(ExecutionMode::kCpu)).flops[kMatrix], 0);
  EXPECT_EQ(simulate_matmul(machine(), matmul(ExecutionMode::kMatrix)).flops[kCpu], 0);
}

TEST(SimulateMatmul, BothUnitsBeatEachOne) {
  const double cpu = simulate_matmul(machine(), matmul(ExecutionMode::kCpu)).ns;
  const double matrix = simulate_matmul(machine(), matmul(ExecutionMode::kMatrix)).ns;
  EXPECT_LT(simulate_matmul(machine(), matmul(ExecutionMode::kCoop)).ns, std::min(cpu, matrix));
}

// The last task of the slower unit at most.
TEST(SimulateMatmul, DynamicEndIsNeverMuchWorseThanStaticAndMendsABadSplit) {
  const SimMachine has = machine();
  for (const uint32_t split : {256u, 1024u, 1344u, 1424u, 1536u, 1920u}) {
    SimMatmul c = matmul(ExecutionMode::kCoop);
    c.split = split;
    const double fixed = simulate_matmul(has, c).ns;
    c.dynamic = true;
    const double dynamic = simulate_matmul(has, c).ns;
    const double slow_task = 2.0 * c.mc * c.nc * c.k * has.workers[kCpu] / has.both_gflops[kCpu];
    EXPECT_LE(dynamic, fixed + 1.2 * slow_task) << split;
    if (split == 256 || split == 1920) {
      EXPECT_LT(dynamic, 0.9 * fixed) << split;
    }
  }
}

TEST(SimulateMatmul, MoreWorkersAreNeverSlowerByMoreThanAPart) {
  double before = 1e300;
  for (const unsigned workers : {1u, 2u, 4u, 8u, 16u}) {
    const double ns = simulate_matmul(machine(1, workers), matmul(ExecutionMode::kCpu)).ns;
    EXPECT_LE(ns, before * 1.001) << workers;
    before = ns;
  }
}

TEST(SimulateMatmul, NaivePackingReadsAndWritesAllWeightsBefore) {
  for (const ExecutionMode mode : {ExecutionMode::kMatrix, ExecutionMode::kCoop}) {
    SimMatmul c = matmul(mode);
    c.m = 16;
    const SimResult once = simulate_matmul(machine(), c);
    c.naive_packing = true;
    const SimResult each = simulate_matmul(machine(), c);
    const double weights = 2.0 * c.n * c.k;
    EXPECT_NEAR(each.read_bytes - once.read_bytes, weights, 1);
    EXPECT_NEAR(each.write_bytes - once.write_bytes, weights, 1);
    EXPECT_GE(each.ns, once.ns + weights / 100 + weights / 50);
  }
}

TEST(SimulateMatmul, BalancedSplitIsThePapersShareRoundedToTheTile) {
  EXPECT_EQ(balanced_split(machine(), 2048) % kPanel, 0u);
  EXPECT_NEAR(balanced_split(machine(), 2048), 2048 * 900.0 / 1260, kPanel);
}

// --- attention ---

TEST(SimulateAttention, WorkIsConservedInEveryPipeline) {
  const double elements = 8.0 * 512 * 512;
  for (const SimPipeline pipeline : {SimPipeline::kNone, SimPipeline::kTwoStage, SimPipeline::kFull})
    for (const bool helping : {false, true})
      for (const uint32_t depth : {1u, 2u, 7u, 64u}) {
        SimAttention a = attention(pipeline);
        a.causal = false;
        a.depth = depth;
        a.cores_multiply = helping;
        const SimResult r = simulate_attention(machine(), a, true);
        EXPECT_NEAR(r.exps[kCpu], elements, 1);
        EXPECT_EQ(r.exps[kMatrix], 0);
        EXPECT_NEAR(r.flops[kCpu] + r.flops[kMatrix], 4 * elements * 64, 1);
        EXPECT_GE(r.ns, r.bound_ns * (1 - 1e-9));
        EXPECT_LE(r.peak_memory, 1 + 1e-9);
        EXPECT_EQ(r.tasks, 3u * 64 * 4);  // 64 blocks of 64 rows, 4 tiles of 128 positions
        EXPECT_EQ(r.events.size(), r.tasks);
      }
}

// Of a tile: scores, then softmax, then values; softmax and values of a block tile after tile.
TEST(SimulateAttention, StagesKeepTheirOrder) {
  for (const SimPipeline pipeline : {SimPipeline::kNone, SimPipeline::kTwoStage, SimPipeline::kFull}) {
    const SimResult r = simulate_attention(machine(), attention(pipeline), true);
    const auto at = [&](const std::string& name, uint32_t block, uint32_t tile) {
      const auto it = std::find_if(r.events.begin(), r.events.end(), [&](const SimEvent& e) {
        return name == e.name && e.index == block && e.tile == tile;
      });
      EXPECT_NE(it, r.events.end()) << name << block << "/" << tile;
      return it == r.events.end() ? SimEvent{} : *it;
    };
    for (const SimEvent& e : r.events) {
      if (std::string(e.name) != "softmax") continue;
      EXPECT_GE(e.begin_ns, at("scores", e.index, e.tile).end_ns - 1e-9);
      EXPECT_LE(e.end_ns, at("values", e.index, e.tile).begin_ns + 1e-9);
      if (pipeline == SimPipeline::kFull && e.tile > 0) {
        EXPECT_GE(e.begin_ns, at("softmax", e.index, e.tile - 1).end_ns - 1e-9);
      }
    }
  }
}

TEST(SimulateAttention, EachStageOfOverlapHelps) {
  const double none = simulate_attention(machine(), attention(SimPipeline::kNone)).ns;
  const double two = simulate_attention(machine(), attention(SimPipeline::kTwoStage)).ns;
  const double full = simulate_attention(machine(), attention(SimPipeline::kFull)).ns;
  EXPECT_LT(full, two);
  EXPECT_LT(two, none);
}

TEST(SimulateAttention, MaskedTilesAreNeverComputed) {
  SimAttention a = attention(SimPipeline::kFull);
  const SimResult causal = simulate_attention(machine(), a);
  a.causal = false;
  const SimResult all = simulate_attention(machine(), a);
  EXPECT_LT(causal.exps[kCpu], 0.65 * all.exps[kCpu]);
  EXPECT_GE(causal.exps[kCpu], 0.5 * all.exps[kCpu]);
  EXPECT_LT(causal.ns, all.ns);
}

TEST(SimulateAttention, BuffersAndCoresHelp) {
  const auto ns = [](uint32_t depth, unsigned cores) {
    SimAttention a = attention(SimPipeline::kFull);
    a.depth = depth;
    return simulate_attention(machine(2, cores), a).ns;
  };
  EXPECT_GT(ns(1, 4), 1.3 * ns(32, 4));  // one tile in flight: nothing overlaps
  EXPECT_LE(ns(32, 8), ns(32, 4));
  EXPECT_LE(ns(32, 4), ns(32, 2));
}

TEST(SimulateAttention, OneUnitDoesAllOfIt) {
  const SimResult cpu = simulate_attention(machine(0, 4), attention(SimPipeline::kFull, ExecutionMode::kCpu));
  EXPECT_GT(cpu.exps[kCpu], 0);
  EXPECT_GE(cpu.ns, cpu.bound_ns * (1 - 1e-9));
  EXPECT_LE(cpu.ns, 1.1 * cpu.bound_ns);
  const SimResult sme = simulate_attention(machine(2, 0), attention(SimPipeline::kFull, ExecutionMode::kMatrix));
  EXPECT_GT(sme.exps[kMatrix], 0);
  EXPECT_GE(sme.ns, sme.bound_ns * (1 - 1e-9));
}

TEST(Simulate, TwoRunsGiveTheSame) {
  const SimResult a = simulate_attention(machine(), attention(SimPipeline::kFull), true);
  const SimResult b = simulate_attention(machine(), attention(SimPipeline::kFull), true);
  EXPECT_EQ(a.ns, b.ns);
  ASSERT_EQ(a.events.size(), b.events.size());
  for (size_t i = 0; i < a.events.size(); ++i) {
    EXPECT_EQ(a.events[i].begin_ns, b.events[i].begin_ns);
    EXPECT_EQ(a.events[i].worker, b.events[i].worker);
  }
}

TEST(Simulate, TimelineIsATraceWithEveryTask) {
  const SimMachine m = machine();
  const SimResult r = simulate_matmul(m, matmul(ExecutionMode::kCoop), true);
  const auto json = nlohmann::json::parse(sim_trace_json(m, r, "a \"title\""));
  EXPECT_EQ(json["otherData"]["simulated"], "a \"title\"");
  size_t threads = 0, tasks = 0;
  for (const auto& e : json["traceEvents"]) {
    threads += e["ph"] == "M";
    if (e["ph"] != "X") continue;
    ++tasks;
    EXPECT_GE(e["dur"].get<double>(), 0);
    EXPECT_LE(e["ts"].get<double>() + e["dur"].get<double>(), r.ns / 1e3 + 0.01);
  }
  EXPECT_EQ(threads, 6u);
  EXPECT_EQ(tasks, r.tasks);
}

// --- the machine ---

TEST(SimMachineTest, LackingNumbersAreRefusedByName) {
  const Result<PlatformProfile> p = load_platform_profile("apple-m4-pro");
  ASSERT_TRUE(p.ok()) << p.message();
  const auto refused = [&](SimNeed need, const std::string& field) {
    need.who = "the operator";
    const Result<SimMachine> m = sim_machine(*p, need);
    ASSERT_FALSE(m.ok()) << field;
    EXPECT_NE(m.message().find("numbers." + field), std::string::npos) << m.message();
    EXPECT_NE(m.message().find("the operator"), std::string::npos) << m.message();
  };
  SimNeed need;
  need.dtype = DType::kQ4_0;
  refused(need, "compute.cpu.int8");
  need.mode = ExecutionMode::kMatrix;
  refused(need, "compute.matrix.int8");
  need.dtype = DType::kF32;
  need.mode = ExecutionMode::kCoop;
  refused(need, "compute.cpu.f32");
  PlatformProfile less = *p;
  need.dtype = DType::kF16;
  ASSERT_TRUE(sim_machine(less, need).ok());
  for (const char* field : {"compute.coop.f16", "memory.dram.read.coop", "memory.dram.write.matrix"}) {
    less = *p;
    less.numbers[field].clear();
    EXPECT_NE(sim_machine(less, need).message().find(field), std::string::npos) << field;
  }
  need.kind = OpKind::kAttention;
  less = *p;
  less.numbers["exp.cpu"].clear();
  EXPECT_NE(sim_machine(less, need).message().find("exp.cpu"), std::string::npos);
}

TEST(SimMachineTest, M4ProInEachMode) {
  const Result<PlatformProfile> p = load_platform_profile("apple-m4-pro");
  ASSERT_TRUE(p.ok()) << p.message();
  SimNeed need;
  need.mode = ExecutionMode::kCoop;
  const Result<SimMachine> both = sim_machine(*p, need);
  ASSERT_TRUE(both.ok()) << both.message();
  EXPECT_EQ(both->workers[kMatrix], 2u);
  EXPECT_EQ(both->workers[kCpu], 8u);
  EXPECT_NEAR(both->both_gflops[0] + both->both_gflops[1], 4270, 1e-6);
  EXPECT_NEAR(both->both_gflops[1] / both->both_gflops[0], 2920.0 / 1850, 1e-9);
  need.mode = ExecutionMode::kMatrix;
  EXPECT_EQ(sim_machine(*p, need)->workers[kCpu], 0u);
  need.mode = ExecutionMode::kCoop;
  SimRates rates;
  rates.matrix_gflops = 468;
  rates.cpu_gflops = 217;
  EXPECT_EQ(sim_machine(*p, need, rates)->both_gflops[kMatrix], 468);
}

// --- published figures ---

TEST(SimulatePublished, GemmWithinFiveAndPipelineWithinFifteenPercent) {
  const Result<std::vector<PublishedFigure>> figures = published_figures();
  ASSERT_TRUE(figures.ok()) << figures.message();
  const auto of = [&](const std::string& what) {
    for (const PublishedFigure& f : *figures)
      if (f.what.find(what) != std::string::npos) return f;
    ADD_FAILURE() << what;
    return PublishedFigure{};
  };
  for (const char* what : {"both units", "SME only"}) EXPECT_LE(std::abs(of(what).error()), 0.05) << what;
  for (const char* what : {"full pipeline", "two stages", "no pipeline"})
    EXPECT_LE(std::abs(of(what).error()), 0.15) << what;
  EXPECT_LT(of("full pipeline").simulated, of("two stages").simulated);
  EXPECT_LT(of("two stages").simulated, of("no pipeline").simulated);
  // Packing at each call: the published ratio is 3.3.
  const double ratio = of("packed each call").simulated / of("packed once").simulated;
  EXPECT_NEAR(ratio, 1.71 / 0.52, 0.15 * 1.71 / 0.52);
  for (const char* what : {"FP16 rate, 8 cores", "FP16 rate, 2 SME", "FP16 rate, both", "reading, cores",
                           "reading, SME", "reading, both", "batch 1"})
    EXPECT_LE(std::abs(of(what).error()), 0.02) << what;
  for (const char* what : {"Ruler-4k, Llama", "Ruler-8k", "Qwen3-4B", "batch 16"})
    EXPECT_EQ(of(what).error(), 0) << what;
  EXPECT_GT(of("batch 16").simulated, 1.5) << "the gain comes where M crosses the ridge of the cores";
}

}  // namespace
}  // namespace smepilot
