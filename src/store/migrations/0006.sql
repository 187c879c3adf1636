-- What keys may do of what their owners may: JSON; NULL: all of it.
ALTER TABLE keys ADD COLUMN scope TEXT CHECK (scope <> '');
UPDATE replica SET is_outdated = 1;
