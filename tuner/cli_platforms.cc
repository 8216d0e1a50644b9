// platforms: the machines that can be planned for without being here. platforms export: this machine for the others.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "kernels/base/atomic_file.h"
#include "kernels/base/text.h"
#include "profiles/platform_profile.h"
#include "tuner/cli.h"
#include "tuner/predict.h"

namespace smepilot {
namespace {

// What can be planned with these numbers: for each type of weights, the modes that have rates.
std::string plans_for(const PlatformProfile& p) {
  std::string out;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    std::string modes;
    for (const ExecutionMode mode : modes_of(p)) {
      SimNeed need;
      need.dtype = dtype;
      need.mode = mode;
      need.writes = false;
      if (sim_machine(p, need).ok())
        modes += fmt::format("{}{}", modes.empty() ? "" : "+", kModeNames[static_cast<size_t>(mode)]);
    }
    if (!modes.empty()) out += fmt::format("{}{}: {}", out.empty() ? "" : ", ", traits(dtype).name, modes);
  }
  return out.empty() ? "nothing" : out;
}

int list(bool json) {
  nlohmann::ordered_json j = nlohmann::ordered_json::array();
  std::string out, problems;
  for (const std::string& name : known_platform_profiles()) {
    const Result<PlatformProfile> p = load_platform_profile(name);
    if (!p.ok()) {
      problems += p.message() + "\n";
      continue;
    }
    const std::vector<std::string> lacking = p->lacking();
    std::string lacks;
    for (const std::string& field : lacking) lacks += (lacks.empty() ? "" : ", ") + field;
    out += wrap(fmt::format("{}: {}, {}", p->name, p->chip, p->label()), 80, 4) + "\n";
    out += wrap("  matmuls that can be planned: " + plans_for(*p), 80, 4) + "\n";
    out += wrap("  lacks: " + (lacks.empty() ? "nothing" : lacks), 80, 4) + "\n";
    j.push_back({{"name", p->name},
                 {"chip", p->chip},
                 {"label", p->label()},
                 {"file", p->file},
                 {"fingerprint", p->fingerprint()},
                 {"plans", plans_for(*p)},
                 {"lacks", lacking}});
  }
  const int code = print_and_exit(json ? j.dump(2) + "\n" : out);
  return problems.empty() ? code : fail(Status::error(problems));
}

int show(const std::string& name, bool json) {
  const Result<PlatformProfile> p = load_platform_profile(name);
  if (!p.ok()) return fail(p.status());
  if (json) return print_and_exit(platform_profile_to_json(*p));
  std::string out = wrap(fmt::format("{}: {}, {}", p->name, p->chip, p->label()), 80, 4) + "\n";
  out += fmt::format("  {}\n", p->file);
  for (const auto& [key, what] : p->sources) out += wrap(fmt::format("  source '{}': {}", key, what), 80, 4) + "\n";
  Table t({{"number"},
           {"value", Table::Align::kRight},
           {"unit"},
           {"workers", Table::Align::kRight},
           {"basis"},
           {"source"}});
  const auto workers = [](const ProfileNumber& n) {
    if (n.matrix_workers != 0) return fmt::format("{}+{}", n.matrix_workers, n.workers);
    return n.workers != 0 ? fmt::format("{}", n.workers) : std::string();
  };
  for (const ProfileField& f : profile_fields()) {
    const std::vector<ProfileNumber>& points = p->numbers.at(f.name);
    if (points.empty()) t.add({f.name, "-", f.unit, "", p->measured ? "not measured" : "not published", "", ""});
    for (const ProfileNumber& n : points)
      t.add({f.name, fmt::format("{:.5g}", n.value), f.unit, workers(n), basis_name(n.basis), n.source});
  }
  out += "\n" + t.text();
  const auto line = [](const std::string& text) { return wrap("  " + text, 80, 4) + "\n"; };
  std::string notes, other;
  for (const ProfileField& f : profile_fields())
    for (const ProfileNumber& n : p->numbers.at(f.name))
      if (!n.note.empty()) notes += line(fmt::format("{}: {}", f.name, n.note));
  for (const OtherNumber& n : p->other)
    other += line(fmt::format("{}: {:.5g} {} ({}, {})", n.what, n.value, n.unit, basis_name(n.basis), n.source));
  if (!notes.empty()) out += "\nNotes:\n" + notes;
  if (!other.empty()) out += "\nAlso published, used by no prediction:\n" + other;
  return print_and_exit(out);
}

int export_profile(const Cli& cli, const std::string& name, const std::string& path) {
  auto platform = detect_platform();
  if (!platform.ok()) return fail(platform.status());
  auto db = Database::open(cli.db_path, OpenMode::kReadOnly);
  if (!db.ok()) return fail(db.status());
  auto calibration = need_calibration(*db, *platform);
  if (!calibration.ok()) return fail(calibration.status());
  const std::string as = name.empty() ? "machine-" + platform->fingerprint() : name;
  const std::string text = platform_profile_to_json(profile_of(*platform, *calibration, as));
  if (path.empty() || path == "-") return print_and_exit(text);
  AtomicFile file(path);
  file.write(text);
  if (const Status status = file.commit(); !status.ok()) return fail(status);
  return print_and_exit(fmt::format("Calibration {} of this machine is written to {} as '{}', labelled measured\n",
                                    calibration->id, path, as));
}

}  // namespace

void add_platforms(Cli& cli) {
  CLI::App* verb =
      add_verb(&cli.app, "platforms", "Machines that can be planned for without being here, and what each lacks",
               "  smetune platforms\n  smetune platforms show apple-m4-pro\n"
               "  smetune platforms export -o my-machine.json\n"
               "  smetune search --platform my-machine.json --model llama-3.2-1b");
  verb->require_subcommand(0, 1);
  auto json = std::make_shared<bool>(false);
  verb->add_flag("--json", *json, "Print as JSON");
  verb->callback([&cli, verb, json] {
    if (verb->get_subcommands().empty()) cli.action = [json] { return list(*json); };
  });

  auto name = std::make_shared<std::string>();
  CLI::App* one =
      add_verb(verb, "show", "Every number of one, with its source", "  smetune platforms show apple-m4-pro");
  one->add_option("NAME", *name, "A name from `smetune platforms`, or a file")->required();
  one->add_flag("--json", *json, "Print as JSON");
  one->callback([&cli, name, json] { cli.action = [name, json] { return show(*name, *json); }; });

  auto as = std::make_shared<std::string>();
  auto path = std::make_shared<std::string>();
  CLI::App* out =
      add_verb(verb, "export", "This machine's newest calibration as a profile, labelled measured",
               "  smetune platforms export -o my-machine.json\n  smetune platforms export --name desk > desk.json");
  out->add_option("--name", *as, "Its name in the profile [machine-FINGERPRINT]");
  out->add_option("-o,--output", *path, "File to write [standard output]")->type_name("PATH");
  out->callback([&cli, as, path] { cli.action = [&cli, as, path] { return export_profile(cli, *as, *path); }; });
}

}  // namespace smepilot
