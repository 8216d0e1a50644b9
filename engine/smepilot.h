// The C++ interface for programs that only want text from a model: load it with its plan, generate. Installed with
// kernels/base/status.h, the one project header that it needs; what is below the engine may change, this should not.
//
//   auto model = smepilot::TextModel::load("model.gguf");  // runs by the database's plan if one fits
//   if (!model.ok()) return std::fprintf(stderr, "%s\n", model.message().c_str()), 1;
//   auto answer = model->generate("Once upon a time", {.max_tokens = 64}, [](std::string_view piece) {
//     std::fwrite(piece.data(), 1, piece.size(), stdout);
//     return true;  // false ends the answer
//   });
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "kernels/base/status.h"

namespace smepilot {

struct LoadOptions {
  // auto: the database's if it fits, else untuned; db: the database's; none; roofline (the heuristic); or a plan file
  std::string plan = "auto";
  std::string database;      // "": the default one, which smetune writes
  unsigned workers = 0;      // 0: the plan's, or all physical cores
  uint32_t context = 0;      // positions of the KV cache, 0: the model's context, at most 4096
  bool weight_cache = true;  // keep packed weights on disk, so that the next start is fast
};

struct TextOptions {
  uint32_t max_tokens = 0;   // 0: until the model ends, or the context is full
  float temperature = 0.8f;  // 0: greedy
  uint64_t seed = 0;
  bool chat = false;  // the prompt is a user's message: apply the model's chat template
};

struct Text {
  std::string text;
  uint32_t tokens = 0;
  double prompt_tokens_per_s = 0, tokens_per_s = 0;
};

// Movable. One call at a time.
class TextModel {
 public:
  // Errors: no such file, not a model that is supported, too little memory; a plan that was asked for and is missing or
  // refused (the differing field is named).
  static Result<TextModel> load(const std::string& path, const LoadOptions& options = {});

  // Continues the prompt, or answers it. `on_text` gets whole UTF-8 characters as they come; it returns whether to go
  // on. What this prompt has in common with the one before is not evaluated again. Errors: an option out of range, a
  // prompt longer than the context, no usable chat template.
  using OnText = std::function<bool(std::string_view piece)>;
  Result<Text> generate(const std::string& prompt, const TextOptions& options = {}, const OnText& on_text = {});

  // What decides how operators run: "plan 3", "roofline", "untuned"; and what the user should know about it, or "".
  std::string plan() const;
  const std::string& notice() const;

  TextModel(TextModel&&) noexcept;
  TextModel& operator=(TextModel&&) noexcept;
  ~TextModel();

 private:
  struct Parts;
  explicit TextModel(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace smepilot
