// smetune: measures a machine, searches how it should run a model, and stores what it found.
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <sstream>

#include "kernels/base/help.h"
#include "kernels/base/text.h"
#include "kernels/registry/registry.h"
#include "kernels/registry/version.h"
#include "tuner/cli.h"

namespace smepilot {
namespace {

int run(int argc, char** argv) {
  Cli cli;
  for (int i = 0; i < argc; ++i) cli.command += (i > 0 ? " " : "") + std::string(argv[i]);
  cli.db_path = default_database_path();
  cli.app.name("smetune");
  cli.app.description("Measures this machine, searches how it should run a model, and keeps what it found.");
  cli.app.footer(
      "A session from nothing to a report:\n"
      "  smetune calibrate\n"
      "  smetune search --model model.gguf\n"
      "  smetune plan explain --model model.gguf --op ffn_down --m 1\n"
      "  smepilot-run -m model.gguf -i\n"
      "  smetune report -o report.html\n\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. SMEPILOT_FORCE_ISA=avx2\n"
      "(or portable, ...) restricts which kernels are used.");
  cli.app.set_version_flag("--version", [] {
    return fmt::format("{}, database schema {}", version_text("smetune"), Database::newest_schema());
  });
  cli.app.add_option("--db", cli.db_path, "Database file")->type_name("PATH")->capture_default_str();
  bool testbed = false;
  cli.app.add_flag("--testbed", testbed,
                   "Test bed: AVX-512 kernels on one worker play a\nmatrix unit, AVX2 kernels the vector cores");
  cli.app.require_subcommand(1);
  cli.app.get_formatter()->column_width(26);
  add_calibrate(cli);
  add_search(cli);
  add_plan(cli);
  add_baseline(cli);
  add_report(cli);
  add_db(cli);
  add_lists(cli);
  add_platforms(cli);
  add_simulate(cli);
  add_workload(cli);
  name_ranges(cli.app);
  try {
    cli.app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    std::ostringstream out, err;
    const int code = cli.app.exit(e, out, err);
    print_usage_error(cli.app, code, err.str());
    if (const Status written = print_out(narrow_help(out.str())); !written.ok()) return fail(written);
    return code == 0 ? kExitOk : kExitUsage;
  }
  if (testbed) {
    if (const Status status = enable_testbed(); !status.ok()) return fail(status);
  }
  return cli.action ? cli.action() : kExitUsage;
}

}  // namespace
}  // namespace smepilot

int main(int argc, char** argv) {
  try {
    return smepilot::run(argc, argv);
  } catch (const std::exception& e) {  // bad_alloc and the like: ours are Status
    fmt::print(stderr, "smetune: unexpected: {}\n", e.what());
    return smepilot::kExitFailed;
  }
}
