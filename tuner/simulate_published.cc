#include "tuner/simulate_published.h"

#include "tuner/simulate.h"

namespace smepilot {
namespace {

constexpr const char* kPlatform = "apple-m4-pro";

class Figures {
 public:
  explicit Figures(const PlatformProfile& profile) : profile_(profile) {}

  Status matmul(const char* what, double published_ms, const SimMatmul& call, const char* remark) {
    SimNeed need;
    need.who = what;
    need.dtype = call.dtype;
    need.mode = call.mode;
    SMEPILOT_ASSIGN(const SimMachine machine, sim_machine(profile_, need));
    add(what, published_ms, simulate_matmul(machine, call), remark);
    return {};
  }

  Status attention(const char* what, double published_ms, const SimAttention& call, const char* remark) {
    SimNeed need;
    need.who = what;
    need.kind = OpKind::kAttention;
    need.dtype = call.dtype;
    need.mode = call.mode;
    need.cores_multiply = call.cores_multiply;
    SMEPILOT_ASSIGN(const SimMachine machine, sim_machine(profile_, need));
    add(what, published_ms, simulate_attention(machine, call), remark);
    return {};
  }

  std::vector<PublishedFigure> take() { return std::move(figures_); }

 private:
  void add(const char* what, double published_ms, const SimResult& result, const char* remark) {
    figures_.push_back({what, published_ms, result.ns / 1e6, remark});
  }

  const PlatformProfile& profile_;
  std::vector<PublishedFigure> figures_;
};

SimMatmul gemm(uint32_t m, ExecutionMode mode) {
  SimMatmul c;
  c.m = m;
  c.n = 3072;
  c.k = 8192;
  c.mode = mode;
  return c;
}

// Of Llama-3.2-3B, one of the models of the source.
SimAttention prefill(SimPipeline pipeline) {
  SimAttention a;
  a.heads = 24;
  a.kv_heads = 8;
  a.head_dim = 128;
  a.m = a.kv_len = 4096;
  a.causal = false;
  a.pipeline = pipeline;
  return a;
}

}  // namespace

Result<std::vector<PublishedFigure>> published_figures() {
  SMEPILOT_ASSIGN(const PlatformProfile profile, load_platform_profile(kPlatform));
  Figures f(profile);
  constexpr const char* kShape = "heads of Llama-3.2-3B, no mask, f32 scores";
  SMEPILOT_TRY(f.matmul("GEMM 4096x3072x8192 f16, both units", 48.25, gemm(4096, ExecutionMode::kCoop), ""));
  SMEPILOT_TRY(f.matmul("GEMM 4096x3072x8192 f16, SME only", 70.6, gemm(4096, ExecutionMode::kMatrix), ""));
  SMEPILOT_TRY(f.attention("prefill attention 4096, full pipeline", 98.1, prefill(SimPipeline::kFull), kShape));
  SMEPILOT_TRY(f.attention("prefill attention 4096, two stages", 156.3, prefill(SimPipeline::kTwoStage), kShape));
  SMEPILOT_TRY(f.attention("prefill attention 4096, no pipeline", 202.7, prefill(SimPipeline::kNone), kShape));
  SimMatmul gemv = gemm(16, ExecutionMode::kCoop);
  SMEPILOT_TRY(f.matmul("decode 16x3072x8192 f16, packed once", 0.52, gemv, "both units"));
  gemv.naive_packing = true;
  SMEPILOT_TRY(f.matmul("decode 16x3072x8192 f16, packed each call", 1.71, gemv, "the cores pack"));
  return f.take();
}

}  // namespace smepilot
