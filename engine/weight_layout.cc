#include "engine/weight_layout.h"

#include <algorithm>

#include "kernels/base/checksum.h"
#include "kernels/pack/pack_rhs.h"

namespace smepilot {
namespace {

constexpr uint32_t kChunkPanels = 8;

}  // namespace

void WeightLayout::add(std::string name, DType dtype, uint32_t n, uint32_t k, std::span<const std::byte> source) {
  WeightMatrix m{std::move(name), dtype, n, k, source, round_up(end_, kWeightAlignment), rhs_bytes(dtype, n, k), 0, 0};
  const uint64_t panel_bytes = rhs_planes(dtype, k).panel_bytes;
  const size_t row_bytes = file_bytes(dtype, k);
  const uint32_t panels = ceil_div(n, kPanel);
  m.first_chunk = static_cast<uint32_t>(chunks_.size());
  for (uint32_t p = 0; p < panels; p += kChunkPanels) {
    const uint32_t end = std::min(p + kChunkPanels, panels);
    const size_t row = size_t{p} * kPanel, rows = std::min<size_t>(size_t{end} * kPanel, n) - row;
    chunks_.push_back({static_cast<uint32_t>(matrices_.size()), p, end, m.offset + p * panel_bytes,
                       (end - p) * panel_bytes, source.subspan(row * row_bytes, rows * row_bytes)});
  }
  m.chunks = static_cast<uint32_t>(chunks_.size()) - m.first_chunk;
  end_ = m.offset + m.bytes;
  matrices_.push_back(std::move(m));
}

void WeightLayout::pack(const WeightChunk& chunk, std::byte* dst) const noexcept {
  const WeightMatrix& m = matrices_[chunk.matrix];
  // As a matrix of its own, whose first panel is the chunk's.
  const size_t n = std::min<size_t>(size_t{chunk.panel_end} * kPanel, m.n) - size_t{chunk.panel_begin} * kPanel;
  pack_rhs(m.dtype, chunk.source.data(), file_bytes(m.dtype, m.k), n, m.k, dst);
}

uint64_t WeightLayout::matrix_checksum(size_t matrix, std::span<const uint64_t> chunk_checksums) const noexcept {
  const WeightMatrix& m = matrices_[matrix];
  return checksum_of(chunk_checksums.subspan(m.first_chunk, m.chunks));
}

uint64_t packing_fingerprint(const WeightLayout& layout) {
  constexpr size_t kN = kPanel + 3, kK = 512;  // a whole panel and a part of one; two super-blocks
  std::vector<bool> used(static_cast<size_t>(DType::kCount));
  for (const WeightMatrix& m : layout.matrices()) used[static_cast<size_t>(m.dtype)] = true;
  uint64_t sum = 0;
  for (size_t t = 0; t < used.size(); ++t) {
    if (!used[t]) continue;
    const DType dtype = static_cast<DType>(t);
    std::vector<std::byte> rows(kN * file_bytes(dtype, kK)), packed(rhs_bytes(dtype, kN, kK));
    uint32_t random = 1;
    for (std::byte& b : rows) b = static_cast<std::byte>((random = random * 1664525 + 1013904223) >> 24);
    pack_rhs(dtype, rows.data(), file_bytes(dtype, kK), kN, kK, packed.data());
    sum ^= checksum(packed,
                    checksum_of(std::span(traits(dtype).name, std::char_traits<char>::length(traits(dtype).name))));
  }
  return sum;
}

}  // namespace smepilot
