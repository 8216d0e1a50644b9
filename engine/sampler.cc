#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace smepilot {

Random::Random(uint64_t seed) noexcept {
  for (uint64_t& s : state_) {
    seed += 0x9e3779b97f4a7c15u;
    uint64_t z = seed;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    s = z ^ z >> 31;
  }
}

uint64_t Random::next() noexcept {
  const auto rotate = [](uint64_t x, int k) { return x << k | x >> (64 - k); };
  const uint64_t result = rotate(state_[1] * 5, 7) * 9, t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = rotate(state_[3], 45);
  return result;
}

Result<Sampler> Sampler::create(const SamplerOptions& o) {
  // The negated form also refuses what is not a number.
  if (!(o.temperature >= 0.0f && o.temperature <= 1000.0f))
    return error("temperature is {}, expected 0 to 1000", o.temperature);
  if (!(o.top_p > 0.0f && o.top_p <= 1.0f)) return error("top-p is {}, expected more than 0 and at most 1", o.top_p);
  if (!(o.min_p >= 0.0f && o.min_p <= 1.0f)) return error("min-p is {}, expected 0 to 1", o.min_p);
  if (!(o.repeat_penalty > 0.0f && o.repeat_penalty <= 100.0f)) {
    return error("repetition penalty is {}, expected more than 0 and at most 100", o.repeat_penalty);
  }
  if (o.repeat_window > (1u << 20)) return error("repetition window is {}, expected at most 1048576", o.repeat_window);
  return Sampler(o);
}

void Sampler::accept(int32_t token) {
  if (options_.repeat_window == 0) return;
  if (recent_.size() < options_.repeat_window) {
    recent_.push_back(token);
    return;
  }
  recent_[recent_at_] = token;
  recent_at_ = (recent_at_ + 1) % options_.repeat_window;
}

void Sampler::reset() {
  recent_.clear();
  recent_at_ = 0;
  random_ = Random(options_.seed);
}

float Sampler::penalised(std::span<const float> logits, size_t token) const {
  const float logit = logits[token];
  if (is_recent_[token] == 0) return logit;
  return logit > 0.0f ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
}

int32_t Sampler::sample(std::span<const float> logits) {
  const size_t n = logits.size();
  const bool penalty = options_.repeat_penalty != 1.0f && !recent_.empty();
  is_recent_.resize(std::max(n, is_recent_.size()));
  const auto mark = [&](uint8_t value) {
    for (const int32_t t : recent_) {
      if (t >= 0 && static_cast<size_t>(t) < n) is_recent_[static_cast<size_t>(t)] = value;
    }
  };
  if (penalty) mark(1);
  candidates_.clear();
  if (options_.temperature == 0.0f || options_.top_k == 1) {
    Candidate best = {-std::numeric_limits<float>::infinity(), 0};
    for (size_t i = 0; i < n; ++i) {
      const float logit = penalised(logits, i);
      if (logit > best.logit) best = {logit, static_cast<int32_t>(i)};  // the first of equal ones; never a NaN
    }
    if (penalty) mark(0);
    return best.token;
  }
  candidates_.reserve(n);
  for (size_t i = 0; i < n; ++i) {
    const float logit = penalised(logits, i);
    if (!std::isnan(logit) && logit > -std::numeric_limits<float>::infinity())
      candidates_.push_back({logit, static_cast<int32_t>(i)});
  }
  if (penalty) mark(0);
  if (candidates_.empty()) return 0;

  // Best first, the earlier token among equals: the order must not depend on the library's sort.
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  // Top-p needs the total over all, and then usually a few of the best; those are sorted as they are needed.
  size_t keep = candidates_.size();
  bool shuffled = false;
  if (options_.top_k > 0 && options_.top_k < keep) {
    keep = options_.top_k;
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(keep) - 1, candidates_.end(),
                     better);
    candidates_.resize(keep);
    shuffled = true;
  }
  const float top = std::max_element(candidates_.begin(), candidates_.end(), [](auto& a, auto& b) {
                      return a.logit < b.logit;
                    })->logit;
  const auto weight = [&](float logit, float temperature) {
    if (logit == top) return 1.0;  // also where both are infinite
    return std::exp((static_cast<double>(logit) - static_cast<double>(top)) / static_cast<double>(temperature));
  };
  // Min-p at temperature 1 is a bound on the logit, and what falls below it needs no sorting.
  const double total = [&] {
    double sum = 0;
    if (options_.top_p < 1.0f) {
      for (const Candidate& c : candidates_) sum += weight(c.logit, 1.0f);
    }
    return sum;
  }();
  if (options_.min_p > 0.0f) {
    std::erase_if(candidates_,
                  [&](const Candidate& c) { return weight(c.logit, 1.0f) < static_cast<double>(options_.min_p); });
  }
  size_t sorted = 0;
  const auto sort_more = [&] {
    const size_t to = std::min(candidates_.size(), std::max<size_t>(256, sorted * 4));
    std::partial_sort(candidates_.begin() + static_cast<ptrdiff_t>(sorted),
                      candidates_.begin() + static_cast<ptrdiff_t>(to), candidates_.end(), better);
    sorted = to;
  };
  if (options_.top_p < 1.0f) {
    double sum = 0;
    size_t i = 0;
    while (i < candidates_.size() && sum < static_cast<double>(options_.top_p) * total) {
      if (i == sorted) sort_more();
      sum += weight(candidates_[i++].logit, 1.0f);
    }
    candidates_.resize(std::max<size_t>(i, 1));
  }
  // The draw goes through the candidates in order of tokens where no order was needed, which is as reproducible.
  if (sorted == 0 && shuffled)
    std::sort(candidates_.begin(), candidates_.end(), [](auto& a, auto& b) { return a.token < b.token; });
  weights_.clear();
  double sum = 0;
  for (const Candidate& c : candidates_) weights_.push_back(sum += weight(c.logit, options_.temperature));
  const double at = random_.uniform() * sum;
  const auto it = std::upper_bound(weights_.begin(), weights_.end(), at);
  const size_t index = std::min(static_cast<size_t>(it - weights_.begin()), candidates_.size() - 1);
  return candidates_[index].token;
}

}  // namespace smepilot
