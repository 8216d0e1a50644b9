// Provenance: one row per machine (platform) and one per run of a program that writes to the database (session).
// Everything measured points to the session that measured it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "db/database.h"
#include "profiles/platform.h"

namespace smepilot {

struct SessionRow {
  int64_t id = 0, platform_id = 0;
  std::string fingerprint;  // of the platform
  std::string started, command;
  std::string version, revision, compiler, flags, build_type;  // kernels/base/build_info.h
  std::string governor, kernel, hypervisor;                    // of the platform at that time, "" where unknown
  double load1 = -1;                                           // one-minute load average at the start, -1: unknown
};

class SessionStore {
 public:
  explicit SessionStore(Database& db) : connection_(&db.connection()) {}

  // Writes the platform (once per fingerprint; its facts are refreshed) and a session on it. `command` is the command
  // line. Build and load average are read here.
  Result<SessionRow> begin(const Platform& platform, const std::string& command);

  Result<std::optional<SessionRow>> get(int64_t id);
  Result<std::vector<SessionRow>> list();  // newest first

 private:
  sqlite::Connection* connection_;
};

}  // namespace smepilot
