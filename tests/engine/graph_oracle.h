// What forward passes are judged by: an oracle of the whole graph in double, and how alike two rows of logits are.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/driver/operators.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/operators.h"
#include "kernels/reference/quantize.h"
#include "profiles/model_file.h"

namespace smepilot::test {

using Tokens = std::vector<int32_t>;

// Of the random models' byte vocabulary.
inline Tokens some_tokens(size_t count, uint64_t seed = 3) {
  reference::Random random(seed);
  Tokens tokens(count);
  for (int32_t& t : tokens) t = static_cast<int32_t>(3 + random.bits() % 256);
  return tokens;
}

inline double cosine(const float* a, const double* b, size_t n) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < n; ++i) {
    const auto x = static_cast<double>(a[i]);
    ab += x * b[i];
    aa += x * x;
    bb += b[i] * b[i];
  }
  return ab / std::sqrt(aa * bb);
}
inline double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  if (a.size() != b.size() || a.empty()) return 0;
  const std::vector<double> d(b.begin(), b.end());
  return cosine(a.data(), d.data(), d.size());
}

// One pass over all tokens, plainly, in double, from the file's own tensors. No caches, no batches, no packing. Where
// weights are quantised, activations are rounded to 8 bits as every kernel does it.
class Oracle {
 public:
  explicit Oracle(const ModelFile& file) : file_(file), hp_(file.hyper) {}

  std::vector<double> logits(const Tokens& tokens) const {
    const size_t m = tokens.size(), d = hp_.embedding;
    const std::vector<double> table = values(*file_.token_embd);
    std::vector<double> x;
    for (const int32_t t : tokens)
      x.insert(x.end(), table.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(t) * d),
               table.begin() + static_cast<std::ptrdiff_t>((static_cast<size_t>(t) + 1) * d));
    for (const LayerTensors& l : file_.layers) {
      const size_t number = static_cast<size_t>(&l - file_.layers.data()) + 1;
      attention(l, m, hp_.rope_free_every == 0 || number % hp_.rope_free_every != 0, x);
      const std::vector<double> h = norm(x, *l.ffn_norm);
      for (size_t t = 0; t < m; ++t) {
        const std::vector<double> in(h.begin() + static_cast<std::ptrdiff_t>(t * d),
                                     h.begin() + static_cast<std::ptrdiff_t>((t + 1) * d));
        const std::vector<double> out = l.ffn_gate_exps != nullptr ? experts(l, in) : ffn(l, in);
        for (size_t i = 0; i < d; ++i) x[t * d + i] += out[i];
      }
    }
    return times(norm(x, *file_.output_norm), *file_.output);
  }

 private:
  static std::vector<double> values(const GgufTensor& t) {
    std::vector<float> f(t.elements);
    const size_t k = t.size[0], row_bytes = file_bytes(t.dtype, k);
    for (size_t row = 0; row * k < t.elements; ++row)
      reference::dequantize_row(t.dtype, t.bytes.data() + row * row_bytes, k, f.data() + row * k);
    return {f.begin(), f.end()};
  }
  // in[m][k] * w[n][k]^T; of a tensor of three dimensions, its slice number `slice`.
  static std::vector<double> times(std::vector<double> in, const GgufTensor& weight, size_t slice = 0) {
    const size_t k = weight.size[0], n = weight.size[1], m = in.size() / k;
    const std::vector<double> all = values(weight);
    const double* const w = all.data() + slice * n * k;
    if (traits(weight.dtype).block_elems > 1) {
      std::vector<float> rounded(in.begin(), in.end());
      std::vector<std::byte> q8(lhs_q8_bytes(m, k));
      reference::quantize_lhs_q8(rounded.data(), k, m, k, q8.data(), lhs_q8_group(weight.dtype));
      reference::dequantize_lhs_q8(q8.data(), m, k, rounded.data());
      in.assign(rounded.begin(), rounded.end());
    }
    std::vector<double> out(m * n);
    for (size_t r = 0; r < m; ++r)
      for (size_t c = 0; c < n; ++c)
        for (size_t i = 0; i < k; ++i) out[r * n + c] += in[r * k + i] * w[c * k + i];
    return out;
  }
  // RMS norm of each piece of weight.size() values.
  std::vector<double> norm(const std::vector<double>& x, const GgufTensor& weight) const {
    const std::vector<double> w = values(weight);
    std::vector<double> out(x.size());
    for (size_t at = 0; at < x.size(); at += w.size()) {
      double squares = 0;
      for (size_t i = 0; i < w.size(); ++i) squares += x[at + i] * x[at + i];
      const double scale = 1 / std::sqrt(squares / static_cast<double>(w.size()) + static_cast<double>(hp_.rms_eps));
      for (size_t i = 0; i < w.size(); ++i) out[at + i] = x[at + i] * scale * w[i];
    }
    return out;
  }
  void rotate(std::vector<double>& x, size_t m) const {
    const size_t hd = hp_.head_dim, half = hp_.rope_dims / 2, heads = x.size() / m / hd;
    for (size_t t = 0; t < m; ++t)
      for (size_t h = 0; h < heads; ++h)
        for (size_t i = 0; i < half; ++i) {
          const double angle = static_cast<double>(t) * std::pow(static_cast<double>(hp_.rope_base),
                                                                 -2.0 * static_cast<double>(i) / hp_.rope_dims);
          double* const head = x.data() + (t * heads + h) * hd;
          double& a = head[hp_.rope_interleaved ? 2 * i : i];
          double& b = head[hp_.rope_interleaved ? 2 * i + 1 : i + half];
          const double a0 = a, b0 = b;
          a = a0 * std::cos(angle) - b0 * std::sin(angle);
          b = a0 * std::sin(angle) + b0 * std::cos(angle);
        }
  }
  static void add(std::vector<double>& x, const GgufTensor* bias) {
    if (bias == nullptr) return;
    const std::vector<double> b = values(*bias);
    for (size_t i = 0; i < x.size(); ++i) x[i] += b[i % b.size()];
  }
  void attention(const LayerTensors& l, size_t m, bool rotated, std::vector<double>& x) const {
    const size_t hd = hp_.head_dim, heads = hp_.heads, kv_heads = hp_.kv_heads;
    const std::vector<double> h = norm(x, *l.attn_norm);
    std::vector<double> q = times(h, *l.attn_q), k = times(h, *l.attn_k);
    std::vector<double> v = times(h, *l.attn_v);
    add(q, l.attn_q_bias);
    add(k, l.attn_k_bias);
    add(v, l.attn_v_bias);
    if (l.attn_q_norm != nullptr) q = norm(q, *l.attn_q_norm);
    if (l.attn_k_norm != nullptr) k = norm(k, *l.attn_k_norm);
    if (rotated) {
      rotate(q, m);
      rotate(k, m);
    }
    std::vector<double> out(m * heads * hd);
    for (size_t t = 0; t < m; ++t)
      for (size_t head = 0; head < heads; ++head) {
        const size_t kv = head / (heads / kv_heads);
        std::vector<double> p(t + 1);
        double sum = 0;
        for (size_t s = 0; s <= t; ++s) {
          for (size_t i = 0; i < hd; ++i) p[s] += q[(t * heads + head) * hd + i] * k[(s * kv_heads + kv) * hd + i];
          sum += p[s] = std::exp(p[s] / std::sqrt(static_cast<double>(hd)));
        }
        for (size_t s = 0; s <= t; ++s)
          for (size_t i = 0; i < hd; ++i)
            out[(t * heads + head) * hd + i] += p[s] / sum * v[(s * kv_heads + kv) * hd + i];
      }
    const std::vector<double> proj = times(out, *l.attn_output);
    for (size_t i = 0; i < x.size(); ++i) x[i] += proj[i];
  }
  static std::vector<double> gated(const std::vector<double>& in, const GgufTensor& gate, const GgufTensor& up,
                                   const GgufTensor& down, size_t slice = 0) {
    std::vector<double> g = times(in, gate, slice);
    const std::vector<double> u = times(in, up, slice);
    for (size_t i = 0; i < g.size(); ++i) g[i] = g[i] / (1 + std::exp(-g[i])) * u[i];
    return times(g, down, slice);
  }
  static std::vector<double> ffn(const LayerTensors& l, const std::vector<double>& in) {
    return gated(in, *l.ffn_gate, *l.ffn_up, *l.ffn_down);
  }
  std::vector<double> experts(const LayerTensors& l, const std::vector<double>& in) const {
    std::vector<double> p = times(in, *l.ffn_gate_inp);
    for (double& e : p) e = std::exp(e);  // the sum cancels where the chosen ones are made to add up to 1
    std::vector<size_t> order(p.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
    double sum = 0;
    for (size_t i = 0; i < hp_.experts_used; ++i) sum += p[order[i]];
    std::vector<double> out(in.size());
    for (size_t i = 0; i < hp_.experts_used; ++i) {
      const std::vector<double> one = gated(in, *l.ffn_gate_exps, *l.ffn_up_exps, *l.ffn_down_exps, order[i]);
      for (size_t c = 0; c < out.size(); ++c) out[c] += p[order[i]] / sum * one[c];
    }
    return out;
  }

  const ModelFile& file_;
  const HyperParameters& hp_;
};

}  // namespace smepilot::test
