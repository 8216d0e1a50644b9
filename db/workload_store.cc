#include "db/workload_store.h"

#include "db/columns.h"
#include "db/sqlite.h"

namespace smepilot {

Result<int64_t> WorkloadStore::begin(const ModelShape& model, const WorkloadRun& r) {
  sqlite::Connection& c = *connection_;
  SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(c));
  SMEPILOT_ASSIGN(const int64_t model_id, upsert_model(c, model));
  sqlite::Statement insert(
      c,
      "INSERT INTO workload_run (session_id, model_id, plan_id, plan_mode, workload, scale, batch, n_prompt, n_gen, "
      "engine, is_baseline, build, arguments, model_file, kv_type, n_threads, created) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  SMEPILOT_TRY(insert
                   .bind(r.session_id, model_id, r.plan_id != 0 ? std::optional(r.plan_id) : std::nullopt, r.plan_mode,
                         r.workload, r.scale, r.batch, r.n_prompt, r.n_gen, r.engine, r.is_baseline, r.build,
                         r.arguments, r.model_file, r.kv_type, r.n_threads, utc_now())
                   .run());
  const int64_t id = c.last_insert_rowid();
  for (const WorkloadRound& round : r.rounds) SMEPILOT_TRY(add(id, round));
  SMEPILOT_TRY(transaction.commit());
  return id;
}

Status WorkloadStore::add(int64_t run_id, const WorkloadRound& round) {
  sqlite::Statement insert(
      *connection_, "INSERT INTO workload_round (run_id, round, prefill_s, decode_s, joules) VALUES (?, ?, ?, ?, ?)");
  return insert.bind(run_id, round.round, round.prefill_s, round.decode_s, round.joules).run();
}

Result<std::vector<WorkloadRun>> WorkloadStore::list() {
  sqlite::Statement s(*connection_,
                      "SELECT id, session_id, model_id, plan_id, plan_mode, workload, scale, batch, n_prompt, n_gen, "
                      "engine, is_baseline, build, arguments, model_file, kv_type, n_threads, created "
                      "FROM workload_run ORDER BY id DESC");
  SMEPILOT_ASSIGN(auto runs, sqlite::all(s.bind(), [](sqlite::Statement& row) {
                    WorkloadRun r;
                    r.id = row.integer(0);
                    r.session_id = row.integer(1);
                    r.model_id = row.integer(2);
                    r.plan_id = row.integer_or(3, 0);
                    r.plan_mode = row.text(4);
                    r.workload = row.text(5);
                    r.scale = row.real(6);
                    r.batch = row.u32(7);
                    r.n_prompt = row.u32(8);
                    r.n_gen = row.u32(9);
                    r.engine = row.text(10);
                    r.is_baseline = row.integer(11, 0, 1) != 0;
                    r.build = row.text(12);
                    r.arguments = row.text(13);
                    r.model_file = row.text(14);
                    r.kv_type = row.text(15);
                    r.n_threads = row.u32(16);
                    r.created = row.text(17);
                    return r;
                  }));
  sqlite::Statement rounds(
      *connection_, "SELECT round, prefill_s, decode_s, joules FROM workload_round WHERE run_id = ? ORDER BY round");
  for (WorkloadRun& run : runs) {
    SMEPILOT_ASSIGN(run.rounds, sqlite::all(rounds.bind(run.id), [](sqlite::Statement& row) {
                      WorkloadRound r;
                      r.round = row.u32(0);
                      r.prefill_s = row.real(1);
                      r.decode_s = row.real(2);
                      if (!row.is_null(3)) r.joules = row.real(3);
                      return r;
                    }));
  }
  return runs;
}

}  // namespace smepilot
