// Discrete-event simulation of operators on a machine that is known by a few rates: workers of both units that take
// tasks as the driver's workers do, and one memory that everything in flight shares. What it leaves out, and how well
// it does on published figures, is in docs/simulation.md.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/abi/execution_mode.h"
#include "kernels/abi/operator_shape.h"
#include "profiles/platform_profile.h"

namespace smepilot {

// What a call has of the machine. Arrays are indexed by ExecutionUnit; rates are of all its workers together.
struct SimMachine {
  unsigned workers[2] = {0, 0};
  double gflops[2] = {0, 0};       // while the other unit does not multiply
  double both_gflops[2] = {0, 0};  // while both multiply
  double exp_geps[2] = {0, 0};
  double read_gbps[2] = {0, 0}, write_gbps[2] = {0, 0};  // while the other unit leaves the memory alone
  double both_read_gbps = 0, both_write_gbps = 0;        // of both units together
  double worker_share[2] = {1, 1};                       // of its unit's bandwidth, the most that one worker draws
  double fork_join_ns = 0, barrier_ns = 0;               // 0: not known, and so not counted
};

// A piece of work for one worker: arithmetic with what it reads streaming in beside it, then its results.
struct SimTask {
  const char* name = "";
  uint32_t index = 0, tile = 0;
  double flops = 0, exps = 0, read_bytes = 0, write_bytes = 0;
};

struct SimEvent {
  double begin_ns = 0, end_ns = 0;
  unsigned worker = 0;
  ExecutionUnit unit = ExecutionUnit::kCpu;
  const char* name = "";
  uint32_t index = 0, tile = 0;
};

// Where tasks come from. Workers 0 .. workers[kMatrix]-1 are the matrix unit's, the cores' follow.
class SimWork {
 public:
  SimWork() = default;
  SimWork(const SimWork&) = delete;
  SimWork& operator=(const SimWork&) = delete;
  virtual ~SimWork() = default;
  // False: nothing for it now. Asked again whenever another task has ended.
  virtual bool next(unsigned worker, ExecutionUnit unit, SimTask& task) = 0;
  virtual void done(unsigned worker, ExecutionUnit unit, const SimTask& task) = 0;
};

struct SimResult {
  double ns = 0;               // all of it, overheads included
  double bound_ns = 0;         // what no schedule can beat: arithmetic over all rates, bytes over the bandwidth
  double busy_ns[2] = {0, 0};  // of all workers of a unit
  double memory_ns = 0;        // integral of the memory's utilisation
  double peak_memory = 0;      // largest utilisation at any time, 1: all of its bandwidth
  double flops[2] = {0, 0}, exps[2] = {0, 0};
  double read_bytes = 0, write_bytes = 0;
  uint64_t tasks = 0;
  std::vector<SimEvent> events;  // if they were asked for
};

// Runs until no worker has anything to do, and appends to `result`, from result.ns on.
void run_events(const SimMachine& machine, SimWork& work, bool keep_events, SimResult& result);

// --- operators ---

struct SimMatmul {
  uint32_t m = 1, n = 1, k = 1;
  DType dtype = DType::kF16;  // of the weights
  ExecutionMode mode = ExecutionMode::kCpu;
  uint32_t split = 0;    // kCoop: columns of the matrix unit, 0: with which both end together
  bool dynamic = false;  // kCoop: who is done takes over
  uint32_t mc = 128, nc = 64;
  bool naive_packing = false;  // the cores pack all weights before each call
};

enum class SimPipeline : uint8_t {
  kNone,      // each stage of all tiles before the next one
  kTwoStage,  // scores and softmax overlap, then the values
  kFull,      // all three overlap
};

struct SimAttention {
  uint32_t heads = 1, kv_heads = 1, head_dim = 1, m = 1, kv_len = 1;
  DType dtype = DType::kF16;  // of the KV cache
  bool causal = true;
  ExecutionMode mode = ExecutionMode::kCoop;
  SimPipeline pipeline = SimPipeline::kFull;  // kCoop
  uint32_t rows = 64, kv_tile = 128;          // of a tile
  uint32_t depth = 32;                        // kCoop: tiles in flight
  bool cores_multiply = false;                // kCoop: cores without a softmax to do take values
};

SimResult simulate_matmul(const SimMachine& machine, const SimMatmul& matmul, bool keep_events = false);
SimResult simulate_attention(const SimMachine& machine, const SimAttention& attention, bool keep_events = false);

// The split with which both units end together, a multiple of 16; machine: of kCoop.
uint32_t balanced_split(const SimMachine& machine, uint32_t n);

// The element type that a unit of that machine multiplies such weights, or such a KV cache, in: "f32" "f16" "bf16"
// "int8". As compute_dtype() (profiles/roofline.h), but of kernels that this build need not have.
const char* multiplied_dtype(const PlatformProfile& profile, ExecutionUnit unit, DType dtype);

// --- the machine ---

struct SimNeed {
  std::string who;  // "attn_q (matmul f16 m=1 …)", for the error
  OpKind kind = OpKind::kMatmul;
  DType dtype = DType::kF16;
  ExecutionMode mode = ExecutionMode::kCpu;
  bool cores_multiply = true;                // attention in mode kCoop
  bool writes = true;                        // simulations price what is written, rooflines do not
  double resident_bytes = 0;                 // what goes through the caches between two calls; 0: from DRAM
  unsigned workers = 0, matrix_workers = 0;  // 0: as many as the profile's rates are of
};

// Rates that somebody measured and gives instead of the profile's; 0: the profile's.
struct SimRates {
  double matrix_gflops = 0, cpu_gflops = 0;  // alone; both keep them while both work
  double exp_geps = 0;                       // of the cores
};

// Error: the first field that the profile lacks.
Result<SimMachine> sim_machine(const PlatformProfile& profile, const SimNeed& need, const SimRates& rates = {});

// The timeline in the trace-event format that Perfetto reads, a thread per worker.
std::string sim_trace_json(const SimMachine& machine, const SimResult& result, const std::string& title);

}  // namespace smepilot
