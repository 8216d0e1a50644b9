#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "db/columns.h"
#include "db/json_reader.h"
#include "db/plan.h"
#include "db/plan_check.h"

namespace smepilot {

namespace {

constexpr const char* kSchemas[] = {"smepilot-plan/1", "smepilot-plan/2"};  // by version
constexpr double kMaxNs = 1e18;                                             // 30 years: larger is not a time
constexpr std::uintmax_t kMaxPlanBytes = 64u << 20;

Json bound_to_json(uint32_t bound) {
  return bound == UINT32_MAX ? Json(nullptr) : Json(bound);
}

// A bound: an integer, or null for none.
uint32_t bound(ObjectReader& in, const char* key, uint32_t low) {
  return in.is_null(key) ? UINT32_MAX : static_cast<uint32_t>(in.integer(key, low, UINT32_MAX));
}

template <typename T>
T named_field(ObjectReader& in, const char* key, std::optional<T> (*from_name)(std::string_view) noexcept) {
  const std::string name = in.text(key, 64);
  const auto value = from_name(name);
  if (!value) in.reject(key, "'" + name + "'", "a name this build knows");
  return value.value_or(T{});
}

uint32_t u32(ObjectReader& in, const char* key) {
  return static_cast<uint32_t>(in.integer(key, 0, UINT32_MAX));
}

// A coop entry's "coop": which fields there are depends on the operator.
Result<CoopPart> coop_from_json(const Json& value, OpKind kind, const std::string& source_name,
                                const std::string& path) {
  ObjectReader in(value, source_name, path);
  CoopPart c;
  c.variant = in.text("variant", 256);
  c.workers = static_cast<uint32_t>(in.integer("workers", 1, UINT16_MAX));
  if (kind == OpKind::kAttention) {
    c.rows = u32(in, "rows");
    c.depth = u32(in, "depth");
  } else {
    c.mc = u32(in, "mc");
    c.nc = u32(in, "nc");
    c.dim = named_field(in, "dim", split_dim_from_name);
    c.split = u32(in, "split");
    c.split_of = u32(in, "of");
    c.dynamic = in.integer("dynamic", 0, 1) != 0;
  }
  SMEPILOT_TRY(in.finish());
  return c;
}

Json coop_to_json(const PlanEntry& e) {
  const CoopPart& c = e.coop;
  Json out = {{"variant", c.variant}, {"workers", c.workers}};
  if (e.kind == OpKind::kAttention) {
    out["rows"] = c.rows;
    out["depth"] = c.depth;
  } else {
    out["mc"] = c.mc;
    out["nc"] = c.nc;
    out["dim"] = split_dim_name(c.dim);
    out["split"] = c.split;
    out["of"] = c.split_of;
    out["dynamic"] = c.dynamic ? 1 : 0;
  }
  return out;
}

Result<PlanEntry> entry_from_json(const Json& value, int version, const std::string& source_name,
                                  const std::string& path) {
  ObjectReader in(value, source_name, path);
  PlanEntry e;
  e.kind = named_field(in, "kind", kind_from_name);
  e.dtype = named_field(in, "dtype", dtype_from_name);
  e.n = u32(in, "n");
  e.k = u32(in, "k");
  e.kv_heads = u32(in, "kv_heads");
  e.m_min = u32(in, "m_min");
  e.m_max = bound(in, "m_max", 1);
  e.kv_max = bound(in, "kv_max", 0);
  e.mode = named_field(in, "mode", mode_from_name);
  e.variant = in.text("variant", 256);
  e.workers = static_cast<uint16_t>(in.integer("workers", 1, UINT16_MAX));
  e.mc = u32(in, "mc");
  e.nc = u32(in, "nc");
  e.kv_tile = u32(in, "kv_tile");
  e.kv_splits = u32(in, "kv_splits");
  e.measured_m = u32(in, "measured_m");
  e.measured_kv = u32(in, "measured_kv");
  e.predicted_ns = in.real("predicted_ns", 0, kMaxNs);
  e.measured_ns = in.real("measured_ns", 0, kMaxNs);
  e.default_ns = in.real("default_ns", 0, kMaxNs);
  e.why = in.text("why");
  const Json* coop = version >= 2 && e.mode == ExecutionMode::kCoop ? in.object("coop") : nullptr;
  SMEPILOT_TRY(in.finish());
  if (coop != nullptr) {
    SMEPILOT_ASSIGN(e.coop, coop_from_json(*coop, e.kind, source_name, path + ".coop"));
  }
  return e;
}

}  // namespace

std::string plan_to_json(const Plan& plan) {
  Json out;
  out["schema"] = kSchemas[version_of(plan) - 1];
  out["fingerprint"] = plan.fingerprint;
  out["platform"] = Json::object();
  for (const auto& [name, value] : plan.platform) out["platform"][name] = value;
  out["model"] = {{"name", plan.model_name}, {"hash", plan.model_hash}};
  out["variant_set_hash"] = plan.variant_set_hash;
  out["planner"] = plan.planner;
  out["build"] = plan.build;
  out["created"] = plan.created;
  out["workers"] = plan.workers;
  out["entries"] = Json::array();
  for (const PlanEntry& e : plan.entries) {
    out["entries"].push_back({{"kind", kind_name(e.kind)},
                              {"dtype", dtype_name(e.dtype)},
                              {"n", e.n},
                              {"k", e.k},
                              {"kv_heads", e.kv_heads},
                              {"m_min", e.m_min},
                              {"m_max", bound_to_json(e.m_max)},
                              {"kv_max", bound_to_json(e.kv_max)},
                              {"mode", mode_name(e.mode)},
                              {"variant", e.variant},
                              {"workers", e.workers},
                              {"mc", e.mc},
                              {"nc", e.nc},
                              {"kv_tile", e.kv_tile},
                              {"kv_splits", e.kv_splits},
                              {"measured_m", e.measured_m},
                              {"measured_kv", e.measured_kv},
                              {"predicted_ns", e.predicted_ns},
                              {"measured_ns", e.measured_ns},
                              {"default_ns", e.default_ns},
                              {"why", e.why}});
    if (e.mode == ExecutionMode::kCoop) out["entries"].back()["coop"] = coop_to_json(e);
  }
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<Plan> plan_from_json(const std::string& text, const std::string& source_name) {
  SMEPILOT_ASSIGN(const Json document, parse_json(text, source_name));
  ObjectReader in(document, source_name, "");
  const std::string schema = in.text("schema");
  const auto version = index_of(kSchemas, schema);
  if (in.status().ok() && !version)
    return error("{}: schema is '{}', expected '{}' or '{}'", source_name, schema.substr(0, 80), kSchemas[0],
                 kSchemas[1]);
  Plan plan;
  plan.version = static_cast<int>(version.value_or(0)) + 1;
  plan.fingerprint = in.text("fingerprint", 64);
  if (const Json* platform = in.object("platform")) {
    ObjectReader fields(*platform, source_name, "platform");
    for (const auto& [name, value] : platform->items()) plan.platform.emplace_back(name, fields.text(name.c_str()));
    SMEPILOT_TRY(in.status());
    SMEPILOT_TRY(fields.status());
  }
  if (const Json* model = in.object("model")) {
    ObjectReader fields(*model, source_name, "model");
    plan.model_name = fields.text("name", 1024);
    plan.model_hash = fields.text("hash", 64);
    SMEPILOT_TRY(in.status());
    SMEPILOT_TRY(fields.finish());
  }
  plan.variant_set_hash = in.text("variant_set_hash", 64);
  plan.planner = in.text("planner", 64);
  plan.build = in.text("build");
  plan.created = in.text("created", 64);
  plan.workers = static_cast<unsigned>(in.integer("workers", 1, UINT16_MAX));
  const Json* entries = in.array("entries");
  SMEPILOT_TRY(in.finish());
  for (size_t i = 0; i < entries->size(); ++i) {
    SMEPILOT_ASSIGN(PlanEntry entry,
                    entry_from_json((*entries)[i], plan.version, source_name, fmt::format("entries[{}]", i)));
    plan.entries.push_back(std::move(entry));
  }
  if (auto status = check_plan_values(plan); !status.ok()) return error("{}: {}", source_name, status.message());
  return plan;
}

Result<Plan> read_plan_file(const std::string& path) {
  std::error_code ec;
  const std::uintmax_t size = std::filesystem::file_size(path, ec);
  if (ec) return error("{}: cannot read plan: {}", path, ec.message());
  if (size > kMaxPlanBytes) return error("{}: {} bytes are too many for a plan", path, size);
  std::ifstream in(path, std::ios::binary);
  if (!in) return error("{}: cannot read plan: {}", path, std::strerror(errno));
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  return plan_from_json(text, path);
}

}  // namespace smepilot
