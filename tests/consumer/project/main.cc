// usage: consumer MODEL PROMPT TOKENS: prints the greedy continuation, piece by piece, and what was in use.
#include <engine/smepilot.h>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  auto model = smepilot::TextModel::load(argv[1], {.weight_cache = false});
  if (!model.ok()) return std::fprintf(stderr, "%s\n", model.message().c_str()), 1;
  smepilot::TextOptions options;
  options.max_tokens = static_cast<uint32_t>(std::atoi(argv[3]));
  options.temperature = 0;
  auto answer = model->generate(argv[2], options, [](std::string_view piece) {
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    return true;
  });
  if (!answer.ok()) return std::fprintf(stderr, "%s\n", answer.message().c_str()), 1;
  // Stopped by the callback: one piece at most, whatever the length.
  int pieces = 0;
  auto stopped = model->generate(argv[2], options, [&](std::string_view) { return ++pieces < 2; });
  std::fprintf(stderr, "tokens %u, plan %s, stopped after %d pieces\n", answer->tokens, model->plan().c_str(), pieces);
  return stopped.ok() && pieces <= 2 ? 0 : 1;
}
