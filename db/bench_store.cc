#include "db/bench_store.h"

#include "db/columns.h"
#include "db/sqlite.h"

namespace smepilot {

Result<int64_t> BenchStore::save(const ModelShape& model, const Bench& b) {
  sqlite::Connection& c = *connection_;
  SMEPILOT_ASSIGN(const std::string samples, samples_to_json(b.samples_ts, "samples_ts"));
  SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(c));
  SMEPILOT_ASSIGN(const int64_t model_id, upsert_model(c, model));
  sqlite::Statement insert(
      c,
      "INSERT INTO bench (session_id, model_id, plan_id, plan_mode, model_file, n_threads, n_prompt, "
      "n_gen, n_depth, n_seqs, kv_type, avg_ts, stddev_ts, samples_json, joules_per_token, planner, mode, load_json, "
      "conversions_json, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  const auto optional = [](const std::string& text) { return text.empty() ? std::nullopt : std::optional(text); };
  SMEPILOT_TRY(insert
                   .bind(b.session_id, model_id, b.plan_id != 0 ? std::optional(b.plan_id) : std::nullopt, b.plan_mode,
                         b.model_file, b.n_threads, b.n_prompt, b.n_gen, b.n_depth, b.n_seqs, b.kv_type, b.avg_ts,
                         b.stddev_ts, samples, b.joules_per_token, b.planner, b.mode, optional(b.load_json),
                         optional(b.conversions_json), utc_now())
                   .run());
  const int64_t id = c.last_insert_rowid();
  SMEPILOT_TRY(transaction.commit());
  return id;
}

Result<std::vector<Bench>> BenchStore::list() {
  sqlite::Statement s(*connection_,
                      "SELECT id, session_id, model_id, plan_id, plan_mode, model_file, n_threads, n_prompt, n_gen, "
                      "n_depth, avg_ts, stddev_ts, samples_json, created, n_seqs, kv_type, joules_per_token, "
                      "planner, mode, load_json, conversions_json "
                      "FROM bench ORDER BY id DESC");
  return sqlite::all(s.bind(), [](sqlite::Statement& row) {
    Bench b;
    b.id = row.integer(0);
    b.session_id = row.integer(1);
    b.model_id = row.integer(2);
    b.plan_id = row.integer_or(3, 0);
    b.plan_mode = row.text(4);
    b.model_file = row.text(5);
    b.n_threads = row.u32(6);
    b.n_prompt = row.u32(7);
    b.n_gen = row.u32(8);
    b.n_depth = row.u32(9);
    b.avg_ts = row.real(10);
    b.stddev_ts = row.real(11);
    b.samples_ts = samples_column(row, 12);
    b.created = row.text(13);
    b.n_seqs = row.u32(14);
    b.kv_type = row.text(15);
    if (!row.is_null(16)) b.joules_per_token = row.real(16);
    b.planner = row.text(17);
    b.mode = row.text(18);
    b.load_json = row.text_or_empty(19);
    b.conversions_json = row.text_or_empty(20);
    return b;
  });
}

}  // namespace smepilot
