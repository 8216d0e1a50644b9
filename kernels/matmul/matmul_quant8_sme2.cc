// Q8_0 weights on an SME2 unit, four sums at once: one lhs panel meets four rhs panels.
//
// Eight-bit weights are bytes to load before anything else, and 16 x 64 outputs per pass load 688 bytes per block and
// 16 x 16 outputs where the 16 x 32 of quant_sme.h load 832. Five tiles are wanted for that and ZA has four: sums of
// three panels are tiles 0 to 2, tile 3 is the integers, and the sums of the fourth panel are the vector registers z8
// .. z23. Then there is no room for a tile of scales: rows are multiplied with theirs (FMUL by element), two at a time,
// and the multiply-add into ZA brings in those of the columns. That is more instructions (about 7 per outer product
// instead of 5): which of the two is faster is a machine's to say.
//
// In assembly because it takes all 32 registers, and the operands of nearly every instruction are restricted to some of
// them. Only whole tiles at SVL 512; what remains of m and n, and other vector lengths, go through quant_sme.h.
#include "kernels/matmul/quant_sme.h"

namespace smepilot {
namespace {

constexpr uint32_t kWide = 4;                                // rhs panels
constexpr uint32_t kWholeBlock = kPanel * kLhsQ8BlockBytes;  // of an lhs panel
static_assert(kWholeBlock == 896);

// z24 .. z31 (activations) times the panel at offset `at` from q and q + 256, into tile 3; z4 = its scales.
#define PRODUCTS(q_at, q2_at, d_at)          \
  "zero {za3.s}\n\t"                         \
  "ld1b {z4.b-z7.b}, pn8/z, [%[q]" q_at      \
  "]\n\t"                                    \
  "smopa za3.s, p0/m, p0/m, z24.b, z4.b\n\t" \
  "smopa za3.s, p0/m, p0/m, z25.b, z5.b\n\t" \
  "smopa za3.s, p0/m, p0/m, z26.b, z6.b\n\t" \
  "smopa za3.s, p0/m, p0/m, z27.b, z7.b\n\t" \
  "ld1b {z4.b-z7.b}, pn8/z, [%[q2]" q2_at    \
  "]\n\t"                                    \
  "smopa za3.s, p0/m, p0/m, z28.b, z4.b\n\t" \
  "smopa za3.s, p0/m, p0/m, z29.b, z5.b\n\t" \
  "smopa za3.s, p0/m, p0/m, z30.b, z6.b\n\t" \
  "smopa za3.s, p0/m, p0/m, z31.b, z7.b\n\t" \
  "ld1h {z4.s}, p0/z, [%[scale]" d_at        \
  "]\n\t"                                    \
  "fcvt z4.s, p0/m, z4.h\n\t"
// Rows r and r + 8 of tile 3, as floats in z6 and z7: they are vectors 4r + 3 and 4(r + 8) + 3 of ZA.
#define ROWS(w, integers)                  \
  "mov {z6.d-z7.d}, za.d[" w ", " integers \
  ", vgx2]\n\t"                            \
  "scvtf {z6.s-z7.s}, {z6.s-z7.s}\n\t"
// .. times their scales, z0 .. z3 [lane], times those of the columns, into ZA or into two registers.
#define TO_TILE(w, integers, sums, low, high, lane) \
  ROWS(w, integers)                                 \
  "fmul z6.s, z6.s, " low ".s[" lane                \
  "]\n\t"                                           \
  "fmul z7.s, z7.s, " high ".s[" lane               \
  "]\n\t"                                           \
  "fmla za.s[" w ", " sums ", vgx2], {z6.s-z7.s}, z4.s\n\t"
#define TO_REGISTERS(w, integers, sum, sum8, low, high, lane) \
  ROWS(w, integers)                                           \
  "fmul z6.s, z6.s, z4.s\n\t"                                 \
  "fmul z7.s, z7.s, z4.s\n\t"                                 \
  "fmla " sum ".s, z6.s, " low ".s[" lane                     \
  "]\n\t"                                                     \
  "fmla " sum8 ".s, z7.s, " high ".s[" lane "]\n\t"
#define ADD_TILE(even, odd)                  \
  TO_TILE("w8", "3", even, "z0", "z2", "0")  \
  TO_TILE("w8", "7", odd, "z0", "z2", "1")   \
  TO_TILE("w9", "3", even, "z0", "z2", "2")  \
  TO_TILE("w9", "7", odd, "z0", "z2", "3")   \
  TO_TILE("w10", "3", even, "z1", "z3", "0") \
  TO_TILE("w10", "7", odd, "z1", "z3", "1")  \
  TO_TILE("w11", "3", even, "z1", "z3", "2") \
  TO_TILE("w11", "7", odd, "z1", "z3", "3")
#define CLEAR(z) "mov " z ".s, #0\n\t"
#define STORE(z) "st1w {" z ".s}, p0, [%[dst], #3, mul vl]\n\tadd %[dst], %[dst], %[dst_step]\n\t"

// 16 rows x 64 columns of dst.
SMEPILOT_INLINE void wide_tile(const MatmulArgs* args, size_t scales_at, const uint8_t* lhs, const uint8_t* panel,
                               float* dst) noexcept SMEPILOT_STREAMING {
  const size_t stride = args->rhs_stride, dst_step = args->dst_stride * sizeof(float);
  const uint8_t *q = panel, *q2 = panel + 256, *scale = panel + scales_at;
  const uint8_t* d = lhs + kPanel * kPlaneD;  // f32 [16]
  uint64_t blocks = args->k / kQ8Block;
  float* to = dst;
  __asm__ volatile(
      "ptrue p0.b\n\t"
      "ptrue pn8.b\n\t"
      "mov w8, #0\n\t"
      "mov w9, #8\n\t"
      "mov w10, #16\n\t"
      "mov w11, #24\n\t"
      "zero {za}\n\t"
      // clang-format off
      CLEAR("z8") CLEAR("z9") CLEAR("z10") CLEAR("z11") CLEAR("z12") CLEAR("z13") CLEAR("z14") CLEAR("z15")
      CLEAR("z16") CLEAR("z17") CLEAR("z18") CLEAR("z19") CLEAR("z20") CLEAR("z21") CLEAR("z22") CLEAR("z23")
      "1:\n\t"
      "ld1b {z24.b-z27.b}, pn8/z, [%[lhs]]\n\t"
      "ld1b {z28.b-z31.b}, pn8/z, [%[lhs], #4, mul vl]\n\t"
      "ld1rqw {z0.s}, p0/z, [%[d]]\n\t"
      "ld1rqw {z1.s}, p0/z, [%[d], #16]\n\t"
      "ld1rqw {z2.s}, p0/z, [%[d], #32]\n\t"
      "ld1rqw {z3.s}, p0/z, [%[d], #48]\n\t"
      PRODUCTS("", "", "")
      ADD_TILE("0", "4")
      PRODUCTS(", %[one]", ", %[one]", ", %[half1], lsl #1")
      ADD_TILE("1", "5")
      PRODUCTS(", %[two]", ", %[two]", ", %[one], lsl #1")
      ADD_TILE("2", "6")
      PRODUCTS(", %[three]", ", %[three]", ", %[half3], lsl #1")
      TO_REGISTERS("w8", "3", "z8", "z16", "z0", "z2", "0")
      TO_REGISTERS("w8", "7", "z9", "z17", "z0", "z2", "1")
      TO_REGISTERS("w9", "3", "z10", "z18", "z0", "z2", "2")
      TO_REGISTERS("w9", "7", "z11", "z19", "z0", "z2", "3")
      TO_REGISTERS("w10", "3", "z12", "z20", "z1", "z3", "0")
      TO_REGISTERS("w10", "7", "z13", "z21", "z1", "z3", "1")
      TO_REGISTERS("w11", "3", "z14", "z22", "z1", "z3", "2")
      TO_REGISTERS("w11", "7", "z15", "z23", "z1", "z3", "3")
      "add %[lhs], %[lhs], #896\n\t"
      "add %[d], %[d], #896\n\t"
      "add %[q], %[q], #512\n\t"
      "add %[q2], %[q2], #512\n\t"
      "add %[scale], %[scale], #32\n\t"
      "subs %[blocks], %[blocks], #1\n\t"
      "b.ne 1b\n\t"
      STORE("z8") STORE("z9") STORE("z10") STORE("z11") STORE("z12") STORE("z13") STORE("z14") STORE("z15")
      STORE("z16") STORE("z17") STORE("z18") STORE("z19") STORE("z20") STORE("z21") STORE("z22") STORE("z23")
      // clang-format on
      : [lhs] "+r"(lhs), [d] "+r"(d), [q] "+r"(q), [q2] "+r"(q2), [scale] "+r"(scale), [blocks] "+r"(blocks),
        [dst] "+r"(to)
      : [one] "r"(stride), [two] "r"(2 * stride), [three] "r"(3 * stride), [half1] "r"(stride / 2),
        [half3] "r"(3 * stride / 2), [dst_step] "r"(dst_step)
      : "w8", "w9", "w10", "w11", "p0", "p8", "z0", "z1", "z2", "z3", "z4", "z5", "z6", "z7", "z8", "z9", "z10", "z11",
        "z12", "z13", "z14", "z15", "z16", "z17", "z18", "z19", "z20", "z21", "z22", "z23", "z24", "z25", "z26", "z27",
        "z28", "z29", "z30", "z31", "cc", "memory", "za");
  const svbool_t all = svptrue_b32();
  for (uint32_t r = 0; r < kPanel; ++r, dst += args->dst_stride) {
    svst1_hor_za32(0, r, all, dst);
    svst1_hor_za32(1, r, all, dst + kPanel);
    svst1_hor_za32(2, r, all, dst + 2 * kPanel);
  }
}

void streaming_wide(const MatmulArgs* args, const RhsPlanes* at) noexcept SMEPILOT_STREAMING {
  if (svcntb() != 4 * kPanel) {
    all_panels<DType::kQ8_0, false>(args, *at);
    return;
  }
  MatmulArgs rest = *args;
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  const uint32_t whole_m = args->m / kPanel * kPanel;
  for (; rest.n >= kWide * kPanel; rest.n -= kWide * kPanel) {
    const uint8_t* lhs = static_cast<const uint8_t*>(args->lhs);
    for (uint32_t m0 = 0; m0 < whole_m; m0 += kPanel)
      wide_tile(args, at->scale, lhs + lhs_q8_bytes(m0, args->k), panel, rest.dst + m0 * args->dst_stride);
    panel += kWide * args->rhs_stride;
    rest.dst += kWide * kPanel;
  }
  rest.rhs = panel;
  if (rest.n != 0) all_panels<DType::kQ8_0, true>(&rest, *at);
  if (whole_m == args->m || rest.n == args->n) return;
  rest = *args;  // the rows of the last panel, of the columns before those
  rest.m -= whole_m;
  rest.n = args->n / (kWide * kPanel) * (kWide * kPanel);
  rest.lhs = static_cast<const uint8_t*>(args->lhs) + lhs_q8_bytes(whole_m, args->k);
  rest.dst += whole_m * args->dst_stride;
  all_panels<DType::kQ8_0, true>(&rest, *at);
}

void matmul_wide(const MatmulArgs* args) noexcept {
  const RhsPlanes at = rhs_planes(DType::kQ8_0, args->k);
  call_streaming(streaming_wide, args, &at);
}

}  // namespace

extern const KernelVariant kMatmulF32Q8Q8_0WideSme2;
constexpr KernelVariant kMatmulF32Q8Q8_0WideSme2 =
    matmul_variant("matmul.f32.q8.q8_0.1vlx4vl.sme2.smopa", kIsaNeon | kIsaSme | kIsaSme2, DType::kQ8, DType::kQ8_0,
                   kMr, matmul_wide, ExecutionUnit::kMatrix);

}  // namespace smepilot
