#include "kernels/isa/isa_detect.h"

#include <algorithm>
#include <cstdlib>

#include "kernels/base/os.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace smepilot {
namespace {

#if defined(__x86_64__)
struct Cpuid {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Cpuid cpuid(uint32_t leaf, uint32_t sub) noexcept {
  Cpuid r;
  if (__get_cpuid_count(leaf, sub, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

uint64_t xgetbv0() noexcept {
  uint32_t lo = 0, hi = 0;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (static_cast<uint64_t>(hi) << 32) | lo;
}

IsaSet detect() noexcept {
  const Cpuid l1 = cpuid(1, 0), l7 = cpuid(7, 0), l71 = cpuid(7, 1);
  const auto bit = [](uint32_t r, int i) { return (r >> i & 1u) != 0; };
  if (!bit(l1.ecx, 27)) return 0;  // OSXSAVE
  const uint64_t xcr0 = xgetbv0();
  IsaSet set = 0;
  const bool ymm = (xcr0 & 0x6) == 0x6, zmm = (xcr0 & 0xe6) == 0xe6, tile = (xcr0 & 0x60000) == 0x60000;
  if (ymm && bit(l1.ecx, 12) && bit(l1.ecx, 29) && bit(l7.ebx, 5)) set |= kIsaAvx2;  // FMA, F16C, AVX2
  if ((set & kIsaAvx2) && zmm && bit(l7.ebx, 16) && bit(l7.ebx, 17) && bit(l7.ebx, 30) && bit(l7.ebx, 31))
    set |= kIsaAvx512;
  if ((set & kIsaAvx512) && bit(l7.ecx, 11)) set |= kIsaAvx512Vnni;
  if ((set & kIsaAvx512) && bit(l71.eax, 5)) set |= kIsaAvx512Bf16;
  if ((set & kIsaAvx512Vnni) && tile && bit(l7.edx, 24)) {
    const bool int8 = bit(l7.edx, 25), bf16 = bit(l7.edx, 22) && (set & kIsaAvx512Bf16);
    if ((int8 || bf16) && request_amx_tiles()) set |= (int8 ? kIsaAmxInt8 : 0u) | (bf16 ? kIsaAmxBf16 : 0u);
  }
  return set;
}
#elif defined(__aarch64__)
IsaSet detect() noexcept {
  // A feature is a bit of Linux (Documentation/arch/arm64/elf_hwcaps.rst, asm/hwcap.h), and a name of macOS.
  const auto has = [](uint64_t word, int bit, const char* name) {
    return (word >> bit & 1u) != 0 || sysctl_number(name).value_or(0) != 0;
  };
  const uint64_t cap = hwcap(), cap2 = hwcap2();
  IsaSet set = kIsaNeon;
  if (has(cap, 20, "hw.optional.arm.FEAT_DotProd")) set |= kIsaDotprod;
  if (has(cap & cap >> 1, 9, "hw.optional.arm.FEAT_FP16")) set |= kIsaFp16;  // bits 9 (scalar) and 10 (vector)
  if ((cap >> 22 & 1u) != 0) set |= kIsaSve;
  if ((set & kIsaDotprod) != 0 && has(cap2, 13, "hw.optional.arm.FEAT_I8MM")) set |= kIsaI8mm;
  if (has(cap2, 14, "hw.optional.arm.FEAT_BF16")) set |= kIsaBf16;
  if (has(cap2, 23, "hw.optional.arm.FEAT_SME")) set |= kIsaSme;
  if ((set & kIsaSme) != 0 && has(cap2, 37, "hw.optional.arm.FEAT_SME2")) set |= kIsaSme2;
  return set;
}
#else
IsaSet detect() noexcept {
  return 0;
}
#endif

}  // namespace

IsaSet detect_isa() noexcept {
  static const IsaSet kDetected = detect();
  return kDetected;
}

Result<IsaSet> isa_from_string(const std::string& names) {
  IsaSet set = 0;
  for (size_t at = 0; at <= names.size();) {
    const size_t end = std::min(names.find_first_of(",+", at), names.size());
    const std::string name = names.substr(at, end - at);
    bool known = false;
    for (const IsaName& n : kIsaNames) {
      if (name != n.name) continue;
      set |= n.isa | n.implies;
      known = true;
    }
    if (!known) {
      std::string all;
      for (const IsaName& n : kIsaNames) all += (all.empty() ? "" : ", ") + std::string(n.name);
      return error("unknown ISA step '{}'; known are {}", name, all);
    }
    at = end + 1;
  }
  return set;
}

std::string isa_to_string(IsaSet set) {
  std::string out;
  for (const IsaName& n : kIsaNames)
    if (n.isa != 0 && (set & n.isa)) out += (out.empty() ? "" : "+") + std::string(n.name);
  return out.empty() ? "portable" : out;
}

Result<IsaSet> usable_isa() {
  const IsaSet have = detect_isa();
  const char* force = std::getenv("SMEPILOT_FORCE_ISA");
  if (force == nullptr || *force == '\0') return have;
  Result<IsaSet> want = isa_from_string(force);
  if (!want.ok()) return error("SMEPILOT_FORCE_ISA: {}", want.message());
  if ((*want & ~have) != 0)
    return error("SMEPILOT_FORCE_ISA={}: this machine lacks {}; it has {}", force, isa_to_string(*want & ~have),
                 isa_to_string(have));
  return *want;
}

}  // namespace smepilot
