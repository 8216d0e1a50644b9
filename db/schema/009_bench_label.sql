-- What drove a bench: the planner of its plan, else 'roofline' or 'untuned'; what --mode forced, else 'auto'; and what
-- loading took with the memory it needed. '' and NULL: recorded before these were.
ALTER TABLE bench ADD COLUMN planner TEXT NOT NULL DEFAULT '';
ALTER TABLE bench ADD COLUMN mode TEXT NOT NULL DEFAULT '';
ALTER TABLE bench ADD COLUMN load_json TEXT CHECK (load_json IS NULL OR json_valid(load_json));
