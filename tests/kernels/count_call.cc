// Calls one matmul variant once on valid random operands: what scripts/count_instructions.py counts the instructions
// of.
//   count_call VARIANT M N K
#include <fmt/format.h>

#include <charconv>
#include <cstring>
#include <vector>

#include "kernels/driver/operators.h"
#include "kernels/pack/pack_rhs.h"
#include "kernels/reference/quantize.h"
#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

int run(const char* id, uint32_t m, uint32_t n, uint32_t k) {
  const KernelVariant* v = find_variant(id);
  if (v == nullptr || v->op != OpKind::kMatmul || m == 0 || m > v->tile.mr || n == 0 || k == 0 || k % v->tile.kr != 0) {
    fmt::print(stderr, "count_call: no matmul variant '{}' for m={} n={} k={}\n", id, m, n, k);
    return 1;
  }
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
