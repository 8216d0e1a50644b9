#include "db/plan_store.h"

#include "db/columns.h"
#include "db/plan_check.h"
#include "db/sqlite.h"

namespace smepilot {

namespace {

// Over all but the name of the model, which is that of its row.
std::string plan_digest(const Plan& plan) {
  Plan unnamed = plan;
  unnamed.model_name.clear();
  return digest(plan_to_json(unnamed));
}

PlanEntry read_entry(sqlite::Statement& row) {
  PlanEntry e;
  e.kind = named(row, 0, kind_from_name);
  e.dtype = named(row, 1, dtype_from_name);
  e.n = row.u32(2);
  e.k = row.u32(3);
  e.kv_heads = row.u32(4);
  e.m_min = row.u32(5);
  e.m_max = row.u32(6);
  e.kv_max = row.u32(7);
  e.mode = named(row, 8, mode_from_name);
  e.variant = row.text(9);
  e.workers = static_cast<uint16_t>(row.integer(10, 1, UINT16_MAX));
  e.mc = row.u32(11);
  e.nc = row.u32(12);
  e.kv_tile = row.u32(13);
  e.kv_splits = row.u32(14);
  e.measured_m = row.u32(15);
  e.measured_kv = row.u32(16);
  e.predicted_ns = row.real(17);
  e.measured_ns = row.real(18);
  e.default_ns = row.real(19);
  e.why = row.text(20);
  e.coop = read_coop(row, 21);
  if (row.status().ok())
    if (auto status = check_entry(e); !status.ok()) row.reject(status);
  return e;
}

}  // namespace

Result<int64_t> PlanStore::save(int64_t session_id, const Plan& given, int64_t search_id) {
  sqlite::Connection& c = *connection_;
  Plan plan = given;
  if (plan.created.empty()) plan.created = utc_now();
  if (auto status = check_plan_values(plan); !status.ok())
    return error("the plan for {} is not stored: {}", plan.model_name, status.message());
  SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(c));
  SMEPILOT_ASSIGN(const int64_t model, upsert_model(c, plan.model_name, plan.model_hash));
  sqlite::Statement head(
      c,
      "INSERT INTO plan (session_id, search_id, version, fingerprint, identity_json, model_id, "
      "variant_set_hash, planner, workers, build, created, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  SMEPILOT_TRY(head.bind(session_id, search_id != 0 ? std::optional(search_id) : std::nullopt, version_of(plan),
                         plan.fingerprint, pairs_to_json(plan.platform), model, plan.variant_set_hash, plan.planner,
                         plan.workers, plan.build, plan.created, plan_digest(plan))
                   .run());
  const int64_t id = c.last_insert_rowid();
  sqlite::Statement insert(c,
                           "INSERT INTO plan_entry (plan_id, kind, dtype, n, k, kv_heads, m_min, m_max, kv_max, mode, "
                           "variant, workers, mc, nc, kv_tile, kv_splits, measured_m, measured_kv, predicted_ns, "
                           "measured_ns, default_ns, why, " SMEPILOT_COOP_COLUMNS("") ") "
                           "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                           "?, ?, ?, ?)");
  for (const PlanEntry& e : plan.entries)
    SMEPILOT_TRY(insert
                     .bind(id, std::string(kind_name(e.kind)), std::string(dtype_name(e.dtype)), e.n, e.k, e.kv_heads,
                           e.m_min, e.m_max, e.kv_max, std::string(mode_name(e.mode)), e.variant, e.workers, e.mc, e.nc,
                           e.kv_tile, e.kv_splits, e.measured_m, e.measured_kv, e.predicted_ns, e.measured_ns,
                           e.default_ns, e.why, e.coop.variant, e.coop.workers, e.coop.mc, e.coop.nc,
                           std::string(split_dim_name(e.coop.dim)), e.coop.split, e.coop.split_of, e.coop.dynamic,
                           e.coop.rows, e.coop.depth)
                     .run());
  SMEPILOT_TRY(transaction.commit());
  return id;
}

Result<std::optional<Plan>> PlanStore::get(int64_t id) {
  sqlite::Connection& c = *connection_;
  sqlite::Statement head(
      c,
      "SELECT p.id, p.version, p.fingerprint, p.identity_json, m.name, m.hash, p.variant_set_hash, "
      "p.planner, p.workers, p.build, p.created, p.digest FROM plan AS p JOIN model AS m ON m.id = p.model_id "
      "WHERE p.id = ?");
  std::string stored_digest;
  SMEPILOT_ASSIGN(auto found, sqlite::first(head.bind(id), [&stored_digest](sqlite::Statement& row) {
                    Plan p;
                    p.id = row.integer(0);
                    p.version = static_cast<int>(row.integer(1, 1, INT32_MAX));
                    p.fingerprint = row.text(2);
                    p.platform = pairs_column(row, 3);
                    p.model_name = row.text(4);
                    p.model_hash = row.text(5);
                    p.variant_set_hash = row.text(6);
                    p.planner = row.text(7);
                    p.workers = row.u32(8);
                    p.build = row.text(9);
                    p.created = row.text(10);
                    stored_digest = row.text(11);
                    return p;
                  }));
  if (!found) return found;
  sqlite::Statement entries(
      c,
      "SELECT kind, dtype, n, k, kv_heads, m_min, m_max, kv_max, mode, variant, workers, mc, nc, "
      "kv_tile, kv_splits, measured_m, measured_kv, predicted_ns, measured_ns, default_ns, why, " SMEPILOT_COOP_COLUMNS(
          "") " FROM plan_entry WHERE plan_id = ? ORDER BY id");
  SMEPILOT_ASSIGN(found->entries, sqlite::all(entries.bind(id), read_entry));
  if (plan_digest(*found) != stored_digest)
    return error(
        "{}: plan {} is damaged: its values do not give its digest. Nothing was changed; make the plan anew with "
        "`smetune search`",
        c.path(), id);
  return found;
}

// Newest first. Ids do not tell: a merge brings older rows under higher ones. A plan is as new as its storing, which
// for an imported one is its session.
#define SMEPILOT_NEWEST_PLAN "ORDER BY max(s.started, p.created) DESC, p.id DESC"

Result<std::optional<Plan>> PlanStore::latest(const std::string& fingerprint, const std::string& model_hash) {
  sqlite::Statement s(
      *connection_,
      "SELECT p.id FROM plan AS p JOIN model AS m ON m.id = p.model_id JOIN session AS s ON s.id = p.session_id "
      "WHERE p.fingerprint = ? AND m.hash = ? " SMEPILOT_NEWEST_PLAN " LIMIT 1");
  SMEPILOT_ASSIGN(const auto id,
                  sqlite::first(s.bind(fingerprint, model_hash), [](auto& row) { return row.integer(0); }));
  if (!id) return std::optional<Plan>();
  return get(*id);
}

Result<std::optional<Plan>> PlanStore::latest_any(const std::string& model_hash) {
  sqlite::Statement s(
      *connection_,
      "SELECT p.id FROM plan AS p JOIN model AS m ON m.id = p.model_id JOIN session AS s ON s.id = p.session_id "
      "WHERE m.hash = ? " SMEPILOT_NEWEST_PLAN " LIMIT 1");
  SMEPILOT_ASSIGN(const auto id, sqlite::first(s.bind(model_hash), [](auto& row) { return row.integer(0); }));
  if (!id) return std::optional<Plan>();
  return get(*id);
}

Result<std::vector<PlanSummary>> PlanStore::list() {
  sqlite::Statement s(*connection_,
                      "SELECT p.id, p.session_id, p.search_id, p.fingerprint, m.name, m.hash, p.variant_set_hash, "
                      "p.planner, p.build, p.created, p.workers, "
                      "(SELECT count(*) FROM plan_entry AS e WHERE e.plan_id = p.id) "
                      "FROM plan AS p JOIN model AS m ON m.id = p.model_id JOIN session AS s ON s.id = "
                      "p.session_id " SMEPILOT_NEWEST_PLAN);
  return sqlite::all(s.bind(), [](sqlite::Statement& row) {
    PlanSummary p;
    p.id = row.integer(0);
    p.session_id = row.integer(1);
    p.search_id = row.integer_or(2, 0);
    p.fingerprint = row.text(3);
    p.model_name = row.text(4);
    p.model_hash = row.text(5);
    p.variant_set_hash = row.text(6);
    p.planner = row.text(7);
    p.build = row.text(8);
    p.created = row.text(9);
    p.workers = row.u32(10);
    p.entries = row.integer(11);
    return p;
  });
}

}  // namespace smepilot
