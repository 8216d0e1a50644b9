-- Benches of batched decode, and what the KV cache held. Rows from before are of one sequence and f16.
ALTER TABLE bench ADD COLUMN n_seqs INTEGER NOT NULL DEFAULT 1 CHECK (n_seqs >= 1);
ALTER TABLE bench ADD COLUMN kv_type TEXT NOT NULL DEFAULT 'f16' CHECK (kv_type IN ('f16', 'q8_0'));
