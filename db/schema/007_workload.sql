-- Workloads (smetune workload): prompts and generations of given lengths, several engines in alternating rounds. Energy
-- is that of the machine while the timed part ran; NULL: no counter could be read.
ALTER TABLE bench ADD COLUMN joules_per_token REAL CHECK (joules_per_token >= 0);

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
CREATE INDEX workload_run_session ON workload_run (session_id);
CREATE INDEX workload_run_model ON workload_run (model_id);
CREATE INDEX workload_run_plan ON workload_run (plan_id);

CREATE TABLE workload_round (
  run_id    INTEGER NOT NULL REFERENCES workload_run (id) ON DELETE CASCADE,
  round     INTEGER NOT NULL CHECK (round >= 1),
  prefill_s REAL NOT NULL CHECK (prefill_s > 0),
  decode_s  REAL NOT NULL CHECK (decode_s > 0),
  joules    REAL CHECK (joules >= 0),
  PRIMARY KEY (run_id, round)
) STRICT, WITHOUT ROWID;
