#include "db/measurement_store.h"

#include <algorithm>
#include <map>

#include "db/columns.h"
#include "db/sqlite.h"

namespace smepilot {

namespace {

constexpr const char* kStatusNames[] = {"ok",     "incorrect", "timeout",     "crashed",
                                        "pruned", "refused",   "unsupported", "constraint"};
constexpr const char* kStateNames[] = {"running", "done", "stopped"};

std::optional<MeasurementStatus> status_from_name(std::string_view name) noexcept {
  const auto i = index_of(kStatusNames, name);
  return i ? std::optional(static_cast<MeasurementStatus>(*i)) : std::nullopt;
}
std::optional<SearchState> state_from_name(std::string_view name) noexcept {
  const auto i = index_of(kStateNames, name);
  return i ? std::optional(static_cast<SearchState>(*i)) : std::nullopt;
}

OperatorShape read_shape(sqlite::Statement& row, int at) {
  OperatorShape s = {};
  s.kind = named(row, at, kind_from_name);
  s.dtype = named(row, at + 1, dtype_from_name);
  s.m = row.u32(at + 2);
  s.n = row.u32(at + 3);
  s.k = row.u32(at + 4);
  s.kv_len = row.u32(at + 5);
  s.kv_heads = row.u32(at + 6);
  return s;
}

constexpr const char* kSearchColumns =
    "SELECT h.id, h.session_id, h.model_id, h.calibration_id, p.fingerprint, m.hash, h.planner, h.variant_set_hash, "
    "h.budget_s, h.options_json, h.state, h.started, h.finished "
    "FROM search AS h JOIN session AS s ON s.id = h.session_id JOIN platform AS p ON p.id = s.platform_id "
    "JOIN model AS m ON m.id = h.model_id ";

Search read_search(sqlite::Statement& row) {
  Search s;
  s.id = row.integer(0);
  s.session_id = row.integer(1);
  s.model_id = row.integer(2);
  s.calibration_id = row.integer_or(3, 0);
  s.fingerprint = row.text(4);
  s.model_hash = row.text(5);
  s.planner = row.text(6);
  s.variant_set_hash = row.text(7);
  s.budget_s = row.real(8);
  s.options_json = row.text(9);
  s.state = named(row, 10, state_from_name);
  s.started = row.text(11);
  s.finished = row.text_or_empty(12);
  return s;
}

constexpr const char* kMeasurementColumns =
    "SELECT x.id, x.search_id, x.session_id, c.operator_id, c.id, o.kind, o.dtype, o.m, o.n, o.k, o.kv_len, "
    "o.kv_heads, "
    "c.variant, c.mode, c.workers, c.mc, c.nc, c.kv_tile, c.kv_splits, x.status, x.reason, x.predicted_ns, "
    "x.median_ns, "
    "x.ci_low_ns, x.ci_high_ns, x.samples_json, x.is_default, x.created, s.revision, x.digest, " SMEPILOT_COOP_COLUMNS("c.") " "
    "FROM measurement AS x JOIN candidate AS c ON c.id = x.candidate_id JOIN operator AS o ON o.id = c.operator_id "
    "JOIN session AS s ON s.id = x.session_id ";

std::string measurement_digest(const Measurement& m, std::string_view samples_json) {
  const OperatorShape& s = m.shape;
  const Candidate& c = m.candidate;
  const bool timed = m.status == MeasurementStatus::kOk;
  const auto if_timed = [timed](double ns) { return timed ? ns : 0.0; };
  // What only coop candidates have is behind the rest, so that rows of before keep their digests.
  const CoopPart& p = c.coop;
  const std::string coop = c.mode == ExecutionMode::kCoop
                               ? fmt::format(" | {} {} {} {} {} {} {} {} {} {}", p.variant, p.workers, p.mc, p.nc,
                                             split_dim_name(p.dim), p.split, p.split_of, p.dynamic, p.rows, p.depth)
                               : "";
  return digest(fmt::format("{} {} {} {} {} {} {} | {} {} {} {} {} {} {} | {} {} {} {} {} {} {} {}", kind_name(s.kind),
                            dtype_name(s.dtype), s.m, s.n, s.k, s.kv_len, s.kv_heads, c.variant, mode_name(c.mode),
                            c.workers, c.mc, c.nc, c.kv_tile, c.kv_splits, status_name(m.status), m.reason,
                            m.predicted_ns, if_timed(m.median_ns), if_timed(m.ci_low_ns), if_timed(m.ci_high_ns),
                            m.is_default, samples_json) +
                coop);
}

Measurement read_measurement(sqlite::Statement& row) {
  Measurement m;
  m.id = row.integer(0);
  m.search_id = row.integer(1);
  m.session_id = row.integer(2);
  m.operator_id = row.integer(3);
  m.candidate_id = row.integer(4);
  m.shape = read_shape(row, 5);
  m.candidate.variant = row.text(12);
  m.candidate.mode = named(row, 13, mode_from_name);
  m.candidate.workers = row.u32(14);
  m.candidate.mc = row.u32(15);
  m.candidate.nc = row.u32(16);
  m.candidate.kv_tile = row.u32(17);
  m.candidate.kv_splits = row.u32(18);
  m.status = named(row, 19, status_from_name);
  m.reason = row.text(20);
  m.predicted_ns = row.real_or(21, 0);
  m.median_ns = row.real_or(22, 0);
  m.ci_low_ns = row.real_or(23, 0);
  m.ci_high_ns = row.real_or(24, 0);
  m.samples_ns = samples_column(row, 25);
  m.is_default = row.integer(26, 0, 1) != 0;
  m.created = row.text(27);
  m.revision = row.text(28);
  m.candidate.coop = read_coop(row, 30);
  if (row.status().ok() && row.text(29) != measurement_digest(m, row.text(25)))
    row.reject(
        error("{}: measurement {} is damaged: its values do not give its digest. Nothing was changed; delete the row "
              "and measure again, or restore the database from a copy",
              row.path(), m.id));
  return m;
}

Status add_operators(MeasurementStore& store, sqlite::Connection& c, int64_t search_id,
                     std::span<const SearchOperator> operators) {
  sqlite::Statement insert(c,
                           "INSERT INTO search_operator (search_id, operator_id, role, calls) VALUES (?, ?, ?, ?) "
                           "ON CONFLICT DO UPDATE SET calls = excluded.calls");
  for (const SearchOperator& o : operators) {
    SMEPILOT_ASSIGN(const int64_t id, store.operator_id(o.shape));
    SMEPILOT_TRY(insert.bind(search_id, id, o.role, o.calls).run());
  }
  return {};
}

}  // namespace

const char* status_name(MeasurementStatus status) noexcept {
  return kStatusNames[static_cast<size_t>(status)];
}
const char* state_name(SearchState state) noexcept {
  return kStateNames[static_cast<size_t>(state)];
}

Result<int64_t> MeasurementStore::model_id(const ModelShape& model) {
  return upsert_model(*connection_, model);
}

Result<int64_t> MeasurementStore::operator_id(const OperatorShape& shape) {
  const std::string kind = kind_name(shape.kind), dtype = dtype_name(shape.dtype);
  // Looked up first: most exist, and a look-up needs no write lock.
  sqlite::Statement select(*connection_,
                           "SELECT id FROM operator WHERE kind = ? AND dtype = ? AND m = ? AND n = ? AND k = ? "
                           "AND kv_len = ? AND kv_heads = ?");
  sqlite::Statement insert(*connection_,
                           "INSERT INTO operator (kind, dtype, m, n, k, kv_len, kv_heads) VALUES (?, ?, ?, ?, ?, ?, ?) "
                           "ON CONFLICT DO NOTHING");
  for (int attempt = 0; attempt < 2; ++attempt) {
    select.bind(kind, dtype, shape.m, shape.n, shape.k, shape.kv_len, shape.kv_heads);
    SMEPILOT_ASSIGN(const auto id, sqlite::first(select, [](auto& row) { return row.integer(0); }));
    if (id) return *id;
    SMEPILOT_TRY(insert.bind(kind, dtype, shape.m, shape.n, shape.k, shape.kv_len, shape.kv_heads).run());
  }
  return error("{}: the operator {} {} m={} n={} k={} cannot be read back", connection_->path(), kind, dtype, shape.m,
               shape.n, shape.k);
}

Result<int64_t> MeasurementStore::candidate_id(int64_t operator_id, const Candidate& x) {
  const std::string mode = mode_name(x.mode);
  sqlite::Statement select(
      *connection_,
      "SELECT id FROM candidate WHERE operator_id = ? AND variant = ? AND mode = ? AND workers = ? "
      "AND mc = ? AND nc = ? AND kv_tile = ? AND kv_splits = ? AND matrix_variant = ? AND matrix_workers = ? AND "
      "matrix_mc = ? AND matrix_nc = ? AND split_dim = ? AND split = ? AND split_of = ? AND dynamic = ? AND "
      "tile_rows = ? AND depth = ?");
  sqlite::Statement insert(
      *connection_,
      "INSERT INTO candidate (operator_id, variant, mode, workers, mc, nc, kv_tile, kv_splits, " SMEPILOT_COOP_COLUMNS(
          "") ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING");
  const auto bind = [&](sqlite::Statement& s) -> sqlite::Statement& {
    const CoopPart& p = x.coop;
    return s.bind(operator_id, x.variant, mode, x.workers, x.mc, x.nc, x.kv_tile, x.kv_splits, p.variant, p.workers,
                  p.mc, p.nc, std::string(split_dim_name(p.dim)), p.split, p.split_of, p.dynamic, p.rows, p.depth);
  };
  for (int attempt = 0; attempt < 2; ++attempt) {
    bind(select);
    SMEPILOT_ASSIGN(const auto id, sqlite::first(select, [](auto& row) { return row.integer(0); }));
    if (id) return *id;
    SMEPILOT_TRY(bind(insert).run());
  }
  return error("{}: the candidate {} of operator {} cannot be read back", connection_->path(), x.variant, operator_id);
}

Result<Search> MeasurementStore::begin_search(const Search& search, std::span<const SearchOperator> operators) {
  sqlite::Connection& c = *connection_;
  SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(c));
  sqlite::Statement insert(
      c,
      "INSERT INTO search (session_id, model_id, calibration_id, planner, variant_set_hash, budget_s, "
      "options_json, state, started) VALUES (?, ?, ?, ?, ?, ?, ?, 'running', ?)");
  const std::optional<int64_t> calibration =
      search.calibration_id != 0 ? std::optional(search.calibration_id) : std::nullopt;
  SMEPILOT_TRY(insert
                   .bind(search.session_id, search.model_id, calibration, search.planner, search.variant_set_hash,
                         search.budget_s, search.options_json, utc_now())
                   .run());
  const int64_t id = c.last_insert_rowid();
  SMEPILOT_TRY(add_operators(*this, c, id, operators));
  SMEPILOT_ASSIGN(const auto begun, get_search(id));
  if (!begun) return error("{}: the new search cannot be read back", c.path());
  SMEPILOT_TRY(transaction.commit());
  return *begun;
}

Result<std::vector<Search>> MeasurementStore::find_searches(const std::string& fingerprint,
                                                            const std::string& model_hash,
                                                            const std::string& variant_set_hash) {
  sqlite::Statement s(
      *connection_,
      std::string(kSearchColumns) +
          "WHERE p.fingerprint = ? AND m.hash = ? AND h.variant_set_hash = ? ORDER BY h.started DESC, h.id DESC");
  return sqlite::all(s.bind(fingerprint, model_hash, variant_set_hash), read_search);
}

Result<std::optional<Search>> MeasurementStore::get_search(int64_t search_id) {
  sqlite::Statement s(*connection_, std::string(kSearchColumns) + "WHERE h.id = ?");
  return sqlite::first(s.bind(search_id), read_search);
}

Result<std::vector<Search>> MeasurementStore::list_searches() {
  sqlite::Statement s(*connection_, std::string(kSearchColumns) + "ORDER BY h.started DESC, h.id DESC");
  return sqlite::all(s.bind(), read_search);
}

Result<std::vector<SearchOperator>> MeasurementStore::search_operators(int64_t search_id) {
  sqlite::Statement s(*connection_,
                      "SELECT so.role, so.calls, o.id, o.kind, o.dtype, o.m, o.n, o.k, o.kv_len, o.kv_heads "
                      "FROM search_operator AS so JOIN operator AS o ON o.id = so.operator_id "
                      "WHERE so.search_id = ? ORDER BY o.id, so.role");
  return sqlite::all(s.bind(search_id), [](sqlite::Statement& row) {
    SearchOperator o;
    o.role = row.text(0);
    o.calls = row.u32(1);
    o.operator_id = row.integer(2);
    o.shape = read_shape(row, 3);
    return o;
  });
}

Status MeasurementStore::resume_search(int64_t search_id, std::span<const SearchOperator> operators) {
  sqlite::Connection& c = *connection_;
  SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(c));
  sqlite::Statement update(c, "UPDATE search SET state = 'running', finished = NULL WHERE id = ?");
  SMEPILOT_TRY(update.bind(search_id).run());
  if (c.changes() != 1) return error("{}: there is no search {}", c.path(), search_id);
  SMEPILOT_TRY(add_operators(*this, c, search_id, operators));
  return transaction.commit();
}

Status MeasurementStore::finish_search(int64_t search_id, SearchState state) {
  if (state == SearchState::kRunning) return error("a search is finished as done or stopped, not as running");
  sqlite::Statement update(*connection_, "UPDATE search SET state = ?, finished = ? WHERE id = ?");
  SMEPILOT_TRY(update.bind(std::string(state_name(state)), utc_now(), search_id).run());
  if (connection_->changes() != 1) return error("{}: there is no search {}", connection_->path(), search_id);
  return {};
}

Result<int64_t> MeasurementStore::record(const Measurement& m) {
  sqlite::Connection& c = *connection_;
  SMEPILOT_ASSIGN(const std::string samples, samples_to_json(m.samples_ns, "samples_ns"));
  SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(c));
  struct Keys {
    int64_t session, platform, search_platform;
    std::string hash;
  };
  sqlite::Statement select(
      c,
      "SELECT s.id, s.platform_id, b.platform_id, h.variant_set_hash FROM search AS h "
      "JOIN session AS b ON b.id = h.session_id "
      "JOIN session AS s ON s.id = CASE WHEN ?1 = 0 THEN h.session_id ELSE ?1 END WHERE h.id = ?2");
  SMEPILOT_ASSIGN(const auto keys, sqlite::first(select.bind(m.session_id, m.search_id), [](sqlite::Statement& row) {
                    return Keys{row.integer(0), row.integer(1), row.integer(2), row.text(3)};
                  }));
  if (!keys) return error("{}: there is no search {} or no session {}", c.path(), m.search_id, m.session_id);
  if (keys->platform != keys->search_platform)
    return error("{}: search {} belongs to another machine (platform {}) than session {} (platform {})", c.path(),
                 m.search_id, keys->search_platform, keys->session, keys->platform);
  SMEPILOT_ASSIGN(const int64_t operator_id, this->operator_id(m.shape));
  SMEPILOT_ASSIGN(const int64_t candidate_id, this->candidate_id(operator_id, m.candidate));

  const bool timed = m.status == MeasurementStatus::kOk;
  auto if_timed = [timed](double ns) { return timed ? std::optional(ns) : std::nullopt; };
  sqlite::Statement upsert(
      c,
      "INSERT INTO measurement (search_id, session_id, candidate_id, platform_id, variant_set_hash, status, reason, "
      "predicted_ns, median_ns, ci_low_ns, ci_high_ns, samples_json, is_default, created, digest) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (search_id, candidate_id) DO UPDATE SET "
      "session_id = excluded.session_id, status = excluded.status, reason = excluded.reason, "
      "predicted_ns = excluded.predicted_ns, median_ns = excluded.median_ns, ci_low_ns = excluded.ci_low_ns, "
      "ci_high_ns = excluded.ci_high_ns, samples_json = excluded.samples_json, is_default = excluded.is_default, "
      "created = excluded.created, digest = excluded.digest "
      "WHERE excluded.status IN ('ok', 'incorrect', 'timeout', 'crashed') "
      "OR measurement.status NOT IN ('ok', 'incorrect', 'timeout', 'crashed') RETURNING id");
  upsert.bind(m.search_id, keys->session, candidate_id, keys->platform, keys->hash, std::string(status_name(m.status)),
              m.reason, m.predicted_ns != 0 ? std::optional(m.predicted_ns) : std::nullopt, if_timed(m.median_ns),
              if_timed(m.ci_low_ns), if_timed(m.ci_high_ns), samples, m.is_default, utc_now(),
              measurement_digest(m, samples));
  SMEPILOT_ASSIGN(auto id, sqlite::first(upsert, [](auto& row) { return row.integer(0); }));
  if (!id) {  // the row there was run, this one was not
    sqlite::Statement kept(c, "SELECT id FROM measurement WHERE search_id = ? AND candidate_id = ?");
    SMEPILOT_ASSIGN(id, sqlite::first(kept.bind(m.search_id, candidate_id), [](auto& row) { return row.integer(0); }));
    if (!id) return error("{}: the measurement cannot be read back", c.path());
  }
  SMEPILOT_TRY(transaction.commit());
  return *id;
}

Status MeasurementStore::record_all(std::span<const Measurement> measurements) {
  SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(*connection_));
  for (const Measurement& m : measurements) SMEPILOT_TRY(record(m).status());
  return transaction.commit();
}

Status MeasurementStore::replace_all(int64_t search_id, const OperatorShape& shape,
                                     std::span<const Measurement> measurements) {
  SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(*connection_));
  SMEPILOT_ASSIGN(const int64_t operator_id, this->operator_id(shape));
  sqlite::Statement remove(*connection_,
                           "DELETE FROM measurement WHERE search_id = ? AND candidate_id IN "
                           "(SELECT id FROM candidate WHERE operator_id = ?)");
  SMEPILOT_TRY(remove.bind(search_id, operator_id).run());
  for (const Measurement& m : measurements) SMEPILOT_TRY(record(m).status());
  return transaction.commit();
}

Result<std::vector<Measurement>> MeasurementStore::known(const std::string& fingerprint,
                                                         const std::string& variant_set_hash,
                                                         std::span<const OperatorShape> operators) {
  std::map<int64_t, Measurement> best;  // by candidate
  sqlite::Statement s(
      *connection_, std::string(kMeasurementColumns) +
                        "JOIN platform AS p ON p.id = x.platform_id "
                        "WHERE o.kind = ? AND o.dtype = ? AND o.m = ? AND o.n = ? AND o.k = ? AND o.kv_len = ? "
                        "AND o.kv_heads = ? AND p.fingerprint = ? AND x.variant_set_hash = ? ORDER BY x.created, x.id");
  for (const OperatorShape& o : operators) {
    s.bind(std::string(kind_name(o.kind)), std::string(dtype_name(o.dtype)), o.m, o.n, o.k, o.kv_len, o.kv_heads,
           fingerprint, variant_set_hash);
    SMEPILOT_ASSIGN(auto rows, sqlite::all(s, read_measurement));
    for (Measurement& m : rows) {
      const auto it = best.find(m.candidate_id);
      if (it == best.end())
        best.emplace(m.candidate_id, std::move(m));
      else if (was_run(m.status) || !was_run(it->second.status))
        it->second = std::move(m);
    }
  }
  std::vector<Measurement> out;
  out.reserve(best.size());
  for (auto& [candidate, m] : best) out.push_back(std::move(m));
  std::sort(out.begin(), out.end(), [](const Measurement& a, const Measurement& b) {
    return std::pair(a.operator_id, a.id) < std::pair(b.operator_id, b.id);
  });
  return out;
}

Result<std::vector<Measurement>> MeasurementStore::of_search(int64_t search_id) {
  sqlite::Statement s(*connection_, std::string(kMeasurementColumns) + "WHERE x.search_id = ? ORDER BY x.id");
  return sqlite::all(s.bind(search_id), read_measurement);
}

}  // namespace smepilot
