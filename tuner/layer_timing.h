// The last word on what was chosen operator by operator: the operators of a whole layer, one after the other with
// packing between them, as chosen against untuned. Where the choice turns out slower, the layer's pass stays untuned.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "profiles/platform.h"
#include "profiles/statistics.h"
#include "tuner/search.h"

namespace smepilot {

struct LayerTime {
  std::string name;  // as PassGain::name
  uint32_t m = 0, kv_len = 0;
  double untuned_ns = 0, chosen_ns = 0;  // medians
  Interval ratio = {1, 1};               // 95 %, chosen / untuned, paired by round
  unsigned rounds = 0;
  bool same = false;      // every operator stays untuned: nothing to time
  bool reverted = false;  // the choice was slower, and was taken back
};

struct LayerRules {
  unsigned rounds = 12;
  double budget_s = 6;  // of one pass, after the first six rounds
  double noise = 0.02;
  const std::atomic<bool>* cancel = nullptr;
};

// Rounds of chosen, untuned, untuned, chosen, the smaller of each pair. `run`: one layer, ns. Fewer than six rounds
// (cancelled): an interval that decides nothing.
LayerTime compare_layers(const std::function<double(bool chosen)>& run, const LayerRules& rules);

// The layers of a decode step of one sequence and of the largest prompt batch among `ms`, at the first context, on this
// machine. Where a choice is slower than untuned by more than the noise, with its whole interval, the decisions of that
// pass become the default again. A pass whose operators were not all decided is left out, as is one that needs too much
// memory.
std::vector<LayerTime> confirm_layers(SearchResult& result, const ModelShape& model, const Platform& platform,
                                      std::span<const uint32_t> ms, std::span<const uint32_t> contexts,
                                      const LayerRules& rules);

}  // namespace smepilot
