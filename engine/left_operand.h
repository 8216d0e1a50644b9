// Activations on their way from a producer to the matmuls that read them: rows, and the packed forms that these ask
// for. A producer packs the first form together with its rows; a further one, where consumers differ, is a conversion.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/base/check.h"
#include "kernels/base/integer.h"
#include "kernels/driver/operators.h"

namespace smepilot {

// The packed forms that the consumers of one producer read, in the order in which they were asked for. Rows are no
// packed form: producers have them anyway. Consumers of one layout share one packing with the smallest group.
class FormSet {
 public:
  void add(const LhsForm& form) noexcept {
    if (form.layout == Layout::kRowMajor) {
      rows_ = true;
      return;
    }
    for (LhsForm& f : std::span(forms_).first(count_))
      if (f.layout == form.layout) {
        f.group = std::min(f.group, form.group);
        return;
      }
    forms_[count_++] = form;
  }
  void add(const FormSet& other) noexcept {
    for (const LhsForm& f : other.packed()) add(f);
    rows_ = rows_ || other.rows_;
  }
  std::span<const LhsForm> packed() const noexcept { return {forms_, count_}; }
  bool rows() const noexcept { return rows_; }  // whether a consumer reads rows
  // Forms that their producer does not make in passing.
  uint32_t conversions() const noexcept { return count_ == 0 ? 0 : count_ - 1; }

  // Bytes of form number `index` and of all before it, for each row of k elements. Multiples of 64: every form of every
  // piece of an operand begins aligned.
  size_t row_bytes_to(size_t index, size_t k) const noexcept {
    size_t bytes = 0;
    for (const LhsForm& f : packed().first(index)) bytes += round_up(lhs_bytes(f.layout, 1, k), 64);
    return bytes;
  }
  size_t row_bytes(size_t k) const noexcept { return row_bytes_to(count_, k); }

 private:
  LhsForm forms_[static_cast<size_t>(Layout::kCount)] = {};
  uint32_t count_ = 0;
  bool rows_ = false;
};

struct LeftOperand {
  const float* rows = nullptr;  // [m][k]
  uint32_t m = 0, k = 0;
  FormSet forms;
  std::byte* packed = nullptr;  // m * forms.row_bytes(k): one form after the other

  // From row `row` on, a multiple of 16.
  std::byte* form(size_t index, uint32_t row = 0) const noexcept {
    return packed + m * forms.row_bytes_to(index, k) + lhs_bytes(forms.packed()[index].layout, row, k);
  }
  LhsOperand read_by(const KernelVariant& variant) const noexcept {
    LhsOperand out{rows, k, nullptr, Layout::kRowMajor, m, k};
    const std::span<const LhsForm> all = forms.packed();
    for (size_t i = 0; i < all.size(); ++i)
      if (all[i].layout == variant.lhs_layout) {
        out.packed = form(i);
        out.layout = all[i].layout;
      }
    SMEPILOT_DCHECK(out.layout == variant.lhs_layout);
    return out;
  }
  // The producer's part: a panel of up to 16 rows, which the calling worker has just computed.
  void pack_panel(const ElementwiseConfig& config, const float* x, uint32_t row, uint32_t count) const noexcept {
    if (!forms.packed().empty()) pack_lhs_panel(config, forms.packed()[0], x, k, count, k, form(0, row));
  }
};

}  // namespace smepilot
