#include "db/baseline_store.h"

#include "db/columns.h"
#include "db/sqlite.h"

namespace smepilot {

Result<int64_t> BaselineStore::save(int64_t session_id, std::span<const Baseline> rows) {
  sqlite::Connection& c = *connection_;
  SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(c));
  sqlite::Statement insert(
      c,
      "INSERT INTO baseline (session_id, engine, build, cpu_info, model_file, model_type, n_threads, "
      "n_prompt, n_gen, n_batch, n_depth, avg_ts, stddev_ts, samples_json, raw_json, source, "
      "test_time, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
      "ON CONFLICT (raw_json) DO NOTHING");
  int64_t added = 0;
  for (const Baseline& b : rows) {
    SMEPILOT_ASSIGN(const std::string samples, samples_to_json(b.samples_ts, "samples_ts"));
    SMEPILOT_TRY(insert
                     .bind(session_id, b.engine, b.build, b.cpu_info, b.model_file, b.model_type, b.n_threads,
                           b.n_prompt, b.n_gen, b.n_batch, b.n_depth, b.avg_ts, b.stddev_ts, samples, b.raw_json,
                           b.source, b.test_time, utc_now())
                     .run());
    added += c.changes();
  }
  SMEPILOT_TRY(transaction.commit());
  return added;
}

Result<std::vector<Baseline>> BaselineStore::list() {
  sqlite::Statement s(*connection_,
                      "SELECT id, session_id, engine, build, cpu_info, model_file, model_type, n_threads, n_prompt, "
                      "n_gen, n_batch, n_depth, avg_ts, stddev_ts, samples_json, raw_json, source, test_time, created "
                      "FROM baseline ORDER BY id DESC");
  return sqlite::all(s.bind(), [](sqlite::Statement& row) {
    Baseline b;
    b.id = row.integer(0);
    b.session_id = row.integer(1);
    b.engine = row.text(2);
    b.build = row.text(3);
    b.cpu_info = row.text(4);
    b.model_file = row.text(5);
    b.model_type = row.text(6);
    b.n_threads = row.u32(7);
    b.n_prompt = row.u32(8);
    b.n_gen = row.u32(9);
    b.n_batch = row.u32(10);
    b.n_depth = row.u32(11);
    b.avg_ts = row.real(12);
    b.stddev_ts = row.real(13);
    b.samples_ts = samples_column(row, 14);
    b.raw_json = row.text(15);
    b.source = row.text(16);
    b.test_time = row.text(17);
    b.created = row.text(18);
    return b;
  });
}

}  // namespace smepilot
