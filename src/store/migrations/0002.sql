ALTER TABLE key_use ADD COLUMN uses INTEGER NOT NULL DEFAULT 0;
CREATE INDEX key_use_by_used ON key_use (used, key);
CREATE INDEX key_use_by_uses ON key_use (uses, key);
