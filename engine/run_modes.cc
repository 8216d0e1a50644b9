#include "engine/run_modes.h"

#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <random>

#include "engine/generate_batch.h"
#include "engine/run_session.h"
#include "kernels/base/text.h"

namespace smepilot {
namespace {

bool terminal(int fd) {
  return ::isatty(fd) != 0;
}

// --n-predict of a mode that generates text.
Status read_length(RunOptions& options) {
  if (options.n.empty()) return {};
  SMEPILOT_ASSIGN(options.generate.max_tokens, parse_count(options.n, "--n-predict"));
  return {};
}

std::string summary(const Engine& engine, const Generated& g) {
  return fmt::format("[prompt {}{}; generated {}; {}, {} workers; measured]", rate(g.prompt_tokens, g.prompt_ns),
                     g.reused_tokens != 0 ? fmt::format(" (+{} cached)", g.reused_tokens) : "",
                     rate(static_cast<uint32_t>(g.tokens.size()), g.generate_ns), plan_name(engine), engine.workers());
}

Result<Sampler> make_sampler(RunOptions& options) {
  if (options.random_seed) options.sampler.seed = std::random_device{}();
  return Sampler::create(options.sampler);
}

// The conversation's parts, opened together because they refer to each other.
struct Speaker {
  Tokenizer tokenizer;
  std::optional<Sampler> sampler;
  std::optional<ChatTemplate> chat_template;
  std::optional<Generator> generator;
};

Result<std::unique_ptr<Speaker>> make_speaker(RunOptions& options, Engine& engine, bool chat) {
  auto s = std::make_unique<Speaker>();
  SMEPILOT_ASSIGN(s->tokenizer, Tokenizer::from_gguf(engine.gguf()));
  for (const std::string& warning : s->tokenizer.warnings()) note(warning);
  SMEPILOT_ASSIGN(s->sampler, make_sampler(options));
  if (chat) {
    SMEPILOT_ASSIGN(s->chat_template, ChatTemplate::from_gguf(engine.gguf(), s->tokenizer));
    note(s->chat_template->note());
  }
  SMEPILOT_ASSIGN(s->generator, Generator::create(engine, s->tokenizer, *s->sampler));
  return s;
}

void explain_stop(const Engine& engine, const Generated& g) {
  if (g.reason == StopReason::kContextFull)
    note(fmt::format("stopped: the context of {} tokens is full (--ctx sets it)", engine.context()));
}

// The texts one after the other, under headings that name prompt and seed.
std::string batch_text(const BatchGenerated& all, std::span<const std::string> prompts,
                       std::span<const uint64_t> seeds) {
  std::string out;
  for (size_t i = 0; i < all.texts.size(); ++i) {
    const Generated& g = all.texts[i];
    const char* const why = g.reason == StopReason::kEnd           ? "ended"
                            : g.reason == StopReason::kLength      ? "length reached"
                            : g.reason == StopReason::kContextFull ? "context full"
                                                                   : "interrupted";
    out += fmt::format("=== {} of {}: seed {}, {} tokens, {}\n{}{}\n", i + 1, all.texts.size(), seeds[i],
                       g.tokens.size(), why, prompts[i], g.text);
  }
  return out;
}

}  // namespace

int run_batch_mode(RunOptions& options) {
  if (const Status bad = read_length(options); !bad.ok()) return fail(bad), kExitUsage;
  Result<std::string> first = read_prompt(options);
  if (!first.ok()) return fail(first.status());
  // One text of each prompt, or many of one prompt.
  std::vector<std::string> prompts = options.prompts;
  if (prompts.size() < 2) prompts.assign(options.batch, *first);
  options.engine.sequences = static_cast<uint32_t>(prompts.size());
  Result<Session> session = open_session(options);
  if (!session.ok()) return fail(session.status());
  Engine& engine = *session->engine;
  Result<Tokenizer> tokenizer = Tokenizer::from_gguf(engine.gguf());
  if (!tokenizer.ok()) return fail(tokenizer.status());
  for (const std::string& warning : tokenizer->warnings()) note(warning);
  std::optional<ChatTemplate> chat;
  if (options.chat) {
    Result<ChatTemplate> read = ChatTemplate::from_gguf(engine.gguf(), *tokenizer);
    if (!read.ok()) return fail(read.status());
    chat = std::move(read).value();
    note(chat->note());
  }

  if (options.random_seed) options.sampler.seed = std::random_device{}();
  std::vector<Sampler> samplers;
  std::vector<uint64_t> seeds;
  std::vector<BatchText> texts(prompts.size());
  samplers.reserve(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    Result<std::vector<TokenId>> tokens = error("");
    if (chat) {
      std::vector<ChatMessage> messages;
      if (!options.system.empty()) messages.push_back({"system", options.system});
      messages.push_back({"user", prompts[i]});
      Result<std::string> rendered = chat->render(messages);
      if (!rendered.ok()) return fail(rendered.status());
      tokens = tokenizer->encode_prompt(*rendered);
    } else {
      tokens = tokenizer->encode(prompts[i], true, true);
    }
    if (!tokens.ok()) return fail(tokens.status());
    SamplerOptions sampling = options.sampler;
    sampling.seed += i;
    Result<Sampler> sampler = Sampler::create(sampling);
    if (!sampler.ok()) return fail(sampler.status());
    samplers.push_back(std::move(sampler).value());
    seeds.push_back(sampling.seed);
    texts[i] = {std::move(tokens).value(), &samplers.back()};
  }

  const std::atomic<bool>& cancel = *session->cancel;
  ProgressLine line;
  const uint32_t most = options.generate.max_tokens != 0 ? options.generate.max_tokens : engine.context();
  Result<BatchGenerated> generated = generate_batch(
      engine, *tokenizer, texts, options.generate,
      [&](uint32_t tokens) { line.update(double{1} * tokens / most, "generating", -1); }, cancel);
  line.clear();
  if (!generated.ok()) return fail(generated.status());
  if (options.chat)
    for (std::string& prompt : prompts) prompt.clear();  // the answers alone, as in a chat
  if (const Status written = print_out(batch_text(*generated, prompts, seeds)); !written.ok()) return fail(written);
  if (options.stats || terminal(STDERR_FILENO))
    fmt::print(stderr, "[prompts {} ({} shared by all); {} sequences together: {}; {}, {} workers; measured]\n",
               rate(generated->prompt_tokens, generated->prompt_ns), generated->shared_tokens, texts.size(),
               rate(generated->generated_tokens, generated->generate_ns), plan_name(engine), engine.workers());
  const int code = finish_session(options, *session);
  return cancel.load() ? kExitInterrupted : code;
}

int run_generate_mode(RunOptions& options) {
  if (const Status bad = read_length(options); !bad.ok()) return fail(bad), kExitUsage;
  Result<std::string> prompt = read_prompt(options);
  if (!prompt.ok()) return fail(prompt.status());
  Result<Session> session = open_session(options);
  if (!session.ok()) return fail(session.status());
  Engine& engine = *session->engine;
  Result<std::unique_ptr<Speaker>> made = make_speaker(options, engine, options.chat);
  if (!made.ok()) return fail(made.status());
  Speaker& speaker = **made;

  const std::atomic<bool>& cancel = *session->cancel;
  Status written;
  const Generator::OnText on_text = [&](const std::string& piece) {
    if (written.ok()) written = print_out(piece);
  };
  Result<Generated> generated = error("");
  if (options.chat) {
    generated = Chat(*speaker.generator, *speaker.chat_template, speaker.tokenizer, options.system)
                    .say(*prompt, options.generate, on_text, cancel);
  } else {
    Result<std::vector<TokenId>> tokens = speaker.tokenizer.encode(*prompt, true, true);
    if (!tokens.ok()) return fail(tokens.status());
    on_text(*prompt);
    generated = speaker.generator->generate(*tokens, options.generate, on_text, cancel);
  }
  if (!generated.ok()) return fail(generated.status());
  on_text("\n");
  if (!written.ok()) return fail(written);
  explain_stop(engine, *generated);
  if (options.stats || terminal(STDERR_FILENO)) fmt::print(stderr, "{}\n", summary(engine, *generated));
  const int code = finish_session(options, *session);
  return generated->reason == StopReason::kCancelled ? kExitInterrupted : code;
}

int run_chat_mode(RunOptions& options) {
  if (const Status bad = read_length(options); !bad.ok()) return fail(bad), kExitUsage;
  Result<Session> session = open_session(options);
  if (!session.ok()) return fail(session.status());
  Engine& engine = *session->engine;
  Result<std::unique_ptr<Speaker>> made = make_speaker(options, engine, true);
  if (!made.ok()) return fail(made.status());
  Speaker& speaker = **made;
  Chat chat(*speaker.generator, *speaker.chat_template, speaker.tokenizer, options.system);

  std::atomic<bool>& cancel = *session->cancel;
  const bool human = terminal(STDIN_FILENO);
  if (human)
    fmt::print(stderr, "Chat with {}. Ctrl-C stops an answer; /clear forgets, /exit or Ctrl-D ends.\n",
               engine.file().hyper.name);
  Status written;
  const Generator::OnText on_text = [&](const std::string& piece) {
    if (written.ok()) written = print_out(piece);
  };
  std::string first = options.prompts.empty() ? "" : options.prompts[0];  // -p is the first message
  for (std::string line;;) {
    if (!first.empty()) {
      line = std::exchange(first, {});
    } else {
      if (human) fmt::print(stderr, "\n> ");
      if (!std::getline(std::cin, line)) break;
    }
    if (cancel.load()) break;
    if (line.empty()) continue;
    if (line == "/exit" || line == "/quit") break;
    if (line == "/clear") {
      chat.clear();
      continue;
    }
    if (line == "/help" || line == "/?") {
      fmt::print(stderr, "/clear  forget the conversation\n/exit   end (also Ctrl-D)\n");
      continue;
    }
    Result<Generated> answer = chat.say(line, options.generate, on_text, cancel);
    if (!answer.ok()) {
      fail(answer.status());
      if (!human) return kExitFailed;
      continue;
    }
    on_text("\n");
    if (!written.ok()) return fail(written);
    explain_stop(engine, *answer);
    if (human) fmt::print(stderr, "{}\n", summary(engine, *answer));
    if (answer->reason == StopReason::kCancelled) {
      if (!human) {
        finish_session(options, *session);
        return kExitInterrupted;
      }
      cancel.store(false);
    }
  }
  return finish_session(options, *session);
}

}  // namespace smepilot
