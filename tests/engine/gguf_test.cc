#include "profiles/gguf.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>

#include "gguf_writer.h"
#include "profiles/model_file.h"

namespace smepilot {
namespace {

using test::GgufWriter;
using test::tiny_model;

constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();

// The writer's file must be refused with a message that names the file and holds every one of `parts`.
void expect_refused(const GgufWriter& w, std::initializer_list<const char*> parts) {
  const auto file = w.open();
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.message().find("test.gguf"), std::string::npos) << file.message();
  for (const char* part : parts) EXPECT_NE(file.message().find(part), std::string::npos) << file.message();
}

void expect_model_refused(const GgufWriter& w, std::initializer_list<const char*> parts) {
  const auto file = w.open();
  ASSERT_TRUE(file.ok()) << file.message();
  const auto model = ModelFile::load(*file);
  ASSERT_FALSE(model.ok());
  for (const char* part : parts) EXPECT_NE(model.message().find(part), std::string::npos) << model.message();
}

TEST(Gguf, ReadsValuesOfEveryKind) {
  GgufWriter w;
  w.u32("a", 7).i32("b", -3).u64("c", 1ull << 40).f32("d", 2.5f).boolean("e", true).string("f", "hello");
  w.strings("g", {"x", "", "zz"})
      .numbers<float>("h", GgufType::kF32, {1, 2})
      .numbers<int8_t>("i", GgufType::kI8, {-1, 5});
  w.numbers<uint16_t>("j", GgufType::kU16, {}).tensor("t", {4, 2}, 0, 32).tensor("u", {32, 3}, 2, 54);
  const auto file = w.open();
  ASSERT_TRUE(file.ok()) << file.message();
  EXPECT_EQ(*file->get_u32("a"), 7u);
  EXPECT_FLOAT_EQ(*file->get_f32("d"), 2.5f);
  EXPECT_TRUE(*file->get_bool_or("e", false));
  EXPECT_EQ(*file->get_string("f"), "hello");
  EXPECT_EQ(*file->get_strings("g"), (std::vector<std::string_view>{"x", "", "zz"}));
  EXPECT_EQ(*file->get_f32s("h"), (std::vector<float>{1, 2}));
  EXPECT_EQ(*file->get_i32s("i"), (std::vector<int32_t>{-1, 5}));
  EXPECT_TRUE(file->get_i32s("j")->empty());
  EXPECT_EQ(*file->get_u32_or("none", 9), 9u);
  EXPECT_EQ(file->keys().size(), 10u);

  ASSERT_EQ(file->tensors().size(), 2u);
  const GgufTensor* t = file->tensor("u");
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(t->dtype, DType::kQ4_0);
  EXPECT_EQ(t->elements, 96u);
  EXPECT_EQ(t->bytes.size(), 54u);
  EXPECT_EQ(t->offset % 32, 0u);
  EXPECT_EQ(t->shape_name(), "[32, 3]");
  EXPECT_EQ(file->tensor("v"), nullptr);
}

TEST(Gguf, GettersNameKeyAndTypeFound) {
  GgufWriter w;
  w.string("s", "x").i32("n", -3).u64("big", 1ull << 40).strings("a", {"x"}).f32("nan", NAN);
  w.numbers<int64_t>("wide", GgufType::kI64, {1ll << 33});
  const auto file = w.open();
  ASSERT_TRUE(file.ok()) << file.message();
  EXPECT_EQ(file->get_u32("s").message(), "test.gguf: metadata key \"s\" is string, expected u32");
  EXPECT_EQ(file->get_u32("zz").message(), "test.gguf: metadata key \"zz\" is missing, expected u32");
  EXPECT_EQ(file->get_u32("n").message(), "test.gguf: metadata key \"n\" is -3, expected 0 to 4294967295");
  EXPECT_FALSE(file->get_u32("big").ok());
  EXPECT_FALSE(file->get_u32_or("s", 1).ok());
  EXPECT_EQ(file->get_string("a").message(), "test.gguf: metadata key \"a\" is array of 1 string, expected string");
  EXPECT_FALSE(file->get_f32("nan").ok());
  EXPECT_FALSE(file->get_f32s("a").ok());
  EXPECT_FALSE(file->get_i32s("a").ok());
  EXPECT_FALSE(file->get_i32s("wide").ok());
  EXPECT_FALSE(file->get_bool_or("n", false).ok());
}

TEST(Gguf, SurvivesAMoveOfTheFile) {
  auto opened = tiny_model().open();
  ASSERT_TRUE(opened.ok());
  GgufFile file = std::move(opened).value();
  const GgufFile moved = std::move(file);
  EXPECT_EQ(*moved.get_string("general.name"), "tiny");
  EXPECT_EQ(moved.tensor("token_embd.weight")->bytes.size(), 2048u);
}

TEST(Gguf, RefusesWrongFiles) {
  GgufWriter w = tiny_model();
  w.magic = "GGML";
  expect_refused(w, {"not a GGUF file", "GGML", "GGUF"});
  w = tiny_model();
  w.version = 1;
  expect_refused(w, {"version 1", "2 or 3"});
  w.version = 0x03000000;
  expect_refused(w, {"big-endian"});
  w.version = 2;
  EXPECT_TRUE(w.open().ok());
  EXPECT_NE(GgufFile::from_memory({}, "empty").message().find("empty: not a GGUF file"), std::string::npos);
  EXPECT_NE(GgufFile::open("/no/such/file").message().find("/no/such/file: cannot be opened"), std::string::npos);
  EXPECT_NE(GgufFile::open("/").message().find("not a regular file"), std::string::npos);
}

TEST(Gguf, RefusesHugeCounts) {
  GgufWriter w = tiny_model();
  w.extra_values = kHuge - 100;
  expect_refused(w, {"metadata values"});
  w = tiny_model();
  w.extra_tensors = 1ull << 60;
  expect_refused(w, {"tensors"});
  for (const GgufType type : {GgufType::kU8, GgufType::kU64, GgufType::kString, GgufType::kArray}) {
    for (const uint64_t count : {kHuge, kHuge / 2, kHuge / 8 + 1, uint64_t{1} << 32}) {
      expect_refused(GgufWriter().array("x", type, count).raw(uint64_t{0}), {"\"x\"", "elements"});
    }
  }
  expect_refused(GgufWriter().head("x", GgufType::kString).raw(kHuge), {"\"x\"", "truncated"});
  expect_refused(GgufWriter().string(std::string(70000, 'k'), "v"), {"70000 bytes long", "65535"});
}

TEST(Gguf, RefusesDamagedValues) {
  expect_refused(GgufWriter().head("x", static_cast<GgufType>(13)).raw(uint64_t{0}), {"\"x\"", "type 13"});
  expect_refused(GgufWriter().array("x", static_cast<GgufType>(99), 1).raw(uint64_t{0}), {"\"x\"", "type 99"});
  expect_refused(GgufWriter().head("x", GgufType::kBool).raw(uint8_t{2}), {"\"x\"", "expected a bool"});
  expect_refused(GgufWriter().u32("x", 1).u32("x", 2), {"\"x\" appears twice"});
  expect_refused(GgufWriter().u32("", 1).u32("y", 2), {"empty key"});
  GgufWriter nested;
  nested.array("x", GgufType::kArray, 1);
  for (int i = 0; i < 100; ++i) nested.raw(static_cast<uint32_t>(GgufType::kArray)).raw(uint64_t{1});
  expect_refused(nested, {"\"x\"", "nests"});
  GgufWriter two_levels;
  two_levels.array("x", GgufType::kArray, 1)
      .raw(static_cast<uint32_t>(GgufType::kU8))
      .raw(uint64_t{2})
      .raw(uint16_t{1});
  EXPECT_TRUE(two_levels.open().ok());
  for (const uint32_t alignment : {0u, 1u, 4u, 48u, 1u << 31}) {
    expect_refused(GgufWriter().u32("general.alignment", alignment).u32("y", 2), {"general.alignment", "power of two"});
  }
  expect_refused(GgufWriter().string("general.alignment", "32").u32("y", 2), {"general.alignment", "string"});
  expect_refused(GgufWriter().u32("bad\n\xff", 1).u32("bad\n\xff", 1), {"bad\\x0a\\xff"});
}

TEST(Gguf, RefusesDamagedTensors) {
  const auto one = [](const std::vector<uint64_t>& size, uint32_t type) {
    return GgufWriter().tensor("blk.7.w", size, type, 256);
  };
  expect_refused(one({32}, 16), {"blk.7.w", "16", "IQ2_XXS", "supported are"});
  expect_refused(one({32}, 39), {"blk.7.w", "MXFP4"});
  expect_refused(one({32}, 12345), {"blk.7.w", "12345"});
  expect_refused(one({}, 0), {"blk.7.w", "0 dimensions"});
  expect_refused(one({1, 1, 1, 1, 1}, 0), {"blk.7.w", "5 dimensions"});
  expect_refused(one({32, 0}, 0), {"blk.7.w", "size 0"});
  expect_refused(one({33}, 2), {"blk.7.w", "33", "multiple of 32"});
  expect_refused(one({32, 8}, 12), {"blk.7.w", "multiple of 256"});
  expect_refused(one({1ull << 32, 1ull << 32}, 0), {"blk.7.w", "2^63"});
  expect_refused(one({1ull << 62, 2, 2, 2}, 0), {"blk.7.w", "2^63"});
  expect_refused(one({1ull << 62}, 0), {"blk.7.w", "beyond the end"});
  expect_refused(one({65}, 0), {"blk.7.w", "beyond the end"});
  EXPECT_TRUE(one({64}, 0).open().ok());
  expect_refused(GgufWriter().tensor_at("w", {8}, 0, kHuge - 31).f32_tensor("x", {64}), {"\"w\"", "beyond the end"});
  expect_refused(GgufWriter().tensor_at("w", {8}, 0, 4).f32_tensor("x", {64}), {"\"w\"", "offset 4", "alignment 32"});
  expect_refused(GgufWriter().tensor_at("w", {9}, 0, 0).tensor_at("v", {8}, 0, 32).f32_tensor("x", {64}), {"overlap"});
  expect_refused(GgufWriter().f32_tensor("w", {8}).f32_tensor("w", {8}), {"\"w\" appears twice"});
  expect_refused(GgufWriter().f32_tensor("", {8}), {"empty name"});
  expect_refused(GgufWriter().f32_tensor(std::string(65, 'n'), {8}), {"65 bytes long"});
}

// A file cut anywhere is refused: nothing of it is optional.
TEST(Gguf, RefusesTruncationAtEveryByte) {
  GgufWriter w = tiny_model();
  w.strings("tokenizer.ggml.tokens", std::vector<std::string>(16, "tok"));
  const std::vector<std::byte> whole = w.build();
  ASSERT_TRUE(GgufFile::from_memory(whole, "whole").ok());
  const size_t header = w.header().size();
  size_t tried = 0;
  for (size_t size = 0; size < whole.size(); size += size < header + 64 ? 1 : 61, ++tried) {
    const auto file = GgufFile::from_memory({whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)}, "cut.gguf");
    ASSERT_FALSE(file.ok()) << size;
    ASSERT_NE(file.message().find("cut.gguf"), std::string::npos);
  }
  EXPECT_GT(tried, header);
}

// Any damage to the header gives a file whose every tensor is inside it, or a message.
TEST(Gguf, SurvivesBitFlips) {
  GgufWriter w = tiny_model("qwen3moe");
  w.strings("tokenizer.ggml.tokens", std::vector<std::string>(16, "tok"));
  const std::vector<std::byte> whole = w.build();
  const size_t header = w.header().size();
  std::mt19937_64 random(20240607);
  int refused = 0, accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::byte> bytes = whole;
    const int flips = 1 + static_cast<int>(random() % 4);
    for (int f = 0; f < flips; ++f) bytes[random() % header] ^= static_cast<std::byte>(1u << (random() % 8));
    const auto file = GgufFile::from_memory(std::move(bytes), "flipped.gguf");
    if (!file.ok()) {
      ASSERT_FALSE(file.message().empty());
      ++refused;
      continue;
    }
    unsigned sum = 0;
    for (const GgufTensor& t : file->tensors()) {
      ASSERT_EQ(t.bytes.size(), file_bytes(t.dtype, t.elements));
      sum += static_cast<unsigned>(t.bytes.front()) + static_cast<unsigned>(t.bytes.back());
    }
    EXPECT_NE(sum, 0u);
    const auto model = ModelFile::load(*file);
    if (model.ok()) {
      ASSERT_EQ(model->layers.size(), model->hyper.layers);
      ++accepted;
    } else {
      ASSERT_NE(model.message().find("flipped.gguf"), std::string::npos);
      ++refused;
    }
  }
  EXPECT_GT(refused, 10000);
  EXPECT_GT(accepted, 10);  // a flip in a name or a token changes nothing that can be checked
}

TEST(Gguf, OpensAMappedFile) {
  const auto path =
      std::filesystem::temp_directory_path() / fmt::format("smepilot-gguf-test-{}.gguf", std::random_device()());
  const auto bytes = tiny_model().build();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  {
    const auto file = GgufFile::open(path.string());
    ASSERT_TRUE(file.ok()) << file.message();
    EXPECT_EQ(file->file_bytes(), bytes.size());
    EXPECT_TRUE(ModelFile::load(*file).ok());
  }
  std::ofstream(path, std::ios::trunc).close();
  EXPECT_NE(GgufFile::open(path.string()).message().find("0 bytes"), std::string::npos);
  std::filesystem::remove(path);
}

TEST(ModelFile, LoadsEachArchitecture) {
  for (const Architecture& row : architectures()) {
    const std::string architecture = row.name;
    const auto file = tiny_model(architecture).open();
    ASSERT_TRUE(file.ok()) << file.message();
    const auto model = ModelFile::load(*file);
    ASSERT_TRUE(model.ok()) << model.message();
    const HyperParameters& h = model->hyper;
    EXPECT_EQ(h.head_dim, 8u);
    EXPECT_EQ(h.rope_dims, 8u);
    EXPECT_EQ(h.vocab, 16u);
    EXPECT_EQ(h.rope_interleaved, architecture == "llama" || architecture == "smollm3");
    EXPECT_EQ(h.rope_free_every, architecture == "smollm3" ? 4u : 0u);
    EXPECT_EQ(h.has(kPartQkNorm), architecture == "qwen3" || architecture == "qwen3moe");
    EXPECT_EQ(h.has(kPartQkvBias), architecture == "qwen2");
    EXPECT_EQ(h.has(kPartExperts), architecture == "qwen3moe");
    EXPECT_TRUE(model->tied_output());
    EXPECT_EQ(model->layers[0].attn_q_norm != nullptr, h.has(kPartQkNorm));
    EXPECT_EQ(model->layers[0].attn_v_bias != nullptr, h.has(kPartQkvBias));
    const ModelShape shape = model->shape();
    EXPECT_EQ(shape.architecture, architecture);
    EXPECT_EQ(shape.matrices.size(), h.experts > 0 ? 9u : 8u);
    for (const MatrixShape& m : shape.matrices) {
      if (m.role == "attn_k") {
        EXPECT_EQ(std::pair(m.n, m.k), std::pair(16u, 32u));
      }
      if (m.role == "ffn_down_exps") {
        EXPECT_EQ(std::tuple(m.n, m.k, m.count), std::tuple(32u, 16u, 4u));
      }
      if (m.role == "output") {
        EXPECT_EQ(std::pair(m.n, m.k), std::pair(16u, 32u));
      }
    }
  }
}

TEST(ModelFile, NamesWhatIsWrong) {
  GgufWriter w;
  w.string("general.architecture", "mamba").u32("x", 1);
  expect_model_refused(w, {"\"mamba\"", "llama, qwen2, qwen3, qwen3moe, smollm3"});
  expect_model_refused(GgufWriter().u32("x", 1).u32("y", 2), {"general.architecture", "missing"});
  expect_model_refused(tiny_model().u32("llama.expert_count", 8), {"llama.expert_count is 8", "dense"});
  expect_model_refused(tiny_model().u32("llama.attention.key_length", 16),
                       {"blk.0.attn_q.weight", "[32, 32]", "[32, 64]"});
  expect_model_refused(tiny_model().u32("llama.attention.key_length", 6), {"head dimension is 6"});
  expect_model_refused(tiny_model().u32("llama.attention.value_length", 16), {"value_length is 16", "expected 8"});
  expect_model_refused(tiny_model().u32("llama.rope.dimension_count", 7), {"dimension_count is 7", "even"});
  expect_model_refused(tiny_model().u32("llama.rope.dimension_count", 10), {"dimension_count is 10", "2 to 8"});
  expect_model_refused(tiny_model().string("llama.rope.scaling.type", "yarn"), {"\"yarn\"", "none, linear"});
  expect_model_refused(tiny_model().f32("llama.rope.scaling.factor", -2), {"scaling.factor is -2"});
  expect_model_refused(tiny_model().u32("split.count", 3), {"3 parts"});
  expect_model_refused(tiny_model().f32_tensor("blk.0.attn_output.bias", {32}),
                       {"blk.0.attn_output.bias", "not part of"});
  expect_model_refused(tiny_model().f32_tensor("blk.0.attn_q.bias", {32}), {"blk.0.attn_k.bias", "missing"});
  expect_model_refused(tiny_model().f32_tensor("blk.1.attn_q.weight", {32, 32}), {"blk.1.attn_q.weight", "1 layers"});
  expect_model_refused(tiny_model().f32_tensor("output.weight", {32, 15}), {"output.weight", "[32, 15]", "[32, 16]"});
  expect_model_refused(tiny_model().tensor("rope_freqs.weight", {4}, 1, 8),
                       {"rope_freqs.weight", "f16", "expected f32"});
  expect_model_refused(tiny_model().strings("tokenizer.ggml.tokens", {"a"}), {"1 tokens", "16"});
}

TEST(ModelFile, ReadsOptionalParts) {
  GgufWriter w = tiny_model();
  w.f32("llama.rope.scaling.factor", 4)
      .string("llama.rope.scaling.type", "linear")
      .u32("llama.attention.sliding_window", 64);
  w.f32_tensor("rope_freqs.weight", {4}).f32_tensor("output.weight", {32, 16});
  w.f32_tensor("blk.0.attn_q.bias", {32}).f32_tensor("blk.0.attn_k.bias", {16}).f32_tensor("blk.0.attn_v.bias", {16});
  const auto file = w.open();
  ASSERT_TRUE(file.ok()) << file.message();
  const auto model = ModelFile::load(*file);
  ASSERT_TRUE(model.ok()) << model.message();
  EXPECT_FLOAT_EQ(model->hyper.rope_scale, 0.25f);
  EXPECT_FALSE(model->tied_output());
  EXPECT_NE(model->rope_freqs, nullptr);
  EXPECT_TRUE(model->hyper.has(kPartQkvBias));
  EXPECT_NE(model->layers[0].attn_k_bias, nullptr);
  ASSERT_EQ(model->warnings.size(), 1u);
  EXPECT_NE(model->warnings[0].find("sliding_window"), std::string::npos);
}

TEST(ModelFile, LoadsTheSharedModels) {
  const std::filesystem::path folder = std::filesystem::path(SMEPILOT_SHARED_DIR) / "models";
  int loaded = 0;
  for (const char* name : {"stories260K-f32", "stories260K-q8_0", "tiny-llama-q4_0", "tiny-llama-q4_k_m",
                           "tiny-qwen3-q8_0", "tiny-qwen3moe-q4_0"}) {
    const auto path = folder / (std::string(name) + ".gguf");
    if (!std::filesystem::exists(path)) continue;
    const auto file = GgufFile::open(path.string());
    ASSERT_TRUE(file.ok()) << file.message();
    const auto model = ModelFile::load(*file);
    ASSERT_TRUE(model.ok()) << model.message();
    EXPECT_EQ(model->hyper.vocab, 512u);
    EXPECT_EQ(model->layers.size(), model->hyper.layers);
    ++loaded;
  }
  if (loaded == 0) GTEST_SKIP() << "no shared models in " << folder;
  EXPECT_EQ(loaded, 6);
}

}  // namespace
}  // namespace smepilot
