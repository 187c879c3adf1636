-- Keys whose secret changes: see ../../migrations/0007.sql.
ALTER TABLE keys ADD COLUMN secret_since bigint NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN former_phc text NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN former_since bigint NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN former_ends bigint NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN former_idle bigint NOT NULL DEFAULT 0;
UPDATE keys SET secret_since = created;
CREATE INDEX keys_by_former_end ON keys (former_ends) WHERE former_ends > 0;

ALTER TABLE fingerprints ADD COLUMN secret bigint NOT NULL DEFAULT 0;
UPDATE fingerprints SET secret = keys.created, noted = nextval('notes') FROM keys WHERE keys.id = fingerprints.key;
ALTER TABLE fingerprints DROP CONSTRAINT fingerprints_pkey;
ALTER TABLE fingerprints ADD PRIMARY KEY (key, secret);

CREATE TABLE secret_uses (
    key       bigint REFERENCES keys,
    secret    bigint,
    last_used bigint NOT NULL,
    address   text NOT NULL,
    uses      bigint NOT NULL,
    noted     bigint NOT NULL DEFAULT nextval('notes'),
    PRIMARY KEY (key, secret)
);
CREATE INDEX secret_uses_by_noted ON secret_uses (noted);

ALTER TABLE gateways ADD COLUMN uses_saved bigint NOT NULL DEFAULT 0;
