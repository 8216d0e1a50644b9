#include "profiles/model_shape.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "kernels/base/text.h"
#include "profiles/architecture.h"
#include "profiles/data_dir.h"
#include "profiles/fnv.h"

namespace smepilot {
namespace {

using nlohmann::json;

constexpr const char* kSchema = "smepilot-model/1";
constexpr size_t kMaxProfileBytes = 1u << 20;

// A profile file being read: errors name it and the field.
class ProfileReader {
 public:
  ProfileReader(std::string file, const json& object) : file_(std::move(file)), object_(object) {}

  Result<uint64_t> integer(const char* field, uint64_t low, uint64_t high) {
    const json* v = find(field);
    if (v == nullptr) return error("{}: field '{}' is missing", file_, field);
    if (!v->is_number_unsigned()) return error("{}: field '{}' is {}, expected an integer", file_, field, shown(*v));
    const uint64_t value = v->get<uint64_t>();
    if (value < low || value > high)
      return error("{}: field '{}' is {}, expected {} .. {}", file_, field, value, low, high);
    return value;
  }

  Status size(const char* field, uint32_t& out, uint32_t high) {
    SMEPILOT_ASSIGN(const uint64_t v, integer(field, 1, high));
    out = static_cast<uint32_t>(v);
    return {};
  }

  Result<std::string> string(const char* field) {
    const json* v = find(field);
    if (v == nullptr) return error("{}: field '{}' is missing", file_, field);
    if (!v->is_string() || v->get_ref<const std::string&>().empty())
      return error("{}: field '{}' is {}, expected a string", file_, field, shown(*v));
    return v->get<std::string>();
  }

  Result<bool> boolean(const char* field) {
    const json* v = find(field);
    if (v == nullptr) return error("{}: field '{}' is missing", file_, field);
    if (!v->is_boolean()) return error("{}: field '{}' is {}, expected true or false", file_, field, shown(*v));
    return v->get<bool>();
  }

  Status positive(const char* field) {
    const json* v = find(field);
    if (v == nullptr) return error("{}: field '{}' is missing", file_, field);
    if (!v->is_number() || !(v->get<double>() > 0))
      return error("{}: field '{}' is {}, expected a positive number", file_, field, shown(*v));
    return {};
  }

  // Fields that nobody asked for are typing errors or another format.
  Status check_unknown() const {
    for (const auto& [key, value] : object_.items())
      if (!asked_.contains(key)) return error("{}: unknown field '{}'", file_, key);
    return {};
  }

 private:
  const json* find(const char* field) {
    asked_.insert(field);
    const auto it = object_.find(field);
    return it == object_.end() ? nullptr : &*it;
  }
  static std::string shown(const json& v) {
    return v.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 60);
  }

  std::string file_;
  const json& object_;
  std::set<std::string, std::less<>> asked_;
};

// The types llama-quantize gives to the matrices of a model whose main type is `name` (its function
// llama_tensor_get_type, and the fallback for rows that no K-quant block divides).
struct WeightTypes {
  DType main = DType::kF32;
  DType output = DType::kF32;
  bool q4_k_m = false;

  static bool parse(const std::string& name, WeightTypes& out) {
    const std::string plain = name == "q4_k_m" ? "q4_k" : name;
    for (uint8_t t = 0; t < static_cast<uint8_t>(DType::kCount); ++t) {
      const DType type = static_cast<DType>(t);
      if (traits(type).gguf_type < 0 || plain != traits(type).name) continue;
      const bool fewer_bits = traits(type).block_elems > 1 && type != DType::kQ8_0;
      out = {type, fewer_bits ? DType::kQ6_K : type, name != plain};
      return true;
    }
    return false;
  }

  // Does layer i of n keep attn_v and ffn_down in q6_k?
  bool more_bits(uint32_t i, uint32_t n) const noexcept {
    return q4_k_m && (i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2);
  }
};

constexpr const char* kWeightTypes =
    "f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl, q2_k, q3_k, q4_k, q4_k_m, q5_k, q6_k";

uint64_t parameters_of(const ModelShape& s, const Architecture& architecture, bool tied) {
  uint64_t total = 0;
  for (const MatrixShape& m : s.matrices) total += uint64_t{m.n} * m.k * m.count;
  if (!tied) total += uint64_t{s.vocab} * s.embedding;  // the token embedding, which is no matmul
  total += uint64_t{s.embedding} * (2 * s.layers + 1);  // norms
  if ((architecture.parts & kPartQkNorm) != 0) total += uint64_t{2} * s.head_dim * s.layers;
  if ((architecture.parts & kPartQkvBias) != 0) total += uint64_t{s.heads + 2 * s.kv_heads} * s.head_dim * s.layers;
  return total;
}

Status add_matrices(const std::string& file, const WeightTypes& types, ModelShape& s) {
  Status bad;
  const auto add = [&](const char* role, DType type, uint32_t n, uint32_t k, uint32_t count) {
    if (type == DType::kQ6_K && k % traits(type).block_elems != 0) type = DType::kQ8_0;
    if (k % traits(type).block_elems != 0)
      bad = error("{}: {} has rows of {} weights, which {} (blocks of {}) cannot hold", file, role, k,
                  traits(type).name, traits(type).block_elems);
    if (count != 0) s.matrices.push_back({role, type, n, k, count});
  };
  uint32_t more = 0;
  for (uint32_t i = 0; i < s.layers; ++i) more += types.more_bits(i, s.layers) ? 1u : 0u;
  const uint32_t rest = s.layers - more, q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim, d = s.embedding;
  add("attn_q", types.main, q, d, s.layers);
  add("attn_k", types.main, kv, d, s.layers);
  add("attn_v", types.main, kv, d, rest);
  add("attn_v", DType::kQ6_K, kv, d, more);
  add("attn_output", types.main, d, q, s.layers);
  if (s.experts != 0) {
    const uint32_t ff = s.expert_feed_forward;
    add("ffn_gate_inp", DType::kF32, s.experts, d, s.layers);
    add("ffn_gate_exps", types.main, ff, d, s.layers * s.experts);
    add("ffn_up_exps", types.main, ff, d, s.layers * s.experts);
    add("ffn_down_exps", types.main, d, ff, rest * s.experts);
    add("ffn_down_exps", DType::kQ6_K, d, ff, more * s.experts);
  } else {
    add("ffn_gate", types.main, s.feed_forward, d, s.layers);
    add("ffn_up", types.main, s.feed_forward, d, s.layers);
    add("ffn_down", types.main, d, s.feed_forward, rest);
    add("ffn_down", DType::kQ6_K, d, s.feed_forward, more);
  }
  add("output", types.output, s.vocab, d, 1);
  return bad;
}

Result<std::string> read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return error("{}: cannot be opened", path);
  std::string text(kMaxProfileBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (in.bad()) return error("{}: cannot be read", path);
  if (text.size() > kMaxProfileBytes)
    return error("{}: larger than {} bytes, not a model profile", path, kMaxProfileBytes);
  return text;
}

Result<std::string> find_profile(const std::string& name_or_path) {
  std::error_code ignored;
  const bool is_path = name_or_path.find('/') != std::string::npos || name_or_path.ends_with(".json");
  if (is_path) return name_or_path;
  for (const std::string& dir : data_dirs()) {
    const std::filesystem::path path = std::filesystem::path(dir) / "models" / (name_or_path + ".json");
    if (std::filesystem::is_regular_file(path, ignored)) return path.string();
  }
  return error("no model profile named '{}' (all: smetune models list); {}", name_or_path,
               suggest_names(name_or_path, known_model_profiles()));
}

}  // namespace

std::string ModelShape::hash() const {
  Fnv h;
  h.add(architecture);
  for (const uint32_t v : {layers, embedding, heads, kv_heads, head_dim, feed_forward, vocab, context, experts,
                           experts_used, expert_feed_forward})
    h.add(uint64_t{v});
  // In one canonical order, so that how a file happens to list its tensors does not matter.
  std::map<std::tuple<std::string, DType, uint32_t, uint32_t>, uint64_t> counts;
  for (const MatrixShape& m : matrices) counts[{m.role, m.dtype, m.n, m.k}] += m.count;
  for (const auto& [key, count] : counts) {
    const auto& [role, type, n, k] = key;
    h.add(role);
    h.add(traits(type).name);
    h.add(uint64_t{n});
    h.add(uint64_t{k});
    h.add(count);
  }
  return h.hex();
}

Result<ModelShape> load_model_profile(const std::string& name_or_path, const std::string& dtype) {
  SMEPILOT_ASSIGN(const std::string file, find_profile(name_or_path));
  SMEPILOT_ASSIGN(const std::string text, read_text(file));
  json object;
  try {
    object = json::parse(text);
  } catch (const json::exception& e) {
    return error("{}: not JSON: {}", file, e.what());
  }
  if (!object.is_object()) return error("{}: expected a JSON object", file);

  ProfileReader in(file, object);
  SMEPILOT_ASSIGN(const std::string schema, in.string("schema"));
  if (schema != kSchema) return error("{}: field 'schema' is '{}', expected '{}'", file, schema, kSchema);
  ModelShape s;
  SMEPILOT_ASSIGN(s.name, in.string("name"));
  SMEPILOT_ASSIGN(s.architecture, in.string("architecture"));
  const Architecture* const architecture = find_architecture(s.architecture);
  if (architecture == nullptr)
    return error("{}: field 'architecture' is '{}', expected one of {}", file, s.architecture, architecture_names());
  const bool moe = (architecture->parts & kPartExperts) != 0;
  SMEPILOT_TRY(in.string("source").status());
  // Bounds far above any model, low enough that no product of two overflows 64 bits and none of those below 32.
  constexpr uint32_t kMaxWidth = 1u << 20, kMaxCount = 1u << 12;
  SMEPILOT_TRY(in.size("layers", s.layers, kMaxCount));
  SMEPILOT_TRY(in.size("embedding", s.embedding, kMaxWidth));
  SMEPILOT_TRY(in.size("heads", s.heads, kMaxCount));
  SMEPILOT_TRY(in.size("kv_heads", s.kv_heads, kMaxCount));
  SMEPILOT_TRY(in.size("head_dim", s.head_dim, kMaxCount));
  SMEPILOT_TRY(in.size("feed_forward", s.feed_forward, kMaxWidth));
  SMEPILOT_TRY(in.size("vocab", s.vocab, 1u << 24));
  SMEPILOT_TRY(in.size("context", s.context, 1u << 30));
  SMEPILOT_TRY(in.positive("rope_base"));
  SMEPILOT_ASSIGN(const bool tied, in.boolean("tied_output"));
  if (moe) {
    SMEPILOT_TRY(in.size("experts", s.experts, kMaxCount));
    SMEPILOT_TRY(in.size("experts_used", s.experts_used, s.experts));
    SMEPILOT_TRY(in.size("expert_feed_forward", s.expert_feed_forward, kMaxWidth));
  }
  if (s.heads % s.kv_heads != 0)
    return error("{}: field 'heads' is {}, expected a multiple of kv_heads {}", file, s.heads, s.kv_heads);

  SMEPILOT_ASSIGN(const std::string profile_type, in.string("weights"));
  WeightTypes types;
  if (!WeightTypes::parse(profile_type, types))
    return error("{}: field 'weights' is '{}', expected one of {}", file, profile_type, kWeightTypes);
  if (!dtype.empty() && !WeightTypes::parse(dtype, types))
    return error("unknown weight type '{}', expected one of {}", dtype, kWeightTypes);
  SMEPILOT_TRY(add_matrices(file, types, s));
  SMEPILOT_ASSIGN(const uint64_t parameters, in.integer("parameters", 1, UINT64_MAX));
  SMEPILOT_TRY(in.check_unknown());
  if (const uint64_t found = parameters_of(s, *architecture, tied); found != parameters)
    return error("{}: field 'parameters' is {}, but the sizes give {}", file, parameters, found);
  return s;
}

std::vector<std::string> known_model_profiles() {
  std::set<std::string> names;
  for (const std::string& dir : data_dirs()) {
    std::error_code ignored;
    std::filesystem::directory_iterator it(std::filesystem::path(dir) / "models", ignored), end;
    for (; !ignored && it != end; it.increment(ignored))
      if (it->path().extension() == ".json") names.insert(it->path().stem().string());
  }
  return {names.begin(), names.end()};
}

}  // namespace smepilot
