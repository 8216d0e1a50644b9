#include "db/session_store.h"

#include <cstdlib>

#include "db/columns.h"
#include "db/sqlite.h"
#include "kernels/base/build_info.h"

namespace smepilot {

namespace {

constexpr const char* kColumns =
    "SELECT s.id, s.platform_id, p.fingerprint, s.started, s.command, s.version, s.revision, s.compiler, s.flags, "
    "s.build_type, s.governor, s.kernel, s.hypervisor, s.load1 "
    "FROM session AS s JOIN platform AS p ON p.id = s.platform_id ";

SessionRow read_session(sqlite::Statement& row) {
  SessionRow s;
  s.id = row.integer(0);
  s.platform_id = row.integer(1);
  s.fingerprint = row.text(2);
  s.started = row.text(3);
  s.command = row.text(4);
  s.version = row.text(5);
  s.revision = row.text(6);
  s.compiler = row.text(7);
  s.flags = row.text(8);
  s.build_type = row.text(9);
  s.governor = row.text(10);
  s.kernel = row.text(11);
  s.hypervisor = row.text(12);
  s.load1 = row.real_or(13, -1);
  return s;
}

}  // namespace

Result<SessionRow> SessionStore::begin(const Platform& platform, const std::string& command) {
  sqlite::Connection& c = *connection_;
  SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(c));
  const std::string fingerprint = platform.fingerprint(), now = utc_now();
  const auto identity = platform.identity();
  sqlite::Statement upsert(c,
                           "INSERT INTO platform (fingerprint, identity_json, facts_json, created) VALUES (?, ?, ?, ?) "
                           "ON CONFLICT (fingerprint) DO UPDATE SET identity_json = excluded.identity_json, "
                           "facts_json = excluded.facts_json");
  SMEPILOT_TRY(upsert.bind(fingerprint, pairs_to_json(identity), facts_to_json(platform), now).run());

  double load = 0;
  std::optional<double> load1;
  if (getloadavg(&load, 1) == 1) load1 = load;
  const BuildInfo& build = build_info();
  sqlite::Statement insert(c,
                           "INSERT INTO session (platform_id, started, command, version, revision, compiler, flags, "
                           "build_type, governor, kernel, hypervisor, load1) "
                           "VALUES ((SELECT id FROM platform WHERE fingerprint = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  SMEPILOT_TRY(insert
                   .bind(fingerprint, now, command, std::string(build.version), std::string(build.revision),
                         std::string(build.compiler), std::string(build.flags), std::string(build.type),
                         platform.governor, platform.kernel, platform.hypervisor, load1)
                   .run());
  SMEPILOT_ASSIGN(const auto session, get(c.last_insert_rowid()));
  if (!session) return error("{}: the new session cannot be read back", c.path());
  SMEPILOT_TRY(transaction.commit());
  return *session;
}

Result<std::optional<SessionRow>> SessionStore::get(int64_t id) {
  sqlite::Statement s(*connection_, std::string(kColumns) + "WHERE s.id = ?");
  return sqlite::first(s.bind(id), read_session);
}

Result<std::vector<SessionRow>> SessionStore::list() {
  sqlite::Statement s(*connection_, std::string(kColumns) + "ORDER BY s.id DESC");
  return sqlite::all(s.bind(), read_session);
}

}  // namespace smepilot
