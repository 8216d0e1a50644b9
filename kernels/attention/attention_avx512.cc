// Attention over the f16 KV cache, avx512.
#include "kernels/activation/simd_avx512.h"

namespace smepilot {
namespace {
constexpr unsigned kTileRows = 8;     // most rows of a register tile
constexpr unsigned kRegisters = 32;   // vector registers
constexpr unsigned kStagedTiles = 3;  // register tiles from which sharing a conversion of K and V to f32 pays, measured
}  // namespace
}  // namespace smepilot

#include "kernels/attention/attention_tiles.h"

namespace smepilot {

extern const KernelVariant kAvx512AttentionOnline, kAvx512AttentionThreephase;

const KernelVariant kAvx512AttentionOnline = {.id = "attention.f32.f32.f16.64x16.avx512.online",
                                              .op = OpKind::kAttention,
                                              .isa = kIsaAvx512,
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

const KernelVariant kAvx512AttentionThreephase = {.id = "attention.f32.f16.f16.64x16.avx512.threephase",
                                                  .op = OpKind::kAttention,
                                                  .isa = kIsaAvx512,
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
