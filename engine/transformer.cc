#include "engine/transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/base/check.h"
#include "kernels/base/integer.h"
#include "kernels/reference/dequantize.h"
#include "profiles/timer.h"

namespace smepilot {
namespace {

// Hands out 64-byte aligned pieces of a buffer, or only adds up what is wanted while there is no buffer yet.
class Carver {
 public:
  explicit Carver(std::byte* base) : base_(base) {}
  template <typename T>
  void take(T** out, size_t count) {
    if (base_ != nullptr) *out = reinterpret_cast<T*>(base_ + used_);
    used_ += (count * sizeof(T) + 127) / 64 * 64;
  }
  size_t used() const noexcept { return used_; }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

// Measures a piece of the pass for the statistics, if there are any.
class Timing {
 public:
  explicit Timing(Stats* stats) : stats_(stats), begin_(stats != nullptr ? now_ns() : 0) {}
  void done(const char* role, const KernelVariant* variant, ExecutionMode mode, unsigned workers,
            const OperatorShape* shapes, size_t count) const {
    if (stats_ == nullptr) return;
    stats_->record(role, variant, mode, workers, shapes, count, static_cast<double>(now_ns() - begin_));
  }

 private:
  Stats* stats_;
  int64_t begin_;
};

OperatorShape shape_of(const MatmulCall& call) {
  return {OpKind::kMatmul, call.rhs->dtype, call.lhs.m, call.rhs->n, call.rhs->k, 0, 0};
}

void add_bias(float* row, const float* bias, uint32_t count) noexcept {
  if (bias == nullptr) return;
  for (uint32_t i = 0; i < count; ++i) row[i] += bias[i];
}

}  // namespace

Result<Transformer> Transformer::create(const ModelFile& file, const Weights& weights, const Dispatch& dispatch,
                                        WorkerPool& pool, uint32_t max_batch, uint32_t capacity) {
  Transformer t;
  t.file_ = &file;
  t.weights_ = &weights;
  t.dispatch_ = &dispatch;
  t.pool_ = &pool;
  t.max_batch_ = max_batch;
  t.capacity_ = round_up(capacity, kPanel);
  const auto id = [&](const PackedMatrix& m) { return m.n == 0 ? 0 : dispatch.matrix_id(m.dtype, m.n, m.k); };
  for (const LayerWeights& w : weights.layers) {
    const bool moe = !w.expert_gate.empty();
    t.ids_.push_back({id(w.attn_q), id(w.attn_k), id(w.attn_v), id(w.attn_output),
                      id(moe ? w.expert_gate[0] : w.ffn_gate), id(moe ? w.expert_up[0] : w.ffn_up),
                      id(moe ? w.expert_down[0] : w.ffn_down), id(w.router)});
  }
  t.output_id_ = id(weights.output);

  const HyperParameters& hp = file.hyper;
  const size_t m = max_batch, d = hp.embedding, heads = size_t{hp.heads} * hp.head_dim;
  const size_t kv = size_t{hp.kv_heads} * hp.head_dim, half = hp.rope_dims / 2;
  const size_t used = hp.experts == 0 ? 1 : hp.experts_used;
  const size_t ff = hp.experts == 0 ? hp.feed_forward : hp.expert_feed_forward, rows = m * used;
  for (int pass = 0; pass < 2; ++pass) {
    Carver carver(pass == 0 ? nullptr : t.arena_.data());
    carver.take(&t.x_, m * d);
    carver.take(&t.norm_, m * d);
    carver.take(&t.q_, m * heads);
    carver.take(&t.k_, m * kv);
    carver.take(&t.v_, m * kv);
    carver.take(&t.attn_, m * heads);
    carver.take(&t.proj_, m * d);
    carver.take(&t.gate_, rows * ff);
    carver.take(&t.up_, rows * ff);
    carver.take(&t.rope_, t.capacity_ * 2 * half);
    carver.take(&t.q8_, lhs_q8_bytes(rows, std::max({d, heads, ff}) + kQ8Block));
    carver.take(&t.attn_scratch_, attention_scratch_bytes(pool.size(), max_batch, hp.heads, t.capacity_, hp.head_dim));
    if (hp.experts != 0) {
      carver.take(&t.expert_out_, rows * d);
      carver.take(&t.router_, m * hp.experts);
      carver.take(&t.expert_q8_, lhs_q8_bytes(rows, d));
      carver.take(&t.expert_in_, rows * d);
    }
    if (pass == 0) {
      SMEPILOT_ASSIGN(t.arena_, AlignedBuffer::allocate(carver.used()));
    }
  }
  t.expert_rows_.resize(rows);
  t.expert_weight_.resize(rows);
  t.expert_first_.resize(hp.experts + size_t{1});
  t.logits_.resize(hp.vocab);

  // Angles in double: positions reach six digits, and the reference's own rounding is not worth copying.
  for (size_t i = 0; i < half; ++i) {
    double frequency = std::pow(static_cast<double>(hp.rope_base), -2.0 * static_cast<double>(i) / hp.rope_dims);
    frequency *= hp.rope_scale;
    if (weights.rope_factors != nullptr) frequency /= weights.rope_factors[i];
    for (size_t pos = 0; pos < t.capacity_; ++pos) {
      t.rope_[(pos * 2) * half + i] = static_cast<float>(std::cos(static_cast<double>(pos) * frequency));
      t.rope_[(pos * 2 + 1) * half + i] = static_cast<float>(std::sin(static_cast<double>(pos) * frequency));
    }
  }
  return t;
}

void Transformer::embed(std::span<const int32_t> tokens) {
  const uint32_t d = file_->hyper.embedding;
  const GgufTensor& table = *file_->token_embd;
  const size_t row_bytes = file_bytes(table.dtype, d);
  for (size_t i = 0; i < tokens.size(); ++i)
    reference::dequantize_row(table.dtype, table.bytes.data() + static_cast<size_t>(tokens[i]) * row_bytes, d,
                              x_ + i * d);
}

LhsOperand Transformer::norm(uint32_t m, const float* weight, const float* residual, uint32_t group) {
  const Timing timing(stats_);
  const uint32_t d = file_->hyper.embedding, panels = ceil_div(m, kPanel);
  const ElementwiseConfig& e = dispatch_->elementwise();
  const float eps = file_->hyper.rms_eps;
  pool_->run(std::min<unsigned>(e.workers, panels), [&](unsigned worker, unsigned workers) {
    for (uint32_t p = worker; p < panels; p += workers) {
      const uint32_t row = p * kPanel, rows = std::min(kPanel, m - row);
      float* x = x_ + size_t{row} * d;
      float* out = norm_ + size_t{row} * d;
      if (residual != nullptr) {
        const float* add = residual + size_t{row} * d;
        for (size_t i = 0; i < size_t{rows} * d; ++i) x[i] += add[i];
      }
      const NormArgs norm_args{x, weight, out, d, d, rows, d, eps};
      e.norm->norm(&norm_args);
      if (group == 0) continue;
      const QuantizeArgs quantize_args{out, d, q8_ + lhs_q8_bytes(row, d), rows, d, group};
      e.quantize->quantize(&quantize_args);
    }
  });
  const OperatorShape shape{OpKind::kNorm, DType::kF32, m, d, d, 0, 0};
  timing.done("norm", nullptr, ExecutionMode::kCpu, std::min<unsigned>(e.workers, panels), &shape, 1);
  return {norm_, d, group != 0 ? q8_ : nullptr, m, d};
}

LhsOperand Transformer::quantise(const float* x, uint32_t m, uint32_t k, uint32_t group) {
  if (group == 0) return {x, k, nullptr, m, k};
  const Timing timing(stats_);
  quantize_lhs(*pool_, dispatch_->elementwise(), x, k, m, k, group, q8_);
  const OperatorShape shape{OpKind::kQuantize, DType::kF32, m, k, k, 0, 0};
  timing.done("quantize", nullptr, ExecutionMode::kCpu, dispatch_->elementwise().workers, &shape, 1);
  return {x, k, q8_, m, k};
}

uint32_t Transformer::q8_group(std::initializer_list<uint32_t> matrix_ids) const {
  uint32_t group = 0;
  for (const uint32_t id : matrix_ids)
    if (const uint32_t wanted = dispatch_->q8_group(id); wanted != 0 && (group == 0 || wanted < group)) group = wanted;
  return group;
}

void Transformer::run_group(const char* role, std::span<const MatmulCall> calls) {
  if (calls.empty()) return;
  const Timing timing(stats_);
  matmul_group(*pool_, calls);
  if (stats_ == nullptr) return;
  constexpr size_t kMost = 512;
  OperatorShape shapes[kMost];
  const size_t count = std::min(calls.size(), kMost);
  for (size_t i = 0; i < count; ++i) shapes[i] = shape_of(calls[i]);
  const MatmulConfig& c = calls[0].config;
  timing.done(role, c.variant, c.mode, c.workers, shapes, count);
}

void Transformer::attention_block(const LayerWeights& w, const LayerIds& id, const LhsOperand& x, const AttentionSequence& sequence,
                                  uint32_t pos, uint32_t m, bool rotated) {
  const HyperParameters& hp = file_->hyper;
  const uint32_t hd = hp.head_dim, heads = hp.heads * hd, kv = hp.kv_heads * hd, half = hp.rope_dims / 2;
  const ElementwiseConfig& e = dispatch_->elementwise();
  const MatmulCall qkv[] = {{dispatch_->matmul(id.q, m), &w.attn_q, x, q_, heads},
                            {dispatch_->matmul(id.k, m), &w.attn_k, x, k_, kv},
                            {dispatch_->matmul(id.v, m), &w.attn_v, x, v_, kv}};
  run_group("attn_qkv", qkv);

  {
    const Timing timing(stats_);
    const unsigned workers = m < kPanel ? 1 : e.workers;
    pool_->run(workers, [&](unsigned worker, unsigned count) {
      for (uint32_t row = worker; row < m; row += count) {
        float* q = q_ + size_t{row} * heads;
        float* k = k_ + size_t{row} * kv;
        add_bias(q, w.attn_q_bias, heads);
        add_bias(k, w.attn_k_bias, kv);
        add_bias(v_ + size_t{row} * kv, w.attn_v_bias, kv);
        if (w.attn_q_norm != nullptr) {
          const NormArgs args{q, w.attn_q_norm, q, hd, hd, hp.heads, hd, hp.rms_eps};
          e.norm->norm(&args);
        }
        if (w.attn_k_norm != nullptr) {
          const NormArgs args{k, w.attn_k_norm, k, hd, hd, hp.kv_heads, hd, hp.rms_eps};
          e.norm->norm(&args);
        }
        if (!rotated) continue;
        const float* table = rope_ + size_t{pos + row} * 2 * half;
        const RopeArgs q_args{q, table, heads, 1, hp.heads, hd, half, hp.rope_interleaved};
        const RopeArgs k_args{k, table, kv, 1, hp.kv_heads, hd, half, hp.rope_interleaved};
        e.rope->rope(&q_args);
        e.rope->rope(&k_args);
      }
    });
    write_kv(*pool_, e.workers, {&sequence, 1}, k_, kv, v_, kv);
    const OperatorShape shape{OpKind::kRope, DType::kF32, m, heads + kv, heads + kv, 0, 0};
    timing.done("rope_kv", nullptr, ExecutionMode::kCpu, workers, &shape, 1);
  }
  {
    const Timing timing(stats_);
    const AttentionConfig& config = dispatch_->attention(m, pos + m);
    attention(*pool_, config, {&sequence, 1}, hp.heads, q_, heads, attn_, heads,
              1.0f / std::sqrt(static_cast<float>(hd)), attn_scratch_);
    const OperatorShape shape{OpKind::kAttention, sequence.own.dtype, m, hp.heads, hd, pos + m, hp.kv_heads};
    timing.done("attention", config.variant, config.mode, config.workers, &shape, 1);
  }
  const LhsOperand out = quantise(attn_, m, heads, q8_group({id.output}));
  const MatmulCall call[] = {{dispatch_->matmul(id.output, m), &w.attn_output, out, proj_, hp.embedding}};
  run_group("attn_output", call);
}

// gate_[rows][cols] = silu(gate_) * up_, and quantised into q8_ where the down projection reads that.
LhsOperand Transformer::swiglu(uint32_t rows, uint32_t cols, uint32_t group) {
  const Timing timing(stats_);
  const ElementwiseConfig& e = dispatch_->elementwise();
  const uint32_t panels = ceil_div(rows, kPanel);
  pool_->run(std::min<unsigned>(e.workers, panels), [&](unsigned worker, unsigned workers) {
    for (uint32_t p = worker; p < panels; p += workers) {
      const uint32_t row = p * kPanel, count = std::min(kPanel, rows - row);
      float* gate = gate_ + size_t{row} * cols;
      const SwigluArgs args{gate, up_ + size_t{row} * cols, gate, cols, cols, cols, count, cols};
      e.swiglu->swiglu(&args);
      if (group == 0) continue;
      const QuantizeArgs quantize_args{gate, cols, q8_ + lhs_q8_bytes(row, cols), count, cols, group};
      e.quantize->quantize(&quantize_args);
    }
  });
  const OperatorShape shape{OpKind::kSwiglu, DType::kF32, rows, cols, cols, 0, 0};
  timing.done("swiglu", nullptr, ExecutionMode::kCpu, std::min<unsigned>(e.workers, panels), &shape, 1);
  return {gate_, cols, group != 0 ? q8_ : nullptr, rows, cols};
}

void Transformer::dense_ffn(const LayerWeights& w, const LayerIds& id, const LhsOperand& x, uint32_t m) {
  const uint32_t ff = w.ffn_gate.n;
  const MatmulCall gate_up[] = {{dispatch_->matmul(id.gate, m), &w.ffn_gate, x, gate_, ff},
                                {dispatch_->matmul(id.up, m), &w.ffn_up, x, up_, ff}};
  run_group("ffn_gate_up", gate_up);
  const LhsOperand h = swiglu(m, ff, q8_group({id.down}));
  const MatmulCall down[] = {{dispatch_->matmul(id.down, m), &w.ffn_down, h, proj_, file_->hyper.embedding}};
  run_group("ffn_down", down);
}

// Each expert is an operator of its own, configured for the number of tokens routed to it. Rows are sorted by expert,
// so an expert's left operand is contiguous; panels of 16 never span two experts.
void Transformer::moe_ffn(const LayerWeights& w, const LayerIds& id, const LhsOperand& x, uint32_t m) {
  const HyperParameters& hp = file_->hyper;
  const uint32_t d = hp.embedding, ff = hp.expert_feed_forward, used = hp.experts_used, experts = hp.experts;
  const ElementwiseConfig& e = dispatch_->elementwise();
  const MatmulCall router[] = {{dispatch_->matmul(id.router, m), &w.router, x, router_, experts}};
  run_group("moe_router", router);

  const Timing routing(stats_);
  const SoftmaxArgs softmax_args{router_, experts, m, experts};
  e.softmax->softmax(&softmax_args);
  std::vector<uint32_t>& first = expert_first_;
  std::fill(first.begin(), first.end(), 0u);
  // chosen[t*used + i]: i-th expert of token t, best first; ties go to the lower index
  std::vector<uint32_t>& chosen = expert_chosen_;
  chosen.resize(size_t{m} * used);
  for (uint32_t t = 0; t < m; ++t) {
    float* p = router_ + size_t{t} * experts;
    float sum = 0;
    for (uint32_t i = 0; i < used; ++i) {
      const auto best = static_cast<uint32_t>(std::max_element(p, p + experts) - p);
      chosen[t * used + i] = best;
      expert_weight_[t * used + i] = p[best];
      sum += p[best];
      p[best] = -1.0f;
      ++first[best + 1];
    }
    for (uint32_t i = 0; i < used; ++i) expert_weight_[t * used + i] /= sum;
  }
  for (uint32_t i = 0; i < experts; ++i) first[i + 1] += first[i];
  // expert_rows_[t*used + i]: the row, sorted by expert, that serves this (token, choice)
  std::vector<uint32_t>& next = expert_next_;
  next.assign(first.begin(), first.end());
  for (uint32_t j = 0; j < m * used; ++j) {
    const uint32_t row = next[chosen[j]]++;
    expert_rows_[j] = row;
    std::memcpy(expert_in_ + size_t{row} * d, norm_ + size_t{j / used} * d, d * sizeof(float));
  }
  const uint32_t in_group = q8_group({id.gate, id.up}), mid_group = q8_group({id.down});
  if (in_group != 0) quantise_experts(expert_in_, d, in_group, expert_q8_);
  routing.done("moe_routing", nullptr, ExecutionMode::kCpu, e.workers, nullptr, 0);

  calls_.clear();
  for (uint32_t i = 0; i < experts; ++i) {
    const uint32_t row = first[i], rows = first[i + 1] - row;
    if (rows == 0) continue;
    const LhsOperand in{expert_in_ + size_t{row} * d, d, in_group != 0 ? expert_q8_ + lhs_q8_bytes(row, d) : nullptr,
                        rows, d};
    calls_.push_back({dispatch_->matmul(id.gate, rows), &w.expert_gate[i], in, gate_ + size_t{row} * ff, ff});
    calls_.push_back({dispatch_->matmul(id.up, rows), &w.expert_up[i], in, up_ + size_t{row} * ff, ff});
  }
  run_group("moe_gate_up", calls_);
  swiglu(m * used, ff, 0);  // its panels would span experts
  if (mid_group != 0) quantise_experts(gate_, ff, mid_group, q8_);
  calls_.clear();
  for (uint32_t i = 0; i < experts; ++i) {
    const uint32_t row = first[i], rows = first[i + 1] - row;
    if (rows == 0) continue;
    const LhsOperand in{gate_ + size_t{row} * ff, ff, mid_group != 0 ? q8_ + lhs_q8_bytes(row, ff) : nullptr, rows, ff};
    calls_.push_back({dispatch_->matmul(id.down, rows), &w.expert_down[i], in, expert_out_ + size_t{row} * d, d});
  }
  run_group("moe_down", calls_);

  const Timing gathering(stats_);
  pool_->run(m < kPanel ? 1 : e.workers, [&](unsigned worker, unsigned workers) {
    for (uint32_t t = worker; t < m; t += workers) {
      float* out = proj_ + size_t{t} * d;
      std::fill_n(out, d, 0.0f);
      for (uint32_t i = 0; i < used; ++i) {
        const float* in = expert_out_ + size_t{expert_rows_[t * used + i]} * d;
        const float weight = expert_weight_[t * used + i];
        for (uint32_t c = 0; c < d; ++c) out[c] += weight * in[c];
      }
    }
  });
  gathering.done("moe_combine", nullptr, ExecutionMode::kCpu, e.workers, nullptr, 0);
}

// Rows sorted by expert to quantised panels that restart at each expert's first row.
void Transformer::quantise_experts(const float* x, uint32_t k, uint32_t group, std::byte* dst) {
  const ElementwiseConfig& e = dispatch_->elementwise();
  const uint32_t experts = file_->hyper.experts, rows = expert_first_[experts];
  pool_->run(rows < kPanel ? 1 : e.workers, [&](unsigned worker, unsigned workers) {
    for (uint32_t i = worker; i < experts; i += workers)
      for (uint32_t row = expert_first_[i]; row < expert_first_[i + 1]; row += kPanel) {
        const uint32_t count = std::min(kPanel, expert_first_[i + 1] - row);
        const QuantizeArgs args{x + size_t{row} * k, k, dst + lhs_q8_bytes(row, k), count, k, group};
        e.quantize->quantize(&args);
      }
  });
}

std::span<const float> Transformer::forward(std::span<const int32_t> tokens, KvCache& cache, Logits logits) {
  const auto m = static_cast<uint32_t>(tokens.size());
  const uint32_t pos = cache.length(), d = file_->hyper.embedding, vocab = file_->hyper.vocab;
  SMEPILOT_DCHECK(m >= 1 && m <= max_batch_ && pos + m <= cache.capacity() && pos + m <= capacity_);
  embed(tokens);
  const float* residual = nullptr;
  for (uint32_t i = 0; i < weights_->layers.size(); ++i) {
    const LayerWeights& w = weights_->layers[i];
    const LayerIds& id = ids_[i];
    const LhsOperand attention_in = norm(m, w.attn_norm, residual, q8_group({id.q, id.k, id.v}));
    const uint32_t rope_free = file_->hyper.rope_free_every;
    attention_block(w, id, attention_in, cache.sequence(i, m), pos, m, rope_free == 0 || (i + 1) % rope_free != 0);
    const bool moe = !w.expert_gate.empty();
    const LhsOperand x = norm(m, w.ffn_norm, proj_, moe ? q8_group({id.router}) : q8_group({id.gate, id.up}));
    if (moe)
      moe_ffn(w, id, x, m);
    else
      dense_ffn(w, id, x, m);
    residual = proj_;
  }
  cache.set_length(pos + m);
  if (logits == Logits::kNone) return {};

  uint32_t rows = m;
  if (logits == Logits::kLast && m > 1) {  // only the last row goes on
    std::memmove(x_, x_ + size_t{m - 1} * d, d * sizeof(float));
    std::memmove(proj_, proj_ + size_t{m - 1} * d, d * sizeof(float));
    rows = 1;
  }
  const LhsOperand x = norm(rows, weights_->output_norm, residual, q8_group({output_id_}));
  if (logits_.size() < size_t{rows} * vocab) logits_.resize(size_t{rows} * vocab);
  const MatmulCall call[] = {{dispatch_->matmul(output_id_, rows), &weights_->output, x, logits_.data(), vocab}};
  run_group("output", call);
  return {logits_.data(), size_t{rows} * vocab};
}

}  // namespace smepilot
