// The command line of smetune: one file per verb, each adds its options and an action to the program.
#pragma once
#include <CLI/CLI.hpp>
#include <atomic>
#include <functional>
#include <string>

#include "db/database.h"
#include "kernels/base/console.h"
#include "profiles/calibration.h"
#include "profiles/model_shape.h"
#include "profiles/platform.h"

namespace smepilot {

struct Cli {
  CLI::App app;
  std::string db_path;
  std::string command;          // the whole command line, for the database
  std::function<int()> action;  // of the verb that was given
};

void add_calibrate(Cli& cli);
void add_search(Cli& cli);
void add_plan(Cli& cli);
void add_explain(Cli& cli, CLI::App* plan);  // `plan explain`
void add_compare(Cli& cli, CLI::App* plan);  // `plan compare`
void add_baseline(Cli& cli);
void add_report(Cli& cli);
void add_db(Cli& cli);
void add_lists(Cli& cli);  // models, variants
void add_platforms(Cli& cli);
void add_simulate(Cli& cli);
void add_workload(Cli& cli);

// A verb: global options may follow it, examples end its help.
CLI::App* add_verb(CLI::App* parent, const std::string& name, const std::string& what, const std::string& examples);

// "smetune: MESSAGE" on standard error; returns kExitFailed.
int fail(const Status& status);

// Writes to standard output; the exit code, with a message if it could not be written. What was made on the test bed
// says so.
int print_and_exit(const std::string& text);

// A model by name, or from a profile (.json) or a GGUF file. `dtype` replaces a profile's weight type.
Result<ModelShape> load_model(const std::string& name_or_path, const std::string& dtype);

// The newest calibration of this platform. Error: none, with what to do.
Result<Calibration> need_calibration(Database& db, const Platform& platform);

}  // namespace smepilot
