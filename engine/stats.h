// What actually ran: per operator role and phase, the configuration, calls, time, work and traffic, and what share of
// the machine's calibrated peaks that is. Rows are merged as they are recorded; recording is off unless --stats asks
// for it.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/abi/kernel_variant.h"
#include "profiles/roofline.h"

namespace smepilot {

// Of a forward pass: with one new token of each sequence, or with more of any.
enum class StatsPhase : uint8_t { kPrefill, kDecode };

// How a call was executed.
struct Execution {
  const char* role = "";                   // attn_qkv, attention, ffn_gate_up, …
  const KernelVariant* variant = nullptr;  // nullptr for element-wise work
  ExecutionMode mode = ExecutionMode::kCpu;
  unsigned workers = 1;
  bool mixed = false;  // operators of a group differ, as experts of different m may: this is the first one's
};

struct OperatorStats {
  Execution execution;
  StatsPhase phase = StatsPhase::kPrefill;
  uint32_t m_min = 0, m_max = 0;  // rows per call
  uint64_t calls = 0;
  double ns = 0, flops = 0, bytes = 0;
  double roofline_ns = 0;  // what the roofline allows for the same calls; 0: no calibration
  double peak_ns = 0;      // what the unit's calibrated int8 peak would take for them; 0: not int8, or no calibration
};

// One phase, all operators together.
struct PhaseSummary {
  uint64_t passes = 0, tokens = 0;
  double ns = 0;                  // all operators
  double matmul_ns = 0;           // matmuls of quantised weights
  double matmul_flops = 0;        // of those
  double matmul_bytes = 0;        // of those
  double bytes = 0;               // weights and KV cache: of all matmuls and attention
  double int8_peak_fraction = 0;  // of matmul_ns that the int8 peak would have taken; 0: no calibration
  double int8_peak_gops = 0;      // of the unit and worker count that did most of it
  double read_gbps = 0;           // calibrated DRAM bandwidth at the same worker count; 0: none
};

class Stats {
 public:
  // `roofline` may be nullptr; it must outlive the Stats.
  explicit Stats(const Roofline* roofline = nullptr) : roofline_(roofline) {}

  // A forward pass of `tokens` rows begins: what is recorded from here on is of this phase.
  void begin_pass(StatsPhase phase, uint32_t tokens) noexcept;
  // One call (or group of calls executed together) that took ns. `shapes` are its operators.
  void record(const Execution& execution, std::span<const OperatorShape> shapes, double ns);

  const std::vector<OperatorStats>& rows() const noexcept { return rows_; }
  PhaseSummary summary(StatsPhase phase) const;
  void clear() noexcept;

  // Rows sorted by time and a line for each phase; or the same as JSON.
  std::string table() const;
  std::string json() const;

 private:
  struct Passes {
    uint64_t count = 0, tokens = 0;
  };
  std::vector<OperatorStats> rows_;
  Passes passes_[2];
  StatsPhase phase_ = StatsPhase::kPrefill;
  const Roofline* roofline_;
};

}  // namespace smepilot
