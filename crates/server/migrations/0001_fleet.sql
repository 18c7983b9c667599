-- One text for SQLite and PostgreSQL; `BLOB` becomes `BYTEA` there. Times are microseconds since 1970 (UTC) in BIGINT,
-- documents are JSON in TEXT, closed sets are words in TEXT. `…_until` NULL: still so.

-- Numbers that are given out in the order of commits: a writer holds its row until it commits.
CREATE TABLE counters (
  name  TEXT   NOT NULL PRIMARY KEY,
  value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('event', 0), ('host', 0), ('advisory', 0), ('finding', 0); -- the last two: when last written, microseconds

-- What happened, in the order of commits: how replicas and watchers learn of it. Old ones are pruned.
CREATE TABLE events (
  seq    BIGINT NOT NULL PRIMARY KEY,
  at     BIGINT NOT NULL,
  kind   TEXT   NOT NULL, -- host, inventory, feed, advisory, finding, token, user
  object TEXT   NOT NULL, -- its id
  detail TEXT   NOT NULL  -- JSON
);

-- Who changed what, chained by hashes. Only ever appended to.
CREATE TABLE audit (
  seq    BIGINT NOT NULL PRIMARY KEY,
  at     BIGINT NOT NULL,
  actor  TEXT   NOT NULL, -- person:NAME, token:ID, host:ID, policy:NAME, server
  action TEXT   NOT NULL, -- host.enrol, token.create, …
  object TEXT   NOT NULL,
  detail TEXT   NOT NULL, -- JSON
  hash   TEXT   NOT NULL  -- hex
);
CREATE TABLE audit_head (
  one  BIGINT NOT NULL PRIMARY KEY, -- 1
  seq  BIGINT NOT NULL,
  hash TEXT   NOT NULL
);
INSERT INTO audit_head (one, seq, hash) VALUES (1, 0, '');

-- Roles that only one server may have at a time. A holder whose fence is not the row's has lost it.
CREATE TABLE leases (
  name   TEXT   NOT NULL PRIMARY KEY,
  holder TEXT   NOT NULL,
  fence  BIGINT NOT NULL,
  until  BIGINT NOT NULL
);

-- The server's own keys and certificates, and what else it must remember.
CREATE TABLE settings (
  name  TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
);

CREATE TABLE hosts (
  id           TEXT   NOT NULL PRIMARY KEY, -- UUIDv7
  number       BIGINT NOT NULL UNIQUE,      -- small, for bitmaps; never given twice
  name         TEXT   NOT NULL,
  state        TEXT   NOT NULL,             -- active, quarantined, revoked
  reason       TEXT   NOT NULL,             -- why it is not active
  host_group   TEXT   NOT NULL,
  labels       TEXT   NOT NULL,             -- JSON object of strings
  release      TEXT   NOT NULL,             -- debian:12; empty before the first inventory
  agent        TEXT   NOT NULL,             -- its agent's version
  address      TEXT   NOT NULL,             -- where it last spoke from
  machine      TEXT   NOT NULL,             -- SHA-256 of its machine id, hex; empty: that of its next check-in
  enrolled_at  BIGINT NOT NULL,
  seen_at      BIGINT NOT NULL,             -- written in batches, as are the next four
  stream       BIGINT NOT NULL DEFAULT 0,   -- the run of its agent that was heard last, in short; 0: none
  stream_was   BIGINT NOT NULL DEFAULT 0,   -- the run before that
  address_was  TEXT   NOT NULL DEFAULT '',  -- where that one spoke from
  turns        BIGINT NOT NULL DEFAULT 0,   -- how often these two have taken turns since: a run that ended does not come back
  revision     BIGINT NOT NULL              -- of this row, for ETags
);
CREATE INDEX hosts_name ON hosts (name, id);
CREATE INDEX hosts_in_turns ON hosts (id) WHERE turns >= 8;

CREATE TABLE certificates (
  serial     TEXT   NOT NULL PRIMARY KEY, -- hex
  host       TEXT   NOT NULL REFERENCES hosts (id),
  public_key TEXT   NOT NULL,             -- SHA-256, hex
  not_before BIGINT NOT NULL,
  not_after  BIGINT NOT NULL,
  revoked_at BIGINT,
  reason     TEXT   NOT NULL
);
CREATE INDEX certificates_host ON certificates (host);
CREATE INDEX certificates_key ON certificates (public_key);

CREATE TABLE enrolment_tokens (
  id         TEXT   NOT NULL PRIMARY KEY,
  hash       TEXT   NOT NULL UNIQUE,  -- SHA-256 of the secret, hex
  host_group TEXT   NOT NULL,
  labels     TEXT   NOT NULL,
  created_by TEXT   NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  hosts      BIGINT NOT NULL,         -- how many may enrol with it
  used       BIGINT NOT NULL,         -- how many have
  used_at    BIGINT,
  host       TEXT,                    -- who used it last
  revoked_at BIGINT
);

-- Pieces of inventories, each distinct one once.
CREATE TABLE pieces (
  hash    TEXT   NOT NULL PRIMARY KEY, -- SHA-256, hex
  body    BLOB   NOT NULL,             -- zlib of JSON
  sent_at BIGINT NOT NULL              -- when a host last sent it: a piece just sent may not be named yet
);
-- What a host had, from when until when.
CREATE TABLE inventories (
  host        TEXT   NOT NULL REFERENCES hosts (id),
  from_at     BIGINT NOT NULL,
  until_at    BIGINT,
  observed_at BIGINT NOT NULL, -- by the host's clock
  hash        TEXT   NOT NULL, -- of the whole
  PRIMARY KEY (host, from_at)
);
CREATE UNIQUE INDEX inventories_now ON inventories (host) WHERE until_at IS NULL;
-- Which piece was which part of a host's inventory, from when until when: what did not change takes no room.
CREATE TABLE parts (
  host     TEXT   NOT NULL REFERENCES hosts (id),
  part     TEXT   NOT NULL, -- system, packages.o, …
  from_at  BIGINT NOT NULL,
  until_at BIGINT,
  hash     TEXT   NOT NULL REFERENCES pieces (hash),
  PRIMARY KEY (host, part, from_at)
);
CREATE UNIQUE INDEX parts_now ON parts (host, part) WHERE until_at IS NULL;
CREATE INDEX parts_hash ON parts (hash);

CREATE TABLE feeds (
  name       TEXT   NOT NULL PRIMARY KEY,
  location   TEXT   NOT NULL, -- path or URL, without credentials
  read_at    BIGINT,          -- last time it was read whole
  asked_at   BIGINT,
  etag       TEXT   NOT NULL,
  modified   TEXT   NOT NULL, -- Last-Modified, as sent
  sha256     TEXT   NOT NULL,
  records    BIGINT NOT NULL,
  newest     BIGINT,          -- when the newest record it ever had was changed
  failing_at BIGINT,          -- since when it cannot be had
  alarm      TEXT   NOT NULL, -- what is wrong with it, a line each; empty: nothing
  problems   TEXT   NOT NULL, -- JSON array
  revision   BIGINT NOT NULL
);
-- What a feed said, from when until when we knew it. What hosts' own package managers say, each distinct text once, is
-- under `hosts:HASH`.
CREATE TABLE advisories (
  feed      TEXT   NOT NULL,
  id        TEXT   NOT NULL,
  from_at   BIGINT NOT NULL,
  until_at  BIGINT,
  hash      TEXT   NOT NULL, -- of what it says (advisory::material::content_hash)
  kind      TEXT   NOT NULL,
  summary   TEXT   NOT NULL,
  published BIGINT,
  modified  BIGINT,
  withdrawn BIGINT,
  cves      TEXT   NOT NULL, -- ' CVE-1 CVE-2 ', for showing
  body      BLOB   NOT NULL, -- zlib of JSON
  PRIMARY KEY (feed, id, from_at)
);
CREATE UNIQUE INDEX advisories_now ON advisories (feed, id) WHERE until_at IS NULL;
CREATE INDEX advisories_id ON advisories (id);
-- Which advisories ever closed a CVE, whoever said so: for looking up.
CREATE TABLE advisory_cves (
  cve      TEXT NOT NULL,
  advisory TEXT NOT NULL, -- advisories.id
  PRIMARY KEY (cve, advisory)
) WITHOUT ROWID;
-- KEV, EPSS and the like, as the last reading of a feed gave them.
CREATE TABLE signals (
  feed TEXT NOT NULL PRIMARY KEY,
  body BLOB NOT NULL -- zlib of JSON
);

-- Findings: one advisory applies to one package on one host, from when until when. What they have in common is kept once,
-- and hosts lie side by side: a bulletin that hits ten thousand hosts is a few hundred pages to write, not ten thousand.
CREATE TABLE finding_topics (
  id       BIGINT NOT NULL PRIMARY KEY, -- hash of the rest
  advisory TEXT   NOT NULL,
  package  TEXT   NOT NULL, -- source:openssl or binary:libssl3
  verdict  TEXT   NOT NULL, -- affected, fixed-still-running, undetermined
  UNIQUE (advisory, package, verdict)
);
CREATE TABLE finding_evidence (
  id    BIGINT NOT NULL PRIMARY KEY, -- hash of the words
  words TEXT   NOT NULL  -- the rule, both versions, the document
);
CREATE TABLE finding_hosts (
  topic    BIGINT NOT NULL, -- finding_topics.id
  host     BIGINT NOT NULL, -- hosts.number
  from_at  BIGINT NOT NULL,
  until_at BIGINT,
  evidence BIGINT NOT NULL, -- finding_evidence.id: what it was when the finding began
  PRIMARY KEY (topic, host, from_at)
) WITHOUT ROWID;
CREATE UNIQUE INDEX finding_hosts_now ON finding_hosts (topic, host) WHERE until_at IS NULL;
-- For reading. CROSS JOIN: by topic, then host; there is no way by host alone, an index for it would cost more to write
-- than all else.
CREATE VIEW findings AS
  SELECT f.host, t.advisory, t.package, f.from_at, f.until_at, t.verdict, e.words AS evidence, f.topic
  FROM finding_topics t CROSS JOIN finding_hosts f CROSS JOIN finding_evidence e
  WHERE f.topic = t.id AND e.id = f.evidence;

CREATE TABLE users (
  id           TEXT   NOT NULL PRIMARY KEY,
  name         TEXT   NOT NULL UNIQUE,
  password     TEXT   NOT NULL, -- argon2id, PHC string; empty: cannot log in by password
  subject      TEXT   UNIQUE,   -- issuer and subject of OIDC
  role         TEXT   NOT NULL, -- viewer, watch, approver, operator, admin
  disabled     BIGINT NOT NULL, -- 0 or 1
  failures     BIGINT NOT NULL, -- wrong passwords since the last right one
  locked_until BIGINT NOT NULL,
  created_at   BIGINT NOT NULL,
  revision     BIGINT NOT NULL
);
CREATE TABLE sessions (
  hash       TEXT   NOT NULL PRIMARY KEY, -- SHA-256 of the cookie, hex
  owner      TEXT   NOT NULL REFERENCES users (id),
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_owner ON sessions (owner);
CREATE TABLE api_tokens (
  id         TEXT   NOT NULL PRIMARY KEY,
  hash       TEXT   NOT NULL UNIQUE,
  owner      TEXT   NOT NULL REFERENCES users (id),
  name       TEXT   NOT NULL,
  role       TEXT   NOT NULL, -- at most its owner's
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at    BIGINT,
  revoked_at BIGINT
);
-- OIDC logins under way.
CREATE TABLE logins (
  state      TEXT   NOT NULL PRIMARY KEY, -- SHA-256, hex
  nonce      TEXT   NOT NULL,
  verifier   TEXT   NOT NULL,
  back_to    TEXT   NOT NULL,
  expires_at BIGINT NOT NULL
);
-- Answers to writes that carried an idempotency key.
CREATE TABLE idempotency (
  actor      TEXT   NOT NULL,
  idem_key   TEXT   NOT NULL, -- SHA-256 of the key, hex: the key itself opens the body
  request    TEXT   NOT NULL, -- SHA-256 of method, path and body
  status     BIGINT NOT NULL, -- 0 while it is under way
  body       TEXT   NOT NULL, -- the answer, sealed, hex: it may hold a secret that is shown once
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (actor, idem_key)
);
