#include "tuner/operands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "kernels/abi/half.h"
#include "kernels/base/carver.h"
#include "kernels/base/integer.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/pack/pack_kv.h"
#include "kernels/pack/pack_rhs.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/operators.h"
#include "kernels/reference/quantize.h"
#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

// Activations are there kPlaces times, but not in more memory than this: large ones lie on many pages anyway.
constexpr size_t kPlaces = 8, kPlacesBytes = size_t{64} << 20;
constexpr size_t kPackedRows = 64;  // rows that differ; the others repeat them, which no cache notices

uint64_t copies_for(uint64_t cold_bytes, uint64_t bytes) noexcept {
  return std::max<uint64_t>(1, (cold_bytes + bytes - 1) / std::max<uint64_t>(bytes, 1));
}

Status check_memory(const OperatorShape& shape, uint64_t bytes, uint64_t memory_bytes) {
  if (memory_bytes != 0 && bytes > memory_bytes / 2)
    return error("{} needs {:.1f} GiB of operands, more than half of this machine's {:.1f} GiB", describe(shape),
                 static_cast<double>(bytes) / (1 << 30), static_cast<double>(memory_bytes) / (1 << 30));
  return {};
}

// A Place says where the activations of a call lie, and takes memory for them: carve(carver, args...).
template <typename Place>
class Places {
 public:
  template <typename... Args>
  Status init(const Args&... args) {
    Carver sizes(nullptr);
    Place().carve(sizes, args...);
    const size_t bytes = std::max(sizes.used(), AlignedBuffer::kHugePage);
    while (places_.empty() || (places_.size() < kPlaces && (places_.size() + 1) * bytes <= kPlacesBytes)) {
      SMEPILOT_ASSIGN(AlignedBuffer arena, AlignedBuffer::allocate(bytes));
      Carver pieces(arena.data());
      places_.emplace_back().carve(pieces, args...);
      arenas_.push_back(std::move(arena));
    }
    return {};
  }
  void move_on() noexcept { now_ = (now_ + 1) % places_.size(); }
  const Place& now() const noexcept { return places_[now_]; }
  std::span<const Place> all() const noexcept { return places_; }

 private:
  std::vector<AlignedBuffer> arenas_;
  std::vector<Place> places_;
  size_t now_ = 0;
};

// Random weights as a file stores them.
std::vector<std::byte> random_rows(DType type, size_t rows, size_t k, uint64_t seed) {
  const size_t bytes = file_bytes(type, k);
  std::vector<std::byte> out(rows * bytes);
  reference::Random random(seed);
  for (size_t i = 0; i < rows; ++i) reference::random_row(type, random, k, out.data() + i * bytes);
  return out;
}

Status fill_weights(DType type, size_t n, size_t k, std::byte* dst) {
  const size_t rows = std::min(n, kPackedRows), stride = file_bytes(type, k), panel = rhs_planes(type, k).panel_bytes;
  const std::vector<std::byte> file = random_rows(type, rows, k, 17);
  const size_t full = n / kPanel, distinct = rows / kPanel, tail = n % kPanel;
  if (distinct > 0) {
    SMEPILOT_ASSIGN(AlignedBuffer block, AlignedBuffer::allocate(distinct * panel));
    pack_rhs(type, file.data(), stride, distinct * kPanel, k, block.data());
    for (size_t p = 0; p < full; ++p) std::memcpy(dst + p * panel, block.data() + p % distinct * panel, panel);
  }
  if (tail > 0) pack_rhs(type, file.data(), stride, tail, k, dst + full * panel);
  return {};
}

class MatmulOperands final : public Operands {
 public:
  Status init(const OperatorShape& s, uint64_t cold_bytes, unsigned workers, uint64_t memory_bytes, WorkerPool& pool) {
    shape_ = s;
    bytes_ = rhs_bytes(s.dtype, s.n, s.k);
    copies_ = copies_for(cold_bytes, bytes_);
    const size_t x_bytes = size_t{s.m} * s.k * sizeof(float), dst_bytes = size_t{s.m} * s.n * sizeof(float);
    SMEPILOT_TRY(check_memory(s, copies_ * bytes_ + 2 * x_bytes + 2 * dst_bytes + kPlacesBytes, memory_bytes));
    SMEPILOT_ASSIGN(weights_, AlignedBuffer::allocate(copies_ * bytes_));
    // The activations in every form that a candidate may read.
    std::map<Layout, LhsForm> forms;
    SMEPILOT_ASSIGN(elementwise_, default_elementwise(workers));
    SMEPILOT_ASSIGN(const IsaSet isa, usable_isa());
    for (const KernelVariant* v : select_variants(s, isa).usable)
      if (const LhsForm form = lhs_form(*v); form.layout != Layout::kRowMajor) forms.emplace(form.layout, form);
    SMEPILOT_TRY(places_.init(s, forms));
    SMEPILOT_TRY(fill_weights(s.dtype, s.n, s.k, weights_.data()));
    for (uint64_t i = 1; i < copies_; ++i) std::memcpy(weights_.data() + i * bytes_, weights_.data(), bytes_);
    for (const Place& p : places_.all()) {
      reference::Random random(3);
      random.fill_uniform(p.lhs, size_t{s.m} * s.k, -1, 1);
      for (const auto& [layout, form] : forms)
        pack_lhs(pool, elementwise_, form, p.lhs, s.k, s.m, s.k, p.packed[static_cast<size_t>(layout)]);
    }
    return {};
  }

  void call(WorkerPool& pool, const Candidate& c, const Kernels& kernels) noexcept override {
    const MatmulConfig config = matmul_config(c, kernels, shape_.m, shape_.n, pool.size());
    PackedMatrix rhs;
    rhs.dtype = shape_.dtype;
    rhs.n = shape_.n;
    rhs.k = shape_.k;
    rhs.data = weights_.data() + next_ * bytes_;
    next_ = (next_ + 1) % copies_;
    const Place& place = places_.now();
    LhsOperand lhs;
    lhs.f32 = place.lhs;
    lhs.stride = shape_.k;
    lhs.form = lhs_form(*kernels.variant);
    lhs.packed = place.packed[static_cast<size_t>(lhs.form.layout)];
    lhs.m = shape_.m;
    lhs.k = shape_.k;
    matmul(pool, config, lhs, rhs, place.dst, shape_.n);
  }

  void pack(WorkerPool& pool, const Kernels& kernels) noexcept override {
    const LhsForm form = lhs_form(*kernels.variant);
    if (form.layout == Layout::kRowMajor) return;
    const Place& place = places_.now();
    pack_lhs(pool, elementwise_, form, place.lhs, shape_.k, shape_.m, shape_.k,
             place.packed[static_cast<size_t>(form.layout)]);
  }

  void move_on() noexcept override { places_.move_on(); }

  std::span<const float> result() const noexcept override { return {places_.now().dst, size_t{shape_.m} * shape_.n}; }

 private:
  struct Place {
    float* lhs = nullptr;                                         // [m][k]
    float* dst = nullptr;                                         // [m][n]
    std::byte* packed[static_cast<size_t>(Layout::kCount)] = {};  // lhs by layout; nullptr: nobody reads that
    void carve(Carver& carver, const OperatorShape& s, const std::map<Layout, LhsForm>& forms) {
      carver.take(&lhs, size_t{s.m} * s.k);
      carver.take(&dst, size_t{s.m} * s.n);
      for (const auto& [layout, form] : forms)
        carver.take(&packed[static_cast<size_t>(layout)], lhs_bytes(layout, s.m, s.k));
    }
  };

  OperatorShape shape_ = {};
  uint64_t bytes_ = 0, copies_ = 1, next_ = 0;
  AlignedBuffer weights_;  // [copies][bytes]
  Places<Place> places_;
  ElementwiseConfig elementwise_ = {};
};

class AttentionOperands final : public Operands {
 public:
  Status init(const OperatorShape& s, uint64_t cold_bytes, unsigned workers, uint64_t memory_bytes, WorkerPool& pool) {
    shape_ = s;
    capacity_ = round_up(s.kv_len, kPanel);
    if (!kv_dtype_fits(s.dtype, s.k))
      return error("a {} KV cache cannot hold heads of {} elements", traits(s.dtype).name, s.k);
    half_ = s.kv_heads * kv_bytes(s.dtype, capacity_, s.k);
    copies_ = copies_for(cold_bytes, 2 * half_);
    const size_t row = size_t{s.n} * s.k;
    const size_t scratch = attention_scratch_bytes(workers, s.m, s.n, capacity_, s.k);
    SMEPILOT_TRY(
        check_memory(s, copies_ * 2 * half_ + 2 * s.m * row * sizeof(float) + scratch + kPlacesBytes, memory_bytes));
    // As layers of a cache: all keys in one buffer, all values in another.
    const size_t side = std::max(copies_ * half_, AlignedBuffer::kHugePage);
    SMEPILOT_ASSIGN(keys_, AlignedBuffer::allocate(side));
    SMEPILOT_ASSIGN(values_, AlignedBuffer::allocate(side));
    SMEPILOT_TRY(places_.init(s.m * row, scratch));
    reference::Random random(5);
    const float* const q = places_.now().q;
    random.fill_uniform(places_.now().q, s.m * row, -1, 1);
    for (const Place& p : places_.all())
      if (p.q != q) std::copy_n(q, s.m * row, p.q);
    const size_t kv_row = size_t{s.kv_heads} * s.k;
    std::vector<float> k(kv_row * kPanel), v(kv_row * kPanel);
    for (uint32_t pos = 0; pos < s.kv_len; pos += kPanel) {
      const uint32_t rows = std::min(kPanel, s.kv_len - pos);
      random.fill_uniform(k.data(), k.size(), -1, 1);
      random.fill_uniform(v.data(), v.size(), -1, 1);
      write_kv(pool, 1, view(0), pos, rows, k.data(), kv_row, v.data(), kv_row);
    }
    for (uint64_t i = 1; i < copies_; ++i)
      for (AlignedBuffer* b : {&keys_, &values_}) std::memcpy(b->data() + i * half_, b->data(), half_);
    return {};
  }

  void call(WorkerPool& pool, const Candidate& c, const Kernels& kernels) noexcept override {
    const AttentionConfig config = attention_config(c, kernels, pool.size());
    const size_t row = size_t{shape_.n} * shape_.k;
    const float scale = 1 / std::sqrt(static_cast<float>(shape_.k));
    const AttentionSequence sequence{.own = view(next_), .length = shape_.kv_len - shape_.m, .m = shape_.m};
    const Place& place = places_.now();
    attention(pool, config, {&sequence, 1}, shape_.n, place.q, row, place.out, row, scale, place.scratch);
    next_ = (next_ + 1) % copies_;
  }

  void pack(WorkerPool&, const Kernels&) noexcept override {}

  void move_on() noexcept override { places_.move_on(); }

  std::span<const float> result() const noexcept override {
    return {places_.now().out, size_t{shape_.m} * shape_.n * shape_.k};
  }

 private:
  struct Place {
    float *q = nullptr, *out = nullptr;  // [m][heads * head_dim]
    std::byte* scratch = nullptr;
    void carve(Carver& carver, size_t elements, size_t scratch_bytes) {
      carver.take(&q, elements);
      carver.take(&out, elements);
      carver.take(&scratch, scratch_bytes);
    }
  };

  KvView view(uint64_t copy) noexcept {
    KvView kv;
    kv.dtype = shape_.dtype;
    kv.k = keys_.data() + copy * half_;
    kv.v = values_.data() + copy * half_;
    kv.capacity = capacity_;
    kv.kv_heads = shape_.kv_heads;
    kv.head_dim = shape_.k;
    return kv;
  }

  OperatorShape shape_ = {};
  uint32_t capacity_ = 0;
  size_t half_ = 0;  // bytes of K (or of V) in one copy
  uint64_t copies_ = 1, next_ = 0;
  AlignedBuffer keys_, values_;  // [copies][half]
  Places<Place> places_;
};

CheckResult wrong(size_t row, size_t col, double found, double expected, double allowed) {
  return {MeasurementStatus::kIncorrect,
          fmt::format("element [{}][{}] is {:.6g}, the oracle says {:.6g} (allowed difference {:.2g})", row, col, found,
                      expected, allowed)};
}

// The candidate with as few workers as its mode can do with.
Candidate on_few_workers(Candidate c) {
  c.workers = 1;
  if (c.mode == ExecutionMode::kCoop) c.coop.workers = 1;
  return c;
}

CheckResult check_matmul(const OperatorShape& whole, const Candidate& candidate, const Kernels& kernels) {
  const KernelVariant& variant = *kernels.variant;
  const uint32_t m = std::min(whole.m, 17u), n = std::min(whole.n, 83u), k = whole.k;
  const std::vector<std::byte> file = random_rows(whole.dtype, n, k, 29);
  const size_t stride = file_bytes(whole.dtype, k);
  std::vector<float> weights(size_t{n} * k), x(size_t{m} * k), dst(size_t{m} * n, 1e30f);
  for (uint32_t i = 0; i < n; ++i)
    reference::dequantize_row(whole.dtype, file.data() + i * stride, k, weights.data() + size_t{i} * k);
  auto packed = AlignedBuffer::allocate(rhs_bytes(whole.dtype, n, k));
  const LhsForm form = lhs_form(variant);
  auto packed_x = AlignedBuffer::allocate(lhs_bytes(form.layout, m, k));
  const Result<ElementwiseConfig> elementwise = default_elementwise(1);
  if (!packed.ok() || !packed_x.ok() || !elementwise.ok())
    return {MeasurementStatus::kIncorrect, "no memory to check it"};
  pack_rhs(whole.dtype, file.data(), stride, n, k, packed->data());
  reference::Random random(31);
  random.fill_uniform(x.data(), x.size(), -1, 1);

  const Candidate few = on_few_workers(candidate);
  WorkerPool pool(few.all_workers());
  PackedMatrix rhs;
  rhs.dtype = whole.dtype;
  rhs.n = n;
  rhs.k = k;
  rhs.data = packed->data();
  LhsOperand lhs;
  lhs.f32 = x.data();
  lhs.stride = k;
  lhs.m = m;
  lhs.k = k;
  if (form.layout != Layout::kRowMajor) {
    if (elementwise->packer(form.layout) == nullptr)
      return {MeasurementStatus::kUnsupported,
              fmt::format("nothing here packs activations as {}", kLayoutNames[static_cast<size_t>(form.layout)])};
    pack_lhs(pool, *elementwise, form, x.data(), k, m, k, packed_x->data());
    lhs.packed = packed_x->data();
    lhs.form = form;
  }
  matmul(pool, matmul_config(few, kernels, m, n, pool.size()), lhs, rhs, dst.data(), n);

  const bool quantised = is_q8(form.layout);
  if (quantised) {  // what the packed form stands for
    std::vector<std::byte> q8(lhs_q8_bytes(m, k));
    reference::quantize_lhs_q8(x.data(), k, m, k, q8.data(), form.group, form.layout);
    reference::dequantize_lhs_q8(q8.data(), m, k, x.data(), form.layout);
  }
  const reference::MatmulResult oracle = reference::matmul(x.data(), weights.data(), m, n, k);
  // Rounding of k sums in f32, and of activations, or of both sides of a product, that are taken in 16 bits.
  const double sides = variant.rhs == variant.lhs ? 1 : 2;
  const double rounding = variant.lhs == DType::kBF16 ? sides * 0x1p-8 : variant.lhs == DType::kF16 ? 0x1p-11 : 0;
  const double tolerance = (16 + 4 * std::sqrt(static_cast<double>(k))) * 0x1p-24 + rounding;
  for (size_t i = 0; i < dst.size(); ++i) {
    const double allowed = tolerance * oracle.magnitude[i] + 1e-30;
    if (!(std::abs(dst[i] - oracle.dst[i]) <= allowed)) return wrong(i / n, i % n, dst[i], oracle.dst[i], allowed);
  }
  return {};
}

CheckResult check_attention(const OperatorShape& whole, const Candidate& candidate, const Kernels& kernels) {
  const Candidate few = on_few_workers(candidate);
  const uint32_t m = std::min(whole.m, 5u), kv_len = std::max(m, std::min(whole.kv_len, 151u));
  const uint32_t heads = whole.n, kv_heads = whole.kv_heads, hd = whole.k;
  const size_t row = size_t{heads} * hd, kv_row = size_t{kv_heads} * hd;
  std::vector<float> q(m * row), out(m * row, 1e30f), k(kv_len * kv_row), v(kv_len * kv_row);
  reference::Random random(37);
  random.fill_uniform(q.data(), q.size(), -1, 1);
  random.fill_uniform(k.data(), k.size(), -1, 1);
  random.fill_uniform(v.data(), v.size(), -1, 1);
  KvView view;
  view.dtype = whole.dtype;
  view.capacity = round_up(kv_len, kPanel);
  view.kv_heads = kv_heads;
  view.head_dim = hd;
  const size_t half = kv_heads * view.head_bytes();
  auto cache = AlignedBuffer::allocate(2 * half);
  auto scratch = AlignedBuffer::allocate(attention_scratch_bytes(few.all_workers(), m, heads, view.capacity, hd));
  if (!cache.ok() || !scratch.ok()) return {MeasurementStatus::kIncorrect, "no memory to check it"};
  view.k = cache->data();
  view.v = view.k + half;
  WorkerPool pool(few.all_workers());
  write_kv(pool, 1, view, 0, kv_len, k.data(), kv_row, v.data(), kv_row);
  // The oracle reads what the cache holds, rounded to its type.
  std::vector<float> head(size_t{kv_len} * hd);
  for (uint32_t h = 0; h < kv_heads; ++h)
    for (const bool key : {true, false}) {
      std::byte* const from = (key ? view.k : view.v) + h * view.head_bytes();
      if (key)
        unpack_key_rows(view.dtype, from, 0, kv_len, hd, head.data());
      else
        unpack_value_rows(view.dtype, from, 0, kv_len, hd, head.data());
      for (uint32_t t = 0; t < kv_len; ++t)
        std::copy_n(&head[size_t{t} * hd], hd, &(key ? k : v)[t * kv_row + size_t{h} * hd]);
    }
  const AttentionConfig config = attention_config(few, kernels, pool.size());
  const float scale = 1 / std::sqrt(static_cast<float>(hd));
  const AttentionSequence sequence{.own = view, .length = kv_len - m, .m = m};
  attention(pool, config, {&sequence, 1}, heads, q.data(), row, out.data(), row, scale, scratch->data());
  std::vector<double> oracle(out.size());
  reference::attention(q.data(), k.data(), v.data(), m, heads, kv_heads, hd, kv_len, scale, oracle.data());
  const bool rounded =
      kernels.variant->lhs == DType::kBF16 || (kernels.matrix != nullptr && kernels.matrix->lhs == DType::kBF16);
  const double allowed = rounded ? 2e-2 : 1e-3;  // values are at most 1
  for (size_t i = 0; i < out.size(); ++i)
    if (!(std::abs(out[i] - oracle[i]) <= allowed)) return wrong(i / row, i % row, out[i], oracle[i], allowed);
  return {};
}

template <typename T>
Result<std::unique_ptr<Operands>> make(const OperatorShape& shape, uint64_t cold_bytes, unsigned workers,
                                       uint64_t memory_bytes, WorkerPool& pool) {
  auto operands = std::make_unique<T>();
  SMEPILOT_TRY(operands->init(shape, cold_bytes, workers, memory_bytes, pool));
  return std::unique_ptr<Operands>(std::move(operands));
}

}  // namespace

Result<std::unique_ptr<Operands>> make_operands(const OperatorShape& shape, uint64_t cold_bytes, unsigned workers,
                                                uint64_t memory_bytes, WorkerPool& pool) {
  switch (shape.kind) {
    case OpKind::kMatmul: return make<MatmulOperands>(shape, cold_bytes, workers, memory_bytes, pool);
    case OpKind::kAttention: return make<AttentionOperands>(shape, cold_bytes, workers, memory_bytes, pool);
    default: return error("{} is not an operator that is searched", describe(shape));
  }
}

CheckResult check_against_oracle(const OperatorShape& shape, const Candidate& candidate, const Kernels& kernels) {
  return shape.kind == OpKind::kMatmul ? check_matmul(shape, candidate, kernels)
                                       : check_attention(shape, candidate, kernels);
}

}  // namespace smepilot
