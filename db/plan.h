// The plan: for each operator shape of a model, in each range of M, how this machine should execute it. Written by the
// tuner, read by the engine; this header is all that the two share besides kernels/driver.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "db/execution.h"
#include "kernels/abi/kernel_variant.h"
#include "kernels/base/status.h"
#include "profiles/model_shape.h"
#include "profiles/platform.h"

namespace smepilot {

// 1: every entry is of one unit. 2: some are of both. A plan has the lowest version that can express it.
inline constexpr int kPlanVersion = 2;

// One decision. It holds for calls of `kind` with these n, k, dtype (and for attention, kv_heads and a kv_len of at
// most kv_max) whose m lies in [m_min, m_max].
struct PlanEntry {
  OpKind kind = OpKind::kMatmul;
  DType dtype = DType::kF32;
  uint32_t n = 0, k = 0, kv_heads = 0;
  uint32_t m_min = 1, m_max = 1;  // inclusive; UINT32_MAX: no bound
  uint32_t kv_max = 0;            // attention: largest kv_len, UINT32_MAX: no bound; else 0
  ExecutionMode mode = ExecutionMode::kCpu;
  std::string variant;  // id of the kernel variant; kCoop: the vector cores'
  uint16_t workers = 1;
  uint32_t mc = 0, nc = 0;              // matmul blocking
  uint32_t kv_tile = 0, kv_splits = 0;  // attention
  CoopPart coop = {};                   // kCoop only
  uint32_t measured_m = 0;              // the M (and kv_len) at which it was measured
  uint32_t measured_kv = 0;
  double predicted_ns = 0;  // by the roofline
  double measured_ns = 0;   // median; 0: never measured, chosen by the roofline alone
  double default_ns = 0;    // median of the untuned default, measured beside it; 0: not measured
  std::string why;          // one sentence for `plan explain`
};

Candidate candidate_of(const PlanEntry& entry);

struct Plan {
  int version = 1;
  int64_t id = 0;                                             // row in the database, 0 for a file
  std::string fingerprint;                                    // Platform::fingerprint()
  std::vector<std::pair<std::string, std::string>> platform;  // Platform::identity(), to name what differs
  std::string model_name, model_hash;
  std::string variant_set_hash;
  std::string build;     // revision and compiler that made it
  std::string created;   // ISO 8601, UTC
  std::string planner;   // "race", "roofline", …
  unsigned workers = 0;  // the most workers any entry uses, those of the matrix unit among them
  std::vector<PlanEntry> entries;

  // The entry that covers the call, or nullptr.
  const PlanEntry* find(const OperatorShape& shape) const noexcept;
};

// Success if `plan` may drive `model` on `platform` with variant set `hash`; else an error that names the first field
// that differs, with both values.
Status check_plan(const Plan& plan, const Platform& platform, const ModelShape& model, const std::string& hash);

// The untuned default for a call: the most preferred usable variant, all workers, default blocking. It is what runs
// without a plan, and what a plan has to beat. Matrix units that cores share (all but AMX) are left to plans. Error if
// no variant of this build can run the shape. `unit`: only kernels of it.
Result<PlanEntry> default_entry(const OperatorShape& shape, unsigned workers, std::optional<ExecutionUnit> unit = {});

// 2 if an entry is of mode kCoop, else 1.
int version_of(const Plan& plan) noexcept;

// JSON interchange, schema "smepilot-plan/VERSION". Importing checks every field and names the offending one.
std::string plan_to_json(const Plan& plan);
Result<Plan> plan_from_json(const std::string& text, const std::string& source_name);
Result<Plan> read_plan_file(const std::string& path);

}  // namespace smepilot
