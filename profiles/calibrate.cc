#include "profiles/calibrate.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <optional>

#include "kernels/base/aligned_buffer.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/probe/probe.h"
#include "profiles/matrix_units.h"
#include "profiles/packing_probe.h"
#include "profiles/sampled_run.h"
#include "profiles/statistics.h"
#include "profiles/timer.h"
#include "profiles/working_sets.h"

namespace smepilot {
namespace {

// The phases, as the fractions of the time at which they end.
constexpr double kComputeEnd = 0.25, kMemoryEnd = 0.7, kCoopEnd = 0.76, kForkJoinEnd = 0.81, kNoiseEnd = 0.9,
                 kExpEnd = 0.95, kPackEnd = 1;
constexpr double kDefaultSeconds = 36, kQuickSeconds = 9;
constexpr double kPieceNs = 5e4;  // of work, between two looks at the clock
constexpr uint64_t kPieceBytes = 256 << 10;
constexpr int kBatch = 64;            // of what is too short to be timed alone
constexpr size_t kExpBytes = 8192;    // of input, and of output: both fit any L1
constexpr double kReferenceNs = 5e4;  // of the reference kernel, between the steps
constexpr int kReferenceRuns = 3;
constexpr double kRatePercentile = 90;  // see calibration.h

const char* isa_name(IsaSet isa) {
  for (const IsaName& n : kIsaNames)
    if (n.isa == isa) return n.name;
  return "unknown";
}

const char* dtype_of(ProbeKind kind) {
  switch (kind) {
    case ProbeKind::kFlopsF32: return "f32";
    case ProbeKind::kFlopsF16: return "f16";
    case ProbeKind::kFlopsBf16: return "bf16";
    case ProbeKind::kFlopsInt8: return "int8";
    default: return "";
  }
}

// The unit that a probe measures on this machine. On the test bed the wider vectors play the matrix unit.
std::optional<ExecutionUnit> unit_of(const Probe& probe, const Platform& platform) {
  if (!is_testbed(platform)) return probe.unit;
  if (probe.unit == ExecutionUnit::kMatrix) return std::nullopt;  // the real one has no part in it
  constexpr IsaSet kWide = kIsaAvx512 | kIsaAvx512Vnni | kIsaAvx512Bf16;
  return (probe.isa & kWide) != 0 ? ExecutionUnit::kMatrix : ExecutionUnit::kCpu;
}

unsigned workers_of(const CalibrateOptions& options, const Platform& platform) {
  return options.workers != 0 ? options.workers : std::max(platform.cores, 1u);
}

double budget_ns(const CalibrateOptions& options) {
  if (options.seconds > 0) return 1e9 * options.seconds;
  return 1e9 * (options.quick ? kQuickSeconds : kDefaultSeconds) / (options.verify ? 3 : 1);
}

// What is measured, phase after phase.
class Calibrator : private SampledRun {
 public:
  Calibrator(const Platform& platform, const CalibrateOptions& options, IsaSet isa)
      : SampledRun(workers_of(options, platform), platform.worker_cpus(), budget_ns(options), options,
                   [this] { return reference_rate(); }),
        platform_(platform),
        options_(options),
        workers_(workers_of(options, platform)),
        counts_(calibrated_worker_counts(workers_)) {
    if (options.verify && counts_.size() > 2) counts_ = {1, workers_};
    for (const Probe* p : all_probes())
      if ((p->isa & ~isa) == 0) probes_.push_back(p);
  }

  Result<Calibration> run() {
    start();
    out_.quick = options_.quick;
    out_.created = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
    SMEPILOT_TRY(measure_compute());
    SMEPILOT_TRY(measure_memory());
    if (!options_.verify) SMEPILOT_TRY(measure_coop());
    SMEPILOT_TRY(measure_fork_join());
    SMEPILOT_TRY(measure_noise());
    if (!options_.verify) SMEPILOT_TRY(measure_exp_and_packing());
    out_.clock = clock_record();
    out_.busy_fraction = busy_fraction();
    out_.seconds = elapsed_ns() * 1e-9;
    if (options_.progress) options_.progress(1, "done");
    return std::move(out_);
  }

 private:
  // The reference kernel on one core: its best of a few short runs, since interference only ever lowers it.
  double reference_rate() {
    const Probe* probe = best_probe(ProbeKind::kFlopsF32);
    if (probe == nullptr) return 0;
    const auto once = [&](uint64_t repeat) {
      const ProbeArgs args = {nullptr, nullptr, 0, repeat, false};
      return timed(1, [&](unsigned) noexcept { probe->run(&args); });
    };
    if (reference_repeat_ == 0) reference_repeat_ = choose_repeat(once, kReferenceNs);
    double ns = once(reference_repeat_);
    for (int i = 1; i < kReferenceRuns; ++i) ns = std::min(ns, once(reference_repeat_));
    return probe->work * static_cast<double>(reference_repeat_) / ns;
  }

  const Probe* best_probe(ProbeKind kind, ExecutionUnit unit = ExecutionUnit::kCpu) const {
    for (const Probe* p : probes_)
      if (p->kind == kind && unit_of(*p, platform_) == unit) return p;
    return nullptr;
  }

  Status measure_compute() {
    std::vector<std::pair<const Probe*, unsigned>> compute;  // with a number of workers
    for (const Probe* p : probes_) {
      const std::optional<ExecutionUnit> unit = unit_of(*p, platform_);
      if (p->work <= 0 || !unit) continue;
      // A real unit is also given too many workers: that they gain nothing counts it. On the test bed the number is a
      // definition.
      const bool defined = is_testbed(platform_) && *unit == ExecutionUnit::kMatrix;
      for (const unsigned workers : counts_)
        if (!defined || workers <= platform_.matrix_units) compute.emplace_back(p, workers);
    }
    const size_t cells = compute.size();
    size_t step = 0;
    for (const auto& [p, workers] : compute) {
      const Probe& probe = *p;
      const unsigned count = workers;
      Peak peak{
          unit_of(probe, platform_).value_or(probe.unit), dtype_of(probe.kind), isa_name(probe.isa), count, 0, {}};
      SMEPILOT_TRY(measure_step(
          0, kComputeEnd, step++, cells,
          fmt::format("peak {} {}, {} worker{}", peak.dtype, peak.isa, count, count == 1 ? "" : "s"), [&]() -> Status {
            const auto once = [&](uint64_t repeat) {
              const ProbeArgs args = {nullptr, nullptr, 0, repeat, false};
              return timed(count, [&](unsigned) noexcept { probe.run(&args); });
            };
            const uint64_t repeat = choose_repeat(once);
            const double work = probe.work * count * static_cast<double>(repeat);
            SMEPILOT_ASSIGN(peak.samples, sample(step_end_ns_, [&] { return work / once(repeat); }));
            return {};
          }));
      peak.gflops = percentile(peak.samples, kRatePercentile);
      out_.peaks.push_back(std::move(peak));
    }
    return {};
  }

  // Each worker's own memory, first touched by it. Worker w takes part only where there are more than w workers, so
  // it never needs more than 1/(w+1) of the largest set.
  Status allocate_buffers(uint64_t largest) {
    buffers_ = std::vector<AlignedBuffer>(workers_);
    std::vector<Status> status(workers_);
    pool_.run(workers_, [&](unsigned w, unsigned) noexcept {
      Result<AlignedBuffer> buffer = AlignedBuffer::allocate(static_cast<size_t>(largest / (w + 1)));
      if (!buffer.ok()) {
        status[w] = buffer.status();
        return;
      }
      buffers_[w] = std::move(buffer).value();
      // Finite, different numbers: zeros may be compressed by hardware, and exp() reads them as floats.
      float* x = buffers_[w].as<float>();
      uint32_t state = 0x9e3779b9u + w;
      for (size_t i = 0; i < buffers_[w].size() / sizeof(float); ++i) {
        state = state * 1664525u + 1013904223u;
        x[i] = -static_cast<float>(state >> 12) * 0x1p-16f;
      }
    });
    for (const Status& s : status) SMEPILOT_TRY(s);
    return {};
  }

  // Rates of one operation on one working set. Beyond the caches the set is visited a window at a time, so that a
  // sample stays short although what it reads was evicted long ago.
  Result<std::vector<double>> sample_memory(const Probe& probe, const WorkingSet& set, unsigned workers, bool stream,
                                            int64_t end_ns) {
    const bool copy = probe.kind == ProbeKind::kCopy;
    const uint64_t per_worker = set.bytes / workers;
    const unsigned windows = set.cold ? kColdWindows : 1;
    const size_t each = static_cast<size_t>(per_worker / windows / (copy ? 2 : 1) / kProbeGranule * kProbeGranule);
    const auto once = [&](uint64_t repeat) {
      const size_t at = window_++ % windows * each * (copy ? 2 : 1);
      return timed(workers, [&, at, repeat](unsigned w) noexcept {
        std::byte* p = buffers_[w].data() + at;
        const ProbeArgs args = {copy ? p + each : p, p, each, repeat, stream};
        probe.run(&args);
      });
    };
    const uint64_t repeat = set.cold ? 1 : choose_repeat(once);
    const double bytes = static_cast<double>(each) * (copy ? 2 : 1) * workers * static_cast<double>(repeat);
    return sample(end_ns, [&] { return bytes / once(repeat); });
  }

  // One cell of the table of bandwidths, into `row`.
  Status measure_bandwidth(const Probe& probe, ProbeKind kind, const WorkingSet& set, Bandwidth& row) {
    // Stores that bypass the caches win where the set does not fit them; which does is a fact of the machine.
    const bool both = kind != ProbeKind::kRead && set.beyond_l2;
    const int64_t half = now_ns() + (step_end_ns_ - now_ns()) / 2;
    row.gbps = 0;
    for (const bool stream : {false, true}) {
      if (stream && !both) continue;
      SMEPILOT_ASSIGN(std::vector<double> samples,
                      sample_memory(probe, set, row.workers, stream, both && !stream ? half : step_end_ns_));
      const double rate = percentile(samples, kRatePercentile);
      if (rate > row.gbps) {
        row.gbps = rate;
        row.samples = std::move(samples);
      }
    }
    return {};
  }

  Status measure_memory() {
    constexpr ProbeKind kKinds[] = {ProbeKind::kRead, ProbeKind::kWrite, ProbeKind::kCopy};
    SMEPILOT_TRY(next_step(kComputeEnd, kMemoryEnd, 0, 1, "allocating memory"));
    std::vector<std::pair<unsigned, WorkingSet>> sets;
    uint64_t largest = 2 * kExpBytes;
    for (const unsigned workers : counts_) {
      for (const WorkingSet& s : working_sets(platform_, workers, options_.quick, options_.max_set_bytes)) {
        if (options_.verify && s.level != "LLC" && s.level != "DRAM") continue;
        sets.emplace_back(workers, s);
        largest = std::max(largest, s.bytes);
      }
    }
    SMEPILOT_TRY(allocate_buffers(largest));
    const size_t cells = sets.size() * (options_.verify ? 1 : std::size(kKinds));
    size_t step = 0;
    for (const auto& [workers, set] : sets) {
      for (const ProbeKind kind : kKinds) {
        if (options_.verify && kind != ProbeKind::kRead) continue;
        const char* op = kProbeKindNames[static_cast<size_t>(kind)];
        const Probe* probe = best_probe(kind);
        if (probe == nullptr) {
          ++step;
          continue;
        }
        Bandwidth row{set.level, op, workers, set.bytes, 0, {}};
        SMEPILOT_TRY(
            measure_step(kComputeEnd, kMemoryEnd, step++, cells,
                         fmt::format("{} {}, {} worker{}", op, row.level, row.workers, row.workers == 1 ? "" : "s"),
                         [&] { return measure_bandwidth(*probe, kind, set, row); }));
        out_.bandwidths.push_back(std::move(row));
      }
    }
    return {};
  }

  // Both units at work at the same time, each worker for the length of a sample, in pieces: the rate of each side in
  // pieces per nanosecond. matrix(w) and cpu(w) do a piece as worker w.
  template <typename Matrix, typename Cpu>
  std::pair<double, double> side_rates(const CoopWorkers& workers, const Matrix& matrix, const Cpu& cpu) {
    timed(workers.matrix + workers.cpu, [&](unsigned w) noexcept {
      const int64_t until = now_ns() + static_cast<int64_t>(kSampleNs);
      times_[w].pieces = 0;
      do {
        if (w < workers.matrix)
          matrix(w);
        else
          cpu(w);
        ++times_[w].pieces;
      } while (now_ns() < until);
    });
    std::pair<double, double> rates = {0, 0};
    for (unsigned w = 0; w < workers.matrix + workers.cpu; ++w) {
      const WorkerTime& t = times_[w];
      const double ns = static_cast<double>(std::max<int64_t>(t.end - t.begin, 1));
      (w < workers.matrix ? rates.first : rates.second) += static_cast<double>(t.pieces) / ns;
    }
    return rates;
  }

  // Samples of both sides at once: pieces per nanosecond times the size of the side's piece.
  template <typename Rates>
  Result<std::pair<std::vector<double>, std::vector<double>>> sample_sides(double matrix_piece, double cpu_piece,
                                                                           const Rates& rates) {
    std::pair<std::vector<double>, std::vector<double>> out;
    SMEPILOT_ASSIGN(out.first, sample(step_end_ns_, [&] {
                      const auto [matrix, cpu] = rates();
                      out.second.push_back(cpu * cpu_piece);
                      return matrix * matrix_piece;
                    }));
    return out;
  }

  // The ceilings of cooperative execution: what each side keeps of its peak, and of the memory's rate, while the other
  // one draws on the same power, caches and memory.
  Status measure_coop() {
    const std::vector<CoopWorkers> divisions = coop_workers(workers_, platform_.matrix_units);
    std::vector<std::pair<const Probe*, const Probe*>> pairs;
    for (const Probe* p : probes_) {
      if (p->work <= 0 || best_probe(p->kind, ExecutionUnit::kMatrix) != p) continue;
      // Cores that do not multiply the type itself do so in f32.
      const Probe* cpu = best_probe(p->kind);
      if (cpu == nullptr) cpu = best_probe(ProbeKind::kFlopsF32);
      if (cpu != nullptr) pairs.emplace_back(p, cpu);
    }
    const Probe* matrix_read = best_probe(ProbeKind::kRead, ExecutionUnit::kMatrix);
    const Probe* cpu_read = best_probe(ProbeKind::kRead);
    const bool reads = matrix_read != nullptr && cpu_read != nullptr;
    const size_t steps = divisions.size() * (pairs.size() + (reads ? 1 : 0));
    size_t step = 0;
    for (const CoopWorkers& workers : divisions) {
      for (const auto& pair : pairs) {
        CoopPeak row{dtype_of(pair.first->kind),  isa_name(pair.first->isa),  workers.matrix, 0, {},
                     dtype_of(pair.second->kind), isa_name(pair.second->isa), workers.cpu,    0, {}};
        SMEPILOT_TRY(
            measure_step(kMemoryEnd, kCoopEnd, step++, steps,
                         fmt::format("both units, {}, {}+{} workers", row.matrix_dtype, workers.matrix, workers.cpu),
                         [&] { return measure_coop_peak(*pair.first, *pair.second, workers, row); }));
        out_.coop_peaks.push_back(std::move(row));
      }
      if (!reads) continue;
      CoopBandwidth row{"DRAM", workers.matrix, 0, {}, workers.cpu, 0, {}};
      SMEPILOT_TRY(measure_step(kMemoryEnd, kCoopEnd, step++, steps,
                                fmt::format("both units, read DRAM, {}+{} workers", workers.matrix, workers.cpu),
                                [&] { return measure_coop_read(*matrix_read, *cpu_read, workers, row); }));
      out_.coop_bandwidths.push_back(std::move(row));
    }
    return {};
  }

  Status measure_coop_peak(const Probe& matrix, const Probe& cpu, const CoopWorkers& workers, CoopPeak& row) {
    const auto piece = [&](const Probe& probe) {
      ProbeArgs args = {nullptr, nullptr, 0, 0, false};
      args.repeat = choose_repeat(
          [&](uint64_t repeat) {
            args.repeat = repeat;
            return timed(1, [&](unsigned) noexcept { probe.run(&args); });
          },
          kPieceNs);
      return args;
    };
    const ProbeArgs on_matrix = piece(matrix), on_cpu = piece(cpu);
    SMEPILOT_ASSIGN(auto samples, sample_sides(matrix.work * static_cast<double>(on_matrix.repeat),
                                               cpu.work * static_cast<double>(on_cpu.repeat), [&] {
                                                 return side_rates(
                                                     workers, [&](unsigned) noexcept { matrix.run(&on_matrix); },
                                                     [&](unsigned) noexcept { cpu.run(&on_cpu); });
                                               }));
    row.matrix_samples = std::move(samples.first);
    row.cpu_samples = std::move(samples.second);
    row.matrix_gflops = percentile(row.matrix_samples, kRatePercentile);
    row.cpu_gflops = percentile(row.cpu_samples, kRatePercentile);
    return {};
  }

  // Each worker goes round its part of what stands for DRAM, from where it stopped.
  Status measure_coop_read(const Probe& matrix, const Probe& cpu, const CoopWorkers& workers, CoopBandwidth& row) {
    uint64_t set = 0;
    for (const WorkingSet& s : working_sets(platform_, workers_, options_.quick, options_.max_set_bytes))
      set = std::max(set, s.bytes / workers_);
    const uint64_t piece = std::min(kPieceBytes, set / 2) / kProbeGranule * kProbeGranule;
    const uint64_t places = set / piece;
    std::vector<WorkerTime> at(workers_);  // `pieces`: the next place; a line of its own for each worker
    const auto read = [&](const Probe& probe, unsigned w) noexcept {
      const ProbeArgs args = {nullptr, buffers_[w].data() + at[w].pieces * piece, static_cast<size_t>(piece), 1, false};
      probe.run(&args);
      at[w].pieces = (at[w].pieces + 1) % places;
    };
    SMEPILOT_ASSIGN(auto samples, sample_sides(static_cast<double>(piece), static_cast<double>(piece), [&] {
                      return side_rates(
                          workers, [&](unsigned w) noexcept { read(matrix, w); },
                          [&](unsigned w) noexcept { read(cpu, w); });
                    }));
    row.matrix_samples = std::move(samples.first);
    row.cpu_samples = std::move(samples.second);
    row.matrix_gbps = percentile(row.matrix_samples, kRatePercentile);
    row.cpu_gbps = percentile(row.cpu_samples, kRatePercentile);
    return {};
  }

  // The SME probe that reads, with nothing to read: a call is the way into streaming mode and out of it.
  Status measure_streaming() {
    const auto streaming = std::find_if(probes_.begin(), probes_.end(), [](const Probe* p) {
      return p->kind == ProbeKind::kRead && (p->isa & (kIsaSme | kIsaSme2)) != 0;
    });
    if (streaming == probes_.end()) return {};
    const ProbeArgs args = {nullptr, buffers_[0].data(), 0, 0, false};
    return measure_step(kCoopEnd, kForkJoinEnd, 0, counts_.size() + 1, "streaming mode", [&]() -> Status {
      SMEPILOT_ASSIGN(const std::vector<double> samples, sample(step_end_ns_, [&] {
                        const int64_t start = now_ns();
                        for (int i = 0; i < kBatch; ++i) (*streaming)->run(&args);
                        return static_cast<double>(now_ns() - start) / kBatch;
                      }));
      out_.streaming_ns = median(samples);
      return {};
    });
  }

  Status measure_fork_join() {
    SMEPILOT_TRY(measure_streaming());
    size_t step = 0;
    for (const unsigned workers : counts_) {
      ForkJoin row{workers, 0, {}, 0};
      SMEPILOT_TRY(measure_step(kCoopEnd, kForkJoinEnd, step++, counts_.size(),
                                fmt::format("fork and join, {} worker{}", workers, workers == 1 ? "" : "s"),
                                [&] { return measure_forks(row); }));
      out_.fork_join.push_back(std::move(row));
    }
    return {};
  }

  Status measure_forks(ForkJoin& row) {
    const auto once = [&] {
      const int64_t start = now_ns();
      for (int i = 0; i < kBatch; ++i)
        pool_.run(row.workers, [](unsigned, unsigned) noexcept { __asm__ volatile("" ::: "memory"); });
      return static_cast<double>(now_ns() - start) / kBatch;
    };
    once();  // wakes parked workers
    // The barrier has the second half of the step.
    const int64_t half = now_ns() + std::max<int64_t>((step_end_ns_ - now_ns()) / 2, 0);
    SMEPILOT_ASSIGN(row.samples, sample(half, once));
    row.ns = median(row.samples);
    const auto barriers = [&] {
      double ns = 0;
      pool_.run(row.workers, [&](unsigned w, unsigned n) noexcept {
        pool_.barrier(n);
        const int64_t start = now_ns();
        for (int i = 0; i < kBatch; ++i) pool_.barrier(n);
        if (w == 0) ns = static_cast<double>(now_ns() - start) / kBatch;
      });
      return ns;
    };
    SMEPILOT_ASSIGN(const std::vector<double> barrier_samples, sample(step_end_ns_, barriers));
    row.barrier_ns = median(barrier_samples);
    return {};
  }

  // The same kernel as A and as B, in ABBA order, all workers: what differs is noise, and no claim of the tuner may
  // rest on less.
  Status measure_noise() {
    const Probe* probe = best_probe(ProbeKind::kFlopsInt8);
    if (probe == nullptr) return {};
    const auto once = [&](uint64_t repeat) {
      const ProbeArgs args = {nullptr, nullptr, 0, repeat, false};
      return timed(workers_, [&](unsigned) noexcept { probe->run(&args); });
    };
    return measure_step(kForkJoinEnd, kNoiseEnd, 0, 1, "noise floor, a kernel against itself", [&]() -> Status {
      const uint64_t repeat = choose_repeat(once);
      SMEPILOT_ASSIGN(const std::vector<double> deviations, sample(step_end_ns_, [&] {
                        const double a1 = once(repeat), b1 = once(repeat), b2 = once(repeat), a2 = once(repeat);
                        return std::abs((a1 + a2) / (b1 + b2) - 1);
                      }));
      out_.noise_floor = percentile(deviations, 95);
      return {};
    });
  }

  Status measure_exp_and_packing() {
    SMEPILOT_TRY(measure_step(kNoiseEnd, kExpEnd, 0, 1, "exp", [&] { return measure_exp(); }));
    SMEPILOT_ASSIGN(PackingProbe probe, PackingProbe::make());
    SMEPILOT_TRY(measure_step(kExpEnd, kPackEnd, 0, 2, "packing weights", [&]() -> Status {
      SMEPILOT_ASSIGN(out_.pack_gbps, packing_rate(probe.weight_bytes(), [&](uint64_t n) { probe.pack_weights(n); }));
      return {};
    }));
    return measure_step(kExpEnd, kPackEnd, 1, 2, "packing activations", [&]() -> Status {
      SMEPILOT_ASSIGN(out_.lhs_pack_gbps,
                      packing_rate(probe.activation_bytes(), [&](uint64_t n) { probe.pack_activations(n); }));
      return {};
    });
  }

  Status measure_exp() {
    const Probe* probe = best_probe(ProbeKind::kExp);
    if (probe == nullptr) return {};
    std::byte* p = buffers_[0].data();
    const auto once = [&](uint64_t repeat) {
      const ProbeArgs args = {p + kExpBytes, p, kExpBytes, repeat, false};
      return timed(1, [&](unsigned) noexcept { probe->run(&args); });
    };
    const uint64_t repeat = choose_repeat(once);
    constexpr uint64_t kExponentials = kExpBytes / sizeof(float);
    const auto count = static_cast<double>(kExponentials * repeat);
    SMEPILOT_ASSIGN(const std::vector<double> rates, sample(step_end_ns_, [&] { return count / once(repeat); }));
    out_.exp_geps = percentile(rates, kRatePercentile);
    return {};
  }

  // Of one worker, which packs `bytes` at each repetition of pack(repeat).
  template <typename Pack>
  Result<double> packing_rate(double bytes, const Pack& pack) {
    const auto once = [&](uint64_t repeat) { return timed(1, [&](unsigned) noexcept { pack(repeat); }); };
    const uint64_t repeat = choose_repeat(once);
    SMEPILOT_ASSIGN(const std::vector<double> rates,
                    sample(step_end_ns_, [&] { return bytes * static_cast<double>(repeat) / once(repeat); }));
    return percentile(rates, kRatePercentile);
  }

  const Platform& platform_;
  const CalibrateOptions& options_;
  const unsigned workers_;
  std::vector<unsigned> counts_;
  std::vector<const Probe*> probes_;
  std::vector<AlignedBuffer> buffers_;
  unsigned window_ = 0;  // of cold sets; goes on from one operation to the next, to what was not touched for longest
  uint64_t reference_repeat_ = 0;
  Calibration out_;
};

}  // namespace

std::vector<unsigned> calibrated_worker_counts(unsigned workers) {
  std::vector<unsigned> counts;
  workers = std::max(workers, 1u);
  for (unsigned n = 1; n < workers; n += n < 8 ? 1 : (n & (n - 1)) == 0 ? n / 2 : n / 3) counts.push_back(n);
  counts.push_back(workers);
  return counts;
}

Result<Calibration> calibrate(const Platform& platform, const CalibrateOptions& options) {
  SMEPILOT_ASSIGN(const IsaSet isa, usable_isa());
  return Calibrator(platform, options, isa).run();
}

}  // namespace smepilot
