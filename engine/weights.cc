#include "engine/weights.h"

#include <algorithm>

#include "profiles/timer.h"

namespace smepilot {

template <typename Fn>
void Weights::for_each_matrix(const ModelFile* file, const Fn& fn) {
  const auto visit = [&](PackedMatrix& matrix, const GgufTensor* LayerTensors::* tensor, size_t layer, uint32_t slice) {
    fn(matrix, file == nullptr ? nullptr : file->layers[layer].*tensor, slice);
  };
  using T = LayerTensors;
  for (size_t i = 0; i < layers.size(); ++i) {
    LayerWeights& w = layers[i];
    visit(w.attn_q, &T::attn_q, i, 0);
    visit(w.attn_k, &T::attn_k, i, 0);
    visit(w.attn_v, &T::attn_v, i, 0);
    visit(w.attn_output, &T::attn_output, i, 0);
    if (w.expert_gate.empty()) {
      visit(w.ffn_gate, &T::ffn_gate, i, 0);
      visit(w.ffn_up, &T::ffn_up, i, 0);
      visit(w.ffn_down, &T::ffn_down, i, 0);
      continue;
    }
    visit(w.router, &T::ffn_gate_inp, i, 0);
    for (uint32_t e = 0; e < w.expert_gate.size(); ++e) {
      visit(w.expert_gate[e], &T::ffn_gate_exps, i, e);
      visit(w.expert_up[e], &T::ffn_up_exps, i, e);
      visit(w.expert_down[e], &T::ffn_down_exps, i, e);
    }
  }
  fn(output, file == nullptr ? nullptr : file->output, 0);
}

Weights Weights::describe(const ModelFile& file) {
  Weights w;
  const auto vector = [](const GgufTensor* tensor) -> const float* {
    return tensor == nullptr ? nullptr : reinterpret_cast<const float*>(tensor->bytes.data());
  };
  w.layers.resize(file.layers.size());
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
    if (in.ffn_gate_exps == nullptr) continue;
    out.expert_gate.resize(file.hyper.experts);
    out.expert_up.resize(file.hyper.experts);
    out.expert_down.resize(file.hyper.experts);
  }
  w.output_norm = vector(file.output_norm);
  w.rope_factors = vector(file.rope_freqs);
  w.for_each_matrix(&file, [&](PackedMatrix& matrix, const GgufTensor* tensor, uint32_t slice) {
    matrix.dtype = tensor->dtype;
    matrix.k = static_cast<uint32_t>(tensor->size[0]);
    matrix.n = static_cast<uint32_t>(tensor->size[1]);
    const size_t bytes = size_t{matrix.n} * file_bytes(matrix.dtype, matrix.k);
    std::string name(tensor->name);
    if (tensor->dims > 2) name += fmt::format("/{}", slice);
    w.layout_.add(std::move(name), matrix.dtype, matrix.n, matrix.k, tensor->bytes.subspan(slice * bytes, bytes));
  });
  return w;
}

Status Weights::load(const GgufFile& gguf, WorkerPool& pool, const WeightCacheOptions& cache_options,
                     const WeightProgress& progress) {
  const int64_t begin = now_ns();
  if (!cache_options.folder.empty() && gguf.stamp().inode != 0) {
    WeightCache cache(cache_options, gguf, layout_, pool);
    report_.source = WeightSource::kCache;
    cached_ = cache.open();
    if (!cached_) {
      cached_ = cache.create(progress);
      writer_ = cache.take_writer();
      if (writer_ != nullptr) report_.source = WeightSource::kPacked;
    }
    report_.notes = cache.notes();
  }
  const std::byte* data = nullptr;
  if (cached_) {
    report_.cache_file = cached_->path;
    data = cached_->data;
  } else {
    report_.source = WeightSource::kMemory;
    SMEPILOT_TRY(pack_into_memory(gguf, pool, progress));
    data = memory_.data();
  }
  size_t i = 0;
  for_each_matrix(nullptr, [&](PackedMatrix& matrix, const GgufTensor*, uint32_t) {
    matrix.data = data + layout_.matrices()[i++].offset;
  });
  report_.seconds = static_cast<double>(now_ns() - begin) * 1e-9;
  return {};
}

Status Weights::pack_into_memory(const GgufFile& gguf, WorkerPool& pool, const WeightProgress& progress) {
  constexpr size_t kStep = 256;  // chunks, between which pages of the file are let go, or it would count twice
  SMEPILOT_ASSIGN(memory_, AlignedBuffer::allocate_uninitialized(layout_.bytes()));
  const auto& chunks = layout_.chunks();
  for (size_t first = 0; first < chunks.size(); first += kStep) {
    const size_t end = std::min(first + kStep, chunks.size());
    for_each_chunk(pool, first, end, [&](size_t i) { layout_.pack(chunks[i], memory_.data() + chunks[i].offset); });
    release_sources(gguf, layout_, first, end);
    if (progress) progress("packing weights", static_cast<double>(end) / static_cast<double>(chunks.size()));
  }
  release_sources(gguf, layout_, 0, chunks.size());  // the pages that two steps share
  return {};
}

Status Weights::finish_cache() {
  return writer_ != nullptr ? writer_->finish() : Status();
}

}  // namespace smepilot
