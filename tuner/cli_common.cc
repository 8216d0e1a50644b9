#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "db/calibration_store.h"
#include "kernels/base/build_info.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "profiles/model_file.h"
#include "tuner/cli.h"

namespace smepilot {
namespace {

bool is_gguf(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  char magic[4] = {};
  return in.read(magic, sizeof magic) && std::memcmp(magic, "GGUF", 4) == 0;
}

}  // namespace

CLI::App* add_verb(CLI::App* parent, const std::string& name, const std::string& what, const std::string& examples) {
  CLI::App* verb = parent->add_subcommand(name, what);
  verb->fallthrough();
  verb->footer("Examples:\n" + examples);
  return verb;
}

int fail(const Status& status) {
  return print_error("smetune", status);
}

int print_and_exit(const std::string& text) {
  if (print_out(text)) return kExitOk;
  return fail(error("cannot write to standard output: {}", std::strerror(errno)));
}

Result<ModelShape> load_model(const std::string& name_or_path, const std::string& dtype) {
  if (!is_gguf(name_or_path)) return load_model_profile(name_or_path, dtype);
  if (!dtype.empty())
    return error("{}: --dtype is for models given by name; a GGUF file's weights have the types it says", name_or_path);
  SMEPILOT_ASSIGN(const GgufFile gguf, GgufFile::open(name_or_path));
  SMEPILOT_ASSIGN(const ModelFile file, ModelFile::load(gguf));
  return file.shape();
}

Result<Calibration> need_calibration(Database& db, const Platform& platform) {
  SMEPILOT_ASSIGN(std::optional<Calibration> c, CalibrationStore(db).latest(platform.fingerprint()));
  if (!c) return error("{}: no calibration of this machine; make one with: smetune calibrate", db.path());
  return std::move(*c);
}

std::string version_text() {
  const BuildInfo& b = build_info();
  std::string s = fmt::format("smetune {} ({})\n  built by {}, {}, flags: {}\n", b.version, b.revision, b.compiler,
                              b.type, b.flags);
  s += fmt::format("  this machine can run: {}\n", isa_to_string(detect_isa()));
  const Result<IsaSet> usable = usable_isa();
  if (!usable.ok())
    s += fmt::format("  SMEPILOT_FORCE_ISA: {}\n", usable.message());
  else if (*usable != detect_isa())
    s += fmt::format("  restricted by SMEPILOT_FORCE_ISA to: {}\n", isa_to_string(*usable));
  std::string unbuilt;
  for (const char* isa : unbuilt_isas()) unbuilt += (unbuilt.empty() ? "" : ", ") + std::string(isa);
  s += fmt::format("  steps this compiler could not build: {}\n", unbuilt.empty() ? "none" : unbuilt);
  s += fmt::format("  {} kernel variants, database schema {}", all_variants().size(), Database::newest_schema());
  return s;
}

}  // namespace smepilot
