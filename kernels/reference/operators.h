// The operators, slow and clear, in double accumulation: what every kernel is compared with. Beside the result some
// give the sum of magnitudes that it was added up from, because that is what rounding errors are proportional to.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace smepilot::reference {

// dst[m][n] = lhs[m][k] * rhs[n][k]^T, all dense. magnitude[m][n] = sum of |products|.
struct MatmulResult {
  std::vector<double> dst, magnitude;
};
MatmulResult matmul(const float* lhs, const float* rhs, size_t m, size_t n, size_t k);

// Attention of `heads` query heads that share `kv_heads` heads (head h reads h * kv_heads / heads). Token t of m stands
// at position kv_len - m + t and sees the positions up to its own. q, out: [m][heads][head_dim];
// k, v: [kv_len][kv_heads][head_dim].
void attention(const float* q, const float* k, const float* v, size_t m, size_t heads, size_t kv_heads, size_t head_dim,
               size_t kv_len, double scale, double* out);

// One query row against positions 0 .. limit-1 of k and v [limit][head_dim] (rows kv_stride floats apart).
// max_score: largest |score|; score_magnitude: largest sum of |q * k| * scale; magnitude[head_dim]: sum of p * |v|.
struct AttentionRow {
  std::vector<double> out, magnitude;
  double max_score = 0, score_magnitude = 0;
};
AttentionRow attention_row(const float* q, const float* k, const float* v, size_t kv_stride, size_t head_dim,
                           size_t limit, double scale);

// dst[cols] = x / sqrt(mean(x^2) + eps) * weight
void rmsnorm(const float* x, const float* weight, size_t cols, double eps, double* dst);

// Rotates the first 2*half elements of one head: dst[head_dim] from x[head_dim], cos_sin[2][half]. `interleaved`: pairs
// (2i, 2i+1), else (i, i+half). magnitude[head_dim]: sum of |products|.
void rope(const float* x, const float* cos_sin, size_t head_dim, size_t half, bool interleaved, double* dst,
          double* magnitude);

// dst = gate / (1 + exp(-gate)) * up
void swiglu(const float* gate, const float* up, size_t cols, double* dst);

// dst = exp(x - max) / sum
void softmax(const float* x, size_t cols, double* dst);

}  // namespace smepilot::reference
