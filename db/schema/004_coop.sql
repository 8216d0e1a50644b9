-- Cooperative execution: what the matrix unit has of an operator that both units execute, and what both reach together.
-- Where mode is not 'coop', matrix_variant is '' and the other new columns are 0.

PRAGMA defer_foreign_keys = ON;  -- measurements refer to candidates: each has its own again at the end
CREATE TABLE candidate_3 AS SELECT * FROM candidate;
DROP TABLE candidate;
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
INSERT INTO candidate (id, operator_id, variant, mode, workers, mc, nc, kv_tile, kv_splits)
  SELECT id, operator_id, variant, mode, workers, mc, nc, kv_tile, kv_splits FROM candidate_3;
DROP TABLE candidate_3;

ALTER TABLE plan_entry ADD COLUMN matrix_variant TEXT NOT NULL DEFAULT '';
ALTER TABLE plan_entry ADD COLUMN matrix_workers INTEGER NOT NULL DEFAULT 0 CHECK (matrix_workers >= 0);
ALTER TABLE plan_entry ADD COLUMN matrix_mc INTEGER NOT NULL DEFAULT 0 CHECK (matrix_mc >= 0);
ALTER TABLE plan_entry ADD COLUMN matrix_nc INTEGER NOT NULL DEFAULT 0 CHECK (matrix_nc >= 0);
ALTER TABLE plan_entry ADD COLUMN split_dim TEXT NOT NULL DEFAULT 'n' CHECK (split_dim IN ('m', 'n'));
ALTER TABLE plan_entry ADD COLUMN split INTEGER NOT NULL DEFAULT 0 CHECK (split >= 0);
ALTER TABLE plan_entry ADD COLUMN split_of INTEGER NOT NULL DEFAULT 0 CHECK (split_of >= split);
ALTER TABLE plan_entry ADD COLUMN dynamic INTEGER NOT NULL DEFAULT 0 CHECK (dynamic IN (0, 1));
ALTER TABLE plan_entry ADD COLUMN tile_rows INTEGER NOT NULL DEFAULT 0 CHECK (tile_rows >= 0);
ALTER TABLE plan_entry ADD COLUMN depth INTEGER NOT NULL DEFAULT 0 CHECK (depth >= 0);

-- Peaks of both units while both work, each with workers of its own. The dtypes and ISA steps are those of `peak`.
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
CREATE INDEX coop_peak_calibration ON coop_peak (calibration_id);

-- Rates at which both units read memory at the same time.
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
CREATE INDEX coop_bandwidth_calibration ON coop_bandwidth (calibration_id);
