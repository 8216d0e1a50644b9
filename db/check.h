// Looks after a database file: is it whole, what is in it, and its tables as CSV.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernels/base/status.h"

namespace smepilot {

namespace sqlite {
class Connection;
}

struct DatabaseReport {
  int schema = 0;
  std::vector<std::pair<std::string, int64_t>> rows;  // per table
  std::vector<std::string> problems;                  // from integrity_check and foreign_key_check, at most 100
  bool ok() const noexcept { return problems.empty(); }
};

// Reads the whole file. An error where it cannot be opened as a database of this project; else a report, whose
// problems say what is damaged. Changes nothing.
Result<DatabaseReport> check_database(const std::string& path);

// What integrity_check and foreign_key_check say about an open file, at most 100 lines. Internal to db.
std::vector<std::string> find_problems(sqlite::Connection& connection);

// The tables to export: those of `wanted`, or all. Error: there is none of that name, with the closest ones, or its
// name cannot be that of a file.
Result<std::vector<std::string>> tables_to_export(const std::string& path, const std::vector<std::string>& wanted = {});

// Writes one RFC 4180 CSV file per table (of tables_to_export()) into `folder` (made if missing), each completely or
// not at all. Returns their paths.
Result<std::vector<std::string>> export_csv(const std::string& path, const std::string& folder,
                                            const std::vector<std::string>& wanted = {});

}  // namespace smepilot
