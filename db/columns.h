// How values of the project are written in columns: enumerations by name, samples and key-value pairs as JSON.
// Internal to db.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "db/execution.h"
#include "db/sqlite.h"
#include "kernels/abi/execution_mode.h"
#include "kernels/abi/operator_shape.h"
#include "profiles/model_shape.h"
#include "profiles/platform.h"

namespace smepilot {

inline const char* mode_name(ExecutionMode mode) noexcept {
  return kModeNames[static_cast<size_t>(mode)];
}
inline const char* unit_name(ExecutionUnit unit) noexcept {
  return kUnitNames[static_cast<size_t>(unit)];
}
inline const char* kind_name(OpKind kind) noexcept {
  return kOpNames[static_cast<size_t>(kind)];
}
inline const char* dtype_name(DType dtype) noexcept {
  return traits(dtype).name;
}

// The index of `name` in a list of names.
std::optional<size_t> index_of(std::span<const char* const> names, std::string_view name) noexcept;
std::optional<ExecutionMode> mode_from_name(std::string_view name) noexcept;
std::optional<ExecutionUnit> unit_from_name(std::string_view name) noexcept;
std::optional<SplitDim> split_dim_from_name(std::string_view name) noexcept;
std::optional<OpKind> kind_from_name(std::string_view name) noexcept;
std::optional<DType> dtype_from_name(std::string_view name) noexcept;

// The value of a column by one of the functions above; an unknown name makes the row an error.
template <typename T>
T named(sqlite::Statement& row, int column, std::optional<T> (*from_name)(std::string_view) noexcept) {
  const std::string name = row.text(column);
  const auto value = from_name(name);
  if (!value) row.reject(column, "'" + name + "'", "a name this build knows");
  return value.value_or(T{});
}

// The columns of a CoopPart, in the order in which read_coop() takes them.
#define SMEPILOT_COOP_COLUMNS(prefix)                                                                  \
  prefix "matrix_variant, " prefix "matrix_workers, " prefix "matrix_mc, " prefix "matrix_nc, " prefix \
         "split_dim, " prefix "split, " prefix "split_of, " prefix "dynamic, " prefix "tile_rows, " prefix "depth"
CoopPart read_coop(sqlite::Statement& row, int at);
inline const char* split_dim_name(SplitDim dim) noexcept {
  return kSplitDimNames[static_cast<size_t>(dim)];
}

// "[1.5,2]". Error if one is not finite; `what` names them.
Result<std::string> samples_to_json(std::span<const double> samples, std::string_view what);
std::vector<double> samples_column(sqlite::Statement& row, int column);

// {"name":"value",…}, in order.
std::string pairs_to_json(std::span<const std::pair<std::string, std::string>> pairs);
std::vector<std::pair<std::string, std::string>> pairs_column(sqlite::Statement& row, int column);

std::string facts_to_json(const Platform& platform);
std::string shape_to_json(const ModelShape& model);

// 16 hex digits over a text, stored beside what it was made from. SQLite finds damage to its structures only; this
// finds a changed digit. Not a defence against a forger.
std::string digest(std::string_view text);

// The row of a model with this hash; one known only by name and hash has architecture "" and shape {} until the
// whole shape is written.
Result<int64_t> upsert_model(sqlite::Connection& connection, const ModelShape& model);
Result<int64_t> upsert_model(sqlite::Connection& connection, const std::string& name, const std::string& hash);

}  // namespace smepilot
