#include "db/columns.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "profiles/fnv.h"

namespace smepilot {

using nlohmann::json;
using nlohmann::ordered_json;

namespace {
// Names come from files: text that is not UTF-8 gets replacement characters instead of an exception.
template <typename Json>
std::string dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}
}  // namespace

std::optional<size_t> index_of(std::span<const char* const> names, std::string_view name) noexcept {
  for (size_t i = 0; i < names.size(); ++i)
    if (name == names[i]) return i;
  return std::nullopt;
}

namespace {
template <typename T>
std::optional<T> enum_from(std::span<const char* const> names, std::string_view name) noexcept {
  const auto i = index_of(names, name);
  return i ? std::optional<T>(static_cast<T>(*i)) : std::nullopt;
}
}  // namespace

std::optional<ExecutionMode> mode_from_name(std::string_view name) noexcept {
  return enum_from<ExecutionMode>(kModeNames, name);
}
std::optional<ExecutionUnit> unit_from_name(std::string_view name) noexcept {
  return enum_from<ExecutionUnit>(kUnitNames, name);
}
std::optional<SplitDim> split_dim_from_name(std::string_view name) noexcept {
  return enum_from<SplitDim>(kSplitDimNames, name);
}
std::optional<OpKind> kind_from_name(std::string_view name) noexcept {
  return enum_from<OpKind>(kOpNames, name);
}
std::optional<DType> dtype_from_name(std::string_view name) noexcept {
  for (size_t i = 0; i < static_cast<size_t>(DType::kCount); ++i)
    if (name == kDTypeTraits[i].name) return static_cast<DType>(i);
  return std::nullopt;
}

CoopPart read_coop(sqlite::Statement& row, int at) {
  CoopPart c;
  c.variant = row.text(at);
  c.workers = row.u32(at + 1);
  c.mc = row.u32(at + 2);
  c.nc = row.u32(at + 3);
  c.dim = named(row, at + 4, split_dim_from_name);
  c.split = row.u32(at + 5);
  c.split_of = row.u32(at + 6);
  c.dynamic = row.integer(at + 7, 0, 1) != 0;
  c.rows = row.u32(at + 8);
  c.depth = row.u32(at + 9);
  return c;
}

Result<std::string> samples_to_json(std::span<const double> samples, std::string_view what) {
  for (size_t i = 0; i < samples.size(); ++i)
    if (!std::isfinite(samples[i])) return error("{}[{}] is {}, expected a finite number", what, i, samples[i]);
  return json(std::vector<double>(samples.begin(), samples.end())).dump();
}

std::vector<double> samples_column(sqlite::Statement& row, int column) {
  const json value = json::parse(row.text(column), nullptr, false);
  std::vector<double> samples;
  bool good = value.is_array();
  if (good) {
    for (const json& sample : value) {
      good = good && sample.is_number();
      if (good) samples.push_back(sample.get<double>());
    }
  }
  if (!good) row.reject(column, "something else", "a JSON array of numbers");
  return samples;
}

std::string pairs_to_json(std::span<const std::pair<std::string, std::string>> pairs) {
  ordered_json object = ordered_json::object();
  for (const auto& [name, value] : pairs) object[name] = value;
  return dump(object);
}

std::vector<std::pair<std::string, std::string>> pairs_column(sqlite::Statement& row, int column) {
  const ordered_json value = ordered_json::parse(row.text(column), nullptr, false);
  std::vector<std::pair<std::string, std::string>> pairs;
  bool good = value.is_object();
  if (good) {
    for (const auto& [name, field] : value.items()) {
      good = good && field.is_string();
      if (good) pairs.emplace_back(name, field.get<std::string>());
    }
  }
  if (!good) row.reject(column, "something else", "a JSON object of strings");
  return pairs;
}

std::string digest(std::string_view text) {
  Fnv hash;
  hash.add(text);
  return hash.hex();
}

std::string facts_to_json(const Platform& p) {
  ordered_json facts = {{"cpu_model", p.cpu_model},
                        {"cpu_family", p.cpu_family},
                        {"isa", p.isa},
                        {"cores", p.cores},
                        {"cpus", p.cpus},
                        {"memory_bytes", p.memory_bytes},
                        {"matrix_unit", p.matrix_unit},
                        {"matrix_units", p.matrix_units},
                        {"os", p.os},
                        {"kernel", p.kernel},
                        {"governor", p.governor},
                        {"hypervisor", p.hypervisor}};
  facts["core_classes"] = ordered_json::array();
  for (const CoreClass& c : p.core_classes) facts["core_classes"].push_back({{"name", c.name}, {"cpus", c.cpus}});
  facts["caches"] = ordered_json::array();
  for (const CacheLevel& c : p.caches)
    facts["caches"].push_back({{"level", c.level}, {"bytes", c.bytes}, {"instances", c.instances}});
  return dump(facts);
}

std::string shape_to_json(const ModelShape& m) {
  ordered_json shape = {{"name", m.name},
                        {"architecture", m.architecture},
                        {"layers", m.layers},
                        {"embedding", m.embedding},
                        {"heads", m.heads},
                        {"kv_heads", m.kv_heads},
                        {"head_dim", m.head_dim},
                        {"feed_forward", m.feed_forward},
                        {"vocab", m.vocab},
                        {"context", m.context},
                        {"experts", m.experts},
                        {"experts_used", m.experts_used},
                        {"expert_feed_forward", m.expert_feed_forward}};
  shape["matrices"] = ordered_json::array();
  for (const MatrixShape& x : m.matrices)
    shape["matrices"].push_back(
        {{"role", x.role}, {"dtype", dtype_name(x.dtype)}, {"n", x.n}, {"k", x.k}, {"count", x.count}});
  return dump(shape);
}

namespace {

Result<int64_t> upsert_model_row(sqlite::Connection& connection, const std::string& name, const std::string& hash,
                                 const std::string& architecture, const std::string& shape_json) {
  if (hash.empty()) return error("{}: model '{}' has no hash", connection.path(), name);
  // A row made from an imported plan knows no shape: the first to know it writes it.
  sqlite::Statement insert(
      connection,
      "INSERT INTO model (name, architecture, hash, shape_json) VALUES (?, ?, ?, ?) "
      "ON CONFLICT (hash) DO UPDATE SET name = excluded.name, architecture = excluded.architecture, "
      "shape_json = excluded.shape_json "
      "WHERE model.architecture = '' AND excluded.architecture <> ''");
  SMEPILOT_TRY(insert.bind(name, architecture, hash, shape_json).run());
  sqlite::Statement select(connection, "SELECT id FROM model WHERE hash = ?");
  SMEPILOT_ASSIGN(const auto id, sqlite::first(select.bind(hash), [](auto& row) { return row.integer(0); }));
  if (!id) return error("{}: model {} vanished while it was written", connection.path(), hash);
  return *id;
}

}  // namespace

Result<int64_t> upsert_model(sqlite::Connection& connection, const ModelShape& model) {
  return upsert_model_row(connection, model.name, model.hash(), model.architecture, shape_to_json(model));
}

Result<int64_t> upsert_model(sqlite::Connection& connection, const std::string& name, const std::string& hash) {
  return upsert_model_row(connection, name, hash, "", "{}");
}

}  // namespace smepilot
