// Attention over the f16 KV cache, neon.
#include "kernels/activation/simd_neon.h"

namespace smepilot {
namespace {
constexpr unsigned kTileRows = 5;     // most rows of a register tile: with 6, both halves of a K line do not fit
constexpr unsigned kRegisters = 32;   // vector registers
constexpr unsigned kStagedTiles = 3;  // register tiles from which K and V are converted to f32 once for all
}  // namespace
}  // namespace smepilot

#include "kernels/attention/attention_tiles.h"

namespace smepilot {

extern const KernelVariant kNeonAttentionOnline, kNeonAttentionThreephase;

const KernelVariant kNeonAttentionOnline = {.id = "attention.f32.f32.f16.64x16.neon.online",
                                            .op = OpKind::kAttention,
                                            .isa = kIsaNeon,
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

const KernelVariant kNeonAttentionThreephase = {.id = "attention.f32.f16.f16.64x16.neon.threephase",
                                                .op = OpKind::kAttention,
                                                .isa = kIsaNeon,
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
