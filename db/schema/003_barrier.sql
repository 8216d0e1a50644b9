-- Cost of a barrier among workers, beside that of fork and join. 0: calibrated before it was measured.
ALTER TABLE fork_join ADD COLUMN barrier_ns REAL NOT NULL DEFAULT 0 CHECK (barrier_ns >= 0);
