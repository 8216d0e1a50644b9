// A made-up machine: every candidate has a true time, samples scatter around it like real ones do (a little noise,
// now and then an interruption), and the clock advances by what was sampled.
#pragma once
#include <functional>
#include <map>
#include <string>

#include "profiles/statistics.h"
#include "tuner/evaluator.h"

namespace smepilot {

class FakeEvaluator final : public Evaluator {
 public:
  explicit FakeEvaluator(uint64_t seed = 1) : rng_(seed) {}

  std::map<std::string, double> truth_ns;         // by describe(candidate)
  double unknown_ns = 10000;                      // of candidates that are not listed
  std::function<double(const Candidate&)> truth;  // in place of both
  double noise = 0.02;                            // standard deviation, relative
  double drift = 0;                               // relative slow-down per second of fake time
  double interruption = 0.03;                     // probability of a sample several times too long
  std::function<double(Rng&)> factor;             // of a sample's time, in place of noise and interruption
  std::map<std::string, CheckResult> failures;    // by variant id
  size_t samples = 0, checks = 0, prepares = 0;
  std::string log;  // one line per sample, for comparing runs
  std::function<void(size_t)> on_sample;

  Status prepare(const OperatorTask&) override {
    ++prepares;
    return {};
  }
  CheckResult check(const Candidate& c) override {
    ++checks;
    const auto it = failures.find(c.variant);
    return it == failures.end() ? CheckResult{} : it->second;
  }
  std::optional<double> sample(const Candidate& c) override {
    const std::string key = describe(c);
    const auto it = truth_ns.find(key);
    double ns = truth ? truth(c) : it == truth_ns.end() ? unknown_ns : it->second;
    ns *= 1 + drift * clock_s_;
    if (factor) {
      ns *= factor(rng_);
    } else {
      ns *= 1 + noise * std::abs(rng_.normal());
      if (rng_.uniform() < interruption) ns *= 2 + 5 * rng_.uniform();
    }
    ++samples;
    clock_s_ += ns * 1e-9;
    log += key + "\n";
    if (on_sample) on_sample(samples);
    return ns;
  }
  double now_s() override { return clock_s_; }

 private:
  Rng rng_;
  double clock_s_ = 0;
};

// A space of the given candidates; entry 0 is the default.
inline SearchSpace fake_space(const std::vector<std::pair<Candidate, double>>& candidates) {
  SearchSpace space;
  space.shape = {OpKind::kMatmul, DType::kF32, 8, 256, 256, 0, 0};
  for (const auto& [candidate, predicted_ns] : candidates) {
    SpaceEntry e;
    e.candidate = candidate;
    e.predicted_ns = predicted_ns;
    e.is_default = space.entries.empty();
    space.entries.push_back(e);
  }
  return space;
}

inline Candidate fake_candidate(const std::string& variant, uint32_t workers = 1, uint32_t nc = 64) {
  Candidate c;
  c.variant = variant;
  c.workers = workers;
  c.mc = 128;
  c.nc = nc;
  return c;
}

}  // namespace smepilot
