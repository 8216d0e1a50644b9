#include "engine/transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/transformer_parts.h"
#include "kernels/base/check.h"
#include "kernels/base/integer.h"
#include "kernels/reference/dequantize.h"

namespace smepilot {
namespace {

void add_bias(float* row, const float* bias, uint32_t count) noexcept {
  if (bias == nullptr) return;
  for (uint32_t i = 0; i < count; ++i) row[i] += bias[i];
}

}  // namespace

Result<Transformer> Transformer::create(const ModelFile& file, const Weights& weights, const Dispatch& dispatch,
                                        WorkerPool& pool, const TransformerLimits& limits) {
  Transformer t;
  t.file_ = &file;
  t.weights_ = &weights;
  t.dispatch_ = &dispatch;
  t.pool_ = &pool;
  t.limits_ = limits;
  t.limits_.capacity = round_up(limits.capacity, kPanel);
  const auto id = [&](const PackedMatrix& m) { return m.n == 0 ? 0 : dispatch.matrix_id(m.dtype, m.n, m.k); };
  bool gathered_f32 = false;
  for (const LayerWeights& w : weights.layers) {
    const bool moe = !w.expert_gate.empty();
    t.ids_.push_back({id(w.attn_q), id(w.attn_k), id(w.attn_v), id(w.attn_output),
                      id(moe ? w.expert_gate[0] : w.ffn_gate), id(moe ? w.expert_up[0] : w.ffn_up),
                      id(moe ? w.expert_down[0] : w.ffn_down), id(w.router)});
    if (moe) gathered_f32 |= dispatch.reads_f32(t.ids_.back().gate) || dispatch.reads_f32(t.ids_.back().up);
  }
  t.output_id_ = id(weights.output);

  Carver sizes(nullptr);
  t.carve(sizes, gathered_f32);
  SMEPILOT_ASSIGN(t.arena_, AlignedBuffer::allocate(sizes.used()));
  Carver pieces(t.arena_.data());
  t.carve(pieces, gathered_f32);

  const HyperParameters& hp = file.hyper;
  t.logits_.resize(size_t{limits.sequences} * hp.vocab);
  t.sequences_.reserve(limits.sequences);
  const size_t routed = size_t{limits.rows} * hp.experts_used;
  t.panels_.reserve(hp.experts == 0 ? 0 : std::min<size_t>(routed, routed / kPanel + hp.experts));
  t.calls_.reserve(2 * size_t{hp.experts});
  t.shapes_.reserve(std::max<size_t>({3, 2 * size_t{hp.experts}, 2 * size_t{limits.sequences}}));
  t.fill_rope_table();
  return t;
}

void Transformer::carve(Carver& carver, bool gathered_f32) {
  const HyperParameters& hp = file_->hyper;
  const size_t m = limits_.rows, d = hp.embedding, heads = size_t{hp.heads} * hp.head_dim;
  const size_t kv = size_t{hp.kv_heads} * hp.head_dim;
  const size_t routed = hp.experts == 0 ? m : m * hp.experts_used;
  const size_t ff = hp.experts == 0 ? hp.feed_forward : hp.expert_feed_forward;
  carver.take(&x_, m * d);
  carver.take(&norm_, m * d);
  carver.take(&q_, m * heads);
  carver.take(&k_, m * kv);
  carver.take(&v_, m * kv);
  carver.take(&attn_, m * heads);
  carver.take(&proj_, m * d);
  carver.take(&gate_, routed * ff);
  carver.take(&up_, routed * ff);
  carver.take(&rope_, size_t{limits_.capacity} * hp.rope_dims);
  carver.take(&q8_, std::max(lhs_q8_bytes(m, std::max(d, heads) + kQ8Block), lhs_q8_bytes(routed, ff + kQ8Block)));
  carver.take(&attn_scratch_,
              attention_scratch_bytes(pool_->size(), limits_.rows, hp.heads, limits_.capacity, hp.head_dim));
  carver.take(&positions_, m);
  if (hp.experts == 0) return;
  carver.take(&expert_out_, routed * d);
  carver.take(&router_, m * hp.experts);
  carver.take(&expert_in_, gathered_f32 ? routed * d : size_t{pool_->size()} * kPanel * d);
  carver.take(&expert_q8_, lhs_q8_bytes(routed, d));
  carver.take(&chosen_, routed);
  carver.take(&expert_weight_, routed);
  carver.take(&expert_rows_, routed);
  carver.take(&routed_token_, routed);
  carver.take(&expert_first_, hp.experts + size_t{1});
  carver.take(&expert_next_, hp.experts);
}

// Angles in double: positions reach six digits, and the reference's own rounding is not worth copying.
void Transformer::fill_rope_table() {
  const HyperParameters& hp = file_->hyper;
  const size_t half = hp.rope_dims / 2;
  for (size_t i = 0; i < half; ++i) {
    double frequency = std::pow(static_cast<double>(hp.rope_base), -2.0 * static_cast<double>(i) / hp.rope_dims);
    frequency *= static_cast<double>(hp.rope_scale);
    if (weights_->rope_factors != nullptr) frequency /= static_cast<double>(weights_->rope_factors[i]);
    for (size_t pos = 0; pos < limits_.capacity; ++pos) {
      rope_[(pos * 2) * half + i] = static_cast<float>(std::cos(static_cast<double>(pos) * frequency));
      rope_[(pos * 2 + 1) * half + i] = static_cast<float>(std::sin(static_cast<double>(pos) * frequency));
    }
  }
}

// Numbers the rows of all sequences through and notes each one's position. Returns how many there are.
uint32_t Transformer::place(std::span<const SequenceTokens> batch) {
  uint32_t row = 0;
  for (const SequenceTokens& s : batch) {
    SMEPILOT_DCHECK(!s.tokens.empty() && s.cache->dtype() == dispatch_->kv_type());
    const uint32_t begin = s.cache->length(), count = static_cast<uint32_t>(s.tokens.size());
    SMEPILOT_DCHECK(row + count <= limits_.rows && begin + count <= s.cache->capacity() &&
                    begin + count <= limits_.capacity);
    for (uint32_t i = 0; i < count; ++i) positions_[row++] = begin + i;
  }
  return row;
}

void Transformer::embed(std::span<const SequenceTokens> batch, uint32_t m) {
  const uint32_t d = file_->hyper.embedding;
  const GgufTensor& table = *file_->token_embd;
  const size_t row_bytes = file_bytes(table.dtype, d);
  pool_->run(m < kPanel ? 1 : dispatch_->elementwise().workers, [&](unsigned worker, unsigned workers) {
    uint32_t row = 0;
    for (const SequenceTokens& s : batch)
      for (const int32_t token : s.tokens)
        if (const uint32_t r = row++; r % workers == worker)
          reference::dequantize_row(table.dtype, table.bytes.data() + static_cast<size_t>(token) * row_bytes, d,
                                    x_ + size_t{r} * d);
  });
}

LhsOperand Transformer::norm(uint32_t m, const float* weight, const float* residual, uint32_t group) {
  const Timing timing(stats_);
  const uint32_t d = file_->hyper.embedding, panels = ceil_div(m, kPanel);
  const ElementwiseConfig& e = dispatch_->elementwise();
  const float eps = file_->hyper.rms_eps;
  const unsigned most = std::min<unsigned>(e.workers, panels);
  pool_->run(most, [&](unsigned worker, unsigned workers) {
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
  timing.done("norm", most, OpKind::kNorm, m, d);
  return {norm_, d, group != 0 ? q8_ : nullptr, Layout::kLhsQ8Panel16, m, d};
}

LhsOperand Transformer::quantise(const float* x, uint32_t m, uint32_t k, uint32_t group) {
  if (group == 0) return {x, k, nullptr, Layout::kRowMajor, m, k};
  const Timing timing(stats_);
  quantize_lhs(*pool_, dispatch_->elementwise(), x, k, m, k, group, q8_);
  timing.done("quantize", dispatch_->elementwise().workers, OpKind::kQuantize, m, k);
  return {x, k, q8_, Layout::kLhsQ8Panel16, m, k};
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
  if (!timing.wanted()) return;
  shapes_.clear();
  const MatmulConfig& first = calls[0].config;
  Execution execution{role, first.variant, first.mode, first.workers};
  for (const MatmulCall& call : calls) {
    shapes_.push_back({OpKind::kMatmul, call.rhs->dtype, call.lhs.m, call.rhs->n, call.rhs->k, 0, 0});
    if (call.config.variant != first.variant) execution.mixed = true;
  }
  timing.done(execution, shapes_);
}

// Biases, the norms of each head, and the rotation, in place, of every row of q_, k_ and v_.
void Transformer::rotate(const LayerWeights& w, uint32_t m, bool rotated) {
  const HyperParameters& hp = file_->hyper;
  const uint32_t hd = hp.head_dim, heads = hp.heads * hd, kv = hp.kv_heads * hd, half = hp.rope_dims / 2;
  const ElementwiseConfig& e = dispatch_->elementwise();
  pool_->run(m < kPanel ? 1 : e.workers, [&](unsigned worker, unsigned workers) {
    for (uint32_t row = worker; row < m; row += workers) {
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
      const float* table = rope_ + size_t{positions_[row]} * 2 * half;
      const RopeArgs q_args{q, table, heads, 1, hp.heads, hd, half, hp.rope_interleaved};
      const RopeArgs k_args{k, table, kv, 1, hp.kv_heads, hd, half, hp.rope_interleaved};
      e.rope->rope(&q_args);
      e.rope->rope(&k_args);
    }
  });
}

// attn_ = attention of q_ over the caches named in sequences_.
void Transformer::attend(uint32_t m) {
  const HyperParameters& hp = file_->hyper;
  const uint32_t hd = hp.head_dim, heads = hp.heads * hd;
  uint32_t most_rows = 0, longest = 0;
  for (const AttentionSequence& s : sequences_) {
    most_rows = std::max(most_rows, s.m);
    longest = std::max(longest, s.shared_length + s.length + s.m);
  }
  AttentionConfig config = dispatch_->attention(most_rows, longest);
  if (sequences_.size() > 1) config.kv_splits = 0;  // tuned for one sequence; several make tasks enough as they are
  const Timing timing(stats_);
  attention(*pool_, config, sequences_, hp.heads, q_, heads, attn_, heads, 1.0f / std::sqrt(static_cast<float>(hd)),
            attn_scratch_);
  if (!timing.wanted()) return;
  shapes_.clear();
  OperatorShape shape{OpKind::kAttention, dispatch_->kv_type(), m, hp.heads, hd, 0, hp.kv_heads};
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const AttentionSequence& s = sequences_[i];
    shape.m = s.m;
    shape.kv_len = s.length + s.m;
    shapes_.push_back(shape);
    if (s.shared_length == 0 || (i > 0 && sequences_[i - 1].shared.k == s.shared.k)) continue;
    shape.m = 0;  // all rows that see this prefix read it together, and none of them sees less than all of it
    for (size_t j = i; j < sequences_.size() && sequences_[j].shared.k == s.shared.k; ++j) shape.m += sequences_[j].m;
    shape.kv_len = s.shared_length + (shape.m - 1) / 2;
    shapes_.push_back(shape);
  }
  timing.done({"attention", config.variant, config.mode, config.workers}, shapes_);
}

void Transformer::attention_block(uint32_t layer, const LhsOperand& x, std::span<const SequenceTokens> batch) {
  const LayerWeights& w = weights_->layers[layer];
  const LayerIds& id = ids_[layer];
  const HyperParameters& hp = file_->hyper;
  const uint32_t m = x.m, heads = hp.heads * hp.head_dim, kv = hp.kv_heads * hp.head_dim;
  const MatmulCall qkv[] = {{dispatch_->matmul(id.q, m), &w.attn_q, x, q_, heads},
                            {dispatch_->matmul(id.k, m), &w.attn_k, x, k_, kv},
                            {dispatch_->matmul(id.v, m), &w.attn_v, x, v_, kv}};
  run_group("attn_qkv", qkv);

  sequences_.clear();
  for (const SequenceTokens& s : batch)
    sequences_.push_back(s.cache->sequence(layer, static_cast<uint32_t>(s.tokens.size())));
  const Timing timing(stats_);
  rotate(w, m, hp.rope_free_every == 0 || (layer + 1) % hp.rope_free_every != 0);
  write_kv(*pool_, dispatch_->elementwise().workers, sequences_, k_, kv, v_, kv);
  timing.done("rope_kv", dispatch_->elementwise().workers, OpKind::kRope, m, heads + kv);
  attend(m);

  const LhsOperand out = quantise(attn_, m, heads, q8_group({id.output}));
  const MatmulCall call[] = {{dispatch_->matmul(id.output, m), &w.attn_output, out, proj_, hp.embedding}};
  run_group("attn_output", call);
}

// gate_[rows][cols] = silu(gate_) * up_, and quantised into q8_ where the down projection reads that.
LhsOperand Transformer::swiglu(uint32_t rows, uint32_t cols, uint32_t group) {
  const Timing timing(stats_);
  const ElementwiseConfig& e = dispatch_->elementwise();
  const uint32_t panels = ceil_div(rows, kPanel);
  const unsigned most = std::min<unsigned>(e.workers, panels);
  pool_->run(most, [&](unsigned worker, unsigned workers) {
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
  timing.done("swiglu", most, OpKind::kSwiglu, rows, cols);
  return {gate_, cols, group != 0 ? q8_ : nullptr, Layout::kLhsQ8Panel16, rows, cols};
}

void Transformer::dense_ffn(const LayerWeights& w, const LayerIds& id, const LhsOperand& x) {
  const uint32_t m = x.m, ff = w.ffn_gate.n;
  const MatmulCall gate_up[] = {{dispatch_->matmul(id.gate, m), &w.ffn_gate, x, gate_, ff},
                                {dispatch_->matmul(id.up, m), &w.ffn_up, x, up_, ff}};
  run_group("ffn_gate_up", gate_up);
  const LhsOperand h = swiglu(m, ff, q8_group({id.down}));
  const MatmulCall down[] = {{dispatch_->matmul(id.down, m), &w.ffn_down, h, proj_, file_->hyper.embedding}};
  run_group("ffn_down", down);
}

// Moves the last row of each sequence, of x_ and proj_, to the front: only these go on. Returns how many.
uint32_t Transformer::last_rows(std::span<const SequenceTokens> batch) {
  const size_t d = file_->hyper.embedding;
  uint32_t end = 0, out = 0;
  for (const SequenceTokens& s : batch) {
    end += static_cast<uint32_t>(s.tokens.size());
    if (out != end - 1) {
      std::memcpy(x_ + out * d, x_ + (end - 1) * d, d * sizeof(float));
      std::memcpy(proj_ + out * d, proj_ + (end - 1) * d, d * sizeof(float));
    }
    ++out;
  }
  return out;
}

std::span<const float> Transformer::forward(std::span<const SequenceTokens> batch, Logits logits) {
  SMEPILOT_DCHECK(!batch.empty() && batch.size() <= limits_.sequences);
  const uint32_t m = place(batch), vocab = file_->hyper.vocab;
  if (stats_ != nullptr) stats_->begin_pass(m == batch.size() ? StatsPhase::kDecode : StatsPhase::kPrefill, m);
  embed(batch, m);
  const float* residual = nullptr;
  for (uint32_t i = 0; i < weights_->layers.size(); ++i) {
    const LayerWeights& w = weights_->layers[i];
    const LayerIds& id = ids_[i];
    attention_block(i, norm(m, w.attn_norm, residual, q8_group({id.q, id.k, id.v})), batch);
    const bool moe = !w.expert_gate.empty();
    // One token's experts all read the same row, so that the norm can quantise it for them.
    const uint32_t group = !moe    ? q8_group({id.gate, id.up})
                           : m > 1 ? q8_group({id.router})
                                   : q8_group({id.router, id.gate, id.up});
    const LhsOperand x = norm(m, w.ffn_norm, proj_, group);
    if (moe)
      moe_ffn(w, id, x);
    else
      dense_ffn(w, id, x);
    residual = proj_;
  }
  for (const SequenceTokens& s : batch) s.cache->set_length(s.cache->length() + static_cast<uint32_t>(s.tokens.size()));
  if (logits == Logits::kNone) return {};

  const uint32_t rows = logits == Logits::kLast ? last_rows(batch) : m;
  const LhsOperand x = norm(rows, weights_->output_norm, residual, q8_group({output_id_}));
  if (logits_.size() < size_t{rows} * vocab) logits_.resize(size_t{rows} * vocab);  // kAll, which is not for speed
  const MatmulCall call[] = {{dispatch_->matmul(output_id_, rows), &weights_->output, x, logits_.data(), vocab}};
  run_group("output", call);
  return {logits_.data(), size_t{rows} * vocab};
}

}  // namespace smepilot
