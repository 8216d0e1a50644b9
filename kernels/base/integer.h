// Division and rounding of sizes.
#pragma once
#include <concepts>
#include <type_traits>

namespace smepilot {

template <std::unsigned_integral T>
constexpr T ceil_div(T a, std::type_identity_t<T> b) noexcept {
  return (a + b - 1) / b;
}

// The smallest multiple of b that is not below a.
template <std::unsigned_integral T>
constexpr T round_up(T a, std::type_identity_t<T> b) noexcept {
  return ceil_div(a, b) * b;
}

}  // namespace smepilot
