// SME: outer products of int8, f32, bf16 and f16 into all four tiles, and reading in streaming mode. The work of one
// instruction grows with the square of the vector length, so its number per repeat shrinks with it.
#include "kernels/probe/probe_loop.h"
#include "kernels/sme/streaming.h"

namespace smepilot {
namespace {

constexpr int kInner = 64;       // per tile and repeat, where vectors have kLanes lanes of 32 bits
constexpr uint64_t kLanes = 16;  // at SVL 512
constexpr double kMacs = 4.0 * kInner * kLanes * kLanes;  // of one 32-bit product each

// Where a body leaves what it has added up.
struct Result {
  uint64_t* to;
};

// How many outer products into each tile are a repeat.
SMEPILOT_INLINE uint64_t per_tile() noexcept __arm_streaming {
  return kInner * kLanes * kLanes / (svcntw() * svcntw());
}

// All results added up.
SMEPILOT_INLINE uint64_t integer_sum() noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  svint32_t sum = svdup_n_s32(0);
  for (uint32_t r = 0; r < svcntw(); ++r) {
    sum = svadd_s32_x(all, sum, svread_hor_za32_s32_m(svundef_s32(), all, 0, r));
    sum = svadd_s32_x(all, sum, svread_hor_za32_s32_m(svundef_s32(), all, 1, r));
    sum = svadd_s32_x(all, sum, svread_hor_za32_s32_m(svundef_s32(), all, 2, r));
    sum = svadd_s32_x(all, sum, svread_hor_za32_s32_m(svundef_s32(), all, 3, r));
  }
  return static_cast<uint32_t>(svaddv_s32(all, sum));
}
SMEPILOT_INLINE uint64_t float_sum() noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  svfloat32_t sum = svdup_n_f32(0);
  for (uint32_t r = 0; r < svcntw(); ++r) {
    sum = svadd_f32_x(all, sum, svread_hor_za32_f32_m(svundef_f32(), all, 0, r));
    sum = svadd_f32_x(all, sum, svread_hor_za32_f32_m(svundef_f32(), all, 1, r));
    sum = svadd_f32_x(all, sum, svread_hor_za32_f32_m(svundef_f32(), all, 2, r));
    sum = svadd_f32_x(all, sum, svread_hor_za32_f32_m(svundef_f32(), all, 3, r));
  }
  const float total = svaddv_f32(all, sum);
  uint32_t bits;
  __builtin_memcpy(&bits, &total, sizeof bits);
  return bits;
}

// `product` into every tile, as often as the arguments say.
#define SMEPILOT_OUTER_PRODUCTS(args, product, pred, x, y)     \
  svzero_za();                                                 \
  for (uint64_t i = (args)->repeat * per_tile(); i > 0; --i) { \
    product(0, pred, pred, x, y);                              \
    product(1, pred, pred, x, y);                              \
    product(2, pred, pred, x, y);                              \
    product(3, pred, pred, x, y);                              \
  }

void streaming_int8(const ProbeArgs* a, const Result* result) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b8();
  const svint8_t x = svdup_n_s8(5), y = svdup_n_s8(-3);
  SMEPILOT_OUTER_PRODUCTS(a, svmopa_za32_s8_m, all, x, y)
  *result->to = integer_sum();
}
void streaming_f32(const ProbeArgs* a, const Result* result) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  const svfloat32_t x = svdup_n_f32(0.5f);
  SMEPILOT_OUTER_PRODUCTS(a, svmopa_za32_f32_m, all, x, x)
  *result->to = float_sum();
}
void streaming_bf16(const ProbeArgs* a, const Result* result) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b16();
  const svbfloat16_t x = svreinterpret_bf16_u16(svdup_n_u16(0x3f00));  // 0.5
  SMEPILOT_OUTER_PRODUCTS(a, svmopa_za32_bf16_m, all, x, x)
  *result->to = float_sum();
}
void streaming_f16(const ProbeArgs* a, const Result* result) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b16();
  const svfloat16_t x = svreinterpret_f16_u16(svdup_n_u16(0x3800));  // 0.5
  SMEPILOT_OUTER_PRODUCTS(a, svmopa_za32_f16_m, all, x, x)
  *result->to = float_sum();
}

void streaming_read(const ProbeArgs* a, const Result* result) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b64();
  svuint64_t x0 = svdup_n_u64(0), x1 = x0, x2 = x0, x3 = x0;
  const uint64_t* const p = static_cast<const uint64_t*>(a->src);
  const size_t words = a->bytes / 8, step = svcntd();  // bytes are a multiple of 1024: four vectors of any length
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (size_t i = 0; i < words; i += 4 * step) {
      x0 = sveor_u64_x(all, x0, svld1_u64(all, p + i));
      x1 = sveor_u64_x(all, x1, svld1_u64(all, p + i + step));
      x2 = sveor_u64_x(all, x2, svld1_u64(all, p + i + 2 * step));
      x3 = sveor_u64_x(all, x3, svld1_u64(all, p + i + 3 * step));
    }
    SMEPILOT_MEMORY_BARRIER();
  }
  // Not sveorv_u64(): clang-22 folds that to zero, and with it goes the loop.
  uint64_t lanes[2048 / 64], sum = 0;
  svst1_u64(all, lanes, sveor_u64_x(all, sveor_u64_x(all, x0, x1), sveor_u64_x(all, x2, x3)));
  for (size_t i = 0; i < step; ++i) sum ^= lanes[i];
  *result->to = sum;
}

template <void (*Body)(const ProbeArgs*, const Result*) noexcept SMEPILOT_STREAMING>
uint64_t run(const ProbeArgs* args) noexcept {
  uint64_t sum = 0;
  const Result result = {&sum};
  call_streaming(Body, args, &result);
  return sum;
}

}  // namespace

extern const Probe kProbeInt8Sme, kProbeF32Sme, kProbeBf16Sme, kProbeF16Sme, kProbeReadSme;
const Probe kProbeInt8Sme = {"int8.sme", ProbeKind::kFlopsInt8, kIsaSme, ExecutionUnit::kMatrix,
                             8 * kMacs,  run<streaming_int8>};
const Probe kProbeF32Sme = {"f32.sme", ProbeKind::kFlopsF32, kIsaSme, ExecutionUnit::kMatrix,
                            2 * kMacs, run<streaming_f32>};
const Probe kProbeBf16Sme = {"bf16.sme", ProbeKind::kFlopsBf16, kIsaSme, ExecutionUnit::kMatrix,
                             4 * kMacs,  run<streaming_bf16>};
const Probe kProbeF16Sme = {"f16.sme", ProbeKind::kFlopsF16, kIsaSme, ExecutionUnit::kMatrix,
                            4 * kMacs, run<streaming_f16>};
const Probe kProbeReadSme = {"read.sme", ProbeKind::kRead, kIsaSme, ExecutionUnit::kMatrix, 0, run<streaming_read>};

}  // namespace smepilot
