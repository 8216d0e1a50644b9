PRAGMA foreign_keys = OFF;
BEGIN TRANSACTION;
CREATE TABLE bandwidth (
  id                INTEGER PRIMARY KEY,
  calibration_id    INTEGER NOT NULL REFERENCES calibration (id) ON DELETE CASCADE,
  level             TEXT NOT NULL,
  op                TEXT NOT NULL CHECK (op IN ('read', 'write', 'copy')),
  workers           INTEGER NOT NULL CHECK (workers >= 1),
  working_set_bytes INTEGER NOT NULL CHECK (working_set_bytes >= 0),
  gbps              REAL NOT NULL CHECK (gbps > 0),
  samples_json      TEXT NOT NULL CHECK (json_valid(samples_json))
) STRICT;
INSERT INTO "bandwidth" VALUES(1,5,'DRAM','read',2,268435456,20.5,'[20.5]');
CREATE TABLE baseline (
  id           INTEGER PRIMARY KEY,
  session_id   INTEGER NOT NULL REFERENCES session (id),
  engine       TEXT NOT NULL,
  build        TEXT NOT NULL,
  cpu_info     TEXT NOT NULL,
  model_file   TEXT NOT NULL,
  model_type   TEXT NOT NULL,
  n_threads    INTEGER NOT NULL CHECK (n_threads >= 1),
  n_prompt     INTEGER NOT NULL CHECK (n_prompt >= 0),
  n_gen        INTEGER NOT NULL CHECK (n_gen >= 0),
  n_batch      INTEGER NOT NULL CHECK (n_batch >= 0),
  n_depth      INTEGER NOT NULL CHECK (n_depth >= 0),
  avg_ts       REAL NOT NULL CHECK (avg_ts > 0),
  stddev_ts    REAL NOT NULL CHECK (stddev_ts >= 0),
  samples_json TEXT NOT NULL CHECK (json_valid(samples_json)),  -- tokens per second
  raw_json     TEXT NOT NULL UNIQUE CHECK (json_valid(raw_json)),
  source       TEXT NOT NULL,
  test_time    TEXT NOT NULL,
  created      TEXT NOT NULL,
  CHECK (n_prompt + n_gen >= 1)
) STRICT;
INSERT INTO "baseline" VALUES(1,1,'llama.cpp','1a2b3c4 (5678)','Testium','m.gguf','llama 1B Q4_0',2,512,0,512,0,123.5,1.5,'[122,125]','{"n": 1}','base.json','x','x');
CREATE TABLE bench (
  id           INTEGER PRIMARY KEY,
  session_id   INTEGER NOT NULL REFERENCES session (id),
  model_id     INTEGER NOT NULL REFERENCES model (id),
  plan_id      INTEGER REFERENCES plan (id),
  plan_mode    TEXT NOT NULL CHECK (plan_mode IN ('db', 'file', 'none')),
  model_file   TEXT NOT NULL,
  n_threads    INTEGER NOT NULL CHECK (n_threads >= 1),
  n_prompt     INTEGER NOT NULL CHECK (n_prompt >= 0),
  n_gen        INTEGER NOT NULL CHECK (n_gen >= 0),
  n_depth      INTEGER NOT NULL CHECK (n_depth >= 0),
  avg_ts       REAL NOT NULL CHECK (avg_ts > 0),
  stddev_ts    REAL NOT NULL CHECK (stddev_ts >= 0),
  samples_json TEXT NOT NULL CHECK (json_valid(samples_json)),  -- tokens per second
  created      TEXT NOT NULL, n_seqs INTEGER NOT NULL DEFAULT 1 CHECK (n_seqs >= 1), kv_type TEXT NOT NULL DEFAULT 'f16' CHECK (kv_type IN ('f16', 'q8_0')), joules_per_token REAL CHECK (joules_per_token >= 0), planner TEXT NOT NULL DEFAULT '', mode TEXT NOT NULL DEFAULT '', load_json TEXT CHECK (load_json IS NULL OR json_valid(load_json)), conversions_json TEXT CHECK (conversions_json IS NULL OR json_valid(conversions_json)),
  CHECK (n_prompt + n_gen >= 1)
) STRICT;
INSERT INTO "bench" VALUES(1,1,1,1,'db','m.gguf',2,512,0,0,150.25,0.5,'[150.25]','x',1,'f16',NULL,'','',NULL,NULL);
INSERT INTO "bench" VALUES(2,1,1,NULL,'none','m.gguf',2,0,64,128,44.5,0.25,'[44.5]','x',4,'q8_0',0.5,'','',NULL,NULL);
INSERT INTO "bench" VALUES(3,1,1,1,'db','m.gguf',2,512,0,0,151.5,0.5,'[151.5]','y',1,'f16',NULL,'race','auto','{"ready_seconds":0.5,"peak_rss_bytes":1000}',NULL);
INSERT INTO "bench" VALUES(4,1,1,1,'db','m.gguf',2,512,16,0,120.5,0.5,'[120.5]','z',1,'f16',NULL,'race','auto','{"ready_seconds":0.5,"peak_rss_bytes":1000}','{"prefill":{"passes":1,"tokens":512,"ns":3000000,"conversions":{"count":2,"ns":1000,"priced":2,"priced_ns":900,"avoided":30,"avoided_ns":15000,"weights":0}},"decode":null}');
CREATE TABLE calibration (
  id            INTEGER PRIMARY KEY,
  session_id    INTEGER NOT NULL REFERENCES session (id),
  created       TEXT NOT NULL,
  quick         INTEGER NOT NULL CHECK (quick IN (0, 1)),
  seconds       REAL NOT NULL CHECK (seconds >= 0),
  noise_floor   REAL NOT NULL CHECK (noise_floor >= 0),
  exp_geps      REAL NOT NULL CHECK (exp_geps >= 0),
  pack_gbps     REAL NOT NULL CHECK (pack_gbps >= 0),
  busy_fraction REAL NOT NULL
, streaming_ns REAL NOT NULL DEFAULT 0 CHECK (streaming_ns >= 0), median_error REAL CHECK (median_error >= 0), clock_first_gflops REAL NOT NULL DEFAULT 0 CHECK (clock_first_gflops >= 0), clock_last_gflops REAL NOT NULL DEFAULT 0 CHECK (clock_last_gflops >= 0), clock_lowest_gflops REAL NOT NULL DEFAULT 0 CHECK (clock_lowest_gflops >= 0), clock_highest_gflops REAL NOT NULL DEFAULT 0 CHECK (clock_highest_gflops >= 0), clock_tolerance REAL NOT NULL DEFAULT 0 CHECK (clock_tolerance >= 0), cooldown_s REAL NOT NULL DEFAULT 0 CHECK (cooldown_s >= 0), repeated_steps INTEGER NOT NULL DEFAULT 0 CHECK (repeated_steps >= 0), lhs_pack_gbps REAL NOT NULL DEFAULT 0 CHECK (lhs_pack_gbps >= 0)) STRICT;
INSERT INTO "calibration" VALUES(5,1,'x',0,3.5,0.01,1.0,2.0,0.0,0.0,NULL,0.0,0.0,0.0,0.0,0.0,0.0,0,0.0);
INSERT INTO "calibration" VALUES(6,1,'x',1,9.5,0.02,1.5,2.5,0.0,55.5,0.1,50.0,49.0,40.0,51.0,0.03,1.5,2,12.5);
CREATE TABLE candidate (
  id             INTEGER PRIMARY KEY,
  operator_id    INTEGER NOT NULL REFERENCES operator (id),
  variant        TEXT NOT NULL CHECK (length(variant) > 0),
  mode           TEXT NOT NULL CHECK (mode IN ('cpu', 'matrix', 'coop')),
  workers        INTEGER NOT NULL CHECK (workers >= 1),
  mc             INTEGER NOT NULL CHECK (mc >= 0),
  nc             INTEGER NOT NULL CHECK (nc >= 0),
  kv_tile        INTEGER NOT NULL CHECK (kv_tile >= 0),
  kv_splits      INTEGER NOT NULL CHECK (kv_splits >= 0),
  matrix_variant TEXT NOT NULL DEFAULT '' CHECK ((mode = 'coop') = (length(matrix_variant) > 0)),
  matrix_workers INTEGER NOT NULL DEFAULT 0 CHECK ((mode = 'coop') = (matrix_workers > 0)),
  matrix_mc      INTEGER NOT NULL DEFAULT 0 CHECK (matrix_mc >= 0),
  matrix_nc      INTEGER NOT NULL DEFAULT 0 CHECK (matrix_nc >= 0),
  split_dim      TEXT NOT NULL DEFAULT 'n' CHECK (split_dim IN ('m', 'n')),
  split          INTEGER NOT NULL DEFAULT 0 CHECK (split >= 0),
  split_of       INTEGER NOT NULL DEFAULT 0 CHECK (split_of >= split),
  dynamic        INTEGER NOT NULL DEFAULT 0 CHECK (dynamic IN (0, 1)),
  tile_rows      INTEGER NOT NULL DEFAULT 0 CHECK (tile_rows >= 0),
  depth          INTEGER NOT NULL DEFAULT 0 CHECK (depth >= 0),
  UNIQUE (operator_id, variant, mode, workers, mc, nc, kv_tile, kv_splits, matrix_variant, matrix_workers, matrix_mc,
          matrix_nc, split_dim, split, split_of, dynamic, tile_rows, depth)
) STRICT;
INSERT INTO "candidate" VALUES(7,1,'a.test','cpu',2,128,64,0,0,'',0,0,0,'n',0,0,0,0,0);
INSERT INTO "candidate" VALUES(9,1,'a.test','cpu',2,64,64,0,0,'',0,0,0,'n',0,0,0,0,0);
INSERT INTO "candidate" VALUES(10,1,'a.test','coop',1,128,64,0,0,'b.matrix',1,64,32,'n',64,128,1,0,0);
CREATE TABLE coop_bandwidth (
  id                  INTEGER PRIMARY KEY,
  calibration_id      INTEGER NOT NULL REFERENCES calibration (id) ON DELETE CASCADE,
  level               TEXT NOT NULL,
  matrix_workers      INTEGER NOT NULL CHECK (matrix_workers >= 1),
  matrix_gbps         REAL NOT NULL CHECK (matrix_gbps > 0),
  matrix_samples_json TEXT NOT NULL CHECK (json_valid(matrix_samples_json)),
  cpu_workers         INTEGER NOT NULL CHECK (cpu_workers >= 1),
  cpu_gbps            REAL NOT NULL CHECK (cpu_gbps > 0),
  cpu_samples_json    TEXT NOT NULL CHECK (json_valid(cpu_samples_json))
) STRICT;
INSERT INTO "coop_bandwidth" VALUES(1,5,'DRAM',1,10.5,'[10.5]',1,9.5,'[9,9.5]');
CREATE TABLE coop_peak (
  id                  INTEGER PRIMARY KEY,
  calibration_id      INTEGER NOT NULL REFERENCES calibration (id) ON DELETE CASCADE,
  matrix_dtype        TEXT NOT NULL,
  matrix_isa          TEXT NOT NULL,
  matrix_workers      INTEGER NOT NULL CHECK (matrix_workers >= 1),
  matrix_gflops       REAL NOT NULL CHECK (matrix_gflops > 0),
  matrix_samples_json TEXT NOT NULL CHECK (json_valid(matrix_samples_json)),
  cpu_dtype           TEXT NOT NULL,
  cpu_isa             TEXT NOT NULL,
  cpu_workers         INTEGER NOT NULL CHECK (cpu_workers >= 1),
  cpu_gflops          REAL NOT NULL CHECK (cpu_gflops > 0),
  cpu_samples_json    TEXT NOT NULL CHECK (json_valid(cpu_samples_json))
) STRICT;
INSERT INTO "coop_peak" VALUES(1,5,'int8','amxint8',1,2400.0,'[2390,2400]','int8','avx512',1,99.0,'[98,99]');
CREATE TABLE fork_join (
  id             INTEGER PRIMARY KEY,
  calibration_id INTEGER NOT NULL REFERENCES calibration (id) ON DELETE CASCADE,
  workers        INTEGER NOT NULL CHECK (workers >= 1),
  ns             REAL NOT NULL CHECK (ns >= 0),
  samples_json   TEXT NOT NULL CHECK (json_valid(samples_json))
, barrier_ns REAL NOT NULL DEFAULT 0 CHECK (barrier_ns >= 0)) STRICT;
INSERT INTO "fork_join" VALUES(1,5,2,350.0,'[350]',0.0);
INSERT INTO "fork_join" VALUES(2,5,1,12.5,'[12.5]',3.5);
CREATE TABLE kernel_efficiency (
  id             INTEGER PRIMARY KEY,
  calibration_id INTEGER NOT NULL REFERENCES calibration (id) ON DELETE CASCADE,
  kind           TEXT NOT NULL,
  dtype          TEXT NOT NULL,
  variant        TEXT NOT NULL CHECK (length(variant) > 0),
  workers        INTEGER NOT NULL CHECK (workers >= 1),
  compute        REAL NOT NULL CHECK (compute >= 0),
  memory         REAL NOT NULL CHECK (memory >= 0)
) STRICT;
INSERT INTO "kernel_efficiency" VALUES(1,6,'matmul','q4_0','a.test',2,0.43,0.75);
CREATE TABLE layer_time (
  id                   INTEGER PRIMARY KEY,
  session_id           INTEGER NOT NULL REFERENCES session (id),
  search_id            INTEGER NOT NULL REFERENCES search (id) ON DELETE CASCADE,
  pass                 TEXT NOT NULL CHECK (pass IN ('decode', 'prefill')),
  m                    INTEGER NOT NULL CHECK (m >= 1),
  kv_len               INTEGER NOT NULL CHECK (kv_len >= 1),
  chosen_ns            REAL NOT NULL CHECK (chosen_ns > 0),     -- medians of the samples
  untuned_ns           REAL NOT NULL CHECK (untuned_ns > 0),
  ratio_low            REAL CHECK (ratio_low >= 0),             -- 95 % interval of chosen / untuned, paired by round;
  ratio_high           REAL CHECK (ratio_high >= ratio_low),    -- NULL: too few rounds for one
  reverted             INTEGER NOT NULL CHECK (reverted IN (0, 1)),  -- the choice was slower and was taken back
  chosen_samples_json  TEXT NOT NULL CHECK (json_valid(chosen_samples_json)),  -- a round's smaller one of two, in order
  untuned_samples_json TEXT NOT NULL CHECK (json_valid(untuned_samples_json)),
  created              TEXT NOT NULL
) STRICT;
INSERT INTO "layer_time" VALUES(1,1,1,'decode',1,512,90.0,100.0,0.875,0.925,0,'[89,90,91]','[99,100,101]','x');
INSERT INTO "layer_time" VALUES(2,1,1,'prefill',512,512,190.0,200.0,NULL,NULL,1,'[190]','[200]','x');
CREATE TABLE measurement (
  id               INTEGER PRIMARY KEY,
  search_id        INTEGER NOT NULL REFERENCES search (id),
  session_id       INTEGER NOT NULL REFERENCES session (id),   -- the run that measured: not the search's if resumed
  candidate_id     INTEGER NOT NULL REFERENCES candidate (id),
  platform_id      INTEGER NOT NULL REFERENCES platform (id),
  variant_set_hash TEXT NOT NULL,
  status           TEXT NOT NULL CHECK (status IN ('ok', 'incorrect', 'timeout', 'crashed',
                                                   'pruned', 'refused', 'unsupported', 'constraint')),
  reason           TEXT NOT NULL,
  predicted_ns     REAL CHECK (predicted_ns > 0),   -- NULL: none
  median_ns        REAL CHECK (median_ns > 0),      -- NULL unless status is ok
  ci_low_ns        REAL,
  ci_high_ns       REAL,
  samples_json     TEXT NOT NULL CHECK (json_valid(samples_json)),
  is_default       INTEGER NOT NULL CHECK (is_default IN (0, 1)),
  created          TEXT NOT NULL,
  digest           TEXT NOT NULL,                   -- of shape, candidate and result: damage does not go unnoticed
  UNIQUE (search_id, candidate_id),
  CHECK ((status = 'ok') = (median_ns IS NOT NULL)),
  CHECK (status = 'ok' OR length(reason) > 0),
  CHECK (ci_low_ns <= ci_high_ns)
) STRICT;
INSERT INTO "measurement" VALUES(1,1,1,7,1,'feed','ok','',900.5,10.0,9.0,11.5,'[9,10,11.5]',1,'x','aaf93fc83da8465c');
INSERT INTO "measurement" VALUES(2,1,1,9,1,'feed','pruned','slow',5.0,NULL,NULL,NULL,'[]',0,'x','729e25aa74a33e72');
CREATE TABLE model (
  id           INTEGER PRIMARY KEY,
  name         TEXT NOT NULL,
  architecture TEXT NOT NULL,                       -- '': known only by the hash in an imported plan
  hash         TEXT NOT NULL UNIQUE CHECK (length(hash) > 0),
  shape_json   TEXT NOT NULL CHECK (json_valid(shape_json))
) STRICT;
INSERT INTO "model" VALUES(1,'tiny','llama','b943d6e1133abc98','{}');
CREATE TABLE operator (
  id       INTEGER PRIMARY KEY,
  kind     TEXT NOT NULL,
  dtype    TEXT NOT NULL,
  m        INTEGER NOT NULL CHECK (m >= 1),
  n        INTEGER NOT NULL CHECK (n >= 1),
  k        INTEGER NOT NULL CHECK (k >= 1),
  kv_len   INTEGER NOT NULL CHECK (kv_len >= 0),
  kv_heads INTEGER NOT NULL CHECK (kv_heads >= 0),
  UNIQUE (kind, dtype, m, n, k, kv_len, kv_heads)
) STRICT;
INSERT INTO "operator" VALUES(1,'matmul','q4_0',8,128,64,0,0);
CREATE TABLE peak (
  id             INTEGER PRIMARY KEY,
  calibration_id INTEGER NOT NULL REFERENCES calibration (id) ON DELETE CASCADE,
  unit           TEXT NOT NULL CHECK (unit IN ('cpu', 'matrix')),
  dtype          TEXT NOT NULL,
  isa            TEXT NOT NULL,
  workers        INTEGER NOT NULL CHECK (workers >= 1),
  gflops         REAL NOT NULL CHECK (gflops > 0),
  samples_json   TEXT NOT NULL CHECK (json_valid(samples_json))
) STRICT;
INSERT INTO "peak" VALUES(1,5,'cpu','f32','avx2',1,99.5,'[99.5]');
CREATE TABLE plan (
  id               INTEGER PRIMARY KEY,
  session_id       INTEGER NOT NULL REFERENCES session (id),
  search_id        INTEGER REFERENCES search (id),
  version          INTEGER NOT NULL CHECK (version >= 1),
  fingerprint      TEXT NOT NULL CHECK (length(fingerprint) > 0),
  identity_json    TEXT NOT NULL CHECK (json_valid(identity_json)),  -- of the platform it was made for
  model_id         INTEGER NOT NULL REFERENCES model (id),
  variant_set_hash TEXT NOT NULL CHECK (length(variant_set_hash) > 0),
  planner          TEXT NOT NULL,
  workers          INTEGER NOT NULL CHECK (workers >= 1),
  build            TEXT NOT NULL,
  created          TEXT NOT NULL,
  digest           TEXT NOT NULL                    -- of the plan and its entries: damage does not go unnoticed
) STRICT;
INSERT INTO "plan" VALUES(1,1,1,1,'6d0af4e5e9d5c64c','{"cpu_family":"TestVendor 1/2/3","cpu_model":"Test CPU 9000","isa":"avx2+avx512","cores":"2","cpus":"4","caches":"L1 32K x2, L2 1M x2","matrix_unit":"none"}',1,'0123456789abcdef','race',2,'abc123 GNU 12.2.0','2026-01-31T12:34:56Z','d05bff8407c4268e');
CREATE TABLE plan_chain (
  id                INTEGER PRIMARY KEY,
  plan_id           INTEGER NOT NULL REFERENCES plan (id) ON DELETE CASCADE,
  pass              TEXT NOT NULL CHECK (pass IN ('decode', 'prefill')),
  m                 INTEGER NOT NULL CHECK (m >= 1),
  kv_len            INTEGER NOT NULL CHECK (kv_len >= 1),
  step              INTEGER NOT NULL CHECK (step >= 0),
  role              TEXT NOT NULL CHECK (length(role) > 0),
  calls             REAL NOT NULL CHECK (calls > 0),                  -- per pass
  predicted         INTEGER NOT NULL CHECK (predicted IN (0, 1)),     -- times are the roofline's
  chosen_candidate  TEXT NOT NULL,
  chosen_layout     TEXT NOT NULL,                                    -- that it reads
  chosen_ns         REAL NOT NULL CHECK (chosen_ns > 0),
  chosen_packings   REAL NOT NULL CHECK (chosen_packings >= 0),       -- per pass; 0: it is there already
  chosen_packing_ns REAL NOT NULL CHECK (chosen_packing_ns >= 0),
  best_candidate    TEXT NOT NULL,                                    -- the one that is best alone
  best_layout       TEXT NOT NULL,
  best_ns           REAL NOT NULL CHECK (best_ns > 0),
  best_packings     REAL NOT NULL CHECK (best_packings >= 0),
  best_packing_ns   REAL NOT NULL CHECK (best_packing_ns >= 0)
) STRICT;
INSERT INTO "plan_chain" VALUES(1,1,'decode',1,512,3,'ffn_up',2.0,0,'a.test x2','row',110.0,0.0,0.0,'b.test x2','q8p16',100.0,2.0,25.0);
CREATE TABLE plan_entry (
  id           INTEGER PRIMARY KEY,
  plan_id      INTEGER NOT NULL REFERENCES plan (id) ON DELETE CASCADE,
  kind         TEXT NOT NULL,
  dtype        TEXT NOT NULL,
  n            INTEGER NOT NULL CHECK (n >= 1),
  k            INTEGER NOT NULL CHECK (k >= 1),
  kv_heads     INTEGER NOT NULL CHECK (kv_heads >= 0),
  m_min        INTEGER NOT NULL CHECK (m_min >= 1),
  m_max        INTEGER NOT NULL,                    -- 4294967295: no bound, as in kv_max
  kv_max       INTEGER NOT NULL CHECK (kv_max >= 0),
  mode         TEXT NOT NULL CHECK (mode IN ('cpu', 'matrix', 'coop')),
  variant      TEXT NOT NULL CHECK (length(variant) > 0),
  workers      INTEGER NOT NULL CHECK (workers >= 1),
  mc           INTEGER NOT NULL CHECK (mc >= 0),
  nc           INTEGER NOT NULL CHECK (nc >= 0),
  kv_tile      INTEGER NOT NULL CHECK (kv_tile >= 0),
  kv_splits    INTEGER NOT NULL CHECK (kv_splits >= 0),
  measured_m   INTEGER NOT NULL CHECK (measured_m >= 0),
  measured_kv  INTEGER NOT NULL CHECK (measured_kv >= 0),
  predicted_ns REAL NOT NULL CHECK (predicted_ns >= 0),
  measured_ns  REAL NOT NULL CHECK (measured_ns >= 0),  -- 0: never measured
  default_ns   REAL NOT NULL CHECK (default_ns >= 0),   -- 0: not measured
  why          TEXT NOT NULL, matrix_variant TEXT NOT NULL DEFAULT '', matrix_workers INTEGER NOT NULL DEFAULT 0 CHECK (matrix_workers >= 0), matrix_mc INTEGER NOT NULL DEFAULT 0 CHECK (matrix_mc >= 0), matrix_nc INTEGER NOT NULL DEFAULT 0 CHECK (matrix_nc >= 0), split_dim TEXT NOT NULL DEFAULT 'n' CHECK (split_dim IN ('m', 'n')), split INTEGER NOT NULL DEFAULT 0 CHECK (split >= 0), split_of INTEGER NOT NULL DEFAULT 0 CHECK (split_of >= split), dynamic INTEGER NOT NULL DEFAULT 0 CHECK (dynamic IN (0, 1)), tile_rows INTEGER NOT NULL DEFAULT 0 CHECK (tile_rows >= 0), depth INTEGER NOT NULL DEFAULT 0 CHECK (depth >= 0),
  CHECK (m_min <= m_max)
) STRICT;
INSERT INTO "plan_entry" VALUES(1,1,'matmul','q4_0',128,64,0,1,1,0,'cpu','matmul.f32.q8.q4_0.test',2,128,64,0,0,1,0,1234.5,1300.25,1500.0,'fastest of 3, "quoted", 95 % sure','',0,0,0,'n',0,0,0,0,0);
INSERT INTO "plan_entry" VALUES(2,1,'matmul','q4_0',128,64,0,2,4294967295,0,'cpu','matmul.f32.q8.q4_0.test',2,128,64,0,0,2,0,1234.5,1300.25,1500.0,'fastest of 3, "quoted", 95 % sure','',0,0,0,'n',0,0,0,0,0);
INSERT INTO "plan_entry" VALUES(3,1,'attention','f16',4,16,2,1,4294967295,512,'cpu','attention.test',1,0,0,128,0,0,0,0.0,0.0,0.0,'','',0,0,0,'n',0,0,0,0,0);
INSERT INTO "plan_entry" VALUES(4,1,'attention','f16',4,16,2,1,4294967295,4294967295,'cpu','attention.test',1,0,0,128,0,0,0,0.0,0.0,0.0,'','',0,0,0,'n',0,0,0,0,0);
CREATE TABLE platform (
  id            INTEGER PRIMARY KEY,
  fingerprint   TEXT NOT NULL UNIQUE CHECK (length(fingerprint) > 0),
  identity_json TEXT NOT NULL CHECK (json_valid(identity_json)),
  facts_json    TEXT NOT NULL CHECK (json_valid(facts_json)),
  created       TEXT NOT NULL
) STRICT;
INSERT INTO "platform" VALUES(1,'6d0af4e5e9d5c64c','{}','{}','x');
CREATE TABLE search (
  id               INTEGER PRIMARY KEY,
  session_id       INTEGER NOT NULL REFERENCES session (id),
  model_id         INTEGER NOT NULL REFERENCES model (id),
  calibration_id   INTEGER REFERENCES calibration (id),
  planner          TEXT NOT NULL,
  variant_set_hash TEXT NOT NULL CHECK (length(variant_set_hash) > 0),
  budget_s         REAL NOT NULL CHECK (budget_s >= 0),
  options_json     TEXT NOT NULL CHECK (json_valid(options_json)),
  state            TEXT NOT NULL CHECK (state IN ('running', 'done', 'stopped')),
  started          TEXT NOT NULL,
  finished         TEXT,
  CHECK ((state = 'running') = (finished IS NULL))
) STRICT;
INSERT INTO "search" VALUES(1,1,1,NULL,'race','feed',1.0,'{}','done','x','x');
CREATE TABLE search_operator (
  search_id   INTEGER NOT NULL REFERENCES search (id) ON DELETE CASCADE,
  operator_id INTEGER NOT NULL REFERENCES operator (id),
  role        TEXT NOT NULL,
  calls       INTEGER NOT NULL CHECK (calls >= 0),
  PRIMARY KEY (search_id, operator_id, role)
) STRICT, WITHOUT ROWID;
INSERT INTO "search_operator" VALUES(1,1,'ffn_up',2);
CREATE TABLE session (
  id          INTEGER PRIMARY KEY,
  platform_id INTEGER NOT NULL REFERENCES platform (id),
  started     TEXT NOT NULL,
  command     TEXT NOT NULL,
  version     TEXT NOT NULL,
  revision    TEXT NOT NULL,
  compiler    TEXT NOT NULL,
  flags       TEXT NOT NULL,
  build_type  TEXT NOT NULL,
  governor    TEXT NOT NULL,
  kernel      TEXT NOT NULL,
  hypervisor  TEXT NOT NULL,
  load1       REAL                                  -- NULL: unknown
) STRICT;
INSERT INTO "session" VALUES(1,1,'x','x','x','rev','x','x','x','x','x','x',0.0);
CREATE TABLE timed_operator (
  id             INTEGER PRIMARY KEY,
  calibration_id INTEGER NOT NULL REFERENCES calibration (id) ON DELETE CASCADE,
  kind           TEXT NOT NULL,
  dtype          TEXT NOT NULL,
  m              INTEGER NOT NULL CHECK (m >= 1),
  n              INTEGER NOT NULL CHECK (n >= 1),
  k              INTEGER NOT NULL CHECK (k >= 1),
  kv_len         INTEGER NOT NULL CHECK (kv_len >= 0),
  kv_heads       INTEGER NOT NULL CHECK (kv_heads >= 0),
  variant        TEXT NOT NULL CHECK (length(variant) > 0),
  workers        INTEGER NOT NULL CHECK (workers >= 1),
  held_out       INTEGER NOT NULL CHECK (held_out IN (0, 1)),
  predicted_ns   REAL NOT NULL CHECK (predicted_ns > 0),
  measured_ns    REAL NOT NULL CHECK (measured_ns > 0),
  samples_json   TEXT NOT NULL CHECK (json_valid(samples_json))
) STRICT;
INSERT INTO "timed_operator" VALUES(1,6,'matmul','q4_0',8,128,64,0,0,'a.test',2,1,90.0,100.0,'[99,100]');
CREATE TABLE workload_round (
  run_id    INTEGER NOT NULL REFERENCES workload_run (id) ON DELETE CASCADE,
  round     INTEGER NOT NULL CHECK (round >= 1),
  prefill_s REAL NOT NULL CHECK (prefill_s > 0),
  decode_s  REAL NOT NULL CHECK (decode_s > 0),
  joules    REAL CHECK (joules >= 0),
  PRIMARY KEY (run_id, round)
) STRICT, WITHOUT ROWID;
INSERT INTO "workload_round" VALUES(1,1,2.5,3.5,NULL);
CREATE TABLE workload_run (
  id          INTEGER PRIMARY KEY,
  session_id  INTEGER NOT NULL REFERENCES session (id),   -- engines of one session ran in the same rounds
  model_id    INTEGER NOT NULL REFERENCES model (id),
  plan_id     INTEGER REFERENCES plan (id),               -- NULL: no plan of the database drove it
  plan_mode   TEXT NOT NULL CHECK (plan_mode IN ('db', 'file', 'none', '')),  -- '': another engine
  workload    TEXT NOT NULL CHECK (length(workload) > 0),
  scale       REAL NOT NULL CHECK (scale > 0 AND scale <= 1),  -- of the workload's token counts; 1: as published
  batch       INTEGER NOT NULL CHECK (batch >= 1),             -- sequences at the same time
  n_prompt    INTEGER NOT NULL CHECK (n_prompt >= 1),          -- of each sequence, after scaling
  n_gen       INTEGER NOT NULL CHECK (n_gen >= 1),
  engine      TEXT NOT NULL CHECK (length(engine) > 0),        -- 'smepilot', or the other program's name
  is_baseline INTEGER NOT NULL CHECK (is_baseline IN (0, 1)),
  build       TEXT NOT NULL,
  arguments   TEXT NOT NULL,                                   -- further ones that a baseline was given
  model_file  TEXT NOT NULL,
  kv_type     TEXT NOT NULL,
  n_threads   INTEGER NOT NULL CHECK (n_threads >= 1),
  created     TEXT NOT NULL
) STRICT;
INSERT INTO "workload_run" VALUES(1,1,1,1,'db','gsm8k',0.5,1,100,50,'smepilot',0,'rev','','m.gguf','f16',2,'x');
CREATE INDEX session_platform ON session (platform_id);
CREATE INDEX calibration_session ON calibration (session_id);
CREATE INDEX peak_calibration ON peak (calibration_id);
CREATE INDEX bandwidth_calibration ON bandwidth (calibration_id);
CREATE INDEX fork_join_calibration ON fork_join (calibration_id);
CREATE INDEX search_model ON search (model_id, variant_set_hash);
CREATE INDEX search_session ON search (session_id);
CREATE INDEX search_operator_operator ON search_operator (operator_id);
CREATE INDEX measurement_key ON measurement (candidate_id, platform_id, variant_set_hash);
CREATE INDEX measurement_platform ON measurement (platform_id);
CREATE INDEX measurement_session ON measurement (session_id);
CREATE INDEX plan_key ON plan (model_id, fingerprint);
CREATE INDEX plan_session ON plan (session_id);
CREATE INDEX plan_search ON plan (search_id);
CREATE INDEX plan_entry_plan ON plan_entry (plan_id);
CREATE INDEX baseline_session ON baseline (session_id);
CREATE INDEX bench_model ON bench (model_id);
CREATE INDEX bench_session ON bench (session_id);
CREATE INDEX bench_plan ON bench (plan_id);
CREATE INDEX coop_peak_calibration ON coop_peak (calibration_id);
CREATE INDEX coop_bandwidth_calibration ON coop_bandwidth (calibration_id);
CREATE INDEX kernel_efficiency_calibration ON kernel_efficiency (calibration_id);
CREATE INDEX timed_operator_calibration ON timed_operator (calibration_id);
CREATE INDEX workload_run_session ON workload_run (session_id);
CREATE INDEX workload_run_model ON workload_run (model_id);
CREATE INDEX workload_run_plan ON workload_run (plan_id);
CREATE INDEX layer_time_search ON layer_time (search_id);
CREATE INDEX layer_time_session ON layer_time (session_id);
CREATE INDEX plan_chain_plan ON plan_chain (plan_id);
COMMIT;
PRAGMA application_id = 1397572944;
PRAGMA user_version = 10;
