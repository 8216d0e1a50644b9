#include <fmt/chrono.h>

#include <ctime>

#include "engine/run_modes.h"
#include "engine/run_session.h"
#include "engine/weight_cache.h"
#include "kernels/base/console.h"
#include "kernels/base/text.h"

namespace smepilot {
namespace {

std::string size_text(uint64_t bytes) {
  return fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9);
}

std::string list_text(const std::string& folder, uint64_t limit_bytes) {
  const std::vector<WeightCacheEntry> entries = list_weight_cache(folder);
  uint64_t total = 0;
  using Align = Table::Align;
  Table table({{"last use"}, {"size", Align::kRight}, {"state"}, {"made from"}});
  for (const WeightCacheEntry& e : entries) {
    total += e.bytes;
    const std::string name = e.path.substr(e.path.find_last_of('/') + 1);
    table.add({fmt::format("{:%Y-%m-%d %H:%M}", fmt::localtime(static_cast<std::time_t>(e.used_s))), size_text(e.bytes),
               e.in_use            ? "in use"
               : e.problem.empty() ? ""
                                   : "useless",
               e.problem.empty() ? e.model : name + ": " + e.problem});
  }
  return fmt::format("{}{}: {} of at most {}\n", entries.empty() ? "" : table.text(200), folder, size_text(total),
                     size_text(limit_bytes));
}

}  // namespace

int run_cache_mode(const RunOptions& options) {
  const std::string& folder = options.engine.cache.folder;
  if (folder.empty()) return fail(error("there is no folder for the weight cache: set XDG_CACHE_HOME or HOME"));
  std::string text;
  if (options.cache_action == "list") {
    text = list_text(folder, options.engine.cache.limit_bytes);
  } else {
    const WeightCacheRemoval removed = trim_weight_cache(folder, 0);
    text = fmt::format("{}: {} files deleted, {} freed\n", folder, removed.files, size_text(removed.bytes));
    if (removed.kept != 0)
      note(fmt::format("{} files are in use and stay, {}", removed.kept, size_text(removed.bytes_kept)));
  }
  const Status written = print_out(text);
  return written.ok() ? kExitOk : fail(written);
}

}  // namespace smepilot
