#include <algorithm>
#include <cmath>

#include "profiles/model_shape.h"

namespace smepilot {

std::vector<ModelOperator> model_operators(const ModelShape& model, uint32_t m, uint32_t kv_len, Pass pass) {
  m = std::max(m, 1u);
  kv_len = std::max(kv_len, pass == Pass::kPrefill ? m : 1u);
  // If every token picks experts_used of the experts evenly, a pass of m tokens reaches this many of them.
  double reached = 0;
  if (model.experts != 0) {
    const double miss = 1 - static_cast<double>(model.experts_used) / model.experts;
    reached = std::max(model.experts * (1 - std::pow(miss, m)), 1.0);
  }
  std::vector<ModelOperator> out;
  for (const MatrixShape& w : model.matrices) {
    OperatorShape shape{OpKind::kMatmul, w.dtype, m, w.n, w.k, 0, 0};
    uint32_t calls = w.count;
    if (w.role == "output") {
      // Only the last token of a prompt is sampled from; in batched decode every sequence is.
      if (pass == Pass::kPrefill) shape.m = 1;
    } else if (w.role.ends_with("_exps") && model.experts != 0) {
      shape.m = std::max(1u, static_cast<uint32_t>(std::lround(double{1} * m * model.experts_used / reached)));
      calls = static_cast<uint32_t>(std::lround(w.count / static_cast<double>(model.experts) * reached));
    }
    out.push_back({w.role, shape, calls});
  }
  OperatorShape attention{OpKind::kAttention, model.kv_type, m, model.heads, model.head_dim, kv_len, model.kv_heads};
  uint32_t calls = model.layers;
  if (pass == Pass::kDecode) {  // each sequence attends to a cache of its own
    attention.m = 1;
    calls *= m;
  }
  out.push_back({"attention", attention, calls});
  return out;
}

}  // namespace smepilot
