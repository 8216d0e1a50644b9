// db check|info|merge|prune|export.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "db/check.h"
#include "db/merge.h"
#include "db/plan_store.h"
#include "db/prune.h"
#include "db/session_store.h"
#include "kernels/base/text.h"
#include "tuner/cli.h"
#include "tuner/cli_python.h"

namespace smepilot {
namespace {

int db_check(const Cli& cli, bool json) {
  auto report = check_database(cli.db_path);
  if (!report.ok()) return fail(report.status());
  std::string out;
  if (json) {
    nlohmann::ordered_json j{
        {"path", cli.db_path}, {"schema", report->schema}, {"ok", report->ok()}, {"problems", report->problems}};
    for (const auto& [table, rows] : report->rows) j["rows"][table] = rows;
    out = j.dump(2) + "\n";
  } else {
    Table t({{"table"}, {"rows", Table::Align::kRight}});
    for (const auto& [table, rows] : report->rows) t.add({table, fmt::format("{}", rows)});
    out = fmt::format("{}, schema {}\n\n{}\n", cli.db_path, report->schema, t.text());
    for (const std::string& p : report->problems) out += "damaged: " + p + "\n";
    if (report->ok()) out += "No problems found.\n";
  }
  const int code = print_and_exit(out);
  return code != kExitOk || report->ok() ? code : kExitFailed;
}

int db_migrate(const Cli& cli) {
  std::error_code ec;
  const bool exists = std::filesystem::exists(cli.db_path, ec);
  const auto db = Database::open(cli.db_path, exists ? OpenMode::kReadWriteCreate : OpenMode::kReadOnly);
  if (!db.ok()) return fail(db.status());
  return print_and_exit(fmt::format("{} has schema {}, that of this build.\n", cli.db_path, Database::newest_schema()));
}

struct ExportOptions {
  std::string folder, format = "csv";
  std::vector<std::string> tables;
};

// By the Python package, which has a library for it, or says that it has not.
int export_parquet(const Cli& cli, const ExportOptions& o) {
  auto tables = tables_to_export(cli.db_path, o.tables);
  if (!tables.ok()) return fail(tables.status());
  std::error_code ec;
  std::filesystem::create_directories(o.folder, ec);
  if (ec) return fail(error("{}: cannot make the folder: {}", o.folder, ec.message()));
  std::vector<std::string> arguments = {cli.db_path, o.folder};
  arguments.insert(arguments.end(), tables->begin(), tables->end());
  const Result<PythonEnd> end = run_python("smepilot_report.parquet", arguments);
  if (!end.ok()) return fail(end.status());
  if (end->signal != 0) return fail(error("the export was ended by signal {}", end->signal));
  return end->code == 0 ? kExitOk : kExitFailed;  // it said why
}

int db_export(const Cli& cli, const ExportOptions& o) {
  if (o.format == "parquet") return export_parquet(cli, o);
  auto files = export_csv(cli.db_path, o.folder, o.tables);
  if (!files.ok()) return fail(files.status());
  std::string out;
  for (const std::string& f : *files) out += f + "\n";
  return print_and_exit(out);
}

// With the log beside it.
uint64_t bytes_of(const std::string& path) {
  uint64_t sum = 0;
  for (const char* suffix : {"", "-wal"}) {
    std::error_code ec;
    const uint64_t size = std::filesystem::file_size(path + suffix, ec);
    if (!ec) sum += size;
  }
  return sum;
}

int db_info(const Cli& cli, bool json) {
  struct Machine {
    int64_t sessions = 0, plans = 0;
    std::string last;  // start of its newest session
  };
  std::map<std::string, Machine> machines;
  std::vector<PlanSummary> plans;
  {
    auto db = Database::open(cli.db_path, OpenMode::kReadOnly);
    if (!db.ok()) return fail(db.status());
    auto sessions = SessionStore(*db).list();
    if (!sessions.ok()) return fail(sessions.status());
    for (const SessionRow& s : *sessions) {
      Machine& m = machines[s.fingerprint];
      ++m.sessions;
      m.last = std::max(m.last, s.started);
    }
    auto found = PlanStore(*db).list();
    if (!found.ok()) return fail(found.status());
    plans = std::move(*found);
    for (const PlanSummary& p : plans) ++machines[p.fingerprint].plans;
  }
  auto report = check_database(cli.db_path);
  if (!report.ok()) return fail(report.status());
  const uint64_t bytes = bytes_of(cli.db_path);
  if (json) {
    nlohmann::ordered_json j{{"path", cli.db_path},
                             {"schema", report->schema},
                             {"bytes", bytes},
                             {"platforms", nlohmann::ordered_json::array()},
                             {"plans", nlohmann::ordered_json::array()}};
    for (const auto& [fingerprint, m] : machines)
      j["platforms"].push_back(
          {{"fingerprint", fingerprint}, {"sessions", m.sessions}, {"plans", m.plans}, {"last_session", m.last}});
    for (const PlanSummary& p : plans)
      j["plans"].push_back({{"id", p.id},
                            {"model", p.model_name},
                            {"planner", p.planner},
                            {"fingerprint", p.fingerprint},
                            {"entries", p.entries},
                            {"created", p.created}});
    for (const auto& [table, rows] : report->rows) j["rows"][table] = rows;
    return print_and_exit(j.dump(2) + "\n");
  }
  std::string out = fmt::format("{}, schema {}, {} bytes\n\n", cli.db_path, report->schema, bytes);
  Table platforms(
      {{"platform"}, {"sessions", Table::Align::kRight}, {"plans", Table::Align::kRight}, {"last session"}});
  for (const auto& [fingerprint, m] : machines)
    platforms.add({fingerprint, fmt::format("{}", m.sessions), fmt::format("{}", m.plans), m.last});
  if (!platforms.empty()) out += platforms.text() + "\n";
  Table table({{"plan", Table::Align::kRight}, {"model"}, {"planner"}, {"platform"}, {"created"}});
  for (const PlanSummary& p : plans)
    table.add({fmt::format("{}", p.id), p.model_name, p.planner, p.fingerprint, p.created});
  if (!table.empty()) out += table.text() + "\n";
  Table rows({{"table"}, {"rows", Table::Align::kRight}});
  for (const auto& [name, count] : report->rows)
    if (count > 0) rows.add({name, fmt::format("{}", count)});
  return print_and_exit(out + (rows.empty() ? "No rows.\n" : rows.text()));
}

nlohmann::ordered_json to_json(const MergeReport& r) {
  nlohmann::ordered_json j{{"source", r.source},          {"schema", r.schema},
                           {"platforms", r.fingerprints}, {"added", r.added()},
                           {"updated", r.updated()},      {"tables", nlohmann::ordered_json::object()}};
  for (const MergedTable& t : r.tables)
    j["tables"][t.table] = {{"added", t.added}, {"updated", t.updated}, {"known", t.known}};
  return j;
}

std::string to_text(const MergeReport& r) {
  Table t(
      {{"table"}, {"added", Table::Align::kRight}, {"updated", Table::Align::kRight}, {"known", Table::Align::kRight}});
  for (const MergedTable& m : r.tables)
    if (m.added + m.updated + m.known > 0)
      t.add({m.table, fmt::format("{}", m.added), fmt::format("{}", m.updated), fmt::format("{}", m.known)});
  return fmt::format("{}: {} rows added, {} updated\n{}\n", r.source, r.added(), r.updated(),
                     t.empty() ? "Nothing in it.\n" : t.text());
}

int db_merge(const std::string& into, const std::vector<std::string>& files, bool json) {
  const std::atomic<bool>& cancel = catch_interrupts();
  auto db = Database::open(into);
  if (!db.ok()) return fail(db.status());
  ProgressLine line;
  MergeOptions options;
  options.cancel = &cancel;
  nlohmann::ordered_json j{{"path", into}, {"merged", nlohmann::ordered_json::array()}};
  std::string out;
  int code = kExitOk;
  for (size_t i = 0; i < files.size() && code == kExitOk; ++i) {
    options.progress = [&](double part, std::string_view what) {
      const double fraction = (static_cast<double>(i) + part) / static_cast<double>(files.size());
      line.update(fraction, what);
    };
    auto report = merge_database(*db, files[i], options);
    line.clear();
    if (report.ok()) {
      out += to_text(*report);
      j["merged"].push_back(to_json(*report));
    } else if (cancel.load()) {
      fmt::print(stderr, "smetune: interrupted; {} of {} files were merged, nothing of the others\n", i, files.size());
      code = kExitInterrupted;
    } else {
      code = fail(error("{}. Nothing of it was merged; {} of {} files were", report.message(), i, files.size()));
    }
  }
  const int printed = print_and_exit(json ? j.dump(2) + "\n" : out);  // also what was merged before an error
  return code != kExitOk ? code : printed;
}

int db_prune(const Cli& cli, const PruneOptions& options, bool json) {
  if (!options.keep && !options.older_than_days) {
    fail(error("db prune: say what to remove with --older-than DAYS, --keep N or both"));
    return kExitUsage;
  }
  // The file must exist: nothing is made to be pruned.
  if (auto there = Database::open(cli.db_path, OpenMode::kReadOnly); !there.ok()) return fail(there.status());
  auto db = Database::open(cli.db_path);
  if (!db.ok()) return fail(db.status());
  auto report = prune_database(*db, options);
  if (!report.ok()) return fail(report.status());
  if (json) {
    nlohmann::ordered_json j{{"path", cli.db_path},
                             {"dry_run", options.dry_run},
                             {"rows", report->rows()},
                             {"freed_bytes", report->freed_bytes},
                             {"removed", nlohmann::ordered_json::object()}};
    for (const auto& [table, rows] : report->removed) j["removed"][table] = rows;
    return print_and_exit(j.dump(2) + "\n");
  }
  Table t({{"table"}, {"rows", Table::Align::kRight}});
  for (const auto& [table, rows] : report->removed) t.add({table, fmt::format("{}", rows)});
  return print_and_exit((t.empty() ? "" : t.text() + "\n") +
                        fmt::format("{}{} rows with {} bytes {}\n", options.dry_run ? "Dry run: " : "", report->rows(),
                                    report->freed_bytes, options.dry_run ? "would be removed" : "removed"));
}

}  // namespace

void add_db(Cli& cli) {
  CLI::App* verb = add_verb(&cli.app, "db", "Look after the database",
                            "  smetune db info\n  smetune db merge phone.db laptop.db --into fleet.db\n"
                            "  smetune db check\n  smetune db export csv/");
  verb->require_subcommand(1);
  CLI::App* check = add_verb(verb, "check", "Read the whole file: is it sound, and what is in it?",
                             "  smetune db check\n  smetune --db old.db db check --json");
  auto json = std::make_shared<bool>(false);
  check->add_flag("--json", *json, "Print the result as JSON");
  check->callback([&cli, json] { cli.action = [&cli, json] { return db_check(cli, *json); }; });
  CLI::App* migrate = add_verb(verb, "migrate", "Bring the database of an older build up to this one's schema",
                               "  smetune db migrate\n  smetune --db old.db db migrate\n"
                               "Every command that writes does it too. Older builds refuse the file from then on.");
  migrate->callback([&cli] { cli.action = [&cli] { return db_migrate(cli); }; });
  CLI::App* exp = add_verb(verb, "export", "Write every table, or some, as a CSV or Parquet file",
                           "  smetune db export csv/\n"
                           "  smetune db export csv/ --table measurement --table candidate\n"
                           "  smetune db export parquet/ --format parquet\n"
                           "Parquet needs Python 3 with the package pyarrow; SMEPILOT_PYTHON names the interpreter.");
  auto out = std::make_shared<ExportOptions>();
  exp->add_option("FOLDER", out->folder, "Where to; made if missing")->required();
  exp->add_option("--table", out->tables, "Only this table (see smetune db info); repeatable")
      ->allow_extra_args(false)
      ->type_name("NAME");
  exp->add_option("--format", out->format, "csv or parquet")
      ->check(CLI::IsMember({"csv", "parquet"}))
      ->capture_default_str();
  exp->callback([&cli, out] { cli.action = [&cli, out] { return db_export(cli, *out); }; });
  CLI::App* info = add_verb(verb, "info", "Machines, plans, sizes and rows in short", "  smetune db info --json");
  info->add_flag("--json", *json, "Print the result as JSON");
  info->callback([&cli, json] { cli.action = [&cli, json] { return db_info(cli, *json); }; });
  CLI::App* merge = add_verb(verb, "merge", "Add what other databases hold, once, to one for all",
                             "  smetune db merge phone.db laptop.db --into fleet.db\n"
                             "  smetune db merge backup.db\n"
                             "Other files are only read. Each is merged wholly or not at all.");
  auto files = std::make_shared<std::vector<std::string>>();
  auto into = std::make_shared<std::string>();
  merge->add_option("FILE", *files, "Databases to add")->required();
  merge->add_option("--into", *into, "Database to add to; made if missing [that of --db]")->type_name("PATH");
  merge->add_flag("--json", *json, "Print the result as JSON");
  merge->callback([&cli, files, into, json] {
    cli.action = [&cli, files, into, json] { return db_merge(into->empty() ? cli.db_path : *into, *files, *json); };
  });
  CLI::App* prune = add_verb(verb, "prune", "Remove what newer plans, searches and calibrations replaced",
                             "  smetune db prune --keep 3 --dry-run\n"
                             "  smetune db prune --older-than 90 --keep 2\n"
                             "With both, only what is older and not among the newest goes. The newest of each\n"
                             "platform and model, and what it rests on, always stays.");
  auto options = std::make_shared<PruneOptions>();
  prune->add_option("--older-than", options->older_than_days, "Remove what is older than this many days")
      ->check(CLI::Range(0, 1'000'000));
  prune->add_option("--keep", options->keep, "Keep so many newest of each platform and model")
      ->check(CLI::PositiveNumber);
  prune->add_flag("--dry-run", options->dry_run, "Only say what would be removed");
  prune->add_flag("--json", *json, "Print the result as JSON");
  prune->callback(
      [&cli, options, json] { cli.action = [&cli, options, json] { return db_prune(cli, *options, *json); }; });
}

}  // namespace smepilot
