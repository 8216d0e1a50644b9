// Attention as the driver makes it of micro-kernels: whatever the sequences, the prefixes they share, the pieces and
// the number of workers, the result is the oracle's, each output is written once and nothing beside it is. And the KV
// caches that it reads.
#include "kernels/driver/attention.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/base/aligned_buffer.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/pack/pack_kv.h"
#include "kernels/reference/operators.h"
#include "kernels/reference/quantize.h"
#include "kernels/registry/registry.h"
#include "tests/kernels/checks/checks.h"
#include "tests/kernels/support/comparator.h"

namespace smepilot::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<const KernelVariant*> usable_attention(DType dtype) {
  const Result<IsaSet> isa = usable_isa();
  EXPECT_TRUE(isa.ok()) << isa.message();
  std::vector<const KernelVariant*> out;
  for (const KernelVariant* v : all_variants())
    if (isa.ok() && v->op == OpKind::kAttention && v->rhs == dtype && (v->isa & ~*isa) == 0) out.push_back(v);
  EXPECT_FALSE(out.empty());
  return out;
}

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
    const AttentionConfig config{&v, ExecutionMode::kCpu, static_cast<uint16_t>(workers), kv_tile, kv_splits};
    const size_t scratch_bytes = attention_scratch_bytes(workers, rows_, case_.heads, capacity_, case_.head_dim);
    AlignedBuffer scratch = AlignedBuffer::allocate(scratch_bytes + 64).value();
    std::fill_n(scratch.data(), scratch.size(), std::byte{0xff});
    std::vector<float> out(rows_ * out_stride_, kNan);
    attention(pool, config, sequences_, case_.heads, q_.data(), q_stride_, out.data(), out_stride_, scale_,
              scratch.data());

    Comparator comparator;
    const auto name = [&] {
      return fmt::format("{} sequences={} prefixes={} heads={}/{} head_dim={} kv_tile={} kv_splits={} workers={}", v.id,
                         case_.sequences.size(), case_.prefixes.size(), case_.heads, case_.kv_heads, case_.head_dim,
                         kv_tile, kv_splits, workers);
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

constexpr DType kDTypes[] = {DType::kF16, DType::kQ8_0};

void check_case(const AttentionCase& c, std::initializer_list<uint32_t> splits) {
  WorkerPool pool(3);
  for (const DType dtype : kDTypes) {
    if (!kv_dtype_fits(dtype, c.head_dim)) continue;
    AttentionProblem problem(pool, dtype, c);
    unsigned workers = 0;
    for (const KernelVariant* v : usable_attention(dtype))
      for (const uint32_t s : splits) {
        workers = workers % 3 + 1;
        problem.run(pool, *v, workers == 1 ? 0 : workers == 2 ? 48 : 4096, s, workers);
      }
  }
}

void check_one(uint32_t m, uint32_t pos, uint32_t heads, uint32_t kv_heads, uint32_t head_dim,
               std::initializer_list<uint32_t> splits) {
  check_case({{}, {{-1, pos, m}}, heads, kv_heads, head_dim}, splits);
}

TEST(Attention, Prefill) {
  check_one(37, 0, 4, 4, 16, {0, 1, 2, 16});
  check_one(150, 0, 2, 1, 32, {0, 1, 4});
}
TEST(Attention, PrefillAfterOthers) {
  check_one(9, 301, 4, 2, 32, {0, 1, 2, 3, 16});
}
TEST(Attention, Decode) {
  check_one(1, 0, 4, 2, 16, {0, 1, 16});
  check_one(1, 511, 8, 2, 64, {0, 1, 2, 3, 4, 5, 7, 16, 1000});
}
TEST(Attention, DecodeOfALongContext) {
  check_one(1, 2300, 6, 1, 20, {0, 8, 16});
}
TEST(Attention, QueriesOfOneHeadInSeveralBlocks) {
  check_one(40, 260, 6, 2, 12, {0, 2});
  check_one(140, 60, 4, 1, 32, {0});
}
TEST(Attention, TooManyRowsToSplit) {
  check_one(140, 130, 8, 4, 8, {0, 2, 16});
}

TEST(Attention, SequencesOfUnlikeLengths) {
  check_case({{}, {{-1, 0, 1}, {-1, 700, 1}, {-1, 33, 5}, {-1, 16, 1}, {-1, 15, 1}, {-1, 0, 40}}, 4, 2, 32},
             {0, 1, 2, 16});
}
TEST(Attention, SequencesThatShareAPrefix) {
  check_case({{310}, {{0, 0, 1}, {0, 17, 1}, {0, 150, 1}, {0, 5, 1}, {0, 0, 1}}, 4, 2, 64}, {0, 1, 2, 16});
  check_case({{48}, {{0, 3, 7}, {0, 0, 19}}, 6, 2, 32}, {0, 2});
}
TEST(Attention, OneSequenceWithAPrefix) {
  check_case({{40}, {{0, 0, 70}}, 4, 1, 32}, {0, 1, 4});
  check_case({{1}, {{0, 8, 1}}, 2, 2, 32}, {0});
}
TEST(Attention, SomeShareAndSomeDoNot) {
  check_case(
      {{64, 200}, {{-1, 20, 1}, {0, 9, 1}, {0, 130, 2}, {1, 2, 1}, {1, 0, 3}, {-1, 400, 1}, {0, 1, 1}}, 4, 2, 32},
      {0, 1, 3});
}
TEST(Attention, MoreSequencesThanOneForkTakes) {
  AttentionCase c{{30}, {}, 2, 1, 32};
  for (uint32_t s = 0; s < 70; ++s) c.sequences.push_back({s % 7 == 3 ? -1 : 0, s, 1 + s % 2});
  check_case(c, {0, 2});
}

TEST(Attention, AllSplitsAndWorkersOfTheFirstVariant) {
  WorkerPool pool(3);
  const std::vector<const KernelVariant*> variants = usable_attention(DType::kF16);
  AttentionProblem problem(pool, DType::kF16, {{100}, {{-1, 700, 3}, {0, 300, 1}}, 4, 2, 16});
  for (const KernelVariant* v : {variants.front(), variants.back()})
    for (uint32_t splits = 0; splits <= 16; ++splits)
      for (unsigned workers = 1; workers <= 3; ++workers) problem.run(pool, *v, 64, splits, workers);
}

// A cache row that exists already stays as it is when others are written beside it.
TEST(WriteKv, AppendsWithoutTouchingNeighbours) {
  WorkerPool pool(2);
  constexpr uint32_t kHeads = 2, kDim = 32, kCapacity = 48, kWidth = kHeads * kDim;
  for (const DType dtype : kDTypes) {
    const Cache cache(dtype, kCapacity, kHeads, kDim);
    std::vector<float> rows(kCapacity * kWidth);
    // Multiples of the scale that q8_0 gives them, so exact in both types.
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i * 37 % 255) - 127.0f;
    for (size_t i = 0; i < rows.size(); i += kDim) rows[i] = 127;
    uint32_t pos = 0;
    for (const uint32_t m : {1u, 5u, 16u, 17u, 2u}) {
      write_kv(pool, 2, cache.view(), pos, m, rows.data() + pos * kWidth, kWidth, rows.data() + pos * kWidth, kWidth);
      pos += m;
      for (uint32_t h = 0; h < kHeads; ++h) {
        std::vector<float> keys, values;
        cache.read(h, kCapacity, keys, values);
        for (uint32_t t = 0; t < kCapacity; ++t)
          for (uint32_t d = 0; d < kDim; ++d) {
            if (t < pos) {
              ASSERT_EQ(keys[t * kDim + d], rows[t * kWidth + h * kDim + d]) << "position " << t << " after " << pos;
              ASSERT_EQ(values[t * kDim + d], rows[t * kWidth + h * kDim + d]) << "position " << t << " after " << pos;
            } else {
              ASSERT_TRUE(std::isnan(keys[t * kDim + d])) << "position " << t << " after " << pos;
              ASSERT_TRUE(std::isnan(values[t * kDim + d])) << "position " << t << " after " << pos;
            }
          }
      }
    }
  }
}

}  // namespace
}  // namespace smepilot::test
