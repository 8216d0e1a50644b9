// Quantised weights times quantised activations with AVX-512 VNNI: register tiles of up to 16 rows by one panel of 16
// columns, whose weights come straight from the panel; where unpacking takes long and rows are many, from a copy that
// was unpacked for all of them.
//
// Per row and panel of a block of 32 k: the integer accumulator starts at the row's correction (a broadcast load, which
// costs no arithmetic port), takes eight vpdpbusd whose signed operand is a broadcast from memory, and is scaled into
// the row's f32 accumulator. Eleven operations for two arithmetic ports, eight of them dot products: 8/11 of the VNNI
// peak is the ceiling of the format for one scale per block, 8/12 where a minimum is added, 8/13 where there are two
// scales per block. (On Zen 4 conversions go to other ports: 8/10, 8/11, 8/11.) Where 256 activations share a scale, it
// is applied once for eight blocks, which saves one operation in each. Loads come close to being the limit too: ten per
// eleven operations.
#include "kernels/abi/describe.h"
#include "kernels/matmul/prefetch_x86.h"
#include "kernels/matmul/rhs_block_avx512.h"

namespace smepilot {
namespace {

// Whether the kernel of a type has a form for activations of which kQ8SuperBlock share a scale, too.
template <DType D>
constexpr bool kHasWide = traits(D).block_elems == kQ8SuperBlock;
constexpr size_t kWideRun = kQ8SuperBlock / kQ8Block;  // blocks

// Four activations to every lane, and their dot product with four weights of each column. In assembly, because both
// compilers otherwise hoist the broadcasts of a whole block and spill to make room.
struct __attribute__((may_alias, packed)) Quad {
  int32_t value;
};
SMEPILOT_INLINE void dot_step(__m512i& dot, __m512i w, const Quad& q) noexcept {
  __asm__ volatile("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(dot) : "v"(w), "m"(q));
}

// Rows of an lhs panel, from one row of it on, at one block of k.
struct Lhs {
  const uint8_t* q;       // 32 bytes per row
  const uint8_t* planes;  // entry of the first row in a plane that would begin at the block
  size_t height;          // rows of the panel

  Lhs(const uint8_t* panel, size_t rows) noexcept : q(panel), planes(panel), height(rows) {}
  SMEPILOT_INLINE Lhs from(int row) const noexcept {
    Lhs l = *this;
    l.q += row * static_cast<int>(kQ8Block);
    l.planes += row * 4;
    return l;
  }
  SMEPILOT_INLINE void advance() noexcept {
    q += height * kLhsQ8BlockBytes;
    planes += height * kLhsQ8BlockBytes;
    // Not an index that both share: with an index register, a memory operand takes a second slot of every stage.
    __asm__("" : "+r"(q), "+r"(planes));
  }
  SMEPILOT_INLINE const uint8_t* plane(size_t which, int r) const noexcept { return planes + height * which + r * 4; }
};

// What a dot product starts at: the correction for the zero point of unsigned weights.
template <DType D>
SMEPILOT_INLINE __m512i start_of_dot(const Lhs& lhs, int half, int r) noexcept {
  if constexpr (kHasHalves<D>) return bcast_i32(lhs.plane(half == 0 ? kPlaneN32a : kPlaneN32b, r));
  if constexpr (kZeroPoint<D> == 0) return _mm512_setzero_si512();
  return bcast_i32(lhs.plane(kZeroPoint<D> == 8 ? kPlaneN8 : kPlaneN128, r));
}

// Adds one block of R rows to acc, with all dot products side by side. Wide: without the scale of the activations, and
// without minima that are added times d * sum(q): see add_super().
template <DType D, bool Wide, int R>
SMEPILOT_INLINE void add_rows(const Block& b, const Lhs& lhs, __m512* acc) noexcept {
  constexpr int kHalves = kHasHalves<D> ? 2 : 1, kSteps = 8 / kHalves;
  __m512i dot[kHalves][R];
  SMEPILOT_UNROLL
  for (int half = 0; half < kHalves; ++half) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) dot[half][r] = start_of_dot<D>(lhs, half, r);
  }
  SMEPILOT_UNROLL
  for (int step = 0; step < 8; ++step) {
    const int half = step % kHalves, i = half * kSteps + step / kHalves;
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) dot_step(dot[half][r], b.w[i], *reinterpret_cast<const Quad*>(lhs.q + r * 32 + i * 4));
  }
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    const __m512 x = _mm512_cvtepi32_ps(dot[0][r]);
    if constexpr (Wide) {
      acc[r] = _mm512_fmadd_ps(x, b.s0, acc[r]);
      if constexpr (kHasHalves<D>) acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[1][r]), b.s1, acc[r]);
      continue;
    }
    const __m512 d = bcast_f32(lhs.plane(kPlaneD, r));
    if constexpr (kHasHalves<D>) {
      const __m512 y = _mm512_cvtepi32_ps(dot[1][r]);
      acc[r] = _mm512_fmadd_ps(_mm512_fmadd_ps(y, b.s1, _mm512_mul_ps(x, b.s0)), d, acc[r]);
    } else {
      acc[r] = _mm512_fmadd_ps(x, _mm512_mul_ps(b.s0, d), acc[r]);
    }
  }
  if constexpr (kHasMin<D> && !Wide) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) acc[r] = _mm512_fmadd_ps(b.s1, bcast_f32(lhs.plane(kPlaneDs, r)), acc[r]);
  }
  if constexpr (kHasHalfMins<D>) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      const __m512 sum_a = _mm512_cvtepi32_ps(bcast_i32(lhs.plane(kPlaneN32a, r)));
      const __m512 sum_b = _mm512_cvtepi32_ps(bcast_i32(lhs.plane(kPlaneN32b, r)));
      if constexpr (Wide) {
        acc[r] = _mm512_fmadd_ps(sum_a, b.s1, acc[r]);
        acc[r] = _mm512_fmadd_ps(sum_b, b.s2, acc[r]);
      } else {
        const __m512 both = _mm512_fmadd_ps(sum_b, b.s2, _mm512_mul_ps(sum_a, b.s1));
        acc[r] = _mm512_fmadd_ps(both, bcast_f32(lhs.plane(kPlaneD, r)), acc[r]);
      }
    }
  }
}

// The same for any R, with four dot products at a time: the weights, 16 accumulators and these have registers.
template <DType D, bool Wide, int R>
SMEPILOT_INLINE void add_block(const Block& b, const Lhs& lhs, __m512* acc) noexcept {
  constexpr int kSideBySide = kHasHalves<D> ? 2 : 4;
  constexpr int kRows = R < kSideBySide ? R : kSideBySide;
  add_rows<D, Wide, kRows>(b, lhs, acc);
  if constexpr (kRows < R) add_block<D, Wide, R - kRows>(b, lhs.from(kRows), acc + kRows);
}

// Whether sums are at hand for minima when those are: a single row's, which then does not wait for them at the end.
template <int R>
constexpr bool kMinsAtOnce = R == 1;

// Takes what R rows have added up over eight blocks, from lhs on, into the sums, times the scale of the activations
// that these share; before it the blocks' minima, unless they are there already. (Minima that joined acc block by block
// would need the sums of the activations without a scale, which are integers: a conversion more for each row. Measured
// on Zen 4: q4_k 70 instead of 73 % of the VNNI peak.)
template <DType D, int R>
SMEPILOT_INLINE void add_super(const Lhs& lhs, __m512* acc, const float (*mins)[kPanel],
                               float (*sums)[kPanel]) noexcept {
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    __m512 sum = _mm512_load_ps(sums[r]);
    if constexpr (kHasMin<D> && !kMinsAtOnce<R>) {
      SMEPILOT_UNROLL
      for (size_t block = 0; block < kWideRun; ++block)
        sum = _mm512_fmadd_ps(_mm512_load_ps(mins[block]),
                              bcast_f32(lhs.plane(kPlaneDs, r) + block * lhs.height * kLhsQ8BlockBytes), sum);
    }
    _mm512_store_ps(sums[r], _mm512_fmadd_ps(acc[r], bcast_f32(lhs.plane(kPlaneD, r)), sum));
    acc[r] = _mm512_setzero_ps();
  }
}

// --- Weights from the rhs panel through registers ---

// One row takes as long as its weights take to arrive. It reads them in a single line, which the hardware's prefetchers
// follow by themselves if lines are first touched in their order: so the scales of a long group are asked for when it
// begins (measured from memory on Zen 4, GB/s a core, of 33 that reading alone gives: q4_0 34, q4_k 33, q8_0 34, q6_k
// 33, without asking 12). More rows take longer for each line, and the hardware is not as far ahead then (q4_0, 4 rows:
// 16 GB/s). So they ask for it themselves, and few of them read four panels side by side (23).
constexpr uint32_t kMostSideBySide = 4;  // rows
constexpr bool side_by_side(uint32_t rows) noexcept {
  return rows > 1 && rows <= kMostSideBySide;
}
// Bytes of a panel from prefetch to use.
template <int R>
constexpr size_t kAheadOfRow = R == 1   ? 0
                               : R <= 4 ? 2048
                                        : 4096;
// Long runs of several panels: every other line is asked for, and the hardware brings its neighbour.
template <DType D, int R>
constexpr size_t kLineStep = side_by_side(R) && kQuantBytes<D> > 256 ? 128 : 64;

template <DType D, int R>
SMEPILOT_INLINE void prefetch_block(const RhsBlock<D>& from, size_t jump) noexcept {
  using At = RhsBlock<D>;
  if (At::kBlocks > 2 && from.in_group == 0) from.fetch_scales();
  if constexpr (kAheadOfRow<R> > 0) {
    const uint8_t* ahead = from.high + kAheadOfRow<R> + jump;
    SMEPILOT_UNROLL
    for (size_t line = 0; line < At::kAt.quants_step; line += kLineStep<D, R>) fetch_later(ahead + line);
    if (from.in_group + 1 < At::kBlocks) return;
    SMEPILOT_UNROLL
    for (size_t line = 0; line < At::kScales; line += 64) fetch_later(ahead + At::kAt.quants_step + line);
  }
}

// R rows, which are an lhs panel, times Streams panels that are read side by side. Wide as in add_rows(), and with the
// roundings of tile(): what a row gives does not depend on how many rows there are.
template <DType D, bool Wide, int R, int Streams>
void stream_panels(const MatmulArgs* args, const uint8_t* lhs_panel, const uint8_t* panel, uint32_t left,
                   float* dst) noexcept {
  const size_t blocks = args->k / kQ8Block, stride = args->rhs_stride, dst_stride = args->dst_stride;
  const uint8_t* turn = panel + stride - kAheadOfRow<R>;  // what is asked for from here on is of the next panels
  alignas(64) float sums[Wide ? Streams : 1][Wide ? R : 1][kPanel];
  alignas(64) float mins[Streams][kWideRun][kPanel];
  __m512 acc[Streams][R];
  SMEPILOT_UNROLL
  for (int s = 0; s < Streams; ++s) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      acc[s][r] = _mm512_setzero_ps();
      if constexpr (Wide) _mm512_store_ps(sums[s][r], acc[s][r]);
    }
  }
  RowsAhead output(dst, dst_stride, R);
  Lhs lhs(lhs_panel, R);
  RhsBlock<D> first(panel, 0);
  for (size_t begin = 0, end; begin < blocks; begin = end) {
    end = Wide ? begin + kWideRun : blocks;
    const Lhs shared = lhs;
    // For as long as one panel's are the same.
    Supers supers{};
    if constexpr (Wide && Streams == 1) supers = load_supers<D>(first);
    for (size_t kb = begin; kb < end; ++kb, lhs.advance(), first.advance()) {
      const size_t jump = Streams > 1 && first.high >= turn ? (Streams - 1) * stride : 0;
      if constexpr (uint32_t{R} > kMostSideBySide) output.fetch_row();
      SMEPILOT_UNROLL
      for (size_t s = 0; s < Streams; ++s) {
        const RhsBlock<D> from = first.of_panel(s * stride);
        prefetch_block<D, R>(from, jump);
        Block b;
        if constexpr (!Wide || Streams > 1) supers = load_supers<D>(from);
        load_block<D>(from, supers, b);
        if constexpr (Wide && kHasMin<D>) {
          if constexpr (kMinsAtOnce<R>)
            _mm512_store_ps(sums[s][0],
                            _mm512_fmadd_ps(b.s1, bcast_f32(lhs.plane(kPlaneDs, 0)), _mm512_load_ps(sums[s][0])));
          else
            _mm512_store_ps(mins[s][kb - begin], b.s1);
        }
        add_block<D, Wide, R>(b, lhs, acc[s]);
      }
    }
    if constexpr (Wide) {
      SMEPILOT_UNROLL
      for (int s = 0; s < Streams; ++s) add_super<D, R>(shared, acc[s], mins[s], sums[s]);
    }
  }
  SMEPILOT_UNROLL
  for (int s = 0; s < Streams; ++s) {
    const uint32_t column = static_cast<uint32_t>(s) * kPanel;
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r)
      _mm512_mask_storeu_ps(dst + static_cast<size_t>(r) * dst_stride + column, column_mask(left - column),
                            Wide ? _mm512_load_ps(sums[Wide ? s : 0][Wide ? r : 0]) : acc[s][r]);
  }
}

using StreamFn = void (*)(const MatmulArgs*, const uint8_t*, const uint8_t*, uint32_t, float*) noexcept;

// Each panel of weights meets all rows, 16 of them at a time, while it is in the second-level cache.
template <DType D, bool Wide>
void stream_all(const MatmulArgs* args) noexcept {
  static constexpr StreamFn kRows[kPanel] = {
      stream_panels<D, Wide, 1, 1>,  stream_panels<D, Wide, 2, 1>,  stream_panels<D, Wide, 3, 1>,
      stream_panels<D, Wide, 4, 1>,  stream_panels<D, Wide, 5, 1>,  stream_panels<D, Wide, 6, 1>,
      stream_panels<D, Wide, 7, 1>,  stream_panels<D, Wide, 8, 1>,  stream_panels<D, Wide, 9, 1>,
      stream_panels<D, Wide, 10, 1>, stream_panels<D, Wide, 11, 1>, stream_panels<D, Wide, 12, 1>,
      stream_panels<D, Wide, 13, 1>, stream_panels<D, Wide, 14, 1>, stream_panels<D, Wide, 15, 1>,
      stream_panels<D, Wide, 16, 1>};
  static constexpr StreamFn kSideBySide[kMostSideBySide + 1] = {
      nullptr, nullptr, stream_panels<D, Wide, 2, 4>, stream_panels<D, Wide, 3, 4>, stream_panels<D, Wide, 4, 4>};
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  const uint8_t* lhs = static_cast<const uint8_t*>(args->lhs);
  float* dst = args->dst;
  uint32_t left = args->n, done;
  for (; left > 0; left -= done) {
    const size_t panels = side_by_side(args->m) && left > 3 * kPanel ? 4 : 1;
    if (panels == 4) {
      kSideBySide[args->m](args, lhs, panel, left, dst);
    } else {
      for (uint32_t m = 0; m < args->m; m += kPanel)
        kRows[(args->m - m < kPanel ? args->m - m : kPanel) - 1](args, lhs + lhs_q8_bytes(m, args->k), panel, left,
                                                                 dst + m * args->dst_stride);
    }
    panel += panels * args->rhs_stride;
    dst += panels * kPanel;
    done = static_cast<uint32_t>(panels) * kPanel;
    if (done > left) done = left;
  }
}

// --- Weights that take long to unpack: a chunk of K at a time is unpacked and used by all rows ---

// Rows from which that is worth its stores, 0: never. Measured on Zen 4, % of the VNNI peak with 128 rows, from the
// panel and unpacked: q3_k 68 and 79, q2_k 61 and 65, q6_k 68 and 72 (48 rows: 68 and 66). Others gain nothing: q5_k 71
// and 72, q4_k 73 and 72.
template <DType D>
constexpr uint32_t kUnpackFrom = D == DType::kQ2_K || D == DType::kQ3_K ? 17
                                 : D == DType::kQ6_K                    ? 49
                                                                        : 0;
constexpr uint32_t kMr = 128;  // rows of a call
constexpr size_t kChunk = 32;  // k blocks unpacked at a time: 16 KiB

struct alignas(64) Scratch {
  uint8_t w[kChunk][8][64];
  float scale[3][kChunk][kPanel];
  float sums[kMr][kPanel];
};

// The chunk to come is asked for by this one's register tiles, a bit with each block, into the second-level cache: all
// of it together, before the chunk, would have to be waited for, and would not stay in the first level (measured on Zen
// 4: with the next, 66 % of the VNNI peak become 71 %).
constexpr size_t kAheadBytes = 128, kAheadOfTile = kAheadBytes * kChunk;
template <DType D>
constexpr size_t kChunkBytes = kChunk / RhsBlock<D>::kBlocks * RhsBlock<D>::kAt.group_bytes;
static_assert(kChunk % RhsBlock<DType::kQ6_K>::kBlocks == 0 && kChunk % kWideRun == 0);

// R rows, which are an lhs panel from the chunk's first block on, times the chunk. ahead: the quants to ask for.
template <DType D, int R>
void tile(const Scratch& scratch, size_t blocks, const uint8_t* lhs_blocks, const uint8_t* ahead, RowsAhead output,
          float (*sums)[kPanel]) noexcept {
  static_assert(!kHasMin<D>, "add_super() wants minima");
  __m512 acc[R];
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) acc[r] = _mm512_setzero_ps();
  Lhs lhs(lhs_blocks, R);
  const uint8_t* w = scratch.w[0][0];
  const float* scale = scratch.scale[0][0];
  for (size_t kb = 0; kb < blocks; kb += kWideRun) {
    const Lhs begin = lhs;
    for (size_t count = kWideRun; count > 0; --count, lhs.advance()) {
      SMEPILOT_UNROLL
      for (size_t line = 0; line < kAheadBytes; line += 64) fetch_later(ahead + line);
      ahead += kAheadBytes;
      output.fetch_row();
      Block b;
      SMEPILOT_UNROLL
      for (int i = 0; i < 8; ++i) b.w[i] = load_zmm(w + i * 64);
      b.s0 = _mm512_load_ps(scale);
      if constexpr (kHasHalves<D> || kHasHalfMins<D>) b.s1 = _mm512_load_ps(scale + kChunk * kPanel);
      if constexpr (kHasHalfMins<D>) b.s2 = _mm512_load_ps(scale + 2 * kChunk * kPanel);
      add_block<D, true, R>(b, lhs, acc);
      w += 512;
      scale += kPanel;
    }
    add_super<D, R>(begin, acc, nullptr, sums);
  }
}

using TileFn = void (*)(const Scratch&, size_t, const uint8_t*, const uint8_t*, RowsAhead, float (*)[kPanel]) noexcept;

template <DType D>
void unpack(RhsBlock<D> from, size_t blocks, Scratch& scratch) noexcept {
  for (size_t kb = 0; kb < blocks; ++kb, from.advance()) {
    Block b;
    load_block<D>(from, load_supers<D>(from), b);
    SMEPILOT_UNROLL
    for (int i = 0; i < 8; ++i) _mm512_store_si512(scratch.w[kb][i], b.w[i]);
    _mm512_store_ps(scratch.scale[0][kb], b.s0);
    if constexpr (kScaleVectors<D> > 1) _mm512_store_ps(scratch.scale[1][kb], b.s1);
    if constexpr (kScaleVectors<D> > 2) _mm512_store_ps(scratch.scale[2][kb], b.s2);
  }
}

template <DType D>
void unpack_for_all(const MatmulArgs* args) noexcept {
  static constexpr TileFn kTiles[kPanel] = {
      tile<D, 1>, tile<D, 2>,  tile<D, 3>,  tile<D, 4>,  tile<D, 5>,  tile<D, 6>,  tile<D, 7>,  tile<D, 8>,
      tile<D, 9>, tile<D, 10>, tile<D, 11>, tile<D, 12>, tile<D, 13>, tile<D, 14>, tile<D, 15>, tile<D, 16>};
  constexpr size_t kShares = (kChunkBytes<D> + kAheadOfTile - 1) / kAheadOfTile;  // tiles that ask for the next chunk
  const size_t blocks = args->k / kQ8Block;
  Scratch scratch;
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  const uint8_t* lhs = static_cast<const uint8_t*>(args->lhs);
  for (uint32_t n = 0; n < args->n; n += kPanel, panel += args->rhs_stride) {
    float* dst = args->dst + n;
    const uint8_t* next_panel = args->n - n > kPanel ? panel + args->rhs_stride : panel;
    for (uint32_t m = 0; m < args->m; ++m) _mm512_store_ps(scratch.sums[m], _mm512_setzero_ps());
    for (size_t kb = 0; kb < blocks; kb += kChunk) {
      const size_t count = blocks - kb < kChunk ? blocks - kb : kChunk;
      unpack(RhsBlock<D>(panel, kb), count, scratch);
      const uint8_t* coming = kb + count == blocks ? next_panel : panel + (kb / kChunk + 1) * kChunkBytes<D>;
      for (uint32_t m = 0; m < args->m; m += kPanel) {
        const uint32_t rows = args->m - m < kPanel ? args->m - m : kPanel;
        const size_t share = m / kPanel % kShares;  // once more is harmless
        kTiles[rows - 1](scratch, count, lhs + lhs_q8_bytes(m, args->k) + kb * rows * kLhsQ8BlockBytes,
                         coming + share * kAheadOfTile, RowsAhead(dst + m * args->dst_stride, args->dst_stride, rows),
                         scratch.sums + m);
      }
    }
    const __mmask16 mask = column_mask(args->n - n);
    for (uint32_t m = 0; m < args->m; ++m)
      _mm512_mask_storeu_ps(dst + m * args->dst_stride, mask, _mm512_load_ps(scratch.sums[m]));
  }
}

template <DType D>
void matmul(const MatmulArgs* args) noexcept {
  if constexpr (kHasWide<D>) {
    if (args->lhs_group == kQ8SuperBlock) {
      if constexpr (kUnpackFrom<D> > 0) {
        if (args->m >= kUnpackFrom<D>) return unpack_for_all<D>(args);
      }
      return stream_all<D, true>(args);
    }
  }
  stream_all<D, false>(args);
}

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return matmul_variant(id, kIsaAvx2 | kIsaAvx512 | kIsaAvx512Vnni, DType::kQ8, D, kMr, matmul<D>);
}

}  // namespace

extern const KernelVariant kMatmulF32Q8Q8_0Avx512Vnni, kMatmulF32Q8Q4_0Avx512Vnni, kMatmulF32Q8Q4_1Avx512Vnni,
    kMatmulF32Q8Q5_0Avx512Vnni, kMatmulF32Q8Q5_1Avx512Vnni, kMatmulF32Q8Iq4NlAvx512Vnni, kMatmulF32Q8Q2_KAvx512Vnni,
    kMatmulF32Q8Q3_KAvx512Vnni, kMatmulF32Q8Q4_KAvx512Vnni, kMatmulF32Q8Q5_KAvx512Vnni, kMatmulF32Q8Q6_KAvx512Vnni;
constexpr KernelVariant kMatmulF32Q8Q8_0Avx512Vnni =
    variant<DType::kQ8_0>("matmul.f32.q8.q8_0.16x16.avx512vnni.vpdpbusd");
constexpr KernelVariant kMatmulF32Q8Q4_0Avx512Vnni =
    variant<DType::kQ4_0>("matmul.f32.q8.q4_0.16x16.avx512vnni.vpdpbusd");
constexpr KernelVariant kMatmulF32Q8Q4_1Avx512Vnni =
    variant<DType::kQ4_1>("matmul.f32.q8.q4_1.16x16.avx512vnni.vpdpbusd");
constexpr KernelVariant kMatmulF32Q8Q5_0Avx512Vnni =
    variant<DType::kQ5_0>("matmul.f32.q8.q5_0.16x16.avx512vnni.vpdpbusd");
constexpr KernelVariant kMatmulF32Q8Q5_1Avx512Vnni =
    variant<DType::kQ5_1>("matmul.f32.q8.q5_1.16x16.avx512vnni.vpdpbusd");
constexpr KernelVariant kMatmulF32Q8Iq4NlAvx512Vnni =
    variant<DType::kIQ4_NL>("matmul.f32.q8.iq4_nl.16x16.avx512vnni.vpdpbusd");
constexpr KernelVariant kMatmulF32Q8Q2_KAvx512Vnni =
    variant<DType::kQ2_K>("matmul.f32.q8.q2_k.16x16.avx512vnni.vpdpbusd");
constexpr KernelVariant kMatmulF32Q8Q3_KAvx512Vnni =
    variant<DType::kQ3_K>("matmul.f32.q8.q3_k.16x16.avx512vnni.vpdpbusd");
constexpr KernelVariant kMatmulF32Q8Q4_KAvx512Vnni =
    variant<DType::kQ4_K>("matmul.f32.q8.q4_k.16x16.avx512vnni.vpdpbusd");
constexpr KernelVariant kMatmulF32Q8Q5_KAvx512Vnni =
    variant<DType::kQ5_K>("matmul.f32.q8.q5_k.16x16.avx512vnni.vpdpbusd");
constexpr KernelVariant kMatmulF32Q8Q6_KAvx512Vnni =
    variant<DType::kQ6_K>("matmul.f32.q8.q6_k.16x16.avx512vnni.vpdpbusd");

}  // namespace smepilot
