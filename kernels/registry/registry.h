// All kernel variants of this build, and which of them may run here. variants.inc is the one list.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/abi/kernel_variant.h"
#include "kernels/base/status.h"

namespace smepilot {

// The test bed: a machine with two units whose rates differ and one memory bus, made of one with a single kind of core.
// The AVX-512 variants (but AMX) play the matrix unit, those up to AVX2 the vector cores; nothing else is there. To be
// called before any other function of the registry. Error: this machine lacks AVX-512 VNNI.
Status enable_testbed();
bool testbed_enabled() noexcept;

// Every variant compiled into this build, in order of preference within an operator (fastest expected first).
std::span<const KernelVariant* const> all_variants() noexcept;

struct Refusal {
  const KernelVariant* variant;
  std::string reason;
};

struct Selection {
  std::vector<const KernelVariant*> usable;  // in order of preference
  std::vector<Refusal> refused;
};

// The variants that can compute `shape` with weights (or KV cache) of its dtype on the ISA steps `isa`; the refused
// ones of the same operator with their reasons. A variant with max_m below shape.m is refused.
Selection select_variants(const OperatorShape& shape, IsaSet isa);

// The variant with this id, or nullptr.
const KernelVariant* find_variant(std::string_view id) noexcept;

// 16 hex digits over the ids of all variants usable with `isa`: a plan made for another set is not valid here.
std::string variant_set_hash(IsaSet isa);

// ISA steps that this build was asked for but whose compiler could not build them ("amxint8: flag not accepted").
std::span<const char* const> unbuilt_isas() noexcept;

}  // namespace smepilot
