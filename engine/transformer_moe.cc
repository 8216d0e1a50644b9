// The mixture of experts of the forward pass. Each expert is an operator of its own, configured for the number of
// tokens routed to it. Rows are sorted by expert, so an expert's left operand is contiguous; panels never span two
// experts.
#include <algorithm>
#include <cstring>

#include "engine/transformer.h"
#include "engine/transformer_parts.h"
#include "kernels/base/integer.h"
#include "kernels/driver/task_shares.h"
#include "kernels/driver/trace.h"

namespace smepilot {

void Transformer::moe_ffn(const LayerWeights& w, const LayerMatrices& id, const LeftOperand& x) {
  const HyperParameters& hp = file_->hyper;
  const uint32_t m = x.m, d = hp.embedding, ff = hp.expert_feed_forward, experts = hp.experts;
  const MatmulCall router[] = {call(id[GraphNode::kRouter], w.router, x, router_, experts)};
  run_group("moe_router", router);

  const Timing routing(stats_);
  {
    const TraceOperator timeline("moe_routing");
    choose_experts(m);
    if (gathers(m)) {
      place_experts(GraphNode::kGather, id, packed_bytes_.gathered_rows ? expert_in_ : nullptr, d, expert_packed_,
                    packed_bytes_.gathered);
      gather_rows();
    }
  }
  routing.done("moe_routing", dispatch_->elementwise().workers, OpKind::kSoftmax, m, experts);
  if (gathers(m)) convert_experts();

  calls_.clear();
  for (uint32_t i = 0; i < experts; ++i) {
    const uint32_t row = expert_first_[i], rows = expert_first_[i + 1] - row;
    if (rows == 0) continue;
    const LeftOperand& in = gathers(m) ? expert_lhs_[i] : x;
    calls_.push_back(call(id[GraphNode::kGate], w.expert_gate[i], in, gate_ + size_t{row} * ff, ff));
    calls_.push_back(call(id[GraphNode::kUp], w.expert_up[i], in, up_ + size_t{row} * ff, ff));
  }
  run_group("moe_gate_up", calls_);
  place_experts(GraphNode::kSwiglu, id, gate_, ff, packed_, packed_bytes_.swiglu);
  swiglu_experts(ff);
  convert_experts();
  calls_.clear();
  for (uint32_t i = 0; i < experts; ++i) {
    const uint32_t row = expert_first_[i];
    if (expert_first_[i + 1] == row) continue;
    calls_.push_back(call(id[GraphNode::kDown], w.expert_down[i], expert_lhs_[i], expert_out_ + size_t{row} * d, d));
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
    const TraceScope trace("choose_experts", ExecutionUnit::kCpu, ExecutionMode::kCpu, worker);
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
      panels_.push_back({i, row, std::min(kPanel, expert_first_[i + 1] - row)});
  }
  for (uint32_t j = 0; j < routed; ++j) {
    const uint32_t row = expert_next_[chosen_[j]]++;
    expert_rows_[j] = row;
    routed_token_[row] = j / used;
  }
}

// Where each expert's rows lie and which forms of them are to be made: expert_lhs_. rows: [routed][k] or nullptr;
// packed: row_bytes to a routed row.
void Transformer::place_experts(GraphNode producer, const LayerMatrices& id, const float* rows, uint32_t k,
                                std::byte* packed, size_t row_bytes) {
  for (uint32_t i = 0; i < file_->hyper.experts; ++i) {
    const uint32_t row = expert_first_[i], m = expert_first_[i + 1] - row;
    if (m == 0) continue;
    expert_lhs_[i] = {rows != nullptr ? rows + size_t{row} * k : nullptr, m, k,
                      consumer_forms(producer, id, *dispatch_, m), packed + row * row_bytes};
  }
}

// The rows of norm_ sorted by expert, in the forms of expert_lhs_, and as floats in expert_in_ if anything reads those.
// If not, a panel's floats only pass through a piece of expert_in_ that stays in the worker's cache. Packing every copy
// is as cheap as copying packed rows, whose bytes are scattered over the planes of a panel.
void Transformer::gather_rows() {
  const uint32_t d = file_->hyper.embedding;
  const ElementwiseConfig& e = dispatch_->elementwise();
  const auto count = static_cast<uint32_t>(panels_.size());
  const unsigned most = std::min<unsigned>(e.workers, count);
  TaskShares tasks(count, most);
  pool_->run(most, [&](unsigned worker, unsigned) {
    const TraceScope trace("gather_rows", ExecutionUnit::kCpu, ExecutionMode::kCpu, worker);
    for (uint32_t p; tasks.take(worker, p);) {
      const ExpertPanel& panel = panels_[p];
      float* const rows = expert_in_ + (packed_bytes_.gathered_rows ? size_t{panel.row} : size_t{worker} * kPanel) * d;
      for (uint32_t r = 0; r < panel.count; ++r)
        std::memcpy(rows + size_t{r} * d, norm_ + size_t{routed_token_[panel.row + r]} * d, d * sizeof(float));
      expert_lhs_[panel.expert].pack_panel(e, rows, panel.row - expert_first_[panel.expert], panel.count);
    }
  });
}

// gate_ = silu(gate_) * up_ for every routed row, in the forms of expert_lhs_.
void Transformer::swiglu_experts(uint32_t cols) {
  const Timing timing(stats_);
  const TraceOperator timeline("swiglu");
  const ElementwiseConfig& e = dispatch_->elementwise();
  const auto count = static_cast<uint32_t>(panels_.size());
  const uint32_t routed = expert_first_[file_->hyper.experts];
  const unsigned most = routed < kPanel ? 1 : std::min<unsigned>(e.workers, count);
  TaskShares tasks(count, most);
  pool_->run(most, [&](unsigned worker, unsigned) {
    const TraceScope trace("swiglu", ExecutionUnit::kCpu, ExecutionMode::kCpu, worker);
    for (uint32_t p; tasks.take(worker, p);) {
      const ExpertPanel& panel = panels_[p];
      float* const gate = gate_ + size_t{panel.row} * cols;
      const SwigluArgs args{gate, up_ + size_t{panel.row} * cols, gate, cols, cols, cols, panel.count, cols};
      e.swiglu->swiglu(&args);
      expert_lhs_[panel.expert].pack_panel(e, gate, panel.row - expert_first_[panel.expert], panel.count);
    }
  });
  timing.done("swiglu", most, OpKind::kSwiglu, routed, cols);
}

void Transformer::convert_experts() {
  for (uint32_t i = 0; i < file_->hyper.experts; ++i)
    if (expert_first_[i + 1] != expert_first_[i]) convert(expert_lhs_[i]);
}

// proj_[token] = sum over its choices of weight * expert_out_.
void Transformer::combine_experts(uint32_t m) {
  const Timing timing(stats_);
  const TraceOperator timeline("moe_combine");
  const uint32_t d = file_->hyper.embedding, used = file_->hyper.experts_used;
  const unsigned most = m < kPanel ? 1 : dispatch_->elementwise().workers;
  TaskShares tasks(m, most);
  pool_->run(most, [&](unsigned worker, unsigned) {
    const TraceScope trace("moe_combine", ExecutionUnit::kCpu, ExecutionMode::kCpu, worker);
    for (uint32_t t; tasks.take(worker, t);) {
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
