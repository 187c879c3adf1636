-- What the management plane asks: lists in any order, page by page; who changed what; edits that must not be lost.

-- The number of the change that last touched the row.
ALTER TABLE accounts ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE environments ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

-- Not changes: when a key was last used (0: never), from where, and how often. They may be lost.
ALTER TABLE keys ADD COLUMN last_used INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN last_used_address TEXT;
ALTER TABLE keys ADD COLUMN uses INTEGER NOT NULL DEFAULT 0;
UPDATE keys SET last_used = key_use.used, last_used_address = key_use.address FROM key_use WHERE key_use.key = keys.id;
DROP TABLE key_use;

-- One column for both kinds of owner: an account's number, or an environment's with a minus sign.
ALTER TABLE keys ADD COLUMN owner INTEGER GENERATED ALWAYS AS (coalesce(account, -environment)) VIRTUAL;

-- What lists are sorted by. A description counts with its beginning only.
ALTER TABLE accounts ADD COLUMN sorted_name TEXT COLLATE NOCASE GENERATED ALWAYS AS (name) VIRTUAL;
ALTER TABLE environments ADD COLUMN sorted_name TEXT COLLATE NOCASE GENERATED ALWAYS AS (coalesce(name, '')) VIRTUAL;
ALTER TABLE keys ADD COLUMN sorted_name TEXT COLLATE NOCASE GENERATED ALWAYS AS (coalesce(name, '')) VIRTUAL;
ALTER TABLE keys ADD COLUMN sorted_description TEXT COLLATE NOCASE
    GENERATED ALWAYS AS (substr(coalesce(description, ''), 1, 60)) VIRTUAL;

-- Every order a list can have is an index, over all keys and over one owner's: then a page costs what it shows,
-- however many keys there are.
DROP INDEX keys_by_account;
DROP INDEX keys_by_environment;
CREATE INDEX keys_all_by_id ON keys (id) WHERE state <> 'removed';
CREATE INDEX keys_all_by_name ON keys (sorted_name, id) WHERE state <> 'removed';
CREATE INDEX keys_all_by_description ON keys (sorted_description, id) WHERE state <> 'removed';
CREATE INDEX keys_all_by_access_key ON keys (access_key, id) WHERE state <> 'removed';
CREATE INDEX keys_all_by_state ON keys (state, id) WHERE state <> 'removed';
CREATE INDEX keys_all_by_created ON keys (created, id) WHERE state <> 'removed';
CREATE INDEX keys_all_by_last_used ON keys (last_used, id) WHERE state <> 'removed';
CREATE INDEX keys_all_by_uses ON keys (uses, id) WHERE state <> 'removed';
CREATE INDEX keys_all_by_uuid ON keys (uuid) WHERE state <> 'removed';
CREATE INDEX keys_owned_by_id ON keys (owner, id) WHERE state <> 'removed';
CREATE INDEX keys_owned_by_name ON keys (owner, sorted_name, id) WHERE state <> 'removed';
CREATE INDEX keys_owned_by_description ON keys (owner, sorted_description, id) WHERE state <> 'removed';
CREATE INDEX keys_owned_by_access_key ON keys (owner, access_key, id) WHERE state <> 'removed';
CREATE INDEX keys_owned_by_state ON keys (owner, state, id) WHERE state <> 'removed';
CREATE INDEX keys_owned_by_created ON keys (owner, created, id) WHERE state <> 'removed';
CREATE INDEX keys_owned_by_last_used ON keys (owner, last_used, id) WHERE state <> 'removed';
CREATE INDEX keys_owned_by_uses ON keys (owner, uses, id) WHERE state <> 'removed';

CREATE INDEX accounts_all_by_id ON accounts (id) WHERE state <> 'removed';
CREATE INDEX accounts_all_by_name ON accounts (sorted_name, id) WHERE state <> 'removed';
CREATE INDEX accounts_all_by_created ON accounts (created, id) WHERE state <> 'removed';
CREATE INDEX accounts_all_by_state ON accounts (state, id) WHERE state <> 'removed';
CREATE INDEX accounts_all_by_kind ON accounts (kind, id) WHERE state <> 'removed';

CREATE INDEX environments_all_by_row ON environments (row) WHERE state <> 'removed';
CREATE INDEX environments_all_by_id ON environments (id, row) WHERE state <> 'removed';
CREATE INDEX environments_all_by_name ON environments (sorted_name, row) WHERE state <> 'removed';
CREATE INDEX environments_all_by_created ON environments (created, row) WHERE state <> 'removed';
CREATE INDEX environments_all_by_state ON environments (state, row) WHERE state <> 'removed';

-- The audit log: who made or tried to make which change, with which key, from where; the object before and after,
-- without what verifies a secret. Rows are only ever added.
CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    via        TEXT NOT NULL CHECK (via IN ('command', 'api', 'page', 'gateway')),
    actor      TEXT NOT NULL,
    access_key TEXT,
    address    TEXT,
    request    TEXT,
    action     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    object     TEXT NOT NULL,
    outcome    TEXT NOT NULL CHECK (outcome IN ('done', 'refused')),
    reason     TEXT,
    change     INTEGER,
    before     TEXT,
    after      TEXT
) STRICT;
CREATE INDEX audit_by_object ON audit (object, id);
CREATE INDEX audit_by_actor ON audit (actor, id);
CREATE INDEX audit_by_access_key ON audit (access_key, id);
CREATE INDEX audit_by_action ON audit (action, id);
CREATE INDEX audit_by_at ON audit (at, id);
CREATE TRIGGER audit_rows_stay BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_rows_remain BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
-- a row that takes another one's place would be a deletion that no trigger sees
CREATE TRIGGER audit_rows_are_new BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
