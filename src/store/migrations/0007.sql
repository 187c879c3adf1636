-- Keys whose secret changes. `secret_since` tells the secrets of a key apart: since when it has had each. `former_phc`
-- verifies the secret before, until `former_ends`, or until it was unused for `former_idle` milliseconds (0: only until
-- then). It is empty where there is none.
ALTER TABLE keys ADD COLUMN secret_since INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN former_phc TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN former_since INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN former_ends INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN former_idle INTEGER NOT NULL DEFAULT 0;
UPDATE keys SET secret_since = created;
CREATE INDEX keys_by_former_end ON keys (former_ends) WHERE former_ends > 0;

-- A fingerprint for each secret.
CREATE TABLE secret_fingerprints (
    key    INTEGER NOT NULL REFERENCES keys (id),
    secret INTEGER NOT NULL,
    pepper INTEGER NOT NULL REFERENCES peppers (number),
    mac    BLOB NOT NULL CHECK (length(mac) = 32),
    PRIMARY KEY (key, secret)
) STRICT, WITHOUT ROWID;
INSERT INTO secret_fingerprints
    SELECT fingerprints.key, keys.created, fingerprints.pepper, fingerprints.mac
    FROM fingerprints JOIN keys ON keys.id = fingerprints.key;
DROP TABLE fingerprints;
ALTER TABLE secret_fingerprints RENAME TO fingerprints;
CREATE INDEX fingerprints_by_pepper ON fingerprints (pepper);

-- Not changes: when each of two secrets was used since the rotation. They may be lost.
CREATE TABLE secret_uses (
    key       INTEGER NOT NULL REFERENCES keys (id),
    secret    INTEGER NOT NULL,
    last_used INTEGER NOT NULL,
    address   TEXT NOT NULL,
    uses      INTEGER NOT NULL,
    PRIMARY KEY (key, secret)
) STRICT, WITHOUT ROWID;

-- Until when a gateway has saved the uses of keys: milliseconds since 1970, by the record's clock.
ALTER TABLE gateways ADD COLUMN uses_saved INTEGER NOT NULL DEFAULT 0;

UPDATE replica SET is_outdated = 1;
