// Quantised weights times quantised activations with AVX-512 VNNI: register tiles of up to 16 rows by one panel of 16
// columns, whose weights come straight from the panel, or of 8 rows by two panels that were unpacked for all rows.
//
// Per row and panel of a block of 32 k: the integer accumulator starts at the row's correction (a broadcast load, which
// costs no arithmetic port), takes eight vpdpbusd whose signed operand is a broadcast from memory, and is scaled into
// the row's f32 accumulator. Eleven operations for two arithmetic ports, eight of them dot products: 8/11 of the VNNI
// peak is the ceiling of the format for one scale per block, 8/12 where a minimum is added, 8/13 where there are two
// scales per block. (On Zen 4 conversions go to other ports: 8/10, 8/11, 8/11.) Where 256 activations share a scale, it
// is applied once for eight blocks, which saves one operation in each. Loads come close to being the limit too: ten per
// eleven operations with one panel, six with two.
#include "kernels/abi/describe.h"
#include "kernels/matmul/rhs_block_avx512.h"

namespace smepilot {
namespace {

SMEPILOT_INLINE void fetch_line(const uint8_t* p) noexcept {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
}
SMEPILOT_INLINE void fetch_later(const uint8_t* p) noexcept {  // into the second-level cache
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
}

// Whether the kernel of a type has a form for activations of which kQ8SuperBlock share a scale, too.
template <DType D>
constexpr bool kHasWide = traits(D).block_elems == kQ8SuperBlock;
constexpr size_t kWideRun = kQ8SuperBlock / kQ8Block;  // blocks
// Minima are added times the sum of the activations. Where a scale is yet to come, that is the integer -8 * sum(q).
template <bool Wide>
constexpr float kMinFactor = Wide ? -1.0f / 8 : 1;

// Four activations to every lane, and their dot product with four weights of each column. In assembly, because both
// compilers otherwise hoist the broadcasts of a whole block and spill to make room.
struct __attribute__((may_alias, packed)) Quad {
  int32_t value;
};
SMEPILOT_INLINE __m512i broadcast(const Quad& q) noexcept {
  __m512i a;
  __asm__ volatile("vpbroadcastd %1, %0" : "=v"(a) : "m"(q));
  return a;
}
SMEPILOT_INLINE void dot_step(__m512i& dot, __m512i w, __m512i a) noexcept {
  __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(dot) : "v"(w), "v"(a));
}
SMEPILOT_INLINE void dot_step(__m512i& dot, __m512i w, const Quad& q) noexcept {
  __asm__ volatile("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(dot) : "v"(w), "m"(q));
}

// Rows of an lhs panel, from one row of it on, at one block of k.
struct Lhs {
  const uint8_t* q;       // 32 bytes per row
  const uint8_t* planes;  // entry of the first row in a plane that would begin at the block
  size_t height;          // rows of the panel

  Lhs(const uint8_t* panel, size_t rows, size_t row) noexcept
      : q(panel + row * kQ8Block), planes(panel + row * 4), height(rows) {}
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
  template <DType D>
  SMEPILOT_INLINE void prefetch(size_t ahead, int rows) const noexcept {
    const size_t step = height * kLhsQ8BlockBytes * ahead;
    SMEPILOT_UNROLL
    for (int r = 0; r < rows; r += 2) fetch_line(q + step + r * 32);
    fetch_line(planes + height * kPlaneD + step);
    if (kHasMin<D>) fetch_line(planes + height * kPlaneDs + step);
    if (kZeroPoint<D> != 0) fetch_line(planes + height * (kZeroPoint<D> == 8 ? kPlaneN8 : kPlaneN128) + step);
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

// Adds one block of R rows times P panels to acc, with all dot products side by side. Wide: without the scale of the
// activations.
template <DType D, bool Wide, int R, int P, typename Source>
SMEPILOT_INLINE void add_rows(const Source& source, const Lhs& lhs, __m512 (*acc)[P]) noexcept {
  constexpr int kHalves = kHasHalves<D> ? 2 : 1, kSteps = 8 / kHalves;
  __m512i dot[kHalves][R][P];
  SMEPILOT_UNROLL
  for (int half = 0; half < kHalves; ++half) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      const __m512i start = start_of_dot<D>(lhs, half, r);
      SMEPILOT_UNROLL
      for (int p = 0; p < P; ++p) dot[half][r][p] = start;
    }
  }
  SMEPILOT_UNROLL
  for (int step = 0; step < 8; ++step) {
    const int half = step % kHalves, i = half * kSteps + step / kHalves;
    __m512i w[P];
    SMEPILOT_UNROLL
    for (int p = 0; p < P; ++p) w[p] = source.weights(p, i);
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      const Quad& q = *reinterpret_cast<const Quad*>(lhs.q + r * 32 + i * 4);
      if constexpr (P == 1) {
        dot_step(dot[half][r][0], w[0], q);
      } else {
        const __m512i a = broadcast(q);
        SMEPILOT_UNROLL
        for (int p = 0; p < P; ++p) dot_step(dot[half][r][p], w[p], a);
      }
    }
  }
  SMEPILOT_UNROLL
  for (int p = 0; p < P; ++p) {
    const __m512 s = source.scale(p, 0);
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      const __m512 x = _mm512_cvtepi32_ps(dot[0][r][p]);
      if constexpr (Wide) {
        acc[r][p] = _mm512_fmadd_ps(x, s, acc[r][p]);
        if constexpr (kHasHalves<D>)
          acc[r][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[1][r][p]), source.scale(p, 1), acc[r][p]);
        continue;
      }
      const __m512 d = bcast_f32(lhs.plane(kPlaneD, r));
      if constexpr (kHasHalves<D>) {
        const __m512 y = _mm512_cvtepi32_ps(dot[1][r][p]);
        acc[r][p] = _mm512_fmadd_ps(_mm512_fmadd_ps(y, source.scale(p, 1), _mm512_mul_ps(x, s)), d, acc[r][p]);
      } else {
        acc[r][p] = _mm512_fmadd_ps(x, _mm512_mul_ps(s, d), acc[r][p]);
      }
    }
  }
  if constexpr (kHasMin<D>) {
    SMEPILOT_UNROLL
    for (int p = 0; p < P; ++p) {
      const __m512 min = source.scale(p, 1);
      SMEPILOT_UNROLL
      for (int r = 0; r < R; ++r) {
        const __m512 sum = Wide ? _mm512_cvtepi32_ps(bcast_i32(lhs.plane(kPlaneN8, r)))  // see kMinFactor
                                : bcast_f32(lhs.plane(kPlaneDs, r));
        acc[r][p] = _mm512_fmadd_ps(min, sum, acc[r][p]);
      }
    }
  }
  if constexpr (kHasHalfMins<D>) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      const __m512 sum_a = _mm512_cvtepi32_ps(bcast_i32(lhs.plane(kPlaneN32a, r)));
      const __m512 sum_b = _mm512_cvtepi32_ps(bcast_i32(lhs.plane(kPlaneN32b, r)));
      SMEPILOT_UNROLL
      for (int p = 0; p < P; ++p) {
        if constexpr (Wide) {
          acc[r][p] = _mm512_fmadd_ps(sum_a, source.scale(p, 1), acc[r][p]);
          acc[r][p] = _mm512_fmadd_ps(sum_b, source.scale(p, 2), acc[r][p]);
          continue;
        }
        const __m512 both = _mm512_fmadd_ps(sum_b, source.scale(p, 2), _mm512_mul_ps(sum_a, source.scale(p, 1)));
        acc[r][p] = _mm512_fmadd_ps(both, bcast_f32(lhs.plane(kPlaneD, r)), acc[r][p]);
      }
    }
  }
}

// The same for any R. With one panel the weights stay in registers, which leaves room for four dot products; with two,
// they are loaded for each step.
template <DType D, bool Wide, int R, int P, typename Source>
SMEPILOT_INLINE void add_block(const Source& source, const Lhs& lhs, __m512 (*acc)[P]) noexcept {
  constexpr int kSideBySide = P == 2 ? R : kHasHalves<D> ? 2 : 4;
  constexpr int kRows = R < kSideBySide ? R : kSideBySide;
  add_rows<D, Wide, kRows, P>(source, lhs, acc);
  if constexpr (kRows < R) add_block<D, Wide, R - kRows, P>(source, lhs.from(kRows), acc + kRows);
}

// --- One lhs panel: weights go from the rhs panel through registers ---

struct InRegisters {
  const Block& b;
  SMEPILOT_INLINE __m512i weights(int, int i) const noexcept { return b.w[i]; }
  SMEPILOT_INLINE __m512 scale(int, int j) const noexcept { return j == 0 ? b.s0 : j == 1 ? b.s1 : b.s2; }
};

// One row takes as long as its weights take to arrive. It reads them in a single line, which the hardware's prefetchers
// follow by themselves if lines are first touched in their order: so the scales of a long group are asked for when it
// begins (measured from memory on Zen 4, GB/s a core, of 33 that reading alone gives: q4_0 34, q4_k 33, q8_0 34, q6_k
// 33, without asking 12). More rows take longer for each line, and the hardware is not as far ahead then (q4_0, 4 rows:
// 16 GB/s). So they ask for it themselves, and few of them read four panels side by side (23).
template <int R>
constexpr int kStreams = R > 1 && R <= 4 ? 4 : 1;
// Bytes of a panel from prefetch to use.
template <int R>
constexpr size_t kAheadOfRow = R == 1   ? 0
                               : R <= 4 ? 2048
                                        : 4096;
// Long runs of several panels: every other line is asked for, and the hardware brings its neighbour.
template <DType D, int R>
constexpr size_t kLineStep = kStreams<R> > 1 && kQuantBytes<D> > 256 ? 128 : 64;

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

// R rows times Streams panels that are read side by side. Wide as in tile(), and with the same roundings: what a row
// gives does not depend on how many rows there are.
template <DType D, bool Wide, int R, int Streams>
SMEPILOT_INLINE void stream_panels(const MatmulArgs* args, const uint8_t* panel, uint32_t left, float* dst) noexcept {
  const size_t blocks = args->k / kQ8Block, stride = args->rhs_stride;
  const uint8_t* turn = panel + stride - kAheadOfRow<R>;  // what is asked for from here on is of the next panels
  alignas(64) float sums[Wide ? Streams : 1][Wide ? R : 1][kPanel];
  __m512 acc[Streams][R][1];
  const auto each = [](auto body) __attribute__((always_inline)) {
    SMEPILOT_UNROLL
    for (int s = 0; s < Streams; ++s) {
      SMEPILOT_UNROLL
      for (int r = 0; r < R; ++r) body(s, r);
    }
  };
  each([&](int s, int r) __attribute__((always_inline)) {
    acc[s][r][0] = _mm512_setzero_ps();
    if constexpr (Wide) _mm512_store_ps(sums[s][r], _mm512_setzero_ps());
  });
  Lhs lhs(static_cast<const uint8_t*>(args->lhs), R, 0);
  RhsBlock<D> first(panel, 0);
  for (size_t begin = 0, end; begin < blocks; begin = end) {
    end = Wide ? begin + kWideRun : blocks;
    const Lhs shared = lhs;
    // For as long as one panel's are the same.
    Supers supers{};
    if constexpr (Wide && Streams == 1) supers = load_supers<D>(first, kMinFactor<Wide>);
    for (size_t kb = begin; kb < end; ++kb, lhs.advance(), first.advance()) {
      const size_t jump = Streams > 1 && first.high >= turn ? (Streams - 1) * stride : 0;
      SMEPILOT_UNROLL
      for (size_t s = 0; s < Streams; ++s) {
        const RhsBlock<D> from = first.of_panel(s * stride);
        prefetch_block<D, R>(from, jump);
        Block b;
        if constexpr (!Wide || Streams > 1) supers = load_supers<D>(from, kMinFactor<Wide>);
        load_block<D>(from, supers, b);
        add_block<D, Wide, R, 1>(InRegisters{b}, lhs, acc[s]);
      }
    }
    if constexpr (Wide)
      each([&](int s, int r) __attribute__((always_inline)) {
        const __m512 d = bcast_f32(shared.plane(kPlaneD, r));
        _mm512_store_ps(sums[s][r], _mm512_fmadd_ps(acc[s][r][0], d, _mm512_load_ps(sums[s][r])));
        acc[s][r][0] = _mm512_setzero_ps();
      });
  }
  each([&](int s, int r) __attribute__((always_inline)) {
    const uint32_t column = static_cast<uint32_t>(s) * kPanel;
    const __m512 sum = Wide ? _mm512_load_ps(sums[Wide ? s : 0][Wide ? r : 0]) : acc[s][r][0];
    _mm512_mask_storeu_ps(dst + static_cast<size_t>(r) * args->dst_stride + column, column_mask(left - column), sum);
  });
}

template <DType D, bool Wide, int R>
void one_panel(const MatmulArgs* args) noexcept {
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  float* dst = args->dst;
  uint32_t left = args->n;
  constexpr uint32_t kTogether = kStreams<R> * kPanel;
  for (; left > kTogether - kPanel; left -= left < kTogether ? left : kTogether) {
    stream_panels<D, Wide, R, kStreams<R>>(args, panel, left, dst);
    panel += kStreams<R> * args->rhs_stride;
    dst += kTogether;
  }
  if constexpr (kStreams<R> > 1) {
    for (; left > 0; left -= left < kPanel ? left : kPanel) {
      stream_panels<D, Wide, R, 1>(args, panel, left, dst);
      panel += args->rhs_stride;
      dst += kPanel;
    }
  }
}

// --- Several lhs panels: weights are unpacked a chunk of K at a time and used by all rows ---

constexpr uint32_t kMr = 128;  // rows of a call
// k blocks unpacked at a time, to 32 KiB for two panels: they come from the second-level cache as fast as they are
// needed, and longer chunks have fewer ends (measured on Zen 4, with 8 rows a tile: 16 blocks 75 % of the VNNI peak, 32
// 76.5; 64 are as good, and worse where weights come from further away).
constexpr size_t kChunk = 32;

// Rhs panels that share a register tile: two, so that a broadcast serves two dot products; but where blocks have two
// scales, the registers are better used for half sums.
template <DType D>
constexpr int kShared = kHasHalves<D> ? 1 : 2;
// Rows of a register tile. With two panels, sixteen dot products are in registers and most of their sums in memory
// until a block ends, which costs no arithmetic port and is less than what a third tile per 16 rows would (measured on
// Zen 4: with 6 rows, whose sums have registers, too, 73 % of the VNNI peak, with 8 75 %).
template <int P>
constexpr int kTileRows = P == 2 ? 8 : 16;

struct alignas(64) Scratch {
  uint8_t w[2][kChunk][8][64];
  float scale[2][kChunk][3][kPanel];
  float sums[kMr][2][kPanel];
};

// The chunk to come is asked for by this one's register tiles, a bit with each block, into the second-level cache: all
// of it together, before the chunk, would have to be waited for, and would not stay in the first level (measured on Zen
// 4: with the next, 66 % of the VNNI peak become 71 %).
constexpr size_t kAheadBytes = 128, kAheadOfTile = kAheadBytes * kChunk;
template <DType D>
constexpr size_t kChunkBytes = kChunk / RhsBlock<D>::kBlocks * RhsBlock<D>::kAt.group_bytes;  // of a panel
static_assert(kChunk % RhsBlock<DType::kQ6_K>::kBlocks == 0 && kChunk % RhsBlock<DType::kQ4_0>::kBlocks == 0);

// What the register tiles of one chunk share.
struct Chunk {
  const uint8_t* w[2];  // 512 bytes per block: in the scratch, or where nothing needs unpacking in the panel
  Scratch& scratch;
  size_t blocks;
  bool first, last;
  size_t dst_stride;
  __mmask16 mask[2];
};

template <DType D>
struct Unpacked {
  const uint8_t* w[2];
  const float (*scales)[3][kPanel];  // of the first panel; the second one's are kChunk further on
  SMEPILOT_INLINE __m512i weights(int p, int i) const noexcept { return load_zmm(w[p] + i * 64); }
  SMEPILOT_INLINE __m512 scale(int p, int j) const noexcept {
    return _mm512_load_ps(scales[static_cast<size_t>(p) * kChunk][j]);
  }
  size_t step = 512;                              // to the next block
  SMEPILOT_INLINE Block block() const noexcept {  // of the first panel
    Block b;
    SMEPILOT_UNROLL
    for (int i = 0; i < 8; ++i) b.w[i] = weights(0, i);
    b.s0 = scale(0, 0);
    if constexpr (kScaleVectors<D> > 1) b.s1 = scale(0, 1);
    if constexpr (kScaleVectors<D> > 2) b.s2 = scale(0, 2);
    return b;
  }
  SMEPILOT_INLINE void advance() noexcept {
    w[0] += step;
    w[1] += step;
    if constexpr (D == DType::kQ8_0) {  // straight from the panel, where every second block is followed by scales
      static_assert(RhsBlock<D>::kBlocks == 2);
      step ^= 512 ^ (512 + RhsBlock<D>::kScales);
    }
    ++scales;
    __asm__("" : "+r"(w[0]), "+r"(w[1]), "+r"(scales));
  }
};

// ahead: the quants to ask for. Wide: eight blocks are summed up without the scale of the activations that they share,
// which then takes them into the sums.
template <DType D, bool Wide, int R, int P>
void tile(const Chunk& chunk, Lhs lhs, const uint8_t* ahead, float (*sums)[2][kPanel], float* dst) noexcept {
  __m512 acc[R][P];
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int p = 0; p < P; ++p) acc[r][p] = Wide || chunk.first ? _mm512_setzero_ps() : _mm512_load_ps(sums[r][p]);
  }
  // Where the sums will go, so that stores need not wait for it: a row with each block, as all rows at once would keep
  // weights waiting (measured on Zen 4, 8192 columns: 73.3 instead of 71.3 % of the VNNI peak, q6_k 70.7 instead of
  // 67.8). Into the second level, as rows that are a multiple of 4 KiB apart share one set of the first.
  const float* to = dst;
  const float* const to_last = chunk.last ? dst + (R - 1) * chunk.dst_stride : dst;
  const size_t to_step = chunk.dst_stride;
  Unpacked<D> source{{chunk.w[0], chunk.w[1]}, chunk.scratch.scale[0]};
  const auto add_blocks = [&](size_t count) __attribute__((always_inline)) {
    for (; count > 0; --count, ahead += kAheadBytes) {
      SMEPILOT_UNROLL
      for (size_t line = 0; line < kAheadBytes; line += 64) fetch_later(ahead + line);
      SMEPILOT_UNROLL
      for (int p = 0; p < P; ++p) fetch_later(reinterpret_cast<const uint8_t*>(to + p * static_cast<int>(kPanel)));
      to = to < to_last ? to + to_step : to_last;
      if constexpr (P == 2) {
        lhs.prefetch<D>(2, R);
        add_block<D, Wide, R, P>(source, lhs, acc);
      } else {
        add_block<D, Wide, R, P>(InRegisters{source.block()}, lhs, acc);
      }
      lhs.advance();
      source.advance();
    }
  };
  if constexpr (!Wide) {
    add_blocks(chunk.blocks);
  } else {
    for (size_t done = 0; done < chunk.blocks; done += kWideRun) {
      const Lhs begin = lhs;
      add_blocks(kWideRun);
      SMEPILOT_UNROLL
      for (int r = 0; r < R; ++r) {
        const __m512 d = bcast_f32(begin.plane(kPlaneD, r));
        SMEPILOT_UNROLL
        for (int p = 0; p < P; ++p) {
          const __m512 until_now = chunk.first && done == 0 ? _mm512_setzero_ps() : _mm512_load_ps(sums[r][p]);
          _mm512_store_ps(sums[r][p], _mm512_fmadd_ps(acc[r][p], d, until_now));
          acc[r][p] = _mm512_setzero_ps();
        }
      }
    }
  }
  if (chunk.last) {
    const size_t dst_stride = chunk.dst_stride;
    const __mmask16 mask[2] = {chunk.mask[0], chunk.mask[1]};
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      SMEPILOT_UNROLL
      for (int p = 0; p < P; ++p)
        _mm512_mask_storeu_ps(dst + static_cast<size_t>(r) * dst_stride + static_cast<size_t>(p) * kPanel, mask[p],
                              Wide ? _mm512_load_ps(sums[r][p]) : acc[r][p]);
    }
  } else if constexpr (!Wide) {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      SMEPILOT_UNROLL
      for (int p = 0; p < P; ++p) _mm512_store_ps(sums[r][p], acc[r][p]);
    }
  }
}

using TileFn = void (*)(const Chunk&, Lhs, const uint8_t*, float (*)[2][kPanel], float*) noexcept;
template <DType D, bool Wide, int R, int P>
constexpr TileFn tile_fn() noexcept {
  if constexpr (R <= kTileRows<P>)
    return tile<D, Wide, R, P>;
  else
    return nullptr;
}

// All rows of a call times P panels.
template <DType D, bool Wide, int P>
void panels(const MatmulArgs* args, const uint8_t* panel, float* dst, uint32_t left, Scratch& scratch) noexcept {
  static constexpr TileFn kTiles[kPanel] = {
      tile_fn<D, Wide, 1, P>(),  tile_fn<D, Wide, 2, P>(),  tile_fn<D, Wide, 3, P>(),  tile_fn<D, Wide, 4, P>(),
      tile_fn<D, Wide, 5, P>(),  tile_fn<D, Wide, 6, P>(),  tile_fn<D, Wide, 7, P>(),  tile_fn<D, Wide, 8, P>(),
      tile_fn<D, Wide, 9, P>(),  tile_fn<D, Wide, 10, P>(), tile_fn<D, Wide, 11, P>(), tile_fn<D, Wide, 12, P>(),
      tile_fn<D, Wide, 13, P>(), tile_fn<D, Wide, 14, P>(), tile_fn<D, Wide, 15, P>(), tile_fn<D, Wide, 16, P>()};
  const size_t blocks = args->k / kQ8Block;
  Chunk chunk{{scratch.w[0][0][0], scratch.w[1][0][0]}, scratch, 0, true, false, args->dst_stride, {}};
  for (uint32_t p = 0; p < P; ++p) chunk.mask[p] = column_mask(left - p * kPanel);
  const uint8_t* next_panel = left > P * kPanel ? panel + P * args->rhs_stride : panel;
  for (size_t kb0 = 0; kb0 < blocks; kb0 += kChunk) {
    chunk.blocks = blocks - kb0 < kChunk ? blocks - kb0 : kChunk;
    chunk.first = kb0 == 0;
    chunk.last = kb0 + chunk.blocks == blocks;
    for (int p = 0; p < P; ++p) {
      RhsBlock<D> from(panel + static_cast<size_t>(p) * args->rhs_stride, kb0);
      if constexpr (D == DType::kQ8_0) chunk.w[p] = from.quants();
      for (size_t kb = 0; kb < chunk.blocks; ++kb, from.advance()) {
        Block b;
        load_block<D>(from, load_supers<D>(from, kMinFactor<Wide>), b);
        if constexpr (D != DType::kQ8_0) {
          SMEPILOT_UNROLL
          for (int i = 0; i < 8; ++i) _mm512_store_si512(scratch.w[p][kb][i], b.w[i]);
        }
        _mm512_store_ps(scratch.scale[p][kb][0], b.s0);
        if constexpr (kScaleVectors<D> > 1) _mm512_store_ps(scratch.scale[p][kb][1], b.s1);
        if constexpr (kScaleVectors<D> > 2) _mm512_store_ps(scratch.scale[p][kb][2], b.s2);
      }
    }
    const uint8_t* coming = chunk.last ? next_panel : panel + (kb0 / kChunk + 1) * kChunkBytes<D>;
    constexpr size_t kOfPanel = (kChunkBytes<D> + kAheadOfTile - 1) / kAheadOfTile;  // tiles that ask for one panel's
    size_t number = 0;
    for (uint32_t m0 = 0; m0 < args->m; m0 += kPanel) {
      const uint32_t height = args->m - m0 < kPanel ? args->m - m0 : kPanel;
      const uint8_t* lhs =
          static_cast<const uint8_t*>(args->lhs) + lhs_q8_bytes(m0, args->k) + kb0 * height * kLhsQ8BlockBytes;
      constexpr uint32_t kRows = kTileRows<P>;
      const uint32_t tiles = (height + kRows - 1) / kRows;
      for (uint32_t t = 0, row = 0; t < tiles; ++t) {  // as even as they come
        const uint32_t rows = (height - row + tiles - t - 1) / (tiles - t);
        const size_t share = number++ % (kOfPanel * P);  // once more is harmless
        const uint8_t* ahead = coming + share / kOfPanel * args->rhs_stride + share % kOfPanel * kAheadOfTile;
        kTiles[rows - 1](chunk, Lhs(lhs, height, row), ahead, scratch.sums + m0 + row,
                         dst + (m0 + row) * args->dst_stride);
        row += rows;
      }
    }
  }
}

template <DType D, bool Wide>
void several_panels(const MatmulArgs* args) noexcept {
  Scratch scratch;
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  float* dst = args->dst;
  uint32_t left = args->n;
  if constexpr (kShared<D> == 2) {
    for (; left > kPanel; left -= left < 2 * kPanel ? left : 2 * kPanel) {
      panels<D, Wide, 2>(args, panel, dst, left, scratch);
      panel += 2 * args->rhs_stride;
      dst += 2 * kPanel;
    }
  }
  for (; left > 0; left -= left < kPanel ? left : kPanel) {
    panels<D, Wide, 1>(args, panel, dst, left, scratch);
    panel += args->rhs_stride;
    dst += kPanel;
  }
}

template <DType D, bool Wide>
void matmul_form(const MatmulArgs* args) noexcept {
  static constexpr MatmulFn kOnePanel[kPanel] = {
      one_panel<D, Wide, 1>,  one_panel<D, Wide, 2>,  one_panel<D, Wide, 3>,  one_panel<D, Wide, 4>,
      one_panel<D, Wide, 5>,  one_panel<D, Wide, 6>,  one_panel<D, Wide, 7>,  one_panel<D, Wide, 8>,
      one_panel<D, Wide, 9>,  one_panel<D, Wide, 10>, one_panel<D, Wide, 11>, one_panel<D, Wide, 12>,
      one_panel<D, Wide, 13>, one_panel<D, Wide, 14>, one_panel<D, Wide, 15>, one_panel<D, Wide, 16>};
  if (args->m <= kPanel)
    kOnePanel[args->m - 1](args);
  else
    several_panels<D, Wide>(args);
}

template <DType D>
void matmul(const MatmulArgs* args) noexcept {
  if (kHasWide<D> && args->lhs_group == kQ8SuperBlock)
    matmul_form<D, kHasWide<D>>(args);
  else
    matmul_form<D, false>(args);
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
