// report: runs the Python generator on the database.
#include <fmt/format.h>

#include <csignal>
#include <cstring>

#include "tuner/cli.h"
#include "tuner/cli_python.h"

namespace smepilot {
namespace {

constexpr const char* kPackage = "smepilot_report";
constexpr int kExitRegression = 3;  // of --compare, as the generator has it

struct Options {
  std::string out;  // empty: what suits the format
  std::string format = "html";
  std::string model;
  std::string trace, stats;          // files of smepilot-run
  int64_t plan = 0;                  // 0: the newest
  std::vector<std::string> compare;  // two databases
  double threshold_percent = 5;
};

int report_verb(const Cli& cli, const Options& o, const std::vector<std::string>& extra) {
  if (o.compare.empty()) {  // a clear message from here rather than a traceback from there
    auto db = Database::open(cli.db_path, OpenMode::kReadOnly);
    if (!db.ok()) return fail(db.status());
  }
  std::vector<std::string> args = {"--format", o.format};
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) args.insert(args.end(), {option, value});
  };
  if (o.compare.empty()) {
    add("--db", cli.db_path);
  } else {
    args.insert(args.end(), {"--compare", o.compare[0], o.compare[1]});
    add("--threshold", fmt::format("{}", o.threshold_percent));
  }
  add("--out", o.out);
  add("--model", o.model);
  add("--trace", o.trace);
  add("--stats", o.stats);
  add("--plan", o.plan != 0 ? std::to_string(o.plan) : "");
  args.insert(args.end(), extra.begin(), extra.end());
  const Result<PythonEnd> end = run_python(kPackage, args);
  if (!end.ok()) return fail(end.status());
  if (end->signal != 0) {
    const int code =
        fail(error("the report generator was ended by signal {} ({})", end->signal, strsignal(end->signal)));
    return end->signal == SIGINT ? kExitInterrupted : code;
  }
  if (!o.compare.empty() && end->code == kExitRegression) return kExitRegression;
  if (end->code == kExitFailed) return kExitFailed;  // it has said why
  if (end->code != 0)
    return fail(error("the report generator ({} -m {}) failed with exit code {}; what it said is above",
                      end->interpreter, kPackage, end->code));
  return kExitOk;
}

}  // namespace

void add_report(Cli& cli) {
  CLI::App* verb =
      add_verb(&cli.app, "report", "Write a report of the database: a self-contained HTML page, Markdown or JSON",
               "  smetune report -o report.html\n"
               "  smetune report --format md                 to the terminal, or for a pull request\n"
               "  smetune report --format json | jq .summary.sentence\n"
               "  smetune report --compare before.db after.db --format md --threshold 3\n"
               "--compare ends with exit code 3 if something regressed by more than the threshold, and by more than\n"
               "noise explains. A plan other than the newest is named as in before.db:7.\n"
               "Needs Python 3, for HTML with matplotlib and jinja2; SMEPILOT_PYTHON names another interpreter.\n"
               "Options after -- go to the generator.");
  auto o = std::make_shared<Options>();
  verb->add_option("-o,--out", o->out, "File to write, - for standard output (default: report.html for html, else -)");
  verb->add_option("--format", o->format, "html, md or json")
      ->check(CLI::IsMember({"html", "md", "json"}))
      ->capture_default_str();
  verb->add_option("--trace", o->trace, "Timeline that smepilot-run --trace FILE wrote");
  verb->add_option("--stats", o->stats, "What smepilot-run --stats --json printed");
  verb->add_option("--model", o->model, "Only this model (name or hash as in the database)");
  CLI::Option* const compare =
      verb->add_option("--compare", o->compare, "Compare two databases, instead of a report of one")
          ->expected(2)
          ->type_name("A B");
  verb->add_option("--threshold", o->threshold_percent, "Percent that a measurement may regress in --compare")
      ->check(CLI::Range(0.0, 99.9))
      ->needs(compare)
      ->capture_default_str();
  verb->add_option("--plan", o->plan, "This plan instead of the newest (see smetune plan list)")
      ->check(CLI::PositiveNumber)
      ->excludes(compare);
  auto extra = std::make_shared<std::vector<std::string>>();
  verb->add_option("OPTIONS", *extra, "Passed to the generator");
  verb->callback([&cli, o, extra] { cli.action = [&cli, o, extra] { return report_verb(cli, *o, *extra); }; });
}

}  // namespace smepilot
