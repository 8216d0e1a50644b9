// The rates of a profile that a simulated call needs.
#include <fmt/format.h>

#include <algorithm>

#include "tuner/simulate.h"

namespace smepilot {
namespace {

constexpr size_t kCpu = static_cast<size_t>(ExecutionUnit::kCpu);
constexpr size_t kMatrix = static_cast<size_t>(ExecutionUnit::kMatrix);

// Reads fields for one need; the first that lacks sticks.
class Fields {
 public:
  Fields(const PlatformProfile& profile, const SimNeed& need) : profile_(profile), need_(need) {}

  double need(const std::string& field, unsigned workers) {
    Result<double> value = profile_.need(field, need_.who, workers);
    if (!value.ok() && status_.ok()) status_ = value.status();
    return value.ok() ? *value : 0;
  }
  double known(const char* field, unsigned workers) const { return profile_.find(field, workers).value_or(0); }
  const Status& status() const { return status_; }

 private:
  const PlatformProfile& profile_;
  const SimNeed& need_;
  Status status_;
};

// What one worker can draw of what all of its unit can. Where one worker's bandwidth was not published: its equal part.
double worker_share(const PlatformProfile& p, const std::string& field, unsigned workers) {
  const auto it = p.numbers.find(field);
  const bool by_workers = it != p.numbers.end() && !it->second.empty() && it->second.front().workers == 1;
  if (!by_workers || workers == 0) return 1.0 / std::max(workers, 1u);
  return std::min(1.0, *p.find(field, 1) / *p.find(field, workers));
}

struct Workers {
  unsigned cpu = 0, matrix = 0;
};

// As many as the rates are of: those of both units, else those of each, else all cores and one per unit.
Workers workers_for(const PlatformProfile& p, const SimNeed& need, const std::string& cpu_dtype,
                    const std::string& dtype) {
  const auto whole = [&](const char* field) { return static_cast<unsigned>(p.find(field).value_or(0)); };
  const unsigned cores = whole("cores"), units = std::max(whole("matrix.units"), 1u);
  const std::string coop = "compute.coop." + dtype;
  Workers w;
  w.matrix = p.workers_of("compute.matrix." + dtype);
  if (w.matrix == 0 || w.matrix > units) w.matrix = units;
  w.cpu = p.workers_of("compute.cpu." + cpu_dtype);
  if (need.mode == ExecutionMode::kCoop) {
    if (const unsigned beside = p.matrix_workers_of(coop); beside != 0) w.matrix = beside;
    if (const unsigned beside = p.workers_of(coop); beside != 0)
      w.cpu = beside;
    else if (cores > w.matrix)
      w.cpu = std::min(w.cpu == 0 ? cores : w.cpu, cores - w.matrix);
  }
  if (w.cpu == 0) w.cpu = std::max(cores, 1u);
  if (need.workers != 0) w.cpu = need.workers;
  if (need.matrix_workers != 0) w.matrix = need.matrix_workers;
  if (need.mode == ExecutionMode::kCpu) w.matrix = 0;
  if (need.mode == ExecutionMode::kMatrix) w.cpu = 0;
  return w;
}

void set_memory(Fields& in, const PlatformProfile& p, const SimNeed& need, const Workers& w, SimMachine& m) {
  const double cache = p.find("cache.llc").value_or(0);
  const bool cached = need.resident_bytes > 0 && need.resident_bytes <= cache && p.find("memory.llc.read.cpu");
  const std::string level = cached ? "memory.llc." : "memory.dram.";
  if (w.cpu != 0) {
    m.read_gbps[kCpu] = in.need(level + "read.cpu", w.cpu);
    m.worker_share[kCpu] = worker_share(p, level + "read.cpu", w.cpu);
    if (need.writes) m.write_gbps[kCpu] = in.need(level + "write.cpu", w.cpu);
  }
  if (w.matrix != 0) {
    m.read_gbps[kMatrix] = in.need(level + "read.matrix", w.matrix);
    m.worker_share[kMatrix] = worker_share(p, level + "read.matrix", w.matrix);
    if (need.writes) m.write_gbps[kMatrix] = in.need(level + "write.matrix", w.matrix);
  }
  if (need.mode != ExecutionMode::kCoop) return;
  m.both_read_gbps = in.need(level + "read.coop", w.cpu + w.matrix);
  if (need.writes) m.both_write_gbps = in.need(level + "write.coop", w.cpu + w.matrix);
}

}  // namespace

const char* multiplied_dtype(const PlatformProfile& profile, ExecutionUnit unit, DType dtype) {
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) return "int8";
  const bool x86 = profile.isa.find("avx") != std::string::npos;
  if (!x86 || dtype == DType::kF32) return traits(dtype).name;
  if (unit == ExecutionUnit::kMatrix) return profile.matrix_unit == "amx" ? "bf16" : "f32";
  return profile.isa.find("avx512bf16") != std::string::npos ? "bf16" : "f32";
}

Result<SimMachine> sim_machine(const PlatformProfile& profile, const SimNeed& need, const SimRates& rates) {
  const std::string dtype = multiplied_dtype(profile, ExecutionUnit::kMatrix, need.dtype);
  const std::string cpu_dtype = multiplied_dtype(profile, ExecutionUnit::kCpu, need.dtype);
  const Workers w = workers_for(profile, need, cpu_dtype, dtype);
  const bool coop = need.mode == ExecutionMode::kCoop, attention = need.kind == OpKind::kAttention;
  const bool cores_multiply = !coop || !attention || need.cores_multiply;
  Fields in(profile, need);
  SimMachine m;
  m.workers[kCpu] = w.cpu;
  m.workers[kMatrix] = w.matrix;
  if (w.matrix != 0)
    m.gflops[kMatrix] = rates.matrix_gflops > 0 ? rates.matrix_gflops : in.need("compute.matrix." + dtype, w.matrix);
  if (w.cpu != 0 && cores_multiply)
    m.gflops[kCpu] = rates.cpu_gflops > 0 ? rates.cpu_gflops : in.need("compute.cpu." + cpu_dtype, w.cpu);
  std::copy(m.gflops, m.gflops + 2, m.both_gflops);
  if (coop && cores_multiply && rates.matrix_gflops <= 0 && rates.cpu_gflops <= 0) {
    // Only the sum is known: both lose the same fraction of their rates, and with other workers than those of the sum
    // they lose it too.
    const std::string field = "compute.coop." + dtype;
    const double both = in.need(field, 0);
    const unsigned beside = profile.workers_of(field), units = profile.matrix_workers_of(field);
    const double alone = profile.find("compute.matrix." + dtype, units).value_or(0) +
                         profile.find("compute.cpu." + dtype, beside).value_or(0);
    const double kept = alone > 0 ? both / alone : 1;
    for (double& g : m.both_gflops) g *= kept;
  }
  if (attention && w.cpu != 0) m.exp_geps[kCpu] = rates.exp_geps > 0 ? rates.exp_geps : in.need("exp.cpu", w.cpu);
  if (attention && need.mode == ExecutionMode::kMatrix) m.exp_geps[kMatrix] = in.need("exp.matrix", w.matrix);
  set_memory(in, profile, need, w, m);
  if (!in.status().ok()) return in.status();
  m.fork_join_ns = in.known("cost.fork_join", w.cpu + w.matrix);
  m.barrier_ns = in.known("cost.barrier", w.cpu + w.matrix);
  if (w.matrix != 0) m.fork_join_ns += in.known("cost.streaming", 0);
  return m;
}

}  // namespace smepilot
