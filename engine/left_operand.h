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
    add(form, 1);
  }
  void add(const FormSet& other) noexcept {
    for (uint32_t i = 0; i < other.count_; ++i) add(other.forms_[i], other.readers_[i]);
    rows_ = rows_ || other.rows_;
  }
  std::span<const LhsForm> packed() const noexcept { return {forms_, count_}; }
  bool rows() const noexcept { return rows_; }  // whether a consumer reads rows
  // How many consumers read form number `index`.
  uint32_t readers(size_t index) const noexcept { return readers_[index]; }
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
  void add(const LhsForm& form, uint32_t readers) noexcept {
    for (uint32_t i = 0; i < count_; ++i)
      if (forms_[i].layout == form.layout) {
        forms_[i].group = std::min(forms_[i].group, form.group);
        readers_[i] += readers;
        return;
      }
    readers_[count_] = readers;
    forms_[count_++] = form;
  }

  LhsForm forms_[static_cast<size_t>(Layout::kCount)] = {};
  uint32_t readers_[static_cast<size_t>(Layout::kCount)] = {};
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
    LhsOperand out{rows, k, nullptr, {}, m, k};
    const std::span<const LhsForm> all = forms.packed();
    for (size_t i = 0; i < all.size(); ++i)
      if (all[i].layout == variant.lhs_layout) {
        out.packed = form(i);
        out.form = all[i];
      }
    SMEPILOT_DCHECK(out.form.layout == variant.lhs_layout);
    return out;
  }
  // The producer's part: a panel of up to 16 rows, which the calling worker has just computed.
  void pack_panel(const ElementwiseConfig& config, const float* x, uint32_t row, uint32_t count) const noexcept {
    if (!forms.packed().empty()) pack_lhs_panel(config, forms.packed()[0], x, k, count, k, form(0, row));
  }
};

}  // namespace smepilot
