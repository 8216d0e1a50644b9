#include "db/calibration_store.h"

#include "db/columns.h"
#include "db/sqlite.h"
#include "profiles/kernel_efficiency.h"

namespace smepilot {
namespace {

// The rows that a table has of a calibration, in the order in which they were stored.
template <typename Read>
auto rows_of(sqlite::Connection& c, int64_t calibration_id, const char* table, const char* columns, Read&& read) {
  sqlite::Statement s(c, fmt::format("SELECT {} FROM {} WHERE calibration_id = ? ORDER BY id", columns, table));
  return sqlite::all(s.bind(calibration_id), read);
}

// Ids of a platform's calibrations by a query that goes on after the joined tables.
sqlite::Statement of_platform(sqlite::Connection& c, const std::string& rest) {
  return sqlite::Statement(c,
                           "SELECT c.id FROM calibration AS c JOIN session AS s ON s.id = c.session_id "
                           "JOIN platform AS p ON p.id = s.platform_id WHERE p.fingerprint = ? " +
                               rest);
}

}  // namespace

Result<int64_t> CalibrationStore::save(int64_t session_id, const Calibration& calibration) {
  sqlite::Connection& c = *connection_;
  SMEPILOT_ASSIGN(auto transaction, sqlite::Transaction::begin(c));
  sqlite::Statement insert(
      c,
      "INSERT INTO calibration (session_id, created, quick, seconds, noise_floor, exp_geps, "
      "pack_gbps, busy_fraction, streaming_ns, median_error, clock_first_gflops, "
      "clock_last_gflops, clock_lowest_gflops, clock_highest_gflops, clock_tolerance, cooldown_s, "
      "repeated_steps, lhs_pack_gbps) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  const ClockRecord& clock = calibration.clock;
  SMEPILOT_TRY(insert
                   .bind(session_id, calibration.created.empty() ? utc_now() : calibration.created, calibration.quick,
                         calibration.seconds, calibration.noise_floor, calibration.exp_geps, calibration.pack_gbps,
                         calibration.busy_fraction, calibration.streaming_ns, median_error(calibration),
                         clock.first_gflops, clock.last_gflops, clock.lowest_gflops, clock.highest_gflops,
                         clock.tolerance, clock.cooldown_s, clock.repeated, calibration.lhs_pack_gbps)
                   .run());
  const int64_t id = c.last_insert_rowid();

  sqlite::Statement peak(c,
                         "INSERT INTO peak (calibration_id, unit, dtype, isa, workers, gflops, samples_json) "
                         "VALUES (?, ?, ?, ?, ?, ?, ?)");
  for (const Peak& p : calibration.peaks) {
    SMEPILOT_ASSIGN(const std::string samples, samples_to_json(p.samples, "peak samples"));
    SMEPILOT_TRY(peak.bind(id, std::string(unit_name(p.unit)), p.dtype, p.isa, p.workers, p.gflops, samples).run());
  }
  sqlite::Statement bandwidth(c,
                              "INSERT INTO bandwidth (calibration_id, level, op, workers, working_set_bytes, gbps, "
                              "samples_json) VALUES (?, ?, ?, ?, ?, ?, ?)");
  for (const Bandwidth& b : calibration.bandwidths) {
    SMEPILOT_ASSIGN(const std::string samples, samples_to_json(b.samples, "bandwidth samples"));
    SMEPILOT_TRY(bandwidth.bind(id, b.level, b.op, b.workers, b.working_set_bytes, b.gbps, samples).run());
  }
  sqlite::Statement fork_join(c,
                              "INSERT INTO fork_join (calibration_id, workers, ns, samples_json, barrier_ns) "
                              "VALUES (?, ?, ?, ?, ?)");
  for (const ForkJoin& f : calibration.fork_join) {
    SMEPILOT_ASSIGN(const std::string samples, samples_to_json(f.samples, "fork/join samples"));
    SMEPILOT_TRY(fork_join.bind(id, f.workers, f.ns, samples, f.barrier_ns).run());
  }
  sqlite::Statement coop_peak(c,
                              "INSERT INTO coop_peak (calibration_id, matrix_dtype, matrix_isa, matrix_workers, "
                              "matrix_gflops, matrix_samples_json, cpu_dtype, cpu_isa, cpu_workers, cpu_gflops, "
                              "cpu_samples_json) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const CoopPeak& p : calibration.coop_peaks) {
    SMEPILOT_ASSIGN(const std::string matrix, samples_to_json(p.matrix_samples, "coop peak samples"));
    SMEPILOT_ASSIGN(const std::string cpu, samples_to_json(p.cpu_samples, "coop peak samples"));
    SMEPILOT_TRY(coop_peak
                     .bind(id, p.matrix_dtype, p.matrix_isa, p.matrix_workers, p.matrix_gflops, matrix, p.cpu_dtype,
                           p.cpu_isa, p.cpu_workers, p.cpu_gflops, cpu)
                     .run());
  }
  sqlite::Statement coop_bandwidth(c,
                                   "INSERT INTO coop_bandwidth (calibration_id, level, matrix_workers, matrix_gbps, "
                                   "matrix_samples_json, cpu_workers, cpu_gbps, cpu_samples_json) "
                                   "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  for (const CoopBandwidth& b : calibration.coop_bandwidths) {
    SMEPILOT_ASSIGN(const std::string matrix, samples_to_json(b.matrix_samples, "coop bandwidth samples"));
    SMEPILOT_ASSIGN(const std::string cpu, samples_to_json(b.cpu_samples, "coop bandwidth samples"));
    SMEPILOT_TRY(
        coop_bandwidth.bind(id, b.level, b.matrix_workers, b.matrix_gbps, matrix, b.cpu_workers, b.cpu_gbps, cpu)
            .run());
  }
  sqlite::Statement kernel(c,
                           "INSERT INTO kernel_efficiency (calibration_id, kind, dtype, variant, workers, compute, "
                           "memory) VALUES (?, ?, ?, ?, ?, ?, ?)");
  for (const KernelEfficiency& k : calibration.kernels)
    SMEPILOT_TRY(kernel
                     .bind(id, std::string(kind_name(k.kind)), std::string(dtype_name(k.dtype)), k.variant, k.workers,
                           k.compute, k.memory)
                     .run());
  sqlite::Statement timed(c,
                          "INSERT INTO timed_operator (calibration_id, kind, dtype, m, n, k, kv_len, kv_heads, "
                          "variant, workers, held_out, predicted_ns, measured_ns, samples_json) "
                          "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const TimedOperator& t : calibration.operators) {
    SMEPILOT_ASSIGN(const std::string samples, samples_to_json(t.samples, "operator samples"));
    const OperatorShape& shape = t.shape;
    SMEPILOT_TRY(timed
                     .bind(id, std::string(kind_name(shape.kind)), std::string(dtype_name(shape.dtype)), shape.m,
                           shape.n, shape.k, shape.kv_len, shape.kv_heads, t.variant, t.workers, t.held_out,
                           t.predicted_ns, t.measured_ns, samples)
                     .run());
  }
  SMEPILOT_TRY(transaction.commit());
  return id;
}

Result<std::optional<Calibration>> CalibrationStore::get(int64_t id) {
  sqlite::Connection& c = *connection_;
  sqlite::Statement head(
      c,
      "SELECT id, created, quick, seconds, noise_floor, exp_geps, pack_gbps, busy_fraction, "
      "streaming_ns, clock_first_gflops, clock_last_gflops, clock_lowest_gflops, "
      "clock_highest_gflops, clock_tolerance, cooldown_s, repeated_steps, lhs_pack_gbps FROM calibration "
      "WHERE id = ?");
  SMEPILOT_ASSIGN(auto found, sqlite::first(head.bind(id), [](sqlite::Statement& row) {
                    Calibration calibration;
                    calibration.id = row.integer(0);
                    calibration.created = row.text(1);
                    calibration.quick = row.integer(2, 0, 1) != 0;
                    calibration.seconds = row.real(3);
                    calibration.noise_floor = row.real(4);
                    calibration.exp_geps = row.real(5);
                    calibration.pack_gbps = row.real(6);
                    calibration.busy_fraction = row.real(7);
                    calibration.streaming_ns = row.real(8);
                    calibration.clock = {.first_gflops = row.real(9),
                                         .last_gflops = row.real(10),
                                         .lowest_gflops = row.real(11),
                                         .highest_gflops = row.real(12),
                                         .tolerance = row.real(13),
                                         .cooldown_s = row.real(14),
                                         .repeated = row.u32(15)};
                    calibration.lhs_pack_gbps = row.real(16);
                    return calibration;
                  }));
  if (!found) return found;

  SMEPILOT_ASSIGN(found->peaks,
                  rows_of(c, id, "peak", "unit, dtype, isa, workers, gflops, samples_json", [](sqlite::Statement& row) {
                    Peak p;
                    p.unit = named(row, 0, unit_from_name);
                    p.dtype = row.text(1);
                    p.isa = row.text(2);
                    p.workers = row.u32(3);
                    p.gflops = row.real(4);
                    p.samples = samples_column(row, 5);
                    return p;
                  }));
  SMEPILOT_ASSIGN(found->bandwidths,
                  rows_of(c, id, "bandwidth", "level, op, workers, working_set_bytes, gbps, samples_json",
                          [](sqlite::Statement& row) {
                            Bandwidth b;
                            b.level = row.text(0);
                            b.op = row.text(1);
                            b.workers = row.u32(2);
                            b.working_set_bytes = static_cast<uint64_t>(row.integer(3, 0));
                            b.gbps = row.real(4);
                            b.samples = samples_column(row, 5);
                            return b;
                          }));
  SMEPILOT_ASSIGN(found->fork_join,
                  rows_of(c, id, "fork_join", "workers, ns, samples_json, barrier_ns", [](sqlite::Statement& row) {
                    ForkJoin f;
                    f.workers = row.u32(0);
                    f.ns = row.real(1);
                    f.samples = samples_column(row, 2);
                    f.barrier_ns = row.real(3);
                    return f;
                  }));
  SMEPILOT_ASSIGN(found->coop_peaks,
                  rows_of(c, id, "coop_peak",
                          "matrix_dtype, matrix_isa, matrix_workers, matrix_gflops, matrix_samples_json, cpu_dtype, "
                          "cpu_isa, cpu_workers, cpu_gflops, cpu_samples_json",
                          [](sqlite::Statement& row) {
                            CoopPeak p;
                            p.matrix_dtype = row.text(0);
                            p.matrix_isa = row.text(1);
                            p.matrix_workers = row.u32(2);
                            p.matrix_gflops = row.real(3);
                            p.matrix_samples = samples_column(row, 4);
                            p.cpu_dtype = row.text(5);
                            p.cpu_isa = row.text(6);
                            p.cpu_workers = row.u32(7);
                            p.cpu_gflops = row.real(8);
                            p.cpu_samples = samples_column(row, 9);
                            return p;
                          }));
  SMEPILOT_ASSIGN(
      found->coop_bandwidths,
      rows_of(c, id, "coop_bandwidth",
              "level, matrix_workers, matrix_gbps, matrix_samples_json, cpu_workers, cpu_gbps, cpu_samples_json",
              [](sqlite::Statement& row) {
                CoopBandwidth b;
                b.level = row.text(0);
                b.matrix_workers = row.u32(1);
                b.matrix_gbps = row.real(2);
                b.matrix_samples = samples_column(row, 3);
                b.cpu_workers = row.u32(4);
                b.cpu_gbps = row.real(5);
                b.cpu_samples = samples_column(row, 6);
                return b;
              }));
  SMEPILOT_ASSIGN(found->kernels, rows_of(c, id, "kernel_efficiency", "kind, dtype, variant, workers, compute, memory",
                                          [](sqlite::Statement& row) {
                                            KernelEfficiency k;
                                            k.kind = named(row, 0, kind_from_name);
                                            k.dtype = named(row, 1, dtype_from_name);
                                            k.variant = row.text(2);
                                            k.workers = row.u32(3);
                                            k.compute = row.real(4);
                                            k.memory = row.real(5);
                                            return k;
                                          }));
  SMEPILOT_ASSIGN(
      found->operators,
      rows_of(
          c, id, "timed_operator",
          "kind, dtype, m, n, k, kv_len, kv_heads, variant, workers, held_out, predicted_ns, measured_ns, samples_json",
          [](sqlite::Statement& row) {
            TimedOperator t;
            t.shape = {named(row, 0, kind_from_name),
                       named(row, 1, dtype_from_name),
                       row.u32(2),
                       row.u32(3),
                       row.u32(4),
                       row.u32(5),
                       row.u32(6)};
            t.variant = row.text(7);
            t.workers = row.u32(8);
            t.held_out = row.integer(9, 0, 1) != 0;
            t.predicted_ns = row.real(10);
            t.measured_ns = row.real(11);
            t.samples = samples_column(row, 12);
            return t;
          }));
  return found;
}

Result<std::optional<Calibration>> CalibrationStore::latest(const std::string& fingerprint) {
  sqlite::Statement s = of_platform(*connection_, "ORDER BY c.quick, c.created DESC, c.id DESC LIMIT 1");
  SMEPILOT_ASSIGN(const auto id, sqlite::first(s.bind(fingerprint), [](auto& row) { return row.integer(0); }));
  if (!id) return std::optional<Calibration>();
  return get(*id);
}

Result<std::vector<int64_t>> CalibrationStore::list(const std::string& fingerprint) {
  sqlite::Statement s = of_platform(*connection_, "ORDER BY c.created DESC, c.id DESC");
  return sqlite::all(s.bind(fingerprint), [](auto& row) { return row.integer(0); });
}

}  // namespace smepilot
