#include "tuner/simulate_published.h"

#include "profiles/model_shape.h"
#include "tuner/predict.h"
#include "tuner/simulate.h"

namespace smepilot {
namespace {

constexpr const char* kPlatform = "apple-m4-pro";

class Figures {
 public:
  explicit Figures(const PlatformProfile& profile) : profile_(profile) {}

  void add(const char* what, const char* unit, double low, double high, double simulated, const char* remark) {
    figures_.push_back({what, unit, low, high, simulated, remark});
  }

  Status matmul(const char* what, double published_ms, const SimMatmul& call, const char* remark) {
    SMEPILOT_ASSIGN(const SimResult result, run(what, call));
    add(what, "ms", published_ms, published_ms, result.ns / 1e6, remark);
    return {};
  }

  Status flops(const char* what, double published, const SimMatmul& call, const char* remark) {
    SMEPILOT_ASSIGN(const SimResult result, run(what, call));
    add(what, "TFLOP/s", published, published, (result.flops[0] + result.flops[1]) / result.ns / 1e3, remark);
    return {};
  }

  Status reading(const char* what, double published, const SimMatmul& call, const char* remark) {
    SMEPILOT_ASSIGN(const SimResult result, run(what, call));
    add(what, "GB/s", published, published, result.read_bytes / result.ns, remark);
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
    add(what, "ms", published_ms, published_ms, simulate_attention(machine, call).ns / 1e6, remark);
    return {};
  }

  // How much longer a pass takes on the cores alone than with the mode that its price chooses for each operator.
  Status speedup(const char* what, const char* model_name, Pass pass, uint32_t m, uint32_t kv_len, double low,
                 double high, const char* remark) {
    SMEPILOT_ASSIGN(const ModelShape model, load_model_profile(model_name, "f16"));
    SimPassOptions o;
    o.pass = pass;
    o.m = m;
    o.kv_len = kv_len;
    SMEPILOT_ASSIGN(const SimModel chosen, simulate_model(profile_, model, o));
    o.modes = {ExecutionMode::kCpu};
    SMEPILOT_ASSIGN(const SimModel cores, simulate_model(profile_, model, o));
    add(what, "x", low, high, cores.ns / chosen.ns, remark);
    return {};
  }

  std::vector<PublishedFigure> take() { return std::move(figures_); }

 private:
  Result<SimResult> run(const char* what, const SimMatmul& call) const {
    SimNeed need;
    need.who = what;
    need.dtype = call.dtype;
    need.mode = call.mode;
    SMEPILOT_ASSIGN(const SimMachine machine, sim_machine(profile_, need));
    return simulate_matmul(machine, call);
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

  const SimMatmul large[] = {gemm(4096, ExecutionMode::kCpu), gemm(4096, ExecutionMode::kMatrix),
                             gemm(4096, ExecutionMode::kCoop)};
  constexpr const char* kLarge = "of a matmul 4096x3072x8192";
  SMEPILOT_TRY(f.flops("FP16 rate, 8 cores", 1.85, large[0], kLarge));
  SMEPILOT_TRY(f.flops("FP16 rate, 2 SME units", 2.92, large[1], kLarge));
  SMEPILOT_TRY(f.flops("FP16 rate, both", 4.27, large[2], kLarge));
  const SimMatmul one[] = {gemm(1, ExecutionMode::kCpu), gemm(1, ExecutionMode::kMatrix),
                           gemm(1, ExecutionMode::kCoop)};
  constexpr const char* kOne = "of one row times 3072x8192 f16 weights";
  SMEPILOT_TRY(f.reading("reading, cores", 247, one[0], kOne));
  SMEPILOT_TRY(f.reading("reading, SME units", 224, one[1], kOne));
  SMEPILOT_TRY(f.reading("reading, both", 224, one[2], kOne));

  // Ends of the published ranges are over all models, workloads and machines of the source.
  constexpr const char* kCores =
      "against the cores alone at their published rates, not llama.cpp; no norms and rotations";
  constexpr uint32_t kRuler4k = 3324, kRuler8k = 7338, kGsm8k = 192;
  SMEPILOT_TRY(f.speedup("prefill of Ruler-4k, Llama-3.2-3B", "llama-3.2-3b", Pass::kPrefill, kRuler4k, kRuler4k, 1.13,
                         5.42, kCores));
  SMEPILOT_TRY(f.speedup("prefill of Ruler-8k, Llama-3.2-3B", "llama-3.2-3b", Pass::kPrefill, kRuler8k, kRuler8k, 1.13,
                         5.42, kCores));
  SMEPILOT_TRY(
      f.speedup("prefill of Ruler-4k, Qwen3-4B", "qwen3-4b", Pass::kPrefill, kRuler4k, kRuler4k, 1.13, 5.42, kCores));
  SMEPILOT_TRY(
      f.speedup("decode of GSM8K, batch 16, Llama-3.2-3B", "llama-3.2-3b", Pass::kDecode, 16, kGsm8k, 1, 3.48, kCores));
  SMEPILOT_TRY(
      f.speedup("decode, batch 1, Llama-3.2-3B: \"a tie\"", "llama-3.2-3b", Pass::kDecode, 1, kGsm8k, 1, 1, kCores));
  return f.take();
}

}  // namespace smepilot
