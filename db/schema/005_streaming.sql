-- Cost of entering and leaving streaming mode, which every call of an SME kernel pays. 0: not measured, or there is none.
ALTER TABLE calibration ADD COLUMN streaming_ns REAL NOT NULL DEFAULT 0 CHECK (streaming_ns >= 0);
