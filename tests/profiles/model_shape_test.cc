#include "profiles/model_shape.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

namespace smepilot {
namespace {

const MatrixShape* find(const ModelShape& s, const std::string& role) {
  for (const MatrixShape& m : s.matrices)
    if (m.role == role) return &m;
  return nullptr;
}

const ModelOperator* find(const std::vector<ModelOperator>& ops, const std::string& role) {
  for (const ModelOperator& o : ops)
    if (o.role == role) return &o;
  return nullptr;
}

uint64_t matrix_parameters(const ModelShape& s) {
  uint64_t total = 0;
  for (const MatrixShape& m : s.matrices) total += uint64_t{m.n} * m.k * m.count;
  return total;
}

// Text of a valid profile, with one field replaced (or, for an empty value, removed).
std::string profile_text(const std::string& field = "", const std::string& value = "") {
  // q and output, k and v, the feed-forward network, the embedding, norms
  const std::string parameters =
      std::to_string(2 * 256 * (4 * 32) + 2 * 256 * (2 * 32) + 3 * 256 * 96 + 128 * 256 + 3 * 256);
  std::vector<std::pair<std::string, std::string>> fields = {{"schema", "\"smepilot-model/1\""},
                                                             {"name", "\"t\""},
                                                             {"architecture", "\"llama\""},
                                                             {"source", "\"none\""},
                                                             {"parameters", parameters},
                                                             {"weights", "\"q4_0\""},
                                                             {"layers", "1"},
                                                             {"embedding", "256"},
                                                             {"heads", "4"},
                                                             {"kv_heads", "2"},
                                                             {"head_dim", "32"},
                                                             {"feed_forward", "96"},
                                                             {"vocab", "128"},
                                                             {"context", "64"},
                                                             {"rope_base", "10000.0"},
                                                             {"tied_output", "true"}};
  bool replaced = field.empty();
  for (auto& [k, v] : fields)
    if (k == field) v = value, replaced = true;
  if (!replaced) fields.emplace_back(field, value);
  std::string text = "{";
  for (const auto& [k, v] : fields)
    if (!v.empty()) text += (text.size() == 1 ? "\"" : ", \"") + k + "\": " + v;
  return text + "}";
}

class ProfileFile {
 public:
  explicit ProfileFile(const std::string& text) {
    static int counter = 0;
    path_ = (std::filesystem::temp_directory_path() /
             ("smepilot_profile_" + std::to_string(::getpid()) + "_" + std::to_string(counter++) + ".json"))
                .string();
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~ProfileFile() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(ModelShape, EveryPublishedProfileLoads) {
  const std::vector<std::string> names = known_model_profiles();
  const std::set<std::string> known(names.begin(), names.end());
  for (const char* name : {"llama-3.1-8b", "llama-3.2-1b", "llama-3.2-3b", "qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-7b",
                           "qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b", "qwen3-30b-a3b", "smollm2-135m",
                           "smollm2-360m", "smollm2-1.7b", "smollm3-3b"})
    EXPECT_TRUE(known.contains(name)) << name;
  for (const std::string& name : known) {
    const Result<ModelShape> s = load_model_profile(name);
    ASSERT_TRUE(s.ok()) << s.message();
    EXPECT_EQ(s->name, name);
  }
}

// Against the parameter counts that the model cards give, less norms and (for untied ones) the embedding.
TEST(ModelShape, ParametersMatchTheModelCards) {
  const auto in_matrices = [](const char* name) {
    Result<ModelShape> s = load_model_profile(name);
    EXPECT_TRUE(s.ok()) << s.message();
    return s.ok() ? static_cast<double>(matrix_parameters(*s)) : 0.0;
  };
  EXPECT_NEAR(in_matrices("llama-3.2-1b") / 1e9, 1.236, 0.0005);
  EXPECT_NEAR(in_matrices("llama-3.2-3b") / 1e9, 3.213, 0.0005);
  EXPECT_NEAR(in_matrices("qwen3-4b") / 1e9, 4.022, 0.0005);
  EXPECT_NEAR((in_matrices("qwen3-30b-a3b") + 151936.0 * 2048) / 1e9, 30.53, 0.005);
  EXPECT_NEAR(in_matrices("smollm2-135m") / 1e6, 134.5, 0.05);
  EXPECT_NEAR(in_matrices("qwen2.5-0.5b") / 1e9, 0.494, 0.0005);
  EXPECT_NEAR(in_matrices("qwen2.5-1.5b") / 1e9, 1.544, 0.0005);
  EXPECT_NEAR((in_matrices("qwen2.5-7b") + 152064.0 * 3584) / 1e9, 7.615, 0.001);
  EXPECT_NEAR((in_matrices("llama-3.1-8b") + 128256.0 * 4096) / 1e9, 8.030, 0.001);
  EXPECT_NEAR(in_matrices("smollm3-3b") / 1e9, 3.075, 0.0005);
}

TEST(ModelShape, MatricesOfLlama1B) {
  const Result<ModelShape> s = load_model_profile("llama-3.2-1b");
  ASSERT_TRUE(s.ok()) << s.message();
  struct Expected {
    const char* role;
    DType dtype;
    uint32_t n, k, count;
  };
  for (const Expected& e : {Expected{"attn_q", DType::kQ4_0, 2048, 2048, 16},
                            {"attn_k", DType::kQ4_0, 512, 2048, 16},
                            {"attn_v", DType::kQ4_0, 512, 2048, 16},
                            {"attn_output", DType::kQ4_0, 2048, 2048, 16},
                            {"ffn_gate", DType::kQ4_0, 8192, 2048, 16},
                            {"ffn_up", DType::kQ4_0, 8192, 2048, 16},
                            {"ffn_down", DType::kQ4_0, 2048, 8192, 16},
                            {"output", DType::kQ6_K, 128256, 2048, 1}}) {
    const MatrixShape* m = find(*s, e.role);
    ASSERT_NE(m, nullptr) << e.role;
    EXPECT_EQ(m->dtype, e.dtype) << e.role;
    EXPECT_EQ(m->n, e.n) << e.role;
    EXPECT_EQ(m->k, e.k) << e.role;
    EXPECT_EQ(m->count, e.count) << e.role;
  }
  EXPECT_EQ(s->matrices.size(), 8u);
}

TEST(ModelShape, WeightTypeOverride) {
  const Result<ModelShape> q4 = load_model_profile("llama-3.2-1b"), q8 = load_model_profile("llama-3.2-1b", "q8_0");
  ASSERT_TRUE(q4.ok() && q8.ok());
  for (const MatrixShape& m : q8->matrices) EXPECT_EQ(m.dtype, DType::kQ8_0) << m.role;
  EXPECT_NE(q4->hash(), q8->hash());
  EXPECT_EQ(q4->hash(), load_model_profile("llama-3.2-1b", "q4_0")->hash());
  const Result<ModelShape> bad = load_model_profile("llama-3.2-1b", "q3_x");
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.message().find("q3_x"), std::string::npos);
  EXPECT_FALSE(load_model_profile("llama-3.2-1b", "q8").ok()) << "q8 is a run-time format, not a file's";
}

TEST(ModelShape, MixtureOfBits) {
  // llama-quantize gives the rule first and last eighth, and every third between: 2 + 2 + 4 of 16 layers.
  const Result<ModelShape> s = load_model_profile("llama-3.2-1b", "q4_k_m");
  ASSERT_TRUE(s.ok()) << s.message();
  uint32_t more = 0, rest = 0;
  for (const MatrixShape& m : s->matrices)
    if (m.role == "ffn_down") (m.dtype == DType::kQ6_K ? more : rest) += m.count;
  EXPECT_EQ(more, 8u);
  EXPECT_EQ(rest, 8u);
}

TEST(ModelShape, RowsThatKQuantsCannotHold) {
  const Result<ModelShape> s = load_model_profile("smollm2-135m");  // 576 columns: no multiple of 256
  ASSERT_TRUE(s.ok()) << s.message();
  EXPECT_EQ(find(*s, "output")->dtype, DType::kQ8_0);
  const Result<ModelShape> bad = load_model_profile("smollm2-135m", "q4_k");
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.message().find("576"), std::string::npos) << bad.message();
}

TEST(ModelShape, HashIgnoresNameAndOrderButNotSizes) {
  const ModelShape base = *load_model_profile("qwen3-4b");
  ModelShape other = base;
  other.name = "another";
  std::reverse(other.matrices.begin(), other.matrices.end());
  EXPECT_EQ(base.hash(), other.hash());
  EXPECT_EQ(base.hash().size(), 16u);
  ModelShape split = base;  // the same matrices, listed as two groups
  split.matrices[0].count -= 5;
  split.matrices.push_back(split.matrices[0]);
  split.matrices.back().count = 5;
  EXPECT_EQ(base.hash(), split.hash());
  for (uint32_t ModelShape::* field :
       {&ModelShape::layers, &ModelShape::embedding, &ModelShape::heads, &ModelShape::kv_heads, &ModelShape::head_dim,
        &ModelShape::feed_forward, &ModelShape::vocab, &ModelShape::context, &ModelShape::experts}) {
    ModelShape changed = base;
    ++(changed.*field);
    EXPECT_NE(base.hash(), changed.hash());
  }
  ModelShape type = base;
  type.matrices[2].dtype = DType::kQ8_0;
  EXPECT_NE(base.hash(), type.hash());
}

TEST(ModelOperators, PrefillAndDecode) {
  const ModelShape s = *load_model_profile("llama-3.2-3b");
  const std::vector<ModelOperator> prefill = model_operators(s, 512, 512);
  EXPECT_EQ(find(prefill, "ffn_gate")->shape.m, 512u);
  EXPECT_EQ(find(prefill, "ffn_gate")->calls, 28u);
  EXPECT_EQ(find(prefill, "output")->shape.m, 1u) << "only the last token's logits are computed";
  EXPECT_EQ(find(prefill, "output")->calls, 1u);
  const OperatorShape& a = find(prefill, "attention")->shape;
  EXPECT_EQ(a.kind, OpKind::kAttention);
  EXPECT_EQ(a.dtype, DType::kF16);
  EXPECT_EQ(a.m, 512u);
  EXPECT_EQ(a.n, 24u);
  EXPECT_EQ(a.k, 128u);
  EXPECT_EQ(a.kv_len, 512u);
  EXPECT_EQ(a.kv_heads, 8u);
  EXPECT_EQ(find(prefill, "attention")->calls, 28u);

  const std::vector<ModelOperator> batch = model_operators(s, 8, 300, Pass::kDecode);
  EXPECT_EQ(find(batch, "output")->shape.m, 8u) << "every sequence is sampled from";
  EXPECT_EQ(find(batch, "attention")->shape.m, 1u);
  EXPECT_EQ(find(batch, "attention")->shape.kv_len, 300u);
  EXPECT_EQ(find(batch, "attention")->calls, 28u * 8);
  // A cache cannot be shorter than the tokens just written to it, and m = 0 is a pass of one.
  EXPECT_EQ(find(model_operators(s, 64, 1), "attention")->shape.kv_len, 64u);
  EXPECT_EQ(find(model_operators(s, 0, 0), "attn_q")->shape.m, 1u);
}

TEST(ModelOperators, Experts) {
  const ModelShape s = *load_model_profile("qwen3-30b-a3b");
  const std::vector<ModelOperator> one = model_operators(s, 1, 1);
  EXPECT_EQ(find(one, "ffn_gate_exps")->shape.m, 1u);
  EXPECT_EQ(find(one, "ffn_gate_exps")->calls, 48u * 8);
  EXPECT_EQ(find(one, "ffn_gate_inp")->shape.n, 128u);
  EXPECT_EQ(find(one, "ffn_gate_inp")->shape.dtype, DType::kF32);
  EXPECT_EQ(find(one, "ffn_gate_inp")->calls, 48u);
  const std::vector<ModelOperator> many = model_operators(s, 512, 512);
  EXPECT_EQ(find(many, "ffn_down_exps")->shape.m, 32u);  // 512 * 8 / 128
  EXPECT_EQ(find(many, "ffn_down_exps")->calls, 48u * 128);
  // Whatever m is, the token-expert pairs add up.
  for (const uint32_t m : {1u, 2u, 7u, 16u, 64u, 500u}) {
    const std::vector<ModelOperator> ops = model_operators(s, m, m);
    const ModelOperator* up = find(ops, "ffn_up_exps");
    const double pairs = static_cast<double>(up->shape.m) * up->calls, expected = 48.0 * 8 * m;
    EXPECT_NEAR(pairs / expected, 1, 0.35) << m;
  }
}

TEST(ModelProfile, ErrorsNameFileAndField) {
  {
    const ProfileFile good(profile_text());
    const Result<ModelShape> s = load_model_profile(good.path());
    ASSERT_TRUE(s.ok()) << s.message();
    EXPECT_EQ(s->embedding, 256u);
  }
  struct Case {
    const char *field, *value, *expected;
  };
  for (const Case& c : {Case{"layers", "", "'layers' is missing"},
                        {"layers", "0", "'layers' is 0"},
                        {"layers", "-3", "'layers' is -3"},
                        {"layers", "\"16\"", "'layers' is \"16\""},
                        {"layers", "4294967297", "'layers' is 4294967297"},
                        {"layers", "1.5", "'layers' is 1.5"},
                        {"heads", "3", "'heads' is 3"},
                        {"architecture", "\"gpt2\"", "'architecture' is 'gpt2'"},
                        {"schema", "\"smepilot-model/9\"", "'schema' is 'smepilot-model/9'"},
                        {"weights", "\"int3\"", "'weights' is 'int3'"},
                        {"rope_base", "-1", "'rope_base' is -1"},
                        {"tied_output", "1", "'tied_output' is 1"},
                        {"parameters", "5", "'parameters' is 5"},
                        {"name", "\"\"", "'name' is \"\""},
                        {"laeyrs", "3", "unknown field 'laeyrs'"},
                        {"embedding", "250", "rows of 250 weights"}}) {
    const ProfileFile file(profile_text(c.field, c.value));
    const Result<ModelShape> s = load_model_profile(file.path());
    ASSERT_FALSE(s.ok()) << c.field << "=" << c.value;
    EXPECT_NE(s.message().find(file.path()), std::string::npos) << s.message();
    EXPECT_NE(s.message().find(c.expected), std::string::npos) << s.message();
  }
}

TEST(ModelProfile, HostileText) {
  for (const std::string& text : {std::string(), std::string("{"), std::string("[1,2]"), std::string("\xff\xfe{}"),
                                  std::string(100'000, '['), std::string(2u << 20, ' '), std::string("null")}) {
    const ProfileFile file(text);
    const Result<ModelShape> s = load_model_profile(file.path());
    ASSERT_FALSE(s.ok());
    EXPECT_NE(s.message().find(file.path()), std::string::npos) << s.message();
  }
  // Every truncation of a valid profile is refused.
  const std::string whole = profile_text();
  for (size_t n = 0; n < whole.size(); ++n) {
    const ProfileFile file(whole.substr(0, n));
    EXPECT_FALSE(load_model_profile(file.path()).ok()) << n;
  }
}

TEST(ModelProfile, LookedForWhereTheEnvironmentSays) {
  const Result<ModelShape> unknown = load_model_profile("no-such-model");
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.message().find("no-such-model"), std::string::npos);
  EXPECT_NE(unknown.message().find("llama-3.2-1b"), std::string::npos) << "the error lists what is known";
  EXPECT_FALSE(load_model_profile("/no/such/file.json").ok());

  const std::filesystem::path dir =
      std::filesystem::temp_directory_path() / ("smepilot_data_" + std::to_string(::getpid()));
  std::filesystem::create_directories(dir / "models");
  std::ofstream(dir / "models" / "mine.json") << profile_text();
  ASSERT_EQ(setenv("SMEPILOT_DATA_DIR", dir.c_str(), 1), 0);
  EXPECT_EQ(known_model_profiles(), std::vector<std::string>{"mine"});
  EXPECT_TRUE(load_model_profile("mine").ok());
  EXPECT_FALSE(load_model_profile("llama-3.2-1b").ok());
  unsetenv("SMEPILOT_DATA_DIR");
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace smepilot
