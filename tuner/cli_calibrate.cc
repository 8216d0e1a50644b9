#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "db/calibration_store.h"
#include "db/session_store.h"
#include "kernels/base/text.h"
#include "profiles/calibrate.h"
#include "profiles/matrix_units.h"
#include "profiles/roofline.h"
#include "profiles/roofline_table.h"
#include "profiles/timer.h"
#include "tuner/cli.h"

namespace smepilot {
namespace {

struct Options {
  bool quick = false, json = false;
  unsigned workers = 0;
};

std::string to_json(const Calibration& c, const Platform& platform) {
  nlohmann::ordered_json j;
  j["id"] = c.id;
  j["created"] = c.created;
  j["fingerprint"] = platform.fingerprint();
  for (const auto& [name, value] : platform.identity()) j["platform"][name] = value;
  j["testbed"] = is_testbed(platform);
  j["quick"] = c.quick;
  j["seconds"] = c.seconds;
  j["noise_floor"] = c.noise_floor;
  j["busy_fraction"] = c.busy_fraction;
  j["exp_geps"] = c.exp_geps;
  j["pack_gbps"] = c.pack_gbps;
  j["streaming_ns"] = c.streaming_ns;
  for (const Peak& p : c.peaks)
    j["peaks"].push_back({{"unit", kUnitNames[static_cast<size_t>(p.unit)]},
                          {"dtype", p.dtype},
                          {"isa", p.isa},
                          {"workers", p.workers},
                          {"gflops", p.gflops}});
  for (const Bandwidth& b : c.bandwidths)
    j["bandwidths"].push_back({{"level", b.level},
                               {"op", b.op},
                               {"workers", b.workers},
                               {"working_set_bytes", b.working_set_bytes},
                               {"gbps", b.gbps}});
  for (const ForkJoin& f : c.fork_join)
    j["fork_join"].push_back({{"workers", f.workers}, {"ns", f.ns}, {"barrier_ns", f.barrier_ns}});
  for (const CoopPeak& p : c.coop_peaks)
    j["coop_peaks"].push_back({{"matrix_dtype", p.matrix_dtype},
                               {"matrix_isa", p.matrix_isa},
                               {"matrix_workers", p.matrix_workers},
                               {"matrix_gflops", p.matrix_gflops},
                               {"cpu_dtype", p.cpu_dtype},
                               {"cpu_isa", p.cpu_isa},
                               {"cpu_workers", p.cpu_workers},
                               {"cpu_gflops", p.cpu_gflops}});
  for (const CoopBandwidth& b : c.coop_bandwidths)
    j["coop_bandwidths"].push_back({{"level", b.level},
                                    {"matrix_workers", b.matrix_workers},
                                    {"matrix_gbps", b.matrix_gbps},
                                    {"cpu_workers", b.cpu_workers},
                                    {"cpu_gbps", b.cpu_gbps}});
  if (const UnitScaling scaling = unit_scaling(c); scaling.units != 0)
    j["matrix_units"] = {{"by_scaling", scaling.units}, {"gain", scaling.gain}, {"by_system", platform.matrix_units}};
  return j.dump(2) + "\n";
}

int calibrate_verb(const Cli& cli, const Options& options) {
  const std::atomic<bool>& cancel = catch_interrupts();
  auto platform = detect_platform();
  if (!platform.ok()) return fail(platform.status());
  auto db = Database::open(cli.db_path);  // before measuring: an unwritable path must not cost a minute
  if (!db.ok()) return fail(db.status());
  auto session = SessionStore(*db).begin(*platform, cli.command);
  if (!session.ok()) return fail(session.status());

  ProgressLine line;
  CalibrateOptions o;
  o.quick = options.quick;
  o.workers = options.workers;
  o.cancel = &cancel;
  const int64_t start = now_ns();
  o.progress = [&](double fraction, std::string_view label) {
    const double elapsed = static_cast<double>(now_ns() - start) * 1e-9;
    line.update(fraction, label, fraction > 0.02 ? elapsed * (1 - fraction) / fraction : -1);
  };
  auto calibration = calibrate(*platform, o);
  line.clear();
  if (cancel.load()) {
    fmt::print(stderr, "smetune: interrupted; nothing was stored. A calibration is one piece: run it again.\n");
    return kExitInterrupted;
  }
  if (!calibration.ok()) return fail(calibration.status());
  auto id = CalibrationStore(*db).save(session->id, *calibration);
  if (!id.ok()) return fail(id.status());
  calibration->id = *id;
  if (options.json) return print_and_exit(to_json(*calibration, *platform));

  std::string out = roofline_table(*calibration, *platform);
  out += fmt::format("\nMeasured in {}, stored as calibration {} in {}\n", format_duration(calibration->seconds), *id,
                     db->path());
  return print_and_exit(out);
}

}  // namespace

void add_calibrate(Cli& cli) {
  CLI::App* verb = add_verb(&cli.app, "calibrate", "Measure this machine and store its rooflines",
                            "  smetune calibrate\n  smetune calibrate --quick --json");
  auto o = std::make_shared<Options>();
  verb->add_flag("--quick", o->quick, "Under 15 s: fewer samples, coarser numbers");
  verb->add_option("--workers", o->workers, "Measure 1 to this many workers [one per core]")
      ->check(CLI::Range(1, 1024));
  verb->add_flag("--json", o->json, "Print the result as JSON");
  verb->callback([&cli, o] { cli.action = [&cli, o] { return calibrate_verb(cli, *o); }; });
}

}  // namespace smepilot
