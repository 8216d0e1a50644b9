#include "engine/smepilot.h"

#include <atomic>
#include <optional>
#include <utility>

#include "db/database.h"
#include "engine/generate.h"

namespace smepilot {

// On the heap, because the generator refers to the others.
struct TextModel::Parts {
  std::unique_ptr<Engine> engine;
  Tokenizer tokenizer;
  std::optional<Sampler> sampler;
  std::optional<Generator> generator;
};

TextModel::TextModel(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
TextModel::TextModel(TextModel&&) noexcept = default;
TextModel& TextModel::operator=(TextModel&&) noexcept = default;
TextModel::~TextModel() = default;

Result<TextModel> TextModel::load(const std::string& path, const LoadOptions& options) {
  EngineOptions engine;
  engine.model = path;
  engine.plan = plan_request(options.plan);
  engine.plan.database = options.database.empty() ? default_database_path() : options.database;
  engine.workers = options.workers;
  engine.context = options.context;
  if (options.weight_cache) engine.cache.folder = default_weight_cache_folder();
  auto parts = std::make_unique<Parts>();
  SMEPILOT_ASSIGN(parts->engine, Engine::open(engine));
  SMEPILOT_ASSIGN(parts->tokenizer, Tokenizer::from_gguf(parts->engine->gguf()));
  SMEPILOT_ASSIGN(parts->sampler, Sampler::create({}));
  SMEPILOT_ASSIGN(parts->generator, Generator::create(*parts->engine, parts->tokenizer, *parts->sampler));
  return TextModel(std::move(parts));
}

Result<Text> TextModel::generate(const std::string& prompt, const TextOptions& options, const OnText& on_text) {
  SamplerOptions sampling;
  sampling.temperature = options.temperature;
  sampling.seed = options.seed;
  SMEPILOT_ASSIGN(parts_->sampler, Sampler::create(sampling));
  std::atomic<bool> cancel = false;
  const Generator::OnText piece = [&](const std::string& text) {
    if (on_text && !on_text(text)) cancel.store(true);
  };
  GenerateOptions generate;
  generate.max_tokens = options.max_tokens;
  Result<Generated> generated = error("");
  if (options.chat) {
    SMEPILOT_ASSIGN(const ChatTemplate chat_template,
                    ChatTemplate::from_gguf(parts_->engine->gguf(), parts_->tokenizer));
    generated = Chat(*parts_->generator, chat_template, parts_->tokenizer, "").say(prompt, generate, piece, cancel);
  } else {
    SMEPILOT_ASSIGN(const std::vector<TokenId> tokens, parts_->tokenizer.encode(prompt, true, true));
    generated = parts_->generator->generate(tokens, generate, piece, cancel);
  }
  if (!generated.ok()) return generated.status();
  const auto rate = [](uint32_t tokens, double ns) { return ns > 0 ? tokens * 1e9 / ns : 0.0; };
  Text out;
  out.tokens = static_cast<uint32_t>(generated->tokens.size());
  out.text = std::move(generated->text);
  out.prompt_tokens_per_s = rate(generated->prompt_tokens, generated->prompt_ns);
  out.tokens_per_s = rate(out.tokens, generated->generate_ns);
  return out;
}

std::string TextModel::plan() const {
  return parts_->engine->plan().name();
}

const std::string& TextModel::notice() const {
  return parts_->engine->plan().notice;
}

}  // namespace smepilot
