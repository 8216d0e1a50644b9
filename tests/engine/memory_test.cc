// The refusal of runs that would not fit: what is available is read from files of the system's (here made up), what is
// needed is what the engine really takes, and the message has the numbers and the way out.
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/engine.h"
#include "engine/memory_budget.h"
#include "random_model.h"

namespace smepilot {
namespace {

using test::TempFolder;
using test::write_text;

class AvailableMemoryTest : public ::testing::Test {
 protected:
  void file(const std::string& path, const std::string& text) {
    const std::filesystem::path full = root_ / path;
    std::filesystem::create_directories(full.parent_path());
    write_text(full, text);
  }
  AvailableMemory read() { return available_memory(root_ / ""); }

  TempFolder root_;
};

TEST_F(AvailableMemoryTest, IsTheSystemsEstimate) {
  file("proc/meminfo", "MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:    500 kB\n");
  EXPECT_EQ(read().bytes, 500u * 1024);
  EXPECT_EQ(read().by, "free memory of the machine");
}

TEST_F(AvailableMemoryTest, IsBoundedByControlGroups) {
  file("proc/meminfo", "MemAvailable:    500 kB\n");
  file("proc/self/cgroup", "0::/outer/inner\n");
  file("sys/fs/cgroup/outer/inner/memory.max", "max\n");
  file("sys/fs/cgroup/outer/inner/memory.current", "1000\n");
  EXPECT_EQ(read().bytes, 500u * 1024);  // no limit
  file("sys/fs/cgroup/outer/memory.max", "100000\n");
  file("sys/fs/cgroup/outer/memory.current", "90000\n");
  file("sys/fs/cgroup/outer/memory.stat", "anon 5000\ninactive_file 20000\nactive_file 10000\n");
  EXPECT_EQ(read().bytes, 40000u);  // the page cache can be dropped
  EXPECT_NE(read().by.find("/outer"), std::string::npos);
  file("sys/fs/cgroup/outer/memory.current", "200000\n");
  EXPECT_EQ(read().bytes, 0u);
}

TEST_F(AvailableMemoryTest, IsBoundedByControlGroupsOfVersionOne) {
  file("proc/meminfo", "MemAvailable:    500 kB\n");
  file("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/job\n0::/\n");
  file("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "100000\n");
  file("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "70000\n");
  file("sys/fs/cgroup/memory/job/memory.stat", "cache 1\ntotal_inactive_file 1000\ntotal_active_file 2000\n");
  EXPECT_EQ(read().bytes, 33000u);
}

TEST_F(AvailableMemoryTest, UnreadableFilesLimitNothing) {
  file("proc/meminfo", "MemAvailable: x\nMemAvailable:\n");
  file("proc/self/cgroup", "nonsense\n0::relative\n:::\n");
  EXPECT_GE(read().bytes, uint64_t{1} << 40);  // unless ulimit -v says otherwise, which no test run does
}

TEST(MemoryOfThisMachine, IsKnown) {
  EXPECT_NE(available_memory().by, "");
}

class MemoryRefusal : public ::testing::Test {
 protected:
  void SetUp() override {
    test::write_model(test::random_model("qwen3moe", DType::kQ8_0), model_);
    options_.model = model_;
    options_.plan.mode = PlanMode::kNone;
    options_.workers = 1;
  }
  TempFolder folder_;
  const std::string model_ = folder_ / "model.gguf";
  EngineOptions options_;
};

TEST_F(MemoryRefusal, RefusesWithTheNumbersAndRunsWhenForced) {
  options_.available = AvailableMemory{1'000'000, "the test"};
  const auto refused = Engine::open(options_);
  ASSERT_FALSE(refused.ok());
  for (const char* part :
       {"not enough memory", "packed weights", "KV cache", "0.00 GB are available (the test)", "--force-memory"})
    EXPECT_NE(refused.message().find(part), std::string::npos) << refused.message();
  options_.force_memory = true;
  EXPECT_TRUE(Engine::open(options_).ok());
  options_.force_memory = false;
  options_.available = AvailableMemory{};
  EXPECT_TRUE(Engine::open(options_).ok());
}

// A model of the size of Llama 3.2 3B.
HyperParameters large() {
  HyperParameters hp;
  hp.layers = 28;
  hp.embedding = 3072;
  hp.heads = 24;
  hp.kv_heads = 8;
  hp.head_dim = hp.rope_dims = 128;
  hp.feed_forward = 8192;
  hp.vocab = 128256;
  hp.context = 131072;
  return hp;
}

TEST(MemoryNeeded, AdvisesWhatWouldFit) {
  const HyperParameters hp = large();
  MemoryRequest r{2'000'000'000, 65536, 1, 512, 2, DType::kF16};
  const MemoryNeed need = memory_need(hp, r);
  EXPECT_EQ(need.kv_cache, 2ull * 28 * 8 * 65536 * 128 * 2);
  EXPECT_TRUE(check_memory(hp, r, {need.total(), "x"}).ok());
  const Status little = check_memory(hp, r, {need.total() - 1, "x"});
  ASSERT_FALSE(little.ok());
  EXPECT_NE(little.message().find("q8_0"), std::string::npos) << little.message();
  EXPECT_NE(little.message().find("--ctx"), std::string::npos) << little.message();
  // The context it names does fit, and not much more does.
  const uint64_t available = need.total() / 2;
  const std::string text = check_memory(hp, r, {available, "x"}).message();
  const size_t at = text.find("at most ");
  ASSERT_NE(at, std::string::npos) << text;
  r.context = static_cast<uint32_t>(std::stoul(text.substr(at + 8)));
  EXPECT_TRUE(check_memory(hp, r, {available, "x"}).ok()) << text;
  r.context += r.context / 8;
  EXPECT_FALSE(check_memory(hp, r, {available, "x"}).ok()) << text;
  // Where the weights alone do not fit, no context helps.
  EXPECT_EQ(check_memory(hp, r, {1'000'000'000, "x"}).message().find("--ctx"), std::string::npos);
}

TEST_F(MemoryRefusal, NeedIsWhatTheEngineTakes) {
  for (const char* architecture : {"llama", "qwen3moe"}) {
    test::write_model(test::random_model(architecture, DType::kQ8_0), model_);
    options_.sequences = 3;
    options_.ubatch = 64;
    const auto engine = Engine::open(options_);
    ASSERT_TRUE(engine.ok()) << engine.message();
    const Engine& e = **engine;
    const MemoryRequest r{e.weights().packed_bytes(), e.context(), 3, 64, 1, DType::kF16};
    const MemoryNeed need = memory_need(e.file().hyper, r);
    const auto cache = e.new_cache();
    ASSERT_TRUE(cache.ok());
    EXPECT_EQ(need.logits, uint64_t{3} * e.vocab() * 4);
    const double scratch = static_cast<double>(need.scratch) - (128 << 20);
    const double taken = static_cast<double>(e.scratch_bytes());
    EXPECT_GE(scratch * 1.1, taken) << architecture;  // alignment of small pieces aside
    EXPECT_LE(scratch, taken * 1.3) << architecture;
  }
}

}  // namespace
}  // namespace smepilot
