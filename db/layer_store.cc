#include "db/layer_store.h"

#include <cmath>
#include <limits>
#include <optional>

#include "db/columns.h"
#include "db/sqlite.h"

namespace smepilot {
namespace {

constexpr const char* kPassNames[] = {"prefill", "decode"};  // by Pass

std::string name_of(Pass pass) {
  return kPassNames[static_cast<size_t>(pass)];
}

std::optional<Pass> pass_from_name(std::string_view name) noexcept {
  const auto i = index_of(kPassNames, name);
  return i ? std::optional(static_cast<Pass>(*i)) : std::nullopt;
}

ChainSide read_side(sqlite::Statement& row, int at) {
  return {row.text(at), row.text(at + 1), row.real(at + 2), row.real(at + 3), row.real(at + 4)};
}

}  // namespace

Status LayerStore::save_times(const std::vector<LayerTimeRow>& rows) {
  sqlite::Connection& c = *connection_;
  SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(c));
  sqlite::Statement insert(c,
                           "INSERT INTO layer_time (session_id, search_id, pass, m, kv_len, chosen_ns, untuned_ns, "
                           "ratio_low, ratio_high, reverted, chosen_samples_json, untuned_samples_json, created) "
                           "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const LayerTimeRow& r : rows) {
    SMEPILOT_ASSIGN(const std::string chosen, samples_to_json(r.chosen_samples_ns, "layer samples"));
    SMEPILOT_ASSIGN(const std::string untuned, samples_to_json(r.untuned_samples_ns, "layer samples"));
    const bool bounded = std::isfinite(r.ratio.high);
    SMEPILOT_TRY(insert
                     .bind(r.session_id, r.search_id, name_of(r.pass), r.m, r.kv_len, r.chosen_ns, r.untuned_ns,
                           bounded ? std::optional(r.ratio.low) : std::nullopt,
                           bounded ? std::optional(r.ratio.high) : std::nullopt, r.reverted, chosen, untuned, utc_now())
                     .run());
  }
  return transaction.commit();
}

Result<std::vector<LayerTimeRow>> LayerStore::times(int64_t search_id) {
  sqlite::Statement s(*connection_,
                      "SELECT id, session_id, search_id, pass, m, kv_len, chosen_ns, untuned_ns, ratio_low, "
                      "ratio_high, reverted, chosen_samples_json, untuned_samples_json, created FROM layer_time "
                      "WHERE search_id = ? ORDER BY created DESC, id DESC");
  return sqlite::all(s.bind(search_id), [](sqlite::Statement& row) {
    LayerTimeRow r;
    r.id = row.integer(0);
    r.session_id = row.integer(1);
    r.search_id = row.integer(2);
    r.pass = named(row, 3, pass_from_name);
    r.m = row.u32(4);
    r.kv_len = row.u32(5);
    r.chosen_ns = row.real(6);
    r.untuned_ns = row.real(7);
    r.ratio = {row.real_or(8, 0), row.real_or(9, std::numeric_limits<double>::infinity())};
    r.reverted = row.integer(10, 0, 1) != 0;
    r.chosen_samples_ns = samples_column(row, 11);
    r.untuned_samples_ns = samples_column(row, 12);
    r.created = row.text(13);
    return r;
  });
}

Status LayerStore::save_chain(int64_t plan_id, const std::vector<ChainRow>& rows) {
  sqlite::Connection& c = *connection_;
  SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(c));
  sqlite::Statement insert(c,
                           "INSERT INTO plan_chain (plan_id, pass, m, kv_len, step, role, calls, predicted, "
                           "chosen_candidate, chosen_layout, chosen_ns, chosen_packings, chosen_packing_ns, "
                           "best_candidate, best_layout, best_ns, best_packings, best_packing_ns) "
                           "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const ChainRow& r : rows)
    SMEPILOT_TRY(insert
                     .bind(plan_id, name_of(r.pass), r.m, r.kv_len, r.step, r.role, r.calls, r.predicted,
                           r.chosen.candidate, r.chosen.layout, r.chosen.ns, r.chosen.packings, r.chosen.packing_ns,
                           r.best.candidate, r.best.layout, r.best.ns, r.best.packings, r.best.packing_ns)
                     .run());
  return transaction.commit();
}

Result<std::vector<ChainRow>> LayerStore::chain(int64_t plan_id) {
  sqlite::Statement s(*connection_,
                      "SELECT pass, m, kv_len, step, role, calls, predicted, chosen_candidate, chosen_layout, "
                      "chosen_ns, chosen_packings, chosen_packing_ns, best_candidate, best_layout, best_ns, "
                      "best_packings, best_packing_ns FROM plan_chain WHERE plan_id = ? ORDER BY id");
  return sqlite::all(s.bind(plan_id), [](sqlite::Statement& row) {
    ChainRow r;
    r.pass = named(row, 0, pass_from_name);
    r.m = row.u32(1);
    r.kv_len = row.u32(2);
    r.step = row.u32(3);
    r.role = row.text(4);
    r.calls = row.real(5);
    r.predicted = row.integer(6, 0, 1) != 0;
    r.chosen = read_side(row, 7);
    r.best = read_side(row, 12);
    return r;
  });
}

}  // namespace smepilot
