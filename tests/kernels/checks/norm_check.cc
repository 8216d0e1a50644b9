#include <vector>

#include "kernels/reference/operators.h"
#include "kernels/reference/quantize.h"
#include "tests/kernels/checks/checks.h"
#include "tests/kernels/support/guarded_buffer.h"

namespace smepilot::test {
namespace {

void check_case(const KernelVariant& v, uint32_t rows, uint32_t cols, float eps, Edge edge, Comparator& comparator) {
  const auto name = [&] { return fmt::format("{} rows={} cols={} eps={}", v.id, rows, cols, eps); };
  reference::Random random(3 + rows + 100 * cols);
  const size_t x_stride = cols + rows % 3, dst_stride = cols + (rows % 2 == 0 ? 0 : 7);
  GuardedBuffer x(((rows - 1) * x_stride + cols) * sizeof(float), 4, edge), weight(cols * sizeof(float), 4, edge),
      dst(((rows - 1) * dst_stride + cols) * sizeof(float), 4, edge);
  random.fill_uniform(weight.as<float>(), cols, -2, 2);
  for (size_t row = 0; row < rows; ++row) {
    const float size = std::ldexp(1.0f, static_cast<int>(row * 5 % 12) - 6);
    random.fill_uniform(x.as<float>() + row * x_stride, cols, -size, size);
  }
  x.protect_contents();
  weight.protect_contents();
  const NormArgs args{x.as<float>(), weight.as<float>(), dst.as<float>(), x_stride, dst_stride, rows, cols, eps};
  v.norm(&args);
  std::vector<double> expected(cols);
  for (size_t row = 0; row < rows; ++row) {
    reference::rmsnorm(x.as<float>() + row * x_stride, weight.as<float>(), cols, static_cast<double>(eps),
                       expected.data());
    // All terms of the sum are positive: its relative error is that of its roundings, halved by the square root.
    for (size_t i = 0; i < cols; ++i)
      comparator.compare(expected[i], static_cast<double>(dst.as<float>()[row * dst_stride + i]),
                         kUnitF32 * (8 + std::sqrt(cols)) * std::fabs(expected[i]),
                         [&] { return fmt::format("{} at [{}][{}]", name(), row, i); });
    for (size_t gap = cols; row + 1 < rows && gap < dst_stride; ++gap)
      if (!std::isnan(dst.as<float>()[row * dst_stride + gap])) comparator.fail(name() + ": wrote between rows of dst");
  }
  if (!dst.intact()) comparator.fail(name() + ": wrote outside dst");
}

}  // namespace

void check_norm(const KernelVariant& v, Comparator& comparator) {
  for (Edge edge : {Edge::kEnd, Edge::kBegin})
    for (uint32_t rows : {1u, 2u, 3u, 5u})
      for (uint32_t cols : {1u, 3u, 4u, 7u, 8u, 15u, 16u, 17u, 31u, 33u, 64u, 100u, 128u, 255u, 576u, 2051u})
        check_case(v, rows, cols, rows == 2 ? 1e-6f : 1e-5f, edge, comparator);
}

}  // namespace smepilot::test
