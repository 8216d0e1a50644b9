// What the modes of smepilot-run have in common: opening the engine with its progress shown, reading the options that
// are text, and printing what ran.
#pragma once
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "engine/run_modes.h"
#include "kernels/base/console.h"

namespace smepilot {

// The engine and what every mode needs beside it.
struct Session {
  std::unique_ptr<Engine> engine;
  std::atomic<bool>* cancel = nullptr;  // an interrupt sets it
  double load_seconds = 0;              // from the start until it could take the first token
  std::unique_ptr<Stats> stats;
  std::unique_ptr<Adaptation> adaptation;  // nullptr: without --adapt
  std::shared_ptr<std::FILE> adapt_log;    // likewise without --adapt-log
};

// Says on standard error what the user should know about the plan and the file. While it loads, an interrupt ends the
// program; from the first thing on that would be lost by it, it sets `cancel`.
Result<Session> open_session(const RunOptions& options);

// Prints the error; returns the exit code.
int fail(const Status& status);
// A line on standard error; nothing if `text` is empty.
void note(const std::string& text);

// "512" or "128,512"; "" and "0" mean none.
Result<std::vector<uint32_t>> parse_counts(const std::string& text, const char* option);
Result<uint32_t> parse_count(const std::string& text, const char* option);

// A file's bytes; "-": standard input.
Result<std::string> read_text_file(const std::string& path);
// The one prompt, from -p or -f.
Result<std::string> read_prompt(const RunOptions& options);

// "64 tokens, 31.2 tokens/s"
std::string rate(uint32_t tokens, double ns);
// "plan 3", "untuned, mode coop, test bed"
std::string plan_name(const Engine& engine);

// A JSON object of what loading took, where the weights came from, and memory in bytes; the peak is until now.
std::string load_json(const Session& session);

// Writes what --trace asked for, and prints what --stats did. Returns the exit code.
int finish_session(const RunOptions& options, const Session& session);

}  // namespace smepilot
