// What was measured about a machine: peaks, bandwidths and fixed costs, each with its raw samples. Plain data: made by
// calibrate(), stored by the database, read by the roofline.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/abi/execution_mode.h"
#include "kernels/abi/operator_shape.h"

namespace smepilot {

// Peak compute rate of all `workers` together. A multiply-add counts as two operations, whatever its type. Rates are
// ceilings, and interference only ever lowers one: so their value is the 90th percentile of the samples. Costs are what
// one usually pays: their value is the median.
struct Peak {
  ExecutionUnit unit = ExecutionUnit::kCpu;
  std::string dtype;  // of the multiplied elements: f32 f16 bf16 int8
  std::string isa;    // the one ISA step, as in kIsaNames: "avx512vnni", "portable"
  unsigned workers = 1;
  double gflops = 0;  // 90th percentile of samples
  std::vector<double> samples;
};

// Rate at which `workers` workers together read (a sum), write (a fill) or copy memory, each its own buffer.
struct Bandwidth {
  std::string level;  // L1 L2 LLC DRAM
  std::string op;     // read write copy
  unsigned workers = 1;
  uint64_t working_set_bytes = 0;  // of all workers together; for copy, source and destination
  double gbps = 0;  // 1e9 bytes per second, 90th percentile of samples; copy counts bytes read plus written
  std::vector<double> samples;
};

// What both units reach while both work, each with workers of its own: their ceilings in cooperative execution. Of each
// side, its own rate until it has done its part; as with Peak and Bandwidth, the 90th percentile of its samples.
struct CoopPeak {
  std::string matrix_dtype, matrix_isa;
  unsigned matrix_workers = 1;
  double matrix_gflops = 0;
  std::vector<double> matrix_samples;
  std::string cpu_dtype, cpu_isa;
  unsigned cpu_workers = 1;
  double cpu_gflops = 0;
  std::vector<double> cpu_samples;
};

struct CoopBandwidth {  // both sides read
  std::string level;
  unsigned matrix_workers = 1;
  double matrix_gbps = 0;
  std::vector<double> matrix_samples;
  unsigned cpu_workers = 1;
  double cpu_gbps = 0;
  std::vector<double> cpu_samples;
};

// An empty parallel region: from the call of WorkerPool::run to its return. And WorkerPool::barrier within one.
struct ForkJoin {
  unsigned workers = 1;
  double ns = 0;  // median of samples
  std::vector<double> samples;
  double barrier_ns = 0;  // median; 0: not measured
};

// What a kernel keeps of the ceilings when it executes real operators: as fractions of its unit's peak, where
// arithmetic bounds it, and of the memory's read rate, where that does. Fitted on operators that nothing is judged on.
struct KernelEfficiency {
  OpKind kind = OpKind::kMatmul;
  DType dtype = DType::kF32;  // of the weights, or of the KV cache
  std::string variant;        // id
  unsigned workers = 1;
  double compute = 0;  // 0: not measured
  double memory = 0;   // 0: not measured
};

// An operator call that was timed through the driver, as search does it, and what the roofline says about it.
struct TimedOperator {
  OperatorShape shape = {};
  std::string variant;
  unsigned workers = 1;
  bool held_out = false;  // judges the fitted model. Else the model was fitted on it, and the price is without it
  double predicted_ns = 0;
  double measured_ns = 0;  // median of samples
  std::vector<double> samples;
  double error() const noexcept { return predicted_ns / measured_ns - 1; }  // negative: it promised too much
};

// The rate of a short reference kernel on one core between the steps: how steady the clock was. 0: not measured.
struct ClockRecord {
  double first_gflops = 0, last_gflops = 0;
  double lowest_gflops = 0, highest_gflops = 0;
  double tolerance = 0;   // fraction: what is no drift, because the kernel differs from itself by as much
  double cooldown_s = 0;  // spent waiting until the rate came back
  unsigned repeated = 0;  // steps measured again because the rate fell meanwhile
};

struct Calibration {
  int64_t id = 0;       // row in the database, 0: not stored
  std::string created;  // ISO 8601, UTC
  bool quick = false;
  std::vector<Peak> peaks;  // by worker count, for each (unit, dtype, isa)
  std::vector<Bandwidth> bandwidths;
  std::vector<ForkJoin> fork_join;
  std::vector<CoopPeak> coop_peaks;            // empty where there is no matrix unit, or only one core
  std::vector<CoopBandwidth> coop_bandwidths;  // likewise, and where no probe of this build reads by the matrix unit
  std::vector<KernelEfficiency> kernels;       // empty: kernels are priced as if they reached the ceilings
  std::vector<TimedOperator> operators;        // that `kernels` was fitted on, and those that judge it
  ClockRecord clock;
  double noise_floor = 0;    // fraction: 95th percentile of |ratio - 1| of a kernel against itself in ABBA pairs
  double exp_geps = 0;       // 1e9 exponentials per second of one worker, best ISA step
  double pack_gbps = 0;      // 1e9 bytes (of q4_0 file format) packed per second by one worker; 0: not measured
  double lhs_pack_gbps = 0;  // of activations: 1e9 bytes (of f32 rows, and of the form) per second, likewise
  double streaming_ns = 0;   // median: entering and leaving SME streaming mode; 0: not measured, or there is none
  double busy_fraction = 0;  // share of the CPU time wanted that something else took, 0 .. 1
  double seconds = 0;        // how long calibration took
};

}  // namespace smepilot
