// What the tests of the database share: a folder that goes away, and a machine, model, plan and search to store.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <string>

#include "db/bench_store.h"
#include "db/calibration_store.h"
#include "db/database.h"
#include "db/measurement_store.h"
#include "db/plan_store.h"
#include "db/session_store.h"

namespace smepilot::test {

#define ASSERT_OK(expr)                                 \
  do {                                                  \
    const auto& ok_result = (expr);                     \
    ASSERT_TRUE(ok_result.ok()) << ok_result.message(); \
  } while (0)
#define EXPECT_OK(expr)                                 \
  do {                                                  \
    const auto& ok_result = (expr);                     \
    EXPECT_TRUE(ok_result.ok()) << ok_result.message(); \
  } while (0)
// The error of `expr` contains `text`.
#define EXPECT_ERROR(expr, text)                                                               \
  do {                                                                                         \
    const auto& error_result = (expr);                                                         \
    EXPECT_FALSE(error_result.ok()) << "expected an error with: " << (text);                   \
    EXPECT_NE(error_result.message().find(text), std::string::npos) << error_result.message(); \
  } while (0)

class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "smepilot_db_XXXXXX").string();
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
    EXPECT_FALSE(path_.empty());
  }
  ~TempFolder() {
    std::error_code ec;
    if (!path_.empty()) std::filesystem::remove_all(path_, ec);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

inline Platform sample_platform() {
  Platform p;
  p.cpu_model = "Test CPU 9000";
  p.cpu_family = "TestVendor 1/2/3";
  p.isa = "avx2+avx512";
  p.cores = 2;
  p.cpus = 4;
  p.caches = {{1, 32768, 2}, {2, 1u << 20, 2}};
  p.memory_bytes = 1ull << 33;
  p.governor = "performance";
  p.kernel = "6.1.0";
  return p;
}

inline ModelShape sample_model() {
  ModelShape m;
  m.name = "tiny";
  m.architecture = "llama";
  m.layers = 2;
  m.embedding = 64;
  m.heads = 4;
  m.kv_heads = 2;
  m.head_dim = 16;
  m.feed_forward = 128;
  m.vocab = 256;
  m.context = 512;
  m.matrices = {{"attn_q", DType::kQ4_0, 64, 64, 2}, {"ffn_up", DType::kQ4_0, 128, 64, 2}};
  return m;
}

inline OperatorShape matmul_shape(uint32_t m) {
  return {OpKind::kMatmul, DType::kQ4_0, m, 128, 64, 0, 0};
}

inline PlanEntry matmul_entry(uint32_t m_min, uint32_t m_max) {
  PlanEntry e;
  e.dtype = DType::kQ4_0;
  e.n = 128;
  e.k = 64;
  e.m_min = m_min;
  e.m_max = m_max;
  e.variant = "matmul.f32.q8.q4_0.test";
  e.workers = 2;
  e.mc = 128;
  e.nc = 64;
  e.measured_m = m_min;
  e.predicted_ns = 1234.5;
  e.measured_ns = 1300.25;
  e.default_ns = 1500;
  e.why = "fastest of 3, \"quoted\", 95 % sure";
  return e;
}

inline PlanEntry attention_entry(uint32_t kv_max) {
  PlanEntry e;
  e.kind = OpKind::kAttention;
  e.dtype = DType::kF16;
  e.n = 4;
  e.k = 16;
  e.kv_heads = 2;
  e.m_max = UINT32_MAX;
  e.kv_max = kv_max;
  e.variant = "attention.test";
  e.kv_tile = 128;
  return e;
}

// Both units: half of the columns each.
inline PlanEntry coop_entry(uint32_t m_min, uint32_t m_max) {
  PlanEntry e = matmul_entry(m_min, m_max);
  e.mode = ExecutionMode::kCoop;
  e.workers = 1;
  e.coop.variant = "matmul.f32.q8.q4_0.matrix";
  e.coop.workers = 1;
  e.coop.mc = 64;
  e.coop.nc = 32;
  e.coop.split = 64;
  e.coop.split_of = 128;
  e.coop.dynamic = true;
  return e;
}

inline PlanEntry pipeline_entry(uint32_t kv_max) {
  PlanEntry e = attention_entry(kv_max);
  e.mode = ExecutionMode::kCoop;
  e.coop.variant = "attention_tile.matrix";
  e.coop.workers = 1;
  e.coop.rows = 64;
  e.coop.depth = 4;
  return e;
}

inline Plan sample_plan() {
  const Platform platform = sample_platform();
  const ModelShape model = sample_model();
  Plan p;
  p.fingerprint = platform.fingerprint();
  p.platform = platform.identity();
  p.model_name = model.name;
  p.model_hash = model.hash();
  p.variant_set_hash = "0123456789abcdef";
  p.build = "abc123 GNU 12.2.0";
  p.created = "2026-01-31T12:34:56Z";
  p.planner = "race";
  p.workers = 2;
  p.entries = {matmul_entry(1, 1), matmul_entry(2, UINT32_MAX), attention_entry(512), attention_entry(UINT32_MAX)};
  return p;
}

inline Plan sample_coop_plan() {
  Plan p = sample_plan();
  p.entries.push_back(coop_entry(100, 200));
  p.entries.push_back(pipeline_entry(1024));
  return p;
}

inline Calibration sample_calibration() {
  Calibration c;
  c.peaks = {{ExecutionUnit::kCpu, "f32", "avx512", 1, 100.5, {99.5, 100.5, 101.25}},
             {ExecutionUnit::kMatrix, "int8", "amxint8", 2, 5000, {5000}}};
  c.bandwidths = {{"DRAM", "read", 2, 1ull << 28, 20.5, {20, 20.5, 21}}};
  c.fork_join = {{2, 350, {340, 350, 360}, 120}};
  c.coop_peaks = {{"int8", "amxint8", 1, 2400, {2390, 2400}, "int8", "avx512", 1, 99, {98, 99}}};
  c.coop_bandwidths = {{"DRAM", 1, 10.5, {10.5}, 1, 9.5, {9, 9.5}}};
  c.kernels = {{OpKind::kMatmul, DType::kQ4_0, "matmul.f32.q8.q4_0.test", 2, 0.43, 0.75}};
  c.operators = {{matmul_shape(8), "matmul.f32.q8.q4_0.test", 2, false, 40, 90, {89, 90}},
                 {{OpKind::kAttention, DType::kF16, 1, 4, 16, 512, 2}, "attention.test", 1, true, 90, 100, {99, 100}}};
  c.clock = {50, 49, 40, 51, 0.03, 1.5, 2};
  c.noise_floor = 0.0125;
  c.exp_geps = 1.5;
  c.pack_gbps = 2.5;
  c.lhs_pack_gbps = 12.5;
  c.busy_fraction = 0.03;
  c.streaming_ns = 55.5;
  c.seconds = 12.5;
  return c;
}

inline Measurement sample_measurement(int64_t search, uint32_t mc, double median_ns) {
  Measurement m;
  m.search_id = search;
  m.shape = matmul_shape(8);
  m.candidate.variant = "matmul.f32.q8.q4_0.test";
  m.candidate.workers = 2;
  m.candidate.mc = mc;
  m.candidate.nc = 64;
  m.predicted_ns = 900.5;
  m.median_ns = median_ns;
  m.ci_low_ns = median_ns - 1;
  m.ci_high_ns = median_ns + 1;
  m.samples_ns = {median_ns - 1, median_ns, median_ns + 1.125};
  return m;
}

// A run of the sample model's file that a plan of the database drove.
inline Bench sample_bench(int64_t session, int64_t plan) {
  Bench b;
  b.session_id = session;
  b.plan_id = plan;
  b.plan_mode = "db";
  b.model_file = "tiny.gguf";
  b.n_threads = 2;
  b.n_prompt = 8;
  b.avg_ts = 10;
  b.samples_ts = {10};
  return b;
}

struct Begun {
  SessionRow session;
  Search search;
  int64_t calibration_id = 0;  // 0: none
};

// A session and a search of the sample model, with the sample calibration or without one.
inline Result<Begun> begin(Database& db, const Platform& platform = sample_platform(), bool calibrated = false) {
  Begun begun;
  SMEPILOT_ASSIGN(begun.session, SessionStore(db).begin(platform, "smetune search"));
  if (calibrated) {
    SMEPILOT_ASSIGN(begun.calibration_id, CalibrationStore(db).save(begun.session.id, sample_calibration()));
  }
  MeasurementStore store(db);
  Search search;
  search.session_id = begun.session.id;
  search.calibration_id = begun.calibration_id;
  SMEPILOT_ASSIGN(search.model_id, store.model_id(sample_model()));
  search.planner = "race";
  search.variant_set_hash = "0123456789abcdef";
  const SearchOperator operators[] = {{"ffn_up", matmul_shape(8), 2, 0}, {"ffn_gate", matmul_shape(8), 2, 0}};
  SMEPILOT_ASSIGN(begun.search, store.begin_search(search, operators));
  return begun;
}

struct Tuned : Begun {
  int64_t plan_id = 0;
};

// What `smetune search` leaves: a calibration, a search with a measurement of each mc (of median_ns + 1, + 2, …), and
// the sample plan.
inline Result<Tuned> tune(Database& db, const Platform& platform, std::initializer_list<uint32_t> mcs,
                          double median_ns) {
  Tuned tuned;
  SMEPILOT_ASSIGN(static_cast<Begun&>(tuned), begin(db, platform, true));
  MeasurementStore store(db);
  for (const uint32_t mc : mcs)
    SMEPILOT_TRY(store.record(sample_measurement(tuned.search.id, mc, ++median_ns)).status());
  Plan plan = sample_plan();
  plan.fingerprint = platform.fingerprint();
  plan.platform = platform.identity();
  SMEPILOT_ASSIGN(tuned.plan_id, PlanStore(db).save(tuned.session.id, plan, tuned.search.id));
  return tuned;
}

}  // namespace smepilot::test
