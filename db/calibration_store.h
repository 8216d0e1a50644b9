// Calibrations of machines, with their raw samples.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "db/database.h"
#include "profiles/calibration.h"

namespace smepilot {

class CalibrationStore {
 public:
  explicit CalibrationStore(Database& db) : connection_(&db.connection()) {}

  // All or nothing. Returns the new row's id. An empty `created` becomes now.
  Result<int64_t> save(int64_t session_id, const Calibration& calibration);

  // The newest one of the platform; one that is not quick is preferred over any quick one.
  Result<std::optional<Calibration>> latest(const std::string& fingerprint);
  Result<std::optional<Calibration>> get(int64_t id);
  Result<std::vector<int64_t>> list(const std::string& fingerprint);  // ids, newest first

 private:
  sqlite::Connection* connection_;
};

}  // namespace smepilot
