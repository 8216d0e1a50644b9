// exp() of a vector, for softmax, SwiGLU and attention. Included after one of the simd_*.h headers; internal linkage.
//
// x = n ln2 + r with |r| <= ln2/2, exp(x) = 2^n exp(r). ln2 is split in two so that n * high is exact (Cody and Waite);
// exp(r) = 1 + r + r^2 q(r) with q of degree 4 interpolated at Chebyshev nodes, relative error below 2^-26. What
// remains is rounding: within 2 ulp of exp() (with a fused multiply-add 1 ulp), subnormal results included.
#pragma once

namespace smepilot {
namespace {

SMEPILOT_INLINE Simd::Vec vector_exp(Simd::Vec x) noexcept {
  // Beyond these the result is 0 or infinity anyway, and n stays within what scale_by_power takes; -infinity becomes
  // finite. The operand order makes min and max return x where x is NaN.
  x = Simd::max(Simd::set1(-110.0f), x);
  x = Simd::min(Simd::set1(100.0f), x);
  const Simd::Vec n = Simd::round(Simd::mul(x, Simd::set1(0x1.715476p+0f)));
  Simd::Vec r = Simd::fnma(n, Simd::set1(0x1.63p-1f), x);
  r = Simd::fnma(n, Simd::set1(-0x1.bd0106p-13f), r);
  Simd::Vec q = Simd::set1(0x1.6d113cp-10f);
  q = Simd::fma(q, r, Simd::set1(0x1.120ba2p-7f));
  q = Simd::fma(q, r, Simd::set1(0x1.55551ap-5f));
  q = Simd::fma(q, r, Simd::set1(0x1.5554dcp-3f));
  q = Simd::fma(q, r, Simd::set1(0.5f));
  const Simd::Vec series = Simd::fma(Simd::mul(r, r), q, r);
  return Simd::scale_by_power(Simd::add(Simd::set1(1.0f), series), n);
}

// 2^x = 2^n 2^r, |r| <= 1/2: 2^r = 1 + r q(r) with q of degree 5, relative error below 2^-27, and so within 1 ulp with
// a fused multiply-add. x is finite or NaN; where 2^x is no normal number, the result may be any as small or as large.
SMEPILOT_INLINE Simd::Vec vector_exp2(Simd::Vec x) noexcept {
  x = Simd::to_exponents(x);
  const Simd::Vec n = Simd::round(x), r = Simd::sub(x, n);
  Simd::Vec q = Simd::set1(0x1.3eb2a0p-13f);
  q = Simd::fma(q, r, Simd::set1(0x1.5f0b86p-10f));
  q = Simd::fma(q, r, Simd::set1(0x1.3b320ap-7f));
  q = Simd::fma(q, r, Simd::set1(0x1.c6af76p-5f));
  q = Simd::fma(q, r, Simd::set1(0x1.ebfbd6p-3f));
  q = Simd::fma(q, r, Simd::set1(0x1.62e430p-1f));
  return Simd::scale_normal(Simd::fma(q, r, Simd::set1(1.0f)), n);
}

}  // namespace
}  // namespace smepilot
