// Attention over the f16 KV cache, portable.
#include "kernels/activation/simd_portable.h"

namespace smepilot {
namespace {
constexpr unsigned kTileRows = 4;     // most rows of a register tile
constexpr unsigned kRegisters = 16;   // vector registers
constexpr unsigned kStagedTiles = 2;  // register tiles from which sharing a conversion of K and V to f32 pays, measured
}  // namespace
}  // namespace smepilot

#include "kernels/attention/attention_tiles.h"

namespace smepilot {

extern const KernelVariant kPortableAttentionOnline, kPortableAttentionThreephase;

const KernelVariant kPortableAttentionOnline = {.id = "attention.f32.f32.f16.64x16.portable.online",
                                                .op = OpKind::kAttention,
                                                .isa = kIsaPortable,
                                                .unit = ExecutionUnit::kCpu,
                                                .dst = DType::kF32,
                                                .lhs = DType::kF32,
                                                .rhs = DType::kF16,
                                                .dst_layout = Layout::kRowMajor,
                                                .lhs_layout = Layout::kRowMajor,
                                                .rhs_layout = Layout::kKvKeyPanel16,
                                                .tile = {kMaxRows, kPanel, 4},
                                                .max_m = 0,
                                                .attention = attention_online};

const KernelVariant kPortableAttentionThreephase = {.id = "attention.f32.f16.f16.64x16.portable.threephase",
                                                    .op = OpKind::kAttention,
                                                    .isa = kIsaPortable,
                                                    .unit = ExecutionUnit::kCpu,
                                                    .dst = DType::kF32,
                                                    .lhs = DType::kF16,
                                                    .rhs = DType::kF16,
                                                    .dst_layout = Layout::kRowMajor,
                                                    .lhs_layout = Layout::kRowMajor,
                                                    .rhs_layout = Layout::kKvKeyPanel16,
                                                    .tile = {kMaxRows, kPanel, 4},
                                                    .max_m = 0,
                                                    .attention = attention_threephase};

}  // namespace smepilot
