// The cache of packed weights: what a second start maps is what the first one packed, and nothing that could be wrong
// (another model, damage, an unfinished file, no room, other processes) makes a run compute with wrong weights or fail.
#include "engine/weight_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <thread>

#include "engine/weight_cache_writer.h"
#include "engine/weights.h"
#include "kernels/base/checksum.h"
#include "random_model.h"

namespace smepilot {
namespace {

using test::read_text;
using test::TempFolder;
using test::write_text;
namespace fs = std::filesystem;

// A model as the engine opens it.
struct Model {
  GgufFile gguf;
  ModelFile file;
  Weights weights;
};

class WeightCacheTest : public ::testing::Test {
 protected:
  WeightCacheTest() {
    options_.folder = folder_ / "cache";
    options_.reserve_bytes = 0;
    options_.patience_s = 0.3;
    write_model(1);
  }

  void write_model(uint64_t seed, const std::string& architecture = "qwen3moe", DType dtype = DType::kQ8_0) {
    test::write_model(test::random_model(architecture, dtype, {.seed = seed}), model_);
  }

  std::unique_ptr<Model> load() {
    auto m = std::make_unique<Model>();
    auto gguf = GgufFile::open(model_);
    EXPECT_TRUE(gguf.ok()) << gguf.message();
    m->gguf = std::move(gguf).value();
    auto file = ModelFile::load(m->gguf);
    EXPECT_TRUE(file.ok()) << file.message();
    m->file = std::move(file).value();
    m->weights = Weights::describe(m->file);
    WorkerPool pool(2);  // not a member: a process with threads cannot well be forked
    const Status loaded = m->weights.load(m->gguf, pool, options_);
    EXPECT_TRUE(loaded.ok()) << loaded.message();
    const Status stored = m->weights.finish_cache();
    EXPECT_TRUE(stored.ok()) << stored.message();
    return m;
  }
  std::unique_ptr<Model> load_without_cache() {
    const std::string folder = std::exchange(options_.folder, "");
    auto m = load();
    options_.folder = folder;
    return m;
  }

  static uint64_t sum(const PackedMatrix& m) {
    return checksum({m.data, rhs_bytes(m.dtype, m.n, m.k)}, m.n * uint64_t{7} + m.k);
  }
  static std::vector<uint64_t> sums(const Weights& w) {
    std::vector<uint64_t> out;
    for (const LayerWeights& l : w.layers) {
      for (const PackedMatrix* m : {&l.attn_q, &l.attn_k, &l.attn_v, &l.attn_output}) out.push_back(sum(*m));
      for (const auto* group : {&l.expert_gate, &l.expert_up, &l.expert_down})
        for (const PackedMatrix& m : *group) out.push_back(sum(m));
      for (const PackedMatrix* m : {&l.ffn_gate, &l.ffn_up, &l.ffn_down, &l.router})
        if (m->n != 0) out.push_back(sum(*m));
    }
    out.push_back(sum(w.output));
    return out;
  }

  // Loads, and expects the right weights from `source`, with a note that has `note` in it (or none).
  void expect_load(WeightSource source, const std::string& note = "") {
    const auto m = load();
    const WeightLoadReport& r = m->weights.report();
    EXPECT_EQ(r.source, source);
    EXPECT_EQ(sums(m->weights), sums(load_without_cache()->weights));
    std::string all;
    for (const std::string& n : r.notes) all += n + "\n";
    if (note.empty())
      EXPECT_EQ(all, "");
    else
      EXPECT_NE(all.find(note), std::string::npos) << all;
  }

  std::vector<std::string> files() const {
    std::vector<std::string> out;
    std::error_code ec;
    for (const auto& e : fs::directory_iterator(options_.folder, ec)) out.push_back(e.path().string());
    return out;
  }
  std::string only_file() const {
    const auto all = files();
    EXPECT_EQ(all.size(), 1u);
    return all.empty() ? "" : all[0];
  }
  void change_byte(const std::string& path, uint64_t at) const {
    std::string text = read_text(path);
    ASSERT_LT(at, text.size());
    text[at] = static_cast<char>(text[at] ^ 0x40);
    const int fd = ::open(path.c_str(), O_WRONLY);  // in place, as a failing disk does it
    EXPECT_EQ(::pwrite(fd, &text[at], 1, static_cast<off_t>(at)), 1);
    ::close(fd);
  }

  TempFolder folder_;
  const std::string model_ = folder_ / "model.gguf";
  WeightCacheOptions options_;
};

TEST_F(WeightCacheTest, TheSecondStartMapsWhatTheFirstPacked) {
  for (const auto& [architecture, dtype] : {std::pair{"qwen3moe", DType::kQ8_0}, {"llama", DType::kF32}}) {
    write_model(1, architecture, dtype);
    expect_load(WeightSource::kPacked);
    expect_load(WeightSource::kCache);
  }
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(WeightCacheTest, MatricesAreAlignedForTheKernels) {
  load();
  const auto m = load();
  ASSERT_EQ(m->weights.report().source, WeightSource::kCache);
  for (const LayerWeights& l : m->weights.layers) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(l.attn_q.data) % AlignedBuffer::kAlignment, 0u);
    for (const PackedMatrix& e : l.expert_up)
      EXPECT_EQ(reinterpret_cast<uintptr_t>(e.data) % AlignedBuffer::kAlignment, 0u);
  }
}

TEST_F(WeightCacheTest, AModelOfTheSameShapeHasAFileOfItsOwn) {
  load();
  write_model(2);
  expect_load(WeightSource::kPacked);
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(WeightCacheTest, AnyChangedByteOfTheModelIsNoticed) {
  load();
  const auto gguf = GgufFile::open(model_);
  ASSERT_TRUE(gguf.ok());
  const GgufTensor* tensor = gguf->tensor("blk.1.ffn_up_exps.weight");
  ASSERT_NE(tensor, nullptr);
  // Far from the bytes that name the file: the whole content has to tell.
  change_byte(model_, tensor->offset + 1);
  expect_load(WeightSource::kPacked, "another version of this model");
  expect_load(WeightSource::kCache);
}

TEST_F(WeightCacheTest, ACopyOfTheModelUsesTheSameFile) {
  load();
  const std::string copy = folder_ / "copy.gguf";
  fs::copy_file(model_, copy);
  fs::remove(model_);
  fs::rename(copy, model_);
  expect_load(WeightSource::kCache);
  EXPECT_EQ(files().size(), 1u);
}

TEST_F(WeightCacheTest, AFileWrittenJustNowIsNotToldByItsStamp) {
  load();
  const FileDescriptor fd(::open(only_file().c_str(), O_RDONLY));
  const auto head = read_weight_file_head(fd.get(), only_file());
  ASSERT_TRUE(head.ok()) << head.message();
  EXPECT_EQ(head->stamp, FileStamp{});
}

// Two seconds later it is: nothing of the weights is read from the model then.
TEST_F(WeightCacheTest, AnOldModelIsToldByItsStamp) {
  load();
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));
  expect_load(WeightSource::kCache);  // by the content, and stores the stamp
  const std::string file = only_file();
  const auto gguf = GgufFile::open(model_);
  const FileDescriptor fd(::open(file.c_str(), O_RDONLY));
  const auto head = read_weight_file_head(fd.get(), file);
  ASSERT_TRUE(head.ok() && gguf.ok());
  EXPECT_EQ(head->stamp, gguf->stamp());
  EXPECT_NE(head->stamp, FileStamp{});
  // Under another name the key does not find it, but the stamp does.
  fs::rename(file, options_.folder + "/0000000000000000.weights");
  expect_load(WeightSource::kCache);
}

TEST_F(WeightCacheTest, DamageIsFoundAndRepaired) {
  load();
  const uint64_t size = fs::file_size(only_file());
  // Magic, version, a field of the header, the directory, the first and the last panel.
  for (const auto& [at, note] : {std::pair<uint64_t, const char*>{0, "not a file of packed weights"},
                                 {8, "version"},
                                 {40, "header is damaged"},
                                 {4096 + 100, "directory is damaged"},
                                 {size - 10000, "are damaged"}}) {
    SCOPED_TRACE(at);
    change_byte(only_file(), at);
    expect_load(WeightSource::kPacked, note);
    expect_load(WeightSource::kCache);
  }
}

TEST_F(WeightCacheTest, EveryPanelByteIsCovered) {
  load();
  const std::string file = only_file();
  const auto m = load();
  const PackedMatrix& q = m->weights.layers[0].attn_q;
  const PackedMatrix& e = m->weights.layers[1].expert_down[3];
  // 128 bytes of the directory for each matrix.
  const uint64_t matrices = test::kModelLayers * (5 + 3 * uint64_t{test::kModelExperts}) + 1;
  const uint64_t within = round_up(4096 + 128 * matrices, 4096) + static_cast<uint64_t>(e.data - q.data);
  ASSERT_EQ(std::memcmp(read_text(file).data() + within, e.data, 64), 0);
  for (const uint64_t at : {within, within + rhs_bytes(e.dtype, e.n, e.k) - 1}) {
    change_byte(file, at);
    expect_load(WeightSource::kPacked, "blk.1.ffn_down_exps.weight/3");
  }
}

TEST_F(WeightCacheTest, TruncatedFilesAreFoundAndRepaired) {
  load();
  const uint64_t size = fs::file_size(only_file());
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{100}, uint64_t{4096}, size / 2, size - 1}) {
    SCOPED_TRACE(bytes);
    fs::resize_file(only_file(), bytes);
    expect_load(WeightSource::kPacked, "truncated");
  }
  write_text(only_file(), read_text(only_file()) + "x");
  expect_load(WeightSource::kPacked, "truncated or damaged");
}

TEST_F(WeightCacheTest, WhatADeadWriterLeftIsTakenOver) {
  load();
  fs::rename(only_file(), only_file() + ".part");
  fs::resize_file(only_file(), 10000);
  ASSERT_EQ(list_weight_cache(options_.folder).size(), 1u);
  EXPECT_EQ(list_weight_cache(options_.folder)[0].problem, "unfinished");
  expect_load(WeightSource::kPacked);
  EXPECT_FALSE(only_file().ends_with(".part"));
}

TEST_F(WeightCacheTest, AnotherWriterWithoutProgressIsNotWaitedForForever) {
  load();
  const std::string file = only_file(), part = file + ".part";
  fs::rename(file, part);
  const FileDescriptor other(::open(part.c_str(), O_RDWR));
  ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
  expect_load(WeightSource::kMemory, "makes no progress");
  EXPECT_EQ(only_file(), part);  // the other's, untouched
}

TEST_F(WeightCacheTest, AnotherWritersFileIsUsedWhenItIsDone) {
  options_.patience_s = 60;
  load();
  const std::string file = only_file(), part = file + ".part";
  fs::rename(file, part);
  std::optional<FileDescriptor> other(::open(part.c_str(), O_RDWR));
  ASSERT_EQ(::flock(other->get(), LOCK_EX), 0);
  std::thread finisher([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    fs::rename(part, file);
    other.reset();
  });
  expect_load(WeightSource::kCache);
  finisher.join();
  EXPECT_EQ(only_file(), file);
}

TEST_F(WeightCacheTest, ProcessesThatStartTogetherAllEndUpRight) {
  options_.patience_s = 60;
  const std::vector<uint64_t> right = sums(load_without_cache()->weights);
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      int code = 1;
      {
        WorkerPool pool(2);
        auto gguf = GgufFile::open(model_);
        auto file = ModelFile::load(*gguf);
        Weights w = Weights::describe(*file);
        if (w.load(*gguf, pool, options_).ok() && w.finish_cache().ok() && sums(w) == right &&
            w.report().source != WeightSource::kMemory)
          code = 0;
      }
      ::_exit(code);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_FALSE(only_file().ends_with(".part"));
  expect_load(WeightSource::kCache);
}

TEST_F(WeightCacheTest, NoRoomMeansNoCacheAndNoDebris) {
  options_.reserve_bytes = UINT64_MAX;
  expect_load(WeightSource::kMemory, "free on the disk");
  EXPECT_TRUE(files().empty());
}

TEST_F(WeightCacheTest, AWriteErrorMeansNoCacheAndNoDebris) {
  // A limit on the size of files stands in for a disk that fills up; in a child, because it cannot be taken back.
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {20000, 20000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    WorkerPool pool(2);
    auto gguf = GgufFile::open(model_);
    auto file = ModelFile::load(*gguf);
    Weights w = Weights::describe(*file);
    const bool loaded = w.load(*gguf, pool, options_).ok() && w.report().source == WeightSource::kMemory;
    ::_exit(loaded && w.report().notes.size() == 1 && files().empty() ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(WeightCacheTest, AFolderThatCannotBeMadeMeansNoCache) {
  write_text(folder_ / "file", "x");
  options_.folder = folder_ / "file/cache";
  expect_load(WeightSource::kMemory, "cannot be made");
}

TEST_F(WeightCacheTest, TheSizeIsBoundedAndTheOldestGoFirst) {
  load();
  const std::string first = only_file();
  const uint64_t size = list_weight_cache(options_.folder)[0].bytes;
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, first.c_str(), old, 0), 0);
  write_model(2);
  load();
  options_.limit_bytes = size * 2 + size / 2;  // two fit
  write_model(3);
  load();
  EXPECT_EQ(files().size(), 2u);
  EXPECT_FALSE(fs::exists(first));
  options_.limit_bytes = size / 2;
  write_model(4);
  expect_load(WeightSource::kMemory, "--cache-limit");
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(WeightCacheTest, FilesInUseStay) {
  load();
  {
    const auto user = load();
    ASSERT_EQ(user->weights.report().source, WeightSource::kCache);
    EXPECT_TRUE(list_weight_cache(options_.folder)[0].in_use);
    const WeightCacheRemoval removed = trim_weight_cache(options_.folder, 0);
    EXPECT_EQ(removed.files, 0u);
    EXPECT_EQ(removed.kept, 1u);
    options_.limit_bytes = list_weight_cache(options_.folder)[0].bytes * 3 / 2;
    write_model(2);
    expect_load(WeightSource::kMemory, "in use");
  }
  const auto list = list_weight_cache(options_.folder);
  ASSERT_EQ(list.size(), 1u);
  EXPECT_FALSE(list[0].in_use);
  EXPECT_EQ(list[0].model, model_);
  EXPECT_EQ(list[0].problem, "");
  EXPECT_EQ(trim_weight_cache(options_.folder, 0).files, 1u);
  EXPECT_TRUE(files().empty());
}

TEST(WeightLayout, BlocksOfTheFileAreWrittenWhole) {
  // Chunks that straddle the writer's blocks, and one that is larger than a block.
  TempFolder folder;
  const std::string path = folder / "x.weights";
  WorkerPool pool(2);
  std::vector<std::byte> rows(size_t{200} * 40000 * 4);
  uint32_t random = 1;
  for (std::byte& b : rows) b = static_cast<std::byte>((random = random * 1664525 + 1013904223) >> 24);
  WeightLayout layout;
  layout.add("wide", DType::kF32, 200, 40000, rows);
  layout.add("odd", DType::kQ8_0, 37, 1024, std::span(rows).subspan(1, size_t{37} * 34 * 32));
  layout.add("float", DType::kF16, 999, 6000, std::span(rows).subspan(2, size_t{999} * 12000));
  std::vector<std::byte> expected(layout.bytes());
  for (const WeightChunk& c : layout.chunks()) layout.pack(c, expected.data() + c.offset);
  WeightCacheWriter writer(FileDescriptor(::open((path + ".part").c_str(), O_RDWR | O_CREAT, 0600)), path);
  ASSERT_TRUE(writer.reserve(weight_file_bytes(layout), 0).ok());
  const GgufFile none;
  ASSERT_TRUE(writer.pack(none, layout, pool, nullptr).ok());
  const auto mapped = writer.map(layout);
  ASSERT_TRUE(mapped.ok()) << mapped.message();
  for (const WeightMatrix& m : layout.matrices())
    EXPECT_EQ(std::memcmp(mapped->data + m.offset, expected.data() + m.offset, m.bytes), 0) << m.name;
  EXPECT_FALSE(fs::exists(path));  // not before commit()
}

TEST(Checksum, ChangesWithEveryBitAndLength) {
  std::vector<std::byte> data(200, std::byte{0});
  const uint64_t zero = checksum(data);
  for (size_t bit = 0; bit < data.size() * 8; ++bit) {
    data[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_NE(checksum(data), zero) << bit;
    data[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  std::vector<uint64_t> lengths;
  for (size_t n = 0; n <= data.size(); ++n) lengths.push_back(checksum(std::span(data).first(n)));
  std::sort(lengths.begin(), lengths.end());
  EXPECT_EQ(std::adjacent_find(lengths.begin(), lengths.end()), lengths.end());
  // Pairs of flips of the highest bit in one lane must not cancel.
  data[7] ^= std::byte{0x80};
  data[71] ^= std::byte{0x80};
  EXPECT_NE(checksum(data), zero);
}

}  // namespace
}  // namespace smepilot
