// The modes of smepilot-run. Each opens the engine, does its work, prints, and returns the exit code.
#pragma once
#include <string>

#include "engine/engine.h"
#include "engine/generate.h"
#include "engine/sampler.h"

namespace smepilot {

struct RunOptions {
  EngineOptions engine;
  SamplerOptions sampler;
  GenerateOptions generate;
  bool random_seed = true;  // no seed was given
  std::string command;      // the whole command line, for the database
  std::string prompt, prompt_file, system;
  std::string n;  // tokens to generate; with --bench a list
  bool chat = false, interactive = false;
  bool stats = false, json = false;
  std::string dump_logits;  // file
  unsigned repetitions = 5;
  uint32_t depth = 0;
  std::string output = "md";
  bool record = false;
};

int run_generate_mode(RunOptions& options);  // -p, -f
int run_chat_mode(RunOptions& options);      // -i
int run_bench_mode(RunOptions& options);     // --bench
int run_dump_mode(RunOptions& options);      // --dump-logits

}  // namespace smepilot
