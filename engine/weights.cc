#include "engine/weights.h"

#include <algorithm>
#include <atomic>

#include "kernels/base/integer.h"
#include "kernels/pack/pack_rhs.h"

namespace smepilot {
namespace {

// A matrix (or one expert's slice of a tensor) to pack: where from, where to.
struct Job {
  const std::byte* source;
  PackedMatrix* target;
  std::byte* data;
};

void pack(WorkerPool& pool, const Job& job) {
  const PackedMatrix& m = *job.target;
  const size_t row_bytes = file_bytes(m.dtype, m.k), panels = ceil_div(m.n, kPanel);
  constexpr size_t kStep = 8;  // panels a worker takes at a time
  std::atomic<size_t> next{0};
  pool.run(pool.size(), [&](unsigned, unsigned) {
    for (size_t p; (p = next.fetch_add(kStep, std::memory_order_relaxed)) < panels;)
      pack_rhs(m.dtype, job.source, row_bytes, m.n, m.k, p, std::min(p + kStep, panels), job.data);
  });
}

}  // namespace

Result<Weights> Weights::load(const GgufFile& gguf, const ModelFile& file, WorkerPool& pool,
                              const std::function<void(double)>& progress) {
  Weights w;
  std::vector<Job> jobs;
  size_t total = 0;
  const auto add = [&](const GgufTensor* tensor, uint64_t slice, PackedMatrix& target) {
    target.dtype = tensor->dtype;
    target.k = static_cast<uint32_t>(tensor->size[0]);
    target.n = static_cast<uint32_t>(tensor->size[1]);
    const size_t slice_bytes = size_t{target.n} * file_bytes(target.dtype, target.k);
    jobs.push_back({tensor->bytes.data() + slice * slice_bytes, &target, nullptr});
    total += rhs_bytes(target.dtype, target.n, target.k);
  };
  const auto vector = [](const GgufTensor* tensor) -> const float* {
    return tensor == nullptr ? nullptr : reinterpret_cast<const float*>(tensor->bytes.data());
  };

  w.layers.resize(file.layers.size());  // sized once: jobs point into it
  for (size_t i = 0; i < file.layers.size(); ++i) {
    const LayerTensors& in = file.layers[i];
    LayerWeights& out = w.layers[i];
    out.attn_norm = vector(in.attn_norm);
    out.ffn_norm = vector(in.ffn_norm);
    out.attn_q_norm = vector(in.attn_q_norm);
    out.attn_k_norm = vector(in.attn_k_norm);
    out.attn_q_bias = vector(in.attn_q_bias);
    out.attn_k_bias = vector(in.attn_k_bias);
    out.attn_v_bias = vector(in.attn_v_bias);
    add(in.attn_q, 0, out.attn_q);
    add(in.attn_k, 0, out.attn_k);
    add(in.attn_v, 0, out.attn_v);
    add(in.attn_output, 0, out.attn_output);
    if (in.ffn_gate_exps == nullptr) {
      add(in.ffn_gate, 0, out.ffn_gate);
      add(in.ffn_up, 0, out.ffn_up);
      add(in.ffn_down, 0, out.ffn_down);
      continue;
    }
    add(in.ffn_gate_inp, 0, out.router);
    const uint32_t experts = file.hyper.experts;
    out.expert_gate.resize(experts);
    out.expert_up.resize(experts);
    out.expert_down.resize(experts);
    for (uint32_t e = 0; e < experts; ++e) {
      add(in.ffn_gate_exps, e, out.expert_gate[e]);
      add(in.ffn_up_exps, e, out.expert_up[e]);
      add(in.ffn_down_exps, e, out.expert_down[e]);
    }
  }
  w.output_norm = vector(file.output_norm);
  w.rope_factors = vector(file.rope_freqs);
  add(file.output, 0, w.output);

  w.storage_.reserve(jobs.size());
  for (Job& job : jobs) {
    PackedMatrix& m = *job.target;
    SMEPILOT_ASSIGN(AlignedBuffer buffer, AlignedBuffer::allocate_uninitialized(rhs_bytes(m.dtype, m.n, m.k)));
    job.data = buffer.data();
    m.data = job.data;
    pack(pool, job);
    gguf.release({job.source, size_t{m.n} * file_bytes(m.dtype, m.k)});  // or the file would count twice
    w.packed_bytes_ += buffer.size();
    w.storage_.push_back(std::move(buffer));
    if (progress) progress(static_cast<double>(w.packed_bytes_) / static_cast<double>(total));
  }
  return w;
}

}  // namespace smepilot
