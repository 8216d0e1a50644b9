#include "profiles/platform_profile.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/base/text.h"
#include "profiles/data_dir.h"
#include "profiles/fnv.h"

namespace smepilot {
namespace {

using nlohmann::json;

constexpr const char* kSchema = "smepilot-platform/1";
constexpr size_t kMaxBytes = 1u << 20;
constexpr const char* kBasisNames[] = {"quoted", "digitised", "third-party", "derived", "measured"};
constexpr double kMostValue = 1e15;
constexpr uint64_t kMostWorkers = 4096;

constexpr ProfileField kFields[] = {
    {"cores", "cores"},
    {"matrix.units", "units"},
    {"matrix.svl", "bit"},
    {"compute.cpu.f32", "GFLOP/s"},
    {"compute.cpu.f16", "GFLOP/s"},
    {"compute.cpu.bf16", "GFLOP/s"},
    {"compute.cpu.int8", "GFLOP/s"},
    {"compute.matrix.f32", "GFLOP/s"},
    {"compute.matrix.f16", "GFLOP/s"},
    {"compute.matrix.bf16", "GFLOP/s"},
    {"compute.matrix.int8", "GFLOP/s"},
    {"compute.coop.f32", "GFLOP/s"},
    {"compute.coop.f16", "GFLOP/s"},
    {"compute.coop.bf16", "GFLOP/s"},
    {"compute.coop.int8", "GFLOP/s"},
    {"memory.dram.read.cpu", "GB/s"},
    {"memory.dram.read.matrix", "GB/s"},
    {"memory.dram.read.coop", "GB/s"},
    {"memory.dram.write.cpu", "GB/s"},
    {"memory.dram.write.matrix", "GB/s"},
    {"memory.dram.write.coop", "GB/s"},
    {"memory.llc.read.cpu", "GB/s"},
    {"memory.llc.read.matrix", "GB/s"},
    {"memory.llc.read.coop", "GB/s"},
    {"memory.llc.write.cpu", "GB/s"},
    {"memory.llc.write.matrix", "GB/s"},
    {"memory.llc.write.coop", "GB/s"},
    {"memory.dram.spec", "GB/s"},
    {"cache.llc", "bytes"},
    {"exp.cpu", "Gexp/s"},
    {"exp.matrix", "Gexp/s"},
    {"cost.fork_join", "ns"},
    {"cost.barrier", "ns"},
    {"cost.streaming", "ns"},
};

std::string shown(const json& v) {
  return v.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 60);
}

// Takes the fields of an object one by one; the first error sticks.
class Reader {
 public:
  Reader(const std::string& file, std::string path, const json& object)
      : file_(file), path_(std::move(path)), object_(object) {
    if (!object.is_object()) error_ = error("{}: {} is {}, expected an object", file, name(""), shown(object));
  }

  std::string text(const char* field, bool optional = false) {
    const json* v = find(field, optional);
    if (v == nullptr) return "";
    if (v->is_string() && !v->get_ref<const std::string&>().empty()) return v->get<std::string>();
    reject(field, *v, "a string");
    return "";
  }
  double number(const char* field) {
    const json* v = find(field, false);
    if (v == nullptr) return 0;
    const double value = v->is_number() ? v->get<double>() : 0;
    if (!(value > 0 && value <= kMostValue)) reject(field, *v, "a positive number");
    return value;
  }
  unsigned workers(const char* field) {
    const json* v = find(field, true);
    if (v == nullptr) return 0;
    const uint64_t value = v->is_number_unsigned() ? v->get<uint64_t>() : 0;
    if (value == 0 || value > kMostWorkers) reject(field, *v, fmt::format("an integer, 1 .. {}", kMostWorkers));
    return static_cast<unsigned>(std::min(value, kMostWorkers));
  }
  Basis basis(bool measured) {
    const std::string found = text("basis");
    const auto* const end = std::end(kBasisNames);
    const auto* const it = std::find(std::begin(kBasisNames), end, found);
    const Basis basis = it == end ? Basis::kQuoted : static_cast<Basis>(it - std::begin(kBasisNames));
    if (it == end)
      reject("basis", found, "quoted, digitised, third-party, derived or measured");
    else if (basis == Basis::kMeasured && !measured)
      reject("basis", found, "how it was published: the profile's kind is published");
    return basis;
  }
  std::string source(const PlatformProfile& p) {
    const std::string found = text("source");
    const bool known = std::any_of(p.sources.begin(), p.sources.end(), [&](const auto& s) { return s.first == found; });
    if (!known) reject("source", found, "a key of 'sources'");
    return found;
  }
  void unit(const char* expected) {
    if (const std::string found = text("unit"); found != expected) reject("unit", found, fmt::format("'{}'", expected));
  }
  // nullptr, and an error: not there.
  const json* any(const char* field) { return find(field, false); }

  void reject(const std::string& field, const json& found, const std::string& expected) {
    if (error_.ok()) error_ = error("{}: {} is {}, expected {}", file_, name(field), shown(found), expected);
  }
  Status finish() {
    if (!error_.ok()) return error_;
    for (const auto& [key, value] : object_.items())
      if (!asked_.contains(key)) return error("{}: {} is unknown to this build", file_, name(key));
    return {};
  }

 private:
  const json* find(const char* field, bool optional) {
    asked_.insert(field);
    if (!object_.is_object()) return nullptr;
    const auto it = object_.find(field);
    if (it != object_.end()) return &*it;
    if (!optional && error_.ok()) error_ = error("{}: {} is missing", file_, name(field));
    return nullptr;
  }
  std::string name(const std::string& field) const {
    return fmt::format("field '{}{}{}'", path_, path_.empty() || field.empty() ? "" : ".", field);
  }

  const std::string& file_;
  std::string path_;
  const json& object_;
  std::set<std::string, std::less<>> asked_;
  Status error_;
};

Result<ProfileNumber> read_number(const json& value, const std::string& path, const char* unit,
                                  const PlatformProfile& p) {
  Reader in(p.file, path, value);
  ProfileNumber n;
  n.value = in.number("value");
  in.unit(unit);
  n.workers = in.workers("workers");
  n.matrix_workers = in.workers("matrix_workers");
  n.basis = in.basis(p.measured);
  n.source = in.source(p);
  n.note = in.text("note", true);
  SMEPILOT_TRY(in.finish());
  return n;
}

Status read_field(const json& value, const ProfileField& field, PlatformProfile& p) {
  std::vector<ProfileNumber>& points = p.numbers[field.name];
  if (value.is_null()) return {};
  const std::string path = std::string("numbers.") + field.name;
  if (!value.is_array()) {
    SMEPILOT_ASSIGN(ProfileNumber n, read_number(value, path, field.unit, p));
    points.push_back(std::move(n));
    return {};
  }
  if (value.empty()) return error("{}: field '{}' is [], expected null or at least one number", p.file, path);
  for (size_t i = 0; i < value.size(); ++i) {
    SMEPILOT_ASSIGN(ProfileNumber n, read_number(value[i], fmt::format("{}[{}]", path, i), field.unit, p));
    if (n.workers <= (points.empty() ? 0 : points.back().workers))
      return error("{}: field '{}[{}].workers' is {}, expected more than before: points are in order of workers",
                   p.file, path, i, n.workers);
    points.push_back(std::move(n));
  }
  return {};
}

Status read_numbers(const json& object, PlatformProfile& p) {
  Reader in(p.file, "numbers", object);
  for (const ProfileField& field : kFields) {
    const json* const value = in.any(field.name);
    if (value == nullptr) break;
    SMEPILOT_TRY(read_field(*value, field, p));
  }
  return in.finish();
}

Status read_other(const json& list, PlatformProfile& p) {
  if (!list.is_array()) return error("{}: field 'other' is {}, expected an array", p.file, shown(list));
  for (size_t i = 0; i < list.size(); ++i) {
    Reader in(p.file, fmt::format("other[{}]", i), list[i]);
    OtherNumber n;
    n.what = in.text("what");
    n.value = in.number("value");
    n.unit = in.text("unit");
    n.basis = in.basis(p.measured);
    n.source = in.source(p);
    SMEPILOT_TRY(in.finish());
    p.other.push_back(std::move(n));
  }
  return {};
}

Status read_sources(const json& object, PlatformProfile& p) {
  if (!object.is_object() || object.empty())
    return error("{}: field 'sources' is {}, expected an object with at least one source", p.file, shown(object));
  for (const auto& [key, value] : object.items()) {
    if (!value.is_string() || value.get_ref<const std::string&>().empty())
      return error("{}: field 'sources.{}' is {}, expected a string", p.file, key, shown(value));
    p.sources.emplace_back(key, value.get<std::string>());
  }
  return {};
}

// Of an object, each key only once: a parser would take the last one.
Result<json> parse(const std::string& text, const std::string& file) {
  std::vector<std::set<std::string>> keys;
  std::string twice;
  const auto callback = [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      twice = value.get<std::string>();
    return true;
  };
  try {
    json parsed = json::parse(text, callback);
    if (!twice.empty()) return error("{}: field '{}' is there twice", file, twice);
    return parsed;
  } catch (const json::exception& e) {
    return error("{}: not JSON: {}", file, e.what());
  }
}

Result<std::string> find_file(const std::string& name_or_path) {
  if (name_or_path.find('/') != std::string::npos || name_or_path.ends_with(".json")) return name_or_path;
  std::error_code ignored;
  for (const std::string& dir : data_dirs()) {
    const std::filesystem::path path = std::filesystem::path(dir) / "platforms" / (name_or_path + ".json");
    if (std::filesystem::is_regular_file(path, ignored)) return path.string();
  }
  return error("no platform profile named '{}' (all: smetune platforms); {}", name_or_path,
               suggest_names(name_or_path, known_platform_profiles()));
}

}  // namespace

const char* basis_name(Basis basis) noexcept {
  return kBasisNames[static_cast<size_t>(basis)];
}

std::span<const ProfileField> profile_fields() {
  return kFields;
}

std::optional<double> PlatformProfile::find(std::string_view field, unsigned workers) const {
  const auto it = numbers.find(std::string(field));
  if (it == numbers.end() || it->second.empty()) return {};
  const std::vector<ProfileNumber>& points = it->second;
  if (workers == 0 || workers >= points.back().workers) return points.back().value;
  if (workers <= points.front().workers) return points.front().value * workers / points.front().workers;
  const auto above = std::find_if(points.begin(), points.end(), [&](const auto& p) { return p.workers >= workers; });
  const ProfileNumber &low = *(above - 1), &high = *above;
  return low.value + (high.value - low.value) * (workers - low.workers) / (high.workers - low.workers);
}

Result<double> PlatformProfile::need(std::string_view field, std::string_view who, unsigned workers) const {
  const std::optional<double> value = find(field, workers);
  if (value) return *value;
  return error("{}: field 'numbers.{}' is null, nothing is {}; {} needs it", file, field,
               measured ? "measured" : "published", who);
}

unsigned PlatformProfile::workers_of(std::string_view field) const {
  const auto it = numbers.find(std::string(field));
  return it == numbers.end() || it->second.empty() ? 0 : it->second.back().workers;
}

unsigned PlatformProfile::matrix_workers_of(std::string_view field) const {
  const auto it = numbers.find(std::string(field));
  return it == numbers.end() || it->second.empty() ? 0 : it->second.back().matrix_workers;
}

std::vector<std::string> PlatformProfile::lacking() const {
  std::vector<std::string> out;
  for (const ProfileField& f : kFields)
    if (!find(f.name)) out.push_back(f.name);
  return out;
}

std::string PlatformProfile::fingerprint() const {
  Fnv h;
  h.add(name);
  h.add(chip);
  h.add(measured ? "measured" : "published");
  for (const ProfileField& f : kFields) {
    const auto it = numbers.find(f.name);
    h.add(f.name);
    if (it == numbers.end()) continue;
    for (const ProfileNumber& n : it->second) {
      h.add(fmt::format("{}", n.value));
      h.add(uint64_t{n.workers});
      h.add(uint64_t{n.matrix_workers});
    }
  }
  return h.hex();
}

std::vector<std::pair<std::string, std::string>> PlatformProfile::identity() const {
  const std::string from = fmt::format("{} '{}'", label(), name);
  const auto count = [this](const char* field) {
    const std::optional<double> v = find(field);
    return v ? fmt::format("{:.0f}", *v) : std::string("?");
  };
  return {{"cpu_family", from},
          {"cpu_model", chip},
          {"isa", isa},
          {"cores", count("cores")},
          {"cpus", count("cores")},
          {"caches", from},
          {"matrix_unit", fmt::format("{} x{}", matrix_unit.empty() ? "none" : matrix_unit, count("matrix.units"))}};
}

Result<PlatformProfile> platform_profile_from_json(const std::string& text, const std::string& file) {
  SMEPILOT_ASSIGN(const json object, parse(text, file));
  PlatformProfile p;
  p.file = file;
  if (!object.is_object()) return error("{}: expected a JSON object, found {}", file, shown(object));
  Reader in(p.file, "", object);
  const std::string schema = in.text("schema");
  if (schema != kSchema) in.reject("schema", schema, fmt::format("'{}'", kSchema));
  p.name = in.text("name");
  p.chip = in.text("chip");
  const std::string kind = in.text("kind");
  p.measured = kind == "measured";
  if (!p.measured && kind != "published") in.reject("kind", kind, "published or measured");
  p.isa = in.text("isa");
  p.matrix_unit = in.text("matrix_unit", true);
  const json* const sources = in.any("sources");
  const json* const numbers = in.any("numbers");
  const json* const other = in.any("other");
  SMEPILOT_TRY(in.finish());
  SMEPILOT_TRY(read_sources(*sources, p));
  SMEPILOT_TRY(read_numbers(*numbers, p));
  SMEPILOT_TRY(read_other(*other, p));
  return p;
}

Result<PlatformProfile> load_platform_profile(const std::string& name_or_path) {
  SMEPILOT_ASSIGN(const std::string file, find_file(name_or_path));
  std::ifstream in(file, std::ios::binary);
  if (!in) return error("{}: cannot be opened", file);
  std::string text(kMaxBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.size() > kMaxBytes) return error("{}: larger than {} bytes, not a platform profile", file, kMaxBytes);
  return platform_profile_from_json(text, file);
}

std::vector<std::string> known_platform_profiles() {
  std::set<std::string> names;
  for (const std::string& dir : data_dirs()) {
    std::error_code ignored;
    std::filesystem::directory_iterator it(std::filesystem::path(dir) / "platforms", ignored), end;
    for (; !ignored && it != end; it.increment(ignored))
      if (it->path().extension() == ".json") names.insert(it->path().stem().string());
  }
  return {names.begin(), names.end()};
}

}  // namespace smepilot
