// baseline import|list.
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "db/baseline_store.h"
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

}  // namespace smepilot
