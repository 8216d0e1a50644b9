#include "engine/engine.h"

#include <algorithm>

#include "kernels/isa/isa_detect.h"
#include "kernels/pack/pack_kv.h"

namespace smepilot {
namespace {

constexpr uint32_t kDefaultContext = 4096;
constexpr uint32_t kMaxSequences = 4096;

// CPUs to pin workers to: one per physical core, fast classes first. Empty if there are more workers than that.
std::vector<int> pin_order(const Platform& platform, unsigned workers) {
  std::vector<int> cpus = platform.worker_cpus();
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
  if (options.sequences == 0 || options.sequences > kMaxSequences)
    return error("{} sequences were asked for, 1 to {} are possible", options.sequences, kMaxSequences);
  if (options.kv_type != DType::kF16 && options.kv_type != DType::kQ8_0)
    return error("a KV cache of {} was asked for, f16 and q8_0 are possible", traits(options.kv_type).name);
  if (!kv_dtype_fits(options.kv_type, hp.head_dim))
    return error("{}: a {} KV cache cannot hold heads of {} elements, only multiples of {}; use f16", options.model,
                 traits(options.kv_type).name, hp.head_dim, traits(options.kv_type).block_elems);
  const uint32_t ubatch = std::max(std::clamp<uint32_t>(options.ubatch, 1, e->context_), options.sequences);

  unsigned workers = options.workers;
  if (workers == 0) workers = e->plan_.plan != nullptr ? e->plan_.plan->workers : e->platform_.cores;
  if (workers == 0 || workers > 1024) return error("{} workers were asked for, 1 to 1024 are possible", workers);
  e->pool_ = std::make_unique<WorkerPool>(workers, pin_order(e->platform_, workers));

  SMEPILOT_ASSIGN(const IsaSet isa, usable_isa());
  const Machine machine{isa, workers, e->platform_.matrix_units};
  const Roofline* const roofline = e->plan_.roofline.get();
  Dispatch::Lookup lookup = Dispatch::untuned(workers);
  if (e->plan_.planner != "untuned" && roofline != nullptr) lookup = Dispatch::by_roofline(*roofline, machine);
  if (e->plan_.plan != nullptr) lookup = Dispatch::by_plan(*e->plan_.plan, std::move(lookup), &e->uncovered_);
  if (e->plan_.forced) lookup = Dispatch::forced(*e->plan_.forced, std::move(lookup), machine, roofline);
  SMEPILOT_ASSIGN(e->dispatch_, Dispatch::build(e->shape_, ubatch, e->context_, workers, lookup, options.kv_type));

  e->weights_ = Weights::describe(e->file_);
  const MemoryRequest request{
      e->weights_.packed_bytes(), e->context_, options.sequences, ubatch, workers, options.kv_type,
      e->dispatch_.widest_form()};
  e->need_ = memory_need(hp, request);
  if (!options.force_memory) {
    SMEPILOT_TRY(check_memory(hp, request, options.available ? *options.available : available_memory()));
  }
  SMEPILOT_TRY(e->weights_.load(e->gguf_, *e->pool_, options.cache, progress));

  SMEPILOT_ASSIGN(e->transformer_, Transformer::create(e->file_, e->weights_, e->dispatch_, *e->pool_,
                                                       {ubatch, options.sequences, e->context_}));
  e->rest_.reserve(options.sequences);
  e->pass_.reserve(options.sequences);
  return e;
}

MemoryNeed Engine::memory() const noexcept {
  MemoryNeed memory = need_;
  memory.scratch = scratch_bytes();
  return memory;
}

std::string Engine::mode() const {
  if (!plan_.forced) return "auto";
  return *plan_.forced == ExecutionMode::kMatrix ? platform_.matrix_unit
                                                 : kModeNames[static_cast<size_t>(*plan_.forced)];
}

Result<KvCache> Engine::new_cache(uint32_t capacity) const {
  const HyperParameters& hp = file_.hyper;
  return KvCache::allocate(hp.layers, hp.kv_heads, hp.head_dim, capacity == 0 ? context_ : std::min(capacity, context_),
                           kv_type());
}

Status Engine::check(const SequenceTokens& s) const {
  if (s.tokens.empty()) return error("nothing to evaluate: no tokens");
  if (s.cache->dtype() != kv_type())
    return error("the cache holds {}, this engine computes with {}", traits(s.cache->dtype()).name,
                 traits(kv_type()).name);
  const uint32_t room = std::min(context_, s.cache->capacity());
  if (s.tokens.size() > room || s.cache->length() > room - s.tokens.size())
    return error("the context is full: {} positions hold {} tokens, {} more do not fit (--ctx sets the size)", room,
                 s.cache->length(), s.tokens.size());
  for (const int32_t t : s.tokens)
    if (t < 0 || static_cast<uint32_t>(t) >= vocab())
      return error("token {} is outside the vocabulary of {}", t, vocab());
  return {};
}

Result<std::span<const float>> Engine::evaluate(std::span<const int32_t> tokens, KvCache& cache,
                                                Transformer::Logits logits, const std::atomic<bool>* cancel) {
  using Logits = Transformer::Logits;
  SMEPILOT_TRY(check({&cache, tokens}));
  const size_t rows = ubatch();
  if (logits == Logits::kAll) all_logits_.clear();
  std::span<const float> out;
  for (size_t at = 0; at < tokens.size(); at += rows) {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return error("cancelled");
    const SequenceTokens piece{&cache, tokens.subspan(at, std::min(rows, tokens.size() - at))};
    const bool last = at + piece.tokens.size() == tokens.size();
    out = transformer_->forward({&piece, 1}, logits == Logits::kAll || last ? logits : Logits::kNone);
    if (logits == Logits::kAll) {
      if (last && at == 0) return out;
      all_logits_.insert(all_logits_.end(), out.begin(), out.end());
      out = all_logits_;
    }
  }
  return out;
}

Result<std::span<const float>> Engine::evaluate(std::span<const SequenceTokens> batch,
                                                const std::atomic<bool>* cancel) {
  using Logits = Transformer::Logits;
  if (batch.empty()) return error("nothing to evaluate: no sequences");
  if (batch.size() > sequences())
    return error("{} sequences were given, this engine evaluates up to {} together", batch.size(), sequences());
  size_t total = 0;
  for (const SequenceTokens& s : batch) {
    SMEPILOT_TRY(check(s));
    total += s.tokens.size();
  }
  if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return error("cancelled");
  if (total <= ubatch()) return transformer_->forward(batch, Logits::kLast);

  // Passes of `ubatch` rows: the sequences one after the other, cut where a pass is full.
  rest_.assign(batch.begin(), batch.end());
  all_logits_.resize(batch.size() * vocab());
  for (size_t next = 0; next < rest_.size();) {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return error("cancelled");
    pass_.clear();
    size_t done = next;
    for (size_t i = next, room = ubatch(); i < rest_.size() && room > 0; ++i) {
      SequenceTokens& rest = rest_[i];
      const size_t count = std::min(room, rest.tokens.size());
      pass_.push_back({rest.cache, rest.tokens.first(count)});
      rest.tokens = rest.tokens.subspan(count);
      room -= count;
      if (rest.tokens.empty()) done = i + 1;
    }
    const std::span<const float> rows = transformer_->forward(pass_, done > next ? Logits::kLast : Logits::kNone);
    for (size_t i = next; i < done; ++i)
      std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>((i - next) * vocab()), vocab(),
                  all_logits_.begin() + static_cast<std::ptrdiff_t>(i * vocab()));
    next = done;
  }
  return std::span<const float>(all_logits_);
}

}  // namespace smepilot
