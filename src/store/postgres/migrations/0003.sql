-- What keys may do of what their owners may: JSON; NULL: all of it.
ALTER TABLE keys ADD COLUMN scope text CHECK (scope <> '');
