// baseline import|list and db check|export.
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "db/baseline_store.h"
#include "db/check.h"
#include "db/session_store.h"
#include "kernels/base/text.h"
#include "tuner/cli.h"

namespace smepilot {
namespace {

constexpr std::uintmax_t kMaxInput = 64u << 20;

Result<std::string> read_text(const std::string& path) {
  if (path == "-") return std::string{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  std::error_code ec;
  const std::uintmax_t size = std::filesystem::file_size(path, ec);
  if (ec) return error("{}: {}", path, ec.message());
  if (size > kMaxInput) return error("{}: {} bytes, expected at most {}", path, size, kMaxInput);
  std::ifstream in(path, std::ios::binary);
  if (!in) return error("{}: {}", path, std::strerror(errno));
  return std::string{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::string test_name(const Baseline& b) {
  std::string s = b.n_prompt > 0 ? fmt::format("pp{}", b.n_prompt) : "";
  if (b.n_gen > 0) s += fmt::format("{}tg{}", s.empty() ? "" : "+", b.n_gen);
  return b.n_depth > 0 ? s + fmt::format(" @ {}", b.n_depth) : s;
}

std::string baseline_table(const std::vector<Baseline>& rows) {
  Table t({{"engine"},
           {"test"},
           {"threads", Table::Align::kRight},
           {"tokens/s", Table::Align::kRight},
           {"+-", Table::Align::kRight},
           {"model"}});
  for (const Baseline& b : rows)
    t.add({b.engine, test_name(b), fmt::format("{}", b.n_threads), fmt::format("{:.2f}", b.avg_ts),
           fmt::format("{:.2f}", b.stddev_ts), b.model_type + "  " + b.model_file});
  return t.text();
}

int baseline_import(const Cli& cli, const std::string& file) {
  auto text = read_text(file);
  if (!text.ok()) return fail(text.status());
  auto rows = parse_llama_bench(*text, file);
  if (!rows.ok()) return fail(rows.status());
  auto platform = detect_platform();
  if (!platform.ok()) return fail(platform.status());
  auto db = Database::open(cli.db_path);
  if (!db.ok()) return fail(db.status());
  auto session = SessionStore(*db).begin(*platform, cli.command);
  if (!session.ok()) return fail(session.status());
  auto added = BaselineStore(*db).save(session->id, *rows);
  if (!added.ok()) return fail(added.status());
  return print_and_exit(baseline_table(*rows) +
                        fmt::format("{} of {} rows are new; stored in {}\n", *added, rows->size(), db->path()));
}

int baseline_list(const Cli& cli) {
  auto db = Database::open(cli.db_path, OpenMode::kReadOnly);
  if (!db.ok()) return fail(db.status());
  auto rows = BaselineStore(*db).list();
  if (!rows.ok()) return fail(rows.status());
  return print_and_exit(rows->empty() ? "No baselines; add one with: smetune baseline import FILE\n"
                                      : baseline_table(*rows));
}

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

int db_export(const Cli& cli, const std::string& folder) {
  auto files = export_csv(cli.db_path, folder);
  if (!files.ok()) return fail(files.status());
  std::string out;
  for (const std::string& f : *files) out += f + "\n";
  return print_and_exit(out);
}

}  // namespace

void add_baseline(Cli& cli) {
  CLI::App* verb = add_verb(&cli.app, "baseline", "Results of other engines to compare with",
                            "  llama-bench -m model.gguf -o json > base.json\n  smetune baseline import base.json");
  verb->require_subcommand(1);
  CLI::App* import = add_verb(verb, "import", "Store what llama-bench measured",
                              "  smetune baseline import base.json\n"
                              "  llama-bench -m model.gguf -o jsonl | smetune baseline import -");
  auto file = std::make_shared<std::string>();
  import->add_option("FILE", *file, "Output of llama-bench -o json or jsonl; - reads standard input")->required();
  import->callback([&cli, file] { cli.action = [&cli, file] { return baseline_import(cli, *file); }; });
  CLI::App* list = add_verb(verb, "list", "List the stored baselines", "  smetune baseline list");
  list->callback([&cli] { cli.action = [&cli] { return baseline_list(cli); }; });
}

void add_db(Cli& cli) {
  CLI::App* verb = add_verb(&cli.app, "db", "Look after the database", "  smetune db check\n  smetune db export csv/");
  verb->require_subcommand(1);
  CLI::App* check = add_verb(verb, "check", "Read the whole file: is it sound, and what is in it?",
                             "  smetune db check\n  smetune --db old.db db check --json");
  auto json = std::make_shared<bool>(false);
  check->add_flag("--json", *json, "Print the result as JSON");
  check->callback([&cli, json] { cli.action = [&cli, json] { return db_check(cli, *json); }; });
  CLI::App* exp = add_verb(verb, "export", "Write every table as a CSV file", "  smetune db export csv/");
  auto folder = std::make_shared<std::string>();
  exp->add_option("FOLDER", *folder, "Where to; made if missing")->required();
  exp->callback([&cli, folder] { cli.action = [&cli, folder] { return db_export(cli, *folder); }; });
}

}  // namespace smepilot
