#include "profiles/packing_probe.h"

#include "kernels/pack/pack_rhs.h"
#include "profiles/statistics.h"

namespace smepilot {
namespace {

constexpr uint32_t kRows = 64, kCols = 2048;
constexpr size_t kFileRowBytes = file_bytes(DType::kQ4_0, kCols);
constexpr LhsForm kForm = {kLhsQ8Layout, kQ8Block};

}  // namespace

Result<PackingProbe> PackingProbe::make() {
  PackingProbe p;
  SMEPILOT_ASSIGN(p.elementwise_, default_elementwise(1));
  SMEPILOT_ASSIGN(p.file_, AlignedBuffer::allocate(kRows * kFileRowBytes));
  SMEPILOT_ASSIGN(p.weights_, AlignedBuffer::allocate(rhs_bytes(DType::kQ4_0, kRows, kCols)));
  SMEPILOT_ASSIGN(p.rows_, AlignedBuffer::allocate(size_t{kRows} * kCols * sizeof(float)));
  SMEPILOT_ASSIGN(p.form_, AlignedBuffer::allocate(lhs_bytes(kForm.layout, kRows, kCols)));
  Rng rng(1);
  for (size_t i = 0; i < p.file_.size(); ++i) p.file_.data()[i] = static_cast<std::byte>(rng.below(256));
  for (size_t i = 0; i < size_t{kRows} * kCols; ++i) p.rows_.as<float>()[i] = static_cast<float>(rng.normal());
  return p;
}

void PackingProbe::pack_weights(uint64_t repeat) noexcept {
  for (uint64_t r = 0; r < repeat; ++r)
    pack_rhs(DType::kQ4_0, file_.data(), kFileRowBytes, kRows, kCols, weights_.data());
}

void PackingProbe::pack_activations(uint64_t repeat) noexcept {
  for (uint64_t r = 0; r < repeat; ++r)
    for (uint32_t m = 0; m < kRows; m += kPanel)
      pack_lhs_panel(elementwise_, kForm, rows_.as<float>() + size_t{m} * kCols, kCols, kPanel, kCols,
                     form_.data() + lhs_bytes(kForm.layout, m, kCols));
}

double PackingProbe::weight_bytes() const noexcept {
  return static_cast<double>(kRows * kFileRowBytes);
}

double PackingProbe::activation_bytes() const noexcept {
  return static_cast<double>(size_t{kRows} * kCols * sizeof(float) + lhs_bytes(kForm.layout, kRows, kCols));
}

}  // namespace smepilot
