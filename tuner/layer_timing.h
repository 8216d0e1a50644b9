// The last word on what was chosen operator by operator: the operators of a whole layer, one after the other with
// packing between them, as chosen against something else (untuned, or another plan). Where a search's choice turns out
// slower than untuned, the layer's pass stays untuned.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "db/layer_store.h"
#include "profiles/paired.h"
#include "profiles/platform.h"
#include "tuner/search.h"

namespace smepilot {

class WorkerPool;

// Two ways that took turns.
struct Alternation {
  double chosen_ns = 0, other_ns = 0;                 // medians
  PairedRatio ratio;                                  // chosen / other
  std::vector<double> chosen_samples, other_samples;  // ns: the smaller of a round's two
  unsigned rounds() const noexcept { return static_cast<unsigned>(chosen_samples.size()); }
  // The whole interval says that one takes more time than the other, and the estimate by more than `noise` (a
  // fraction).
  bool slower(double noise) const { return ratio.interval.low > 1 && ratio.estimate > 1 + noise; }
  bool faster(double noise) const { return ratio.interval.high < 1 && ratio.estimate < 1 / (1 + noise); }
};

struct LayerRules {
  unsigned rounds = 12;
  double budget_s = 6;  // of one comparison, after the first six rounds
  double noise = 0.02;
  // Called before each round: the fraction done, and what is timed.
  std::function<void(double fraction, std::string_view label)> progress;
  const std::atomic<bool>* cancel = nullptr;
  std::function<void()> begin_round;  // as Evaluator::begin_round()
};

// Rounds of chosen, other, other, chosen and the other way round in turns, the smaller of each pair, after one of each
// that does not count. `run`: one call, ns. Fewer than kLeastPairs rounds (cancelled): an interval that decides
// nothing.
Alternation alternate(const std::function<double(bool chosen)>& run, const LayerRules& rules,
                      const std::string& label = "");

// An operator of a layer and two ways to execute it.
struct LayerOperator {
  std::string role;
  OperatorShape shape = {};
  uint32_t calls = 1;       // per layer
  uint64_t pass_bytes = 0;  // as OperatorTask::pass_bytes
  Candidate chosen, other;
};

// The operators of one layer in the order in which they run, without the output's; of layers that differ in a weight
// type the more frequent kind. Candidates and pass_bytes are the caller's to fill in.
std::vector<LayerOperator> layer_operators(const ModelShape& model, Pass pass, uint32_t m, uint32_t kv_len);

// Times layers on this machine, with all of its workers.
class LayerTimer {
 public:
  explicit LayerTimer(const Platform& platform);
  ~LayerTimer();
  // Nothing: too much memory would be needed, or a kernel is not of this build.
  std::optional<Alternation> time(std::span<const LayerOperator> operators, const LayerRules& rules,
                                  const std::string& label);

 private:
  const Platform& platform_;
  std::unique_ptr<WorkerPool> pool_;
};

// The passes whose layer speaks for the model: a decode step of one sequence and the largest prompt batch among `ms`,
// at the first context.
struct LayerPass {
  Pass pass = Pass::kDecode;
  uint32_t m = 0, kv_len = 0;
};
std::vector<LayerPass> confirmed_passes(std::span<const uint32_t> ms, std::span<const uint32_t> contexts);

struct LayerTime {
  std::string name;  // as PassGain::name
  Pass pass = Pass::kDecode;
  uint32_t m = 0, kv_len = 0;
  Alternation times;
  bool same = false;      // every operator stays untuned: nothing to time
  bool reverted = false;  // the choice was slower, and was taken back
};
LayerTime layer_time_of(const LayerPass& pass);  // as if every operator stayed untuned

// What a layer takes as chosen and untuned; nothing where it cannot be said.
using TimeLayer = std::function<std::optional<Alternation>(const LayerPass&, std::span<const LayerOperator>)>;

// Compares the layers of confirmed_passes() as the search chose them and untuned. Where a choice is slower than untuned
// by more than the noise, with its whole interval, the decisions of that pass become the default again. A pass whose
// operators were not all decided is left out, as is one that `time` says nothing of.
std::vector<LayerTime> confirm_layers(SearchResult& result, const ModelShape& model, std::span<const uint32_t> ms,
                                      std::span<const uint32_t> contexts, double noise, const TimeLayer& time);

// `time` for confirm_layers(): on this machine, progress of all passes together; or from what a search recorded.
TimeLayer on_machine(LayerTimer& timer, const LayerRules& rules, std::span<const LayerPass> passes);
TimeLayer as_recorded(std::vector<LayerTimeRow> rows);

// For the database; passes in which nothing was timed are left out.
std::vector<LayerTimeRow> layer_rows(std::span<const LayerTime> layers, int64_t session_id, int64_t search_id);

}  // namespace smepilot
