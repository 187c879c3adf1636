-- Rows of accounts, environments and keys are never deleted: a removed one stays, so that its id cannot come back.
-- Times are milliseconds since 1970, UTC.

CREATE TABLE accounts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT NOT NULL CHECK (name <> ''),
    description TEXT,
    kind        TEXT NOT NULL CHECK (kind IN ('admin', 'user')),
    state       TEXT NOT NULL CHECK (state IN ('active', 'inactive', 'removed')),
    uuid        TEXT NOT NULL,
    created     INTEGER NOT NULL,
    removed     INTEGER,
    CHECK ((state = 'removed') = (removed IS NOT NULL))
) STRICT;
CREATE INDEX accounts_by_name ON accounts (name) WHERE state <> 'removed';

-- `id` is the operator's own word, and unique without regard to case; `row` is for references.
CREATE TABLE environments (
    row         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL COLLATE NOCASE UNIQUE CHECK (id <> ''),
    name        TEXT CHECK (name <> ''),
    description TEXT,
    state       TEXT NOT NULL CHECK (state IN ('active', 'inactive', 'removed')),
    uuid        TEXT NOT NULL,
    created     INTEGER NOT NULL,
    removed     INTEGER,
    CHECK ((state = 'removed') = (removed IS NOT NULL))
) STRICT;
CREATE INDEX environments_by_name ON environments (name COLLATE NOCASE) WHERE state <> 'removed';

CREATE TABLE memberships (
    account     INTEGER NOT NULL REFERENCES accounts (id),
    environment INTEGER NOT NULL REFERENCES environments (row),
    role        TEXT NOT NULL CHECK (role IN ('owner', 'member', 'restricted', 'readonly')),
    PRIMARY KEY (account, environment)
) STRICT, WITHOUT ROWID;
CREATE INDEX memberships_by_environment ON memberships (environment);

-- `phc` is what verifies the secret. It is emptied when the key is removed, and only then may it be empty.
CREATE TABLE keys (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    access_key  TEXT NOT NULL UNIQUE CHECK (access_key <> ''),
    account     INTEGER REFERENCES accounts (id),
    environment INTEGER REFERENCES environments (row),
    name        TEXT CHECK (name <> ''),
    description TEXT,
    state       TEXT NOT NULL CHECK (state IN ('active', 'inactive', 'removed')),
    uuid        TEXT NOT NULL,
    phc         TEXT NOT NULL,
    created     INTEGER NOT NULL,
    removed     INTEGER,
    CHECK ((account IS NULL) <> (environment IS NULL)),
    CHECK ((state = 'removed') = (removed IS NOT NULL)),
    CHECK ((state = 'removed') = (phc = ''))
) STRICT;
CREATE INDEX keys_by_account ON keys (account) WHERE account IS NOT NULL AND state <> 'removed';
CREATE INDEX keys_by_environment ON keys (environment) WHERE environment IS NOT NULL AND state <> 'removed';

-- Not changes: they may be lost, and do not move the change number.
CREATE TABLE peppers (
    number INTEGER PRIMARY KEY,
    id     BLOB NOT NULL UNIQUE CHECK (length(id) = 8)
) STRICT;
CREATE TABLE fingerprints (
    key    INTEGER PRIMARY KEY REFERENCES keys (id),
    pepper INTEGER NOT NULL REFERENCES peppers (number),
    mac    BLOB NOT NULL CHECK (length(mac) = 32)
) STRICT;
CREATE INDEX fingerprints_by_pepper ON fingerprints (pepper);
CREATE TABLE key_use (
    key     INTEGER PRIMARY KEY REFERENCES keys (id),
    used    INTEGER NOT NULL,
    address TEXT NOT NULL
) STRICT;

-- The change log. The writing transaction takes its number from the one row of `change_head`, so that numbers follow
-- the order of the commits. `subject` says what kind of object changed, `object` which one, `content` is the object
-- afterwards as JSON, and `hash` covers all of it and the hash before.
CREATE TABLE change_head (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    number   INTEGER NOT NULL,
    hash     BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
INSERT INTO change_head VALUES (1, 0, zeroblob(32));
CREATE TABLE changes (
    number  INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    subject TEXT NOT NULL CHECK (subject IN ('account', 'environment', 'membership', 'key')),
    object  TEXT NOT NULL,
    action  TEXT NOT NULL,
    content TEXT NOT NULL,
    hash    BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
