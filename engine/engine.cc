#include "engine/engine.h"

#include <algorithm>

#include "kernels/isa/isa_detect.h"

namespace smepilot {
namespace {

constexpr uint32_t kDefaultContext = 4096;

// CPUs to pin workers to: one per physical core, fast classes first. Empty if there are more workers than that.
std::vector<int> pin_order(const Platform& platform, unsigned workers) {
  std::vector<int> cpus;
  for (const CoreClass& c : platform.core_classes) cpus.insert(cpus.end(), c.cpus.begin(), c.cpus.end());
  if (cpus.size() < workers || workers > platform.cores) return {};
  cpus.resize(workers);
  return cpus;
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::open(const EngineOptions& options) {
  std::unique_ptr<Engine> e(new Engine());
  const auto progress = [&](const char* stage, double fraction) {
    if (options.progress) options.progress(stage, fraction);
  };
  SMEPILOT_ASSIGN(e->platform_, detect_platform());
  SMEPILOT_ASSIGN(e->gguf_, GgufFile::open(options.model));
  SMEPILOT_ASSIGN(e->file_, ModelFile::load(e->gguf_));
  e->shape_ = e->file_.shape();
  SMEPILOT_ASSIGN(e->plan_, choose_plan(options.plan, e->platform_, e->shape_));

  const HyperParameters& hp = e->file_.hyper;
  if (options.context > hp.context)
    return error("{}: a context of {} was asked for, the model was trained for {}", options.model, options.context,
                 hp.context);
  e->context_ = options.context != 0 ? options.context : std::min(hp.context, kDefaultContext);
  const uint32_t batch = std::clamp<uint32_t>(options.batch, 1, e->context_);

  unsigned workers = options.workers;
  if (workers == 0) workers = e->plan_.plan != nullptr ? e->plan_.plan->workers : e->platform_.cores;
  if (workers == 0 || workers > 1024) return error("{} workers were asked for, 1 to 1024 are possible", workers);
  e->pool_ = std::make_unique<WorkerPool>(workers, pin_order(e->platform_, workers));

  progress("packing weights", 0);
  SMEPILOT_ASSIGN(e->weights_, Weights::load(e->gguf_, e->file_, *e->pool_,
                                             [&](double fraction) { progress("packing weights", fraction); }));

  SMEPILOT_ASSIGN(const IsaSet isa, usable_isa());
  Dispatch::Lookup lookup = Dispatch::untuned(workers);
  if (e->plan_.planner != "untuned" && e->plan_.roofline != nullptr)
    lookup = Dispatch::by_roofline(*e->plan_.roofline, isa, workers);
  if (e->plan_.plan != nullptr) lookup = Dispatch::by_plan(*e->plan_.plan, std::move(lookup), &e->uncovered_);
  SMEPILOT_ASSIGN(e->dispatch_, Dispatch::build(e->shape_, batch, e->context_, workers, lookup));

  SMEPILOT_ASSIGN(e->transformer_,
                  Transformer::create(e->file_, e->weights_, e->dispatch_, *e->pool_, batch, e->context_));
  return e;
}

Result<KvCache> Engine::new_cache() const {
  const HyperParameters& hp = file_.hyper;
  return KvCache::allocate(hp.layers, hp.kv_heads, hp.head_dim, context_);
}

Result<std::span<const float>> Engine::evaluate(std::span<const int32_t> tokens, KvCache& cache,
                                                Transformer::Logits logits, const std::atomic<bool>* cancel) {
  using Logits = Transformer::Logits;
  if (tokens.empty()) return error("nothing to evaluate: no tokens");
  if (tokens.size() > context_ || cache.length() > context_ - tokens.size())
    return error("the context is full: {} positions hold {} tokens, {} more do not fit (--ctx sets the size)", context_,
                 cache.length(), tokens.size());
  for (const int32_t t : tokens)
    if (t < 0 || static_cast<uint32_t>(t) >= vocab())
      return error("token {} is outside the vocabulary of {}", t, vocab());
  const size_t batch = transformer_->max_batch();
  if (logits == Logits::kAll) all_logits_.clear();
  std::span<const float> out;
  for (size_t at = 0; at < tokens.size(); at += batch) {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return error("cancelled");
    const size_t count = std::min(batch, tokens.size() - at);
    const bool last = at + count == tokens.size();
    out = transformer_->forward(tokens.subspan(at, count), cache,
                                logits == Logits::kAll ? Logits::kAll
                                : last                 ? logits
                                                       : Logits::kNone);
    if (logits == Logits::kAll) {
      if (last && at == 0) return out;
      all_logits_.insert(all_logits_.end(), out.begin(), out.end());
      out = all_logits_;
    }
  }
  return out;
}

}  // namespace smepilot
