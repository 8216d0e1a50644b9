// The roofline: what an operator call costs at least on the calibrated machine. Prices candidates before they are
// measured, and judges what was measured afterwards.
//
//   c = flops / (P * e_compute), m = bytes / (B * e_memory)
//   ns = max(c, m) + exposed * min(c, m) + fork/join (+ entering streaming mode)
//
// P, B: calibrated at the call's worker count. e: what the kernel keeps of them on real operators, likewise; 1 where
// that was not measured. exposed: which share of the shorter time the kernel does not hide behind the longer one (a
// core that waits for a line has few others under way, unless its loads run ahead of its arithmetic); 0 where not
// measured.
//
// Both units together (mode kCoop) have ceilings of their own: what each keeps while the other one works.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/abi/kernel_variant.h"
#include "kernels/abi/operator_shape.h"
#include "profiles/calibration.h"
#include "profiles/platform.h"

namespace smepilot {

struct Price {
  double ns = 0;  // max(compute, memory) + exposed + overhead
  double compute_ns = 0;
  double memory_ns = 0;
  double exposed_ns = 0;   // of the shorter of both, not hidden behind the longer
  double overhead_ns = 0;  // fork/join, entering streaming mode
  double roof_gflops = 0;  // min(P, B*I): the ceilings themselves, which no execution of this call can exceed
  double roof_gbps = 0;    // B: bandwidth of `level` at this worker count
  std::string level;       // where its operands are read from: L1 L2 LLC DRAM
  const char* bound = "";  // "compute", "memory" or "overhead": the largest of the three
};

// Where an operator lies under the rooflines of the machine's execution modes: below the ridge point of every one of
// them (memory decides, and modes differ by what they read at), above all of them (arithmetic decides), or between,
// where the choice of the mode decides what bounds it.
enum class Regime : uint8_t { kMemoryBound, kRidgeCrossing, kComputeBound };
const char* regime_name(Regime regime) noexcept;  // "memory-bound" "ridge-crossing" "compute-bound"

// The roofline of one execution mode: R = min(P, B * I) for an operator of I operations per byte.
struct Ceiling {
  ExecutionMode mode = ExecutionMode::kCpu;
  double gflops = 0;  // P: peak of the type that the mode multiplies; both units together while both work
  double gbps = 0;    // B: read from DRAM (or where RooflineOptions::resident_bytes lie)
  double ridge() const noexcept { return gflops / gbps; }  // intensity from which on it is bound by compute
  double roof(double intensity) const noexcept { return gflops < gbps * intensity ? gflops : gbps * intensity; }
};

// The two sides of a coop call.
struct CoopSides {
  const KernelVariant* matrix = nullptr;
  unsigned matrix_workers = 1;
  const KernelVariant* cpu = nullptr;
  unsigned cpu_workers = 1;
};

// How much of it is the matrix unit's. Dynamic: whoever is done first takes over, so both end together.
struct CoopDivision {
  double share = 0.5;
  bool dynamic = false;
};

struct RooflineOptions {
  // Bytes that go through the caches between two calls of the same operator: the weights of the whole model while it
  // is run, or one operator's operands while it is timed alone and warm. They decide the level; 0: DRAM.
  uint64_t resident_bytes = 0;
};

// The element type that a variant multiplies: "int8" where activations are quantised; for bf16 and f16 weights their
// own type on a matrix unit or an ISA step that multiplies it ("bf16" for both on AMX); else "f32" (vector kernels
// convert f16 and bf16 weights, and the f16 KV cache).
std::string_view compute_dtype(const OperatorShape& shape, const KernelVariant& variant) noexcept;

class Roofline {
 public:
  // Calibration of this very platform, which supplies the cache sizes. An empty calibration prices everything at
  // infinity.
  Roofline(const Calibration& calibration, const Platform& platform, const RooflineOptions& options = {});

  // Price of one call by this variant. Infinite where the calibration has no peak for its unit.
  Price price(const OperatorShape& shape, const KernelVariant& variant, unsigned workers) const;

  // Price of one matmul that both units execute, and the share of the matrix unit with which both end together: the
  // paper's P_matrix / (P_matrix + P_cpu) where it is bound by compute. NaN without data.
  Price coop_price(const OperatorShape& shape, const CoopSides& sides, const CoopDivision& division) const;
  double coop_share(const OperatorShape& shape, const CoopSides& sides) const;
  // Price of attention as a pipeline: products on the matrix unit, exponentials on the cores, the slower of them.
  Price pipeline_price(const OperatorShape& shape, const CoopSides& sides) const;

  // The rooflines of every mode that can execute `shape` with so many workers in all: cpu with all of them, the matrix
  // unit with one for each unit, both with one for each unit and the rest. Modes without data are left out.
  std::vector<Ceiling> ceilings(const OperatorShape& shape, unsigned workers) const;
  // Compared with all of them; without any data memory-bound.
  Regime regime(const OperatorShape& shape, unsigned workers) const;

  // Best calibrated peak of the unit in this dtype among ISA steps within `isa`, with `workers` workers; a count that
  // was not measured is interpolated, beyond the last one it stays flat. 0: none.
  double peak_gflops(ExecutionUnit unit, std::string_view dtype, IsaSet isa, unsigned workers) const;
  // The same over every ISA step.
  double peak_gflops(ExecutionUnit unit, std::string_view dtype, unsigned workers) const;
  // Bandwidth of a level ("L1" "L2" "LLC" "DRAM"; a level without data answers as the next one) for "read", "write",
  // "copy". 0: none.
  double bandwidth_gbps(std::string_view level, std::string_view op, unsigned workers) const;
  double fork_join_ns(unsigned workers) const;

  // What reading m rows of k activations and writing them in the form `to` costs where up to `workers` workers share
  // its panels: what they pack at, or the rate at which the memory level that both lie in copies, whichever is slower.
  // 0: rows are no form of their own, or the calibration knows neither rate.
  double packing_ns(Layout to, uint32_t m, uint32_t k, unsigned workers) const;

  // Operations per byte at which a kernel reading from `level` becomes compute bound: P / B(read). 0: no data.
  double ridge(std::string_view dtype, unsigned workers, std::string_view level,
               ExecutionUnit unit = ExecutionUnit::kCpu) const;

  // The level that `bytes` shared evenly by `workers` workers live in.
  std::string level_for(uint64_t bytes, unsigned workers) const;

  const Calibration& calibration() const noexcept { return calibration_; }

 private:
  // What both sides reach while both work. Where that was not measured, what they reach alone.
  struct CoopRates {
    double matrix_gflops = 0, cpu_gflops = 0;
    double matrix_gbps = 0, cpu_gbps = 0;              // their parts of what both read together
    double matrix_alone_gbps = 0, cpu_alone_gbps = 0;  // no side reads faster than this
    std::string level;
  };
  CoopRates coop_rates(const OperatorShape& shape, const CoopSides& sides) const;
  // What both kernels keep of these rates.
  CoopRates kept_rates(CoopRates ceilings, const OperatorShape& shape, const CoopSides& sides) const;
  double entry_ns(const KernelVariant& variant) const noexcept;  // into streaming mode, for those that use it
  struct Efficiency {
    double compute = 1, memory = 1, exposed = 0;
  };
  void find_exposures();
  Efficiency efficiency(const OperatorShape& shape, const KernelVariant& variant, unsigned workers) const;
  double variant_peak(const OperatorShape& shape, const KernelVariant& variant, unsigned workers,
                      std::string_view* dtype = nullptr) const;

  // What `workers` read at when `resident_bytes` go round: between the largest set measured in the last level cache
  // and the set that stands for DRAM, a part hits and a part misses.
  double read_gbps(uint64_t resident_bytes, unsigned workers, std::string* level) const;

  Platform platform_;
  Calibration calibration_;
  RooflineOptions options_;
  struct Exposure {
    DType dtype;
    std::string variant;
    unsigned workers;
    double share;
  };
  std::vector<Exposure> exposures_;  // of matmul kernels, from the operators that taught
  std::vector<IsaSet> peak_isa_;     // of calibration_.peaks, parsed
  uint64_t llc_bytes_ = 0;           // largest working set measured at LLC, 0: none
  uint64_t dram_bytes_ = 0;          // smallest measured at DRAM
};

}  // namespace smepilot
