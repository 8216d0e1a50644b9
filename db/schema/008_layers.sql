-- What the tuner knows of whole layers: the times that confirmed a choice, and the chain of layouts that a plan's
-- choices make, beside that of each operator's best. And the rate at which activations are packed, which prices chains.
ALTER TABLE calibration ADD COLUMN lhs_pack_gbps REAL NOT NULL DEFAULT 0 CHECK (lhs_pack_gbps >= 0);

-- One layer, operator after operator with packing between them: as chosen and untuned, in alternating rounds.
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
CREATE INDEX layer_time_search ON layer_time (search_id);
CREATE INDEX layer_time_session ON layer_time (session_id);

-- An operator in the chain of a pass. Those of one step read what one producer made; a form that several of them read
-- is made for the first of them. A time is that of one call, a packing price that of making the form once.
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
CREATE INDEX plan_chain_plan ON plan_chain (plan_id);
