// A calibration as a platform profile.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "profiles/platform_profile.h"

namespace smepilot {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSource = "calibration";

const char* unit_of(const std::string& field) {
  for (const ProfileField& f : profile_fields())
    if (f.name == field) return f.unit;
  return "";
}

class Exporter {
 public:
  explicit Exporter(PlatformProfile& profile) : profile_(profile) {}

  // A point of the field; of several with the same workers the highest stays. Without a value there is none.
  void add(const std::string& field, double value, unsigned workers = 0, unsigned matrix_workers = 0,
           Basis basis = Basis::kMeasured, const std::string& note = "") {
    if (!(value > 0)) return;
    std::vector<ProfileNumber>& points = profile_.numbers[field];
    const auto at = std::find_if(points.begin(), points.end(), [&](const auto& p) { return p.workers >= workers; });
    const ProfileNumber n{value, workers, matrix_workers, basis, kSource, note};
    if (at == points.end() || at->workers != workers)
      points.insert(at, n);
    else if (value > at->value)
      *at = n;
  }

 private:
  PlatformProfile& profile_;
};

Json number_json(const ProfileNumber& n, const char* unit) {
  Json j{{"value", n.value}, {"unit", unit}};
  if (n.workers != 0) j["workers"] = n.workers;
  if (n.matrix_workers != 0) j["matrix_workers"] = n.matrix_workers;
  j["basis"] = basis_name(n.basis);
  j["source"] = n.source;
  if (!n.note.empty()) j["note"] = n.note;
  return j;
}

}  // namespace

PlatformProfile profile_of(const Platform& platform, const Calibration& calibration, const std::string& name) {
  PlatformProfile p;
  p.file = calibration.id != 0 ? fmt::format("calibration {}", calibration.id) : "calibration";
  p.name = name;
  p.chip = platform.cpu_model.empty() ? "unknown" : platform.cpu_model;
  p.isa = platform.isa.empty() ? "unknown" : platform.isa;
  p.matrix_unit = platform.matrix_unit;
  p.measured = true;
  p.sources = {
      {kSource, fmt::format("smetune calibrate, {}, platform {}",
                            calibration.created.empty() ? "not dated" : calibration.created, platform.fingerprint())}};
  for (const ProfileField& f : profile_fields()) p.numbers[f.name];
  Exporter out(p);
  out.add("cores", platform.cores);
  out.add("matrix.units", platform.matrix_units);
  for (const Peak& peak : calibration.peaks) {
    const std::string field = fmt::format("compute.{}.{}", kUnitNames[static_cast<size_t>(peak.unit)], peak.dtype);
    if (p.numbers.contains(field)) out.add(field, peak.gflops, peak.workers);
  }
  for (const CoopPeak& c : calibration.coop_peaks)
    if (const std::string field = "compute.coop." + c.matrix_dtype; p.numbers.contains(field))
      out.add(field, c.matrix_gflops + c.cpu_gflops, c.cpu_workers, c.matrix_workers);

  uint64_t last = 0;
  unsigned last_level = 0;
  for (const CacheLevel& c : platform.caches)
    if (c.level > last_level) last_level = c.level, last = c.bytes * c.instances;
  out.add("cache.llc", static_cast<double>(last));
  for (const Bandwidth& b : calibration.bandwidths) {
    const bool dram = b.level == "DRAM";
    if ((!dram && b.level != "LLC") || (b.op != "read" && b.op != "write")) continue;
    const std::string field = fmt::format("memory.{}.{}.", dram ? "dram" : "llc", b.op);
    for (const char* unit : {"cpu", "matrix", "coop"})
      out.add(field + unit, b.gbps, b.workers, 0, Basis::kMeasured,
              std::string_view(unit) == "cpu" ? "" : "by loads and stores of the workers' cores");
  }
  for (unsigned w = 1; w <= std::max(platform.cores, 1u); ++w)
    out.add("exp.cpu", calibration.exp_geps * w, w, 0, w == 1 ? Basis::kMeasured : Basis::kDerived,
            w == 1 ? "" : "one worker's rate times the workers");
  if (platform.matrix_unit != "sme")  // AMX leaves them to the vector part of the same core
    for (unsigned w = 1; w <= platform.matrix_units; ++w)
      out.add("exp.matrix", calibration.exp_geps * w, w, 0, Basis::kDerived, "by the cores of the unit's workers");
  for (const ForkJoin& f : calibration.fork_join) {
    out.add("cost.fork_join", f.ns, f.workers);
    out.add("cost.barrier", f.barrier_ns, f.workers);
  }
  out.add("cost.streaming", calibration.streaming_ns);
  return p;
}

std::string platform_profile_to_json(const PlatformProfile& p) {
  Json j;
  j["schema"] = "smepilot-platform/1";
  j["name"] = p.name;
  j["chip"] = p.chip;
  j["kind"] = p.measured ? "measured" : "published";
  j["isa"] = p.isa;
  if (!p.matrix_unit.empty()) j["matrix_unit"] = p.matrix_unit;
  j["sources"] = Json::object();
  for (const auto& [key, what] : p.sources) j["sources"][key] = what;
  j["numbers"] = Json::object();
  for (const ProfileField& f : profile_fields()) {
    const auto it = p.numbers.find(f.name);
    Json value;
    if (it != p.numbers.end() && it->second.size() == 1) {
      value = number_json(it->second[0], unit_of(f.name));
    } else if (it != p.numbers.end() && it->second.size() > 1) {
      value = Json::array();
      for (const ProfileNumber& n : it->second) value.push_back(number_json(n, unit_of(f.name)));
    }
    j["numbers"][f.name] = value;
  }
  j["other"] = Json::array();
  for (const OtherNumber& n : p.other)
    j["other"].push_back(
        {{"what", n.what}, {"value", n.value}, {"unit", n.unit}, {"basis", basis_name(n.basis)}, {"source", n.source}});
  return j.dump(2) + "\n";
}

}  // namespace smepilot
