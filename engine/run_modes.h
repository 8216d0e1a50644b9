// The modes of smepilot-run. Each opens the engine, does its work, prints, and returns the exit code.
#pragma once
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/generate.h"
#include "engine/sampler.h"

namespace smepilot {

struct RunOptions {
  EngineOptions engine;
  SamplerOptions sampler;
  GenerateOptions generate;
  bool random_seed = true;           // no seed was given
  std::string command;               // the whole command line, for the database
  std::vector<std::string> prompts;  // with --bench lists of lengths
  std::string prompt_file, system;
  std::string n;  // tokens to generate; with --bench a list
  bool chat = false, interactive = false;
  bool stats = false, json = false;
  std::string trace;        // --trace: file
  bool adapt = false;       // --adapt
  std::string adapt_log;    // --adapt-log: file
  bool learn = false;       // --learn
  std::string batch_list;   // --batch: sequences together; with --bench a list
  uint32_t batch = 1;       // of a mode that generates text
  std::string dump_logits;  // file
  std::string perplexity;   // file of text
  unsigned repetitions = 5;
  std::vector<std::string> both;  // --pg: tokens of a prompt and of its generation
  uint32_t depth = 0;
  std::string output = "md";
  bool record = false;
  std::string cache_action;  // --cache: list or clear
};

int run_generate_mode(RunOptions& options);     // -p, -f
int run_batch_mode(RunOptions& options);        // -p with --batch, or several -p
int run_chat_mode(RunOptions& options);         // -i
int run_bench_mode(RunOptions& options);        // --bench
int run_perplexity_mode(RunOptions& options);   // --perplexity
int run_dump_mode(RunOptions& options);         // --dump-logits
int run_cache_mode(const RunOptions& options);  // --cache

}  // namespace smepilot
