#include "engine/transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/transformer_parts.h"
#include "kernels/base/carver.h"
#include "kernels/base/check.h"
#include "kernels/base/integer.h"
#include "kernels/driver/task_shares.h"
#include "kernels/driver/trace.h"
#include "kernels/pack/pack_rhs.h"
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
  const auto id = [&](const PackedMatrix& m) { return m.n == 0 ? kNoMatrix : dispatch.matrix_id(m.dtype, m.n, m.k); };
  for (const LayerWeights& w : weights.layers) {
    const bool moe = !w.expert_gate.empty();
    LayerMatrices& layer = t.ids_.emplace_back();
    layer[GraphNode::kQ] = id(w.attn_q);
    layer[GraphNode::kK] = id(w.attn_k);
    layer[GraphNode::kV] = id(w.attn_v);
    layer[GraphNode::kAttentionOutput] = id(w.attn_output);
    layer[GraphNode::kRouter] = id(w.router);
    layer[GraphNode::kGate] = id(moe ? w.expert_gate[0] : w.ffn_gate);
    layer[GraphNode::kUp] = id(moe ? w.expert_up[0] : w.ffn_up);
    layer[GraphNode::kDown] = id(moe ? w.expert_down[0] : w.ffn_down);
  }
  t.output_id_[GraphNode::kLogits] = id(weights.output);
  t.packed_bytes_ = t.packed_bytes();

  Carver sizes(nullptr);
  t.carve(sizes, t.packed_bytes_);
  SMEPILOT_ASSIGN(t.arena_, AlignedBuffer::allocate(sizes.used()));
  Carver pieces(t.arena_.data());
  t.carve(pieces, t.packed_bytes_);

  const HyperParameters& hp = file.hyper;
  t.logits_.resize(size_t{limits.sequences} * hp.vocab);
  t.sequences_.reserve(limits.sequences);
  const size_t routed = size_t{limits.rows} * hp.experts_used;
  t.panels_.reserve(hp.experts == 0 ? 0 : std::min<size_t>(routed, routed / kPanel + hp.experts));
  t.expert_lhs_.resize(hp.experts);
  t.calls_.reserve(2 * size_t{hp.experts});
  t.shapes_.reserve(std::max<size_t>({3, 2 * size_t{hp.experts}, 2 * size_t{limits.sequences}}));
  t.executions_.reserve(t.shapes_.capacity());
  t.fill_rope_table();
  return t;
}

Conversions Transformer::priced_conversions(uint32_t m, uint32_t outputs) const {
  const HyperParameters& hp = file_->hyper;
  const uint32_t d = hp.embedding, heads = hp.heads * hp.head_dim;
  const Roofline* const roofline = stats_ != nullptr ? stats_->roofline() : nullptr;
  const unsigned workers = dispatch_->elementwise().workers;
  Conversions out;
  for (const LayerMatrices& id : ids_) {
    const bool moe = id[GraphNode::kRouter] != kNoMatrix;
    const auto price = [&](GraphNode producer, uint32_t k) {
      price_conversions(consumer_forms(producer, id, *dispatch_, m, moe && gathers(m)), m, k, workers, roofline, out);
    };
    price(GraphNode::kAttentionNorm, d);
    price(GraphNode::kAttention, heads);
    price(GraphNode::kFfnNorm, d);
    if (!moe) price(GraphNode::kSwiglu, hp.feed_forward);
  }
  if (outputs != 0)
    price_conversions(consumer_forms(GraphNode::kOutputNorm, output_id_, *dispatch_, outputs), outputs, d, workers,
                      roofline, out);
  return out;
}

Transformer::PackedBytes Transformer::packed_bytes() const {
  const HyperParameters& hp = file_->hyper;
  const uint32_t d = hp.embedding, ff = hp.experts == 0 ? hp.feed_forward : hp.expert_feed_forward;
  PackedBytes out;
  const auto grow = [&](size_t& bytes, GraphNode producer, const LayerMatrices& id, uint32_t k) {
    bytes = std::max(bytes, every_consumer_form(producer, id, *dispatch_).row_bytes(k));
  };
  for (const LayerMatrices& id : ids_) {
    grow(out.layer, GraphNode::kAttentionNorm, id, d);
    grow(out.layer, GraphNode::kAttention, id, hp.heads * hp.head_dim);
    grow(out.layer, GraphNode::kFfnNorm, id, d);
    grow(out.swiglu, GraphNode::kSwiglu, id, ff);
    if (hp.experts == 0) continue;
    grow(out.gathered, GraphNode::kGather, id, d);
    const FormSet forms = every_consumer_form(GraphNode::kGather, id, *dispatch_);
    out.gathered_rows = out.gathered_rows || forms.rows() || forms.conversions() != 0;
  }
  grow(out.layer, GraphNode::kOutputNorm, output_id_, d);
  return out;
}

void Transformer::carve(Carver& carver, const PackedBytes& packed) {
  const HyperParameters& hp = file_->hyper;
  const size_t m = limits_.rows, d = hp.embedding, heads = size_t{hp.heads} * hp.head_dim;
  const size_t kv = size_t{hp.kv_heads} * hp.head_dim;
  const size_t routed = hp.experts == 0 ? m : m * hp.experts_used;
  const size_t ff = hp.experts == 0 ? hp.feed_forward : hp.expert_feed_forward;
  carver.take(&x_, m * d);
  carver.take(&norm_, m * d);
  carver.take(&proj_, m * d);
  carver.take_one_of(
      [&] {
        carver.take(&q_, m * heads);
        carver.take(&k_, m * kv);
        carver.take(&v_, m * kv);
        carver.take(&attn_, m * heads);
        carver.take(&attn_scratch_,
                    attention_scratch_bytes(pool_->size(), limits_.rows, hp.heads, limits_.capacity, hp.head_dim));
      },
      [&] {
        carver.take(&gate_, routed * ff);
        carver.take(&up_, routed * ff);
      });
  carver.take(&rope_, size_t{limits_.capacity} * hp.rope_dims);
  carver.take(&packed_, std::max(m * packed.layer, routed * packed.swiglu));
  carver.take(&positions_, m);
  if (hp.experts == 0) return;
  carver.take(&expert_out_, routed * d);
  carver.take(&router_, m * hp.experts);
  carver.take(&expert_in_, packed.gathered_rows ? routed * d : size_t{pool_->size()} * kPanel * d);
  carver.take(&expert_packed_, routed * packed.gathered);
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

// An embedding that is the output matrix, too, is read as it is packed: reading rows of the file maps a lot around
// them.
void Transformer::embed(std::span<const SequenceTokens> batch, uint32_t m) {
  const uint32_t d = file_->hyper.embedding;
  const GgufTensor& table = *file_->token_embd;
  const size_t row_bytes = file_bytes(table.dtype, d);
  const auto embedding_row = [&](size_t token, float* out) {
    if (file_->tied_output())
      unpack_rhs_row(weights_->output.dtype, weights_->output.data, token, d, out);
    else
      reference::dequantize_row(table.dtype, table.bytes.data() + token * row_bytes, d, out);
  };
  pool_->run(m < kPanel ? 1 : dispatch_->elementwise().workers, [&](unsigned worker, unsigned workers) {
    uint32_t row = 0;
    for (const SequenceTokens& s : batch)
      for (const int32_t token : s.tokens)
        if (const uint32_t r = row++; r % workers == worker)
          embedding_row(static_cast<size_t>(token), x_ + size_t{r} * d);
  });
}

LeftOperand Transformer::norm(uint32_t m, const float* weight, const float* residual, const FormSet& forms) {
  const Timing timing(stats_);
  const TraceOperator timeline("norm");
  const uint32_t d = file_->hyper.embedding, panels = ceil_div(m, kPanel);
  const ElementwiseConfig& e = dispatch_->elementwise();
  const float eps = file_->hyper.rms_eps;
  const LeftOperand result{norm_, m, d, forms, packed_};
  const unsigned most = std::min<unsigned>(e.workers, panels);
  TaskShares tasks(panels, most);
  run_elementwise("norm", most, m, [&](unsigned worker, unsigned) {
    const TraceScope trace("norm", ExecutionUnit::kCpu, ExecutionMode::kCpu, worker);
    for (uint32_t p; tasks.take(worker, p);) {
      const uint32_t row = p * kPanel, rows = std::min(kPanel, m - row);
      float* x = x_ + size_t{row} * d;
      float* out = norm_ + size_t{row} * d;
      if (residual != nullptr) {
        const float* add = residual + size_t{row} * d;
        for (size_t i = 0; i < size_t{rows} * d; ++i) x[i] += add[i];
      }
      const NormArgs norm_args{x, weight, out, d, d, rows, d, eps};
      e.norm->norm(&norm_args);
      result.pack_panel(e, out, row, rows);
    }
  });
  timing.done("norm", most, OpKind::kNorm, m, d);
  convert(result);
  return result;
}

// Attention writes rows of all heads from many workers, so that what it made is packed after it.
LeftOperand Transformer::pack_attention(uint32_t m, const FormSet& forms) {
  const uint32_t k = file_->hyper.heads * file_->hyper.head_dim;
  const LeftOperand result{attn_, m, k, forms, packed_};
  if (forms.packed().empty()) return result;
  const Timing timing(stats_);
  const TraceOperator timeline("attn_pack");
  pack_lhs(*pool_, dispatch_->elementwise(), forms.packed()[0], attn_, k, m, k, result.form(0));
  timing.done("attn_pack", dispatch_->elementwise().workers, OpKind::kQuantize, m, k);
  convert(result);
  return result;
}

void Transformer::convert(const LeftOperand& x) {
  for (size_t i = 1; i < x.forms.packed().size(); ++i) {
    const Timing timing(stats_);
    pack_lhs(*pool_, dispatch_->elementwise(), x.forms.packed()[i], x.rows, x.k, x.m, x.k, x.form(i));
    timing.converted();
  }
}

MatmulCall Transformer::call(uint32_t matrix_id, const PackedMatrix& weights, const LeftOperand& x, float* dst,
                             size_t dst_stride) const {
  const MatmulConfig config = dispatch_->matmul(matrix_id, x.m);
  SMEPILOT_DCHECK(config.variant->rhs_layout == Layout::kRhsPanel16);  // never packed again
  return {config, &weights, x.read_by(*config.variant), dst, dst_stride};
}

void Transformer::run_group(const char* role, std::span<const MatmulCall> calls) {
  if (calls.empty()) return;
  if (adaptation_ != nullptr) calls = adaptation_->configure(role, calls);
  const Timing timing(stats_);
  {
    const TraceOperator timeline(role, calls[0].config.mode);
    matmul_group(*pool_, calls, adaptation_ != nullptr ? adaptation_->time() : nullptr);
  }
  if (timing.wanted()) record_group(role, calls, timing);
  if (adaptation_ != nullptr) adaptation_->executed();
}

void Transformer::record_group(const char* role, std::span<const MatmulCall> calls, const Timing& timing) {
  shapes_.clear();
  executions_.clear();
  for (const MatmulCall& call : calls) {
    const MatmulConfig& c = call.config;
    shapes_.push_back({OpKind::kMatmul, call.rhs->dtype, call.lhs.m, call.rhs->n, call.rhs->k, 0, 0});
    executions_.push_back({role, c.variant, c.mode, c.workers});
    if (c.mode == ExecutionMode::kCoop) {
      executions_.back().matrix = c.coop.variant;
      executions_.back().matrix_workers = c.coop.workers;
    }
    if (c.variant->rhs_layout != Layout::kRhsPanel16) stats_->record_weight_conversion();
  }
  timing.done(executions_, shapes_);
}

// Biases, the norms of each head, and the rotation, in place, of every row of q_, k_ and v_.
unsigned Transformer::rotate(const LayerWeights& w, uint32_t m, bool rotated) {
  const HyperParameters& hp = file_->hyper;
  const uint32_t hd = hp.head_dim, heads = hp.heads * hd, kv = hp.kv_heads * hd, half = hp.rope_dims / 2;
  const ElementwiseConfig& e = dispatch_->elementwise();
  const auto rotate_row = [&](uint32_t row) {
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
    if (!rotated) return;
    const float* table = rope_ + size_t{positions_[row]} * 2 * half;
    const RopeArgs q_args{q, table, heads, 1, hp.heads, hd, half, hp.rope_interleaved};
    const RopeArgs k_args{k, table, kv, 1, hp.kv_heads, hd, half, hp.rope_interleaved};
    e.rope->rope(&q_args);
    e.rope->rope(&k_args);
  };
  const unsigned most = m < kPanel ? 1 : e.workers;
  TaskShares tasks(ceil_div(m, kPanel), most);
  return run_elementwise("rope_kv", most, m, [&](unsigned worker, unsigned) {
    const TraceScope trace("rope", ExecutionUnit::kCpu, ExecutionMode::kCpu, worker);
    for (uint32_t p; tasks.take(worker, p);)
      for (uint32_t row = p * kPanel; row < std::min((p + 1) * kPanel, m); ++row) rotate_row(row);
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
  if (adaptation_ != nullptr) config = adaptation_->configure(config, sequences_, hp.heads);
  const Timing timing(stats_);
  {
    const TraceOperator timeline("attention", config.mode);
    attention(*pool_, config, sequences_, hp.heads, q_, heads, attn_, heads, 1.0f / std::sqrt(static_cast<float>(hd)),
              attn_scratch_, adaptation_ != nullptr ? adaptation_->time() : nullptr);
  }
  if (timing.wanted()) record_attention(config, m, timing);
  if (adaptation_ != nullptr) adaptation_->executed();
}

void Transformer::record_attention(const AttentionConfig& config, uint32_t m, const Timing& timing) {
  const HyperParameters& hp = file_->hyper;
  const uint32_t hd = hp.head_dim;
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
  Execution execution{"attention", config.variant, config.mode, config.workers};
  if (config.mode == ExecutionMode::kCoop) {
    execution.matrix = config.pipeline.variant;
    execution.matrix_workers = config.pipeline.workers;
  }
  if (config.variant->rhs_layout != Layout::kKvKeyPanel16) stats_->record_weight_conversion();
  timing.done(execution, shapes_);
}

void Transformer::attention_block(uint32_t layer, const LeftOperand& x, std::span<const SequenceTokens> batch) {
  const LayerWeights& w = weights_->layers[layer];
  const LayerMatrices& id = ids_[layer];
  const HyperParameters& hp = file_->hyper;
  const uint32_t m = x.m, heads = hp.heads * hp.head_dim, kv = hp.kv_heads * hp.head_dim;
  const MatmulCall qkv[] = {call(id[GraphNode::kQ], w.attn_q, x, q_, heads),
                            call(id[GraphNode::kK], w.attn_k, x, k_, kv), call(id[GraphNode::kV], w.attn_v, x, v_, kv)};
  run_group("attn_qkv", qkv);

  sequences_.clear();
  for (const SequenceTokens& s : batch)
    sequences_.push_back(s.cache->sequence(layer, static_cast<uint32_t>(s.tokens.size())));
  const Timing timing(stats_);
  {
    const TraceOperator timeline("rope_kv");
    const unsigned rotating = rotate(w, m, hp.rope_free_every == 0 || (layer + 1) % hp.rope_free_every != 0);
    const unsigned workers = dispatch_->elementwise().workers;
    write_kv(*pool_, m < kPanel ? workers : rotating, sequences_, k_, kv, v_, kv);
  }
  timing.done("rope_kv", dispatch_->elementwise().workers, OpKind::kRope, m, heads + kv);
  attend(m);

  const LeftOperand out = pack_attention(m, consumer_forms(GraphNode::kAttention, id, *dispatch_, m));
  const MatmulCall output[] = {call(id[GraphNode::kAttentionOutput], w.attn_output, out, proj_, hp.embedding)};
  run_group("attn_output", output);
}

// gate_[rows][cols] = silu(gate_) * up_, and what the down projection reads of it.
LeftOperand Transformer::swiglu(uint32_t rows, uint32_t cols, const FormSet& forms) {
  const Timing timing(stats_);
  const TraceOperator timeline("swiglu");
  const ElementwiseConfig& e = dispatch_->elementwise();
  const uint32_t panels = ceil_div(rows, kPanel);
  const LeftOperand result{gate_, rows, cols, forms, packed_};
  const unsigned most = std::min<unsigned>(e.workers, panels);
  TaskShares tasks(panels, most);
  run_elementwise("swiglu", most, rows, [&](unsigned worker, unsigned) {
    const TraceScope trace("swiglu", ExecutionUnit::kCpu, ExecutionMode::kCpu, worker);
    for (uint32_t p; tasks.take(worker, p);) {
      const uint32_t row = p * kPanel, count = std::min(kPanel, rows - row);
      float* gate = gate_ + size_t{row} * cols;
      const SwigluArgs args{gate, up_ + size_t{row} * cols, gate, cols, cols, cols, count, cols};
      e.swiglu->swiglu(&args);
      result.pack_panel(e, gate, row, count);
    }
  });
  timing.done("swiglu", most, OpKind::kSwiglu, rows, cols);
  convert(result);
  return result;
}

void Transformer::dense_ffn(const LayerWeights& w, const LayerMatrices& id, const LeftOperand& x) {
  const uint32_t m = x.m, ff = w.ffn_gate.n;
  const MatmulCall gate_up[] = {call(id[GraphNode::kGate], w.ffn_gate, x, gate_, ff),
                                call(id[GraphNode::kUp], w.ffn_up, x, up_, ff)};
  run_group("ffn_gate_up", gate_up);
  const LeftOperand h = swiglu(m, ff, consumer_forms(GraphNode::kSwiglu, id, *dispatch_, m));
  const MatmulCall down[] = {call(id[GraphNode::kDown], w.ffn_down, h, proj_, file_->hyper.embedding)};
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
  if (stats_ != nullptr) {
    const uint32_t outputs = logits == Logits::kNone ? 0 : logits == Logits::kLast ? uint32_t(batch.size()) : m;
    stats_->begin_pass(m == batch.size() ? StatsPhase::kDecode : StatsPhase::kPrefill, m,
                       priced_conversions(m, outputs));
  }
  if (adaptation_ != nullptr) adaptation_->begin_step();
  embed(batch, m);
  const float* residual = nullptr;
  for (uint32_t i = 0; i < weights_->layers.size(); ++i) {
    const LayerWeights& w = weights_->layers[i];
    const LayerMatrices& id = ids_[i];
    attention_block(i, norm(m, w.attn_norm, residual, consumer_forms(GraphNode::kAttentionNorm, id, *dispatch_, m)),
                    batch);
    const bool moe = !w.expert_gate.empty();
    const LeftOperand x =
        norm(m, w.ffn_norm, proj_, consumer_forms(GraphNode::kFfnNorm, id, *dispatch_, m, moe && gathers(m)));
    if (moe)
      moe_ffn(w, id, x);
    else
      dense_ffn(w, id, x);
    residual = proj_;
  }
  for (const SequenceTokens& s : batch) s.cache->set_length(s.cache->length() + static_cast<uint32_t>(s.tokens.size()));
  if (logits == Logits::kNone) return {};

  const uint32_t rows = logits == Logits::kLast ? last_rows(batch) : m;
  const LeftOperand x =
      norm(rows, weights_->output_norm, residual, consumer_forms(GraphNode::kOutputNorm, output_id_, *dispatch_, rows));
  if (logits_.size() < size_t{rows} * vocab) logits_.resize(size_t{rows} * vocab);  // kAll, which is not for speed
  const MatmulCall output[] = {call(output_id_[GraphNode::kLogits], weights_->output, x, logits_.data(), vocab)};
  run_group("output", output);
  return {logits_.data(), size_t{rows} * vocab};
}

}  // namespace smepilot
