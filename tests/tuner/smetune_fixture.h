// Runs the smetune program, with a database and a model of its own.
#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "db/calibration_store.h"
#include "db/session_store.h"
#include "kernels/isa/isa_detect.h"
#include "profiles/platform.h"

namespace smepilot {

namespace fs = std::filesystem;

inline std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline void write_file(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

struct Ran {
  int code = -1;  // exit code, or 128 + signal
  std::string out, err;
};

class SmetuneTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "smetune-test-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    db_ = folder_ / "t.db";
  }
  void TearDown() override { fs::remove_all(folder_); }

  pid_t start(std::vector<std::string> args, const std::vector<std::string>& env = {}) {
    args.insert(args.begin(), SMEPILOT_SMETUNE);
    std::istringstream emulator(SMEPILOT_EMULATOR);  // "qemu-aarch64|-L|/path", or nothing
    std::vector<std::string> all;
    for (std::string part; std::getline(emulator, part, '|');)
      if (!part.empty()) all.push_back(part);
    all.insert(all.end(), args.begin(), args.end());
    const pid_t child = fork();
    if (child != 0) return child;
    const int out = open((folder_ / "out").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int err = open((folder_ / "err").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(out, 1);
    dup2(err, 2);
    setenv("XDG_DATA_HOME", folder_.c_str(), 1);
    for (const std::string& e : env) putenv(const_cast<char*>(e.c_str()));  // NOLINT: the child ends with exec
    std::vector<char*> argv;
    for (std::string& a : all) argv.push_back(a.data());
    argv.push_back(nullptr);
    execvp(argv[0], argv.data());
    _exit(126);
  }

  Ran wait(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    Ran r;
    r.code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    r.out = read_file(folder_ / "out");
    r.err = read_file(folder_ / "err");
    return r;
  }

  Ran smetune(std::vector<std::string> args, const std::vector<std::string>& env = {}) {
    return wait(start(std::move(args), env));
  }
  Ran with_db(std::vector<std::string> args) {
    args.insert(args.end(), {"--db", db_.string()});
    return smetune(std::move(args));
  }

  // A calibration of this machine with plain numbers: measuring one takes longer than all of these tests.
  void store_calibration(const std::string& matrix_unit = "") {
    Platform platform = std::move(detect_platform()).value();
    Calibration c;
    if (!matrix_unit.empty()) {
      platform.matrix_unit = matrix_unit;
      platform.matrix_units = 1;
      for (const char* isa : {"avx512", "avx512vnni"})
        for (const char* dtype : {"f32", "int8"})
          c.peaks.push_back({ExecutionUnit::kMatrix, dtype, isa, 1, 100, {100}});
    }
    for (const IsaName& isa : kIsaNames)
      for (const char* dtype : {"f32", "int8"})
        for (unsigned w = 1; w <= platform.cpus; ++w)
          c.peaks.push_back(
              {ExecutionUnit::kCpu, dtype, isa.name, w, (isa.isa == kIsaPortable ? 10.0 : 50.0) * w, {50.0 * w}});
    for (const char* level : {"L1", "L2", "LLC", "DRAM"})
      for (unsigned w = 1; w <= platform.cpus; ++w)
        c.bandwidths.push_back({level, "read", w, 1 << 20, 10.0 * w, {10.0 * w}});
    c.fork_join = {{1, 10, {10}}, {2, 500, {500}}};
    c.noise_floor = 0.02;
    auto db = Database::open(db_.string());
    ASSERT_TRUE(db.ok()) << db.message();
    auto session = SessionStore(*db).begin(platform, "test");
    ASSERT_TRUE(session.ok()) << session.message();
    auto id = CalibrationStore(*db).save(session->id, c);
    ASSERT_TRUE(id.ok()) << id.message();
  }

  // A model profile of one layer with the given sizes.
  std::string tiny_model(int embedding = 64, int feed_forward = 96) {
    constexpr int kVocab = 320, kLayers = 2, kHeads = 2, kHeadDim = 32;
    const int layer =
        2 * embedding * kHeads * kHeadDim + 2 * embedding * kHeadDim + 3 * embedding * feed_forward + 2 * embedding;
    const int parameters = kVocab * embedding + kLayers * layer + embedding;
    const fs::path path = folder_ / "tiny.json";
    write_file(path, R"({"schema": "smepilot-model/1", "name": "tiny", "architecture": "llama", "source": "test",
      "parameters": )" + std::to_string(parameters) +
                         R"(, "weights": "q8_0", "layers": 2, "embedding": )" + std::to_string(embedding) +
                         R"(, "heads": 2, "kv_heads": 1, "head_dim": 32, "feed_forward": )" +
                         std::to_string(feed_forward) +
                         R"(, "vocab": 320, "context": 256, "rope_base": 10000, "tied_output": true})");
    return path.string();
  }

  fs::path folder_, db_;
};

}  // namespace smepilot
