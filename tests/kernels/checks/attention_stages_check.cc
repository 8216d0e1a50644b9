// Attention in stages: each stage against what it should make of exactly what the stages before it left, and the whole
// against the oracle. Whatever the contract leaves undefined is NaN when the next stage comes.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/abi/attention_stages.h"
#include "kernels/base/integer.h"
#include "kernels/pack/pack_kv.h"
#include "kernels/reference/quantize.h"
#include "kernels/registry/registry.h"
#include "tests/kernels/checks/checks.h"
#include "tests/kernels/support/guarded_buffer.h"

namespace smepilot::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kTiny = 0x1p-120;  // results this small may be 0

struct Case {
  uint32_t rows, head_dim, kv_len, kv_tile;
  uint32_t begin;      // of the first tile
  uint32_t per_token;  // query rows of one token, which share a limit
  Edge edge;
};

class Stages {
 public:
  Stages(const KernelVariant& v, const KernelVariant& cores, const Case& c, Comparator& comparator)
      : v_(v),
        own_(*v.attention_tile),
        cores_(*cores.attention_tile),
        case_(c),
        comparator_(comparator),
        stride_(round_up(c.rows, kPanel)),
        dim_(round_up(c.head_dim, kPanel)),
        scale_(1.0f / std::sqrt(static_cast<float>(c.head_dim))),
        keys_(size_t{c.kv_len} * c.head_dim),
        values_(keys_.size()),
        q_(size_t{c.rows} * c.head_dim * sizeof(float), 4, c.edge),
        out_(q_.size(), 4, c.edge),
        k_(kv_bytes(v.rhs, c.kv_len, c.head_dim), 32, c.edge),
        v_cache_(k_.size(), 32, c.edge),
        queries_(own_.query_bytes(c.rows, c.head_dim), 64, c.edge),
        scores_(size_t{round_up(c.kv_tile, kPanel)} * stride_ * sizeof(float), 64, c.edge),
        output_(size_t{c.rows} * dim_ * sizeof(float), 64, c.edge),
        max_(stride_ * sizeof(float), 64, c.edge),
        sum_(max_.size(), 64, c.edge),
        rescale_(max_.size(), 64, c.edge) {
    if (queries_.size() > most_query_bytes(c.rows, c.head_dim)) fail("asks for too much room for its queries");
    reference::Random random(c.rows + 100 * c.head_dim + 100000ull * c.kv_len);
    random.fill_uniform(keys_.data(), keys_.size(), -2, 2);
    random.fill_uniform(values_.data(), values_.size(), -1, 1);
    pack_key_rows(v.rhs, keys_.data(), c.head_dim, c.kv_len, c.head_dim, 0, k_.as<std::byte>());
    unpack_key_rows(v.rhs, k_.as<std::byte>(), 0, c.kv_len, c.head_dim, keys_.data());
    pack_value_rows(v.rhs, values_.data(), c.head_dim, c.kv_len, c.head_dim, 0, v_cache_.as<std::byte>());
    unpack_value_rows(v.rhs, v_cache_.as<std::byte>(), 0, c.kv_len, c.head_dim, values_.data());
    for (uint32_t r = 0; r < c.rows; ++r) {
      float* row = q_.as<float>() + size_t{r} * c.head_dim;
      random.fill_uniform(row, c.head_dim, -2, 2);
      q_rows_.push_back(row);
      out_rows_.push_back(out_.as<float>() + size_t{r} * c.head_dim);
      const uint32_t back = (c.rows - 1 - r) / c.per_token;
      limits_.push_back(c.kv_len > back ? c.kv_len - back : 0);
    }
    for (GuardedBuffer* b : {&q_, &k_, &v_cache_}) b->protect_contents();
    t_.q = q_rows_.data();
    t_.out = out_rows_.data();
    t_.limit = limits_.data();
    t_.k = k_.as<std::byte>();
    t_.v = v_cache_.as<std::byte>();
    t_.queries = queries_.as<std::byte>();
    t_.scores = scores_.as<float>();
    t_.output = output_.as<float>();
    t_.max = max_.as<float>();
    t_.sum = sum_.as<float>();
    t_.rescale = rescale_.as<float>();
    t_.rows = c.rows;
    t_.stride = stride_;
    t_.head_dim = c.head_dim;
    t_.scale = scale_;
  }

  void run() {
    own_.pack_queries(&t_);
    queries_.protect_contents();
    for (uint32_t begin = case_.begin; begin < case_.kv_len; begin += case_.kv_tile) {
      t_.kv_begin = begin;
      t_.kv_end = std::min(begin + case_.kv_tile, case_.kv_len);
      t_.first = begin == case_.begin;
      scores();
      softmax();
      values();
    }
    (own_.finish != nullptr ? own_.finish : cores_.finish)(&t_);
    whole();
    for (const GuardedBuffer* b : {&out_, &scores_, &output_, &max_, &sum_, &rescale_})
      if (!b->intact()) fail("wrote outside a buffer");
  }

 private:
  uint32_t positions() const { return t_.kv_end - t_.kv_begin; }
  uint32_t sees(uint32_t row) const {
    return limits_[row] <= t_.kv_begin ? 0 : std::min(limits_[row], t_.kv_end) - t_.kv_begin;
  }
  bool panel_sees(uint32_t row, uint32_t p) const {
    const uint32_t first = row / kPanel * kPanel;
    for (uint32_t r = first; r < std::min(first + kPanel, case_.rows); ++r)
      if (sees(r) > p) return true;
    return false;
  }
  float& score(uint32_t p, uint32_t row) { return t_.scores[size_t{p} * stride_ + row]; }
  double input_error() const { return v_.lhs == DType::kBF16 ? kUnitBf16 : v_.lhs == DType::kF16 ? kUnitF16 : 0; }
  // Positions from kv_end on, and rows that do not exist.
  void poison() {
    for (uint32_t p = 0; p < round_up(positions(), kPanel); ++p)
      for (uint32_t r = 0; r < stride_; ++r)
        if (p >= positions() || r >= case_.rows) score(p, r) = kNan;
  }

  void scores() {
    std::fill_n(t_.scores, size_t{round_up(positions(), kPanel)} * stride_, kNan);
    own_.scores(&t_);
    for (uint32_t p = 0; p < positions(); ++p)
      for (uint32_t r = 0; r < case_.rows; ++r) {
        if (!panel_sees(r, p)) {
          score(p, r) = kNan;
          continue;
        }
        double expected = 0, magnitude = 0;
        for (uint32_t d = 0; d < case_.head_dim; ++d) {
          const double x = static_cast<double>(q_rows_[r][d]) *
                           static_cast<double>(keys_[size_t{t_.kv_begin + p} * case_.head_dim + d]);
          expected += x;
          magnitude += std::fabs(x);
        }
        const double scale = static_cast<double>(scale_);
        compare("score", r, p, expected * scale, score(p, r),
                magnitude * scale * (kUnitF32 * (4 + std::sqrt(static_cast<double>(case_.head_dim))) + input_error()));
      }
    poison();
  }

  // Relative error of exp(x) where x is the difference of two floats.
  static double exp_error(double x) { return kUnitF32 * (16 + 2 * std::fabs(x)); }

  void softmax() {
    const std::vector<float> s(t_.scores, t_.scores + size_t{round_up(positions(), kPanel)} * stride_);
    std::vector<float> old_max(stride_, -INFINITY), old_sum(stride_, 0.0f);
    if (t_.first) {
      for (float* x : {t_.max, t_.sum, t_.rescale}) std::fill_n(x, stride_, kNan);
    } else {
      old_max.assign(t_.max, t_.max + stride_);
      old_sum.assign(t_.sum, t_.sum + stride_);
    }
    (own_.softmax != nullptr ? own_.softmax : cores_.softmax)(&t_);
    for (uint32_t r = 0; r < case_.rows; ++r) {
      float max = old_max[r];
      for (uint32_t p = 0; p < sees(r); ++p) max = std::max(max, s[size_t{p} * stride_ + r]);
      if (t_.max[r] != max) compare("max", r, 0, static_cast<double>(max), t_.max[r], 0);
      const double shift = static_cast<double>(max);
      const bool before = old_max[r] != -INFINITY;
      const double by = static_cast<double>(old_max[r]) - shift, rescale = before ? std::exp(by) : 0;
      if (before) compare("rescale", r, 0, rescale, t_.rescale[r], rescale * exp_error(by) + kTiny);
      if (!std::isfinite(t_.rescale[r])) fail("rescale is not finite");
      double sum = before ? rescale * static_cast<double>(old_sum[r]) : 0, error = sum * exp_error(before ? by : 0);
      for (uint32_t p = 0; p < positions(); ++p) {
        if (p >= sees(r)) {
          if (!(score(p, r) == 0.0f)) compare("probability of what is not seen", r, p, 0, score(p, r), 0);
          continue;
        }
        const double x = static_cast<double>(s[size_t{p} * stride_ + r]) - shift, e = std::exp(x);
        compare("probability", r, p, e, score(p, r), e * exp_error(x) + kTiny);
        sum += e;
        error += e * exp_error(x);
      }
      compare("sum", r, 0, sum, t_.sum[r], error + sum * kUnitF32 * (positions() + 4.0));
    }
    poison();
  }

  void values() {
    if (t_.first) std::fill_n(t_.output, size_t{case_.rows} * dim_, kNan);
    const std::vector<float> old(t_.output, t_.output + size_t{case_.rows} * dim_);
    own_.values(&t_);
    for (uint32_t r = 0; r < case_.rows; ++r)
      for (uint32_t d = 0; d < case_.head_dim; ++d) {
        double expected = 0, magnitude = 0;
        if (!t_.first) {
          expected = static_cast<double>(old[r * dim_ + d]) * static_cast<double>(t_.rescale[r]);
          magnitude = std::fabs(expected);
        }
        for (uint32_t p = 0; p < positions(); ++p) {
          const double x = static_cast<double>(score(p, r)) *
                           static_cast<double>(values_[size_t{t_.kv_begin + p} * case_.head_dim + d]);
          expected += x;
          magnitude += std::fabs(x);
        }
        const double subnormal = v_.lhs == DType::kF16 ? 0x1p-25 * positions() : 0;
        compare("output", r, d, expected, t_.output[r * dim_ + d],
                magnitude * (kUnitF32 * (4 + std::sqrt(static_cast<double>(positions()))) + input_error()) + subnormal +
                    kTiny);
      }
  }

  void whole() {
    for (uint32_t r = 0; r < case_.rows; ++r) {
      const size_t dim = case_.head_dim, first = case_.begin * dim;
      if (limits_[r] <= case_.begin) {
        for (uint32_t d = 0; d < dim; ++d) compare("result of a row that sees nothing", r, d, 0, out_rows_[r][d], 0);
        continue;
      }
      const reference::AttentionRow expected =
          reference::attention_row(q_rows_[r], keys_.data() + first, values_.data() + first, dim, dim,
                                   limits_[r] - case_.begin, static_cast<double>(scale_));
      const AttentionTolerance tolerance = attention_tolerance(v_, expected, dim, limits_[r] - case_.begin);
      for (uint32_t d = 0; d < dim; ++d)
        compare("result", r, d, expected.out[d], out_rows_[r][d], tolerance.of(expected.magnitude[d]));
    }
  }

  void compare(const char* what, uint32_t row, uint32_t at, double expected, float actual, double tolerance) {
    comparator_.compare(expected, static_cast<double>(actual), tolerance,
                        [&] { return fmt::format("{}: {} of row {} at {}", name(), what, row, at); });
  }
  void fail(const char* what) { comparator_.fail(name() + ": " + what); }
  std::string name() const {
    return fmt::format("{} rows={} head_dim={} kv_len={} kv_tile={} begin={} tile {}", v_.id, case_.rows,
                       case_.head_dim, case_.kv_len, case_.kv_tile, case_.begin, t_.kv_begin);
  }

  const KernelVariant& v_;
  const AttentionStages &own_, &cores_;
  Case case_;
  Comparator& comparator_;
  uint32_t stride_, dim_;
  float scale_;
  std::vector<float> keys_, values_;  // [kv_len][head_dim], exactly what the caches hold
  GuardedBuffer q_, out_, k_, v_cache_, queries_, scores_, output_, max_, sum_, rescale_;
  std::vector<const float*> q_rows_;
  std::vector<float*> out_rows_;
  std::vector<uint32_t> limits_;
  AttentionTile t_{};
};

}  // namespace

void check_attention_stages(const KernelVariant& v, Comparator& comparator) {
  // Where a matrix unit has no softmax, that of the portable kernel.
  const KernelVariant* cores = nullptr;
  for (const KernelVariant* other : all_variants())
    if (other->op == OpKind::kAttentionTile && other->isa == kIsaPortable && other->rhs == v.rhs) cores = other;
  if (cores == nullptr) return comparator.fail("there is no portable attention in stages");
  const uint32_t limit = v.tile.mr;
  Edge edge = Edge::kEnd;
  const auto run = [&](uint32_t rows, uint32_t head_dim, uint32_t kv_len, uint32_t kv_tile, uint32_t per_token,
                       uint32_t begin = 0) {
    head_dim = round_up(head_dim, v.tile.kr);
    Stages(v, *cores, {std::min(rows, limit), head_dim, kv_len, kv_tile, begin, per_token, edge}, comparator).run();
    edge = edge == Edge::kEnd ? Edge::kBegin : Edge::kEnd;
  };
  for (uint32_t rows = 1; rows <= 34; ++rows) run(rows, 32, 37, 32, 3);
  for (uint32_t rows : {47u, 48u, 63u, 64u, 65u, 96u, 130u, limit}) run(rows, 36, 75, 48, 3);
  for (uint32_t head_dim : {4u, 8u, 12u, 16u, 20u, 28u, 36u, 44u, 48u, 64u, 80u, 100u, 128u, 256u}) {
    run(1, head_dim, 19, 16, 1);
    run(21, head_dim, 50, 32, 2);
  }
  run(18, v.rhs == DType::kF16 ? 1060 : 512, 21, 16, 1);
  for (uint32_t kv_len : {1u, 2u, 3u, 15u, 16u, 17u, 31u, 32u, 33u, 63u, 64u, 65u, 129u})
    for (uint32_t kv_tile : {16u, 64u, 128u}) run(20, 16, kv_len, kv_tile, 3);
  run(64, 128, 300, 128, 3);
  run(64, 64, 200, 112, 1, 96);  // many rows that see nothing, or nothing of a tile
  run(20, 16, 33, 16, 1, 16);
  run(250, 16, 90, 64, 2);
}

}  // namespace smepilot::test
