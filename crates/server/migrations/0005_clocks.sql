-- By how many seconds a host's clock was ahead of the server's when it was last heard; 0: by less than a minute, or not told.
ALTER TABLE hosts ADD COLUMN clock_ahead_seconds BIGINT NOT NULL DEFAULT 0;
