// The mixture of experts of the forward pass. Each expert is an operator of its own, configured for the number of
// tokens routed to it. Rows are sorted by expert, so an expert's left operand is contiguous; panels never span two
// experts.
#include <algorithm>
#include <cstring>

#include "engine/transformer.h"
#include "engine/transformer_parts.h"
#include "kernels/base/integer.h"

namespace smepilot {

void Transformer::moe_ffn(const LayerWeights& w, const LayerIds& id, const LhsOperand& x) {
  const HyperParameters& hp = file_->hyper;
  const uint32_t m = x.m, d = hp.embedding, ff = hp.expert_feed_forward, experts = hp.experts;
  const MatmulCall router[] = {{dispatch_->matmul(id.router, m), &w.router, x, router_, experts}};
  run_group("moe_router", router);

  const Timing routing(stats_);
  choose_experts(m);
  const uint32_t in_group = q8_group({id.gate, id.up}), mid_group = q8_group({id.down});
  const bool f32 = dispatch_->reads_f32(id.gate) || dispatch_->reads_f32(id.up);
  if (m > 1) gather_rows(in_group, f32);
  routing.done("moe_routing", dispatch_->elementwise().workers, OpKind::kSoftmax, m, experts);

  calls_.clear();
  for (uint32_t i = 0; i < experts; ++i) {
    const uint32_t row = expert_first_[i], rows = expert_first_[i + 1] - row;
    if (rows == 0) continue;
    LhsOperand in = x;
    if (m > 1) {
      in = {f32 ? expert_in_ + size_t{row} * d : nullptr,
            d,
            in_group != 0 ? expert_q8_ + lhs_q8_bytes(row, d) : nullptr,
            Layout::kLhsQ8Panel16,
            rows,
            d};
    }
    calls_.push_back({dispatch_->matmul(id.gate, rows), &w.expert_gate[i], in, gate_ + size_t{row} * ff, ff});
    calls_.push_back({dispatch_->matmul(id.up, rows), &w.expert_up[i], in, up_ + size_t{row} * ff, ff});
  }
  run_group("moe_gate_up", calls_);
  swiglu_experts(ff, mid_group);
  calls_.clear();
  for (uint32_t i = 0; i < experts; ++i) {
    const uint32_t row = expert_first_[i], rows = expert_first_[i + 1] - row;
    if (rows == 0) continue;
    const LhsOperand in{gate_ + size_t{row} * ff, ff,   mid_group != 0 ? q8_ + lhs_q8_bytes(row, ff) : nullptr,
                        Layout::kLhsQ8Panel16,    rows, ff};
    calls_.push_back({dispatch_->matmul(id.down, rows), &w.expert_down[i], in, expert_out_ + size_t{row} * d, d});
  }
  run_group("moe_down", calls_);
  combine_experts(m);
}

// Softmax and the best experts of each token, with weights that add up to 1; then where each (token, choice) lies when
// they are sorted by expert, and the panels that makes. Ties go to the lower expert.
void Transformer::choose_experts(uint32_t m) {
  const uint32_t used = file_->hyper.experts_used, experts = file_->hyper.experts;
  const ElementwiseConfig& e = dispatch_->elementwise();
  pool_->run(m < kPanel ? 1 : e.workers, [&](unsigned worker, unsigned workers) {
    const uint32_t begin = static_cast<uint32_t>(uint64_t{m} * worker / workers);
    const uint32_t end = static_cast<uint32_t>(uint64_t{m} * (worker + 1) / workers);
    if (begin == end) return;
    const SoftmaxArgs softmax_args{router_ + size_t{begin} * experts, experts, end - begin, experts};
    e.softmax->softmax(&softmax_args);
    for (uint32_t t = begin; t < end; ++t) {
      float* p = router_ + size_t{t} * experts;
      uint32_t* chosen = chosen_ + size_t{t} * used;
      float* weight = expert_weight_ + size_t{t} * used;
      float sum = 0;
      for (uint32_t i = 0; i < used; ++i) {
        chosen[i] = static_cast<uint32_t>(std::max_element(p, p + experts) - p);
        weight[i] = p[chosen[i]];
        sum += weight[i];
        p[chosen[i]] = -1.0f;
      }
      for (uint32_t i = 0; i < used; ++i) weight[i] /= sum;
    }
  });
  const uint32_t routed = m * used;
  std::fill_n(expert_first_, experts + 1, 0u);
  for (uint32_t j = 0; j < routed; ++j) ++expert_first_[chosen_[j] + 1];
  panels_.clear();
  for (uint32_t i = 0; i < experts; ++i) {
    expert_first_[i + 1] += expert_first_[i];
    expert_next_[i] = expert_first_[i];
    for (uint32_t row = expert_first_[i]; row < expert_first_[i + 1]; row += kPanel)
      panels_.push_back({row, std::min(kPanel, expert_first_[i + 1] - row)});
  }
  for (uint32_t j = 0; j < routed; ++j) {
    const uint32_t row = expert_next_[chosen_[j]]++;
    expert_rows_[j] = row;
    routed_token_[row] = j / used;
  }
}

// The rows of norm_ sorted by expert: quantised into expert_q8_, and as floats into expert_in_ if a kernel reads those.
// If not, a panel's floats only pass through a piece of expert_in_ that stays in the worker's cache. Quantising every
// copy is as cheap as copying quantised rows, whose bytes are scattered over the planes of a panel.
void Transformer::gather_rows(uint32_t group, bool f32) {
  const uint32_t d = file_->hyper.embedding;
  const ElementwiseConfig& e = dispatch_->elementwise();
  const auto count = static_cast<uint32_t>(panels_.size());
  pool_->run(std::min<unsigned>(e.workers, count), [&](unsigned worker, unsigned workers) {
    for (uint32_t p = worker; p < count; p += workers) {
      const ExpertPanel& panel = panels_[p];
      float* const rows = expert_in_ + (f32 ? size_t{panel.row} : size_t{worker} * kPanel) * d;
      for (uint32_t r = 0; r < panel.count; ++r)
        std::memcpy(rows + size_t{r} * d, norm_ + size_t{routed_token_[panel.row + r]} * d, d * sizeof(float));
      if (group == 0) continue;
      const QuantizeArgs args{rows, d, expert_q8_ + lhs_q8_bytes(panel.row, d), panel.count, d, group};
      e.quantize->quantize(&args);
    }
  });
}

// gate_ = silu(gate_) * up_ for every routed row, and quantised into q8_ where the down projections read that.
void Transformer::swiglu_experts(uint32_t cols, uint32_t group) {
  const Timing timing(stats_);
  const ElementwiseConfig& e = dispatch_->elementwise();
  const auto count = static_cast<uint32_t>(panels_.size());
  const uint32_t routed = expert_first_[file_->hyper.experts];
  const unsigned most = routed < kPanel ? 1 : std::min<unsigned>(e.workers, count);
  pool_->run(most, [&](unsigned worker, unsigned workers) {
    for (uint32_t p = worker; p < count; p += workers) {
      const ExpertPanel& panel = panels_[p];
      float* const gate = gate_ + size_t{panel.row} * cols;
      const SwigluArgs args{gate, up_ + size_t{panel.row} * cols, gate, cols, cols, cols, panel.count, cols};
      e.swiglu->swiglu(&args);
      if (group == 0) continue;
      const QuantizeArgs quantize_args{gate, cols, q8_ + lhs_q8_bytes(panel.row, cols), panel.count, cols, group};
      e.quantize->quantize(&quantize_args);
    }
  });
  timing.done("swiglu", most, OpKind::kSwiglu, routed, cols);
}

// proj_[token] = sum over its choices of weight * expert_out_.
void Transformer::combine_experts(uint32_t m) {
  const Timing timing(stats_);
  const uint32_t d = file_->hyper.embedding, used = file_->hyper.experts_used;
  const unsigned most = m < kPanel ? 1 : dispatch_->elementwise().workers;
  pool_->run(most, [&](unsigned worker, unsigned workers) {
    for (uint32_t t = worker; t < m; t += workers) {
      float* const out = proj_ + size_t{t} * d;
      for (uint32_t i = 0; i < used; ++i) {
        const float* const in = expert_out_ + size_t{expert_rows_[t * used + i]} * d;
        const float weight = expert_weight_[t * used + i];
        if (i == 0)
          for (uint32_t c = 0; c < d; ++c) out[c] = weight * in[c];
        else
          for (uint32_t c = 0; c < d; ++c) out[c] += weight * in[c];
      }
    }
  });
  timing.done("moe_combine", most, OpKind::kNorm, m, d);
}

}  // namespace smepilot
