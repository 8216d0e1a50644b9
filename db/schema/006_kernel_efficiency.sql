-- How well the calibrated model predicts: what kernels keep of the ceilings, the operators that this was fitted on and
-- those that judge it, and how steady the clock was meanwhile. 0: not measured.
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
CREATE INDEX kernel_efficiency_calibration ON kernel_efficiency (calibration_id);

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
CREATE INDEX timed_operator_calibration ON timed_operator (calibration_id);

-- Median of |predicted / measured - 1| over the operators that were held out; NULL: none were.
ALTER TABLE calibration ADD COLUMN median_error REAL CHECK (median_error >= 0);
ALTER TABLE calibration ADD COLUMN clock_first_gflops REAL NOT NULL DEFAULT 0 CHECK (clock_first_gflops >= 0);
ALTER TABLE calibration ADD COLUMN clock_last_gflops REAL NOT NULL DEFAULT 0 CHECK (clock_last_gflops >= 0);
ALTER TABLE calibration ADD COLUMN clock_lowest_gflops REAL NOT NULL DEFAULT 0 CHECK (clock_lowest_gflops >= 0);
ALTER TABLE calibration ADD COLUMN clock_highest_gflops REAL NOT NULL DEFAULT 0 CHECK (clock_highest_gflops >= 0);
ALTER TABLE calibration ADD COLUMN clock_tolerance REAL NOT NULL DEFAULT 0 CHECK (clock_tolerance >= 0);
ALTER TABLE calibration ADD COLUMN cooldown_s REAL NOT NULL DEFAULT 0 CHECK (cooldown_s >= 0);
ALTER TABLE calibration ADD COLUMN repeated_steps INTEGER NOT NULL DEFAULT 0 CHECK (repeated_steps >= 0);
