// What actually ran: per operator role and phase, the configuration, calls, time, work and traffic, and what share of
// the machine's calibrated peaks that is. Rows are merged as they are recorded; recording is off unless --stats asks
// for it. Rows that differ in the number of their tokens only are one row.
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
  const KernelVariant* matrix = nullptr;  // kCoop: the matrix unit's, beside `variant` of the cores
  unsigned matrix_workers = 0;            // of those
  unsigned all_workers() const noexcept { return workers + matrix_workers; }
};

// Of a group of operators that ran together but were configured apart, as the experts of a layer by their tokens: those
// that were configured alike.
struct OperatorPart {
  Execution execution;
  uint32_t m_min = 0, m_max = 0;
  uint64_t operators = 0;
  double flops = 0;
};

struct OperatorStats {
  Execution execution;  // of a mixed group, its first operator's
  StatsPhase phase = StatsPhase::kPrefill;
  uint32_t m_min = 0, m_max = 0;  // rows of an operator
  uint64_t calls = 0;
  double ns = 0, flops = 0, bytes = 0;
  double roofline_ns = 0;  // what the ceilings alone (peak, bandwidth) allow for the same calls; 0: no calibration
  double peak_ns = 0;      // what the calibrated int8 peak would take for them; 0: not int8, no calibration
  std::vector<OperatorPart> parts;  // of a mixed group; else empty
};

// Packings beyond the one that a producer does for its consumers anyway, because these read different forms.
struct Conversions {
  uint64_t activations = 0;
  double ns = 0;
  uint64_t weights = 0;  // operators that did not find their weights (or cache) in the layout that they read
  uint64_t priced = 0;   // of activations, as many as follow from the plan
  double priced_ns = 0;  // what the roofline says they cost; 0: no calibration
  // What matmuls would pack beyond that if each packed its own operand: those that share a form another one reads, and
  // those whose form the producer made in passing. Without those among experts, which depend on their rows.
  uint64_t avoided = 0;
  double avoided_ns = 0;  // what the roofline says they would cost; 0: no calibration
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
  Conversions conversions = {};
};

// As in Stats::json(): {"count": …, "ns": …, "priced": …, "priced_ns": …, "avoided": …, "avoided_ns": …, "weights": …}.
std::string conversions_json(const Conversions& conversions);

class Stats {
 public:
  // `roofline` may be nullptr; it must outlive the Stats.
  explicit Stats(const Roofline* roofline = nullptr) : roofline_(roofline) {}

  // A forward pass of `tokens` rows begins: what is recorded from here on is of this phase. priced: the conversions
  // that the plan makes necessary.
  void begin_pass(StatsPhase phase, uint32_t tokens, const Conversions& priced = {}) noexcept;
  // One call (or group of calls executed together) that took ns. `shapes` are its operators.
  void record(const Execution& execution, std::span<const OperatorShape> shapes, double ns);
  // The same of operators that each have a configuration: as many as shapes, of one role.
  void record(std::span<const Execution> executions, std::span<const OperatorShape> shapes, double ns);
  void record_conversion(double ns) noexcept;
  void record_weight_conversion() noexcept;

  const Roofline* roofline() const noexcept { return roofline_; }
  const std::vector<OperatorStats>& rows() const noexcept { return rows_; }
  PhaseSummary summary(StatsPhase phase) const;
  void clear() noexcept;

  // Rows sorted by time and a line for each phase; or the same as JSON, with further members ("\"name\": value").
  std::string table() const;
  std::string json(const std::string& more = "") const;

 private:
  struct Passes {
    uint64_t count = 0, tokens = 0;
    Conversions conversions;
  };
  OperatorStats& row(const Execution& execution, bool mixed, uint32_t m);
  void add(OperatorStats& row, const Execution& execution, const OperatorShape& shape) const;

  std::vector<OperatorStats> rows_;
  Passes passes_[2];
  StatsPhase phase_ = StatsPhase::kPrefill;
  const Roofline* roofline_;
};

}  // namespace smepilot
