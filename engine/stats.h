// What actually ran: per operator role and M, the configuration, calls, time, work and traffic. Rows are merged as they
// are recorded; recording is a few nanoseconds and off unless --stats asks for it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/abi/kernel_variant.h"
#include "profiles/roofline.h"

namespace smepilot {

struct OperatorStats {
  const char* role = "";                   // attn_qkv, attention, ffn_gate_up, …
  const KernelVariant* variant = nullptr;  // nullptr for element-wise work
  ExecutionMode mode = ExecutionMode::kCpu;
  unsigned workers = 1;
  uint32_t m_min = 0, m_max = 0;  // rows per call
  uint64_t calls = 0;
  double ns = 0, flops = 0, bytes = 0;
  double roofline_ns = 0;  // what the roofline allows for the same calls; 0: no calibration
};

class Stats {
 public:
  // `roofline` may be nullptr; it must outlive the Stats.
  explicit Stats(const Roofline* roofline = nullptr) : roofline_(roofline) {}

  // One call (or group of calls executed together) that took ns. `shapes` are its operators.
  void record(const char* role, const KernelVariant* variant, ExecutionMode mode, unsigned workers,
              const OperatorShape* shapes, size_t count, double ns);

  const std::vector<OperatorStats>& rows() const noexcept { return rows_; }
  void clear() noexcept { rows_.clear(); }

 private:
  std::vector<OperatorStats> rows_;
  const Roofline* roofline_;
};

// A table sorted by time, or the same as JSON.
std::string stats_table(const std::vector<OperatorStats>& rows);
std::string stats_json(const std::vector<OperatorStats>& rows);

}  // namespace smepilot
