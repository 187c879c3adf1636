-- Keys from other systems: see ../../migrations/0008.sql.
ALTER TABLE keys ADD COLUMN "inner" text;
ALTER TABLE keys ADD COLUMN former_inner text;
