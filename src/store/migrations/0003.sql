-- Several gateways on one set of keys.

-- The gateways that read this file. Not changes. Times of leases are milliseconds of CLOCK_BOOTTIME, and mean
-- something only on the boot that they were written on. `process` tells one that was killed.
CREATE TABLE gateways (
    id          TEXT NOT NULL PRIMARY KEY,
    name        TEXT NOT NULL,
    started     INTEGER NOT NULL,
    applied     INTEGER NOT NULL,
    boot        TEXT NOT NULL,
    process     TEXT NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row where the file is a replica: of which record, and how long what it holds may be acted on.
CREATE TABLE replica (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    record      TEXT NOT NULL,
    boot        TEXT NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0,
    notes       INTEGER NOT NULL DEFAULT 0
) STRICT;
