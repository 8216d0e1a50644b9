// Sequences with their KV caches, some of them behind a prefix that they share, and the oracle's attention over them:
// what every way of dividing the work must give.
#pragma once
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/base/aligned_buffer.h"
#include "kernels/driver/attention.h"
#include "kernels/pack/pack_kv.h"
#include "kernels/reference/operators.h"
#include "kernels/reference/quantize.h"
#include "tests/kernels/checks/checks.h"
#include "tests/kernels/support/comparator.h"

namespace smepilot::test {

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A cache with what was written to it, and the same as the cache gives it back.
class Cache {
 public:
  Cache(DType dtype, uint32_t capacity, uint32_t kv_heads, uint32_t head_dim)
      : bytes_(AlignedBuffer::allocate(2 * kv_heads * kv_bytes(dtype, capacity, head_dim)).value()) {
    std::fill_n(bytes_.data(), bytes_.size(), std::byte{0xff});  // NaN, or large, wherever nothing is written
    view_.dtype = dtype;
    view_.k = bytes_.data();
    view_.v = bytes_.data() + kv_heads * kv_bytes(dtype, capacity, head_dim);
    view_.capacity = capacity;
    view_.kv_heads = kv_heads;
    view_.head_dim = head_dim;
  }

  const KvView& view() const { return view_; }
  // Appends positions begin .. end of head h, [head_dim] each, to keys and values.
  void read(uint32_t h, uint32_t end, std::vector<float>& keys, std::vector<float>& values) const {
    const size_t at = keys.size(), dim = view_.head_dim;
    keys.resize(at + end * dim);
    values.resize(at + end * dim);
    unpack_key_rows(view_.dtype, view_.k + h * view_.head_bytes(), 0, end, dim, &keys[at]);
    unpack_value_rows(view_.dtype, view_.v + h * view_.head_bytes(), 0, end, dim, &values[at]);
  }

 private:
  AlignedBuffer bytes_;
  KvView view_;
};

struct Sequence {
  int prefix;  // index of the prefix, -1: none
  uint32_t length, m;
};
struct AttentionCase {
  std::vector<uint32_t> prefixes;  // lengths
  std::vector<Sequence> sequences;
  uint32_t heads, kv_heads, head_dim;
};

class AttentionProblem {
 public:
  AttentionProblem(WorkerPool& pool, DType dtype, const AttentionCase& c)
      : case_(c), q_stride_(size_t{c.heads} * c.head_dim + 3), out_stride_(size_t{c.heads} * c.head_dim + 2) {
    reference::Random random(c.head_dim + 100 * c.sequences.size() + 7);
    std::vector<float> k, v;
    const size_t width = size_t{c.kv_heads} * c.head_dim;
    const auto rows = [&](uint32_t count) {
      k.resize(count * width);
      v.resize(count * width);
      random.fill_uniform(k.data(), k.size(), -2, 2);
      random.fill_uniform(v.data(), v.size(), -1, 1);
    };
    caches_.reserve(c.prefixes.size() + c.sequences.size());
    for (const uint32_t length : c.prefixes) {
      const Cache& cache = add_cache(dtype, length + 5);
      rows(length);
      write_kv(pool, 3, cache.view(), 0, length, k.data(), width, v.data(), width);
    }
    for (const Sequence& s : c.sequences) {
      const Cache& cache = add_cache(dtype, s.length + s.m);
      AttentionSequence sequence;
      sequence.own = cache.view();
      if (s.prefix >= 0) {
        sequence.shared = caches_[static_cast<size_t>(s.prefix)].view();
        sequence.shared_length = c.prefixes[static_cast<size_t>(s.prefix)];
      }
      sequence.length = s.length;
      sequence.m = s.m;
      sequences_.push_back(sequence);
      rows_ += s.m;
      capacity_ = std::max({capacity_, sequence.own.capacity, sequence.shared.capacity});
      rows(s.length);
      if (s.length > 0) write_kv(pool, 2, cache.view(), 0, s.length, k.data(), width, v.data(), width);
    }
    rows(rows_);
    write_kv(pool, 3, sequences_, k.data(), width, v.data(), width);

    q_.assign(rows_ * q_stride_, kNan);
    scale_ = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
    for (uint32_t r = 0; r < rows_; ++r) random.fill_uniform(&q_[r * q_stride_], c.heads * c.head_dim, -2, 2);
    uint32_t row = 0;
    for (const AttentionSequence& s : sequences_) {
      const size_t index = static_cast<size_t>(&s - sequences_.data());
      std::vector<std::vector<float>> keys(c.kv_heads), values(c.kv_heads);
      for (uint32_t h = 0; h < c.kv_heads; ++h) {
        const int prefix = c.sequences[index].prefix;
        if (prefix >= 0) caches_[static_cast<size_t>(prefix)].read(h, s.shared_length, keys[h], values[h]);
        caches_[c.prefixes.size() + index].read(h, s.length + s.m, keys[h], values[h]);
      }
      for (uint32_t t = 0; t < s.m; ++t, ++row)
        for (uint32_t h = 0; h < c.heads; ++h) {
          const uint32_t kv = h / (c.heads / c.kv_heads);
          limits_.push_back(s.shared_length + s.length + t + 1);
          expected_.push_back(reference::attention_row(&q_[row * q_stride_ + size_t{h} * c.head_dim], keys[kv].data(),
                                                       values[kv].data(), c.head_dim, c.head_dim, limits_.back(),
                                                       static_cast<double>(scale_)));
        }
    }
  }

  void run(WorkerPool& pool, const KernelVariant& v, uint32_t kv_tile, uint32_t kv_splits, unsigned workers) {
    run(pool, {&v, ExecutionMode::kCpu, static_cast<uint16_t>(workers), kv_tile, kv_splits, {}});
  }

  void run(WorkerPool& pool, const AttentionConfig& config) {
    const bool coop = config.mode == ExecutionMode::kCoop;
    const KernelVariant& v = coop ? *config.pipeline.variant : *config.variant;  // the one that may round
    const size_t scratch_bytes = coop && config.pipeline.phases
                                     ? attention_phases_scratch_bytes(config, sequences_, case_.heads)
                                     : attention_scratch_bytes(coop ? pool.size() : config.workers, rows_, case_.heads,
                                                               capacity_, case_.head_dim);
    AlignedBuffer scratch = AlignedBuffer::allocate(scratch_bytes + 64).value();
    std::fill_n(scratch.data(), scratch.size(), std::byte{0xff});
    std::vector<float> out(rows_ * out_stride_, kNan);
    attention(pool, config, sequences_, case_.heads, q_.data(), q_stride_, out.data(), out_stride_, scale_,
              scratch.data());

    Comparator comparator;
    const auto name = [&] {
      const AttentionPipeline& p = config.pipeline;
      return fmt::format(
          "{} sequences={} prefixes={} heads={}/{} head_dim={} kv_tile={} kv_splits={} workers={}{}", v.id,
          case_.sequences.size(), case_.prefixes.size(), case_.heads, case_.kv_heads, case_.head_dim, config.kv_tile,
          config.kv_splits, config.workers,
          !coop ? ""
                : fmt::format(" with {}: {} matrix workers, pool {}, rows={} depth={} multiply={} phases={}",
                              config.variant->id, p.workers, pool.size(), p.rows, p.depth, p.cores_multiply, p.phases));
    };
    for (size_t i = scratch_bytes; i < scratch.size(); ++i)
      if (scratch.data()[i] != std::byte{0xff}) comparator.fail(name() + ": wrote beyond its scratch");
    for (uint32_t row = 0; row < rows_; ++row) {
      for (uint32_t h = 0; h < case_.heads; ++h) {
        const size_t at = size_t{row} * case_.heads + h;
        const AttentionTolerance tolerance = attention_tolerance(v, expected_[at], case_.head_dim, limits_[at]);
        for (uint32_t d = 0; d < case_.head_dim; ++d)
          comparator.compare(expected_[at].out[d],
                             static_cast<double>(out[row * out_stride_ + size_t{h} * case_.head_dim + d]),
                             tolerance.of(expected_[at].magnitude[d]),
                             [&] { return fmt::format("{} row {} head {} element {}", name(), row, h, d); });
      }
      for (size_t gap = size_t{case_.heads} * case_.head_dim; gap < out_stride_; ++gap)
        if (!std::isnan(out[row * out_stride_ + gap])) comparator.fail(name() + ": wrote beside out");
    }
    EXPECT_TRUE(comparator.ok()) << comparator.message();
  }

 private:
  const Cache& add_cache(DType dtype, uint32_t positions) {
    return caches_.emplace_back(dtype, (positions + kPanel - 1) / kPanel * kPanel, case_.kv_heads, case_.head_dim);
  }

  AttentionCase case_;
  std::vector<Cache> caches_;  // of the prefixes, then of the sequences
  std::vector<AttentionSequence> sequences_;
  uint32_t rows_ = 0, capacity_ = 0;
  size_t q_stride_, out_stride_;
  std::vector<float> q_;
  std::vector<reference::AttentionRow> expected_;  // [rows][heads]
  std::vector<uint32_t> limits_;                   // likewise
  float scale_ = 1;
};

}  // namespace smepilot::test
