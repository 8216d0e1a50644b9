#include "engine/logits_dump.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace smepilot {
namespace {

// Writes to PATH.tmp and renames, so that an interrupted run leaves no half file behind.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path) : path_(std::move(path)), temporary_(path_ + ".tmp") {
    file_ = std::fopen(temporary_.c_str(), "wb");
    if (file_ == nullptr) fail("open");
  }
  ~AtomicFile() {
    if (file_ == nullptr) return;
    std::fclose(file_);
    std::remove(temporary_.c_str());
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes) {
    if (status_.ok() && std::fwrite(data, 1, bytes, file_) != bytes) fail("write");
  }
  Status commit() {
    if (file_ == nullptr) return status_;
    if (std::fclose(file_) != 0) fail("write");
    file_ = nullptr;
    if (status_.ok() && std::rename(temporary_.c_str(), path_.c_str()) != 0) fail("rename");
    if (!status_.ok()) std::remove(temporary_.c_str());
    return status_;
  }
  const Status& status() const { return status_; }

 private:
  void fail(const char* what) {
    if (status_.ok()) status_ = error("{}: cannot {}: {}", path_, what, std::strerror(errno));
  }
  std::string path_, temporary_;
  std::FILE* file_ = nullptr;
  Status status_;
};

int32_t argmax(std::span<const float> row) {
  return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

}  // namespace

Result<std::vector<int32_t>> dump_logits(Engine& engine, const std::vector<int32_t>& prompt, uint32_t n,
                                         const std::string& path) {
  if (prompt.empty()) return error("--dump-logits needs a prompt");
  SMEPILOT_ASSIGN(KvCache cache, engine.new_cache());
  const size_t vocab = engine.vocab(), rows = prompt.size() + std::max(n, 1u) - 1;
  AtomicFile file(path);
  SMEPILOT_TRY(file.status());
  const auto put = [&](int32_t token, std::span<const float> row) {
    file.write(&token, sizeof token);
    file.write(row.data(), row.size_bytes());
  };
  const int32_t header[] = {static_cast<int32_t>(vocab), static_cast<int32_t>(rows)};
  file.write(header, sizeof header);

  std::vector<int32_t> tokens = prompt;
  SMEPILOT_ASSIGN(std::span<const float> logits, engine.evaluate(prompt, cache, Transformer::Logits::kAll));
  for (size_t i = 0; i < prompt.size(); ++i) put(prompt[i], logits.subspan(i * vocab, vocab));
  logits = logits.last(vocab);
  for (uint32_t i = 0; i < n; ++i) {
    const int32_t token = argmax(logits);
    tokens.push_back(token);
    if (i + 1 == n) break;
    SMEPILOT_ASSIGN(logits, engine.evaluate({&token, 1}, cache));
    put(token, logits);
  }
  SMEPILOT_TRY(file.commit());
  return tokens;
}

}  // namespace smepilot
