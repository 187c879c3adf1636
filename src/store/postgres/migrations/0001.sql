-- The record in PostgreSQL: the tables of an embedded store (see ../../migrations), with the same ids and the same
-- change log, without what only lists need: every list is read from a gateway's replica.
-- Times are milliseconds since 1970, UTC, but where the type says otherwise.

-- Which record this is: a replica of another one must not take it for its own. A standby that takes over, and a record
-- that was put back, may lack the leases of gateways that go on: `timeline` is the server's own, with the server and the
-- database, by which a change of them is noticed, and until `unsure_until` no receipt is whole. `longest_lease` is in
-- milliseconds.
CREATE TABLE record (
    only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id            text NOT NULL DEFAULT gen_random_uuid()::text,
    timeline      text NOT NULL,
    longest_lease bigint NOT NULL DEFAULT 0,
    unsure_until  timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO record (timeline)
    SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || ' ' || system_identifier || ' ' || pg_database.oid
    FROM pg_control_system(), pg_database WHERE datname = current_database();

CREATE TABLE accounts (
    id          bigint PRIMARY KEY,
    name        text NOT NULL CHECK (name <> ''),
    description text,
    kind        text NOT NULL CHECK (kind IN ('admin', 'user')),
    state       text NOT NULL CHECK (state IN ('active', 'inactive', 'removed')),
    uuid        text NOT NULL,
    created     bigint NOT NULL,
    removed     bigint,
    revision    bigint NOT NULL,
    CHECK ((state = 'removed') = (removed IS NOT NULL))
);

CREATE TABLE environments (
    "row"       bigint PRIMARY KEY,
    id          text NOT NULL CHECK (id <> ''),
    name        text CHECK (name <> ''),
    description text,
    state       text NOT NULL CHECK (state IN ('active', 'inactive', 'removed')),
    uuid        text NOT NULL,
    created     bigint NOT NULL,
    removed     bigint,
    revision    bigint NOT NULL,
    CHECK ((state = 'removed') = (removed IS NOT NULL))
);
CREATE UNIQUE INDEX environments_by_id ON environments (lower(id));

CREATE TABLE memberships (
    account     bigint NOT NULL REFERENCES accounts,
    environment bigint NOT NULL REFERENCES environments,
    role        text NOT NULL CHECK (role IN ('owner', 'member', 'restricted', 'readonly')),
    PRIMARY KEY (account, environment)
);

CREATE TABLE keys (
    id          bigint PRIMARY KEY,
    access_key  text NOT NULL UNIQUE CHECK (access_key <> ''),
    account     bigint REFERENCES accounts,
    environment bigint REFERENCES environments,
    name        text CHECK (name <> ''),
    description text,
    state       text NOT NULL CHECK (state IN ('active', 'inactive', 'removed')),
    uuid        text NOT NULL,
    phc         text NOT NULL,
    created     bigint NOT NULL,
    removed     bigint,
    revision    bigint NOT NULL,
    CHECK ((account IS NULL) <> (environment IS NULL)),
    CHECK ((state = 'removed') = (removed IS NOT NULL)),
    CHECK ((state = 'removed') = (phc = ''))
);

-- The change log, and who may write to it: whoever has locked the one row of `change_head`. `audit` is the newest row
-- of the audit log.
CREATE TABLE change_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    number   bigint NOT NULL,
    hash     bytea NOT NULL CHECK (length(hash) = 32),
    audit    bigint NOT NULL
);
INSERT INTO change_head (number, hash, audit) VALUES (0, decode(repeat('00', 32), 'hex'), 0);
CREATE TABLE changes (
    number  bigint PRIMARY KEY,
    at      bigint NOT NULL,
    subject text NOT NULL CHECK (subject IN ('account', 'environment', 'membership', 'key')),
    object  text NOT NULL,
    action  text NOT NULL,
    content text NOT NULL,
    hash    bytea NOT NULL CHECK (length(hash) = 32)
);

CREATE TABLE audit (
    id         bigint PRIMARY KEY,
    at         bigint NOT NULL,
    via        text NOT NULL CHECK (via IN ('command', 'api', 'page', 'gateway')),
    actor      text NOT NULL,
    access_key text,
    address    text,
    request    text,
    action     text NOT NULL,
    subject    text NOT NULL,
    object     text NOT NULL,
    outcome    text NOT NULL CHECK (outcome IN ('done', 'refused')),
    reason     text,
    change     bigint,
    before     text,
    after      text
);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$;
CREATE TRIGGER audit_rows_stay BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER audit_remains BEFORE TRUNCATE ON audit EXECUTE FUNCTION refuse();

-- Not changes: they may be lost, and gateways hear of them some seconds later. `noted` grows with every write.
CREATE SEQUENCE notes;
CREATE TABLE fingerprints (
    key    bigint PRIMARY KEY REFERENCES keys,
    pepper bytea NOT NULL CHECK (length(pepper) = 8),
    mac    bytea NOT NULL CHECK (length(mac) = 32),
    noted  bigint NOT NULL DEFAULT nextval('notes')
);
CREATE INDEX fingerprints_by_noted ON fingerprints (noted);
CREATE TABLE key_uses (
    key       bigint PRIMARY KEY REFERENCES keys,
    last_used bigint NOT NULL,
    address   text NOT NULL,
    uses      bigint NOT NULL,
    noted     bigint NOT NULL DEFAULT nextval('notes')
);
CREATE INDEX key_uses_by_noted ON key_uses (noted);

-- The gateways, by the clock of this server: until `lease_until` a gateway may act on what it has applied.
CREATE TABLE gateways (
    id          text PRIMARY KEY,
    name        text NOT NULL,
    started     timestamptz NOT NULL DEFAULT now(),
    applied     bigint NOT NULL,
    lease_until timestamptz NOT NULL
);
