#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/abi/half.h"
#include "kernels/abi/layout.h"
#include "kernels/pack/pack_kv.h"
#include "kernels/reference/operators.h"
#include "kernels/reference/quantize.h"
#include "tests/kernels/checks/checks.h"
#include "tests/kernels/support/guarded_buffer.h"

namespace smepilot::test {
namespace {

struct Case {
  uint32_t rows, head_dim, kv_len, kv_tile;
  uint32_t split;  // 0: one whole call. else: partial calls [0, split) and [split, kv_len), merged as the driver does
  Edge edge;
  float growth = 0;  // what the keys grow by per position; then queries have one sign, by rows
};

// One KV head with its cache, and query rows of a causal block: the last rows see kv_len positions, earlier ones fewer.
class Problem {
 public:
  Problem(DType dtype, const Case& c)
      : case_(c),
        random_(1 + c.rows + 100 * c.head_dim + 100000ull * c.kv_len),
        keys_(size_t{c.kv_len} * c.head_dim),
        values_(size_t{c.kv_len} * c.head_dim),
        q_stride_(c.head_dim + c.rows % 3),
        q_(((c.rows - 1) * q_stride_ + c.head_dim) * sizeof(float), 4, c.edge),
        k_cache_(kv_bytes(dtype, c.kv_len, c.head_dim), 32, c.edge),
        v_cache_(kv_bytes(dtype, c.kv_len, c.head_dim), 32, c.edge) {
    random_.fill_uniform(keys_.data(), keys_.size(), -2, 2);
    for (uint32_t i = 0; i < c.kv_len; ++i)
      for (uint32_t d = 0; d < c.head_dim; ++d) keys_[size_t{i} * c.head_dim + d] += c.growth * static_cast<float>(i);
    random_.fill_uniform(values_.data(), values_.size(), -1, 1);
    // NaN wherever nothing is written: the positions beyond kv_len of the last panels.
    std::fill_n(k_cache_.as<uint8_t>(), k_cache_.size(), uint8_t{0xff});
    std::fill_n(v_cache_.as<uint8_t>(), v_cache_.size(), uint8_t{0xff});
    pack_key_rows(dtype, keys_.data(), c.head_dim, c.kv_len, c.head_dim, 0, k_cache_.as<std::byte>());
    unpack_key_rows(dtype, k_cache_.as<std::byte>(), 0, c.kv_len, c.head_dim, keys_.data());
    pack_value_rows(dtype, values_.data(), c.head_dim, c.kv_len, c.head_dim, 0, v_cache_.as<std::byte>());
    unpack_value_rows(dtype, v_cache_.as<std::byte>(), 0, c.kv_len, c.head_dim, values_.data());
    for (uint32_t r = 0; r < c.rows; ++r) {
      float* const q = q_.as<float>() + r * q_stride_;
      random_.fill_uniform(q, c.head_dim, -2, 2);
      if (c.growth != 0)
        for (uint32_t d = 0; d < c.head_dim; ++d) q[d] = r % 3 == 2 ? -std::fabs(q[d]) : std::fabs(q[d]);
      rows_.push_back(q_.as<float>() + r * q_stride_);
      // Grouped heads of one token share a limit; every limit from 1 up occurs where there are enough rows.
      const uint32_t back = (c.rows - 1 - r) / 2;
      limits_.push_back(c.kv_len > back ? c.kv_len - back : 1);
    }
    q_.protect_contents();
    k_cache_.protect_contents();
    v_cache_.protect_contents();
  }

  // Runs positions [begin, end); out has rows of head_dim floats.
  void run(const KernelVariant& v, uint32_t begin, uint32_t end, bool partial, float* out, float* max, float* sum,
           Comparator& comparator) {
    GuardedBuffer scratch(
        attention_scratch_floats(case_.rows, case_.head_dim, size_t{end} - begin, case_.kv_tile) * sizeof(float), 64,
        case_.edge);
    GuardedBuffer dst(size_t{case_.rows} * case_.head_dim * sizeof(float), 4, case_.edge);
    GuardedBuffer max_out(case_.rows * sizeof(float), 4, case_.edge),
        sum_out(case_.rows * sizeof(float), 4, case_.edge);
    std::vector<float*> out_rows;
    for (uint32_t r = 0; r < case_.rows; ++r) out_rows.push_back(dst.as<float>() + size_t{r} * case_.head_dim);
    AttentionArgs args{};
    args.q = rows_.data();
    args.out = out_rows.data();
    args.limit = limits_.data();
    args.k = k_cache_.as<std::byte>();
    args.v = v_cache_.as<std::byte>();
    args.scratch = scratch.as<float>();
    args.max = max_out.as<float>();
    args.sum = sum_out.as<float>();
    args.rows = case_.rows;
    args.head_dim = case_.head_dim;
    args.kv_begin = begin;
    args.kv_end = end;
    args.kv_tile = case_.kv_tile;
    args.scale = scale();
    args.partial = partial;
    v.attention(&args);
    for (const GuardedBuffer* buffer : {&scratch, &dst, &max_out, &sum_out})
      if (!buffer->intact()) comparator.fail(name(v) + ": wrote outside a buffer");
    std::copy_n(dst.as<float>(), size_t{case_.rows} * case_.head_dim, out);
    std::copy_n(max_out.as<float>(), case_.rows, max);
    std::copy_n(sum_out.as<float>(), case_.rows, sum);
  }

  // Only these rows, on all positions.
  void run_some(const KernelVariant& v, uint32_t first, uint32_t rows, uint32_t kv_tile, float* out) {
    std::vector<float*> out_rows;
    for (uint32_t r = 0; r < rows; ++r) out_rows.push_back(out + size_t{r} * case_.head_dim);
    GuardedBuffer scratch(attention_scratch_floats(rows, case_.head_dim, case_.kv_len, kv_tile) * sizeof(float), 64,
                          case_.edge);
    AttentionArgs args{};
    args.q = rows_.data() + first;
    args.out = out_rows.data();
    args.limit = limits_.data() + first;
    args.k = k_cache_.as<std::byte>();
    args.v = v_cache_.as<std::byte>();
    args.scratch = scratch.as<float>();
    args.rows = rows;
    args.head_dim = case_.head_dim;
    args.kv_end = limits_[first + rows - 1];
    args.kv_tile = kv_tile;
    args.scale = scale();
    v.attention(&args);
  }

  void compare(const KernelVariant& v, const double* out, Comparator& comparator) const {
    for (uint32_t r = 0; r < case_.rows; ++r) {
      const reference::AttentionRow expected =
          reference::attention_row(rows_[r], keys_.data(), values_.data(), case_.head_dim, case_.head_dim, limits_[r],
                                   static_cast<double>(scale()));
      const AttentionTolerance tolerance = attention_tolerance(v, expected, case_.head_dim, limits_[r]);
      for (uint32_t i = 0; i < case_.head_dim; ++i)
        comparator.compare(expected.out[i], out[size_t{r} * case_.head_dim + i], tolerance.of(expected.magnitude[i]),
                           [&] { return fmt::format("{} row {} (limit {}) element {}", name(v), r, limits_[r], i); });
    }
  }

  float scale() const { return 1.0f / std::sqrt(static_cast<float>(case_.head_dim)); }
  std::string name(const KernelVariant& v) const {
    return fmt::format("{} rows={} head_dim={} kv_len={} kv_tile={} split={} growth={}", v.id, case_.rows,
                       case_.head_dim, case_.kv_len, case_.kv_tile, case_.split, case_.growth);
  }

 private:
  Case case_;
  reference::Random random_;
  std::vector<float> keys_, values_;  // [kv_len][head_dim], exactly what the caches hold
  size_t q_stride_;
  GuardedBuffer q_, k_cache_, v_cache_;
  std::vector<const float*> rows_;
  std::vector<uint32_t> limits_;
};

void check_case(const KernelVariant& v, const Case& c, Comparator& comparator) {
  Problem problem(v.rhs, c);
  const size_t elems = size_t{c.rows} * c.head_dim;
  std::vector<float> out(elems), max(c.rows), sum(c.rows);
  std::vector<double> merged(elems);
  if (c.split == 0) {
    problem.run(v, 0, c.kv_len, false, out.data(), max.data(), sum.data(), comparator);
    std::copy(out.begin(), out.end(), merged.begin());
  } else {
    std::vector<float> out2(elems), max2(c.rows), sum2(c.rows);
    problem.run(v, 0, c.split, true, out.data(), max.data(), sum.data(), comparator);
    problem.run(v, c.split, c.kv_len, true, out2.data(), max2.data(), sum2.data(), comparator);
    for (uint32_t r = 0; r < c.rows; ++r) {
      // A row that sees nothing of a piece has sum 0 there; every row sees position 0.
      const double top = static_cast<double>(sum2[r] == 0.0f ? max[r] : std::max(max[r], max2[r]));
      const double w1 = std::exp(static_cast<double>(max[r]) - top);
      const double w2 = sum2[r] == 0.0f ? 0 : std::exp(static_cast<double>(max2[r]) - top);
      const double total = w1 * static_cast<double>(sum[r]) + w2 * static_cast<double>(sum2[r]);
      for (uint32_t i = 0; i < c.head_dim; ++i) {
        const size_t at = size_t{r} * c.head_dim + i;
        merged[at] = (w1 * static_cast<double>(out[at]) + w2 * static_cast<double>(out2[at])) / total;
      }
    }
  }
  problem.compare(v, merged.data(), comparator);
}

// A variant that does not round gives a row the same bits in any company and in steps of any size.
void check_company(const KernelVariant& v, Comparator& comparator) {
  const Case all{std::min(v.tile.mr, 61u), 96, 211, 64, 0, Edge::kEnd, 0.02f};
  const size_t dim = all.head_dim;
  std::vector<float> together(all.rows * dim), max(all.rows), sum(all.rows);
  Problem problem(v.rhs, all);
  problem.run(v, 0, all.kv_len, false, together.data(), max.data(), sum.data(), comparator);
  for (const auto& [first, rows] : {std::pair{0u, 1u}, {7u, 3u}, {20u, 5u}, {30u, 8u}, {40u, 13u}})
    for (const uint32_t kv_tile : {16u, 48u, 512u}) {
      if (first + rows > all.rows) continue;
      std::vector<float> some(rows * dim);
      problem.run_some(v, first, rows, kv_tile, some.data());
      for (size_t i = 0; i < some.size(); ++i)
        if (std::memcmp(&some[i], &together[first * dim + i], sizeof(float)) != 0) {
          comparator.fail(fmt::format("{}: rows {} .. {} in steps of {} alone are not what they are among others", v.id,
                                      first, first + rows, kv_tile));
          break;
        }
    }
}

}  // namespace

AttentionTolerance attention_tolerance(const KernelVariant& v, const reference::AttentionRow& row, size_t head_dim,
                                       size_t limit) {
  // A variant that declares 16-bit inputs rounds queries and probabilities to them; the subnormals of f16 end at 2^-24.
  const double input = v.lhs == DType::kBF16 ? kUnitBf16 : v.lhs == DType::kF16 ? kUnitF16 : 0;
  const double subnormal = v.lhs == DType::kF16 ? 0x1p-25 : 0;
  // An error e of a score is an error of e, relative, of its weight; the range reduction of exp adds an error that
  // grows with the score, exp itself is allowed 16 units, and merging pieces 24.
  const double score = (kUnitF32 * (2 + std::sqrt(static_cast<double>(head_dim))) + input) * row.score_magnitude +
                       kUnitF32 * 2 * row.max_score;
  return {2 * score + input + kUnitF32 * (48 + std::sqrt(static_cast<double>(limit))),
          subnormal * static_cast<double>(limit)};
}

void check_attention(const KernelVariant& v, Comparator& comparator) {
  if (v.lhs == DType::kF32) check_company(v, comparator);
  const uint32_t limit = v.max_m == 0 ? v.tile.mr : std::min(v.max_m, v.tile.mr);
  const auto rows = [&](uint32_t r) { return std::min(r, limit); };
  Edge edge = Edge::kEnd;
  Sample sample(v);
  const auto run = [&](uint32_t r, uint32_t head_dim, uint32_t kv_len, uint32_t kv_tile, uint32_t split,
                       float growth = 0) {
    if (!sample.takes_next()) return;
    head_dim = (head_dim + v.tile.kr - 1) / v.tile.kr * v.tile.kr;
    check_case(v, {rows(r), head_dim, kv_len, kv_tile, split, edge, growth}, comparator);
    edge = edge == Edge::kEnd ? Edge::kBegin : Edge::kEnd;
  };
  for (uint32_t r = 1; r <= std::min(limit, 17u); ++r) run(r, 64, 37, 32, 0);
  for (uint32_t r : {31u, 32u, 33u, limit}) run(r, 32, 70, 32, 0);
  // Enough rows and positions for a variant to convert K and V for all rows at once, piece by piece.
  for (uint32_t head_dim : {64u, 100u, 256u, 260u}) run(limit, head_dim, 150, 64, 0);
  run(limit, 80, 700, 1024, 0);
  run(rows(27), 36, 600, 640, 320);
  // Scores that rise or fall by a hundred powers of two and more: what earlier positions added up has to be rescaled.
  for (uint32_t r : {1u, 3u, 6u, 8u, 20u, limit}) {
    run(r, 64, 150, 64, 0, 0.1f);
    run(r, 32, 150, 512, 0, 0.5f);
    run(r, 36, 150, 48, 64, 0.2f);
  }
  for (uint32_t head_dim : {4u, 8u, 12u, 16u, 20u, 36u, 48u, 64u, 80u, 128u, 256u}) {
    run(1, head_dim, 19, 16, 0);
    run(3, head_dim, 50, 32, 0);
    run(5, head_dim, 50, 16, 32);
  }
  for (uint32_t kv_len : {1u, 2u, 15u, 16u, 17u, 31u, 32u, 33u, 47u, 64u, 65u, 127u, 129u, 300u}) {
    for (uint32_t kv_tile : {16u, 64u, 512u}) run(4, 16, kv_len, kv_tile, 0);
    run(1, 64, kv_len, 32, 0);
    if (kv_len > 16) run(4, 16, kv_len, 32, 16);
    if (kv_len > 32) run(8, 64, kv_len, 16, (kv_len - 1) / 16 * 16);  // early rows see nothing of the second piece
  }
}

}  // namespace smepilot::test
