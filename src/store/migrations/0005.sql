-- Keys that end by themselves: when; 0: never.
ALTER TABLE keys ADD COLUMN expires INTEGER NOT NULL DEFAULT 0 CHECK (expires >= 0);
CREATE INDEX keys_all_by_expires ON keys (expires, id) WHERE state <> 'removed';
CREATE INDEX keys_owned_by_expires ON keys (owner, expires, id) WHERE state <> 'removed';

-- Whether a replica was written by a program that did not know all of the record's columns: it is made anew. Every
-- migration that adds such columns says so here.
ALTER TABLE replica ADD COLUMN is_outdated INTEGER NOT NULL DEFAULT 0;
UPDATE replica SET is_outdated = 1;
