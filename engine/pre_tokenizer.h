// Cuts text into the words within which byte-pair merges happen. Which cut a model was trained with is named by
// tokenizer.ggml.pre.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/status.h"

namespace smepilot {

class PreTokenizer {
 public:
  // llama-bpe (also llama3, llama-v3), qwen2 (also qwen3), smollm, gpt-2 (also gpt2) or default. Others are an error
  // that lists these.
  static Result<PreTokenizer> create(std::string_view name);
  PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // Appends the words of `text`, in order and without gaps. Runs of bytes that are not UTF-8 are words of their own.
  Status split(std::string_view text, std::vector<std::string_view>& words) const;

 private:
  struct Pattern;
  Status split_valid(size_t pattern, std::string_view text, std::vector<std::string_view>& words) const;
  std::vector<std::unique_ptr<Pattern>> patterns_;  // each cuts what the one before it left
};

}  // namespace smepilot
