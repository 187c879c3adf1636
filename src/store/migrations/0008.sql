-- Keys from other systems, of whose secrets only a hash is known: how that hash was made. `phc` is argon2id of its outcome.
-- `former_inner` belongs to `former_phc`.
ALTER TABLE keys ADD COLUMN "inner" TEXT;
ALTER TABLE keys ADD COLUMN former_inner TEXT;

UPDATE replica SET is_outdated = 1;
