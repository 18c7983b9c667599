-- What hosts counted in their web logs. Conventions as in 0001; hours and days are UTC, numbered since 1970. Sources are
-- summed up in sketches (`traffic::census::Sketch`), in base64 as on the wire.

-- Its revision: every change of counts takes one, so that changes come one after the other.
INSERT INTO counters (name, value) VALUES ('census', 0);

-- A host's day, hour by hour: what a host tells again replaces what it told before.
CREATE TABLE census_hours (
  host BIGINT NOT NULL, -- hosts.number
  day  BIGINT NOT NULL,
  body BLOB   NOT NULL, -- zlib of JSON
  PRIMARY KEY (host, day)
);
CREATE INDEX census_hours_day ON census_hours (day);
-- What a host saw of a signature.
CREATE TABLE census_hosts (
  host       BIGINT NOT NULL, -- hosts.number
  signature  TEXT   NOT NULL, -- the rule's id
  cves       TEXT   NOT NULL, -- ' CVE-1 CVE-2 ': what the host's rule is about
  first_hour BIGINT NOT NULL,
  last_hour  BIGINT NOT NULL,
  days       TEXT   NOT NULL, -- JSON: [day, attempts, answered] of the last month
  PRIMARY KEY (host, signature)
) WITHOUT ROWID;
CREATE INDEX census_hosts_signature ON census_hosts (signature, last_hour);
-- What a host says of its counting.
CREATE TABLE census_tellers (
  host      BIGINT NOT NULL PRIMARY KEY,
  told_at   BIGINT NOT NULL, -- when its counts last changed
  last_hour BIGINT NOT NULL,
  logs      BIGINT NOT NULL,
  problems  TEXT   NOT NULL  -- JSON array
);

-- The fleet's sums. What a host told stays in them when the host is removed.
CREATE TABLE census_signatures (
  signature   TEXT   NOT NULL PRIMARY KEY,
  first_hour BIGINT NOT NULL,
  outlook    TEXT,  -- JSON: the forecast, made once a day
  outlook_day BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE census_requests (
  day      BIGINT NOT NULL PRIMARY KEY,
  requests BIGINT NOT NULL,
  unread   BIGINT NOT NULL,
  hosts    BIGINT NOT NULL  -- that had a log
);
CREATE TABLE census_days (
  day       BIGINT NOT NULL,
  signature TEXT   NOT NULL,
  attempts  BIGINT NOT NULL,
  answered  BIGINT NOT NULL,
  hosts     BIGINT NOT NULL,
  sources   TEXT   NOT NULL,
  count     BIGINT NOT NULL, -- of these sources, estimated
  PRIMARY KEY (day, signature)
);
CREATE INDEX census_days_signature ON census_days (signature, day);
-- By hours, for as long as growth is looked for.
CREATE TABLE census_fleet_hours (
  hour      BIGINT NOT NULL,
  signature TEXT   NOT NULL,
  attempts  BIGINT NOT NULL,
  sources   TEXT   NOT NULL,
  PRIMARY KEY (hour, signature)
);

-- Attempts for a CVE on a host with an open finding of it, from when until when.
CREATE TABLE census_attacked (
  topic     BIGINT NOT NULL, -- finding_topics.id
  host      BIGINT NOT NULL, -- hosts.number
  since_at  BIGINT NOT NULL,
  until_at  BIGINT,
  cves      TEXT   NOT NULL, -- ' CVE-1 CVE-2 '
  attempts  BIGINT NOT NULL, -- within a month
  last_hour BIGINT NOT NULL,
  PRIMARY KEY (topic, host, since_at)
) WITHOUT ROWID;
CREATE UNIQUE INDEX census_attacked_now ON census_attacked (topic, host) WHERE until_at IS NULL;
-- Signatures that grow, or are new in the fleet, from when until when.
CREATE TABLE census_alarms (
  kind      TEXT   NOT NULL, -- growing, new
  signature TEXT   NOT NULL,
  since_at  BIGINT NOT NULL,
  until_at  BIGINT,
  detail    TEXT   NOT NULL, -- JSON
  PRIMARY KEY (kind, signature, since_at)
);

-- What the census says is wrong holds no gate: the fix for what is attacked must not wait for the attack to end.
ALTER TABLE alerts ADD COLUMN holds BIGINT NOT NULL DEFAULT 1;
