// The instruction-set steps that kernels are written for. A bit stands for everything its translation unit is
// compiled with, so one bit is one step of the ladder, not one CPUID flag.
#pragma once
#include <stdint.h>

namespace smepilot {

using IsaSet = uint32_t;

enum Isa : IsaSet {
  kIsaPortable = 0,          // plain C++, baseline flags of the target
  kIsaAvx2 = 1u << 0,        // AVX2, FMA, F16C
  kIsaAvx512 = 1u << 1,      // AVX-512 F, BW, DQ, VL (and AVX2, FMA, F16C)
  kIsaAvx512Vnni = 1u << 2,  // + AVX-512 VNNI
  kIsaAvx512Bf16 = 1u << 3,  // + AVX-512 BF16
  kIsaAmxInt8 = 1u << 4,     // AMX TILE and INT8, permission granted by the kernel
  kIsaAmxBf16 = 1u << 5,     // AMX TILE and BF16, permission granted by the kernel
  kIsaNeon = 1u << 8,        // AArch64 Advanced SIMD
  kIsaDotprod = 1u << 9,     // + FEAT_DotProd
  kIsaI8mm = 1u << 10,       // + FEAT_I8MM
  kIsaFp16 = 1u << 11,       // + FEAT_FP16
  kIsaSve = 1u << 12,
  kIsaBf16 = 1u << 13,  // + FEAT_BF16
  kIsaSme = 1u << 16,
  kIsaSme2 = 1u << 17,
};

struct IsaName {
  Isa isa;
  const char* name;  // in variant ids, SMEPILOT_FORCE_ISA and the database
  IsaSet implies;    // the steps below it
};

inline constexpr IsaName kIsaNames[] = {
    {kIsaPortable, "portable", 0},
    {kIsaAvx2, "avx2", 0},
    {kIsaAvx512, "avx512", kIsaAvx2},
    {kIsaAvx512Vnni, "avx512vnni", kIsaAvx2 | kIsaAvx512},
    {kIsaAvx512Bf16, "avx512bf16", kIsaAvx2 | kIsaAvx512},
    {kIsaAmxInt8, "amxint8", kIsaAvx2 | kIsaAvx512 | kIsaAvx512Vnni},
    {kIsaAmxBf16, "amxbf16", kIsaAvx2 | kIsaAvx512 | kIsaAvx512Vnni | kIsaAvx512Bf16},
    {kIsaNeon, "neon", 0},
    {kIsaDotprod, "dotprod", kIsaNeon},
    {kIsaI8mm, "i8mm", kIsaNeon | kIsaDotprod},
    {kIsaFp16, "fp16", kIsaNeon},
    {kIsaSve, "sve", kIsaNeon},
    {kIsaBf16, "bf16", kIsaNeon},
    {kIsaSme, "sme", kIsaNeon},
    {kIsaSme2, "sme2", kIsaNeon | kIsaSme},
};

}  // namespace smepilot
