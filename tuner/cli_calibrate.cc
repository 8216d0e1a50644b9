#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "db/calibration_store.h"
#include "db/session_store.h"
#include "kernels/base/text.h"
#include "profiles/calibrate.h"
#include "profiles/kernel_efficiency.h"
#include "profiles/matrix_units.h"
#include "profiles/roofline.h"
#include "profiles/roofline_table.h"
#include "profiles/timer.h"
#include "profiles/verify.h"
#include "tuner/cli.h"
#include "tuner/hardware_evaluator.h"
#include "tuner/held_out.h"

namespace smepilot {
namespace {

constexpr double kCeilingsEnd = 0.65;  // of the progress of a calibration; real operators follow

struct Options {
  bool quick = false, verify = false, json = false;
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
  j["lhs_pack_gbps"] = c.lhs_pack_gbps;
  j["streaming_ns"] = c.streaming_ns;
  j["clock"] = {{"first_gflops", c.clock.first_gflops},   {"last_gflops", c.clock.last_gflops},
                {"lowest_gflops", c.clock.lowest_gflops}, {"highest_gflops", c.clock.highest_gflops},
                {"tolerance", c.clock.tolerance},         {"cooldown_s", c.clock.cooldown_s},
                {"repeated_steps", c.clock.repeated}};
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
  for (const KernelEfficiency& k : c.kernels)
    j["kernels"].push_back({{"kind", kOpNames[static_cast<size_t>(k.kind)]},
                            {"dtype", traits(k.dtype).name},
                            {"variant", k.variant},
                            {"workers", k.workers},
                            {"compute", k.compute},
                            {"memory", k.memory}});
  for (const TimedOperator& t : c.operators)
    if (t.held_out)
      j["held_out"].push_back({{"operator", describe(t.shape)},
                               {"variant", t.variant},
                               {"workers", t.workers},
                               {"predicted_ns", t.predicted_ns},
                               {"measured_ns", t.measured_ns},
                               {"error", t.error()}});
  if (const std::optional<double> e = median_error(c)) j["median_error"] = *e;
  return j.dump(2) + "\n";
}

std::string to_json(const std::vector<VerifyRow>& rows, int64_t id, bool holds) {
  nlohmann::ordered_json j = {{"calibration", id}, {"holds", holds}};
  for (const VerifyRow& r : rows)
    j["numbers"].push_back(
        {{"name", r.name}, {"stored", r.stored}, {"now", r.now}, {"allowed", r.allowed}, {"holds", r.holds}});
  return j.dump(2) + "\n";
}

std::string verify_table(const std::vector<VerifyRow>& rows, const Calibration& stored) {
  std::string out = fmt::format("{:<40}{:>10}{:>10}{:>10}\n", "Number", "stored", "now", "allowed");
  std::string moved;
  for (const VerifyRow& r : rows) {
    out += fmt::format("{:<40}{:>10.1f}{:>10.1f}{:>8.0f} %{}\n", r.name.substr(0, 40), r.stored, r.now, 100 * r.allowed,
                       r.holds ? "" : "  moved");
    if (!r.holds) moved += (moved.empty() ? "" : "; ") + r.name;
  }
  out += moved.empty()
             ? fmt::format("\nCalibration {} of {} holds.\n", stored.id, stored.created)
             : fmt::format("\nCalibration {} of {} does not hold: {}.\nMake a new one with: smetune calibrate\n",
                           stored.id, stored.created, moved);
  return out;
}

// Measures a part again and stores nothing.
int verify_verb(const Cli& cli, const Options& options) {
  const std::atomic<bool>& cancel = catch_interrupts();
  auto platform = detect_platform();
  if (!platform.ok()) return fail(platform.status());
  auto db = Database::open(cli.db_path);
  if (!db.ok()) return fail(db.status());
  auto stored = need_calibration(*db, *platform);
  if (!stored.ok()) return fail(stored.status());
  ProgressLine line;
  CalibrateOptions o;
  o.quick = options.quick || stored->quick;  // the same working sets as then
  o.verify = true;
  o.workers = options.workers;
  for (const ForkJoin& f : stored->fork_join)
    if (options.workers == 0) o.workers = std::max(o.workers, f.workers);
  o.cancel = &cancel;
  o.progress = [&](double fraction, std::string_view label) { line.update(fraction, label); };
  auto now = calibrate(*platform, o);
  line.clear();
  if (cancel.load()) {
    fmt::print(stderr, "smetune: interrupted; nothing was verified.\n");
    return kExitInterrupted;
  }
  if (!now.ok()) return fail(now.status());
  auto rows = compare_calibrations(*stored, *now);
  if (!rows.ok()) return fail(rows.status());
  const bool holds = std::all_of(rows->begin(), rows->end(), [](const VerifyRow& r) { return r.holds; });
  const int code = print_and_exit(options.json ? to_json(*rows, stored->id, holds) : verify_table(*rows, *stored));
  return code != kExitOk || holds ? code : kExitFailed;
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
  const auto part = [&](double begin, double end) {
    return [&line, begin, end](double fraction, std::string_view label) {
      line.update(begin + (end - begin) * fraction, label);
    };
  };
  o.progress = part(0, kCeilingsEnd);
  unsigned teachings = 1;
  auto calibration = calibrate(*platform, o);
  if (calibration.ok()) {
    HeldOutOptions judge;
    judge.workers = options.workers != 0 ? options.workers : std::max(platform->cores, 1u);
    judge.quick = options.quick;
    judge.cold_bytes = HardwareOptions{}.cold_bytes;
    judge.cancel = &cancel;
    judge.progress = part(kCeilingsEnd, 1);
    HardwareEvaluator evaluator(*platform, judge.workers, {.cold_bytes = judge.cold_bytes});
    const Status status = teach_and_judge(*platform, evaluator, judge, *calibration, &teachings);
    if (!status.ok()) calibration = status;
    if (calibration.ok()) calibration->seconds = static_cast<double>(now_ns() - start) * 1e-9;
  }
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

  std::string out = roofline_table(*calibration, *platform) + held_out_table(*calibration, *platform);
  if (teachings > 1)
    out +=
        wrap(fmt::format("The memory became faster or slower meanwhile: operators were measured {} times, and the last "
                         "time counts.",
                         teachings),
             80, 0) +
        "\n";
  out += fmt::format("\nMeasured in {}, stored as calibration {} in {}\n", format_duration(calibration->seconds), *id,
                     db->path());
  return print_and_exit(out);
}

}  // namespace

void add_calibrate(Cli& cli) {
  CLI::App* verb = add_verb(&cli.app, "calibrate", "Measure this machine and store its rooflines",
                            "  smetune calibrate\n  smetune calibrate --quick --json\n"
                            "  smetune calibrate --verify");
  auto o = std::make_shared<Options>();
  verb->add_flag("--quick", o->quick, "About 15 s: fewer samples, coarser numbers");
  verb->add_option("--workers", o->workers, "Measure 1 to this many workers [one per core]")
      ->check(CLI::Range(1, 1024));
  verb->add_flag("--verify", o->verify,
                 "Measure a part again and say whether the stored calibration holds: exit code 1 if not");
  verb->add_flag("--json", o->json, "Print the result as JSON");
  verb->callback(
      [&cli, o] { cli.action = [&cli, o] { return o->verify ? verify_verb(cli, *o) : calibrate_verb(cli, *o); }; });
}

}  // namespace smepilot
