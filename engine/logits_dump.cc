#include "engine/logits_dump.h"

#include <algorithm>

#include "kernels/base/atomic_file.h"

namespace smepilot {
namespace {

int32_t argmax(std::span<const float> row) {
  return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

}  // namespace

Result<std::vector<int32_t>> dump_logits(Engine& engine, const std::vector<int32_t>& prompt, uint32_t n,
                                         const std::string& path, const std::atomic<bool>& cancel) {
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
  SMEPILOT_ASSIGN(std::span<const float> logits, engine.evaluate(prompt, cache, Transformer::Logits::kAll, &cancel));
  for (size_t i = 0; i < prompt.size(); ++i) put(prompt[i], logits.subspan(i * vocab, vocab));
  logits = logits.last(vocab);
  for (uint32_t i = 0; i < n; ++i) {
    const int32_t token = argmax(logits);
    tokens.push_back(token);
    if (i + 1 == n) break;
    SMEPILOT_ASSIGN(logits, engine.evaluate({&token, 1}, cache, Transformer::Logits::kLast, &cancel));
    put(token, logits);
  }
  SMEPILOT_TRY(file.commit());
  return tokens;
}

}  // namespace smepilot
