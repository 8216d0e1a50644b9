// Whole models of a few kilobytes with random weights and a byte vocabulary, so that forward passes, generation and
// the programs can be tested on any machine, without a file from elsewhere.
#pragma once
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "gguf_writer.h"
#include "kernels/reference/quantize.h"

namespace smepilot::test {

// A folder that goes away with its files.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "smepilot_engine_XXXXXX").string();
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
    EXPECT_FALSE(path_.empty());
  }
  ~TempFolder() {
    std::error_code ec;
    if (!path_.empty()) std::filesystem::remove_all(path_, ec);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

// Sizes of the random models. All are odd where a quantised type lets them be.
inline constexpr uint32_t kModelLayers = 2, kModelRopeFreeLayers = 4, kModelEmbedding = 64, kModelHeads = 4,
                          kModelKvHeads = 2, kModelHeadDim = 16, kModelFeedForward = 96, kModelContext = 128,
                          kModelExperts = 5, kModelExpertsUsed = 2;
inline constexpr uint32_t kModelVocab = 3 + 256;  // unknown, begin, end, then the bytes

// Every type that weights in a file may have.
inline std::vector<DType> weight_types() {
  std::vector<DType> types;
  for (size_t i = 0; i < static_cast<size_t>(DType::kCount); ++i)
    if (traits(static_cast<DType>(i)).gguf_type >= 0) types.push_back(static_cast<DType>(i));
  return types;
}

// What some tests want otherwise.
struct RandomModelOptions {
  uint64_t seed = 1;
  bool tied = false;      // qwen2's output to the embedding
  uint32_t head_dim = 0;  // 0: kModelHeadDim, or what the blocks of the weights need
  // Types of single weight matrices ("attn_k"), instead of the model's.
  std::map<std::string, DType> types = {};
};

// `architecture`: any of architectures(). The weight matrices are of `dtype`; what they read is longer where its blocks
// are. llama and smollm3 have their output tied to the embedding, the others one of their own.
inline GgufWriter random_model(const std::string& architecture, DType dtype, const RandomModelOptions& options = {}) {
  const bool long_blocks = traits(dtype).block_elems > kModelEmbedding;
  const uint32_t embedding = long_blocks ? traits(dtype).block_elems : kModelEmbedding;
  const uint32_t head_dim = options.head_dim != 0 ? options.head_dim : embedding / kModelHeads;
  const uint32_t feed_forward = long_blocks ? 2 * embedding : kModelFeedForward;
  const uint32_t expert_feed_forward = long_blocks ? embedding : kModelFeedForward / 3;
  const bool tied = options.tied;
  GgufWriter w;
  reference::Random random(options.seed);
  const bool moe = architecture == "qwen3moe", qk_norm = architecture == "qwen3" || moe;
  const bool bias = architecture == "qwen2", rope_free = architecture == "smollm3";
  EXPECT_TRUE(moe || qk_norm || bias || rope_free || architecture == "llama") << architecture << ": no random model";
  // As many that the rotation is left out of one of them where the architecture does that.
  const uint32_t layers = rope_free ? kModelRopeFreeLayers : kModelLayers;
  const auto key = [&](const char* suffix) { return architecture + "." + suffix; };
  w.string("general.architecture", architecture).string("general.name", "random-" + architecture);
  w.u32(key("block_count"), layers).u32(key("embedding_length"), embedding);
  w.u32(key("feed_forward_length"), feed_forward).u32(key("context_length"), kModelContext);
  w.u32(key("attention.head_count"), kModelHeads).u32(key("attention.head_count_kv"), kModelKvHeads);
  w.u32(key("attention.key_length"), head_dim).u32(key("attention.value_length"), head_dim);
  w.f32(key("attention.layer_norm_rms_epsilon"), 1e-5f).f32(key("rope.freq_base"), 10000.0f);
  if (moe) {
    w.u32(key("expert_count"), kModelExperts).u32(key("expert_used_count"), kModelExpertsUsed);
    w.u32(key("expert_feed_forward_length"), expert_feed_forward);
  }

  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  for (unsigned b = 0; b < 256; ++b) {
    tokens.push_back(fmt::format("<0x{:02X}>", b));
    types.push_back(6);
  }
  w.string("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", tokens);
  w.numbers("tokenizer.ggml.token_type", GgufType::kI32, types);
  w.numbers("tokenizer.ggml.scores", GgufType::kF32, std::vector<float>(tokens.size(), 0.0f));
  w.boolean("tokenizer.ggml.add_space_prefix", false);

  const auto matrix = [&](const std::string& name, const std::vector<uint64_t>& size, DType type) {
    for (const auto& [part, other] : options.types)
      if (name.find("." + part + ".") != std::string::npos) type = other;
    const uint64_t k = size[0], rows = size[1] * (size.size() > 2 ? size[2] : 1);
    const size_t row_bytes = file_bytes(type, k);
    std::vector<std::byte> data(rows * row_bytes);
    std::vector<float> row(k);
    const float range = 2.0f / std::sqrt(static_cast<float>(k));
    for (uint64_t r = 0; r < rows; ++r) {
      random.fill_uniform(row.data(), k, -range, range);
      reference::quantize_row(type, row.data(), k, data.data() + r * row_bytes);
    }
    w.tensor(name, size, static_cast<uint32_t>(traits(type).gguf_type), std::move(data));
  };
  const auto vector = [&](const std::string& name, uint64_t size, float low = 0.5f, float high = 1.5f) {
    std::vector<float> values(size);
    random.fill_uniform(values.data(), size, low, high);
    std::vector<std::byte> data(size * sizeof(float));
    std::memcpy(data.data(), values.data(), data.size());
    w.tensor(name, {size}, 0, std::move(data));
  };
  const uint64_t d = embedding, q = kModelHeads * head_dim, kv = kModelKvHeads * head_dim;
  const uint64_t ff = moe ? expert_feed_forward : feed_forward;
  matrix("token_embd.weight", {d, kModelVocab}, dtype);
  vector("output_norm.weight", d);
  if ((qk_norm || bias) && !tied) matrix("output.weight", {d, kModelVocab}, dtype);
  for (uint32_t i = 0; i < layers; ++i) {
    const std::string layer = fmt::format("blk.{}.", i);
    vector(layer + "attn_norm.weight", d);
    vector(layer + "ffn_norm.weight", d);
    matrix(layer + "attn_q.weight", {d, q}, dtype);
    matrix(layer + "attn_k.weight", {d, kv}, dtype);
    matrix(layer + "attn_v.weight", {d, kv}, dtype);
    matrix(layer + "attn_output.weight", {q, d}, dtype);
    if (bias) {
      vector(layer + "attn_q.bias", q, -1.0f, 1.0f);
      vector(layer + "attn_k.bias", kv, -1.0f, 1.0f);
      vector(layer + "attn_v.bias", kv, -1.0f, 1.0f);
    }
    if (qk_norm) {
      vector(layer + "attn_q_norm.weight", head_dim);
      vector(layer + "attn_k_norm.weight", head_dim);
    }
    if (moe) {
      matrix(layer + "ffn_gate_inp.weight", {d, kModelExperts}, DType::kF32);
      matrix(layer + "ffn_gate_exps.weight", {d, ff, kModelExperts}, dtype);
      matrix(layer + "ffn_up_exps.weight", {d, ff, kModelExperts}, dtype);
      matrix(layer + "ffn_down_exps.weight", {ff, d, kModelExperts}, dtype);
    } else {
      matrix(layer + "ffn_gate.weight", {d, ff}, dtype);
      matrix(layer + "ffn_up.weight", {d, ff}, dtype);
      matrix(layer + "ffn_down.weight", {ff, d}, dtype);
    }
  }
  return w;
}

inline void write_model(const GgufWriter& w, const std::string& path) {
  const std::vector<std::byte> bytes = w.build();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace smepilot::test
