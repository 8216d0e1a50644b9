// Calls one matmul variant, or the stages of an attention tile, once on valid random operands: what
// scripts/count_instructions.py counts the instructions of. For attention M is query rows, N positions, all of which
// every row sees, and K the head dimension; the softmax between the stages is that of the portable variant.
//   count_call VARIANT M N K
#include <fmt/format.h>

#include <charconv>
#include <cstring>
#include <vector>

#include "kernels/abi/attention_stages.h"
#include "kernels/base/integer.h"
#include "kernels/driver/operators.h"
#include "kernels/pack/pack_kv.h"
#include "kernels/pack/pack_rhs.h"
#include "kernels/reference/quantize.h"
#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

int matmul(const KernelVariant* v, uint32_t m, uint32_t n, uint32_t k) {
  reference::Random random(1);
  const size_t row_bytes = file_bytes(v->rhs, k);
  std::vector<std::byte> file(n * row_bytes);
  for (uint32_t row = 0; row < n; ++row) reference::random_row(v->rhs, random, k, file.data() + row * row_bytes);
  AlignedBuffer rhs = AlignedBuffer::allocate(rhs_bytes(v->rhs, n, k)).value();
  pack_rhs(v->rhs, file.data(), row_bytes, n, k, rhs.data());
  std::vector<float> x(size_t{m} * k), dst(size_t{m} * n);
  random.fill_uniform(x.data(), x.size(), -1, 1);
  const LhsForm form = lhs_form(*v);
  AlignedBuffer lhs = AlignedBuffer::allocate(lhs_bytes(form.layout, m, k) + 64).value();
  WorkerPool pool(1);
  if (form.layout != Layout::kRowMajor) {
    const Result<ElementwiseConfig> elementwise = default_elementwise(1);
    if (!elementwise.ok() || elementwise->packer(form.layout) == nullptr) return 1;
    pack_lhs(pool, *elementwise, form, x.data(), k, m, k, lhs.data());
  }
  MatmulArgs args{};
  args.lhs = form.layout == Layout::kRowMajor ? static_cast<const void*>(x.data()) : lhs.data();
  args.lhs_stride = k * sizeof(float);
  args.rhs = rhs.data();
  args.rhs_stride = rhs_planes(v->rhs, k).panel_bytes;
  args.dst = dst.data();
  args.dst_stride = n;
  args.m = m;
  args.n = n;
  args.k = k;
  args.lhs_group = form.group;
  v->matmul(&args);
  fmt::print("{}\n", static_cast<double>(dst[0]));
  return 0;
}

int attention(const KernelVariant* v, uint32_t rows, uint32_t positions, uint32_t head_dim) {
  const KernelVariant* cores = find_variant("attention_tile.f32.f32.f16.256x16.portable.fma");
  if (cores == nullptr) return 1;
  const AttentionStages& stages = *v->attention_tile;
  const auto buffer = [](size_t bytes) { return AlignedBuffer::allocate(bytes).value(); };
  reference::Random random(1);
  std::vector<float> kv(size_t{positions} * head_dim), q(size_t{rows} * head_dim), out(q.size());
  random.fill_uniform(kv.data(), kv.size(), -1, 1);
  random.fill_uniform(q.data(), q.size(), -1, 1);
  AlignedBuffer k = buffer(kv_bytes(v->rhs, positions, head_dim)), values = buffer(k.size());
  pack_key_rows(v->rhs, kv.data(), head_dim, positions, head_dim, 0, k.data());
  pack_value_rows(v->rhs, kv.data(), head_dim, positions, head_dim, 0, values.data());
  std::vector<const float*> q_rows;
  std::vector<float*> out_rows;
  for (uint32_t r = 0; r < rows; ++r) {
    q_rows.push_back(q.data() + size_t{r} * head_dim);
    out_rows.push_back(out.data() + size_t{r} * head_dim);
  }
  const std::vector<uint32_t> limit(rows, positions);
  AttentionTile t{};
  t.stride = round_up(rows, kPanel);
  AlignedBuffer queries = buffer(most_query_bytes(rows, head_dim)), row_state = buffer(3 * t.stride * 4);
  AlignedBuffer scores = buffer(size_t{round_up(positions, kPanel)} * t.stride * 4);
  AlignedBuffer output = buffer(size_t{rows} * round_up(head_dim, kPanel) * 4);
  t.q = q_rows.data();
  t.out = out_rows.data();
  t.limit = limit.data();
  t.k = k.data();
  t.v = values.data();
  t.queries = queries.data();
  t.scores = reinterpret_cast<float*>(scores.data());
  t.output = reinterpret_cast<float*>(output.data());
  t.max = reinterpret_cast<float*>(row_state.data());
  t.sum = t.max + t.stride;
  t.rescale = t.sum + t.stride;
  t.rows = rows;
  t.head_dim = head_dim;
  t.kv_end = positions;
  t.scale = 1;
  t.first = true;
  stages.pack_queries(&t);
  stages.scores(&t);
  cores->attention_tile->softmax(&t);
  stages.values(&t);
  cores->attention_tile->finish(&t);
  fmt::print("{}\n", static_cast<double>(out[0]));
  return 0;
}

int run(const char* id, uint32_t m, uint32_t n, uint32_t k) {
  const KernelVariant* v = find_variant(id);
  if (v != nullptr && m != 0 && m <= v->tile.mr && n != 0 && k != 0 && k % v->tile.kr == 0) {
    if (v->op == OpKind::kMatmul) return matmul(v, m, n, k);
    if (v->op == OpKind::kAttentionTile && kv_dtype_fits(v->rhs, k)) return attention(v, m, n, k);
  }
  fmt::print(stderr, "count_call: no variant '{}' of matmul or attention_tile for m={} n={} k={}\n", id, m, n, k);
  return 1;
}

bool number(const char* text, uint32_t& value) {
  const char* end = text + std::strlen(text);
  const auto [at, error] = std::from_chars(text, end, value);
  return error == std::errc() && at == end;
}

}  // namespace
}  // namespace smepilot

int main(int argc, char** argv) {
  uint32_t m = 0, n = 0, k = 0;
  if (argc != 5 || !smepilot::number(argv[2], m) || !smepilot::number(argv[3], n) || !smepilot::number(argv[4], k)) {
    fmt::print(stderr, "usage: count_call VARIANT M N K\n");
    return 2;
  }
  return smepilot::run(argv[1], m, n, k);
}
