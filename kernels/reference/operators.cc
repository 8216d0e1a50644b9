#include "kernels/reference/operators.h"

#include <algorithm>
#include <cmath>

namespace smepilot::reference {

MatmulResult matmul(const float* lhs, const float* rhs, size_t m, size_t n, size_t k) {
  MatmulResult result{std::vector<double>(m * n), std::vector<double>(m * n)};
  for (size_t row = 0; row < m; ++row) {
    for (size_t col = 0; col < n; ++col) {
      double sum = 0, magnitude = 0;
      for (size_t i = 0; i < k; ++i) {
        const double product = static_cast<double>(lhs[row * k + i]) * static_cast<double>(rhs[col * k + i]);
        sum += product;
        magnitude += std::fabs(product);
      }
      result.dst[row * n + col] = sum;
      result.magnitude[row * n + col] = magnitude;
    }
  }
  return result;
}

AttentionRow attention_row(const float* q, const float* k, const float* v, size_t kv_stride, size_t head_dim,
                           size_t limit, double scale) {
  AttentionRow row{std::vector<double>(head_dim), std::vector<double>(head_dim)};
  std::vector<double> p(limit);
  double max = -INFINITY, sum = 0;
  for (size_t t = 0; t < limit; ++t) {
    double score = 0, magnitude = 0;
    for (size_t i = 0; i < head_dim; ++i) {
      const double product = static_cast<double>(q[i]) * static_cast<double>(k[t * kv_stride + i]);
      score += product;
      magnitude += std::fabs(product);
    }
    p[t] = score * scale;
    max = std::max(max, p[t]);
    row.max_score = std::max(row.max_score, std::fabs(p[t]));
    row.score_magnitude = std::max(row.score_magnitude, magnitude * scale);
  }
  for (size_t t = 0; t < limit; ++t) sum += p[t] = std::exp(p[t] - max);
  for (size_t t = 0; t < limit; ++t) {
    for (size_t i = 0; i < head_dim; ++i) {
      const double product = p[t] / sum * static_cast<double>(v[t * kv_stride + i]);
      row.out[i] += product;
      row.magnitude[i] += std::fabs(product);
    }
  }
  return row;
}

void attention(const float* q, const float* k, const float* v, size_t m, size_t heads, size_t kv_heads, size_t head_dim,
               size_t kv_len, double scale, double* out) {
  for (size_t t = 0; t < m; ++t) {
    for (size_t h = 0; h < heads; ++h) {
      const size_t kv = h * kv_heads / heads;
      const AttentionRow row = attention_row(q + (t * heads + h) * head_dim, k + kv * head_dim, v + kv * head_dim,
                                             kv_heads * head_dim, head_dim, kv_len - m + t + 1, scale);
      std::copy(row.out.begin(), row.out.end(), out + (t * heads + h) * head_dim);
    }
  }
}

void rmsnorm(const float* x, const float* weight, size_t cols, double eps, double* dst) {
  double squares = 0;
  for (size_t i = 0; i < cols; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const double scale = 1 / std::sqrt(squares / static_cast<double>(cols) + eps);
  for (size_t i = 0; i < cols; ++i) dst[i] = static_cast<double>(x[i]) * scale * static_cast<double>(weight[i]);
}

void rope(const float* x, const float* cos_sin, size_t head_dim, size_t half, bool interleaved, double* dst,
          double* magnitude) {
  for (size_t i = 0; i < head_dim; ++i) {
    dst[i] = static_cast<double>(x[i]);
    magnitude[i] = std::fabs(dst[i]);
  }
  for (size_t i = 0; i < half; ++i) {
    const size_t a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + half;
    const double c = static_cast<double>(cos_sin[i]), s = static_cast<double>(cos_sin[half + i]);
    const double xa = static_cast<double>(x[a]), xb = static_cast<double>(x[b]);
    dst[a] = xa * c - xb * s;
    dst[b] = xa * s + xb * c;
    magnitude[a] = std::fabs(xa * c) + std::fabs(xb * s);
    magnitude[b] = std::fabs(xa * s) + std::fabs(xb * c);
  }
}

void swiglu(const float* gate, const float* up, size_t cols, double* dst) {
  for (size_t i = 0; i < cols; ++i) {
    const double g = static_cast<double>(gate[i]);
    dst[i] = g / (1 + std::exp(-g)) * static_cast<double>(up[i]);
  }
}

void softmax(const float* x, size_t cols, double* dst) {
  const double max = static_cast<double>(*std::max_element(x, x + cols));
  double sum = 0;
  for (size_t i = 0; i < cols; ++i) sum += dst[i] = std::exp(static_cast<double>(x[i]) - max);
  for (size_t i = 0; i < cols; ++i) dst[i] /= sum;
}

}  // namespace smepilot::reference
