-- Names in the order that people expect: "node 2" before "node 10". A number at the beginning and one at the end of a
-- name count by their value: how many digits it has stands before it, without leading zeros. Numbers in the middle
-- count as text. The parts are: the number at the beginning, what is between, the number at the end.

ALTER TABLE accounts ADD COLUMN natural_name TEXT COLLATE NOCASE GENERATED ALWAYS AS (
    iif(substr(sorted_name, 1, length(sorted_name) - length(ltrim(sorted_name, '0123456789'))) = '', '',
        printf('%03d', length(ltrim(substr(sorted_name, 1, length(sorted_name) - length(ltrim(sorted_name, '0123456789'))), '0')))
        || ltrim(substr(sorted_name, 1, length(sorted_name) - length(ltrim(sorted_name, '0123456789'))), '0'))
    || rtrim(ltrim(sorted_name, '0123456789'), '0123456789')
    || iif(substr(ltrim(sorted_name, '0123456789'), length(rtrim(ltrim(sorted_name, '0123456789'), '0123456789')) + 1) = '', '',
        printf('%03d', length(ltrim(substr(ltrim(sorted_name, '0123456789'), length(rtrim(ltrim(sorted_name, '0123456789'), '0123456789')) + 1), '0')))
        || ltrim(substr(ltrim(sorted_name, '0123456789'), length(rtrim(ltrim(sorted_name, '0123456789'), '0123456789')) + 1), '0'))
) VIRTUAL;
CREATE INDEX accounts_all_by_natural_name ON accounts (natural_name, id) WHERE state <> 'removed';

ALTER TABLE environments ADD COLUMN natural_name TEXT COLLATE NOCASE GENERATED ALWAYS AS (
    iif(substr(sorted_name, 1, length(sorted_name) - length(ltrim(sorted_name, '0123456789'))) = '', '',
        printf('%03d', length(ltrim(substr(sorted_name, 1, length(sorted_name) - length(ltrim(sorted_name, '0123456789'))), '0')))
        || ltrim(substr(sorted_name, 1, length(sorted_name) - length(ltrim(sorted_name, '0123456789'))), '0'))
    || rtrim(ltrim(sorted_name, '0123456789'), '0123456789')
    || iif(substr(ltrim(sorted_name, '0123456789'), length(rtrim(ltrim(sorted_name, '0123456789'), '0123456789')) + 1) = '', '',
        printf('%03d', length(ltrim(substr(ltrim(sorted_name, '0123456789'), length(rtrim(ltrim(sorted_name, '0123456789'), '0123456789')) + 1), '0')))
        || ltrim(substr(ltrim(sorted_name, '0123456789'), length(rtrim(ltrim(sorted_name, '0123456789'), '0123456789')) + 1), '0'))
) VIRTUAL;
CREATE INDEX environments_all_by_natural_name ON environments (natural_name, row) WHERE state <> 'removed';

ALTER TABLE keys ADD COLUMN natural_name TEXT COLLATE NOCASE GENERATED ALWAYS AS (
    iif(substr(sorted_name, 1, length(sorted_name) - length(ltrim(sorted_name, '0123456789'))) = '', '',
        printf('%03d', length(ltrim(substr(sorted_name, 1, length(sorted_name) - length(ltrim(sorted_name, '0123456789'))), '0')))
        || ltrim(substr(sorted_name, 1, length(sorted_name) - length(ltrim(sorted_name, '0123456789'))), '0'))
    || rtrim(ltrim(sorted_name, '0123456789'), '0123456789')
    || iif(substr(ltrim(sorted_name, '0123456789'), length(rtrim(ltrim(sorted_name, '0123456789'), '0123456789')) + 1) = '', '',
        printf('%03d', length(ltrim(substr(ltrim(sorted_name, '0123456789'), length(rtrim(ltrim(sorted_name, '0123456789'), '0123456789')) + 1), '0')))
        || ltrim(substr(ltrim(sorted_name, '0123456789'), length(rtrim(ltrim(sorted_name, '0123456789'), '0123456789')) + 1), '0'))
) VIRTUAL;
CREATE INDEX keys_all_by_natural_name ON keys (natural_name, id) WHERE state <> 'removed';
CREATE INDEX keys_owned_by_natural_name ON keys (owner, natural_name, id) WHERE state <> 'removed';
