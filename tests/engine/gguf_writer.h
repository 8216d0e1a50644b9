// Builds GGUF files in memory for tests, correct ones and damaged ones.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/gguf.h"

namespace smepilot::test {

class GgufWriter {
 public:
  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t alignment = 32;
  uint64_t extra_values = 0, extra_tensors = 0;  // added to the true counts: lies

  GgufWriter& u32(std::string_view key, uint32_t v) { return scalar(key, GgufType::kU32, v); }
  GgufWriter& i32(std::string_view key, int32_t v) { return scalar(key, GgufType::kI32, v); }
  GgufWriter& u64(std::string_view key, uint64_t v) { return scalar(key, GgufType::kU64, v); }
  GgufWriter& f32(std::string_view key, float v) { return scalar(key, GgufType::kF32, v); }
  GgufWriter& boolean(std::string_view key, bool v) { return scalar(key, GgufType::kBool, static_cast<uint8_t>(v)); }

  GgufWriter& string(std::string_view key, std::string_view v) {
    head(key, GgufType::kString);
    put_string(values_, v);
    return *this;
  }

  GgufWriter& strings(std::string_view key, const std::vector<std::string>& v) {
    array(key, GgufType::kString, v.size());
    for (const std::string& s : v) put_string(values_, s);
    return *this;
  }

  template <typename T>
  GgufWriter& numbers(std::string_view key, GgufType type, const std::vector<T>& v) {
    array(key, type, v.size());
    for (const T& x : v) put(values_, x);
    return *this;
  }

  // The head of an array with any count; raw() adds what follows.
  GgufWriter& array(std::string_view key, GgufType element, uint64_t count) {
    head(key, GgufType::kArray);
    put(values_, static_cast<uint32_t>(element));
    put(values_, count);
    return *this;
  }
  template <typename T>
  GgufWriter& raw(T v) {
    put(values_, v);
    return *this;
  }
  GgufWriter& head(std::string_view key, GgufType type) {
    ++value_count_;
    put_string(values_, key);
    put(values_, static_cast<uint32_t>(type));
    return *this;
  }

  // A tensor whose data follow those before it. `bytes` of data are written, whatever the shape says.
  GgufWriter& tensor(std::string_view name, const std::vector<uint64_t>& size, uint32_t type, uint64_t bytes) {
    tensor_at(name, size, type, data_bytes_);
    data_bytes_ = (data_bytes_ + bytes + alignment - 1) / alignment * alignment;
    return *this;
  }
  GgufWriter& tensor_at(std::string_view name, const std::vector<uint64_t>& size, uint32_t type, uint64_t offset) {
    ++tensor_count_;
    put_string(tensors_, name);
    put(tensors_, static_cast<uint32_t>(size.size()));
    for (const uint64_t s : size) put(tensors_, s);
    put(tensors_, type);
    put(tensors_, offset);
    return *this;
  }
  GgufWriter& f32_tensor(std::string_view name, const std::vector<uint64_t>& size) {
    uint64_t elements = 1;
    for (const uint64_t s : size) elements *= s;
    return tensor(name, size, 0, elements * 4);
  }

  // A tensor with these data.
  GgufWriter& tensor(std::string_view name, const std::vector<uint64_t>& size, uint32_t type,
                     std::vector<std::byte> data) {
    const uint64_t at = data_bytes_, bytes = data.size();
    given_.push_back({at, std::move(data)});
    return tensor(name, size, type, bytes);
  }

  // Data that were not given are bytes of small floats, never zero.
  std::vector<std::byte> build() const {
    std::vector<std::byte> out = header();
    while (data_bytes_ > 0 && out.size() % alignment != 0) out.push_back(std::byte{0});
    const size_t begin = out.size();
    for (uint64_t i = 0; i + 4 <= data_bytes_; i += 4) put(out, 0.5f + static_cast<float>(i % 64) / 128.0f);
    for (const Given& g : given_) std::memcpy(out.data() + begin + g.at, g.data.data(), g.data.size());
    return out;
  }
  std::vector<std::byte> header() const {
    std::vector<std::byte> out;
    for (const char c : magic) out.push_back(static_cast<std::byte>(c));
    put(out, version);
    put(out, tensor_count_ + extra_tensors);
    put(out, value_count_ + extra_values);
    out.insert(out.end(), values_.begin(), values_.end());
    out.insert(out.end(), tensors_.begin(), tensors_.end());
    return out;
  }

  Result<GgufFile> open() const { return GgufFile::from_memory(build(), "test.gguf"); }

 private:
  template <typename T>
  static void put(std::vector<std::byte>& out, T v) {
    const size_t at = out.size();
    out.resize(at + sizeof(T));
    std::memcpy(out.data() + at, &v, sizeof(T));
  }
  static void put_string(std::vector<std::byte>& out, std::string_view s) {
    put(out, static_cast<uint64_t>(s.size()));
    for (const char c : s) out.push_back(static_cast<std::byte>(c));
  }
  template <typename T>
  GgufWriter& scalar(std::string_view key, GgufType type, T v) {
    head(key, type);
    put(values_, v);
    return *this;
  }

  struct Given {
    uint64_t at;
    std::vector<std::byte> data;
  };

  std::vector<std::byte> values_, tensors_;
  std::vector<Given> given_;
  uint64_t value_count_ = 0, tensor_count_ = 0, data_bytes_ = 0;
};

// A model of one layer that ModelFile accepts: embedding 32, 4 heads of 8, 2 KV heads, feed-forward 64, vocabulary 16.
inline GgufWriter tiny_model(const std::string& architecture = "llama") {
  GgufWriter w;
  const auto key = [&](const char* suffix) { return architecture + "." + suffix; };
  w.string("general.architecture", architecture).string("general.name", "tiny");
  w.u32(key("block_count"), 1).u32(key("embedding_length"), 32).u32(key("feed_forward_length"), 64);
  w.u32(key("context_length"), 128).u32(key("attention.head_count"), 4).u32(key("attention.head_count_kv"), 2);
  w.f32(key("attention.layer_norm_rms_epsilon"), 1e-5f).f32(key("rope.freq_base"), 10000.0f);
  const bool qk_norm = architecture == "qwen3" || architecture == "qwen3moe", moe = architecture == "qwen3moe";
  if (moe) w.u32(key("expert_count"), 4).u32(key("expert_used_count"), 2).u32(key("expert_feed_forward_length"), 16);
  w.f32_tensor("token_embd.weight", {32, 16}).f32_tensor("output_norm.weight", {32});
  w.f32_tensor("blk.0.attn_norm.weight", {32}).f32_tensor("blk.0.ffn_norm.weight", {32});
  w.f32_tensor("blk.0.attn_q.weight", {32, 32}).f32_tensor("blk.0.attn_k.weight", {32, 16});
  w.f32_tensor("blk.0.attn_v.weight", {32, 16}).f32_tensor("blk.0.attn_output.weight", {32, 32});
  if (qk_norm) w.f32_tensor("blk.0.attn_q_norm.weight", {8}).f32_tensor("blk.0.attn_k_norm.weight", {8});
  if (architecture == "qwen2") {
    w.f32_tensor("blk.0.attn_q.bias", {32}).f32_tensor("blk.0.attn_k.bias", {16}).f32_tensor("blk.0.attn_v.bias", {16});
  }
  if (moe) {
    w.f32_tensor("blk.0.ffn_gate_inp.weight", {32, 4}).f32_tensor("blk.0.ffn_gate_exps.weight", {32, 16, 4});
    w.f32_tensor("blk.0.ffn_up_exps.weight", {32, 16, 4}).f32_tensor("blk.0.ffn_down_exps.weight", {16, 32, 4});
  } else {
    w.f32_tensor("blk.0.ffn_gate.weight", {32, 64}).f32_tensor("blk.0.ffn_up.weight", {32, 64});
    w.f32_tensor("blk.0.ffn_down.weight", {64, 32});
  }
  return w;
}

}  // namespace smepilot::test
