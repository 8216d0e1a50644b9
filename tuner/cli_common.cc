#include <fmt/format.h>

#include <cstring>
#include <fstream>

#include "db/calibration_store.h"
#include "kernels/registry/registry.h"
#include "profiles/model_file.h"
#include "tuner/cli.h"

namespace smepilot {
namespace {

constexpr const char* kTestbedNotice = "Test bed: part of the vector cores plays the matrix unit.\n";

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
  const bool json = text.starts_with('{') || text.starts_with('[');
  const bool says_so = !testbed_enabled() || text.starts_with(kTestbedNotice);
  if (!says_so && json) fmt::print(stderr, "{}", kTestbedNotice);
  const Status written = print_out(says_so || json ? text : kTestbedNotice + text);
  return written.ok() ? kExitOk : fail(written);
}

Result<ModelShape> load_model(const std::string& name_or_path, const std::string& dtype) {
  if (!is_gguf(name_or_path)) {
    // A profile's name holds neither; and what is there but no GGUF file gets the reader's message.
    const bool path = name_or_path.ends_with(".gguf") || name_or_path.find('/') != std::string::npos;
    if (!path) return load_model_profile(name_or_path, dtype);
    const Result<GgufFile> file = GgufFile::open(name_or_path);
    return file.ok() ? error("{}: is no GGUF file", name_or_path) : file.status();
  }
  if (!dtype.empty())
    return error("{}: --dtype is for models given by name; a GGUF file's weights have the types it says", name_or_path);
  SMEPILOT_ASSIGN(const GgufFile gguf, GgufFile::open(name_or_path));
  SMEPILOT_ASSIGN(const ModelFile file, ModelFile::load(gguf));
  return file.shape();
}

Result<Calibration> need_calibration(Database& db, const Platform& platform) {
  SMEPILOT_ASSIGN(std::optional<Calibration> c, CalibrationStore(db).latest(platform.fingerprint()));
  if (!c)
    return error("{}: no calibration of this machine{}", db.path(),
                 testbed_enabled() ? " as a test bed; make one with: smetune calibrate --testbed"
                                   : "; make one with: smetune calibrate");
  return std::move(*c);
}

}  // namespace smepilot
