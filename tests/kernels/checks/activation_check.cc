// swiglu and softmax.
#include <limits>
#include <vector>

#include "kernels/reference/operators.h"
#include "kernels/reference/quantize.h"
#include "tests/kernels/checks/checks.h"
#include "tests/kernels/support/guarded_buffer.h"

namespace smepilot::test {
namespace {

// exp of large negative arguments may be flushed to zero or clamped at the smallest normal number.
constexpr double kUnderflow = 1e-36;

void check_swiglu_case(const KernelVariant& v, uint32_t rows, uint32_t cols, Edge edge, Comparator& comparator) {
  const auto name = [&] { return fmt::format("{} rows={} cols={}", v.id, rows, cols); };
  reference::Random random(9 + rows + 10 * cols);
  const size_t gate_stride = cols + 1, up_stride = cols + rows % 2, dst_stride = cols + 3;
  GuardedBuffer gate(((rows - 1) * gate_stride + cols) * sizeof(float), 4, edge),
      up(((rows - 1) * up_stride + cols) * sizeof(float), 4, edge),
      dst(((rows - 1) * dst_stride + cols) * sizeof(float), 4, edge);
  static constexpr float kSpecial[] = {0, -0.0f, 100, -100, 1000, -1000, 88.5f, -88.5f, 1e-20f, -1e-20f, 20, -20};
  for (size_t row = 0; row < rows; ++row) {
    random.fill_uniform(gate.as<float>() + row * gate_stride, cols, -10, 10);
    random.fill_uniform(up.as<float>() + row * up_stride, cols, -2, 2);
    for (size_t i = 0; i < cols; i += 5) gate.as<float>()[row * gate_stride + i] = kSpecial[(row + i / 5) % 12];
  }
  gate.protect_contents();
  up.protect_contents();
  const SwigluArgs args{
      gate.as<float>(), up.as<float>(), dst.as<float>(), gate_stride, up_stride, dst_stride, rows, cols};
  v.swiglu(&args);
  std::vector<double> expected(cols);
  for (size_t row = 0; row < rows; ++row) {
    const float* const g = gate.as<float>() + row * gate_stride;
    reference::swiglu(g, up.as<float>() + row * up_stride, cols, expected.data());
    for (size_t i = 0; i < cols; ++i) {
      // exp is allowed 16 units plus one for each unit of its argument (range reduction); the rest rounds a few times.
      const double tolerance =
          kUnitF32 * (24 + std::fabs(static_cast<double>(g[i]))) * std::fabs(expected[i]) + kUnderflow;
      comparator.compare(expected[i], static_cast<double>(dst.as<float>()[row * dst_stride + i]), tolerance,
                         [&] { return fmt::format("{} gate={} at [{}][{}]", name(), g[i], row, i); });
    }
    for (size_t gap = cols; row + 1 < rows && gap < dst_stride; ++gap)
      if (!std::isnan(dst.as<float>()[row * dst_stride + gap])) comparator.fail(name() + ": wrote between rows of dst");
  }
  if (!dst.intact()) comparator.fail(name() + ": wrote outside dst");
}

void check_softmax_case(const KernelVariant& v, uint32_t rows, uint32_t cols, Edge edge, Comparator& comparator) {
  const auto name = [&] { return fmt::format("{} rows={} cols={}", v.id, rows, cols); };
  reference::Random random(11 + rows + 10 * cols);
  const size_t stride = cols + rows % 3;
  GuardedBuffer x(((rows - 1) * stride + cols) * sizeof(float), 4, edge);
  for (size_t row = 0; row < rows; ++row) {
    float* const in = x.as<float>() + row * stride;
    random.fill_uniform(in, cols, -20, 20);
    if (cols > 4) {
      in[1] = -std::numeric_limits<float>::infinity();  // a masked element
      in[3] = -1000;
      if (row % 2 == 1) in[cols - 1] = 300;  // the maximum in the tail, far above
    }
  }
  const std::vector<float> before(x.as<float>(), x.as<float>() + x.size() / sizeof(float));
  const SoftmaxArgs args{x.as<float>(), stride, rows, cols};
  v.softmax(&args);
  std::vector<double> expected(cols);
  for (size_t row = 0; row < rows; ++row) {
    reference::softmax(before.data() + row * stride, cols, expected.data());
    for (size_t i = 0; i < cols; ++i)
      // The exponent's range reduction rounds relative to its size, at most about 90 where the result is not zero.
      comparator.compare(expected[i], static_cast<double>(x.as<float>()[row * stride + i]),
                         kUnitF32 * (96 + 2 * std::sqrt(cols)) * expected[i] + kUnderflow,
                         [&] { return fmt::format("{} at [{}][{}]", name(), row, i); });
    for (size_t gap = cols; row + 1 < rows && gap < stride; ++gap)
      if (!std::isnan(x.as<float>()[row * stride + gap])) comparator.fail(name() + ": wrote between rows");
  }
  if (!x.intact()) comparator.fail(name() + ": wrote outside x");
}

}  // namespace

void check_swiglu(const KernelVariant& v, Comparator& comparator) {
  for (Edge edge : {Edge::kEnd, Edge::kBegin})
    for (uint32_t rows : {1u, 2u, 3u})
      for (uint32_t cols : {1u, 2u, 3u, 7u, 8u, 15u, 16u, 17u, 31u, 33u, 64u, 100u, 1537u})
        check_swiglu_case(v, rows, cols, edge, comparator);
}

void check_softmax(const KernelVariant& v, Comparator& comparator) {
  for (Edge edge : {Edge::kEnd, Edge::kBegin})
    for (uint32_t rows : {1u, 2u, 3u})
      for (uint32_t cols : {1u, 2u, 3u, 7u, 8u, 15u, 16u, 17u, 31u, 33u, 64u, 100u, 1537u})
        check_softmax_case(v, rows, cols, edge, comparator);
}

}  // namespace smepilot::test
