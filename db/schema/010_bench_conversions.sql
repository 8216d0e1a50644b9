-- Conversions of activations between layouts in one pass of each phase that a bench measures, before its timed runs:
-- {"prefill": {"passes", "tokens", "ns", "conversions": {...}} or null, "decode": the same}, as --stats --json has them.
-- NULL: recorded before these were.
ALTER TABLE bench ADD COLUMN conversions_json TEXT CHECK (conversions_json IS NULL OR json_valid(conversions_json));
