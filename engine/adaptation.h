// Runtime adaptation of a running model: keeps a controller (engine/adapt.h) for every operator in the sense of the
// statistics, a role with its shapes, configures each call as the controller wants it, and hands back what the call
// took. Switched off, the forward pass pays a branch per operator.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/adapt.h"
#include "kernels/driver/operators.h"
#include "profiles/platform.h"

namespace smepilot {

// A matmul of an operator: the plan's entry for it is found by this.
struct AdaptedShape {
  DType dtype = DType::kF32;
  uint32_t n = 0, k = 0;
  bool operator==(const AdaptedShape&) const = default;
};

struct AdaptedOperator {
  std::string role;
  bool attention = false;
  ExecutionMode mode{};                                              // in the plan
  uint32_t octave = 0;                                               // of the rows of all its calls
  std::vector<AdaptedShape> shapes;                                  // none: element-wise work, which no plan knows
  uint32_t m_min = 0, m_max = 0;                                     // rows of a call so far
  uint32_t kv_heads = 0, head_dim = 0;                               // attention: of the model
  uint32_t kv_len = 0;                                               // attention: the longest so far
  double ns = 0, work = 0;                                           // of all calls
  double stage_ns[static_cast<size_t>(PipelineStage::kCount)] = {};  // attention in a pipeline: in these stages
  AdaptController controller;
  AdaptEvent last_change;  // if the current setting is not the plan's
};

// Two workers have changed places.
struct AdaptedPlace {
  PlacementController::Swap swap;
  int cpu_a = 0, cpu_b = 0;  // where they were
};

struct AdaptRecord {
  uint64_t step = 0;    // forward passes begun
  uint32_t number = 0;  // of the change, from 1 on; 0: a trial that changed nothing
  std::string role;
  uint32_t m = 0;
  bool elementwise = false;  // rates are rows per ns, not multiply-accumulates
  AdaptEvent event;
  std::optional<AdaptedPlace> place;  // then m and event mean nothing
};

// Whether workers may exchange these cores: of one kind, and serving the same matrix unit if not every core has one.
bool exchangeable(const Platform& platform, int cpu_a, int cpu_b);

// "step 3, ffn_down m=512: coop, 67 % … -> coop, 50 % …: why; rates; 21.0 ± 3.0 % less time in 8 pairs of calls"
std::string describe(const AdaptRecord& record);
// The same as one line of JSON.
std::string to_json(const AdaptRecord& record);

class Adaptation {
 public:
  using Log = std::function<void(const AdaptRecord&)>;

  // Of the pool's workers, which change places if `platform` is given. log: called for every trial that has ended and
  // every change, between operators.
  explicit Adaptation(WorkerPool& pool, Log log = {}, const Platform* platform = nullptr,
                      const AdaptPolicy& policy = {});

  void begin_step() noexcept { ++step_; }
  // The calls of an operator as they are to be executed now; valid until the next call of a function of this object.
  std::span<const MatmulCall> configure(const char* role, std::span<const MatmulCall> calls);
  AttentionConfig configure(const AttentionConfig& config, std::span<const AttentionSequence> sequences,
                            uint32_t heads);
  // Element-wise work on so many rows: how many of these workers are to do it now.
  unsigned configure(const char* role, unsigned workers, uint32_t rows);
  // What the operator is to be given to measure itself, and the call that says that it has been executed.
  CallTime* time() noexcept { return &time_; }
  void executed();

  uint64_t steps() const noexcept { return step_; }
  uint32_t changes() const noexcept { return changes_; }
  const std::vector<std::unique_ptr<AdaptedOperator>>& operators() const noexcept { return operators_; }
  const std::vector<AdaptRecord>& records() const noexcept { return records_; }  // the last kMostRecords

  // For --stats: what is executed otherwise than the plan says; and as a JSON object.
  std::string table() const;
  std::string json() const;

 private:
  void begin(AdaptedOperator& o, uint32_t rows) noexcept;
  AdaptedOperator& find(const char* role, std::span<const MatmulCall> calls, uint32_t rows);

  void note(AdaptRecord record);
  void watch_places();

  WorkerPool* pool_;
  unsigned workers_;
  Log log_;
  const Platform* platform_;
  AdaptPolicy policy_;
  PlacementController placement_;
  uint64_t measured_ = 0;  // calls
  CallTime time_;
  std::vector<std::unique_ptr<AdaptedOperator>> operators_;
  std::vector<MatmulCall> calls_;  // as configured
  AdaptedOperator* under_way_ = nullptr;
  double work_ = 0;  // of what is under way
  uint32_t m_ = 0;
  uint64_t step_ = 0;
  uint32_t changes_ = 0;
  std::vector<AdaptRecord> records_;
};

}  // namespace smepilot
