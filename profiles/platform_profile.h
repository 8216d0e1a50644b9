// A machine that need not be here: what was published about it (profiles/platforms/NAME.json), or what its owner
// measured and exported. Numbers that nobody published are absent, and asking for one is an error that names it: a
// prediction never guesses. The fields are described in profiles/platforms/README.md.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/base/status.h"
#include "profiles/calibration.h"
#include "profiles/platform.h"

namespace smepilot {

// How a number is known.
enum class Basis : uint8_t {
  kQuoted,      // the source's text or table says it
  kDigitised,   // read off a figure of the source
  kThirdParty,  // measured by others than the vendor or the paper
  kDerived,     // computed from published numbers
  kMeasured,    // by `smetune calibrate` on that machine
};
const char* basis_name(Basis basis) noexcept;  // "quoted", "digitised", … as in the file

struct ProfileNumber {
  double value = 0;
  unsigned workers = 0;         // that reached it together; of both units, the cores'. 0: not stated
  unsigned matrix_workers = 0;  // of both units: the matrix unit's, 0: not stated
  Basis basis = Basis::kQuoted;
  std::string source;  // key of PlatformProfile::sources
  std::string note;
};

// A field that every profile has, with a number, or points by worker count, or null.
struct ProfileField {
  const char* name;  // "compute.matrix.f16"
  const char* unit;  // "GFLOP/s"
};
std::span<const ProfileField> profile_fields();

// A published number that no prediction uses.
struct OtherNumber {
  std::string what, unit, source;
  double value = 0;
  Basis basis = Basis::kQuoted;
};

struct PlatformProfile {
  std::string file;  // for messages: where it was read, or the database
  std::string name, chip, isa, matrix_unit;
  bool measured = false;                                      // exported by `smetune platforms export`
  std::vector<std::pair<std::string, std::string>> sources;   // key, what it is
  std::map<std::string, std::vector<ProfileNumber>> numbers;  // of each field, by worker count; none: null
  std::vector<OtherNumber> other;

  // "published profile" or "measured profile": behind every number that is made from it.
  const char* label() const noexcept { return measured ? "measured profile" : "published profile"; }

  // The value at `workers` (0: of all): linear between the worker counts that it is known for, in proportion below the
  // first, flat beyond the last. Nothing if the field is null.
  std::optional<double> find(std::string_view field, unsigned workers = 0) const;
  // The same, or an error that names the file, the field and who needs it.
  Result<double> need(std::string_view field, std::string_view who, unsigned workers = 0) const;
  // The most workers that the field is known for, 0: not stated, or null.
  unsigned workers_of(std::string_view field) const;
  unsigned matrix_workers_of(std::string_view field) const;
  std::vector<std::string> lacking() const;  // fields that are null, in the order of profile_fields()

  // Never those of a real machine: a plan that was made from a profile cannot be taken for one that was measured.
  std::vector<std::pair<std::string, std::string>> identity() const;
  std::string fingerprint() const;  // 16 hex digits over all numbers
};

// From profiles/platforms/NAME.json, or a file path. Errors name the file, the field, what was expected and found.
Result<PlatformProfile> load_platform_profile(const std::string& name_or_path);
Result<PlatformProfile> platform_profile_from_json(const std::string& text, const std::string& file);
std::vector<std::string> known_platform_profiles();

// What calibration measured, as a profile that other machines can plan from. `name` is its name there.
PlatformProfile profile_of(const Platform& platform, const Calibration& calibration, const std::string& name);
std::string platform_profile_to_json(const PlatformProfile& profile);

}  // namespace smepilot
