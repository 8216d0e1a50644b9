// 16-bit floats as plain data: conversion without any instruction that the baseline lacks, branch-free so that a
// compiler vectorises loops of it. Internal linkage: every translation unit gets its own copy, compiled with its flags.
#pragma once
#include <stdint.h>
#include <string.h>

namespace smepilot {

static inline float float_from_bits(uint32_t bits) noexcept {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static inline uint32_t bits_from_float(float f) noexcept {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

// IEEE binary16, every value exact, infinities and NaNs included.
static inline float f16_to_f32(uint16_t h) noexcept {
  const uint32_t magnitude = static_cast<uint32_t>(h & 0x7fffu) << 13;
  const uint32_t exponent = magnitude & 0x0f800000u;
  // Rebias by 112. Infinity and NaN need it twice; a subnormal is read with exponent 113 and loses its leading one.
  const uint32_t normal = magnitude + (exponent == 0x0f800000u ? 0x70000000u : 0x38000000u);
  const uint32_t subnormal = bits_from_float(float_from_bits(magnitude + 0x38800000u) - float_from_bits(0x38800000u));
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  return float_from_bits((exponent == 0 ? subnormal : normal) | sign);
}

// Round to nearest even; beyond the range becomes infinity, NaN stays a (quiet) NaN.
static inline uint16_t f32_to_f16(float f) noexcept {
  const uint32_t bits = bits_from_float(f);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  // Adding 0.5 aligns the last place of the sum with the last place of a subnormal half: the FPU rounds.
  const uint32_t subnormal = bits_from_float(float_from_bits(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  const uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
  const uint32_t value = magnitude >= 0x47800000u ? special : finite;
  return static_cast<uint16_t>(value | ((bits >> 16) & 0x8000u));
}

static inline float bf16_to_f32(uint16_t b) noexcept {
  return float_from_bits(static_cast<uint32_t>(b) << 16);
}

// Round to nearest even; NaN stays a (quiet) NaN.
static inline uint16_t f32_to_bf16(float f) noexcept {
  const uint32_t bits = bits_from_float(f);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40u;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

}  // namespace smepilot
