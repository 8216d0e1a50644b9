#include "profiles/model_file.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <unordered_set>

namespace smepilot {
namespace {

// Far above any model there is, far below where products of two of them overflow.
constexpr uint32_t kMaxLayers = 4096;
constexpr uint32_t kMaxWidth = 1u << 20;
constexpr uint32_t kMaxVocab = 1u << 24;
constexpr uint32_t kMaxContext = 1u << 28;
constexpr uint32_t kMaxExperts = 1u << 16;

class ModelLoader {
 public:
  ModelLoader(const GgufFile& gguf, ModelFile& model) : gguf_(gguf), model_(model), hyper_(model.hyper) {}

  Status load() {
    SMEPILOT_TRY(read_architecture());
    SMEPILOT_TRY(read_sizes());
    SMEPILOT_TRY(read_vocab());
    SMEPILOT_TRY(read_rope());
    SMEPILOT_TRY(read_experts());
    SMEPILOT_TRY(find_global_tensors());
    for (uint32_t i = 0; i < hyper_.layers; ++i) SMEPILOT_TRY(find_layer(i));
    return check_unused();
  }

 private:
  std::string key(std::string_view suffix) const { return fmt::format("{}.{}", hyper_.architecture, suffix); }

  Status range(std::string_view full_key, uint64_t value, uint64_t min, uint64_t max) const {
    if (value >= min && value <= max) return {};
    return error("{}: {} is {}, expected {} to {}", gguf_.path(), full_key, value, min, max);
  }

  Status read(uint32_t& value, std::string_view suffix, uint32_t min, uint32_t max) const {
    SMEPILOT_ASSIGN(value, gguf_.get_u32(key(suffix)));
    return range(key(suffix), value, min, max);
  }

  Status read_or(uint32_t& value, std::string_view suffix, uint32_t fallback, uint32_t min, uint32_t max) const {
    SMEPILOT_ASSIGN(value, gguf_.get_u32_or(key(suffix), fallback));
    return range(key(suffix), value, min, max);
  }

  Status read_architecture() {
    SMEPILOT_ASSIGN(const std::string_view name, gguf_.get_string("general.architecture"));
    architecture_ = find_architecture(name);
    if (architecture_ == nullptr) {
      return error("{}: general.architecture is \"{}\", which is not supported; supported are {}", gguf_.path(),
                   printable(name), architecture_names());
    }
    hyper_.architecture = name;
    hyper_.rope_interleaved = architecture_->rope_interleaved;
    hyper_.rope_free_every = architecture_->rope_free_every;
    hyper_.parts = architecture_->parts;
    for (const LayerTensorRow& row : layer_tensors())
      if ((architecture_->optional_parts & row.part) != 0 && gguf_.tensor(layer_name(0, row)) != nullptr)
        hyper_.parts |= row.part;
    const std::string& path = gguf_.path();
    SMEPILOT_ASSIGN(const std::string_view title, gguf_.get_string_or("general.name", ""));
    hyper_.name = title.empty() ? path.substr(path.find_last_of('/') + 1) : std::string(title);
    SMEPILOT_ASSIGN(const uint32_t parts, gguf_.get_u32_or("split.count", 1));
    if (parts > 1) {
      return error("{}: is one of {} parts of a split model (split.count); join them into one file first", path, parts);
    }
    return {};
  }

  Status read_sizes() {
    SMEPILOT_TRY(read(hyper_.layers, "block_count", 1, kMaxLayers));
    SMEPILOT_TRY(read(hyper_.embedding, "embedding_length", 1, kMaxWidth));
    SMEPILOT_TRY(read(hyper_.feed_forward, "feed_forward_length", 1, kMaxWidth));
    SMEPILOT_TRY(read(hyper_.context, "context_length", 1, kMaxContext));
    SMEPILOT_TRY(read(hyper_.heads, "attention.head_count", 1, kMaxWidth));
    SMEPILOT_TRY(read_or(hyper_.kv_heads, "attention.head_count_kv", hyper_.heads, 1, hyper_.heads));
    if (hyper_.heads % hyper_.kv_heads != 0) {
      return error("{}: {} is {}, expected a multiple of the {} KV heads", gguf_.path(), key("attention.head_count"),
                   hyper_.heads, hyper_.kv_heads);
    }
    if (!gguf_.has(key("attention.key_length")) && hyper_.embedding % hyper_.heads != 0) {
      return error("{}: {} is {}, expected a multiple of the {} heads, since there is no {}", gguf_.path(),
                   key("embedding_length"), hyper_.embedding, hyper_.heads, key("attention.key_length"));
    }
    SMEPILOT_TRY(read_or(hyper_.head_dim, "attention.key_length", hyper_.embedding / hyper_.heads, 4, 65536));
    if (hyper_.head_dim % 4 != 0) {
      return error("{}: the head dimension is {}, expected a multiple of 4", gguf_.path(), hyper_.head_dim);
    }
    SMEPILOT_TRY(range("heads * head dimension", uint64_t{hyper_.heads} * hyper_.head_dim, 4, kMaxWidth));
    uint32_t value_length = 0;
    SMEPILOT_TRY(read_or(value_length, "attention.value_length", hyper_.head_dim, 1, 65536));
    if (value_length != hyper_.head_dim) {
      return error("{}: {} is {}, expected {}, the same as for keys", gguf_.path(), key("attention.value_length"),
                   value_length, hyper_.head_dim);
    }
    SMEPILOT_ASSIGN(hyper_.rms_eps, gguf_.get_f32(key("attention.layer_norm_rms_epsilon")));
    if (!(hyper_.rms_eps > 0.0f && hyper_.rms_eps < 1.0f)) {
      return error("{}: {} is {}, expected more than 0 and less than 1", gguf_.path(),
                   key("attention.layer_norm_rms_epsilon"), hyper_.rms_eps);
    }
    SMEPILOT_ASSIGN(const uint32_t window, gguf_.get_u32_or(key("attention.sliding_window"), 0));
    if (window != 0 && window < hyper_.context) {
      model_.warnings.push_back(
          fmt::format("{}: {} = {} is ignored: beyond that many positions the answers differ from "
                      "the model's",
                      gguf_.path(), key("attention.sliding_window"), window));
    }
    return {};
  }

  Status read_vocab() {
    const GgufTensor* embedding = gguf_.tensor("token_embd.weight");
    if (embedding == nullptr) return error("{}: tensor \"token_embd.weight\" is missing", gguf_.path());
    SMEPILOT_TRY(range("the vocabulary (rows of token_embd.weight)", embedding->size[1], 1, kMaxVocab));
    hyper_.vocab = static_cast<uint32_t>(embedding->size[1]);
    if (const GgufValue* tokens = gguf_.find("tokenizer.ggml.tokens"); tokens != nullptr) {
      if (tokens->type == GgufType::kArray && tokens->count != hyper_.vocab) {
        return error("{}: tokenizer.ggml.tokens has {} tokens, expected {}, the rows of token_embd.weight",
                     gguf_.path(), tokens->count, hyper_.vocab);
      }
    }
    return {};
  }

  Status read_rope() {
    SMEPILOT_TRY(read_or(hyper_.rope_dims, "rope.dimension_count", hyper_.head_dim, 2, hyper_.head_dim));
    if (hyper_.rope_dims % 2 != 0) {
      return error("{}: {} is {}, expected an even number", gguf_.path(), key("rope.dimension_count"),
                   hyper_.rope_dims);
    }
    SMEPILOT_ASSIGN(hyper_.rope_base, gguf_.get_f32_or(key("rope.freq_base"), 10000.0f));
    if (!(hyper_.rope_base >= 1.0f)) {
      return error("{}: {} is {}, expected at least 1", gguf_.path(), key("rope.freq_base"), hyper_.rope_base);
    }
    // Without a type, a factor means linear scaling; files of GGUF's early days call it rope.scale_linear.
    SMEPILOT_ASSIGN(const std::string_view type, gguf_.get_string_or(key("rope.scaling.type"), "linear"));
    if (type == "none") return {};
    if (type != "linear") {
      return error(
          "{}: {} is \"{}\", which is not supported; supported are none, linear and the factors of "
          "rope_freqs.weight",
          gguf_.path(), key("rope.scaling.type"), printable(type));
    }
    const std::string name =
        gguf_.has(key("rope.scaling.factor")) ? key("rope.scaling.factor") : key("rope.scale_linear");
    SMEPILOT_ASSIGN(const float factor, gguf_.get_f32_or(name, 1.0f));
    if (factor == 0.0f) return {};  // some converters write 0 for "no scaling"
    if (!(factor >= 1e-3f && factor <= 1e6f)) {
      return error("{}: {} is {}, expected 0.001 to 1000000", gguf_.path(), name, factor);
    }
    hyper_.rope_scale = 1.0f / factor;
    return {};
  }

  Status read_experts() {
    SMEPILOT_ASSIGN(const uint32_t experts, gguf_.get_u32_or(key("expert_count"), 0));
    if (!hyper_.has(kPartExperts)) {
      if (experts == 0) return {};
      return error("{}: {} is {}, but only dense models of architecture {} are supported", gguf_.path(),
                   key("expert_count"), experts, hyper_.architecture);
    }
    SMEPILOT_TRY(read(hyper_.experts, "expert_count", 1, kMaxExperts));
    SMEPILOT_TRY(read(hyper_.experts_used, "expert_used_count", 1, hyper_.experts));
    SMEPILOT_TRY(read(hyper_.expert_feed_forward, "expert_feed_forward_length", 1, kMaxWidth));
    SMEPILOT_ASSIGN(const uint32_t shared, gguf_.get_u32_or(key("expert_shared_count"), 0));
    if (shared != 0) {
      return error("{}: {} is {}, shared experts are not supported", gguf_.path(), key("expert_shared_count"), shared);
    }
    return {};
  }

  static std::string layer_name(uint32_t index, const LayerTensorRow& row) {
    return fmt::format("blk.{}.{}", index, row.name);
  }

  uint64_t dim(Dim d) const {
    switch (d) {
      case Dim::kEmbedding: return hyper_.embedding;
      case Dim::kQ: return uint64_t{hyper_.heads} * hyper_.head_dim;
      case Dim::kKv: return uint64_t{hyper_.kv_heads} * hyper_.head_dim;
      case Dim::kHeadDim: return hyper_.head_dim;
      case Dim::kFeedForward: return hyper_.feed_forward;
      case Dim::kExperts: return hyper_.experts;
      case Dim::kExpertFeedForward: return hyper_.expert_feed_forward;
      case Dim::kNone: break;
    }
    return 0;
  }

  // Finds a tensor and checks its shape; `plain` ones are read as floats by the graph.
  Status find(const GgufTensor*& out, const std::string& name, std::span<const uint64_t> size, bool plain) {
    const GgufTensor* t = gguf_.tensor(name);
    if (t == nullptr) {
      return error("{}: tensor \"{}\" is missing, architecture {} needs it", gguf_.path(), name, hyper_.architecture);
    }
    GgufTensor expected;
    expected.dims = static_cast<uint32_t>(size.size());
    std::copy(size.begin(), size.end(), expected.size.begin());
    if (t->size != expected.size) {
      return error("{}: tensor \"{}\" is {}, expected {}", gguf_.path(), name, t->shape_name(), expected.shape_name());
    }
    if (plain && t->dtype != DType::kF32) {
      return error("{}: tensor \"{}\" is {}, expected f32", gguf_.path(), name, traits(t->dtype).name);
    }
    used_.insert(t->name);
    out = t;
    return {};
  }

  Status find_global_tensors() {
    const uint64_t table[] = {hyper_.embedding, hyper_.vocab}, frequencies[] = {hyper_.rope_dims / 2};
    SMEPILOT_TRY(find(model_.token_embd, "token_embd.weight", table, false));
    SMEPILOT_TRY(find(model_.output_norm, "output_norm.weight", std::span(table).first(1), true));
    model_.output = model_.token_embd;
    if (gguf_.tensor("output.weight") != nullptr) SMEPILOT_TRY(find(model_.output, "output.weight", table, false));
    if (gguf_.tensor("rope_freqs.weight") != nullptr) {
      SMEPILOT_TRY(find(model_.rope_freqs, "rope_freqs.weight", frequencies, true));
      const auto* values = reinterpret_cast<const float*>(model_.rope_freqs->bytes.data());  // aligned to 8 at least
      for (uint32_t i = 0; i < hyper_.rope_dims / 2; ++i) {
        if (!(values[i] > 0.0f && values[i] < 1e9f)) {
          return error("{}: rope_freqs.weight[{}] is {}, expected a positive number", gguf_.path(), i, values[i]);
        }
      }
    }
    return {};
  }

  Status find_layer(uint32_t index) {
    LayerTensors t;
    for (const LayerTensorRow& row : layer_tensors()) {
      if (!hyper_.has(row.part)) continue;
      uint64_t size[3];
      size_t dims = 0;
      for (; dims < std::size(size) && row.size[dims] != Dim::kNone; ++dims) size[dims] = dim(row.size[dims]);
      SMEPILOT_TRY(find(t.*row.member, layer_name(index, row), {size, dims}, !row.matrix));
    }
    model_.layers.push_back(t);
    return {};
  }

  Status check_unused() const {
    for (const GgufTensor& t : gguf_.tensors()) {
      if (used_.count(t.name) != 0) continue;
      // Precomputed angles that some old converters wrote; the rotation is computed here anyway.
      if (t.name.ends_with(".attn_rot_embd") || t.name.ends_with(".rotary_emb.inv_freq")) continue;
      return error(
          "{}: tensor \"{}\" is not part of the {} graph as it is implemented here ({} layers); leaving it out "
          "would change the model's answers",
          gguf_.path(), printable(t.name), hyper_.architecture, hyper_.layers);
    }
    return {};
  }

  const GgufFile& gguf_;
  ModelFile& model_;
  HyperParameters& hyper_;
  const Architecture* architecture_ = nullptr;
  std::unordered_set<std::string_view> used_;
};

}  // namespace

Result<ModelFile> ModelFile::load(const GgufFile& gguf) {
  ModelFile model;
  SMEPILOT_TRY(ModelLoader(gguf, model).load());
  return model;
}

ModelShape ModelFile::shape() const {
  ModelShape s;
  s.name = hyper.name;
  s.architecture = hyper.architecture;
  s.layers = hyper.layers;
  s.embedding = hyper.embedding;
  s.heads = hyper.heads;
  s.kv_heads = hyper.kv_heads;
  s.head_dim = hyper.head_dim;
  s.feed_forward = hyper.feed_forward;
  s.vocab = hyper.vocab;
  s.context = hyper.context;
  s.experts = hyper.experts;
  s.experts_used = hyper.experts_used;
  s.expert_feed_forward = hyper.expert_feed_forward;
  const auto add = [&s](std::string_view role, const GgufTensor* t) {
    if (t == nullptr) return;
    const auto k = static_cast<uint32_t>(t->size[0]), n = static_cast<uint32_t>(t->size[1]);
    const auto count = static_cast<uint32_t>(t->size[2]);  // experts, or 1
    for (MatrixShape& m : s.matrices) {
      if (m.role == role && m.dtype == t->dtype && m.n == n && m.k == k) {
        m.count += count;
        return;
      }
    }
    s.matrices.push_back({std::string(role), t->dtype, n, k, count});
  };
  for (const LayerTensors& t : layers)
    for (const LayerTensorRow& row : layer_tensors()) {
      const std::string_view name = row.name;
      if (row.matrix) add(name.substr(0, name.rfind('.')), t.*row.member);
    }
  add("output", output);
  return s;
}

}  // namespace smepilot
