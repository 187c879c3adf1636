-- Keys that end by themselves: when; 0: never.
ALTER TABLE keys ADD COLUMN expires bigint NOT NULL DEFAULT 0 CHECK (expires >= 0);
